"""One life of one VM: start, wait until it answers, talk to it, power it off, and name its end."""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.errors import InfraError
from pipeline.guest import console, ends, qemu, swapdisk
from pipeline.guest.console import Finding
from pipeline.guest.deadline import Deadline
from pipeline.guest.ends import End
from pipeline.guest.keys import RunKeys
from pipeline.guest.machine import Machine
from pipeline.guest.mailbox import Mailbox
from pipeline.guest.monitor import Monitor
from pipeline.guest.plugins import Plugin
from pipeline.guest.qmp import Qmp
from pipeline.guest.shell import Completed, Shell, ShellLost, wait_connect

_PORT_TRIES = 5
#: Seconds for an end to show, and for the rest of a panic's text to arrive.
_SETTLE = 1.0


class VM:
    """A context manager; leaving it kills what still runs and removes the temporary files.

    ``workdir`` keeps console.log, qemu.err and what ``plugins`` write. ``ram``: the guest's memory as a
    file while the VM lives; RAM starts at physical address 0x40000000 (hw/arm/virt.c).
    ``mailbox``: what programs of the guest write there.
    """

    def __init__(
        self,
        machine: Machine,
        *,
        image: Path,
        initrd: Path,
        keys: RunKeys,
        workdir: Path,
        append: Sequence[str] = (),
        extra: Sequence[str] = (),
        plugins: Sequence[Plugin] = (),
        program: str = qemu.PROGRAM,
    ) -> None:
        self.machine = machine
        self.argv: list[str] = []
        self.phase = "starting qemu"
        self.seconds_to_ssh = 0.0
        self._image, self._initrd, self._keys = image, initrd, keys
        self._workdir, self._append, self._extra, self._program = workdir, append, extra, program
        self._plugins = plugins
        self._stack = contextlib.ExitStack()
        self._shell: Shell | None = None
        self._scanned = 0
        self._panicked = False

    def __enter__(self) -> Self:
        self._workdir.mkdir(parents=True, exist_ok=True)
        try:
            for left in reversed(range(_PORT_TRIES)):
                if self._start(last=left == 0):
                    return self
                self._stack.close()
        except BaseException:
            self._stack.close()
            raise
        raise AssertionError("the last try returns or raises")

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self._stack.close()

    # What the VM can do.

    def wait_ready(self, deadline: Deadline, *, heard: Callable[[str], None] = lambda line: None) -> float:
        """Wait for the guest's marker, then log in; returns seconds since QEMU was started. Raises VmEnded.

        ``heard`` is told each line of the console meanwhile.
        """

        def wanted(line: str) -> bool:
            heard(line)
            return console.READY in line or _is_panic(line)

        with self.doing("booting"):
            at = self.console.wait(wanted, deadline)
            if at is None or _is_panic(self.console.lines[at]):
                raise self.failure()
        with self.doing("waiting for ssh"):
            self._shell = wait_connect(self._port, self._keys, deadline=deadline, over=self.over)
            self._stack.callback(self._shell.close)
            self._shell.run(":", deadline=deadline)
        self.phase = "idle"
        self.seconds_to_ssh = self._life.elapsed
        return self.seconds_to_ssh

    @property
    def shell(self) -> Shell:
        """The SSH connection. Its ShellLost means nothing by itself: call under ``doing``."""
        if self._shell is None:
            raise RuntimeError("wait_ready() first")
        return self._shell

    def run(self, command: str, *, deadline: Deadline, stdin: bytes = b"", phase: str = "") -> Completed:
        """Run a shell command in the guest. Raises VmEnded."""
        with self.doing(phase or f"running {command.split(maxsplit=1)[0]}"):
            return self.shell.run(command, deadline=deadline, stdin=stdin)

    def put(self, data: bytes, path: str, *, deadline: Deadline, mode: int = 0o644) -> None:
        """Write a file of the guest. Raises VmEnded, InfraError."""
        with self.doing(f"writing {path}"):
            self.shell.put(data, path, deadline=deadline, mode=mode)

    def poweroff(self, deadline: Deadline) -> End:
        """Power the guest off, wait for QEMU to end and read the console to its end.

        Raises VmEnded; a panic on the way down is GuestPanic like any other.
        """
        with self.doing("powering off"):
            with contextlib.suppress(ShellLost):  # the connection dies with the guest
                session = self.shell.open("exec poweroff -f", deadline=deadline.within(10))
                self._wait_exit(deadline)
                session.close()
            return self.wait_poweroff(deadline)

    def wait_poweroff(self, deadline: Deadline) -> End:
        """Wait for a guest that powers itself off, and read the console to its end. Raises VmEnded."""
        if not self._wait_exit(deadline) or (self.over() and self._panicked):
            raise self.failure()
        shutdown = self._shutdown_event()
        if self._process.returncode != 0 or not (shutdown and shutdown.get("guest")):
            raise self.failure()
        return End.POWEROFF

    def stop(self) -> None:
        """Halt the virtual CPUs, e.g. to read page tables from ``ram``. Raises QmpError."""
        self.qmp.command("stop")

    def cont(self) -> None:
        """Let the virtual CPUs go on. Raises QmpError."""
        self.qmp.command("cont")

    def kill(self) -> None:
        """End QEMU now, from any thread; who waits for the guest is told QemuLost. Leaving the context cleans up."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    # What is known of it.

    def findings(self) -> list[Finding]:
        """What the console says so far that is a finding by itself."""
        return console.findings(self.console.lines)

    def over(self) -> bool:
        """Whether the VM has ended: QEMU is gone, or the guest panicked, hangs for its watchdog, or is shut down."""
        at = self.console.wait(_is_panic, Deadline(0), start=self._scanned)
        self._scanned = self.console.count
        self._panicked = self._panicked or at is not None
        return (
            self._panicked
            or self._process.poll() is not None
            or any(self.qmp.seen(name) for name in ("GUEST_PANICKED", "WATCHDOG", "SHUTDOWN"))
        )

    def failure(self) -> ends.VmEnded:
        """The end that what is seen now amounts to, for the phase under way."""
        # A QEMU that ends closes its connections first and is gone a moment later.
        moment = Deadline(_SETTLE)
        while not self.over() and not moment.expired:
            time.sleep(0.01)
        if self.over():
            self._settle()
        lines = self.console.lines
        panic = console.ended_by(lines)
        reports = [f for f in console.findings(lines) if f.kind in console.FATAL or f.kind is console.Kind.BUG]
        if panic or self.qmp.seen("GUEST_PANICKED"):
            cause = reports[0].headline if reports and reports[0].kind is not console.Kind.PANIC else ""
            text = panic or "QEMU's pvpanic device was told of a panic"
            return self._ended(ends.GuestPanic, f"{cause}; {text}" if cause else text)
        if self.qmp.seen("WATCHDOG"):
            return self._ended(ends.GuestWatchdog, "the guest did not feed its watchdog for 30 s")
        status = self._process.poll()
        if status is not None:
            shutdown = self._shutdown_event()
            if status == 0 and shutdown and shutdown.get("guest"):
                return self._ended(ends.GuestExited, f"the guest ended by itself ({shutdown.get('reason')})")
            return self._lost(status)
        if fatal := [f for f in reports if f.kind in console.FATAL]:
            return self._ended(ends.GuestOops, fatal[0].headline)
        elapsed = self._life.elapsed
        if qemu.stopped(self._process.pid):
            return self._ended(
                ends.QemuLost, "QEMU is stopped by a signal", hint=f"kill -CONT {self._process.pid}, and run again"
            )
        if qemu.starved(self._process.pid, elapsed):
            return self._ended(
                ends.GuestTimeout,
                f"not done in time; QEMU waited for a CPU of this host for most of {elapsed:.0f} s",
                hint="run fewer machines at a time (--jobs), or on a less busy host",
            )
        return self._ended(ends.GuestHang, f"no answer; the last console output was {self.console.silence:.1f} s ago")

    @contextlib.contextmanager
    def doing(self, phase: str) -> Iterator[None]:
        """Name what is being done; a lost connection inside becomes the VM's end. Raises VmEnded."""
        self.phase = phase
        try:
            yield
        except ShellLost as err:
            failure = self.failure()
            failure.detail = f"{err.message}\n{failure.detail}"
            raise failure from err

    # How it is made.

    def _start(self, *, last: bool) -> bool:
        """Start QEMU; False where the port was taken meanwhile and there is another try."""
        program = qemu.find(self._program)
        folder = self._stack.enter_context(_scratch(self.machine.memory_mib << 20))
        self.ram = folder / "ram"
        self.mailbox = Mailbox(folder / "mailbox")
        self._stack.callback(self.mailbox.close)
        self._port = qemu.free_port()
        log = self._workdir / "console.log"
        log.write_bytes(b"")  # there before QEMU opens it, and without another boot's text
        self.qmp = Qmp(folder / "qmp")
        self._stack.callback(self.qmp.close)
        self.argv = qemu.command_line(
            self.machine,
            program=program,
            image=self._image,
            initrd=self._initrd,
            ram=self.ram,
            swap=swapdisk.make(folder / "swap", self.machine.page_size),
            mailbox=folder / "mailbox",
            log=log,
            qmp=folder / "qmp",
            port=self._port,
            append=self._append,
            extra=[*self._extra, *(word for plugin in self._plugins for word in self._loading(plugin))],
        )
        errors = self._stack.enter_context((self._workdir / "qemu.err").open("wb"))
        self._life = Deadline(float("inf"))
        self._process = qemu.start(self.argv, errors=errors.fileno())
        self.console = Monitor(log, alive=lambda: self._process.poll() is None)
        self._stack.callback(self._kill)
        if self.qmp.accept(Deadline(10), alive=lambda: self._process.poll() is None):
            return True
        status = self._process.poll()
        if status is None:
            raise self._ended(ends.QemuLost, "QEMU did not open its monitor within 10 s", detail=self._stderr())
        if qemu.port_taken(self._stderr()) and not last:
            return False
        raise self._lost(status)

    def _loading(self, plugin: Plugin) -> tuple[str, str]:
        return plugin.argument(ram=self.ram, memory=self.machine.memory_mib << 20, folder=self._workdir)

    def _settle(self) -> None:
        """Let the rest of the console's text arrive.

        To QEMU's end, or to where pvpanic pauses the guest (before the kernel's
        last line), or to that last line where there is no pvpanic yet.
        """
        deadline = Deadline(_SETTLE)
        while not deadline.expired:
            if self.console.wait(lambda line: "---[ end Kernel panic" in line, Deadline(0)) is not None:
                return
            if self._process.poll() is not None:
                self.console.wait_closed(deadline)
                return
            if self.qmp.seen("GUEST_PANICKED") or self.qmp.seen("WATCHDOG"):
                time.sleep(0.05)  # paused: what there is reaches the monitor within its polling time
                return
            time.sleep(0.01)

    def _kill(self) -> None:
        self.kill()
        self._process.wait()
        self.console.close()

    def _wait_exit(self, deadline: Deadline) -> bool:
        """Whether QEMU ended and its console was read to the end; False at once when the guest panics instead."""
        while not deadline.expired:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(min(0.02, deadline.remaining))
                return self.console.wait_closed(Deadline(5))
            if self.over() and (self._panicked or self.qmp.seen("GUEST_PANICKED")):
                return False
        return False

    def _shutdown_event(self) -> dict[str, object] | None:
        """Data of QMP's SHUTDOWN: {"guest": bool, "reason": ...}. It may still be on its way when QEMU is gone."""
        with self.qmp.changed:
            self.qmp.changed.wait_for(lambda: any(e.get("event") == "SHUTDOWN" for e in self.qmp.events), 0.5)
        event = self.qmp.seen("SHUTDOWN")
        data = event.get("data") if event else None
        return data if isinstance(data, dict) else None

    def _lost(self, status: int) -> ends.VmEnded:
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"
        hint = {
            -signal.SIGKILL: "if nobody killed it, look for the OOM killer: dmesg | grep -i oom",
        }.get(status, "the detail has QEMU's own words")
        return self._ended(ends.QemuLost, f"QEMU {how}", hint=hint, detail=self._stderr())

    def _ended(self, kind: type[ends.VmEnded], what: str, *, hint: str = "", detail: str = "") -> ends.VmEnded:
        hint = hint or f"the whole console: {self._workdir / 'console.log'}"
        return kind(what, phase=self.phase, console=self.console.tail(), hint=hint, detail=detail)

    def _stderr(self) -> str:
        text = (self._workdir / "qemu.err").read_text(errors="replace").strip()
        return "\n".join(text.splitlines()[-12:])


def _is_panic(line: str) -> bool:
    return "Kernel panic - not syncing" in line


@contextlib.contextmanager
def _scratch(memory: int) -> Iterator[Path]:
    """A private folder for RAM (``memory`` bytes, sparse), the swap disk and the QMP socket, removed in the end.

    On /dev/shm where there is room, since a disk would write the guest's RAM
    back. Folders whose owner was killed are removed on the way.
    """
    shm = Path("/dev/shm")
    roomy = os.access(shm, os.W_OK) and shutil.disk_usage(shm).free > 2 * memory
    parent = shm if roomy else Path(tempfile.gettempdir())
    if not roomy and shutil.disk_usage(parent).free < memory:
        raise InfraError(
            f"{parent}: {memory >> 20} MiB expected to be free for the guest's memory, found "
            f"{shutil.disk_usage(parent).free >> 20} MiB",
            hint="free some space, or set TMPDIR",
        )
    for left in parent.glob("kpv-vm-*"):
        with contextlib.suppress(OSError), (left / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
    # Gets the name that others look for once its lock is held: before, it would pass for a left-over.
    made = Path(tempfile.mkdtemp(prefix="kpv-new-", dir=parent))
    folder = parent / made.name.replace("kpv-new-", "kpv-vm-")
    try:
        with (made / "lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            made.rename(folder)
            yield folder
    finally:
        shutil.rmtree(made, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
