"""What kills a mutant, what does not, and what is left open."""

import pytest

from pipeline.mutate.score import Outcome, Reference, Score, Trial, study_of
from pipeline.observation import Boot, Cell, Check, Need, Step
from pipeline.observation import Outcome as Ended
from tests.judge.builders import a_boot, a_cell, a_claim, a_scenario, a_study

LOST = Check(name="no-lost-write", ok=False, detail="page 3 reads zeroes")
SPLIT = [Step(name="free", mthp={"split": 4})]
NAME = "no-flush"


def study(**changes):
    claims = [a_claim(baseline=""), a_claim(id="cheap", kind="structure", candidate="mthp.split < 1")]
    return a_study(
        **{
            "kernel": [{"id": "base", "role": "baseline"}, {"id": "merged"}],
            "scenario": [
                a_scenario("full", variants=["64k", "128k"], properties=["P1", "P8"]),
                a_scenario("fork", variants=["64k"], properties=["P6"]),
            ],
            "claim": claims,
        }
        | changes
    )


def cells(kernel: str, *, machines=("max", "a57"), **changed) -> list[Cell]:
    """Every cell passing but those changed: ``full_64k={...}`` on every machine, ``max_full_64k={...}`` on one."""
    made = []
    for machine in machines:
        for job in ("full.64k", "full.128k", "fork.64k"):
            key = job.replace(".", "_")
            more = changed.get(f"{machine}_{key}", changed.get(key, {}))
            made.append(a_cell(f"{kernel}/{machine}/{job}", **more))
    return made


def boots(kernel: str, **changes) -> list[Boot]:
    return [a_boot(f"{kernel}/{machine}", **changes) for machine in ("max", "a57")]


def trial(the_study=None, **reference) -> Trial:
    return Trial(Reference(the_study or study(), "merged", cells("merged", **reference), boots("merged")), NAME)


def score(the_trial: Trial | None = None, **mutant) -> Score:
    return (the_trial or trial()).score(cells(NAME, **mutant), boots(NAME))


def checks(found) -> list[tuple[str, str, str]]:
    return [(each.check, each.machine, each.cell) for each in found]


FAILED = {"outcome": Ended.FAILED, "checks": [LOST]}


def test_a_mutant_that_changes_nothing_survives_or_is_accepted():
    found = score()
    assert found == Score()
    assert found.outcome("bug") is Outcome.SURVIVED
    assert found.outcome("legal") is Outcome.ACCEPTED


def test_a_check_that_fails_with_the_mutant_alone_kills_it_and_says_where_and_why():
    found = score(max_full_64k=FAILED)
    (kill,) = found.kills
    assert (kill.check, kill.kind, kill.machine, kill.cell) == ("no-lost-write", "invariant", "max", "full.64k")
    assert kill.message == "page 3 reads zeroes"
    assert kill.properties == ("P1", "P8")
    assert found.outcome("bug") is Outcome.KILLED
    assert found.outcome("legal") is Outcome.REJECTED


def test_what_fails_without_the_mutant_too_kills_nothing():
    found = score(trial(full_64k=FAILED), full_64k=FAILED)
    assert found == Score()
    assert found.outcome("bug") is Outcome.SURVIVED


def test_what_fails_without_the_mutant_in_another_cell_or_on_another_machine_is_no_excuse():
    the_trial = trial(full_64k=FAILED)
    assert checks(score(the_trial, full_64k=FAILED, full_128k=FAILED).kills) == [
        ("no-lost-write", "max", "full.128k"),
        ("no-lost-write", "a57", "full.128k"),
    ]
    one_sided = trial(max_full_64k=FAILED)
    assert checks(score(one_sided, full_64k=FAILED).kills) == [("no-lost-write", "a57", "full.64k")]


def a_known(**changes):
    return {"id": "k", "of": "no-lost-write", "scenarios": ["full.*"], "explanation": "understood"} | changes


@pytest.mark.parametrize("kernels", [["*"], ["merged"]])
def test_a_known_finding_of_the_kernel_under_test_kills_nothing(kernels):
    known = study(known=[a_known(kernels=kernels)])
    found = score(trial(known, full_64k=FAILED), full_64k=FAILED, full_128k=FAILED, fork_64k=FAILED)
    assert checks(found.kills) == [("no-lost-write", "max", "fork.64k"), ("no-lost-write", "a57", "fork.64k")]


def test_a_known_finding_of_another_kernel_is_no_excuse():
    found = score(trial(study(known=[a_known(kernels=["base"])])), full_64k=FAILED)
    assert len(found.kills) == 2


def test_a_claim_on_function_that_no_longer_holds_kills():
    found = score(trial(study(claim=[a_claim(baseline="")])), max_full_64k={"steps": SPLIT})
    assert [(k.check, k.kind) for k in found.kills] == [("no-split", "function")]
    assert "mthp.split" in found.kills[0].message


def test_whether_a_claim_discriminates_from_the_baseline_does_not_matter():
    claim = a_claim(baseline="mthp.split == 99")
    found = score(trial(study(claim=[claim])), full_64k={"steps": SPLIT})
    assert len(found.kills) == 2
    assert score(trial(study(claim=[claim]))) == Score()


def test_a_claim_that_is_false_without_the_mutant_kills_nothing():
    found = score(trial(full_64k={"steps": SPLIT}), full_64k={"steps": SPLIT})
    assert found == Score()


STRUCTURE_ONLY = [a_claim(id="cheap", kind="structure", baseline="")]


def test_a_structure_claim_kills_a_bug_as_such_and_rejects_no_legal_variant():
    found = score(trial(study(claim=STRUCTURE_ONLY)), full_64k={"steps": SPLIT})
    assert found.kills == ()
    assert {(each.check, each.kind) for each in found.structure} == {("cheap", "structure")}
    assert found.outcome("bug") is Outcome.KILLED
    assert found.outcome("legal") is Outcome.ACCEPTED


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"outcome": Ended.PANIC, "reason": "Kernel panic"}, "completes"),
        ({"outcome": Ended.HANG, "reason": "soft lockup"}, "completes"),
        ({"outcome": Ended.TIMEOUT, "reason": "not done within 5 s"}, "completes"),
        ({"outcome": Ended.CRASHED, "reason": "ended by signal 7"}, "completes"),
        ({"console_findings": ["BUG: Bad page state"]}, "console-clean"),
    ],
)
def test_what_the_kernel_does_to_itself_kills_by_a_built_in_check(change, check):
    found = score(max_full_64k=change)
    assert (check, "built-in") in {(kill.check, kill.kind) for kill in found.kills}
    assert {kill.machine for kill in found.kills} == {"max"}


def test_the_same_line_on_the_console_without_the_mutant_kills_nothing():
    warning = {"console_findings": ["WARNING: at mm/rmap.c:12"]}
    assert score(trial(full_64k=warning), full_64k=warning).kills == ()
    other = {"console_findings": ["WARNING: at mm/memory.c:12"]}
    assert {kill.check for kill in score(trial(full_64k=warning), full_64k=other).kills} == {"console-clean"}


def test_a_kernel_that_does_not_boot_is_killed_by_boots():
    not_run = {"outcome": Ended.NOT_RUN, "reason": "the guest ended", "steps": [], "checks": [], "boot": ""}
    observed = cells(NAME, full_64k=not_run, full_128k=not_run, fork_64k=not_run)
    found = trial().score(observed, boots(NAME, end="panic", failure="Kernel panic while booting"))
    assert checks(found.kills) == [("boots", "max", ""), ("boots", "a57", "")]
    assert found.outcome("bug") is Outcome.KILLED


def test_a_boot_that_ends_badly_between_cells_kills():
    found = trial().score(cells(NAME), [a_boot(f"{NAME}/max", end="panic"), a_boot(f"{NAME}/a57")])
    assert checks(found.kills) == [("completes", "max", "")]


@pytest.mark.parametrize(
    "change",
    [
        {"outcome": Ended.LOST, "reason": "QEMU was killed"},
        {"outcome": Ended.NOT_RUN, "steps": [], "checks": []},
        {"outcome": Ended.SKIPPED, "needs": [Need(what="folio_order", ok=False, want="4", got="0")]},
        {"malformed": ["# kpv {"]},
        {"checks": []},
    ],
)
def test_what_is_undecided_is_neither_kill_nor_pass(change):
    found = score(max_full_64k=change)
    assert found.kills == ()
    assert found.open
    assert found.outcome("bug") is Outcome.INCONCLUSIVE
    assert found.outcome("legal") is Outcome.INCONCLUSIVE


def test_what_hinders_a_cell_is_told_once_and_apart_for_costs():
    found = score(max_full_64k={"outcome": Ended.LOST, "reason": "QEMU was killed"})
    assert [(each.kind, each.machine, each.cell) for each in found.open] == [
        ("built-in", "max", "full.64k"),
        ("structure", "max", "full.64k"),
    ]


def test_a_claim_whose_counter_is_gone_is_left_open():
    blind = {"steps": [Step(name="free", mthp={"split": None})]}
    found = score(trial(study(claim=[a_claim(baseline="")])), full_64k=blind)
    assert found.outcome("bug") is Outcome.INCONCLUSIVE
    found = score(trial(study(claim=STRUCTURE_ONLY)), full_64k=blind)
    assert found.outcome("bug") is Outcome.INCONCLUSIVE
    assert found.outcome("legal") is Outcome.ACCEPTED, "a cost that could not be counted rejects nobody"


def test_what_is_undecided_without_the_mutant_too_is_not_asked_for():
    skipped = {"outcome": Ended.SKIPPED, "needs": [Need(what="folio_order", ok=False)], "checks": [], "steps": []}
    assert score(trial(full_64k=skipped), full_64k=skipped) == Score()


def test_a_failure_where_the_kernel_under_test_was_not_observed_is_no_certain_kill():
    found = score(trial(full_64k={"outcome": Ended.LOST}), full_64k=FAILED)
    assert found.kills == ()
    assert all("undecided on merged" in each.message for each in found.open if each.check == "no-lost-write")
    assert found.outcome("bug") is Outcome.INCONCLUSIVE


def test_an_unfit_boot_kills_nothing():
    needs = [Need(what="build_id", ok=False, want="1", got="2"), *a_boot("x/max").needs[1:]]
    found = trial().score(cells(NAME, full_64k=FAILED), boots(NAME, needs=needs))
    assert found.kills == ()
    assert found.outcome("bug") is Outcome.INCONCLUSIVE


def test_a_check_that_its_scenario_does_not_list_kills_where_the_cell_went_by_without_the_mutant():
    quiet = study(
        scenario=[
            a_scenario("full", variants=["64k", "128k"]),
            a_scenario("fork", variants=["64k"], checks=[]),
        ]
    )
    assert checks(score(trial(quiet), max_fork_64k=FAILED).kills) == [("no-lost-write", "max", "fork.64k")]


def test_what_was_not_run_after_an_early_end_is_not_left_open():
    some = [cell for cell in cells(NAME, max_full_64k=FAILED) if cell.machine == "max"][:1]
    found = trial().score(some, boots(NAME), whole=False)
    assert checks(found.kills) == [("no-lost-write", "max", "full.64k")]
    assert found.open == ()
    assert trial().score(some, boots(NAME)).open != ()


def test_one_cell_says_by_itself_whether_it_kills_while_its_boot_goes_on():
    the_trial = trial(full_128k=FAILED)
    boot = a_boot(f"{NAME}/max", end="")
    bad = a_cell(f"{NAME}/max/full.64k", **FAILED)
    assert checks(the_trial.kills(bad, boot)) == [("no-lost-write", "max", "full.64k")]
    assert the_trial.kills(a_cell(f"{NAME}/max/full.64k"), boot) == ()
    assert the_trial.kills(a_cell(f"{NAME}/max/full.128k", **FAILED), boot) == (), "fails without the mutant too"
    assert the_trial.kills(a_cell(f"{NAME}/max/gone.64k", **FAILED), boot) == ()
    panic = a_cell(f"{NAME}/max/full.64k", outcome=Ended.PANIC, reason="Oops", checks=[])
    assert checks(the_trial.kills(panic, boot)) == [("completes", "max", "full.64k")]


def test_one_cell_that_breaks_a_structure_claim_does_not_end_anything():
    the_trial = trial(study(claim=STRUCTURE_ONLY))
    cell = a_cell(f"{NAME}/max/full.64k", steps=SPLIT)
    assert the_trial.kills(cell, a_boot(f"{NAME}/max", end="")) == ()


def test_a_claim_of_one_machine_is_judged_there_only():
    the_trial = trial(study(claim=[a_claim(baseline="", machines=["a57"])]))
    for machine, killed in (("max", False), ("a57", True)):
        cell = a_cell(f"{NAME}/{machine}/full.64k", steps=SPLIT)
        assert bool(the_trial.kills(cell, a_boot(f"{NAME}/{machine}", end=""))) is killed
    assert checks(score(the_trial, full_64k={"steps": SPLIT}).kills) == [("no-split", "a57", "full.64k")]


def test_the_judged_study_has_the_two_kernels_and_the_known_findings_of_the_one():
    judged = study_of(study(known=[a_known(), a_known(id="other", kernels=["base"])]), "merged", NAME)
    assert [(k.id, k.role) for k in judged.kernel] == [("merged", "baseline"), (NAME, "candidate")]
    assert [(k.id, k.kernels) for k in judged.known] == [("k", ("merged", NAME))]
