"""Kernels that only a TLB with contiguous entries shows, told by rule and function; stock 6.12 has no finding."""

import pytest

from pipeline import plan
from pipeline.judge.model import Verdict
from pipeline.report import tlb
from pipeline.stages import Result
from pipeline.study import Kernel, Study
from tests.system.conftest import CHECKOUT, MUTANTS, Bench

pytestmark = pytest.mark.system

HARDWARE = CHECKOUT / "tests" / "hardware-mutants"
#: Kernel -> its patch, and (rule, function) of what it does: the function is that of the store.
SEEDED = {
    "no-tlbi": (HARDWARE / "contpte-convert-no-tlbi.patch", ("break-before-make", "contpte_convert")),
    "no-dsb": (HARDWARE / "tlbflush-range-no-dsb.patch", ("tlbi-not-completed", "contpte_clear_young_dirty_ptes")),
    "one-entry": (
        MUTANTS / "contpte-access-flags-one-entry.patch",
        ("partial-update", "__ptep_set_access_flags"),
    ),
    "any-permissions": (
        MUTANTS / "contpte-fold-ignores-permissions.patch",
        ("fold-permissions", "contpte_convert"),
    ),
}
SCENARIOS = ("full_cover.64k", "partial_inner.64k", "fold_one_page_used.64k", "fold_part_protected.64k")


@pytest.fixture(scope="module")
def result(shipped: Study, session_options) -> Result:
    """Stock 6.12 and the seeded kernels, side by side on the machines with a model."""
    kernels = (Kernel(id="merged"), *(Kernel(id=name, series=(str(patch),)) for name, (patch, _) in SEEDED.items()))
    study = shipped.model_copy(update={"kernel": kernels, "compare": False})
    narrowed = plan.narrow(study, machines=("max-tlb", "a57-tlb"), scenarios=SCENARIOS)
    return Bench(session_options).validate(narrowed)


def decision(result: Result, kernel: str, name: str = "tlb-rules"):
    judged = next(one for one in result.run.judgement.kernels if one.kernel == kernel)
    return next(one for one in judged.decisions if one.id == name)


@pytest.mark.parametrize("kernel", SEEDED)
def test_a_seeded_bug_is_told_by_rule_and_function(result: Result, kernel: str):
    rule, function = SEEDED[kernel][1]
    found = decision(result, kernel)
    assert found.verdict == Verdict.FAIL
    groups = [group for group in tlb.section(result.run).groups if group.kernel == kernel]
    assert (rule, function) in {(group.rule, group.function) for group in groups}
    told = next(group for group in groups if (group.rule, group.function) == (rule, function))
    assert told.example.startswith(f"{rule} in {function}")
    assert "; missing: " in told.example and ", ASID " in told.example


def test_stock_has_no_finding_and_every_cell_was_watched(result: Result):
    found = decision(result, "merged")
    assert found.verdict == Verdict.PASS
    assert len(found.rows) == 2 * len(SCENARIOS)
    for cell in result.run.cells:
        assert cell.tlb is not None and cell.tlb.invalid == "", cell.name


def test_the_model_counts_the_folds_that_the_probes_count(result: Result):
    assert decision(result, "merged", "folds-as-probed").verdict == Verdict.PASS
    folds = {count.name: count.values for count in tlb.section(result.run).machines[0].counts}
    assert folds["unfolds"][0] > 0


def test_one_entry_for_a_block_saves_walks(result: Result):
    """Of folios that are blocks; the reads and writes of the test are the same to both TLBs."""
    for machine in tlb.section(result.run).machines:
        row = next(row for row in machine.reach if (row.variant, row.kernel) == ("64k", "merged"))
        assert 0 < row.walks_a < row.walks_b
        assert row.accesses > row.walks_b
