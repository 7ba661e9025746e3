"""QEMU's command line and its process."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import InfraError
from pipeline.guest import swapdisk
from pipeline.guest.machine import Machine
from pipeline.guest.mailbox import SIZE as MAILBOX_SIZE
from pipeline.guest.mailbox import SLOT as MAILBOX_SLOT

PROGRAM = "qemu-system-aarch64"
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_LIBC = ctypes.CDLL(None, use_errno=True)


class QemuMissing(InfraError):
    """No QEMU on this host, or one too old."""


def find(program: str = PROGRAM) -> str:
    """The path of QEMU. Raises QemuMissing."""
    path = shutil.which(program)
    if path is None:
        raise QemuMissing(
            f"{program} expected on this host, found none",
            hint="install qemu-system-arm (Debian 13), or from bookworm-backports (Debian 12)",
        )
    return path


def command_line(
    machine: Machine,
    *,
    program: str,
    image: Path,
    initrd: Path,
    ram: Path,
    swap: Path,
    mailbox: Path,
    log: Path,
    qmp: Path,
    port: int,
    append: Sequence[str] = (),
    extra: Sequence[str] = (),
) -> list[str]:
    """QEMU's argv. ``swap``: see swapdisk.make(). ``port``: on the host's loopback, leads to the guest's SSH."""
    words = [
        "console=ttyAMA0",
        "earlycon",  # a panic before the PL011 driver is seen too
        "loglevel=5",  # warnings and worse: each line costs boot time; /init raises it
        "nokaslr",  # addresses in traces and page tables are those of vmlinux
        "oops=panic",  # a kernel that oopsed holds locks; what would run after it shows nothing
        "printk.devkmsg=on",  # markers come through /dev/kmsg, which drops lines in a hurry otherwise
        # Joining a cgroup, making one and placing a probe each wait for a grace period, 10 ms and more by the tick.
        "rcupdate.rcu_expedited=1",
        # A node for each CPU: move_pages() has somewhere to move pages to.
        *([f"numa=fake={machine.smp}"] if machine.smp > 1 else []),
        *machine.append,
        *append,
    ]
    return [
        program,
        "-nodefaults",  # nothing that is not named here
        "-no-user-config",
        "-display", "none",
        # RAM is a file shared with this process: page tables are read from it.
        "-object", f"memory-backend-file,id=ram,size={machine.memory_mib}M,mem-path={_escaped(ram)},share=on",
        "-machine", "virt,gic-version=3,memory-backend=ram",
        "-m", f"{machine.memory_mib}M",
        "-accel", f"{machine.accel},thread={machine.thread}",
        "-cpu", machine.cpu,
        "-smp", str(machine.smp),
        # The random seed in the device tree, and so the guest's, is the same in each boot.
        "-seed", "1",
        "-chardev", f"file,id=console,path={_escaped(log)}",
        "-serial", "chardev:console",
        # QEMU connects to our socket: there is no moment at which it does not exist yet.
        "-chardev", f"socket,id=qmp,path={_escaped(qmp)}",
        "-mon", "chardev=qmp,mode=control",
        # romfile=: there is no firmware that could boot from the network.
        "-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22",
        "-device", "virtio-net-pci,netdev=net,romfile=",
        "-device", "virtio-rng-pci",
        # cache.no-flush: nobody reads it after a crash.
        "-blockdev", f"driver=file,node-name=swap,filename={_escaped(swap)},cache.no-flush=on",
        "-device", f"virtio-blk-pci,drive=swap,serial={swapdisk.SERIAL}",
        # What guest programs write there this process reads, see mailbox.py.
        "-object", f"memory-backend-file,id=mailbox,size={MAILBOX_SIZE},mem-path={_escaped(mailbox)},share=on",
        "-device", f"ivshmem-plain,memdev=mailbox,addr={MAILBOX_SLOT:#x}",
        "-device", "pvpanic-pci",
        "-device", "i6300esb",
        # A guest that panicked or hangs stays as it is, for who wants to look into it.
        "-action", "panic=pause,watchdog=pause,reboot=shutdown",
        "-kernel", str(image),
        "-initrd", str(initrd),
        "-append", " ".join(words),
        *machine.extra,
        *extra,
    ]  # fmt: skip


def start(argv: Sequence[str], *, errors: int) -> subprocess.Popen[bytes]:
    """Start QEMU in a process group of its own, tied to the life of this thread; all it says goes to the file
    descriptor ``errors``. Raises QemuMissing."""
    parent = os.getpid()

    def tie() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    try:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            process_group=0,  # Ctrl-C in the terminal is ours to handle
            preexec_fn=tie,
        )
    except OSError as err:
        raise QemuMissing(f"cannot start {argv[0]}: {err.strerror}", hint="check that QEMU is installed") from err


def free_port() -> int:
    """A loopback port that nobody listens on now. Another process may take it before QEMU does: try again then."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def port_taken(stderr: str) -> bool:
    """Whether QEMU's words mean that the forwarded port was taken meanwhile (net/slirp.c)."""
    return "Could not set up host forwarding rule" in stderr


def starved(pid: int, seconds: float) -> bool:
    """Whether QEMU's threads waited for a CPU of the host for more than half of ``seconds``.

    The second field of /proc/PID/task/TID/schedstat is nanoseconds on a run queue
    (Documentation/scheduler/sched-stats.rst).
    """
    waited = 0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            waited = max(waited, int(path.read_text().split()[1]))
        except (OSError, IndexError, ValueError):
            continue
    return waited / 1e9 > seconds / 2


def stopped(pid: int) -> bool:
    """Whether the process is stopped by a signal (state T in /proc/PID/stat)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "Tt"
    except (OSError, IndexError):
        return False


def _escaped(path: Path) -> str:
    """A path inside a QEMU option: commas are doubled (QemuOpts)."""
    return str(path).replace(",", ",,")
