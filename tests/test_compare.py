"""Two runs compared: what was put in, judged, and counted; and that a run is no different from itself."""

from pipeline.compare import Change, compare, page
from pipeline.observation import Outcome, Step
from pipeline.run import HostFact
from tests.judge.builders import a_cell, a_claim, a_study, all_cells, with_cell, without
from tests.report.builders import a_kernel, a_realistic_run, a_run

CELL = "v2/max/full.64k"


def changed(cell: str = CELL, **changes: object):
    return a_run(id="20260102-000000-demo", cells=with_cell(all_cells(a_study()), cell, **changes))


def test_a_run_and_itself_differ_in_nothing():
    run = a_realistic_run()
    found = compare(run, run)
    assert not found.verdict_changed
    assert found.inputs == found.verdicts == found.outcomes == found.counters == found.only_old == found.only_new == ()


def test_a_split_more_changes_the_verdicts_of_cell_claim_and_kernel_and_names_the_counter():
    found = compare(a_run(), changed(steps=[Step(name="free", mthp={"split": 1})]))
    assert found.verdict_changed
    assert found.verdicts == (
        Change("v2", "PASS", "FAIL"),
        Change("v2: no-split", "PASS", "FAIL"),
        Change(f"{CELL}: no-split", "PASS", "FAIL"),
    )
    (counter,) = found.counters
    assert (counter.kernel, counter.step, counter.counter) == ("v2", "free", "mthp.split")
    assert (counter.deciding, counter.cells, counter.of) == (True, 1, 6)
    assert (counter.cell, counter.old, counter.new) == (CELL, "0", "1")


def test_counters_that_no_claim_names_come_after_those_that_decide():
    steps = [Step(name="free", mthp={"split": 0}, vmstat={"pgfault": fault}) for fault in (1, 2)]
    cells = [[a_cell(name.name, steps=[step]) for name in all_cells(a_study())] for step in steps]
    cells[1] = with_cell(cells[1], CELL, steps=[Step(name="free", mthp={"split": 1}, vmstat={"pgfault": None})])
    found = compare(a_run(cells=cells[0]), a_run(cells=cells[1])).counters
    assert [(c.counter, c.kernel, c.deciding, c.cells) for c in found] == [
        ("mthp.split", "v2", True, 1),
        ("vmstat.pgfault", "base", False, 6),
        ("vmstat.pgfault", "v2", False, 6),
    ]
    assert {(c.old, c.new) for c in found if c.cell == CELL} == {("0", "1")}


def test_a_known_finding_instead_of_a_failure_is_another_verdict():
    study = a_study(known=[{"id": "why", "of": "no-split", "scenarios": ["full.*"], "explanation": "it is known"}])
    cells = with_cell(all_cells(study), CELL, steps=[Step(name="free", mthp={"split": 1})])
    found = compare(a_run(cells=cells), a_run(study, cells=cells))
    assert Change("v2: no-split", "FAIL", "KNOWN (why)") in found.verdicts
    assert Change("study: known why: of", "none", "no-split") in found.inputs


def test_cells_that_one_run_lacks_are_told_and_change_no_verdict():
    gone = "v2/a57/fork.64k"
    study = a_study()
    narrowed = a_study(scenario=[study.scenario[0].model_dump()])
    found = compare(a_run(), a_run(narrowed, cells=without(all_cells(study), gone)))
    assert found.only_old == (gone,)
    assert found.only_new == ()
    assert not found.verdict_changed
    assert compare(a_run(narrowed, cells=without(all_cells(study), gone)), a_run()).only_new == (gone,)


def test_an_outcome_that_changed_is_told():
    found = compare(a_run(), changed(outcome=Outcome.PANIC, reason="oops"))
    assert found.outcomes == (Change(CELL, "passed", "panic"),)
    assert Change("v2: completes", "PASS", "FAIL") in found.verdicts


def test_inputs_are_kernels_machines_tools_the_study_and_seeds():
    study = a_study(claim=[a_claim(candidate="mthp.split <= 0")])
    later = a_run(
        study,
        host=HostFact(qemu="QEMU emulator version 10.1.0", gcc="gcc 12.2", os="Debian 12"),
        kernels=(a_kernel("base", "baseline"), a_kernel("v2", "candidate", image_sha256="9" * 64, version="6.12.118")),
        machines={"max": {"id": "max", "cpu": "max", "smp": 4, "hardware_dbm": True, "append": []}},
        cells=with_cell(all_cells(study), CELL, params={"folios": 4, "seed": 7}),
    )
    found = {change.what: (change.old, change.new) for change in compare(a_run(), later).inputs}
    assert found == {
        "host: qemu": ("QEMU emulator version 10.0.2", "QEMU emulator version 10.1.0"),
        "machine max: smp": ("2", "4"),
        "kernel v2: source": ("debian:linux-source-6.12 6.12.117", "debian:linux-source-6.12 6.12.118"),
        "kernel v2: image": ("2" * 12, "9" * 12),
        "study: claim no-split: candidate": ("mthp.split == 0", "mthp.split <= 0"),
        f"{CELL}: param.seed": ("none", "7"),
    }


def test_the_page_says_how_many_verdicts_changed_and_cuts_long_tables():
    found = compare(a_run(), changed(steps=[Step(name="free", mthp={"split": 1})]))
    assert page(found).title == "20260101-000000-demo -> 20260102-000000-demo: 3 verdicts changed"
    assert page(compare(a_run(), a_run())).title.endswith("no verdict changed")
    panicked = [a_cell(cell.name, outcome=Outcome.PANIC) for cell in a_realistic_run().cells]
    run = a_realistic_run()
    outcomes = page(compare(run, run.model_copy(update={"cells": panicked}).judged())).sections[1]
    assert outcomes.title == "how cells ended (the first 40 of 240; --json has all)"
    assert len(outcomes.rows) == 40
