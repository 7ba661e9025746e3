"""Boots of a real kernel on each machine: that it answers, runs jobs, and that each way to end is told by its name."""

import gzip
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import cli, resources
from pipeline.errors import InfraError
from pipeline.events import discard
from pipeline.guest import cpio, ends, keys, machine, rootfs, runner, trace
from pipeline.guest.deadline import Deadline
from pipeline.guest.ends import End
from pipeline.guest.runner import GuestJob
from pipeline.guest.shell import ShellLost, connect
from pipeline.guest.vm import VM
from pipeline.store import Store

pytestmark = pytest.mark.system

BOOT = 60.0


@pytest.fixture(scope="module")
def base() -> Path:
    return rootfs.base(Store(cli.cache_folder()), emit=discard).path


@pytest.fixture
def vm(base: Path, booted_image: Path, tmp_path: Path):
    """A function that makes a VM of a machine, not yet started."""

    def make(name: str = "max", *, append: tuple[str, ...] = (), files: tuple[cpio.Entry, ...] = ()) -> VM:
        made = keys.make()
        initrd = rootfs.assemble([base, cpio.archive(files), made.archive], tmp_path / "initrd")
        profile = machine.load(resources.folder("qemu"), name)
        return VM(profile, image=booted_image, initrd=initrd, keys=made, workdir=tmp_path / name, append=append)

    return make


@pytest.fixture
def booted(vm) -> Iterator[VM]:
    with vm() as guest:
        guest.wait_ready(Deadline(BOOT))
        yield guest


@pytest.mark.parametrize("name", machine.names(resources.folder("qemu")))
def test_each_machine_boots_answers_and_powers_off_clean(vm, name):
    with vm(name) as guest:
        guest.wait_ready(Deadline(BOOT))
        assert "/dev/zram0" in guest.run("cat /proc/swaps", deadline=Deadline(10)).text
        mounted = guest.run("cat /proc/mounts", deadline=Deadline(10)).text
        for kind in ("proc", "sysfs", "devtmpfs", "tmpfs", "tracefs", "debugfs", "cgroup2"):
            assert f" {kind} " in mounted
        dirty = "Hardware dirty bit management" in guest.run("dmesg", deadline=Deadline(10)).text
        assert dirty == guest.machine.hardware_dbm
        assert guest.poweroff(Deadline(20)) is End.POWEROFF
        assert guest.findings() == []
        assert guest.console.lines[0].startswith("Booting Linux")


def test_jobs_run_with_their_output_status_and_markers(booted):
    jobs = [
        GuestJob("plain.4k", ("echo", "-n", "it's")),
        GuestJob("signal.4k", ("sh", "-c", "kill -SEGV $$")),
        GuestJob("absent.4k", ("/no/such",)),
        GuestJob("binary.4k", ("printf", r"\036\000\377")),
    ]
    results = list(runner.run(booted, jobs))
    assert [(r.outcome, r.exit_status) for r in results] == [("exited", s) for s in (0, 139, 127, 0)]
    assert results[0].output == b"it's" and results[3].output == b"\x1e\0\xff"
    assert results[1].output == b""
    marks = [line for line in booted.console.lines if "kpv: begin" in line or "kpv: end" in line]
    assert marks == [f"kpv: {what} {job.id}" for job in jobs for what in ("begin", "end")]


def test_no_marker_is_lost_in_a_hurry(booted):
    jobs = [GuestJob(f"job-{n}.4k", ("true",)) for n in range(100)]
    assert len(list(runner.run(booted, jobs))) == 100
    assert sum("kpv: begin job-" in line for line in booted.console.lines) == 100


def test_a_job_over_its_time_is_killed_with_its_children_and_the_next_one_runs(booted):
    jobs = [GuestJob("slow.4k", ("sh", "-c", "sleep 100 & sleep 200"), timeout=1), GuestJob("next.4k", ("true",))]
    assert [r.outcome for r in runner.run(booted, jobs)] == ["timeout", "exited"]
    left = booted.run("for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; echo; done", deadline=Deadline(10)).text
    assert "sleep 3600" in left  # init's own
    assert "sleep 100" not in left and "sleep 200" not in left
    assert any("kpv: ending process" in line for line in booted.console.lines)


def test_the_results_may_be_given_up_and_the_guest_stays_usable(booted):
    results = runner.run(booted, [GuestJob("a.4k", ("true",)), GuestJob("b.4k", ("sleep", "50"))])
    next(results)
    results.close()
    assert [r.exit_status for r in runner.run(booted, [GuestJob("c.4k", ("true",))])] == [0]
    assert booted.poweroff(Deadline(20)) is End.POWEROFF


def test_files_without_a_size_are_fetched_whole(booted):
    found = runner.fetch(booted, ["/proc/config.gz", "/sys/kernel/notes", "/nope"], deadline=Deadline(20))
    assert set(found) == {"/proc/config.gz", "/sys/kernel/notes"}
    assert b"CONFIG_ARM64=y" in gzip.decompress(found["/proc/config.gz"])


def test_a_file_arrives_as_it_was_sent(booted):
    data = os.urandom(300_000)
    booted.put(data, "/tmp/it's here", deadline=Deadline(20), mode=0o755)
    assert runner.fetch(booted, ["/tmp/it's here"], deadline=Deadline(20)) == {"/tmp/it's here": data}


@pytest.mark.skipif(shutil.which("trace-cmd") is None, reason="no trace-cmd on this host to read the trace")
def test_the_trace_opens_on_the_host_with_the_markers_in_it(booted, tmp_path):
    on = "cd /sys/kernel/tracing; echo 1 > events/kmem/rss_stat/enable; echo 1 > tracing_on"
    booted.run(on, deadline=Deadline(10))
    list(runner.run(booted, [GuestJob("traced.4k", ("/bin/busybox", "true"))]))
    (tmp_path / "trace.dat").write_bytes(trace.fetch(booted, deadline=Deadline(60)))
    report = subprocess.run(
        ["trace-cmd", "report", "-i", tmp_path / "trace.dat"], capture_output=True, text=True, check=True
    ).stdout
    assert "kpv: begin traced.4k" in report and "kpv: end traced.4k" in report
    assert "rss_stat:" in report


def test_another_key_does_not_get_in_and_another_guest_is_noticed(booted):
    stranger = keys.RunKeys(keys.make().private, booted._keys.host_public, b"")
    with pytest.raises(ShellLost):
        connect(booted._port, stranger, deadline=Deadline(10), over=booted.over)
    with pytest.raises(InfraError, match="another host key"):
        connect(booted._port, keys.make(), deadline=Deadline(10), over=booted.over)


def test_a_stopped_guest_keeps_its_memory_readable_and_goes_on(booted):
    booted.stop()
    assert b"Linux version" in booted.ram.read_bytes()[: 64 << 20]
    booted.cont()
    assert booted.run("echo on", deadline=Deadline(10)).text == "on\n"


def test_a_kernel_without_an_init_panics_at_boot(vm):
    with pytest.raises(ends.GuestPanic, match=r"^booting: .*Unable to mount root fs"), vm(append=("rdinit=/no",)) as g:
        g.wait_ready(Deadline(BOOT))


def init(command: str) -> cpio.Entry:
    return cpio.file("other-init", f"#!/bin/sh\nexec /bin/busybox {command}\n".encode(), mode=0o755)


def test_a_guest_that_powers_off_by_itself_is_exited_early(vm):
    guest = vm(append=("rdinit=/other-init",), files=(init("poweroff -f"),))
    with pytest.raises(ends.GuestExited, match="guest-shutdown"), guest:
        guest.wait_ready(Deadline(BOOT))


def test_an_init_that_says_nothing_hangs_the_boot(vm):
    guest = vm(append=("rdinit=/other-init",), files=(init("sleep 1000"),))
    with pytest.raises((ends.GuestHang, ends.GuestTimeout), match=r"^booting: "), guest:
        guest.wait_ready(Deadline(8))


def test_qemu_killed_under_a_job_is_lost_and_no_fact_on_the_kernel(booted):
    threading.Timer(1.0, os.kill, (booted._process.pid, signal.SIGKILL)).start()
    (result,) = runner.run(booted, [GuestJob("victim.4k", ("sleep", "60"))])
    assert result.outcome == "vm-ended" and result.exit_status is None
    assert isinstance(result.end, ends.QemuLost)
    assert "SIGKILL" in result.end.message


def test_a_guest_that_dies_under_a_job_is_told_with_the_job(booted):
    jobs = [GuestJob("fine.4k", ("true",)), GuestJob("deadly.4k", ("sh", "-c", "kill -KILL 1; poweroff -f"))]
    fine, deadly = runner.run(booted, jobs)
    assert fine.outcome == "exited"
    assert isinstance(deadly.end, ends.GuestExited)
    assert deadly.end.phase == "running deadly.4k"
