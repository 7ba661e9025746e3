"""Exercise and collect: boots one kernel on one machine and runs its cells in it.

A ``BootJob`` is self-contained and picklable: it names files and values only,
so that any ``concurrent.futures.Executor`` may run it.

Who need not see all cells passes ``until`` to ``run``: it is called with each
cell as soon as that cell ended, in the order of the job's specs, with all of
its observation but the trace, and with what is known of the boot, and tells by
True that this is enough. The guest
is then powered off as it is after the last cell, and the outcome holds the
cells so far; the others are as if they had not been asked for::

    outcome = exercise.run(job, emit, stop=stop, until=lambda cell, boot: cell.outcome is Outcome.FAILED)

What is learned of a cell only later is added to the same ``Cell`` object: its
trace, and findings on the console after its end and before the next one's begin.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.collect import Collector, Watched
from pipeline.errors import InfraError
from pipeline.events import CellFinished, Emit, Finding, StageFinished, StageProgress, StageStarted, stage
from pipeline.guest import keys, rootfs, runner, swapdisk, trace
from pipeline.guest.deadline import Deadline
from pipeline.guest.ends import KernelEnd, VmEnded
from pipeline.guest.machine import Machine
from pipeline.guest.plugins import Plugin
from pipeline.guest.runner import GuestJob, GuestResult
from pipeline.guest.vm import VM
from pipeline.kernel import kconfig
from pipeline.observation import Boot, Cell
from pipeline.observe import preconditions, probes, tables, tlb
from pipeline.plan import CellSpec
from pipeline.study import Probe

#: Told of a cell and its boot; True says that no more cells are wanted.
Until = Callable[[Cell, Boot], bool]

#: Seconds from QEMU's start to the first SSH command; about 1 on an idle host.
BOOT_LIMIT = 120.0
#: Seconds for placing probes and reading the guest's facts.
SETUP_LIMIT = 60.0
POWEROFF_LIMIT = 30.0


@dataclass(frozen=True)
class BootJob:
    """Everything one boot needs. ``initrd``: archives without the run's keys. ``workdir`` gets the boot's files.
    ``system_map``: names the kernel's functions where a plugin tells addresses. ``why``: what makes the boot
    necessary, for a person.

    The VM has as many CPUs as the cell that needs most of them, see ``machine_of``.
    """

    id: str
    kernel: str
    machine: Machine
    image: Path
    initrd: tuple[Path, ...]
    specs: tuple[CellSpec, ...]
    probes: tuple[Probe, ...]
    tracepoints: tuple[str, ...]
    requested: Mapping[str, kconfig.Option]
    build_id: str
    workdir: Path
    plugins: tuple[Plugin, ...] = ()
    system_map: Path | None = None
    why: str = ""


@dataclass(frozen=True)
class BootOutcome:
    """``cells``: those that ended, and one that the VM ended in; the rest may be tried in another boot."""

    boot: Boot
    cells: tuple[Cell, ...]


def machine_of(machine: Machine, specs: Iterable[CellSpec]) -> Machine:
    """The machine with as many of its CPUs as the cell that needs most of them.

    A CPU more makes every cell slower, even one that is offline: QEMU stops all
    CPUs whenever one invalidates TLB entries of all. Measured with 167 cells on
    two VMs at once, 41 to 49 ms a cell with one CPU, 55 with a second that is
    offline (maxcpus=1), 113 to 118 with a second that is online.
    """
    return machine.model_copy(update={"smp": min(machine.smp, max((spec.cpus for spec in specs), default=1))})


class Stopped(InfraError):
    """The run was given up while this boot was under way."""


def run(job: BootJob, emit: Emit, *, stop: threading.Event, until: Until | None = None) -> BootOutcome:
    """One life of one VM: boot, measure what must hold, run the cells, fetch the trace, power off.

    ``until``: see above. A kernel that panics or hangs is an outcome; so is a
    QEMU that was killed (``Boot.end`` "lost"). Raises InfraError where there is
    no VM to speak of, and Stopped soon after ``stop`` is set.
    """
    machine = machine_of(job.machine, job.specs)
    # Two boots of a pair may be under way, with one CPU and with more.
    subject = f"{job.kernel}/{job.machine.id}" + (f" smp{machine.smp}" if machine.smp > 1 else "")
    boot = Boot(id=job.id, kernel=job.kernel, machine=job.machine.id, plugins=[p.name for p in job.plugins])
    run_keys = keys.make()
    job.workdir.mkdir(parents=True, exist_ok=True)
    initrd = rootfs.assemble((*job.initrd, run_keys.archive), job.workdir / "initrd")
    collector: Collector | None = None
    fatal: GuestResult | None = None
    vm: VM | None = None
    emit(StageStarted(stage="boot", subject=subject, why=job.why))
    try:
        with (
            VM(machine, image=job.image, initrd=initrd, keys=run_keys, workdir=job.workdir, plugins=job.plugins) as vm,
            killed_by(stop, vm),
        ):
            boot.seconds_to_ssh = vm.wait_ready(Deadline(BOOT_LIMIT), heard=heard(emit, subject))
            emit(StageFinished(stage="boot", subject=subject, seconds=boot.seconds_to_ssh))
            cpus = set_up(vm, job, boot)
            watched = Watched(
                tables.Recorded(job.workdir, job.plugins), tlb.Modelled(job.workdir, job.plugins, job.system_map)
            )
            collector = Collector(job.specs, boot, vm.console, watched, cpus=cpus)
            with stage(emit, "exercise", subject):
                fatal = _run_cells(vm, job, boot, collector, emit, until, subject)
            if fatal is not None and fatal.end is not None:
                boot.end = fatal.end.end
            else:
                _fetch_trace(vm, job.workdir / "trace.dat", emit, subject)
                boot.end = vm.poweroff(Deadline(POWEROFF_LIMIT))
    except VmEnded as err:
        if stop.is_set():
            raise Stopped(f"{subject}: given up") from err
        boot.end = err.end
        emit(Finding(subject=subject, what=err.message))
        if collector is None or not collector.cells:
            boot.failure = f"{err.message}\n{err.detail}".strip()
            emit(StageFinished(stage="boot", subject=subject, seconds=0.0, ok=False))
        elif isinstance(err, KernelEnd):
            collector.blame(err)
    finally:
        initrd.unlink(missing_ok=True)
        if vm is not None:
            boot.qemu = vm.argv
    if stop.is_set() and fatal is not None:
        raise Stopped(f"{subject}: given up")
    if collector is None:
        return BootOutcome(boot, ())
    if fatal is not None:  # now that QEMU is gone its console is whole
        cell = collector.add(fatal)
        _announce(cell, emit)
        if until is not None:
            until(cell, boot)
    collector.finish(job.workdir / "trace.dat")
    return BootOutcome(boot, tuple(collector.cells))


def _run_cells(
    vm: VM, job: BootJob, boot: Boot, collector: Collector, emit: Emit, until: Until | None, subject: str
) -> GuestResult | None:
    """Collects and announces each cell; the result that the VM ended in, if any, is returned instead.

    Raises VmEnded where it ended between two cells.
    """
    jobs = [GuestJob(spec.job, spec.argv, timeout=spec.timeout, serves=spec.serves) for spec in job.specs]

    def tell() -> None:
        done = len(collector.cells)
        emit(StageProgress(stage="exercise", subject=subject, done=done, total=len(jobs), line=jobs[done].id))

    with closing(runner.run(vm, jobs)) as results:
        tell()
        for result in results:
            if result.end is not None:
                return result
            cell = collector.add(result)
            _announce(cell, emit)
            if until is not None and until(cell, boot):
                break
            if len(collector.cells) < len(jobs):
                tell()
    return None


def _fetch_trace(vm: VM, path: Path, emit: Emit, subject: str) -> None:
    """The cells have ended and are judged without it, so a trace that the guest cannot make is told and no more."""
    try:
        path.write_bytes(trace.fetch(vm, deadline=Deadline(SETUP_LIMIT)))
    except trace.TraceLost as err:
        emit(Finding(subject=subject, what=f"{err.message}: its cells have no trace: {err.detail.strip()[-200:]}"))


def heard(emit: Emit, subject: str) -> Callable[[str], None]:
    """Tells what the console says as the last words of a boot."""

    def hear(line: str) -> None:
        emit(StageProgress(stage="boot", subject=subject, done=0, total=0, line=line))

    return hear


@contextmanager
def killed_by(stop: threading.Event, vm: VM) -> Iterator[None]:
    """Kills the VM once ``stop`` is set: whatever waits for the guest then ends at once."""
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            if stop.wait(0.1):
                vm.kill()
                return

    watcher = threading.Thread(target=watch, name=f"stop {vm.machine.id}", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def set_up(vm: VM, job: BootJob, boot: Boot) -> int:
    """Place the probes, and measure the preconditions of everything that follows; returns the CPUs online."""
    deadline = Deadline(SETUP_LIMIT)
    said = vm.run("sh", stdin=probes.script(job.probes, job.tracepoints).encode(), deadline=deadline, phase="probes")
    boot.probes = probes.outcome(said.text, job.probes, job.tracepoints)
    online = "/sys/devices/system/cpu/online"
    disk = f"/sys/block/{swapdisk.NAME}"
    files = runner.fetch(
        vm,
        (
            "/proc/config.gz",
            "/sys/kernel/notes",
            "/proc/swaps",
            f"{disk}/serial",
            f"{disk}/size",
            "/proc/self/auxv",
            online,
        ),
        deadline=deadline,
    )
    boot.needs = preconditions.measure(
        config_gz=files.get("/proc/config.gz", b""),
        notes=files.get("/sys/kernel/notes", b""),
        facts={
            "page_size": preconditions.page_size(files.get("/proc/self/auxv", b"")),
            "swap": preconditions.swap(files.get("/proc/swaps", b"").decode(errors="replace")),
            "swap_disk": preconditions.swap_disk(
                files.get(f"{disk}/serial", b"").decode(errors="replace"),
                files.get(f"{disk}/size", b"").decode(errors="replace"),
            ),
        },
        dmesg=vm.run("dmesg", deadline=deadline).text,
        requested=job.requested,
        wanted_build_id=job.build_id,
        page_size=job.machine.page_size,
        hardware_dbm=job.machine.hardware_dbm,
    )
    return preconditions.cpus(files.get(online, b"").decode(errors="replace"))


def _announce(cell: Cell, emit: Emit) -> None:
    emit(
        CellFinished(
            kernel=cell.kernel,
            machine=cell.machine,
            scenario=cell.scenario,
            variant=cell.variant,
            outcome=cell.outcome,
            seconds=cell.seconds,
        )
    )
