"""One boot of a guest that makes one sample: guest-tests/lazyfree_cost.c is its first and only program.

No network, no shell, no other process: what is left to disturb a count is the kernel itself. A boot for each sample:
what a kernel has in its lists of free pages from an earlier one changes what the next costs, exit of a range of 32K
folios by more than half.
"""

import dataclasses
import re
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.cost import counted
from pipeline.cost.model import CostBoot, Sample
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
#: Seconds that a boot may take, and each MiB of the range beside it; about 1 and 0.02 on an idle host.
BOOT_LIMIT, MIB_LIMIT = 60.0, 0.5

_ORDER = re.compile(r"kpv-cost 0 (\d+)$")
_CLOCK = re.compile(r"kpv-cost 0 took (\d+)$")
_FAILED = re.compile(r"kpv-cost 0 failed: (.*)$")


@dataclass(frozen=True)
class Task:
    """One sample to make."""

    operation: str
    folio_bytes: int
    range_bytes: int
    repeat: int = 0


@dataclass(frozen=True)
class BootJob:
    """Everything one boot needs.

    ``machine``: as the study has it; it gets one CPU and the memory that the task needs. ``image_sha256``,
    ``program_sha256``, ``qemu_version``: of what counts depend on. ``plugin``: qemu/cost; None counts by the
    guest's clock instead (method "icount").
    """

    id: str
    kernel: str
    machine: Machine
    image: Path
    image_sha256: str
    system_map: Path
    program: Path
    program_sha256: str
    qemu_version: str
    task: Task
    workdir: Path
    plugin: Plugin | None
    icount: bool = True

    @property
    def inputs(self) -> dict[str, object]:
        """Everything that can change what is counted."""
        return {
            "recipe": RECIPE,
            "image": self.image_sha256,
            "program": self.program_sha256,
            "qemu": self.qemu_version,
            "machine": machine_of(self.machine, self.task).model_dump(mode="json"),
            "plugin": self.plugin.key if self.plugin is not None else "",
            "qemu_words": list(ICOUNT) if self.icount else [],
            "append": list(APPEND),
            "task": dataclasses.asdict(self.task),
        }


def machine_of(machine: Machine, task: Task) -> Machine:
    """The machine that a sample is made on: one CPU, one thread, and RAM for the range."""
    range_mib = task.range_bytes >> 20
    return machine.model_copy(update={"smp": 1, "thread": "single", "memory_mib": range_mib + BESIDE_MIB})


def archive(program: bytes, task: Task) -> bytes:
    """The guest's root file system: the program, and its list of samples, of which the only one has number 0."""
    jobs = f"0 {task.operation} {task.folio_bytes} {task.range_bytes}\n"
    return cpio.archive(
        [
            cpio.file("init", program, mode=0o755),
            cpio.file("jobs", jobs.encode()),
            cpio.device("dev/console", 5, 1),
            *(cpio.folder(name) for name in ("proc", "sys")),
        ]
    )


def run(job: BootJob, *, stop: threading.Event) -> CostBoot:
    """One life of one VM; ``sample`` reads what it counted from what it leaves in ``workdir``.

    A kernel that panics or hangs is told in the boot. Raises InfraError where there is no VM to speak of, and
    Stopped soon after ``stop`` is set.
    """
    began = time.monotonic()
    job.workdir.mkdir(parents=True, exist_ok=True)
    initrd = job.workdir / "initrd"
    initrd.write_bytes(archive(job.program.read_bytes(), job.task))
    plugins = []
    if job.plugin is not None:
        options = counted.write_functions(symbols.read(job.system_map), job.workdir / FUNCTIONS)
        plugins = [job.plugin.with_options(**options)]
    vm = VM(
        machine_of(job.machine, job.task),
        image=job.image,
        initrd=initrd,
        keys=keys.make(),
        workdir=job.workdir,
        append=APPEND,
        extra=ICOUNT if job.icount else (),
        plugins=plugins,
    )
    end = failure = ""
    try:
        with vm, killed_by(stop, vm), vm.doing(job.task.operation):
            end = vm.wait_poweroff(Deadline(BOOT_LIMIT + MIB_LIMIT * (job.task.range_bytes >> 20)))
    except VmEnded as err:
        if stop.is_set():
            raise Stopped(f"{job.id}: given up") from err
        end, failure = err.end, err.message
    finally:
        for left in (initrd, job.workdir / FUNCTIONS):
            left.unlink(missing_ok=True)
    return CostBoot(
        id=job.id,
        kernel=job.kernel,
        machine=job.machine.id,
        qemu=tuple(vm.argv),
        seconds=round(time.monotonic() - began, 2),
        end=end,
        failure=failure,
    )


def sample(job: BootJob, boot: CostBoot, folder: Path) -> Sample:
    """What a boot that has ended counted, by the files it left in ``folder``. Raises CountedError."""
    known = symbols.read(job.system_map)
    console = (folder / "console.log").read_text(encoding="utf-8", errors="replace").splitlines()
    said = _said(console)
    made = counted.read(folder / job.plugin.output).get(0) if job.plugin is not None else None
    fields: dict[str, object] = {
        "kernel": job.kernel,
        "machine": job.machine.id,
        **dataclasses.asdict(job.task),
        "boot": boot.id,
        "page_bytes": job.machine.page_size,
        "order": said.order,
    }
    nothing = boot.failure or ("the plugin saw no operation" if job.plugin else "the guest did not time it")
    if said.failed:
        fields |= {"outcome": "inconclusive", "reason": said.failed}
    elif made is not None and made.broken:
        fields |= {"outcome": "inconclusive", "reason": made.broken}
    elif made is not None:
        fields |= {
            "counts": counted.counts(made, known),
            "held_off": made.held_off,
            "profile": counted.profile(made, known),
        }
    elif job.plugin is None and said.nanoseconds is not None:
        fields |= {"counts": {"instructions": said.nanoseconds}}
    else:
        fields |= {"outcome": "inconclusive", "reason": nothing}
    return Sample.model_validate(fields)


@dataclass
class _Said:
    """What the guest said: the folios' order, why it failed, nanoseconds on its clock."""

    order: int | None = None
    failed: str = ""
    nanoseconds: int | None = None


def _said(console: Iterable[str]) -> _Said:
    said = _Said()
    for line in console:
        if match := _CLOCK.search(line):
            said.nanoseconds = int(match[1])
        elif match := _ORDER.search(line):
            said.order = int(match[1])
        elif match := _FAILED.search(line):
            said.failed = said.failed or match[1]
    return said


def files(job: BootJob) -> list[str]:
    """Names of what a boot leaves that ``sample`` reads, and that a person may want to look at."""
    return ["console.log", "qemu.err", *([job.plugin.output] if job.plugin is not None else [])]
