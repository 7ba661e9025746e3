"""One boot of a guest that does nothing but samples: guest-tests/lazyfree_cost.c is its first and only program.

No network, no shell, no other process: what is left to disturb a count is the kernel itself.
"""

import re
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.cost import counted
from pipeline.cost.model import CostBoot, HeldOff, Sample
from pipeline.events import Emit, Finding, StageFinished, StageProgress, StageStarted
from pipeline.exercise import Stopped, killed_by
from pipeline.guest import cpio, keys
from pipeline.guest.deadline import Deadline
from pipeline.guest.ends import VmEnded
from pipeline.guest.machine import Machine
from pipeline.guest.plugins import Plugin
from pipeline.guest.vm import VM
from pipeline.tlb import symbols

#: Part of the key of what is kept: raise it when the same inputs would give other files.
RECIPE = 1
PROGRAM = "lazyfree_cost"
FUNCTIONS = "functions"
#: QEMU's clock is its count of instructions, one a nanosecond, and time passes by nothing else: timer interrupts
#: come at the same instruction in each run, however loaded the host is.
ICOUNT = ("-icount", "shift=0,sleep=off", "-rtc", "base=2025-01-01,clock=vm")
#: What the kernel gets beside: addresses of processes do not vary, and the program is in the place of init.
APPEND = ("norandmaps", "rdinit=/init", "initcall_blacklist=gen_pci_driver_init")
#: MiB of RAM beside the range: the kernel, the archive, page tables, and room for folios to be found.
BESIDE_MIB = 512
#: Seconds that a boot may take, and each sample, and each MiB of a sample's range.
BOOT_LIMIT, SAMPLE_LIMIT, MIB_LIMIT = 60.0, 10.0, 0.5

_LINE = re.compile(r"kpv-cost (\d+) (?:(-?\d+)|failed: (.*))$")
_CLOCK = re.compile(r"kpv-cost (\d+) took (\d+)$")


@dataclass(frozen=True)
class Task:
    """One sample to make."""

    operation: str
    folio_bytes: int
    range_bytes: int
    repeat: int = 0


@dataclass(frozen=True)
class BootJob:
    """Everything one boot needs. ``plugin``: qemu/cost; None counts by the guest's clock instead (method "icount").

    ``machine``: as the study has it; it gets one CPU and the memory that the tasks need.
    """

    id: str
    kernel: str
    machine: Machine
    image: Path
    system_map: Path
    program: Path
    tasks: tuple[Task, ...]
    workdir: Path
    plugin: Plugin | None
    icount: bool = True
    profiles: bool = True
    why: str = ""

    @property
    def inputs(self) -> dict[str, object]:
        """Everything that can change what is counted, but the kernel, the program and QEMU."""
        return {
            "recipe": RECIPE,
            "machine": machine_of(self.machine, self.tasks).model_dump(mode="json"),
            "plugin": self.plugin.key if self.plugin is not None else "",
            "qemu_words": list(ICOUNT) if self.icount else [],
            "append": list(APPEND),
            "tasks": [[task.operation, task.folio_bytes, task.range_bytes, task.repeat] for task in self.tasks],
        }


def machine_of(machine: Machine, tasks: Iterable[Task]) -> Machine:
    """The machine that samples are made on: one CPU, one thread, and RAM for the largest range."""
    range_mib = max(task.range_bytes for task in tasks) >> 20
    return machine.model_copy(update={"smp": 1, "thread": "single", "memory_mib": range_mib + BESIDE_MIB})


def archive(program: bytes, tasks: Sequence[Task]) -> bytes:
    """The guest's root file system: the program, and its list of samples."""
    jobs = "".join(f"{at} {task.operation} {task.folio_bytes} {task.range_bytes}\n" for at, task in enumerate(tasks))
    return cpio.archive(
        [
            cpio.file("init", program, mode=0o755),
            cpio.file("jobs", jobs.encode()),
            cpio.device("dev/console", 5, 1),
            *(cpio.folder(name) for name in ("proc", "sys")),
        ]
    )


def run(job: BootJob, emit: Emit, *, stop: threading.Event) -> CostBoot:
    """One life of one VM: every sample of the job, in order; ``samples`` reads them from what it leaves in ``workdir``.

    A kernel that panics or hangs is told in the boot. Raises InfraError where there is no VM to speak of, and
    Stopped soon after ``stop`` is set.
    """
    subject = f"{job.kernel}/{job.machine.id}"
    began = time.monotonic()
    job.workdir.mkdir(parents=True, exist_ok=True)
    initrd = job.workdir / "initrd"
    initrd.write_bytes(archive(job.program.read_bytes(), job.tasks))
    plugins = []
    if job.plugin is not None:
        options = counted.write_functions(symbols.read(job.system_map), job.workdir / FUNCTIONS)
        plugins = [job.plugin.with_options(**options)]
    vm = VM(
        machine_of(job.machine, job.tasks),
        image=job.image,
        initrd=initrd,
        keys=keys.make(),
        workdir=job.workdir,
        append=APPEND,
        extra=ICOUNT if job.icount else (),
        plugins=plugins,
    )
    end = failure = ""
    ok = False
    emit(StageStarted(stage="cost", subject=subject, why=job.why))
    try:
        with vm, killed_by(stop, vm):
            _follow(vm, job, emit, subject)
            end = vm.wait_poweroff(Deadline(BOOT_LIMIT))
            ok = True
    except VmEnded as err:
        if stop.is_set():
            raise Stopped(f"{subject}: given up") from err
        end, failure = err.end, err.message
        emit(Finding(subject=subject, what=err.message))
    finally:
        seconds = time.monotonic() - began
        emit(StageFinished(stage="cost", subject=subject, seconds=seconds, ok=ok))
        for left in (initrd, job.workdir / FUNCTIONS):
            left.unlink(missing_ok=True)
    return CostBoot(
        id=job.id, kernel=job.kernel, machine=job.machine.id, qemu=tuple(vm.argv), seconds=round(seconds, 2),
        end=end, failure=failure,
    )  # fmt: skip


def _follow(vm: VM, job: BootJob, emit: Emit, subject: str) -> None:
    """Tell of each sample as it is made. Raises VmEnded where one takes too long, or the VM ends."""
    at, done = 0, 0
    while done < len(job.tasks):
        task = job.tasks[done]
        limit = SAMPLE_LIMIT + MIB_LIMIT * (task.range_bytes >> 20) + (0 if done else BOOT_LIMIT)
        with vm.doing(f"{task.operation} of {task.folio_bytes >> 10}k folios"):
            found = vm.console.wait(
                lambda line, done=done: f"kpv-cost {done} done" in line or "Kernel panic" in line,
                Deadline(limit),
                start=at,
            )
            if found is None or "Kernel panic" in vm.console.lines[found]:
                raise vm.failure()
        at, done = found + 1, done + 1
        emit(
            StageProgress(
                stage="cost",
                subject=subject,
                done=done,
                total=len(job.tasks),
                line=f"{task.operation} {task.folio_bytes >> 10}k",
            )
        )


def samples(job: BootJob, boot: CostBoot, folder: Path) -> list[Sample]:
    """The samples of a boot that has ended, one for each task, by the files it left in ``folder``.

    Raises CountedError.
    """
    known = symbols.read(job.system_map)
    console = (folder / "console.log").read_text(encoding="utf-8", errors="replace").splitlines()
    orders, failed, clock = _said(console)
    made = counted.read(folder / job.plugin.output) if job.plugin is not None else {}
    result = []
    for at, task in enumerate(job.tasks):
        sample = Sample.model_construct(
            kernel=job.kernel,
            machine=job.machine.id,
            operation=task.operation,
            folio_bytes=task.folio_bytes,
            range_bytes=task.range_bytes,
            repeat=task.repeat,
            boot=boot.id,
            page_bytes=job.machine.page_size,
            order=orders.get(at),
        ).model_dump()
        entry = made.get(at)
        if at in failed:
            why = failed[at]
        elif job.plugin is None:
            why = "" if at in clock else boot.failure or "the guest did not time it"
        elif entry is None:
            why = boot.failure or "the plugin saw no operation"
        else:
            why = entry.broken
        if why:
            sample |= {"outcome": "inconclusive", "reason": why}
        elif entry is None:
            sample |= {"counts": {"instructions": clock[at]}, "held_off": HeldOff()}
        else:
            sample |= {
                "counts": counted.counts(entry, known),
                "held_off": entry.held_off,
                "profile": counted.profile(entry, known) if job.profiles else None,
            }
        result.append(Sample.model_validate(sample))
    return result


def _said(console: Iterable[str]) -> tuple[Mapping[int, int], Mapping[int, str], Mapping[int, int]]:
    """What the guest said of each sample: the folios' order, why it failed, nanoseconds on its clock."""
    orders: dict[int, int] = {}
    failed: dict[int, str] = {}
    clock: dict[int, int] = {}
    for line in console:
        if match := _CLOCK.search(line):
            clock[int(match[1])] = int(match[2])
        elif match := _LINE.search(line):
            if match[3] is not None:
                failed.setdefault(int(match[1]), match[3])
            else:
                orders[int(match[1])] = int(match[2])
    return orders, failed, clock


def files(job: BootJob) -> list[str]:
    """Names of what a boot leaves that ``samples`` reads, and that a person may want to look at."""
    return ["console.log", "qemu.err", *([job.plugin.output] if job.plugin is not None else [])]
