"""Which cells of a study must run, and running them: a boot for each kernel and machine that lacks some.

Cells that need more CPUs have a boot of their own, see ``exercise.BootJob``.
"""

import itertools
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline import exercise, plan, results
from pipeline.events import CellFinished, Emit, Event, StageProgress, stage
from pipeline.guest import qemu
from pipeline.guest.deadline import Deadline
from pipeline.guest.machine import Machine
from pipeline.guest.plugins import Plugin
from pipeline.judge import inputs as judged
from pipeline.kernel import kconfig
from pipeline.observation import Boot, Cell, Outcome
from pipeline.store import Store
from pipeline.study import Study

#: Tells for a cell how early it should run: the first number decides between boots as well, the others in one boot.
Rank = Callable[[plan.CellSpec], tuple[int, ...]]
#: Seconds that a VM has to power off once nobody wants its cells; one that hangs, or still boots, is stopped then.
LET_GO = 2.0
_LOOK = 0.1


@dataclass(frozen=True)
class Guest:
    """What every boot of a study shares. ``programs`` maps guest tests to sha256, ``initrd`` are archives.

    ``plugins``: what QEMU loads in every boot; ``model``: beside them where the machine has a TLB model.
    """

    initrd: tuple[Path, ...]
    rootfs_sha256: str
    programs: Mapping[str, str]
    qemu_version: str
    plugins: tuple[Plugin, ...] = ()
    model: Plugin | None = None

    def model_of(self, machine: Machine) -> tuple[Plugin, ...]:
        """The model of this machine's TLBs, none where it has none."""
        if machine.tlb is None:
            return ()
        assert self.model is not None, f"{machine.id} has a TLB model and no plugin was compiled for it"
        return (self.model.with_options(core=machine.tlb.core, bbm=str(machine.tlb.bbm)),)

    def plugins_of(self, machine: Machine) -> tuple[Plugin, ...]:
        """What QEMU loads to be this machine."""
        return (*self.plugins, *self.model_of(machine))


@dataclass(frozen=True)
class Pair:
    """One kernel on one machine. ``image_sha256`` of ``image``; ``requested``: its config options.
    ``system_map``: of the kernel, None where no address of it needs a name."""

    kernel: str
    machine: Machine
    image: Path
    image_sha256: str
    build_id: str
    requested: kconfig.Requested
    system_map: Path | None = None


@dataclass(frozen=True)
class Part:
    """The cells of a pair that need as many CPUs as each other."""

    pair: Pair
    cpus: int
    specs: tuple[plan.CellSpec, ...]

    @property
    def name(self) -> str:
        smp = f"-smp{self.cpus}" if self.cpus > 1 else ""
        return f"{self.pair.kernel}-{self.pair.machine.id}{smp}"


class _Enough:
    """``until`` for all parts: what is enough for one is enough for all."""

    def __init__(self, until: exercise.Until | None) -> None:
        self._until, self._event = until, threading.Event()

    def __call__(self, cell: Cell, boot: Boot) -> bool:
        if self._until is not None and self._until(cell, boot):
            self._event.set()
        return self.reached

    @property
    def reached(self) -> bool:
        return self._event.is_set()


def exercise_all(
    study: Study,
    pairs: Iterable[Pair],
    guest: Guest,
    *,
    store: Store,
    workdir: Path,
    jobs: int,
    fresh: bool,
    emit: Emit,
    until: exercise.Until | None = None,
    rank: Rank | None = None,
) -> tuple[list[Boot], list[Cell]]:
    """Every cell of the pairs, from the store where it is up to date (unless ``fresh``), else from a boot.

    ``workdir`` gets a folder a boot; ``jobs`` VMs run at once. Whatever ends
    this call, Ctrl-C included, ends every VM. ``until`` is told of every cell,
    in the threads of the VMs: once it says True, what runs is let go after its
    cell, nothing more is booted, and the other cells are as if not asked for.
    A VM that does not end soon then is stopped; its cells are not returned.
    ``rank``: cells of a lower one go first, and so does the boot that has such a cell.
    """
    stop, enough = threading.Event(), _Enough(until)
    boots: dict[str, Boot] = {}
    cells: list[Cell] = []
    with ThreadPoolExecutor(max_workers=max(1, jobs)) as executor:
        work = [
            executor.submit(
                _part, study, part, guest,
                store=store, workdir=workdir, fresh=fresh, stop=stop, emit=emit, enough=enough,
            )
            for part in _parts(study, pairs, rank)
        ]  # fmt: skip
        try:
            _let_go(work, enough, stop)
            for future in work:
                some_boots, some_cells = future.result()
                boots |= {boot.id: boot for boot in some_boots}
                cells += some_cells
        except BaseException:
            stop.set()
            executor.shutdown(wait=True, cancel_futures=True)
            raise
    return list(boots.values()), cells


def _let_go(work: Collection[Future[Any]], enough: _Enough, stop: threading.Event) -> None:
    """Waits for the parts, or for the first that fails; stops what does not end soon after enough was seen."""
    deadline: Deadline | None = None
    pending = set(work)
    while pending and not any(future.done() and future.exception() for future in work):
        if enough.reached:
            deadline = deadline or Deadline(LET_GO)
            if deadline.expired:
                stop.set()
        _, pending = wait(pending, timeout=_LOOK, return_when=FIRST_COMPLETED)


@contextmanager
def counted(emit: Emit, study: Study, pairs: Collection[Pair]) -> Iterator[Emit]:
    """An ``emit`` that tells, besides what it is told, how many of all cells of the pairs are done: stage ``cells``.

    A cell that is on record is no work, and would make the rest look quicker than it is: it is left out of both.
    """
    total = sum(len(plan.cells(study, pair.kernel, pair.machine.id)) for pair in pairs)
    done, lock = 0, threading.Lock()

    def counting(event: Event) -> None:
        nonlocal done, total
        emit(event)
        if not isinstance(event, CellFinished):
            return
        with lock:  # also while it is told, so that counts come in their order
            done, total = (done, total - 1) if event.cached else (done + 1, total)
            emit(StageProgress(stage="cells", subject=study.id, done=done, total=total))

    with stage(emit, "cells", study.id):
        yield counting


def not_built(study: Study, kernel: str) -> list[Cell]:
    """The cells of a kernel that there is no Image of."""
    return [
        _not_run(spec, "the kernel did not build")
        for machine in study.machines
        for spec in plan.cells(study, kernel, machine)
    ]


def _parts(study: Study, pairs: Iterable[Pair], rank: Rank | None) -> list[Part]:
    """By the rank of their first cell; then the longest first: those of one CPU, which have most of the cells."""
    rank = rank or (lambda spec: (0,))
    parts = []
    for pair in pairs:
        specs: dict[int, list[plan.CellSpec]] = {}
        for spec in sorted(plan.cells(study, pair.kernel, pair.machine.id), key=rank):
            specs.setdefault(spec.cpus, []).append(spec)
        parts += [Part(pair, cpus, tuple(some)) for cpus, some in specs.items()]
    return sorted(parts, key=lambda part: (rank(part.specs[0])[0], part.cpus))


def _part(
    study: Study,
    part: Part,
    guest: Guest,
    *,
    store: Store,
    workdir: Path,
    fresh: bool,
    stop: threading.Event,
    emit: Emit,
    enough: "_Enough",
) -> tuple[list[Boot], list[Cell]]:
    """The cells of one part: at most one boot, and one more for each cell that ended its VM."""
    pair = part.pair
    inputs = {spec: _inputs(study, pair, guest, spec) for spec in part.specs}
    boots: dict[str, Boot] = {}
    cells: list[Cell] = []
    waiting = list(inputs)
    if not fresh:
        for spec in inputs:
            if (found := results.find_cell(store, inputs[spec])) is not None:
                cell, boots[cell.boot] = found
                cells.append(cell)
                waiting.remove(spec)
                emit(_cached(cell))
                enough(cell, boots[cell.boot])
    for number in itertools.count(1):
        if not waiting or enough.reached:
            break
        boot_id = f"{workdir.parent.name}-{part.name}-{number}"
        job = exercise.BootJob(
            id=boot_id,
            kernel=pair.kernel,
            machine=pair.machine,
            image=pair.image,
            initrd=guest.initrd,
            specs=tuple(waiting),
            probes=study.probe,
            tracepoints=study.tracepoints,
            requested=pair.requested,
            build_id=pair.build_id,
            workdir=workdir / boot_id,
            plugins=guest.plugins_of(pair.machine),
            system_map=pair.system_map,
            why=_why(store, waiting, inputs, fresh=fresh),
        )
        try:
            outcome = exercise.run(job, emit, stop=stop, until=enough)
        except exercise.Stopped:
            if not enough.reached:
                raise
            break
        boots[outcome.boot.id] = outcome.boot
        results.keep_boot(store, outcome.boot, job.workdir)
        done = {cell.job: cell for cell in outcome.cells}
        for spec in waiting:
            if spec.job in done:
                results.keep_cell(store, inputs[spec], done[spec.job], outcome.boot)
        cells += outcome.cells
        if enough.reached:
            break
        left = [spec for spec in waiting if spec.job not in done]
        if len(left) == len(waiting):  # a boot without a single cell: another would end alike
            reason = outcome.boot.failure.partition("\n")[0] or "the guest ended before the cell ran"
            cells += [_not_run(spec, reason) for spec in left]
            break
        waiting = left
    return list(boots.values()), cells


def _why(
    store: Store, waiting: list[plan.CellSpec], inputs: Mapping[plan.CellSpec, Mapping[str, object]], *, fresh: bool
) -> str:
    """Why these cells run: the reasons without repeats, the first few."""
    if fresh:
        return f"{len(waiting)} cells, all afresh as asked"
    reasons = dict.fromkeys(store.why("cell", inputs[spec], subject=spec.name) or "not recorded" for spec in waiting)
    shown = "; ".join(itertools.islice(reasons, 3))
    return f"{len(waiting)} of {len(inputs)} cells: {shown}{'; ...' if len(reasons) > 3 else ''}"


def _inputs(study: Study, pair: Pair, guest: Guest, spec: plan.CellSpec) -> dict[str, object]:
    return plan.cell_inputs(
        spec,
        image_sha256=pair.image_sha256,
        machine=pair.machine.model_dump(mode="json"),
        qemu=qemu_of(guest, exercise.machine_of(pair.machine, [spec])),
        rootfs_sha256=guest.rootfs_sha256,
        program_sha256=guest.programs[spec.program],
        study=study,
    )


def qemu_of(guest: Guest, machine: Machine) -> list[str]:
    """QEMU's version, its command line without what differs from boot to boot, and its plugins."""
    none = Path("-")
    shape = qemu.command_line(
        machine, program="", image=none, initrd=none, ram=none, swap=none, mailbox=none, log=none, qmp=none, port=0
    )
    return [guest.qemu_version, *shape, *(plugin.identity for plugin in guest.plugins_of(machine))]


def judged_inputs(
    study: Study, machines: Iterable[Machine], guest: Guest, *, code: Iterable[ModuleType] = ()
) -> dict[str, Any]:
    """What a judged result of a study depends on besides the kernels, see ``judge.inputs``."""
    profiles = tuple(machines)
    return judged.of(
        study,
        machines=[machine.model_dump(mode="json") for machine in profiles],
        qemu=[word for machine in profiles for word in qemu_of(guest, machine)],
        rootfs=guest.rootfs_sha256,
        programs=guest.programs,
        code=code,
    )


def _not_run(spec: plan.CellSpec, reason: str) -> Cell:
    return Cell(
        kernel=spec.kernel,
        machine=spec.machine,
        scenario=spec.scenario,
        variant=spec.variant,
        outcome=Outcome.NOT_RUN,
        reason=reason,
    )


def _cached(cell: Cell) -> Event:
    return CellFinished(
        kernel=cell.kernel,
        machine=cell.machine,
        scenario=cell.scenario,
        variant=cell.variant,
        outcome=cell.outcome,
        seconds=cell.seconds,
        cached=True,
    )
