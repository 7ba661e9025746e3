"""The built-in invariant on contiguous blocks: decided from page tables, where these were read."""

import pytest

from pipeline.contpte.tables import Tables
from pipeline.judge.expr import Undecided, evaluate
from pipeline.judge.invariants import PRE_EXISTING
from pipeline.judge.model import Verdict
from pipeline.observation import Need, Pages, Step
from pipeline.study import BUILT_IN
from tests.judge.builders import a_study, all_boots, all_cells, decision, judged, kernel, with_cell

STUDY = a_study()
CELL, BASE_CELL = "v2/max/full.64k", "base/max/full.64k"
NAME = "block-attributes"
VA = 0x1000_0000_0000


def reading(*runs: str, **changes) -> Tables:
    """Tables of one block of 16 pages that is folded, young and dirty, unless runs say otherwise."""
    data = {
        "at": "after-free",
        "when": "checkpoint",
        "base": VA,
        "bytes": 0x10000,
        "granule": "4k",
        "hardware_af": True,
        "hardware_dirty": True,
        "counts": {"folded": 1},
        "entries": list(runs) or [f"{VA:x} 3 f8000041f70f43 x16 +1000"],
    }
    return Tables.model_validate(data | changes)


SPOILT = (
    f"{VA:x} 3 f8000041f70f43 x3 +1000",
    f"{VA + 0x3000:x} 3 f0000041f73fc3",
    f"{VA + 0x4000:x} 3 f8000041f74f43 x12 +1000",
)


SOUND = (reading(),)


def decided(*, plugins=("checkpoint",), cell=None, base=None, others=SOUND):
    """The judgement where every cell has the readings ``others``, but for those that are told."""
    boots = [boot.model_copy(update={"plugins": list(plugins)}) for boot in all_boots(STUDY)]
    cells = [one.model_copy(update={"tables": list(others)}) for one in all_cells(STUDY)]
    for name, changes in ((CELL, cell), (BASE_CELL, base)):
        if changes is not None:
            cells = with_cell(cells, name, **{"tables": list(others)} | changes)
    return judged(STUDY, cells, boots)


def test_sound_blocks_pass_and_say_what_that_rests_on():
    found = decision(decided(), "v2", NAME)
    assert found.verdict == Verdict.PASS and found.title == BUILT_IN[NAME] and len(found.rows) == 6
    assert found.rows[0].text == "1 readings of page tables, 1 contiguous blocks in them"


def test_a_broken_rule_fails_with_rule_place_and_page():
    pages = [Pages(at="after-free", region="range", states="L" * 16)]
    changes = {"tables": [reading(at="before-free"), reading(*SPOILT)], "pages": pages}
    changes["params"] = {"pages_per_folio": 16}
    judgement = decided(cell=changes)
    found = decision(judgement, "v2", NAME)
    assert found.verdict == Verdict.FAIL and kernel(judgement, "v2").verdict == Verdict.FAIL
    for word in (CELL, "after-free: block-permissions: VA 0x100000003000, entry 3", "lazyfree page of a large folio"):
        assert word in found.reason
    assert "frame 0x41f73 of the folio of 16 pages at frame 0x41f70" in found.reason


def test_the_same_rule_broken_on_the_baseline_is_pre_existing():
    spoilt = {"tables": [reading(*SPOILT)]}
    found = decision(decided(cell=spoilt, base=spoilt), "v2", NAME)
    assert found.verdict == Verdict.KNOWN and PRE_EXISTING in found.reason


def test_another_rule_broken_on_the_baseline_excuses_nothing():
    gone = reading(f"{VA:x} 3 f8000041f70f43 x15 +1000", f"{VA + 0xF000:x} 3 0")
    found = decision(decided(cell={"tables": [reading(*SPOILT)]}, base={"tables": [gone]}), "v2", NAME)
    assert found.verdict == Verdict.FAIL


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tables": []}, "no page tables on record"),
        ({"tables": [reading(), reading(failure="no RAM", entries=[], counts={})]}, "page tables not read: no RAM"),
        ({"tables": [reading(*SPOILT, others=1)]}, "half of a change"),
        ({"tables": [reading(*SPOILT, steady=False)]}, "half of a change"),
        ({"needs": [Need(what="folded_pages", ok=False, want="16", got="0")]}, "folded_pages wanted 16, got 0"),
        ({"outcome": "timeout", "reason": "30 s"}, "timeout"),
    ],
)
def test_what_was_not_seen_whole_is_inconclusive(changes, reason):
    found = decision(decided(cell=changes), "v2", NAME)
    assert found.verdict == Verdict.INCONCLUSIVE and reason in found.reason


def test_a_violation_that_is_sure_outweighs_one_that_is_not_and_a_hindrance():
    changes = {"tables": [reading(*SPOILT, others=1), reading(*SPOILT)], "outcome": "timeout", "reason": "30 s"}
    assert decision(decided(cell=changes), "v2", NAME).verdict == Verdict.FAIL


def test_nothing_is_decided_where_the_tables_were_not_recorded():
    judgement = decided(plugins=(), cell={"tables": [reading(*SPOILT)]}, others=())
    assert NAME not in [d.id for d in kernel(judgement, "v2").decisions]
    assert kernel(judgement, "v2").verdict == Verdict.PASS


def test_nothing_is_decided_where_no_folio_could_be_folded():
    plain = reading(f"{VA:x} 3 e8000041f70f43 x16 +1000", counts={"folded": 0})
    judgement = decided(others=(plain,))
    assert NAME not in [d.id for d in kernel(judgement, "v2").decisions]


def test_cells_without_a_block_say_nothing_beside_cells_with_one():
    plain = reading(f"{VA:x} 3 e8000041f70f43 x16 +1000", counts={"folded": 0})
    found = decision(decided(cell={"tables": [plain]}), "v2", NAME)
    assert found.verdict == Verdict.PASS and CELL not in [row.cell for row in found.rows]


def test_claims_may_name_counts_of_the_tables():
    step = Step(name="free", pt={"folded_before": 4, "folded_after": 4, "dirty_after": 0})
    assert evaluate("pt.folded_after == pt.folded_before and pt.dirty_after == 0", step, {}).truth is True
    found = evaluate("pt.young_after == 0", step, {}).truth
    assert isinstance(found, Undecided) and "pt.young_after was not observed" in found.reason
