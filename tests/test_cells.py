"""Which cells run again, and in how many boots: with a VM that is played by a function."""

import threading
from pathlib import Path

import pytest

from pipeline import cells, exercise, plan, resources
from pipeline.events import CellFinished, Event, Note, StageFinished, StageProgress, StageStarted
from pipeline.exercise import BootJob, BootOutcome
from pipeline.guest import machine
from pipeline.observation import Boot, Cell, Need, Outcome
from pipeline.store import Store
from pipeline.study import Study
from tests.judge.builders import NEEDS, a_scenario, a_study

GUEST = cells.Guest(initrd=(), rootfs_sha256="2" * 64, programs={"free": "3" * 64}, qemu_version="QEMU 10")


class Vm:
    """Plays exercise.run: every cell passes, unless told otherwise by its job."""

    def __init__(self) -> None:
        self.jobs: list[BootJob] = []
        self.outcomes: dict[str, Outcome] = {}
        self.fails_to_boot = False
        self.needs: tuple[Need, ...] = NEEDS

    def __call__(self, job: BootJob, emit, *, stop: threading.Event, until) -> BootOutcome:
        self.jobs.append(job)
        emit(StageStarted(stage="boot", subject=job.kernel, why=job.why))
        boot = Boot(id=job.id, kernel=job.kernel, machine=job.machine.id, end="poweroff", needs=list(self.needs))
        job.workdir.mkdir(parents=True)
        (job.workdir / "console.log").write_text("kpv: ready\n")
        if self.fails_to_boot:
            boot.failure = "booting: Kernel panic"
            return BootOutcome(boot, ())
        done = []
        for spec in job.specs:
            outcome = self.outcomes.get(spec.name, Outcome.PASSED)
            done.append(
                Cell(
                    kernel=spec.kernel,
                    machine=spec.machine,
                    scenario=spec.scenario,
                    variant=spec.variant,
                    outcome=outcome,
                    boot=job.id,
                )
            )
            if until(done[-1], boot) or outcome in (Outcome.PANIC, Outcome.HANG, Outcome.LOST):
                break
        return BootOutcome(boot, tuple(done))


@pytest.fixture
def vm(monkeypatch: pytest.MonkeyPatch) -> Vm:
    made = Vm()
    monkeypatch.setattr(exercise, "run", made)
    return made


@pytest.fixture
def run(tmp_path: Path, vm: Vm):
    """Run v2 on both machines; returns cells by name, boots, and the events."""
    count = 0

    def exercise_all(*, image: str = "1" * 64, fresh: bool = False, study: Study | None = None, jobs: int = 2, **more):
        nonlocal count
        count += 1
        events = []
        pairs = [
            cells.Pair(
                kernel="v2",
                machine=machine.load(resources.folder("qemu"), name),
                image=tmp_path / "Image",
                image_sha256=image,
                build_id="12",
                requested={},
            )
            for name in ("max", "a57")
        ]
        boots, done = cells.exercise_all(
            study or a_study(),
            pairs,
            GUEST,
            store=Store(tmp_path / "store"),
            workdir=tmp_path / f"run{count}" / "boots",
            jobs=jobs,
            fresh=fresh,
            emit=events.append,
            **more,
        )
        return {cell.name: cell for cell in done}, boots, events

    return exercise_all


def test_one_boot_a_machine_serves_all_cells(run, vm):
    done, boots, _ = run()
    assert set(done) == {s.name for m in ("max", "a57") for s in plan.cells(a_study(), "v2", m)}
    assert len(vm.jobs) == len(boots) == 2


def test_cells_that_need_two_cpus_have_a_boot_with_two_and_the_others_one_with_one(run, vm):
    scenarios = [a_scenario("full", variants=["64k"]), a_scenario("race", variants=["64k", "2m"], cpus=2)]
    done, boots, _ = run(study=a_study(scenario=scenarios, claim=[]))
    assert len(done) == 6
    assert len({boot.id for boot in boots}) == 4
    for job in vm.jobs:
        cpus = exercise.machine_of(job.machine, job.specs).smp
        assert {(spec.scenario, cpus) for spec in job.specs} in ({("full", 1)}, {("race", 2)})


def test_no_boot_has_more_cpus_than_its_machine():
    profile = machine.load(resources.folder("qemu"), "max").model_copy(update={"smp": 2})
    spec = plan.CellSpec("v2", "max", "race", "64k", "free", "free", 30, 4)
    assert exercise.machine_of(profile, [spec]).smp == 2


def test_nothing_changed_boots_nothing_and_gives_the_same(run, vm):
    before, boots, _ = run()
    vm.jobs.clear()
    after, again, events = run()
    assert vm.jobs == []
    assert after == before
    assert sorted(b.id for b in again) == sorted(b.id for b in boots)
    assert all(event.cached for event in events if isinstance(event, CellFinished))


def test_another_image_runs_all_again_and_says_why(run, vm):
    run()
    vm.jobs.clear()
    run(image="9" * 64)
    assert len(vm.jobs) == 2
    assert vm.jobs[0].why == "3 of 3 cells: image: 11111111 -> 99999999"


def test_a_cell_that_another_version_recorded_is_run_again(run, vm, tmp_path):
    run()
    vm.jobs.clear()
    (kept, *_) = sorted(tmp_path.glob("store/cell/*/cell.json"))
    kept.write_text(kept.read_text().replace("{", '{"of_tomorrow": 1,', 1))
    done, _, _ = run()
    assert [len(job.specs) for job in vm.jobs] == [1]
    assert len(done) == 6
    vm.jobs.clear()
    run()
    assert vm.jobs == []


def test_fresh_runs_all_again_and_records_the_new(run, vm):
    run()
    vm.jobs.clear()
    done, _, _ = run(fresh=True)
    assert len(vm.jobs) == 2
    assert {cell.boot.split("-")[0] for cell in run()[0].values()} == {"run2"}
    assert {cell.boot.split("-")[0] for cell in done.values()} == {"run2"}


@pytest.mark.parametrize("end", [Outcome.PANIC, Outcome.HANG])
def test_a_cell_that_ends_its_vm_costs_one_more_boot_and_no_other_cell(run, vm, end):
    vm.outcomes["v2/max/full.128k"] = end
    done, boots, _ = run()
    assert done["v2/max/full.128k"].outcome is end
    assert done["v2/max/fork.64k"].outcome is Outcome.PASSED
    assert len(boots) == 3


@pytest.mark.parametrize("outcome", [Outcome.LOST, Outcome.HANG, Outcome.TIMEOUT, Outcome.SKIPPED])
def test_what_proves_nothing_lasting_is_run_again(run, vm, outcome):
    vm.outcomes["v2/max/fork.64k"] = outcome
    run()
    vm.jobs.clear()
    vm.outcomes.clear()
    done, _, _ = run()
    assert [spec.name for job in vm.jobs for spec in job.specs] == ["v2/max/fork.64k"]
    assert done["v2/max/fork.64k"].outcome is Outcome.PASSED


def test_a_kernel_that_does_not_boot_leaves_its_cells_not_run_after_one_try(run, vm):
    vm.fails_to_boot = True
    done, boots, _ = run()
    assert {cell.outcome for cell in done.values()} == {Outcome.NOT_RUN}
    assert {cell.reason for cell in done.values()} == {"booting: Kernel panic"}
    assert len(boots) == 2


def test_cells_of_a_boot_with_an_unmet_precondition_are_not_recorded(run, vm):
    vm.needs = (*NEEDS, Need(what="hardware_dirty_bit", ok=False, want="used", got="not used"))
    run()
    vm.jobs.clear()
    run()
    assert len(vm.jobs) == 2


def test_enough_lets_go_of_what_runs_and_boots_nothing_more(run, vm):
    done, boots, _ = run(until=lambda cell, boot: cell.job == "full.128k", jobs=1)
    assert list(done) == ["v2/max/full.64k", "v2/max/full.128k"]
    assert len(boots) == len(vm.jobs) == 1
    assert vm.jobs[0].machine.id == "max"


def test_enough_after_a_cell_that_ended_its_vm_costs_no_other_boot(run, vm):
    vm.outcomes["v2/max/full.64k"] = Outcome.PANIC
    done, _, _ = run(until=lambda cell, boot: cell.outcome is Outcome.PANIC, jobs=1)
    assert list(done) == ["v2/max/full.64k"]
    assert len(vm.jobs) == 1


def test_a_recorded_cell_can_be_enough(run, vm):
    run()
    vm.jobs.clear()
    (vm_cell,) = [s for s in plan.cells(a_study(), "v2", "a57") if s.job == "fork.64k"]
    told = []
    run(until=lambda cell, boot: told.append((cell.name, boot.machine)) or cell.name == vm_cell.name)
    assert vm.jobs == []
    assert (vm_cell.name, "a57") in told


def test_a_vm_that_hangs_when_another_has_enough_is_stopped(run, vm, monkeypatch):
    monkeypatch.setattr(cells, "LET_GO", 0.1)
    play, hanging = vm.__call__, threading.Event()

    def hangs_on_a57(job, emit, *, stop, until):
        if job.machine.id == "max":
            assert hanging.wait(10)
            return play(job, emit, stop=stop, until=until)
        hanging.set()
        assert stop.wait(10), "it was not stopped"
        raise exercise.Stopped("given up")

    monkeypatch.setattr(exercise, "run", hangs_on_a57)
    done, _, _ = run(until=lambda cell, boot: True)
    assert list(done) == ["v2/max/full.64k"]


def test_who_is_told_of_cells_knows_their_boot(run, vm):
    told = []
    run(until=lambda cell, boot: told.append((cell.boot, boot.id, len(boot.needs))) or False)
    assert len(told) == 6
    assert all(of == boot and needs for of, boot, needs in told)


def test_cells_of_a_lower_rank_go_first_and_the_others_keep_their_order(run, vm):
    run(rank=lambda spec: (0,) if spec.job == "fork.64k" and spec.machine == "max" else (1,))
    order = {job.machine.id: [spec.job for spec in job.specs] for job in vm.jobs}
    assert order == {
        "max": ["fork.64k", "full.64k", "full.128k"],
        "a57": ["full.64k", "full.128k", "fork.64k"],
    }


def test_the_boot_with_the_cell_of_the_lowest_rank_goes_first(run, vm):
    scenarios = [a_scenario("full", variants=["64k"]), a_scenario("race", variants=["64k"], cpus=2)]
    study = a_study(scenario=scenarios, claim=[])
    run(study=study, jobs=1, rank=lambda spec: (0 if spec.job == "race.64k" and spec.machine == "a57" else 1, 0))
    assert (vm.jobs[0].machine.id, vm.jobs[0].specs[0].job) == ("a57", "race.64k")


def test_an_error_in_one_pair_stops_the_other(run, vm, monkeypatch):
    both_run, stopped = threading.Barrier(2), threading.Event()

    def failing(job, emit, *, stop, until):
        both_run.wait(10)
        if job.machine.id == "max":
            raise RuntimeError("seeded")
        assert stop.wait(10)
        stopped.set()
        raise exercise.Stopped("given up")

    monkeypatch.setattr(exercise, "run", failing)
    with pytest.raises(RuntimeError, match="seeded"):
        run()
    assert stopped.is_set()


def test_the_progress_of_all_cells_leaves_out_what_is_on_record(tmp_path):
    study = a_study()
    pair = cells.Pair(
        kernel="v2",
        machine=machine.load(resources.folder("qemu"), "max"),
        image=tmp_path / "Image",
        image_sha256="1" * 64,
        build_id="12",
        requested={},
    )
    events: list[Event] = []
    specs = plan.cells(study, "v2", "max")
    with cells.counted(events.append, study, [pair]) as emit:
        for spec, cached in zip(specs, (True, False, True), strict=True):
            emit(
                CellFinished(
                    kernel="v2",
                    machine="max",
                    scenario=spec.scenario,
                    variant=spec.variant,
                    outcome="passed",
                    seconds=0.1,
                    cached=cached,
                )
            )
        emit(Note(text="passed on"))
    told = [(event.done, event.total) for event in events if isinstance(event, StageProgress)]
    assert told == [(0, 2), (1, 2), (1, 1)]
    assert {event.stage for event in events if isinstance(event, (StageStarted, StageProgress, StageFinished))} == {
        "cells"
    }
    assert events[-2] == Note(at=events[-2].at, text="passed on")
    assert isinstance(events[-1], StageFinished)
