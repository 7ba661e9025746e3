"""report.html as a reader meets it: at three widths, in both schemes, on paper, by keyboard, with a screen reader."""

import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

from pipeline.report import html
from tests.browser.conftest import SHOTS, open_all
from tests.report.builders import a_run

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
WIDTHS = {"phone": 390, "tablet": 820, "desktop": 1280}
#: CSS pixels of A4 less the margins that Chromium prints with are 718; a study may have longer names than this one.
PAPER = 560
EVERY_RULE = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
#: What another scheme can change.
COLOURS = {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}


@pytest.mark.parametrize(("scheme", "rules"), [("light", EVERY_RULE), ("dark", COLOURS)])
def test_axe_finds_no_violation_with_everything_open(visit, scheme, rules):
    page = visit(color_scheme=scheme)
    open_all(page)
    found = Axe().run(page, options={"resultTypes": ["violations", "passes"], "runOnly": rules}).response
    assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found["violations"]] == []
    assert "color-contrast" in {one["id"] for one in found["passes"]}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", WIDTHS)
def test_nothing_reaches_out_of_the_page_to_the_side(visit, device, scheme):
    page = visit(width=WIDTHS[device], color_scheme=scheme)
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"report-{device}-{scheme}.png", full_page=True)
    open_all(page)
    page.evaluate("location.hash = document.querySelector('details.job svg.block').closest('details').id")
    page.screenshot(path=SHOTS / f"cell-{device}-{scheme}.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[device]
    wide = page.evaluate(
        """[...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll, pre, svg') &&
           e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 120))"""
    )
    assert wide == []


def test_nothing_is_asked_of_any_network(visit, report_file):
    page = visit()
    open_all(page)
    page.wait_for_load_state("networkidle")
    assert [url for url in page.asked if not url.startswith("data:")] == [report_file.as_uri()]


def test_it_is_read_without_script_and_a_link_opens_what_is_folded_away(visit):
    page = visit(java_script_enabled=False)
    assert page.get_by_role("heading", level=1).is_visible()
    assert page.locator(".banner").inner_text().startswith("✓")
    link = page.locator("#d-no-convert th.place a").first
    target = page.locator(link.get_attribute("href"))
    assert not target.is_visible()
    link.click()
    assert target.is_visible()
    assert target.locator("svg.block").first.is_visible()


def test_on_paper_the_evidence_is_there_and_fits(visit, tmp_path):
    page = visit(width=PAPER)
    page.emulate_media(media="print", color_scheme="light")
    assert not page.get_by_role("navigation").is_visible()
    closed = page.locator("details.evidence:not([open])")
    assert closed.count() > 0
    assert closed.first.locator(".body").is_visible()
    wide = page.evaluate(
        """[...document.querySelectorAll('main td, main th, main svg')].filter(e => e.checkVisibility() &&
           e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 120))"""
    )
    assert wide == []
    pdf = page.pdf(path=SHOTS.parent / "report.pdf", format="A4", print_background=True)
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) < 200


def test_the_keyboard_reaches_everything_in_order_and_shows_where_it_is(visit, tmp_path):
    path = tmp_path / "small.html"
    path.write_text(html.render(a_run(), {}))
    page = visit(path)
    wanted = page.evaluate(
        """[...document.querySelectorAll('a[href], summary, [tabindex="0"]')]
           .filter(e => e.checkVisibility({contentVisibilityAuto: true}))
           .map((e, i) => { e.dataset.n = i; return i })"""
    )
    reached = []
    for _ in wanted:
        page.keyboard.press("Tab")
        number, outlined = page.evaluate(
            """(e => [Number(e.dataset.n), getComputedStyle(e).outlineStyle != 'none'])(document.activeElement)"""
        )
        assert outlined, page.evaluate("document.activeElement.outerHTML")
        reached.append(number)
    assert reached == wanted


def test_the_first_tab_stop_skips_to_the_verdict(visit):
    page = visit()
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the verdict")
    assert skip.bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('section')?.getAttribute('aria-labelledby')") == "verdict"


def test_a_folded_away_part_opens_by_keyboard(visit):
    page = visit()
    part = page.locator("details.cell").first
    part.locator("summary").first.focus()
    page.keyboard.press("Enter")
    assert part.get_attribute("open") is not None
    assert part.locator("table").first.is_visible()


def test_a_screen_reader_is_told_the_pictures_and_the_verdicts_in_words(visit):
    page = visit()
    open_all(page)
    said = page.locator("#d-no-convert").aria_snapshot()
    assert re.search(r'img "16 entries at 0x100000000000: all valid; cont: all; young: all', said)
    assert re.search(r'img "16 entries at .*: all valid; cont: none;', said)
    assert "FAIL" in page.locator("#d-no-convert > summary").aria_snapshot()
    row = page.locator("#d-no-convert tbody tr", has_text="probe.contpte_convert").first
    assert re.search(
        r'rowheader "probe.contpte_convert"(.|\n)*cell "16"(.|\n)*cell "8"(.|\n)*cell "0"', row.aria_snapshot()
    )


def test_the_pictures_of_the_docs_are_made_from_a_report(report_file, tmp_path):
    command = [sys.executable, ROOT / "docs/pictures.py", report_file.parent, "--into", tmp_path]
    done = subprocess.run([*command, "--decision", "no-convert"], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (0, "")
    sizes = {path.name: struct.unpack(">II", path.read_bytes()[16:24]) for path in tmp_path.glob("*.png")}
    assert sizes["report.png"] == (1180, 760)
    assert sizes["blocks.png"][0] > 2 * 1000  # twice as fine
    missing = subprocess.run([*command, "--decision", "builds"], capture_output=True, text=True, timeout=50)
    assert missing.returncode == 1
    assert "decision builds shows no blocks" in missing.stderr
