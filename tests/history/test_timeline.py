"""What the history says of verdicts over time, as rows and as a chart."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pipeline.history import chart, timeline
from pipeline.history.index import Index
from pipeline.judge.model import Verdict
from tests.history.test_index import run_on

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def lines(tmp_path: Path) -> list[timeline.Line]:
    """Five runs: v2 split nothing, split on two days, and does not any more."""
    index = Index(tmp_path)
    for day, split in enumerate((0, 1, 1, 0, 0), 1):
        index.enter(run_on(day, split=split), tmp_path / str(day))
    return timeline.lines(index.points())


def line(lines: list[timeline.Line], kernel: str, of: str) -> timeline.Line:
    return next(line for line in lines if (line.kernel, line.of) == (kernel, of))


def test_a_line_knows_when_it_first_changed_and_since_when_it_is_as_it_is(lines):
    split = line(lines, "v2", "no-split")
    assert [point.verdict for point in split.points] == ["PASS", "FAIL", "FAIL", "PASS", "PASS"]
    assert split.first_changed is not None
    assert split.first_changed.run.id == "20260102-000000-demo"
    assert split.since.run.id == "20260104-000000-demo"
    assert (split.now.verdict, split.before) == (Verdict.PASS, Verdict.FAIL)
    assert split.marks(timeline.runs_of(lines)) == "✓✗✗✓✓"


def test_a_line_that_never_changed_is_so_since_the_first_run(lines):
    boots = line(lines, "v2", "boots")
    assert boots.first_changed is None
    assert boots.before is None
    assert boots.since.run.id == "20260101-000000-demo"


def test_kernels_come_first_and_what_never_changed_from_pass_may_be_left_out(lines):
    assert [(entry.kernel, entry.of) for entry in timeline.telling(lines)] == [
        ("base", ""),
        ("v2", ""),
        ("v2", "no-split"),
    ]
    assert len(lines) > 10


def test_a_run_that_lacks_a_claim_has_no_mark_for_it(lines, tmp_path):
    split = line(lines, "v2", "no-split")
    shorter = timeline.Line(split.study, split.kernel, split.of, split.points[1:3])
    assert shorter.marks(timeline.runs_of(lines)) == " ✗✗  "


def test_a_row_has_the_marks_of_the_newest_runs_of_its_own_study(lines, monkeypatch):
    monkeypatch.setattr(timeline, "SHOWN", 3)
    split = line(lines, "v2", "no-split")
    other = timeline.Line("other", "v2", "no-split", split.points[:1])
    assert [row[3] for row in timeline.rows([split, other])] == ["✗✓✓", "✓"]
    assert timeline.rows([split])[0][4:] == ["PASS", "2026-01-04 20260104-000000-demo", "FAIL"]


def test_json_has_every_point(lines):
    (told,) = [entry for entry in timeline.as_dict(lines) if entry["of"] == "no-split"]
    assert told["first_changed"] == "20260102-000000-demo"
    assert [point["verdict"] for point in told["points"]] == ["PASS", "FAIL", "FAIL", "PASS", "PASS"]
    assert told["points"][1]["reason"].endswith("mthp.split = 1")


def test_the_chart_has_a_square_a_run_with_words_for_who_cannot_see_it(lines):
    shown = timeline.telling(lines)
    root = ElementTree.fromstring(chart.svg(shown))
    assert root.get("role") == "img"
    assert {root.get("aria-labelledby")} == {"title desc"}
    assert "v2 no-split: PASS since 20260104-000000-demo, FAIL before" in root.findtext(f"{SVG}desc")
    squares = root.findall(f"{SVG}g")
    assert len(squares) == 15
    told = [square.findtext(f"{SVG}title") for square in squares]
    assert sum("v2 no-split: FAIL in 20260102-000000-demo" in title for title in told) == 1
    places = {(rect.get("x"), rect.get("y")) for rect in root.iter(f"{SVG}rect")}
    assert len(places) == 15, "no square covers another"
    width, height = (float(root.get(side)) for side in ("width", "height"))
    assert all(float(x) + 18 <= width and float(y) + 18 <= height for x, y in places)


def test_ink_and_fill_of_each_verdict_have_a_contrast_of_seven():
    def luminance(colour: str) -> float:
        channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]  # WCAG 2.2, relative luminance

    assert chart._COLOURS.keys() == set(Verdict)
    for fill, ink in chart._COLOURS.values():
        light, dark = sorted((luminance(fill), luminance(ink)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 7, (fill, ink)


def test_the_page_stands_alone_and_has_the_same_as_a_table(lines):
    page = chart.html(timeline.telling(lines), title="Verdicts of <demo>")
    assert "<script" not in page
    assert not re.search(r"(?:src|href)=", page)
    assert "Verdicts of &lt;demo&gt;" in page
    assert page.count("<tr>") == 4
    assert '<html lang="en">' in page


def test_a_history_without_runs_is_an_empty_chart():
    assert timeline.lines([]) == []
    ElementTree.fromstring(chart.svg([]))
