"""Each end of a VM by name, told by a fake QEMU that replays recorded consoles."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipeline.errors import InfraError
from pipeline.guest import ends, keys, qemu
from pipeline.guest import vm as vm_module
from pipeline.guest.deadline import Deadline
from pipeline.guest.ends import End
from pipeline.guest.machine import Machine
from pipeline.guest.qmp import QmpError
from pipeline.guest.shell import ShellLost
from pipeline.guest.vm import VM

HERE = Path(__file__).parent
CONSOLES = HERE.parent / "consoles"
BOOTING = "Booting Linux on physical CPU 0x0000000000 [0x411fd070]\n"
READY = BOOTING + "kpv: ready\n"


def recorded(name: str) -> str:
    return (CONSOLES / f"{name}.txt").read_text().partition("# --\n")[2]


class FakeShell:
    """Stands for SSH, which a replayed console does not have; ``poweroff`` reaches the fake QEMU."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self, command: str, *, deadline: Deadline, stdin: bytes = b"") -> "FakeShell":
        assert command == "exec poweroff -f"
        (self.folder / "poweroff").touch()
        return self

    def close(self) -> None:
        pass


class PlayedVm(VM):
    """Lets the fake QEMU go on once it has started: what it plays is no failure to start."""

    fake: Path

    def __enter__(self) -> "PlayedVm":
        super().__enter__()
        (self.fake / "go").touch()
        return self


@pytest.fixture
def vm(tmp_path):
    """A function that makes a VM whose QEMU plays a scenario."""

    def make(console: str, then: str, **more: object) -> PlayedVm:
        folder = tmp_path / "fake"
        folder.mkdir(exist_ok=True)
        program = folder / "qemu-system-aarch64"
        program.write_text(f"#!{sys.executable}\n" + (HERE / "fake_qemu.py").read_text())
        program.chmod(0o755)
        (folder / "scenario.json").write_text(json.dumps({"console": console, "then": then, **more}))
        machine = Machine(id="fake", cpu="max", hardware_dbm=True, memory_mib=256)
        made = PlayedVm(
            machine, image=folder / "Image", initrd=folder / "initrd", keys=keys.make(), workdir=tmp_path / "boot",
            program=str(program),
        )  # fmt: skip
        made.fake = folder
        return made

    return make


def ready(vm: PlayedVm) -> None:
    """Wait for the marker and take the fake shell."""
    assert vm.console.wait(lambda line: "kpv: ready" in line, Deadline(5)) is not None
    vm._shell = FakeShell(vm.fake)  # type: ignore[assignment]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_panic_at_boot_is_a_fact_on_the_kernel_with_its_words_and_phase(vm):
    with pytest.raises(ends.GuestPanic) as told, vm(recorded("panic-no-root"), "panic") as guest:
        guest.wait_ready(Deadline(5))
    assert isinstance(told.value, ends.KernelEnd) and not isinstance(told.value, InfraError)
    assert told.value.end is End.PANIC
    assert told.value.message.startswith("booting: Kernel panic - not syncing: VFS: Unable to mount root fs")
    assert "mount_root_generic" in told.value.detail


def test_an_oops_that_panics_is_told_by_the_oops(vm):
    text = recorded("oops-null-panic").replace("kpv: ready", "")
    with pytest.raises(ends.GuestPanic) as told, vm(text, "panic") as guest:
        guest.wait_ready(Deadline(5))
    assert "Unable to handle kernel NULL pointer dereference" in told.value.message


def test_a_panic_before_pvpanic_is_seen_on_the_console_alone(vm):
    began = time.monotonic()
    with pytest.raises(ends.GuestPanic), vm(recorded("panic-no-root"), "hang") as guest:
        guest.wait_ready(Deadline(30))
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("reason", ["guest-shutdown", "guest-reset"])
def test_a_guest_that_ends_by_itself_is_exited_early(vm, reason):
    with pytest.raises(ends.GuestExited) as told, vm(BOOTING, reason) as guest:
        guest.wait_ready(Deadline(5))
    assert told.value.message == f"booting: the guest ended by itself ({reason})"
    assert isinstance(told.value, ends.KernelEnd)


def test_no_marker_until_the_deadline_is_a_hang(vm):
    with pytest.raises(ends.GuestHang, match="booting: no answer") as told, vm(BOOTING, "hang") as guest:
        guest.wait_ready(Deadline(0.5))
    assert "Booting Linux" in told.value.console


def test_a_starved_qemu_is_no_hang_but_the_host_s_fault(vm, monkeypatch):
    monkeypatch.setattr(qemu, "starved", lambda pid, seconds: True)
    with pytest.raises(ends.GuestTimeout) as told, vm(BOOTING, "hang") as guest:
        guest.wait_ready(Deadline(0.3))
    assert isinstance(told.value, InfraError)
    assert told.value.end is End.TIMEOUT


def test_a_killed_qemu_is_lost_with_its_signal(vm):
    with pytest.raises(ends.QemuLost, match="booting: QEMU was killed by SIGKILL") as told, vm(BOOTING, "killed") as g:
        g.wait_ready(Deadline(5))
    assert isinstance(told.value, InfraError) and not isinstance(told.value, ends.KernelEnd)
    assert "OOM" in told.value.hint


def test_a_failed_qemu_is_lost_with_its_status_and_words(vm):
    with pytest.raises(ends.QemuLost, match="exit status 1") as told, vm(BOOTING, "fails") as guest:
        guest.wait_ready(Deadline(5))
    assert "out of cheese" in told.value.detail


def test_a_stopped_qemu_is_lost_with_the_command_that_goes_on(vm):
    with pytest.raises(ends.QemuLost, match="stopped by a signal") as told, vm(BOOTING, "stopped") as guest:
        guest.wait_ready(Deadline(0.5))
    assert "kill -CONT" in told.value.hint


def test_the_watchdog_is_an_end_of_its_own(vm):
    with vm(READY, "watchdog") as guest:
        ready(guest)
        while not guest.over():
            time.sleep(0.01)
        failure = guest.failure()
    assert isinstance(failure, ends.GuestWatchdog)
    assert failure.end is End.WATCHDOG


def test_an_oops_without_a_panic_is_an_oops_once_the_guest_does_not_answer(vm):
    with vm(recorded("oops-null"), "hang") as guest:
        ready(guest)
        guest.console.wait(lambda line: "end trace" in line, Deadline(5))
        with pytest.raises(ends.GuestOops) as told, guest.doing("running bad.64k"):
            raise ShellLost("no answer")
    assert told.value.phase == "running bad.64k"
    assert "no answer" in told.value.detail


def test_qemu_that_does_not_start_says_why(vm):
    with pytest.raises(ends.QemuLost, match="starting qemu: QEMU ended with exit status 1") as told, vm("", "refuse"):
        pass
    assert "unknown" in told.value.detail


def test_a_missing_qemu_is_told_with_the_package(tmp_path):
    machine = Machine(id="m", cpu="max", hardware_dbm=True)
    here = tmp_path / "w"
    gone = VM(machine, image=here, initrd=here, keys=keys.make(), workdir=here, program="no-such-qemu")
    with pytest.raises(qemu.QemuMissing, match="no-such-qemu") as told, gone:
        pass
    assert "qemu-system-arm" in told.value.hint


def test_a_port_taken_meanwhile_is_tried_again_with_another(vm):
    with vm(READY, "hang", port_taken=2) as guest:
        ready(guest)
        assert (guest.fake / "tries").read_text() == "3"


def test_a_port_that_is_always_taken_ends_after_a_few_tries(vm):
    with pytest.raises(ends.QemuLost) as told, vm(READY, "hang", port_taken=99):
        pass
    assert "forwarding rule" in told.value.detail


def test_power_off_reads_the_console_to_its_end(vm):
    with vm(READY, "poweroff", late="reboot: Power down") as guest:
        ready(guest)
        assert guest.poweroff(Deadline(5)) is End.POWEROFF
        assert guest.console.lines[-1] == "reboot: Power down"
        assert guest.console.closed


def test_an_oops_on_the_way_down_is_a_panic_like_any_other(vm):
    late = recorded("oops-at-poweroff").partition("kpv: ready\n")[2]
    with vm(READY, "poweroff", late=late) as guest:
        ready(guest)
        with pytest.raises(ends.GuestPanic, match=r"^powering off: ") as told:
            guest.poweroff(Deadline(5))
    assert "kernel_power_off" in told.value.detail


def test_a_warning_after_the_power_off_is_found(vm):
    late = recorded("warning").partition("kpv: begin bad.64k\n")[2]
    with vm(READY, "poweroff", late=late) as guest:
        ready(guest)
        guest.poweroff(Deadline(5))
        assert [finding.kind.value for finding in guest.findings()] == ["warning"]


def test_a_guest_that_does_not_power_off_hangs(vm):
    with vm(READY, "hang") as guest:
        ready(guest)
        with pytest.raises(ends.GuestHang, match=r"^powering off: "):
            guest.poweroff(Deadline(0.3))


def test_stop_and_cont_reach_qemu_and_a_refusal_is_an_error(vm):
    with vm(READY, "hang") as guest:
        guest.stop()
        guest.cont()
        with pytest.raises(QmpError, match="refuse"):
            guest.qmp.command("refuse")


def test_a_connection_that_breaks_before_qemu_is_gone_is_no_hang(vm):
    """QEMU's sockets close some ms before its exit status is there."""
    with vm(READY, "hang") as guest:
        ready(guest)
        threading.Timer(0.2, guest.kill).start()
        with pytest.raises(ends.QemuLost, match="SIGKILL"), guest.doing("running a.4k"):
            raise ShellLost("the connection to the guest broke")


def test_kill_from_another_thread_ends_who_waits_as_lost(vm):
    with vm(BOOTING, "hang") as guest:
        threading.Timer(0.2, guest.kill).start()
        with pytest.raises(ends.QemuLost, match="SIGKILL"):
            guest.wait_ready(Deadline(30))


def test_leaving_the_context_leaves_no_process_and_no_file(vm):
    with vm(READY, "hang") as guest:
        pid, folder = guest._process.pid, guest.ram.parent
        assert folder.is_dir()
    assert not alive(pid)
    assert not folder.exists()


def test_an_interrupt_leaves_no_process(vm):
    guest = vm(READY, "hang")

    def interrupted() -> None:
        with guest:
            assert alive(guest._process.pid)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    pid = guest._process.pid
    assert not alive(pid)


def test_qemu_dies_with_its_parent_however_that_dies(tmp_path):
    code = (
        "import os, sys, time; from pipeline.guest import qemu\n"
        "p = qemu.start(['sleep', '600'], errors=2); print(p.pid, flush=True); time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=HERE.parents[1])
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert alive(pid)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = Deadline(5)
    while alive(pid) and not _zombie(pid) and not deadline.expired:
        time.sleep(0.01)
    assert not alive(pid) or _zombie(pid)


def _zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_folders_of_killed_runs_are_removed_by_the_next(vm):
    with vm(READY, "hang") as guest:
        parent = guest.ram.parent.parent
        held = guest.ram.parent
        left = parent / "kpv-vm-left-by-a-kill"
        left.mkdir()
        (left / "lock").touch()
        with vm(READY, "hang"):
            assert not left.exists()
            assert held.exists()


def test_the_command_line_is_kept_as_it_was(vm):
    with vm(READY, "hang") as guest:
        line = " ".join(guest.argv)
    for part in ("gic-version=3", "share=on", "pvpanic-pci", "i6300esb", "panic=pause", "console=ttyAMA0"):
        assert part in line


def test_a_sweep_never_takes_a_folder_that_is_being_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two VMs that start at the same moment: one must not remove the other's folder before it is locked."""
    real, nested = fcntl.flock, []

    def at_the_worst_moment(file: object, operation: int) -> None:
        if not nested and not operation & fcntl.LOCK_NB:
            nested.append(True)
            with vm_module._scratch(1 << 20):
                pass
        real(file, operation)

    monkeypatch.setattr(fcntl, "flock", at_the_worst_moment)
    with vm_module._scratch(1 << 20) as folder:
        assert nested
        assert (folder / "lock").is_file()
    assert not folder.exists()
