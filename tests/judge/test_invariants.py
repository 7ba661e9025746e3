"""Invariants: each rule of the judge, on one changed observation of a run that passes."""

import pytest

from pipeline.judge.invariants import PRE_EXISTING
from pipeline.judge.model import BuildFact, Verdict
from pipeline.observation import Check, Need, Outcome, Step
from tests.judge.builders import (
    BUILT,
    NEEDS,
    a_boot,
    a_cell,
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
BROKEN = Check(name="no-lost-write", ok=False, detail="page 3 reads 0, wrote 7")
HELD = Check(name="no-lost-write", ok=True)
SEGV = "the test process died of signal 11"
OOPS = "Unable to handle kernel paging request at virtual address ffff0000deadbeef"


def after(**changes):
    return judged(STUDY, with_cell(all_cells(STUDY), CELL, **changes))


def test_a_run_in_which_everything_was_observed_and_held_passes():
    judgement = judged(STUDY)
    assert [k.verdict for k in judgement.kernels] == [Verdict.PASS, Verdict.PASS]
    assert judgement.exit_code == 0
    assert all(d.rows for k in judgement.kernels for d in k.decisions)


@pytest.mark.parametrize(
    ("changes", "invariant", "verdict", "reason"),
    [
        ({"checks": [HELD, BROKEN], "outcome": "failed"}, "no-lost-write", "FAIL", "page 3 reads 0"),
        ({"checks": [BROKEN]}, "no-lost-write", "FAIL", "page 3"),  # whatever the KTAP says
        ({"checks": [BROKEN], "malformed": ["# kpv {"], "outcome": "failed"}, "no-lost-write", "FAIL", "page 3"),
        ({"checks": [BROKEN], "outcome": "crashed", "reason": SEGV}, "no-lost-write", "FAIL", "page 3"),
        ({"checks": []}, "no-lost-write", "INCONCLUSIVE", "no check observed"),
        (
            {"outcome": "skipped", "reason": "no zram", "checks": []},
            "no-lost-write",
            "INCONCLUSIVE",
            "skipped: no zram",
        ),
        ({"outcome": "timeout", "reason": "30 s"}, "no-lost-write", "INCONCLUSIVE", "timeout: 30 s"),
        ({"outcome": "lost", "reason": "QEMU gone"}, "no-lost-write", "INCONCLUSIVE", "lost: QEMU gone"),
        ({"outcome": "not-run", "boot": ""}, "no-lost-write", "INCONCLUSIVE", "not run"),
        ({"malformed": ["# kpv {oops"]}, "no-lost-write", "INCONCLUSIVE", "# kpv {oops"),
        (
            {"needs": [Need(what="folio_order", ok=False, want="4", got="0")], "outcome": "skipped"},
            "no-lost-write",
            "INCONCLUSIVE",
            "folio_order wanted 4, got 0",
        ),
        ({"outcome": "timeout", "reason": "30 s"}, "completes", "FAIL", "timeout: 30 s"),
        ({"outcome": "hang"}, "completes", "FAIL", "hang"),
        ({"outcome": "panic", "reason": "BUG at mm/rmap.c"}, "completes", "FAIL", "BUG at mm/rmap.c"),
        ({"outcome": "crashed", "reason": SEGV}, "completes", "FAIL", "signal 11"),
        ({"outcome": "crashed", "reason": "killed by SIGBUS"}, "completes", "FAIL", "SIGBUS"),
        ({"outcome": "crashed", "reason": "no KTAP result, exit status 127"}, "completes", "INCONCLUSIVE", "127"),
        ({"outcome": "lost"}, "completes", "INCONCLUSIVE", "lost"),
        ({"outcome": "skipped", "reason": "no zram"}, "completes", "INCONCLUSIVE", "no zram"),
        ({"console_findings": [OOPS]}, "console-clean", "FAIL", "paging request"),
        ({"console_findings": [OOPS], "outcome": "panic"}, "console-clean", "FAIL", "paging request"),
        ({"outcome": "panic"}, "console-clean", "INCONCLUSIVE", "panic"),
        ({"outcome": "skipped"}, "console-clean", "INCONCLUSIVE", "skipped"),
    ],
)
def test_one_cell_decides(changes, invariant, verdict, reason):
    judgement = after(**changes)
    found = decision(judgement, "v2", invariant)
    assert found.verdict == verdict
    assert found.reason.startswith(CELL)
    assert reason in found.reason
    assert found.evidence[0][0] == CELL
    assert kernel(judgement, "v2").verdict in (verdict, "FAIL")
    assert kernel(judgement, "base").verdict == "PASS"


INVARIANTS = ("no-lost-write", "completes", "console-clean")


@pytest.mark.parametrize("invariant", INVARIANTS)
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"outcome": "failed", "reason": "free.c:40:full:Expected fd >= 0"}, "Expected fd >= 0"),
        ({"outcome": "failed", "ktap": "1..1\nnot ok 1 free.64k.full\n"}, "not ok 1 free.64k.full"),
        ({"outcome": "failed", "checks": [HELD, Check(name="typo", ok=False)]}, "'typo' is no invariant"),
        ({"outcome": "passed", "checks": [HELD, Check(name="typo", ok=False)]}, "'typo' is no invariant"),
    ],
)
def test_a_failure_that_no_check_of_the_study_explains_is_never_ignored(invariant, changes, reason):
    found = decision(after(**changes), "v2", invariant)
    assert found.verdict == "INCONCLUSIVE"
    assert reason in found.reason


@pytest.mark.parametrize("invariant", INVARIANTS)
def test_a_planned_cell_that_is_missing_is_inconclusive(invariant):
    found = decision(judged(STUDY, without(all_cells(STUDY), CELL)), "v2", invariant)
    assert (found.verdict, found.reason) == ("INCONCLUSIVE", f"{CELL}: not run")


def test_an_invariant_is_required_only_where_its_scenarios_list_it_but_fails_anywhere():
    study = a_study(
        scenario=[
            a_scenario("full", variants=["64k", "128k"], checks=[]),
            a_scenario("fork", variants=["64k"]),
        ]
    )
    assert (
        decision(judged(study, with_cell(all_cells(study), CELL, checks=[])), "v2", "no-lost-write").verdict == "PASS"
    )
    failing = with_cell(all_cells(study), CELL, checks=[BROKEN])
    assert decision(judged(study, failing), "v2", "no-lost-write").verdict == "FAIL"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"needs": (*NEEDS, Need(what="config CONFIG_ARM64_CONTPTE", ok=False, want="y", got="n"))},
            "CONTPTE wanted y",
        ),
        ({"needs": (Need(what="build_id", ok=False, want="ab", got="cd"), *NEEDS[1:])}, "build_id wanted ab, got cd"),
        ({"needs": NEEDS[1:]}, "not measured: build_id"),
        ({"needs": ()}, "not measured: build_id, page_size, config"),
    ],
)
def test_an_unmet_precondition_of_the_boot_makes_everything_in_it_inconclusive_even_a_violation(changes, reason):
    boots = [a_boot("v2/max", **changes) if b.id == "v2-max" else b for b in all_boots(STUDY)]
    cells = with_cell(all_cells(STUDY), CELL, checks=[BROKEN], outcome="failed", console_findings=[OOPS])
    judgement = judged(STUDY, cells, boots)
    for name in (*INVARIANTS, "boots", "no-split"):
        found = decision(judgement, "v2", name)
        assert found.verdict == "INCONCLUSIVE", name
        assert reason in found.reason
        assert {row.verdict for row in found.rows if "/a57" in row.cell} == {"PASS"}
    assert kernel(judgement, "v2").verdict == "INCONCLUSIVE"


def test_a_cell_without_its_boot_on_record_proves_nothing():
    boots = [b for b in all_boots(STUDY) if b.id != "v2-max"]
    found = decision(judged(STUDY, boots=boots), "v2", "no-lost-write")
    assert found.verdict == "INCONCLUSIVE"
    assert "'v2-max' is not on record" in found.reason


def test_a_cell_of_another_kernels_boot_proves_nothing():
    found = decision(after(boot="base-max"), "v2", "no-lost-write")
    assert (found.verdict, "one of base/max" in found.reason) == ("INCONCLUSIVE", True)


@pytest.mark.parametrize(
    ("fact", "verdict", "exit_code"),
    [
        (BuildFact(ok=False, failure="mm/madvise.c:700: error"), "FAIL", 1),
        (BuildFact(ok=False, failure="disk full", infra=True), "INCONCLUSIVE", 3),
        (None, "INCONCLUSIVE", 4),
    ],
)
def test_builds(fact, verdict, exit_code):
    builds = {k: v for k, v in (BUILT | {"v2": fact}).items() if v is not None}
    cells = [c for c in all_cells(STUDY) if c.kernel == "base"]
    boots = [b for b in all_boots(STUDY) if b.kernel == "base"]
    judgement = judged(STUDY, cells, boots, builds)
    assert decision(judgement, "v2", "builds").verdict == verdict
    assert decision(judgement, "v2", "boots").verdict == "INCONCLUSIVE"
    assert kernel(judgement, "v2").verdict == verdict
    assert judgement.exit_code == exit_code


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"failure": "panic before SSH", "end": "panic", "needs": ()}, "FAIL"),
        ({"failure": "no marker within 60 s", "end": "hang", "needs": ()}, "FAIL"),
        ({"failure": "QEMU was killed", "end": "lost", "needs": ()}, "INCONCLUSIVE"),
        ({"failure": "the host was too busy", "end": "timeout", "needs": ()}, "INCONCLUSIVE"),
    ],
)
def test_boots(changes, verdict):
    boots = [a_boot("v2/max", **changes) if b.id == "v2-max" else b for b in all_boots(STUDY)]
    cells = [c for c in all_cells(STUDY) if (c.kernel, c.machine) != ("v2", "max")]
    judgement = judged(STUDY, cells, boots)
    found = decision(judgement, "v2", "boots")
    assert found.verdict == verdict
    assert changes["failure"] in found.reason
    lost = decision(judgement, "v2", "no-lost-write")
    assert (lost.verdict, "did not boot on max" in lost.reason) == ("INCONCLUSIVE", True)
    assert judgement.exit_code == (1 if verdict == "FAIL" else 3)


def test_a_boot_that_was_lost_and_then_succeeded_counts_as_booted():
    lost = a_boot("v2/max", id="v2-max-0", failure="QEMU was killed", end="lost", needs=())
    judgement = judged(STUDY, boots=[lost, *all_boots(STUDY)])
    assert decision(judgement, "v2", "boots").verdict == "PASS"
    assert judgement.exit_code == 0


@pytest.mark.parametrize(
    ("end", "verdict"), [("panic", "FAIL"), ("hang", "FAIL"), ("exited-early", "FAIL"), ("", "INCONCLUSIVE")]
)
def test_a_boot_that_dies_between_two_cells_is_not_overlooked(end, verdict):
    boots = [a_boot("v2/max", end=end) if b.id == "v2-max" else b for b in all_boots(STUDY)]
    found = decision(judged(STUDY, boots=boots), "v2", "completes")
    assert (found.verdict, "outside any cell" in found.reason) == (verdict, True)


@pytest.mark.parametrize("end", ["lost", "timeout"])
def test_a_boot_spoiled_by_the_surroundings_costs_the_cells_it_did_not_run_and_no_more(end):
    boots = [a_boot("v2/max", end=end) if b.id == "v2-max" else b for b in all_boots(STUDY)]
    assert judged(STUDY, boots=boots).exit_code == 0
    fewer = judged(STUDY, without(all_cells(STUDY), CELL), boots)
    assert kernel(fewer, "v2").verdict == "INCONCLUSIVE"
    assert fewer.exit_code == 3
    assert [line.split(":")[0] for line in fewer.infra] == ["v2/max"]


def test_a_boot_that_dies_in_a_cell_is_told_once():
    boots = [a_boot("v2/max", end="panic") if b.id == "v2-max" else b for b in all_boots(STUDY)]
    judgement = judged(STUDY, with_cell(all_cells(STUDY), CELL, outcome="panic"), boots)
    assert [row.cell for row in decision(judgement, "v2", "completes").rows if row.verdict == "FAIL"] == [CELL]


# Known and pre-existing


def test_what_the_baseline_breaks_in_the_same_cell_is_pre_existing_on_a_candidate_only():
    cells = with_cell(all_cells(STUDY), CELL, checks=[BROKEN], outcome="failed")
    cells = with_cell(cells, BASE_CELL, checks=[BROKEN], outcome="failed")
    judgement = judged(STUDY, cells)
    found = decision(judgement, "v2", "no-lost-write")
    assert (found.verdict, found.known) == ("KNOWN", ("pre-existing",))
    assert kernel(judgement, "v2").verdict == "PASS"
    assert decision(judgement, "base", "no-lost-write").verdict == "FAIL"


@pytest.mark.parametrize("elsewhere", ["base/a57/full.64k", "base/max/full.128k"])
def test_a_violation_of_the_baseline_elsewhere_excuses_nothing(elsewhere):
    cells = with_cell(all_cells(STUDY), CELL, checks=[BROKEN], outcome="failed")
    cells = with_cell(cells, elsewhere, checks=[BROKEN], outcome="failed")
    assert decision(judged(STUDY, cells), "v2", "no-lost-write").verdict == "FAIL"


def test_a_baseline_booted_on_the_wrong_config_excuses_nothing():
    cells = with_cell(all_cells(STUDY), CELL, checks=[BROKEN], outcome="failed")
    cells = with_cell(cells, BASE_CELL, checks=[BROKEN], outcome="failed")
    boots = [a_boot("base/max", needs=()) if b.id == "base-max" else b for b in all_boots(STUDY)]
    assert decision(judged(STUDY, cells, boots), "v2", "no-lost-write").verdict == "FAIL"


@pytest.mark.parametrize(
    ("on_base", "verdict"),
    [
        (["[    3.1] Unable to handle kernel paging request at virtual address ffff0000aaaabbbb"], "KNOWN"),
        (["WARNING: mm/rmap.c:1200"], "FAIL"),
    ],
)
def test_a_finding_is_pre_existing_only_if_it_is_the_same_finding(on_base, verdict):
    ours = ["[    2.9] Unable to handle kernel paging request at virtual address ffff0000deadbeef"]
    cells = with_cell(all_cells(STUDY), CELL, console_findings=ours)
    cells = with_cell(cells, BASE_CELL, console_findings=on_base)
    assert decision(judged(STUDY, cells), "v2", "console-clean").verdict == verdict


@pytest.mark.parametrize(("on_base", "verdict"), [("timeout", "KNOWN"), ("panic", "FAIL")])
def test_a_death_is_pre_existing_only_if_it_is_the_same_death(on_base, verdict):
    cells = with_cell(all_cells(STUDY), CELL, outcome="timeout")
    cells = with_cell(cells, BASE_CELL, outcome=on_base)
    assert decision(judged(STUDY, cells), "v2", "completes").verdict == verdict


def known(**changes):
    return {
        "id": "zram-cow",
        "of": "no-lost-write",
        "scenarios": ["full.*"],
        "explanation": "swap-in skips the cache",
    } | changes


@pytest.mark.parametrize(
    ("entry", "verdict"),
    [
        (known(), "KNOWN"),
        (known(kernels=["v*"], machines=["max"], scenarios=["full.64k"]), "KNOWN"),
        (known(kernels=["base"]), "FAIL"),
        (known(machines=["a57"]), "FAIL"),
        (known(scenarios=["fork.*"]), "FAIL"),
        (known(of="completes"), "FAIL"),
    ],
)
def test_a_known_finding_excuses_what_it_names_and_nothing_else(entry, verdict):
    study = a_study(known=[entry])
    judgement = judged(study, with_cell(all_cells(study), CELL, checks=[BROKEN], outcome="failed"))
    found = decision(judgement, "v2", "no-lost-write")
    assert found.verdict == verdict
    assert found.known == (("zram-cow",) if verdict == "KNOWN" else ())
    assert ("known: zram-cow" in found.reason) == (verdict == "KNOWN")


def test_mixed_rows_take_the_worst_fail_over_inconclusive_over_known_over_pass():
    study = a_study(known=[known(scenarios=["full.64k"], machines=["max"])])
    cells = with_cell(all_cells(study), CELL, checks=[BROKEN], outcome="failed")
    assert decision(judged(study, cells), "v2", "no-lost-write").verdict == "KNOWN"
    cells = with_cell(cells, "v2/a57/full.64k", outcome="timeout")
    assert decision(judged(study, cells), "v2", "no-lost-write").verdict == "INCONCLUSIVE"
    cells = with_cell(cells, "v2/a57/fork.64k", checks=[BROKEN], outcome="failed")
    assert decision(judged(study, cells), "v2", "no-lost-write").verdict == "FAIL"


def test_a_known_finding_that_no_longer_occurs_is_told_as_fixed_and_fails_nothing():
    study = a_study(known=[known(kernels=["base"])])
    judgement = judged(study)
    assert [(n.known, n.kernel, n.fixed) for n in judgement.known_not_seen] == [("zram-cow", "base", True)]
    assert judgement.exit_code == 0


def test_a_known_finding_whose_cells_were_not_all_observed_is_not_seen_but_not_fixed():
    study = a_study(known=[known(kernels=["base"])])
    [told] = judged(study, without(all_cells(study), BASE_CELL)).known_not_seen
    assert (told.fixed, "not run" in told.reason) == (False, True)


def test_a_known_finding_that_occurs_is_not_told_as_missing():
    study = a_study(known=[known(kernels=["base"])])
    judgement = judged(study, with_cell(all_cells(study), BASE_CELL, checks=[BROKEN], outcome="failed"))
    assert judgement.known_not_seen == ()


def test_every_repeat_of_a_cell_counts():
    bad = a_cell(CELL, checks=[BROKEN], outcome=Outcome.FAILED)
    assert decision(judged(STUDY, [*all_cells(STUDY), bad]), "v2", "no-lost-write").verdict == "FAIL"


def test_a_cell_the_study_does_not_ask_for_is_told_and_not_judged():
    judgement = judged(STUDY, [*all_cells(STUDY), a_cell("v2/max/gone.64k", checks=[BROKEN])])
    assert judgement.unplanned == ("v2/max/gone.64k",)
    assert kernel(judgement, "v2").verdict == "PASS"


STATED = {"id": "as-probed", "title": "As probed", "holds": "tlb.folds == probe.convert", "step": "free"}


def stated(**by_cell: Step):
    """v2's decision of a stated invariant, where the steps of full.64k on max are as told and all others hold."""
    study = a_study(
        invariant=[
            {"id": "no-lost-write", "title": "No lost write"},
            STATED | {"scenarios": ["full.64k"], "machines": ["max"]},
        ]
    )
    cells = all_cells(study)
    for kernel_id in ("base", "v2"):
        step = by_cell.get(kernel_id, Step(name="free", tlb={"folds": 2}, probe={"convert": 2}))
        cells = with_cell(cells, f"{kernel_id}/max/full.64k", steps=[step])
    judgement = judged(study, cells)
    return decision(judgement, "base", "as-probed"), decision(judgement, "v2", "as-probed")


def test_a_stated_invariant_is_decided_on_every_kernel_by_its_expression():
    for found in stated():
        (row,) = found.rows
        assert found.kind == "invariant" and found.verdict == Verdict.PASS
        assert row.text == "tlb.folds = 2, probe.convert = 2" and row.expression == STATED["holds"]


def test_a_stated_invariant_that_does_not_hold_fails_with_its_values():
    base, found = stated(v2=Step(name="free", tlb={"folds": 3}, probe={"convert": 2}))
    assert (base.verdict, found.verdict) == (Verdict.PASS, Verdict.FAIL)
    assert "tlb.folds == probe.convert: tlb.folds = 3, probe.convert = 2" in found.reason
    odd = Step(name="free", tlb={"folds": 3}, probe={"convert": 2})
    base, found = stated(base=odd, v2=odd)
    assert (base.verdict, found.verdict, found.known) == (Verdict.FAIL, Verdict.KNOWN, (PRE_EXISTING,))


@pytest.mark.parametrize("step", [Step(name="free", probe={"convert": 2}), Step(name="another")])
def test_a_stated_invariant_is_undecided_without_its_counters(step):
    assert stated(v2=step)[1].verdict == Verdict.INCONCLUSIVE
