"""Campaigns over a fake tree and a fake guest: what is built and run, when it ends, and what is not done twice."""

import dataclasses
import json
import re

import pytest

from pipeline import cells, exercise, housekeeping, plan, stages
from pipeline.errors import Exit, InfraError, UserError
from pipeline.events import CellFinished, MutantFinished, Note, StageFinished
from pipeline.mutate import campaign
from pipeline.mutate.score import Outcome
from pipeline.study import Selection
from tests.kernel.conftest import make_patch
from tests.mutate.conftest import GUEST, Lab


def outcomes(result) -> dict[str, str]:
    return {each.name: str(each.outcome) for each in result.results}


def killers(result, at: int = 0) -> list[tuple[str, str, str]]:
    return [(kill.check, kill.machine, kill.cell) for kill in result.results[at].killed_by]


def test_each_kind_of_end_is_told(lab: Lab):
    lab.mutant("a-killed", "* full.128k no-lost-write")
    lab.mutant("b-survives")
    lab.mutant("c-legal", kind="legal")
    lab.mutant("d-rejected", "a57 * becomes-clean", kind="legal")
    lab.mutant("e-costly", "* full.64k cost", kind="legal")
    lab.mutant("f-costly-bug", "* full.64k cost")
    lab.mutant("g-open", "max fork.64k skip")
    lab.mutant("h-no-boot", "* * no-boot")
    lab.write("i-broken", "Mutant: bug\n---\n" + _diff("-\tint split = 1;\n+#error on purpose\n"))
    lab.write("j-stale", "Mutant: legal\n---\n" + _diff("-\tint split = 9;\n+\tint split = 8;\n"))
    result = lab.run()
    assert outcomes(result) == {
        "a-killed": "killed",
        "b-survives": "survived",
        "c-legal": "accepted",
        "d-rejected": "rejected",
        "e-costly": "accepted",
        "f-costly-bug": "killed",
        "g-open": "inconclusive",
        "h-no-boot": "killed",
        "i-broken": "not-built",
        "j-stale": "not-applied",
    }
    by_name = {each.name: each for each in result.results}
    assert killers(result) == [("no-lost-write", "max", "full.128k")]
    assert by_name["d-rejected"].killed_by[0].machine == "a57"
    assert by_name["e-costly"].killed_by == ()
    assert {each.check for each in by_name["e-costly"].structure} == {"cheap"}
    assert {(each.check, each.kind) for each in by_name["f-costly-bug"].killed_by} == {("cheap", "structure")}
    assert {each.check for each in by_name["h-no-boot"].killed_by} == {"boots"}
    assert "#error on purpose" in by_name["i-broken"].reason
    assert "hunk" in by_name["j-stale"].reason and "j-stale.patch" in by_name["j-stale"].reason
    assert result.exit_code is Exit.FAIL
    assert lab.saved[-1] == result and len(lab.saved) == 11


def test_a_mutant_that_no_guest_works_with_is_inconclusive_and_the_next_is_tried(lab: Lab):
    lab.mutant("a-lost", "* * lost")
    lab.mutant("b-killed", "* full.64k no-lost-write")
    lab.mutant("c-lost", "* * lost")
    lab.mutant("d-survives")
    result = lab.run()
    assert [str(each.outcome) for each in result.results] == ["inconclusive", "killed", "inconclusive", "survived"]
    assert result.results[0].reason == "the guest's runner told of nothing"
    again = lab.run()
    assert [each.cached for each in again.results] == [False, True, False, True]


def test_a_kill_that_was_seen_before_the_guest_was_lost_is_a_kill(lab: Lab):
    lab.mutant("a-killed", "* full.64k no-lost-write", "* * lost-late")
    result = lab.run()
    assert outcomes(result) == {"a-killed": "killed"}
    assert killers(result)[0][0] == "no-lost-write"


def test_three_in_a_row_are_the_surroundings(lab: Lab):
    for name in ("a-lost", "b-lost", "c-lost"):
        lab.mutant(name, "* * lost")
    with pytest.raises(InfraError, match="told of nothing"):
        lab.run()
    assert [each.name for each in lab.saved[-1].results] == ["a-lost", "b-lost"]


def _diff(lines: str) -> str:
    return (
        "diff --git a/mm/madvise.c b/mm/madvise.c\n--- a/mm/madvise.c\n+++ b/mm/madvise.c\n"
        f"@@ -16,3 +16,3 @@ int madvise_free(int start)\n {{\n{lines} \n"
    )


@pytest.mark.parametrize(
    ("effects", "kind", "code"),
    [
        (("* full.64k no-lost-write",), "bug", Exit.PASS),
        ((), "legal", Exit.PASS),
        (("* full.64k cost",), "legal", Exit.PASS),
        ((), "bug", Exit.FAIL),
        (("* full.64k no-lost-write",), "legal", Exit.FAIL),
        (("* full.64k skip",), "bug", Exit.INCONCLUSIVE),
        (("* full.64k skip",), "legal", Exit.INCONCLUSIVE),
    ],
)
def test_the_exit_code(lab: Lab, effects, kind, code):
    lab.mutant("m", *effects, kind=kind)
    assert lab.run().exit_code is code


def test_a_mutant_ends_at_its_first_certain_kill(lab: Lab):
    lab.mutant("m", "max full.64k no-lost-write", "* fork.64k no-lost-write")
    result = lab.run()
    assert killers(result) == [("no-lost-write", "max", "full.64k")]
    assert lab.booted() == ["merged/max", "merged/a57", "m/max"]
    assert result.results[0].cells == {"max": "1 of 3", "a57": "0 of 3"}


def test_a_vm_that_is_stopped_while_it_powers_off_has_killed_all_the_same(lab: Lab, monkeypatch):
    lab.mutant("m", "max full.64k no-lost-write")
    monkeypatch.setattr(cells, "LET_GO", 0.0)
    play = type(lab.vm).__call__

    def slow_to_end(self, job, emit, *, stop, until):
        outcome = play(self, job, emit, stop=stop, until=until)
        if job.kernel == "m":
            assert stop.wait(10)
            raise exercise.Stopped("given up")
        return outcome

    monkeypatch.setattr(type(lab.vm), "__call__", slow_to_end)
    result = lab.run()
    assert killers(result) == [("no-lost-write", "max", "full.64k")]
    assert result.results[0].cells == {"max": "1 of 3", "a57": "0 of 3"}


def test_with_all_checks_every_cell_runs_on_every_machine(lab: Lab):
    lab.mutant("m", "max full.64k no-lost-write", "* fork.64k no-lost-write")
    result = lab.run(all_checks=True)
    assert killers(result) == [
        ("no-lost-write", "max", "full.64k"),
        ("no-lost-write", "max", "fork.64k"),
        ("no-lost-write", "a57", "fork.64k"),
    ]
    assert result.results[0].cells == {"max": "3 of 3", "a57": "3 of 3"}


@pytest.mark.parametrize("kind", ["bug", "legal"])
def test_a_structure_claim_ends_nothing(lab: Lab, kind):
    lab.mutant("m", "* full.64k cost", "a57 fork.64k no-lost-write", kind=kind)
    result = lab.run()
    assert ("no-lost-write", "a57", "fork.64k") in killers(result)


def test_what_fails_without_the_mutant_ends_and_kills_nothing(lab: Lab):
    source = lab.bench.linux / "mm/util.c"
    source.write_text("/* kpv: * full.64k no-lost-write */\n" + source.read_text())
    lab.mutant("m", "* fork.64k no-lost-write")
    lab.mutant("n")
    result = lab.run(all_checks=True)
    assert {cell for _, _, cell in killers(result)} == {"fork.64k"}
    assert outcomes(result)["n"] == "survived"
    (note,) = [event.text for event in lab.of(Note) if "merged itself" in event.text]
    assert "where no mutant can be killed: no-lost-write: FAIL: merged/max/full.64k" in note


def test_a_kernel_under_test_that_does_not_run_is_no_campaign(lab: Lab):
    source = lab.bench.linux / "mm/util.c"
    source.write_text("/* kpv: * * no-boot */\n" + source.read_text())
    lab.mutant("m")
    with pytest.raises(InfraError, match="merged, the kernel under test, did not run: Kernel panic"):
        lab.run()


def test_a_panic_costs_another_boot_only_where_every_cell_is_wanted(lab: Lab):
    lab.mutant("m", "max full.64k panic")
    assert lab.run().results[0].killed_by[0].check == "completes"
    assert lab.booted().count("m/max") == 1
    lab.run(all_checks=True, fresh=True)
    assert lab.booted()[2:] == ["m/max", "m/max", "m/a57"]


def test_cells_that_killed_before_go_first(lab: Lab):
    lab.mutant("a", "* fork.64k no-lost-write")
    lab.mutant("b", "* fork.64k becomes-clean")
    lab.mutant("c")
    result = lab.run()
    orders = {job.kernel: [spec.job for spec in job.specs] for job in lab.vm.jobs if job.machine.id == "max"}
    assert orders["a"] == ["full.64k", "fork.64k", "full.128k"]  # one of each scenario first
    assert orders["b"] == orders["c"] == ["fork.64k", "full.64k", "full.128k"]
    assert [each.cells["max"] for each in result.results] == ["2 of 3", "1 of 3", "3 of 3"]


def test_the_record_of_an_earlier_campaign_decides_the_order_too(lab: Lab):
    lab.mutant("z", "* fork.64k no-lost-write")
    lab.run()
    lab.mutant("a", "* fork.64k becomes-clean")
    result = lab.run()
    assert [(each.name, each.cached) for each in result.results] == [("a", False), ("z", True)]
    assert result.results[0].cells["max"] == "1 of 3"


def test_what_killed_a_mutant_before_goes_first_though_the_suite_has_changed(lab: Lab):
    lab.mutant("a", "* full.64k no-lost-write")
    lab.mutant("b", "* full.64k no-lost-write")
    lab.mutant("c", "a57 full.128k no-lost-write")
    lab.run()
    lab.study = lab.study.model_copy(update={"tracepoints": ("mm:other",)})
    result = lab.run()
    assert not any(each.cached for each in result.results)
    assert [job.specs[0].job for job in lab.vm.jobs if job.kernel == "c"] == ["full.128k"]
    assert result.results[2].cells == {"max": "0 of 3", "a57": "1 of 3"}


def test_nothing_is_tried_twice(lab: Lab):
    lab.mutant("a", "* fork.64k no-lost-write")
    lab.mutant("b", kind="legal")
    lab.write("c", "Mutant: bug\n---\n" + _diff("-\tint split = 1;\n+#error on purpose\n"))
    first = lab.run()
    again = lab.run()
    assert lab.vm.jobs == []
    assert not lab.of(StageFinished) or all(event.cached for event in lab.of(StageFinished) if event.stage == "build")
    assert all(each.cached for each in again.results)
    assert [each.model_copy(update={"cached": False}) for each in again.results] == list(first.results)


def test_fresh_tries_again(lab: Lab):
    lab.mutant("a", "* fork.64k no-lost-write")
    lab.run()
    result = lab.run(fresh=True)
    assert "a/max" in lab.booted()
    assert not result.results[0].cached


def test_a_patch_by_another_name_and_title_is_the_same_mutant(lab: Lab):
    lab.mutant("a", "* fork.64k no-lost-write", title="one")
    lab.run()
    (lab.mutants / "a.patch").unlink()
    lab.mutant("b", "* fork.64k no-lost-write", title="two")
    result = lab.run()
    assert lab.vm.jobs == []
    assert (result.results[0].name, result.results[0].title) == ("b", "two")


@pytest.mark.parametrize("what", ["diff", "kind", "kernel", "check", "claim", "known", "machine", "qemu", "program"])
def test_what_matters_is_tried_again(lab: Lab, what, monkeypatch):
    lab.mutant("a", "* fork.64k no-lost-write")
    lab.run()
    study = lab.study
    if what == "diff":
        lab.mutant("a", "* fork.64k becomes-clean")
    elif what == "kind":
        lab.mutant("a", "* fork.64k no-lost-write", kind="legal")
    elif what == "kernel":
        source = lab.bench.linux / "kernel/main.c"
        source.write_text(source.read_text() + "/* another tree */\n")
    elif what == "check":
        scenario = study.scenario[0].model_copy(update={"checks": ("no-lost-write",)})
        lab.study = study.model_copy(update={"scenario": (scenario, *study.scenario[1:])})
    elif what == "claim":
        lab.study = study.model_copy(update={"claim": study.claim[:1]})
    elif what == "known":
        known = {"id": "k", "of": "no-lost-write", "scenarios": ["fork.*"], "explanation": "it is so"}
        lab.study = type(study).model_validate({**study.model_dump(by_alias=True), "known": [known]})
    elif what in ("qemu", "program"):
        change = {"qemu_version": "QEMU 11"} if what == "qemu" else {"programs": {"free": "4" * 64}}
        monkeypatch.setattr(stages, "make_guest", lambda *args: dataclasses.replace(GUEST, **change))
    elif what == "machine":
        lab.study = study.model_copy(update={"machines": ("a57",)})
    assert not lab.run().results[0].cached


def test_a_result_of_all_checks_serves_who_wants_the_first_kill(lab: Lab):
    lab.mutant("a", "* * no-lost-write")
    lab.run()
    everything = lab.run(all_checks=True)
    assert len(everything.results[0].killed_by) == 6 and not everything.results[0].cached
    again = lab.run()
    assert again.results[0].cached and len(again.results[0].killed_by) == 6


def test_what_is_inconclusive_is_tried_again(lab: Lab):
    lab.mutant("a", "* fork.64k skip")
    lab.run()
    assert "a/max" in lab.booted() or lab.run().results[0].cached is False
    lab.run()
    assert lab.booted() == ["a/max", "a/a57"], "only the cells that told nothing"
    assert {spec.job for job in lab.vm.jobs for spec in job.specs} == {"fork.64k"}


def test_an_interrupted_campaign_goes_on_where_it_stopped(lab: Lab):
    for name in ("a", "b", "c"):
        lab.mutant(name, "* full.64k no-lost-write", file="mm/util.c" if name == "b" else "mm/madvise.c")

    def interrupt(event):
        if isinstance(event, MutantFinished) and event.mutant == "b":
            raise KeyboardInterrupt

    lab.emit = interrupt
    with pytest.raises(KeyboardInterrupt):
        lab.run()
    assert [each.name for each in lab.saved[-1].results] == ["a"]
    lab.emit = None
    lab.mutant("c", "* full.64k becomes-clean")
    assert [(each.name, each.cached) for each in lab.run().results] == [("a", True), ("b", True), ("c", False)]


def test_the_kernel_under_test_is_the_last_candidate_that_should_pass(lab: Lab):
    assert campaign.under_test(lab.study).id == "merged"
    assert campaign.under_test(lab.study, "v2").id == "v2"
    with pytest.raises(UserError, match="no kernel 'v9'") as error:
        campaign.under_test(lab.study, "v9")
    assert "merged" in error.value.hint
    hopeless = lab.study.model_copy(update={"kernel": (lab.study.kernel[0], lab.study.kernel[2])})
    with pytest.raises(UserError, match="no candidate to pass"):
        campaign.under_test(hopeless)


def test_only_the_kernel_under_test_and_the_mutants_are_built(lab: Lab):
    lab.mutant("m")
    lab.run(kernel="v2")
    assert {kernel.partition("/")[0] for kernel in lab.booted()} == {"v2", "m"}
    assert "kernel under test: v2" in next(event.text for event in lab.of(Note))


def test_each_mutant_compiles_what_it_changes_and_nothing_of_the_one_before(slow_lab: Lab):
    lab = slow_lab
    lab.mutant("a", file="include/linux/mm.h", text="struct folio;\n")
    lab.write("b", "Mutant: bug\n---\n" + _diff("-\tint split = 1;\n+#error on purpose\n"))
    lab.mutant("c", "* full.64k no-lost-write", file="mm/util.c")
    result = lab.run()
    assert outcomes(result) == {"a": "survived", "b": "not-built", "c": "killed"}
    assert "#error on purpose" in result.results[1].reason
    compiled = [line.removeprefix("../") for line in lab.bench.log.read_text().splitlines()]
    assert compiled.count("mm/util.c") == 3, "the kernel under test, a, and c"
    assert compiled.count("mm/madvise.c") == 3, "the kernel under test, a, and b"
    cleaned = housekeeping.clean(lab.bench.cache, older_than=0, work=True, really=True)
    found = {each.what.split(" ")[0] for each in cleaned.gone}
    assert {"mutant", "kernel", "cell", "build"} <= found
    assert not any(each.cached for each in lab.run().results)


def test_a_mutant_that_changes_nothing_compiled_says_so(lab: Lab):
    lab.mutant("m", file="mm/madvise.c")
    lab.write("n", "Mutant: bug\n---\n" + make_patch(lab.bench.linux, {"mm/notes.txt": ("", "more\n")}))
    result = lab.run()
    assert [each.reason for each in result.results] == ["", "its kernel is that of merged to the byte"]
    assert [event.text.partition("; ")[2] for event in lab.of(MutantFinished)][1] == result.results[1].reason


def test_names_that_are_no_ids_and_names_alike_do_not_meet(lab: Lab):
    for name, effect in {"sub/Ä b": "no-lost-write", "sub/ä-b": "becomes-clean", "merged": "panic"}.items():
        lab.mutant(name, f"* full.64k {effect}")
    result = lab.run()
    assert {each.name: each.killed_by[0].check for each in result.results} == {
        "merged": "completes",
        "sub/Ä b": "no-lost-write",
        "sub/ä-b": "becomes-clean",
    }
    kernels = {job.kernel for job in lab.vm.jobs}
    assert len(kernels) == 4
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9._-]*", kernel) for kernel in kernels)


def test_the_cells_of_mutants_are_logged_but_not_shown(lab: Lab):
    lab.mutant("m", "* full.64k no-lost-write")
    result = lab.run()
    assert {event.kernel for event in lab.of(CellFinished)} == {"merged"}
    logged = [json.loads(line) for line in (result.folder / "events.jsonl").read_text().splitlines()]
    assert {event["kernel"] for event in logged if event["event"] == "CellFinished"} == {"merged", "m"}
    (told,) = lab.of(MutantFinished)
    assert told.text == "killed by no-lost-write on max in full.64k: no-lost-write broken"


def test_the_folder_keeps_the_evidence(lab: Lab):
    lab.mutant("m", "* full.128k no-lost-write")
    result = lab.run()
    result.write()
    assert (result.folder / "cells/m/max/full.128k/ktap.txt").read_text() == "ok 1 full.128k\n"
    assert not (result.folder / "cells/m/max/full.64k").exists()
    assert (result.folder / "kernels/m/build.log").stat().st_size > 0
    assert json.loads((result.folder / "mutants.json").read_text())[0]["name"] == "m"


def test_a_hang_is_told_sooner_than_the_scenarios_limit_and_never_later(lab: Lab):
    lab.mutant("m")
    lab.vm.seconds = 0.4
    lab.run()
    assert {spec.timeout for job in lab.vm.jobs if job.kernel == "m" for spec in job.specs} == {8}
    lab.vm.seconds = 29.0
    lab.run(fresh=True)
    assert {spec.timeout for job in lab.vm.jobs if job.kernel == "m" for spec in job.specs} == {30}
    lab.vm.seconds = 0.01
    lab.run(fresh=True)
    assert {spec.timeout for job in lab.vm.jobs if job.kernel == "m" for spec in job.specs} == {5}


def test_outcomes_have_one_spelling():
    assert [str(each) for each in Outcome] == [
        "killed", "survived", "accepted", "rejected", "inconclusive", "not-built", "not-applied",
    ]  # fmt: skip


@pytest.fixture
def watched(lab: Lab) -> Lab:
    """The lab whose study has a machine with a TLB model as well, for one of its cells."""
    selection = Selection(id="max-tlb", scenarios=("full.64k",))
    lab.study = lab.study.model_copy(update={"machines": ("max", "max-tlb"), "machine": (selection,)})
    return lab


def test_a_mutant_runs_with_the_tlb_model_if_it_needs_one_and_else_without(watched: Lab):
    watched.mutant("stale", "max-tlb * no-lost-write", needs="tlb-model")
    watched.mutant("plain", "* full.128k no-lost-write")
    result = watched.run()
    assert outcomes(result) == {"plain": "killed", "stale": "killed"}
    assert [(each.name, set(each.cells)) for each in result.results] == [("plain", {"max"}), ("stale", {"max-tlb"})]
    # The kernel under test runs where its mutants do.
    assert watched.booted() == ["merged/max", "plain/max", "merged/max-tlb", "stale/max-tlb"]
    assert killers(result, 1) == [("no-lost-write", "max-tlb", "full.64k")]


def test_where_only_watched_machines_are_asked_for_every_mutant_runs_there(watched: Lab):
    watched.study = plan.only(watched.study, machines=("max-tlb",))
    watched.mutant("plain", kind="legal")
    assert outcomes(watched.run()) == {"plain": "accepted"}
    assert watched.booted() == ["merged/max-tlb", "plain/max-tlb"]


def test_a_machine_with_a_model_more_leaves_the_results_of_other_mutants_valid(watched: Lab):
    whole = watched.study
    watched.study = plan.narrow(whole, machines=("max",))
    watched.mutant("plain", "* full.128k no-lost-write")
    watched.run()
    watched.study = whole
    (again,) = watched.run().results
    assert again.cached and watched.booted() == []
