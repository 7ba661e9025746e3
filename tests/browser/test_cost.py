"""cost.html as a reader meets it: drawings in both schemes, at three widths, with a screen reader."""

import pytest
from axe_playwright_python.sync_playwright import Axe

from pipeline.cost.report import files
from pipeline.cost.spec import Cost, Published, PublishedRow
from tests.browser.conftest import SHOTS, open_all
from tests.browser.test_report import COLOURS, EVERY_RULE, WIDTHS
from tests.cost import made

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def cost_file(tmp_path_factory):
    """The report of a run with every kind of table, drawing and verdict."""
    published = Published(
        operation="free",
        source="the commit message",
        unit="s",
        range="1g",
        row=(PublishedRow(size="4k", old=1, new=1), PublishedRow(size="64k", old=2.4, new=0.05, note="Not time.")),
    )
    exits = Cost(operation="exit", title="Exit", sizes=made.SIZES, ranges=("64m",))
    run = made.run(costs=[made.FREE, made.GROWS, exits], published=[published], bounds=[made.UNCONVERTED])
    folder = tmp_path_factory.mktemp("cost")
    files.write_all(made.profiled(run), folder)
    return folder / "cost.html"


@pytest.mark.parametrize(("scheme", "rules"), [("light", EVERY_RULE), ("dark", COLOURS)])
def test_axe_finds_no_violation_in_the_costs_with_everything_open(visit, cost_file, scheme, rules):
    page = visit(cost_file, color_scheme=scheme)
    open_all(page)
    found = Axe().run(page, options={"resultTypes": ["violations"], "runOnly": rules}).response
    assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found["violations"]] == []


@pytest.mark.parametrize("device", WIDTHS)
def test_no_drawing_or_table_of_costs_reaches_out_of_the_page(visit, cost_file, device):
    page = visit(cost_file, width=WIDTHS[device])
    open_all(page)
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"cost-{device}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[device]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_lines_and_their_names_stand_out_from_the_page(visit, cost_file, scheme):
    """At least 3 to 1, as WCAG 2.2 wants of graphics (1.4.11); axe looks at text only."""
    page = visit(cost_file, color_scheme=scheme)
    contrasts = page.evaluate(
        """() => {
            const light = c => { const [r, g, b] = c.match(/[0-9]+/g).slice(0, 3).map(v => {
                v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4 });
                return 0.2126 * r + 0.7152 * g + 0.0722 * b }
            const ground = light(getComputedStyle(document.body).backgroundColor)
            return [...document.querySelectorAll('.plot .line')].map(e => {
                const a = light(getComputedStyle(e).stroke)
                return (Math.max(a, ground) + 0.05) / (Math.min(a, ground) + 0.05) })
        }"""
    )
    assert len(contrasts) >= 9
    assert min(contrasts) >= 3


def test_the_costs_ask_nothing_of_any_network(visit, cost_file):
    page = visit(cost_file)
    open_all(page)
    page.wait_for_load_state("networkidle")
    assert [url for url in page.asked if not url.startswith("data:")] == [cost_file.as_uri()]


def test_a_screen_reader_is_told_each_drawing_in_words(visit, cost_file):
    page = visit(cost_file)
    open_all(page)
    names = [one.get_attribute("aria-label") for one in page.get_by_role("img").all()]
    assert any(name.startswith("Instructions a page of free.") for name in names)
    assert any(name.startswith("Flame graph of free on merged") for name in names)
