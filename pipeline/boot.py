"""Boots one kernel of a study as a run would, and hands the guest to a person: probes placed, tracing on."""

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import paramiko

from pipeline import exercise, plan, stages
from pipeline.errors import InfraError
from pipeline.events import Emit, Note, StageFinished, StageStarted
from pipeline.guest import ends, keys, rootfs, terminal, trace
from pipeline.guest.deadline import Deadline
from pipeline.guest.machine import Machine
from pipeline.guest.vm import VM
from pipeline.kernel.build import BuildError
from pipeline.observation import Boot
from pipeline.stages import Options
from pipeline.study import Kernel, Study

#: Where the guest has the study's tests.
TESTS = "/kpv/bin"


@dataclass(frozen=True)
class Guest:
    """A booted guest. ``boot``: what was measured in it."""

    vm: VM
    kernel: str
    machine: Machine
    boot: Boot
    workdir: Path

    def greeting(self) -> str:
        """What a person should know, a few lines."""
        refused = [f"{name} ({why})" for name, why in self.boot.probes.items() if why]
        unmet = [f"{need.what}: wanted {need.want}, found {need.got}" for need in self.boot.needs if not need.ok]
        lines = [
            f"kernel {self.kernel} on {self.machine.id}, {self.machine.smp} CPUs; exit powers it off",
            f"tests: {TESTS}/*, e.g. lazyfree -r lazyfree.64k.full_cover",
            f"tracing is on: /sys/kernel/tracing; {len(self.boot.probes) - len(refused)} probes and tracepoints",
            *(f"not placed: {entry}" for entry in refused),
            *(f"not as it should be: {entry}" for entry in unmet),
        ]
        return "\n".join(lines)

    def attach(self, command: Sequence[str] = ()) -> int:
        """Run a command, or a shell where there is none, on the caller's streams; returns its exit status.

        One word is a command line of the guest's shell; several are a program and its arguments. The command has
        a terminal if the caller is on one. A guest that is powered off from its own shell ends it with 0. Raises
        VmEnded where the guest ends otherwise, InfraError where it takes no command.
        """
        line = command[0] if len(command) == 1 else shlex.join(command)
        # dropbear gives a command its own short PATH.
        line = f"cd /root; PATH=$PATH:{TESTS}; export PATH; {line or 'exec sh'}"
        try:
            status = self._relay(line)
        except (paramiko.SSHException, OSError, EOFError) as err:
            if not self.vm.over():
                raise InfraError(f"the connection to the guest broke: {err or type(err).__name__}") from err
            status = None
        if status is not None:
            return status
        failure = self.vm.failure()
        if isinstance(failure, ends.GuestExited) and not command:
            return 0
        raise failure

    def poweroff(self) -> None:
        """Power the guest off, unless it did so itself; first keep its trace as trace.dat of the workdir."""
        if self.vm.over():
            return
        (self.workdir / "trace.dat").write_bytes(trace.fetch(self.vm, deadline=Deadline(exercise.SETUP_LIMIT)))
        self.vm.poweroff(Deadline(exercise.POWEROFF_LIMIT))

    def _relay(self, line: str) -> int | None:
        on_terminal = terminal.on_terminal()
        channel = self.vm.shell.channel(line, pty=terminal.size() if on_terminal else None)
        self.vm.phase = "in a shell"
        try:
            streams = {"stdin": sys.stdin.fileno(), "stdout": sys.stdout.fileno(), "stderr": sys.stderr.fileno()}
            if not on_terminal:
                return terminal.relay(channel, over=self.vm.over, **streams)
            with terminal.raw(lambda columns, lines: channel.resize_pty(columns, lines)):
                return terminal.relay(channel, over=self.vm.over, **streams)
        finally:
            channel.close()


@contextmanager
def booted(
    study: Study,
    kernel: Kernel,
    machine: str,
    options: Options,
    emit: Emit,
    *,
    workdir: Path,
    cpus: int = 0,
    append: Sequence[str] = (),
) -> Iterator[Guest]:
    """Build a kernel of a study and boot it; leaving the context ends the guest.

    ``cpus``: of the guest, 0 for as many as the machine has. ``append``: words for the kernel's command line.
    ``workdir`` gets console.log. Raises UserError (also BuildError), InfraError, VmEnded.
    """
    study = plan.only(study, kernels=(kernel.id,)).model_copy(update={"machines": (machine,)})
    ready = stages.prepare(study, options, emit)
    guest = stages.make_guest(ready, options, emit)
    (recipe,), (profile,) = ready.recipes, ready.machines
    built = stages.make(recipe, ready, options, emit)
    if isinstance(built, BuildError):
        raise built
    if cpus:
        profile = profile.model_copy(update={"smp": cpus})
    (pair,) = stages.pairs(ready, {kernel.id: built})
    job = exercise.BootJob(
        id=f"{datetime.now(UTC):%Y%m%d-%H%M%S}-boot-{kernel.id}-{machine}",
        kernel=kernel.id,
        machine=profile,
        image=pair.image,
        initrd=guest.initrd,
        specs=(),
        probes=study.probe,
        tracepoints=study.tracepoints,
        requested=pair.requested,
        build_id=pair.build_id,
        workdir=workdir,
    )
    subject = f"{kernel.id}/{machine}"
    run_keys = keys.make()
    workdir.mkdir(parents=True, exist_ok=True)
    initrd = rootfs.assemble((*job.initrd, run_keys.archive), workdir / "initrd")
    emit(StageStarted(stage="boot", subject=subject))
    try:
        with VM(profile, image=job.image, initrd=initrd, keys=run_keys, workdir=workdir, append=append) as vm:
            boot = Boot(id=job.id, kernel=kernel.id, machine=machine, qemu=vm.argv)
            boot.seconds_to_ssh = vm.wait_ready(Deadline(exercise.BOOT_LIMIT), heard=exercise.heard(emit, subject))
            exercise.set_up(vm, job, boot)
            emit(StageFinished(stage="boot", subject=subject, seconds=boot.seconds_to_ssh))
            emit(Note(text=f"console: {workdir / 'console.log'}"))
            yield Guest(vm, kernel.id, profile, boot, workdir)
    finally:
        initrd.unlink(missing_ok=True)


def default_kernel(study: Study) -> Kernel:
    """The last candidate, or the only kernel: a study lists its candidates from the first try to the last."""
    candidates = [kernel for kernel in study.kernel if kernel.role == "candidate"]
    return (candidates or list(study.kernel))[-1]
