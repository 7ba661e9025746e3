"""A real run, kept: MADV_FREE and exit on the kernels of the shipped study."""

from pathlib import Path

import pytest

from pipeline.cost import model, spec
from pipeline.cost.flame import flame
from pipeline.cost.report import markdown, text
from pipeline.cost.report.view import View
from pipeline.cost.spec import Point
from pipeline.judge.model import Verdict

RUN = model.load(Path(__file__).parent / "data" / "real.json")
AT_64K = Point("free", 65536, 64 << 20)


@pytest.fixture(scope="module")
def view() -> View:
    return View(RUN)


def counts(view: View, kernel: str, point: Point = AT_64K) -> dict[str, int | None]:
    sample = view.measured.one(kernel, "max", point)
    assert sample is not None
    return sample.counts


def test_everything_that_the_study_counts_was_counted(view):
    assert {(s.outcome, s.machine) for s in RUN.samples} == {("measured", "max")}
    assert len(RUN.samples) == 3 * len(spec.points(RUN.study.content.cost))


def test_the_kernels_are_judged_as_the_study_expects(view):
    verdicts = {kernel.kernel: (kernel.verdict, kernel.as_expected) for kernel in view.judgement.kernels}
    assert verdicts == {
        "baseline": (Verdict.PASS, True),
        "v2": (Verdict.FAIL, True),
        "merged": (Verdict.PASS, True),
    }
    assert view.judgement.exit_code == 0


def test_version_2_takes_each_block_apart_and_puts_it_together_and_the_merged_form_does_not(view):
    blocks = view.measured.params(AT_64K)["blocks"]
    assert blocks == 1024
    v2, merged = counts(view, "v2"), counts(view, "merged")
    assert (v2["converts"], v2["unfolds"], v2["folds"]) == (2 * blocks, blocks, blocks)
    assert v2["tlbi_range"] == 2 * blocks + merged["tlbi_range"]
    assert (merged["converts"], merged["tlbi_range"]) == (0, 1)


def test_a_tenth_at_64k_has_room_and_its_report_says_how_much(view):
    assert 20 < counts(view, "baseline")["instructions"] / counts(view, "merged")["instructions"] < 30


def test_cost_grows_no_faster_than_the_range_and_64_mib_tell_what_1_gib_does(view):
    for series in view.range_growth():
        assert not any(one.growth.faster_than_linear for one in series.kernels)
        assert all(0.95 < one.growth.exponent <= 1.01 for one in series.kernels)
    for steady in view.steady():
        ratios = dict(steady.ratios)
        assert ratios["64m"] == pytest.approx(ratios["1g"], rel=0.02)


def test_a_flame_graph_holds_every_instruction_of_the_call(view):
    sample = view.measured.one("v2", "max", AT_64K)
    drawn = flame(sample.profile.stacks)
    assert drawn.total == sample.counts["instructions"]
    names = {frame.name for frame in drawn.frames}
    assert {"madvise_free_pte_range", "__contpte_try_fold", "contpte_convert"} <= names
    assert drawn.hidden < 0.05 * drawn.total


def test_the_report_of_it_fits_a_mail_and_stands_beside_the_published_table(view):
    assert max(map(len, text.render(view).splitlines())) <= 71
    lines = markdown.render(view).splitlines()
    (row,) = [line for line in lines if line.startswith("| 64k |") and line.endswith("| 2.4578 | 0.052812 |")]
    assert " 46.5 " in row
