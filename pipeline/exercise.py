"""Exercise and collect: boots one kernel on one machine and runs its cells in it.

A ``BootJob`` is self-contained and picklable: it names files and values only,
so that any ``concurrent.futures.Executor`` may run it.
"""

import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.errors import InfraError
from pipeline.events import CellFinished, Emit, Finding, StageFinished, StageStarted
from pipeline.guest import console, keys, rootfs, runner, swapdisk, trace
from pipeline.guest.deadline import Deadline
from pipeline.guest.ends import End, KernelEnd, VmEnded
from pipeline.guest.machine import Machine
from pipeline.guest.plugins import Plugin
from pipeline.guest.runner import GuestJob, GuestResult
from pipeline.guest.vm import VM
from pipeline.kernel import kconfig
from pipeline.observation import Boot, Cell, Outcome
from pipeline.observe import preconditions, probes, records, slices, tables
from pipeline.plan import CellSpec
from pipeline.study import Probe

#: Seconds from QEMU's start to the first SSH command; about 1 on an idle host.
BOOT_LIMIT = 120.0
#: Seconds for placing probes and reading the guest's facts.
SETUP_LIMIT = 60.0
POWEROFF_LIMIT = 30.0
#: Characters kept of one cell's trace or console; the boot's files hold everything.
EXCERPT = 200_000

_OUTCOMES = {
    End.PANIC: Outcome.PANIC,
    End.OOPS: Outcome.PANIC,
    End.HANG: Outcome.HANG,
    End.WATCHDOG: Outcome.HANG,
    End.EXITED_EARLY: Outcome.CRASHED,
    End.LOST: Outcome.LOST,
    End.TIMEOUT: Outcome.LOST,
}


@dataclass(frozen=True)
class BootJob:
    """Everything one boot needs. ``initrd``: archives without the run's keys. ``workdir`` gets the boot's files.
    ``why``: what makes the boot necessary, for a person.
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
    why: str = ""


@dataclass(frozen=True)
class BootOutcome:
    """``cells``: those that began; the rest of the job's specs may be tried in another boot."""

    boot: Boot
    cells: tuple[Cell, ...]


class Stopped(InfraError):
    """The run was given up while this boot was under way."""


def run(job: BootJob, emit: Emit, *, stop: threading.Event) -> BootOutcome:
    """One life of one VM: boot, measure what must hold, run the cells, fetch the trace, power off.

    A kernel that panics or hangs is an outcome; so is a QEMU that was killed
    (``Boot.end`` "lost"). Raises InfraError where there is no VM to speak of,
    and Stopped soon after ``stop`` is set.
    """
    subject = f"{job.kernel}/{job.machine.id}"
    boot = Boot(id=job.id, kernel=job.kernel, machine=job.machine.id, plugins=[p.name for p in job.plugins])
    run_keys = keys.make()
    job.workdir.mkdir(parents=True, exist_ok=True)
    initrd = rootfs.assemble((*job.initrd, run_keys.archive), job.workdir / "initrd")
    results: list[tuple[GuestResult, records.Reading]] = []
    vm: VM | None = None
    emit(StageStarted(stage="boot", subject=subject, why=job.why))
    try:
        with (
            VM(
                job.machine,
                image=job.image,
                initrd=initrd,
                keys=run_keys,
                workdir=job.workdir,
                plugins=job.plugins,
            ) as vm,
            _killed_by(stop, vm),
        ):
            boot.seconds_to_ssh = vm.wait_ready(Deadline(BOOT_LIMIT))
            emit(StageFinished(stage="boot", subject=subject, seconds=boot.seconds_to_ssh))
            _set_up(vm, job, boot)
            emit(StageStarted(stage="exercise", subject=subject))
            for result in runner.run(vm, [GuestJob(s.job, s.argv, timeout=s.timeout) for s in job.specs]):
                reading = _reading(result)
                results.append((result, reading))
                _announce(result, reading.outcome, job, emit)
            emit(StageFinished(stage="exercise", subject=subject, seconds=sum(r.seconds for r, _ in results)))
            if results and (end := results[-1][0].end) is not None:
                boot.end = end.end
            else:
                (job.workdir / "trace.dat").write_bytes(trace.fetch(vm, deadline=Deadline(SETUP_LIMIT)))
                boot.end = vm.poweroff(Deadline(POWEROFF_LIMIT))
    except VmEnded as err:
        if stop.is_set():
            raise Stopped(f"{subject}: given up") from err
        boot.end = err.end
        if not results:
            boot.failure = f"{err.message}\n{err.detail}".strip()
            emit(StageFinished(stage="boot", subject=subject, seconds=0.0, ok=False))
        emit(Finding(subject=subject, what=err.message))
        if isinstance(err, KernelEnd) and results and results[-1][0].end is None:
            # The kernel fell over after its last cell: that cell is the nearest thing to blame.
            blamed = replace(results[-1][0], outcome="vm-ended", end=err)
            results[-1] = (blamed, _reading(blamed))
    finally:
        initrd.unlink(missing_ok=True)
        if vm is not None:
            boot.qemu = vm.argv
    return BootOutcome(boot, tuple(_collect(job, results, boot)))


@contextmanager
def _killed_by(stop: threading.Event, vm: VM) -> Iterator[None]:
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


def _set_up(vm: VM, job: BootJob, boot: Boot) -> None:
    """Place the probes, and measure the preconditions of everything that follows."""
    deadline = Deadline(SETUP_LIMIT)
    said = vm.run("sh", stdin=probes.script(job.probes, job.tracepoints).encode(), deadline=deadline, phase="probes")
    boot.probes = probes.outcome(said.text, job.probes, job.tracepoints)
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


def _announce(result: GuestResult, outcome: Outcome, job: BootJob, emit: Emit) -> None:
    scenario, _, variant = result.job.id.partition(".")
    emit(
        CellFinished(
            kernel=job.kernel,
            machine=job.machine.id,
            scenario=scenario,
            variant=variant,
            outcome=outcome,
            seconds=result.seconds,
        )
    )


def _reading(result: GuestResult) -> records.Reading:
    """The guest's own words, overruled by what the host saw of the test's end."""
    reading = records.read(result.text, exit_status=result.exit_status or 0)
    if result.end is not None:
        reading.outcome, reading.reason = _OUTCOMES[result.end.end], result.end.message
    elif result.outcome == "timeout":
        reading.outcome = Outcome.TIMEOUT
        reading.reason = f"not done within {result.job.timeout:g} s; killed"
    elif result.truncated:
        reading.outcome, reading.reason = Outcome.CRASHED, "printed more than can be kept"
    return reading


def _collect(job: BootJob, results: Sequence[tuple[GuestResult, records.Reading]], boot: Boot) -> list[Cell]:
    log = job.workdir / "console.log"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    consoles, traces = slices.by_cell(lines), _traces(job.workdir / "trace.dat")
    recorded = tables.recorded(job.workdir, job.plugins)
    cells = []
    for result, reading in results:
        spec = next(spec for spec in job.specs if spec.job == result.job.id)
        text = consoles.get(result.job.id, "")
        tables.add(reading, recorded, spec.test)
        cells.append(
            Cell(
                kernel=job.kernel,
                machine=job.machine.id,
                scenario=spec.scenario,
                variant=spec.variant,
                outcome=reading.outcome,
                reason=reading.reason,
                seconds=result.seconds,
                params=reading.params,
                needs=reading.needs,
                steps=reading.steps,
                pages=reading.pages,
                tables=reading.tables,
                checks=reading.checks,
                console_findings=[f"{f.kind}: {f.headline}" for f in console.findings(text.splitlines())],
                malformed=reading.malformed,
                ktap=result.text,
                console=text[-EXCERPT:],
                trace=traces.get(result.job.id, "")[:EXCERPT],
                boot=boot.id,
            )
        )
    _blame_leftovers(cells, lines, boot)
    return cells


def _blame_leftovers(cells: list[Cell], lines: list[str], boot: Boot) -> None:
    """A finding between or after cells belongs to none by its place; the cell before it is the nearest to blame."""
    everywhere = [f"{f.kind}: {f.headline}" for f in console.findings(lines)]
    told = [finding for cell in cells for finding in cell.console_findings]
    left = [finding for finding in everywhere if finding not in told]
    if left and cells:
        cells[-1].console_findings.extend(f"outside any cell: {finding}" for finding in left)
    elif left:
        boot.failure = boot.failure or "; ".join(left)


def _traces(path: Path) -> dict[str, str]:
    program = shutil.which("trace-cmd")
    if not path.is_file() or program is None:
        return {}
    done = subprocess.run(
        [program, "report", "-i", str(path)], capture_output=True, text=True, check=False, errors="replace"
    )
    if done.returncode:
        raise InfraError(f"{path}: trace-cmd report failed: {done.stderr.strip()[-300:]}")
    return slices.by_cell(done.stdout.splitlines())
