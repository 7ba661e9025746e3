"""The built-in invariant on TLBs: decided from what the model saw, where a machine has one."""

import pytest

from pipeline.judge import tlb
from pipeline.judge.expr import Undecided, evaluate
from pipeline.judge.invariants import PRE_EXISTING
from pipeline.judge.model import Verdict
from pipeline.observation import Outcome, Step
from pipeline.study import BUILT_IN
from pipeline.tlb.model import NO_LINE, Finding, Kind, Observation
from tests.judge.builders import a_study, all_boots, all_cells, decision, judged, kernel, with_cell

STUDY = a_study()
CELL, BASE_CELL = "v2/max/full.64k", "base/max/full.64k"
NAME = "tlb-rules"
COUNTERS = {"pte_stores": 40, "tightened": 16, "tlbi": 2, "audits": 1}
SOUND = Observation(counters=COUNTERS, page_size=4096)


def finding(**changes) -> Finding:
    """Of a block that was folded over single entries without an invalidation."""
    data = {
        "rule": "break-before-make",
        "hardware": "A",
        "va": 0x1000_0000_3000,
        "asid": 7,
        "level": 3,
        "old": 0xE8000048183FC3,
        "new": 0xF8000048183F43,
        "pc": 0xFFFF800080010114,
        "cpu": 0,
        "detail": "another contiguous bit or size",
        "missing": "TLBI of this address, after DSB ISHST, and DSB ISH after it",
        "step": "free",
        "function": "contpte_convert+0x114",
    }
    return Finding.model_validate(data | changes)


def saw(*findings: Finding, count: int = 1, **changes) -> Observation:
    kinds = {(one.rule, one.function) for one in findings}
    data = {
        "findings": list(findings),
        "total": count * len(findings),
        "kinds": [Kind(rule=rule, function=function, count=count) for rule, function in kinds],
    }
    return SOUND.model_copy(update=data | changes)


def decided(*, plugins=("checkpoint", "contpte-tlb"), cell=None, base=None, others=SOUND):
    """The judgement where the model saw ``others`` of every cell, but for those that are told."""
    boots = [boot.model_copy(update={"plugins": list(plugins)}) for boot in all_boots(STUDY)]
    cells = [one.model_copy(update={"tlb": others}) for one in all_cells(STUDY)]
    for name, changes in ((CELL, cell), (BASE_CELL, base)):
        if changes is not None:
            cells = with_cell(cells, name, **{"tlb": others} | changes)
    return judged(STUDY, cells, boots)


def test_a_cell_without_findings_passes_and_says_what_that_rests_on():
    found = decision(decided(), "v2", NAME)
    assert found.verdict == Verdict.PASS and found.title == BUILT_IN[NAME] and len(found.rows) == 6
    assert found.rows[0].text == (
        "40 stores to page tables, 16 of them tightening, 2 TLBI, 1 audits of contiguous blocks"
    )


def test_a_finding_fails_with_rule_function_descriptors_and_what_is_missing():
    judgement = decided(cell={"tlb": saw(finding(), count=16)})
    found = decision(judgement, "v2", NAME)
    assert found.verdict == Verdict.FAIL and kernel(judgement, "v2").verdict == Verdict.FAIL
    for word in (
        f"{CELL}: break-before-make in contpte_convert+0x114, VA 0x100000003000, ASID 7, step free",
        "old page 0x48183000 user read-only AF nG DBM PXN UXN sw-dirty attr 0 inner [0x00e8000048183fc3]",
        "new page 0x48183000 user AF nG DBM cont PXN UXN",
        "missing: TLBI of this address, after DSB ISHST, and DSB ISH after it",
        "wrong on a core that caches a contiguous block as one entry; 16 times",
    ):
        assert word in found.reason


def test_an_invalidation_that_was_not_enough_is_named():
    late = finding(rule="tlbi-not-completed", tlbi="contpte_convert+0xf0", taken="zap_pte_range+0x10")
    reason = decision(decided(cell={"tlb": saw(late)}), "v2", NAME).reason
    assert "(not enough: that in contpte_convert+0xf0)" in reason and "(taken away in zap_pte_range+0x10)" in reason


def test_a_block_that_overlaps_with_pages_is_read_as_one():
    huge = finding(rule="overlap", old=0x68000044600FC1)
    reason = decision(decided(cell={"tlb": saw(huge)}), "v2", NAME).reason
    assert "old block 0x44600000 user read-only AF" in reason and "new page 0x48183000" in reason


def test_findings_are_told_once_a_rule_and_function():
    found = saw(finding(), finding(va=0x1000), finding(rule="overlap"), finding(function="set_pte_range+0x8"))
    reason = decision(decided(cell={"tlb": found}), "v2", NAME).reason
    assert "(and 2 more)" in reason


def test_a_function_that_the_compiler_cloned_is_the_one_in_the_source():
    assert tlb.function("contpte_convert.isra.0+0x114") == tlb.function("contpte_convert+0x20") == "contpte_convert"


def test_the_same_findings_on_the_baseline_are_pre_existing_and_others_are_not():
    mine = {"tlb": saw(finding())}
    found = decision(decided(cell=mine, base={"tlb": saw(finding(pc=1, function="contpte_convert+0x20"))}), "v2", NAME)
    assert found.verdict == Verdict.KNOWN and found.known == (PRE_EXISTING,)
    other = {"tlb": saw(finding(function="set_pte_range+0x8"))}
    assert decision(decided(cell=mine, base=other), "v2", NAME).verdict == Verdict.FAIL


@pytest.mark.parametrize(
    ("observation", "why"),
    [
        (None, "the TLB model said nothing of this test"),
        (Observation(invalid="no store to a table was seen"), "no store to a table was seen"),
        (saw(finding(), invalid="3 stores to tables were missed"), "in doubt with it: break-before-make in contpte"),
        (Observation(total=3, counters=COUNTERS), "counted 3 findings and told none"),
    ],
)
def test_a_model_that_does_not_vouch_for_itself_is_never_no_findings(observation, why):
    found = decision(decided(cell={"tlb": observation}), "v2", NAME)
    assert found.verdict == Verdict.INCONCLUSIVE
    assert why in found.reason


def test_what_was_found_before_the_kernel_died_counts():
    died = saw(finding(), invalid=NO_LINE, counters={})
    found = decision(decided(cell={"tlb": died, "outcome": Outcome.PANIC, "checks": []}), "v2", NAME)
    assert found.verdict == Verdict.FAIL and "break-before-make in contpte_convert" in found.reason
    nothing = decision(decided(cell={"tlb": saw(invalid=NO_LINE), "outcome": Outcome.PANIC, "checks": []}), "v2", NAME)
    assert nothing.verdict == Verdict.INCONCLUSIVE and NO_LINE in nothing.reason


def test_without_a_model_there_is_nothing_to_decide():
    assert NAME not in [one.id for one in kernel(decided(plugins=("checkpoint",), others=None), "v2").decisions]


def test_a_counter_of_the_model_can_be_claimed():
    step = Step(name="free", tlb={"folds": 0, "tlbi_range": 1})
    assert evaluate("tlb.folds == 0 and tlb.tlbi_range == 1", step, {}).truth is True
    assert isinstance(evaluate("tlb.folds == 0", Step(name="free"), {}).truth, Undecided)
