"""How the life of a VM can end, each by name.

What the kernel under test did is a ``KernelEnd``: a fact that a verdict may rest
on. What QEMU or the host did is an ``InfraError`` and never counts against a kernel.
"""

from enum import StrEnum

from pipeline.errors import InfraError, KpvError


class End(StrEnum):
    POWEROFF = "poweroff"  # asked for
    PANIC = "panic"
    OOPS = "oops"  # reported without a panic, and the guest went on
    HANG = "hang"  # QEMU runs, had its share of the CPU, and the guest says nothing
    WATCHDOG = "watchdog"  # the guest's user space was not scheduled for 30 s
    EXITED_EARLY = "exited-early"  # the guest powered off or reset without being asked
    LOST = "lost"  # QEMU died or was killed, or never started
    TIMEOUT = "timeout"  # not done in time, on a host that was too busy to blame the guest


class VmEnded(KpvError):
    """The VM came to an end that was not asked for.

    ``phase``: what was being done ("booting", "running free-partial.64k").
    ``console``: the last console lines, also part of ``detail``.
    """

    end: End

    def __init__(self, what: str, *, phase: str, console: str = "", hint: str = "", detail: str = "") -> None:
        parts = [part for part in (detail, console and f"last console lines:\n{console}") if part]
        super().__init__(f"{phase}: {what}", hint=hint, detail="\n".join(parts))
        self.what = what
        self.phase = phase
        self.console = console


class KernelEnd(VmEnded):
    """The kernel under test brought the end about."""


class GuestPanic(KernelEnd):
    end = End.PANIC


class GuestOops(KernelEnd):
    end = End.OOPS


class GuestHang(KernelEnd):
    end = End.HANG


class GuestWatchdog(KernelEnd):
    end = End.WATCHDOG


class GuestExited(KernelEnd):
    end = End.EXITED_EARLY


class QemuLost(VmEnded, InfraError):
    end = End.LOST


class GuestTimeout(VmEnded, InfraError):
    end = End.TIMEOUT
