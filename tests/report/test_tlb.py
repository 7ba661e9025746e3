"""What the report tells of the TLB model: findings by rule and function, counts by kernel, reach by folio size."""

import pytest

from pipeline.report import html, junit, markdown, text, tlb
from pipeline.run import Run
from pipeline.tlb.model import Finding, Kind, Observation
from tests.report.builders import a_realistic_run

FINDING = Finding(
    rule="break-before-make",
    hardware="A",
    va=0x1000,
    asid=7,
    level=3,
    old=0xE8000048183FC3,
    new=0xF8000048183F43,
    pc=1,
    cpu=0,
    detail="another contiguous bit or size",
    missing="TLBI of this address",
    function="contpte_convert+0x114",
)
COUNTERS = {"tlbi": 2, "folds": 1, "accesses": 100, "walks_a": 4, "walks_b": 64, "hits_a": 96, "hits_b": 36}
CORE = "a76: 48 entries, then 1280 in 5 ways (Cortex-A76 TRM (100798), A5.2)"


@pytest.fixture
def run() -> Run:
    """A run in which the model watched everything on max; v2 has a finding, of the merged form one cell is in doubt."""
    made = a_realistic_run(scenarios=("full", "twice", "hole", "zram-cow", "gup"))
    cells = []
    for cell in made.cells:
        seen = Observation(counters=COUNTERS, page_size=4096, core=CORE)
        if cell.kernel == "v2" and cell.scenario == "full":
            kinds = [
                Kind(rule="break-before-make", function=f"contpte_convert+{at}", count=8) for at in ("0x114", "0x120")
            ]
            seen = seen.model_copy(update={"findings": [FINDING], "total": 16, "kinds": kinds})
        if (cell.kernel, cell.scenario, cell.variant) == ("merged", "full", "64k"):
            seen = Observation(invalid="no store to a table was seen", counters={"tlbi": 1000})
        cells.append(cell.model_copy(update={"tlb": seen}) if cell.machine == "max" else cell)
    return made.model_copy(update={"cells": cells, "judgement": None}).judged()


def test_findings_are_one_for_each_rule_and_function(run):
    (group,) = tlb.section(run).groups
    of_v2 = [cell for cell in run.cells if (cell.kernel, cell.machine, cell.scenario) == ("v2", "max", "full")]
    assert (group.kernel, group.rule, group.function) == ("v2", "break-before-make", "contpte_convert")
    assert group.count == 16 * len(of_v2) and group.cells == tuple(cell.name for cell in of_v2)
    assert "missing: TLBI of this address" in group.example


def test_counts_are_sums_by_kernel_without_what_is_in_doubt(run):
    (machine,) = tlb.section(run).machines
    each = sum((cell.kernel, cell.machine) == ("v2", "max") for cell in run.cells)
    folds = next(count for count in machine.counts if count.name == "folds")
    assert machine.kernels == ("baseline", "v2", "merged")
    assert folds.values == (each, each, each - 1) and machine.invalid == 1
    assert machine.cells == 3 * each
    assert dict(tlb.counts(run, "v2", "max"))["tlbi"] == 2 * each
    assert tlb.counts(run, "v2", "a57") == []


def test_reach_sets_a_beside_b_by_folio_size(run):
    (machine,) = tlb.section(run).machines
    sizes = [row.variant for row in machine.reach if row.kernel == "v2"]
    assert sizes == sorted(sizes, key=lambda size: int(size[:-1]))
    assert machine.core == CORE
    assert {row.saved for row in machine.reach} == {"94 %"}


def test_every_form_tells_it(run):
    assert "break-before-make in contpte_convert (v2," in " ".join(text.render(run).split())
    page = html.render(run, {})
    for word in ("TLB model</h2>", "Findings by rule and function", "contpte_convert", "Reach on max; a76: 48 entries"):
        assert word in page
    assert '<property name="tlb.folds" value=' in junit.render(run)
    assert "break-before-make in contpte" in markdown.render(run).replace("\\", "")


def test_without_a_model_nothing_is_told():
    run = a_realistic_run(scenarios=("full", "twice", "hole", "zram-cow", "gup")).judged()
    assert not tlb.section(run) and tlb.sentence(run) == ""
    assert 'id="tlb"' not in html.render(run, {}) and "tlb." not in junit.render(run)
