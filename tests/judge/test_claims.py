"""Claims: true on the candidate, false on the baseline, or nothing is shown."""

import pytest

from pipeline.judge.verdict import control
from pipeline.observation import Check, Need, Step
from tests.judge.builders import (
    a_cell,
    a_claim,
    a_scenario,
    a_study,
    all_boots,
    all_cells,
    decision,
    judged,
    kernel,
    with_cell,
    without,
)

STUDY = a_study()
CELL = "v2/max/full.64k"
BASE_CELL = "base/max/full.64k"
BROKEN = Check(name="no-lost-write", ok=False)


def free(**mthp):
    return [Step(name="free", mthp=mthp)]


def test_a_claim_that_tells_candidate_from_baseline_passes_with_both_values():
    found = decision(judged(STUDY), "v2", "no-split")
    assert found.verdict == "PASS"
    assert [row.cell for row in found.rows] == [f"v2/{m}/full.{v}" for v in ("64k", "128k") for m in ("max", "a57")]
    row = found.rows[0]
    assert (row.values, row.baseline_values) == ("mthp.split = 0", "mthp.split = 4, param.folios = 4")


@pytest.mark.parametrize(
    ("where", "changes", "verdict", "reason"),
    [
        (CELL, {"steps": free(split=1)}, "FAIL", "mthp.split == 0: mthp.split = 1"),
        (CELL, {"steps": free(split=None)}, "INCONCLUSIVE", "mthp.split was not observed"),
        (CELL, {"steps": free()}, "INCONCLUSIVE", "mthp.split was not observed"),
        (CELL, {"steps": []}, "INCONCLUSIVE", "no step 'free' observed"),
        (CELL, {"steps": [Step(name="reclaim", mthp={"split": 0})]}, "INCONCLUSIVE", "no step 'free'"),
        (CELL, {"steps": free(split=0) + free(split=1)}, "FAIL", "mthp.split = 1"),
        (CELL, {"steps": free(split=0) + free(split=None)}, "INCONCLUSIVE", "not observed"),
        (CELL, {"outcome": "timeout", "reason": "30 s"}, "INCONCLUSIVE", "timeout: 30 s"),
        (CELL, {"outcome": "skipped", "needs": [Need(what="swap", ok=False)]}, "INCONCLUSIVE", "swap wanted"),
        (CELL, {"malformed": ["# kpv ?"]}, "INCONCLUSIVE", "unreadable"),
        (CELL, {"outcome": "failed", "reason": "setup"}, "INCONCLUSIVE", "outside any check: setup"),
        (CELL, {"outcome": "failed", "checks": [BROKEN]}, "PASS", ""),  # the counts stand; the invariant fails
        (BASE_CELL, {"steps": free(split=0)}, "INCONCLUSIVE", "does not discriminate: baseline has mthp.split = 0"),
        (BASE_CELL, {"steps": free(split=3)}, "INCONCLUSIVE", "does not discriminate: baseline has mthp.split = 3"),
        (BASE_CELL, {"steps": free(split=None)}, "INCONCLUSIVE", "baseline undecided: mthp.split was not observed"),
        (BASE_CELL, {"steps": []}, "INCONCLUSIVE", "baseline undecided: no step 'free'"),
        (BASE_CELL, {"outcome": "panic"}, "INCONCLUSIVE", "no baseline observation: panic"),
    ],
)
def test_one_cell_decides(where, changes, verdict, reason):
    found = decision(judged(STUDY, with_cell(all_cells(STUDY), where, **changes)), "v2", "no-split")
    assert found.verdict == verdict
    assert reason in found.reason
    if verdict != "PASS":
        assert found.reason.startswith(CELL)


@pytest.mark.parametrize(("gone", "reason"), [(CELL, "not run"), (BASE_CELL, "no baseline observation: not run")])
def test_a_cell_not_run_is_inconclusive(gone, reason):
    found = decision(judged(STUDY, without(all_cells(STUDY), gone)), "v2", "no-split")
    assert (found.verdict, reason in found.reason) == ("INCONCLUSIVE", True)


def test_a_false_candidate_fails_even_where_the_baseline_was_not_observed():
    cells = without(with_cell(all_cells(STUDY), CELL, steps=free(split=1)), BASE_CELL)
    assert decision(judged(STUDY, cells), "v2", "no-split").verdict == "FAIL"


def test_a_baseline_that_shows_the_new_behaviour_too_does_not_discriminate_whatever_its_expression_says():
    study = a_study(claim=[a_claim(baseline="mthp.split >= 0")])
    found = decision(judged(study, with_cell(all_cells(study), BASE_CELL, steps=free(split=0))), "v2", "no-split")
    assert (found.verdict, "the new behaviour too" in found.reason) == ("INCONCLUSIVE", True)


def test_a_claim_without_a_baseline_expression_rests_on_the_candidate_alone():
    study = a_study(claim=[a_claim(baseline="")])
    cells = without(all_cells(study), BASE_CELL)
    assert decision(judged(study, cells), "v2", "no-split").verdict == "PASS"


def test_a_claim_that_needs_a_baseline_in_a_study_without_one_is_inconclusive():
    study = a_study(kernel=[{"id": "v2"}])
    found = decision(judged(study), "v2", "no-split")
    assert (found.verdict, "no baseline kernel" in found.reason) == ("INCONCLUSIVE", True)


def test_a_structure_claim_fails_too_and_keeps_its_own_class():
    study = a_study(claim=[a_claim(kind="structure")])
    judgement = judged(study, with_cell(all_cells(study), CELL, steps=free(split=1)))
    found = decision(judgement, "v2", "no-split")
    assert (found.kind, found.verdict, kernel(judgement, "v2").verdict) == ("structure", "FAIL", "FAIL")


def test_a_claim_is_decided_on_its_machines_only():
    study = a_study(claim=[a_claim(machines=["a57"])])
    found = decision(judged(study, with_cell(all_cells(study), CELL, steps=free(split=1))), "v2", "no-split")
    assert (found.verdict, {row.cell.split("/")[1] for row in found.rows}) == ("PASS", {"a57"})


def test_without_a_baseline_a_claim_is_open_unless_the_study_says_that_none_is_needed():
    kernels = [{"id": "v2"}]
    open_ = a_study(kernel=kernels)
    assert decision(judged(open_), "v2", "no-split").reason.endswith("the study has no baseline kernel (and 3 more)")
    alone = a_study(kernel=kernels, compare=False)
    assert decision(judged(alone), "v2", "no-split").verdict == "PASS"
    broken = with_cell(all_cells(alone), CELL, steps=free(split=1))
    assert decision(judged(alone, broken), "v2", "no-split").verdict == "FAIL"


def test_a_claim_whose_machines_never_run_its_scenarios_is_inconclusive():
    study = a_study(
        claim=[a_claim(machines=["a57"])],
        scenario=[a_scenario("full", variants=["64k"], machines=["max"])],
    )
    found = decision(judged(study), "v2", "no-split")
    assert (found.verdict, found.reason) == ("INCONCLUSIVE", "no cell matches")


def test_a_failed_claim_that_the_study_knows_is_known():
    entry = {"id": "by-design", "of": "no-split", "scenarios": ["full.*"], "explanation": "mixed fold state"}
    study = a_study(known=[entry])
    found = decision(judged(study, with_cell(all_cells(study), CELL, steps=free(split=1))), "v2", "no-split")
    assert (found.verdict, found.known, "known: by-design" in found.reason) == ("KNOWN", ("by-design",), True)


# The baseline's own rows


def test_the_baseline_is_not_judged_by_claims_but_its_old_behaviour_is_told():
    judgement = judged(STUDY)
    base = kernel(judgement, "base")
    assert "no-split" not in [d.id for d in base.decisions]
    assert [(b.claim, b.shows) for b in base.behaviours] == [("no-split", "yes")]


@pytest.mark.parametrize(("steps", "shows"), [(free(split=0), "no"), (free(), "undecided"), ([], "undecided")])
def test_a_baseline_that_does_not_show_the_old_behaviour_still_passes_by_its_invariants(steps, shows):
    judgement = judged(STUDY, with_cell(all_cells(STUDY), BASE_CELL, steps=steps))
    base = kernel(judgement, "base")
    assert (base.verdict, base.behaviours[0].shows) == ("PASS", shows)


# Control


@pytest.mark.parametrize("name", ["base", "v2"])
def test_a_kernel_against_itself_shows_no_difference(name):
    result = control(STUDY, all_cells(STUDY), all_boots(STUDY), name)
    assert (result.claims, result.observations, result.differences) == (1, 4, ())


def test_a_claim_that_reads_old_and_new_in_one_observation_is_caught_by_the_control():
    study = a_study(claim=[a_claim(candidate="mthp.split >= 0", baseline="mthp.split <= 4")])
    result = control(study, all_cells(study), all_boots(study), "base")
    assert len(result.differences) == 4


def test_a_counter_that_is_not_steady_is_caught_by_the_control():
    cells = [*all_cells(STUDY), a_cell(BASE_CELL, steps=free(split=0))]
    [difference] = control(STUDY, cells, all_boots(STUDY), "base").differences
    assert BASE_CELL in difference


def test_the_judgement_carries_the_control_of_its_baseline():
    assert str(judged(STUDY).control) == "base against itself: 1 claim on 4 observations, 0 differences"


def test_the_same_observations_under_a_candidates_name_never_pass_a_discriminating_claim():
    """Two builds of one source: the claim must not find a change, so it fails or does not discriminate."""
    for splits in (0, 4):
        cells = [c.model_copy(update={"steps": free(split=splits)}) for c in all_cells(STUDY)]
        assert decision(judged(STUDY, cells), "v2", "no-split").verdict in ("FAIL", "INCONCLUSIVE")
