"""The report on costs in all its forms."""

import hashlib
import json
import os
import re
import stat
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from pipeline import cli
from pipeline.cost import model
from pipeline.cost.model import Function, Profile
from pipeline.cost.report import drawings, figures, files, html, markdown, text
from pipeline.cost.report.view import View
from pipeline.cost.spec import Cost, Published, PublishedRow
from tests.cost import made
from tests.cost.made import UNCONVERTED, profiled
from tests.report.test_report import HOSTILE, Page

PUBLISHED = Published(
    operation="free",
    source="the commit message",
    unit="s",
    range="1g",
    kernels=("v2", "merged"),
    row=(
        PublishedRow(size="4k", old=0.590251, new=0.590259),
        PublishedRow(size="64k", old=2.457796, new=0.052812, note="Instructions, not time."),
        PublishedRow(size="128k", old=2.281034, new=0.032777, note="Not counted here."),
    ),
)
EXIT = Cost(operation="exit", title="Exit", sizes=made.SIZES, ranges=("64m",))


@pytest.fixture(scope="module")
def run() -> model.CostRun:
    return profiled(
        made.run(costs=[made.FREE, made.GROWS, EXIT], published=[PUBLISHED], bounds=[UNCONVERTED], repeats=2)
    )


@pytest.fixture
def view(run) -> View:
    return View(run)


def page_of(view: View) -> Page:
    folded = {
        (kernel, "max", operation, size): f"profiles/{kernel}.folded"
        for kernel in ("baseline", "v2", "merged")
        for operation in ("free", "exit")
        for size in made.SIZES
    }
    return Page(html.render(view, folded))


# The page


def test_the_page_needs_no_network_and_no_script(view):
    page = page_of(view)
    assert {tag for tag, _ in page.tags} & {"script", "img", "iframe", "object"} == set()
    assert all(target.startswith(("#", "./", "data:,")) for target in page.all("href"))
    assert "default-src 'none'" in page.all("content")[1]
    assert page.all("src") == []


def test_links_within_the_page_lead_somewhere(view):
    page = page_of(view)
    assert {target[1:] for target in page.all("href") if target.startswith("#")} <= {*page.all("id")}


def test_every_drawing_tells_in_words_what_it_draws_and_has_a_table_beside_it(view):
    page = page_of(view)
    drawn = [attrs for tag, attrs in page.tags if tag == "svg"]
    plots = [attrs["aria-label"] for attrs in drawn if "plot" in attrs["class"]]
    assert plots[0].startswith("Instructions a page of free. instructions a page by folio size: baseline: 4k")
    assert "published: 4k 1, 64k 46.5, 128k 69.6" in plots[1]
    flames = [attrs["aria-label"] for attrs in drawn if "flame" in attrs["class"]]
    assert flames[:3] == [
        f"Flame graph of free on {kernel}, 64k folios; the table above has its functions."
        for kernel in ("baseline", "v2", "merged")
    ]
    assert all(attrs["role"] == "img" for attrs in drawn)


def test_what_is_outside_a_bound_is_told_with_by_how_much_and_whether_that_was_expected(view):
    words = page_of(view).text
    assert "v2: No block is taken apart unconverted as expected ✗ FAIL" in words
    assert "2,048 is 2,048 more than 0: cost.converts == 0 does not hold" in words


def test_names_from_a_study_or_a_guest_are_no_markup(run):
    content = run.study.content
    kernels = tuple(kernel.model_copy(update={"title": HOSTILE}) for kernel in content.kernel)
    rows = (PublishedRow(size="64k", old=1, new=1, note=HOSTILE),)
    table = PUBLISHED.model_copy(update={"source": HOSTILE, "row": rows})
    content = content.model_copy(update={"title": HOSTILE, "kernel": kernels, "published": (table,)})
    stacks = {HOSTILE.replace(";", ","): 10}
    samples = [
        s.model_copy(
            update={"profile": Profile(functions={HOSTILE: Function(calls=1, instructions=10)}, stacks=stacks)}
        )
        for s in run.samples
    ]
    hostile = View(
        run.model_copy(update={"study": run.study.model_copy(update={"content": content}), "samples": samples})
    )
    page = page_of(hostile)
    assert {tag for tag, _ in page.tags} & {"script"} == set()
    assert '<script src="https://evil.example/x.js">' in page.text
    assert "<script" not in markdown.render(hostile)
    assert "\x1b" not in text.render(hostile)


# Markdown and text


def test_markdown_has_old_against_new_beside_what_was_published(view):
    lines = markdown.render(view).splitlines()
    assert "| 64k | 800.3 | 84.1 | 40.3 | -89.5% | -95.0% | -97.9% |" in lines
    assert "| 64k | 9.52 | 19.9 | 46.5 | 2.4578 | 0.052812 |" in lines
    assert "- 64k: Instructions, not time." in lines
    assert "| converts | 0 | 0 / 2,048 / 0 | 0 |" in lines
    # A size that was published and is not counted has no figure, and is not left out.
    assert "| 128k | - | - | 69.6 | 2.28103 | 0.032777 |" in lines


def test_markdown_says_where_it_is_saved_and_where_it_is_paid(view):
    lines = markdown.render(view).splitlines()
    at = lines.index("Change of the instructions on merged, by folio size:")
    assert lines[at + 4 : at + 6] == ["| free | 0.0% | -95.0% | 0.0% |", "| exit | 0.0% | -95.0% | 0.0% |"]


def test_markdown_tells_growth_and_flags_what_is_faster_than_linear():
    def law(kernel, sample):
        counts = made.plain(kernel, sample)
        return {**counts, "instructions": sample.pages**2} if kernel == "v2" else counts

    lines = markdown.render(View(made.run(law=law))).splitlines()
    assert "| free | 64k | 64m to 1g | baseline | 800.0 | 5,000 | 1.00 | no |" in lines
    (fast,) = [line for line in lines if line.endswith("| yes |")]
    assert fast.startswith("| free | 64k | 64m to 1g | v2 |")
    assert " 2.00 " in fast


def test_text_fits_a_mail(view):
    lines = text.render(view).splitlines()
    assert max(map(len, lines)) <= 71
    assert text.render(view).isascii()
    assert "64k 800.3 84.1 40.3 -89.5% -95.0% -97.9%" in [" ".join(line.split()) for line in lines]
    assert any("unconverted" in line for line in lines)


def test_what_was_not_counted_shows_as_a_dash_in_every_form():
    spoiled = View(
        profiled(made.run(spoil=lambda s: "no folios" if (s.kernel, s.folio_bytes) == ("v2", 65536) else ""))
    )
    assert "| 64k | 800.3 | - | 40.3 | - | -95.0% |" in markdown.render(spoiled).splitlines()
    assert "64k 800.3 - 40.3 - -95.0%" in [" ".join(line.split()) for line in text.render(spoiled).splitlines()]
    assert "v2/max/free.64k.64m: no folios" in page_of(spoiled).text


# Files


def test_a_folder_holds_every_form_and_the_stacks_of_every_call(run, tmp_path):
    files.write_all(run, tmp_path)
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert {"cost.json", "cost.html", "cost.md", "cost.txt", "tables.json", "reproduce.sh"} <= found
    folded = (tmp_path / "profiles" / "merged-max-free-64k.folded").read_text().splitlines()
    assert folded[0] == "el0t_64_sync 66036"
    assert all(re.fullmatch(r"\S+ \d+", line) for line in folded)
    assert sum(int(line.split()[-1]) for line in folded) == 660360
    assert len([name for name in found if name.endswith(".folded")]) == 3 * 2 * len(made.SIZES)
    linked = set(re.findall(r'href="\./(profiles/[^"]+)"', (tmp_path / "cost.html").read_text()))
    assert linked and linked <= found
    assert stat.S_IMODE((tmp_path / "reproduce.sh").stat().st_mode) == 0o755


def test_the_record_is_written_with_its_judgement_and_gives_the_same_report_again(run, tmp_path):
    files.write_all(run, tmp_path / "1")
    again = model.load(tmp_path / "1")
    assert again.judgement is not None
    files.write_all(again, tmp_path / "2")
    for path in (tmp_path / "1").rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "2" / path.relative_to(tmp_path / "1")).read_bytes()


def test_tables_json_has_each_count_with_its_change_and_the_published_pair(view):
    rows = json.loads(files.tables(view))
    (row,) = [
        r
        for r in rows
        if (r["kernel"], r["operation"], r["folio_bytes"], r["count"]) == ("merged", "free", 65536, "instructions")
    ]
    assert row["total"] == 660360
    assert row["change"] == pytest.approx(-0.9496, abs=1e-4)
    assert row["published"] == [2.457796, 0.052812]


def test_plots_are_files_of_their_own_for_light_and_dark(view):
    found = drawings.files(view)
    assert set(found) == {"free-max-by-size.svg", "free-max-published.svg", "exit-max-by-size.svg"}
    for drawn in found.values():
        assert ElementTree.fromstring(drawn).tag == "{http://www.w3.org/2000/svg}svg"
        assert "prefers-color-scheme: dark" in drawn


def judged(monkeypatch, capsys, *words: object) -> tuple[int, str]:
    """Exit code and stdout of ``kpv judge``."""
    monkeypatch.setattr(sys, "argv", ["kpv", "judge", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0), capsys.readouterr().out


def test_costs_are_judged_anew_from_their_record(run, tmp_path, monkeypatch, capsys):
    files.write_all(run, tmp_path)
    (tmp_path / "cost.html").unlink()
    code, said = judged(monkeypatch, capsys, tmp_path, "--quiet")
    assert (code, "every kernel is judged as expected" in said, "a page" in said) == (0, True, False)
    assert (tmp_path / "cost.html").is_file()
    code, said = judged(monkeypatch, capsys, tmp_path / "cost.json")
    assert (code, "free: instructions a page, 64m range" in said) == (0, True)


def test_costs_outside_a_bound_that_was_not_expected_end_with_1(run, tmp_path, monkeypatch, capsys):
    strict = run.study.content.model_copy(update={"bound": (UNCONVERTED.model_copy(update={"failing": ()}),)})
    files.write_all(run.model_copy(update={"study": run.study.model_copy(update={"content": strict})}), tmp_path)
    assert judged(monkeypatch, capsys, tmp_path)[0] == 1


# reproduce.sh


FAKE_KPV = """#!/bin/sh
[ "$1" = --version ] && { echo "kpv 1.2.3"; exit; }
mkdir -p runs/new && cp made/cost.json runs/new/
"""


@pytest.fixture
def repeated(run, tmp_path):
    """Runs reproduce.sh beside a kpv that makes the same run again, but for what ``change`` does to a sample."""

    def repeat(change=lambda sample: sample) -> subprocess.CompletedProcess[str]:
        study = tmp_path / "study.toml"
        study.write_text("the study")
        digest = hashlib.sha256(study.read_bytes()).hexdigest()
        fact = run.study.model_copy(update={"file": "study.toml", "sha256": digest})
        known = run.model_copy(update={"study": fact, "command": ("kpv", "cost", "study.toml"), "kpv": "1.2.3"})
        files.write_all(known, tmp_path / "old")
        (tmp_path / "made").mkdir()
        again = known.model_copy(update={"samples": [change(sample) for sample in known.samples]})
        model.save(again, tmp_path / "made" / "cost.json")
        kpv = tmp_path / "bin" / "kpv"
        kpv.parent.mkdir()
        kpv.write_text(FAKE_KPV)
        kpv.chmod(0o755)
        return subprocess.run(
            ["sh", "old/reproduce.sh"],
            cwd=tmp_path,
            env={**os.environ, "PATH": f"{kpv.parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )

    return repeat


def changed(name: str, by: int):
    def change(sample):
        if (sample.kernel, sample.folio_bytes, sample.operation) != ("merged", 65536, "exit"):
            return sample
        return sample.model_copy(update={"counts": {**sample.counts, name: sample.counts[name] + by}})

    return change


def test_reproduce_confirms_the_same_counts(repeated):
    result = repeated()
    assert (result.returncode, "0 counts differ" in result.stdout) == (0, True), result.stderr


def test_reproduce_allows_a_thousandth_of_the_instructions(repeated):
    assert repeated(changed("instructions", 600)).returncode == 0


@pytest.mark.parametrize(("name", "by"), [("instructions", 700), ("tlbi_range", 1)])
def test_reproduce_tells_a_count_that_differs(repeated, name, by):
    result = repeated(changed(name, by))
    assert result.returncode == 1
    assert re.search(rf"merged max exit 65536 67108864 0: {name}: expected \d+, found \d+", result.stderr)


# Figures


@pytest.mark.parametrize(
    ("change", "shown"),
    [(-0.978, "-97.8%"), (0.0001, "0.0%"), (-0.0001, "0.0%"), (1.5, "+150.0%"), (40, "+4,000%"), (None, "-")],
)
def test_changes_are_told_in_percent(change, shown):
    assert figures.percent(change) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(1131.53, "1,131.5"), (10.04, "10.0"), (3.711, "3.71"), (0, "0"), (0.0625, "0.0625")]
)
def test_small_counts_keep_three_digits(value, shown):
    assert figures.small(value) == shown
