"""Kernel verdicts against expectations, exit codes, and what holds for every run."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.judge.model import BuildFact, Verdict, worst
from pipeline.judge.verdict import judge
from pipeline.observation import Check, Step
from tests.judge.builders import (
    BUILT,
    a_boot,
    a_cell,
    a_study,
    all_boots,
    all_cells,
    judged,
    kernel,
    names,
    with_cell,
    without,
)

CELL = "v2/max/full.64k"
BROKEN = [Check(name="no-lost-write", ok=False)]
SPLIT = [Step(name="free", mthp={"split": 1})]


def expecting(verdict, *failing):
    return a_study(
        kernel=[{"id": "base", "role": "baseline"}, {"id": "v2", "expect": {"verdict": verdict, "failing": failing}}]
    )


FAILS_INVARIANT = {"checks": BROKEN, "outcome": "failed"}
FAILS_CLAIM = {"steps": SPLIT}
FAILS_BOTH = FAILS_INVARIANT | FAILS_CLAIM
UNSURE = {"outcome": "skipped"}
UNSURE_CHECK_BUT_CLAIM_FAILS = {"checks": [], "steps": SPLIT}


@pytest.mark.parametrize(
    ("expected", "observed", "exit_code", "difference"),
    [
        (("PASS",), {}, 0, ""),
        (("PASS",), FAILS_INVARIANT, 1, "expected PASS, judged FAIL"),
        (("PASS",), UNSURE, 4, "expected PASS, judged INCONCLUSIVE"),
        (("FAIL",), FAILS_INVARIANT, 0, ""),
        (("FAIL",), {}, 1, "expected FAIL, judged PASS"),
        (("FAIL",), UNSURE, 4, "expected FAIL, judged INCONCLUSIVE"),
        (("FAIL", "no-lost-write"), FAILS_INVARIANT, 0, ""),
        (("FAIL", "no-lost-write", "no-split"), FAILS_BOTH, 0, ""),
        (("FAIL", "no-lost-write"), FAILS_BOTH, 1, "no-split fails and was not expected to"),
        (("FAIL", "no-lost-write", "no-split"), FAILS_CLAIM, 1, "no-lost-write was expected to fail, judged PASS"),
        (
            ("FAIL", "no-lost-write", "no-split"),
            UNSURE_CHECK_BUT_CLAIM_FAILS,
            4,
            "no-lost-write was expected to fail, judged INCONCLUSIVE",
        ),
        (("FAIL", "no-lost-write"), FAILS_CLAIM, 1, "no-lost-write was expected to fail, judged PASS; no-split fails"),
        (("INCONCLUSIVE",), UNSURE, 0, ""),
        (("INCONCLUSIVE",), {}, 1, "expected INCONCLUSIVE, judged PASS"),
        (("INCONCLUSIVE",), FAILS_CLAIM, 1, "expected INCONCLUSIVE, judged FAIL"),
    ],
)
def test_expectation_and_exit_code(expected, observed, exit_code, difference):
    study = expecting(*expected)
    judgement = judged(study, with_cell(all_cells(study), CELL, **observed))
    found = kernel(judgement, "v2")
    assert judgement.exit_code == exit_code
    assert found.as_expected == (exit_code == 0)
    assert found.difference.startswith(difference)
    assert bool(found.difference) == bool(difference)


def test_precedence_of_exit_codes_1_over_3_over_4_over_0():
    study = a_study()
    unsure = with_cell(all_cells(study), "v2/a57/fork.64k", outcome="skipped")
    assert judged(study, unsure).exit_code == 4
    lost = with_cell(unsure, "v2/max/fork.64k", outcome="lost")
    assert judged(study, lost).exit_code == 3
    assert judged(study, with_cell(lost, CELL, **FAILS_CLAIM)).exit_code == 1


@pytest.mark.parametrize(
    ("builds", "boots_of_base", "word"),
    [
        ({"v2": BuildFact(ok=True)}, True, "not built"),
        (BUILT | {"base": BuildFact(ok=False, failure="x")}, False, "not built"),
        (BUILT, False, "not booted"),
    ],
)
def test_a_baseline_not_built_or_not_booted_is_infrastructure(builds, boots_of_base, word):
    study = expecting("PASS")
    cells = [c for c in all_cells(study) if c.kernel != "base"]
    boots = [b for b in all_boots(study) if boots_of_base or b.kernel != "base"]
    judgement = judged(study, cells, boots, builds)
    assert any(word in line for line in judgement.infra)
    assert judgement.exit_code == 3


def test_a_cell_lost_by_the_surroundings_spoils_the_run_even_when_verdicts_are_as_expected():
    study = expecting("INCONCLUSIVE")
    judgement = judged(study, with_cell(all_cells(study), CELL, outcome="lost", reason="QEMU was killed"))
    assert kernel(judgement, "v2").as_expected
    assert judgement.infra == (f"{CELL}: lost: QEMU was killed",)
    assert judgement.exit_code == 3


def test_nothing_observed_is_inconclusive_never_a_pass():
    judgement = judge(a_study(), [], [], {})
    assert {k.verdict for k in judgement.kernels} == {Verdict.INCONCLUSIVE}
    assert {d.verdict for k in judgement.kernels for d in k.decisions} == {Verdict.INCONCLUSIVE}
    assert worst([]) == Verdict.INCONCLUSIVE


# Properties of every run

#: No deadline: the machine may be building a kernel meanwhile.
CALM = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])

STUDY = a_study(
    known=[{"id": "k", "of": "no-lost-write", "scenarios": ["fork.*"], "machines": ["a57"], "explanation": "e"}]
)
CHANGES = st.sampled_from(
    [
        {},
        FAILS_INVARIANT,
        FAILS_CLAIM,
        UNSURE,
        {"outcome": "timeout"},
        {"outcome": "panic", "console_findings": ["BUG: x"]},
        {"outcome": "lost"},
        {"malformed": ["?"]},
        {"checks": []},
        {"steps": []},
        {"steps": [Step(name="free", mthp={"split": None})]},
        {"outcome": "failed"},
    ]
)
PLAN = names(STUDY)
RUNS = st.dictionaries(st.sampled_from(PLAN), CHANGES, max_size=4).map(
    lambda changes: [a_cell(name, **changes.get(name, {})) for name in PLAN]
)


def fails(judgement):
    return {(k.kernel, d.id) for k in judgement.kernels for d in k.decisions if d.verdict == "FAIL"}


@CALM
@given(RUNS, st.randoms(use_true_random=False))
def test_the_order_of_cells_and_boots_is_irrelevant(cells, random):
    shuffled, boots = list(cells), all_boots(STUDY)
    random.shuffle(shuffled)
    random.shuffle(boots)
    assert judged(STUDY, shuffled, boots) == judged(STUDY, cells)


@CALM
@given(RUNS, st.lists(st.sampled_from(PLAN), max_size=4))
def test_a_failure_never_disappears_by_adding_passing_cells(cells, more):
    assert fails(judged(STUDY, cells)) <= fails(judged(STUDY, [*cells, *(a_cell(name) for name in more)]))


@CALM
@given(RUNS, st.sets(st.sampled_from(PLAN), min_size=1, max_size=3))
def test_removing_cells_never_turns_a_decision_into_a_pass(cells, gone):
    _never_better(judged(STUDY, cells), judged(STUDY, without(cells, *gone)))


@CALM
@given(RUNS, st.sampled_from(["steps", "checks", "params"]), st.sampled_from(PLAN))
def test_removing_the_records_of_a_cell_never_turns_a_decision_into_a_pass(cells, what, name):
    thinner = [c.model_copy(update={what: {} if what == "params" else []}) if c.name == name else c for c in cells]
    _never_better(judged(STUDY, cells), judged(STUDY, thinner))


@CALM
@given(RUNS, st.sampled_from(all_boots(STUDY)), st.sampled_from(["poweroff", "panic", "lost"]), st.integers(0, 3))
def test_removing_a_boot_or_its_preconditions_never_turns_a_decision_into_a_pass(cells, boot, end, keep):
    others = [b for b in all_boots(STUDY) if b.id != boot.id]
    whole = a_boot(f"{boot.kernel}/{boot.machine}", end=end)
    before = judged(STUDY, cells, [*others, whole])
    _never_better(before, judged(STUDY, cells, others))
    _never_better(before, judged(STUDY, cells, [*others, whole.model_copy(update={"needs": whole.needs[:keep]})]))


@CALM
@given(RUNS, st.sampled_from(["base", "v2"]))
def test_removing_a_build_never_turns_a_decision_into_a_pass(cells, name):
    _never_better(judged(STUDY, cells), judged(STUDY, cells, builds={k: v for k, v in BUILT.items() if k != name}))


def _never_better(before, after):
    for old, new in zip(before.kernels, after.kernels, strict=True):
        if old.verdict != "PASS":
            assert new.verdict != "PASS"
        for one, other in zip(old.decisions, new.decisions, strict=True):
            if one.verdict != "PASS":
                assert other.verdict != "PASS", (other.id, one, other)


def test_a_judgement_survives_json():
    judgement = judged(STUDY, with_cell(all_cells(STUDY), CELL, **FAILS_BOTH))
    assert type(judgement).model_validate_json(judgement.model_dump_json()) == judgement
