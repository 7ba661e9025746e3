"""The runner's protocol against hostile output, and its guest's half in the host's shell."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InfraError
from pipeline.guest import ends, runner
from pipeline.guest.runner import Ended, Framing, GuestJob
from pipeline.guest.shell import ShellLost

WORD = "0123456789abcdef"
DATA = Path(__file__).parents[2] / "pipeline" / "guest" / "data"


def frame(number: int, status: int = 0, began: float = 1.0, ended: float = 1.5) -> bytes:
    return f"\x1e{WORD} end {number} {began:.6f} {ended:.6f} {status}\n".encode()


def parse(*chunks: bytes) -> list[object]:
    """Frames and output, neighbouring output joined."""
    framing, items = Framing(WORD), []
    for chunk in chunks:
        for item in framing.feed(chunk):
            if isinstance(item, bytes) and items and isinstance(items[-1], bytes):
                items[-1] += item
            else:
                items.append(item)
    return items


@pytest.mark.parametrize(
    "output",
    [
        b"no newline at the end",
        b"\x1e",
        b"\x1e\x1e" + WORD[:5].encode(),
        b"\x1e" + WORD.encode() + b" end soon\n",
        b"\x1e0123456789abcdeX end 0 1.0 2.0 0\n",
        b"# kpv {}\nok 1 x\n\x00\xff\xfe" * 50,
        b"\n\n\r\n",
    ],
)
def test_output_is_given_back_to_the_byte(output):
    assert parse(output + frame(0), b"next" + frame(1, 3)) == [
        output,
        Ended(0, 1.0, 1.5, 0),
        b"next",
        Ended(1, 1.0, 1.5, 3),
    ]


@given(st.binary(max_size=200), st.lists(st.integers(1, 40), max_size=30))
def test_frames_are_found_however_the_stream_is_cut(output, cuts):
    stream = output + frame(0, 139) + frame(1)
    chunks, at = [], 0
    for cut in cuts:
        chunks.append(stream[at : at + cut])
        at += cut
    items = parse(*chunks, stream[at:])
    assert items == ([output] if output else []) + [Ended(0, 1.0, 1.5, 139), Ended(1, 1.0, 1.5, 0)]


class FakeConsole:
    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.count = 0


class FakeSession:
    def __init__(self, chunks: list[bytes | Exception]) -> None:
        self.script = chunks
        self.closed = False

    def chunks(self, deadline: object) -> Iterator[bytes]:
        for chunk in self.script:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk.replace(b"WORD", self.word.encode())

    def close(self) -> None:
        self.closed = True


class FakeVm:
    """Plays the guest's side of one run."""

    def __init__(self, chunks: list[bytes | Exception], console: list[str]) -> None:
        self.session = FakeSession(chunks)
        self.console = FakeConsole(console)
        self.phase = ""
        self.commands: list[str] = []
        self.shell = self

    def open(self, command: str, *, deadline: object, stdin: bytes = b"") -> FakeSession:
        self.session.word, self.listed = command.rpartition(" ")[2], stdin.decode()
        return self.session

    def run(self, command: str, *, deadline: object) -> None:
        self.commands.append(command)

    def failure(self) -> ends.VmEnded:
        return ends.GuestPanic("Kernel panic", phase=self.phase)

    @contextlib.contextmanager
    def doing(self, phase: str) -> Iterator[None]:
        self.phase = phase
        yield


def end(number: int, status: int = 0) -> bytes:
    return f"\x1eWORD end {number} 10.0 10.25 {status}\n".encode()


def play(chunks, jobs, console=()):
    vm = FakeVm(list(chunks), list(console))
    return vm, list(runner.run(vm, jobs))


def test_results_come_in_order_with_status_and_guest_seconds():
    vm, results = play(
        [b"one" + end(0) + b"two", end(1, 139)], [GuestJob("a.4k", ("t", "it's")), GuestJob("b.4k", ("u",))]
    )
    assert [(r.job.id, r.outcome, r.exit_status, r.output, r.seconds) for r in results] == [
        ("a.4k", "exited", 0, b"one", 0.25),
        ("b.4k", "exited", 139, b"two", 0.25),
    ]
    assert vm.listed == "0 a.4k t 'it'\"'\"'s'\n1 b.4k u\n"
    assert vm.session.closed


def test_results_are_yielded_as_they_come():
    vm = FakeVm([end(0), ShellLost("later")], [])
    assert next(runner.run(vm, [GuestJob("a", ("t",)), GuestJob("b", ("t",))])).job.id == "a"


def test_a_vm_that_ends_in_a_job_is_that_job_s_result_and_the_last():
    jobs = [GuestJob("a", ("t",)), GuestJob("b", ("t",)), GuestJob("c", ("t",))]
    _, results = play([end(0) + b"half", ShellLost("gone")], jobs, ["kpv: begin a", "kpv: end a", "kpv: begin b"])
    assert [(r.job.id, r.outcome, r.exit_status) for r in results] == [("a", "exited", 0), ("b", "vm-ended", None)]
    assert results[1].output == b"half"
    assert isinstance(results[1].end, ends.GuestPanic)
    assert results[1].end.phase == "running b"


def test_a_vm_that_ends_between_two_jobs_is_no_job_s_result():
    vm = FakeVm([end(0), ShellLost("gone")], ["kpv: begin a", "kpv: end a"])
    results = runner.run(vm, [GuestJob("a", ("t",)), GuestJob("b", ("t",))])
    assert next(results).outcome == "exited"
    with pytest.raises(ends.GuestPanic):
        next(results)


def test_a_runner_that_ends_early_is_an_end_of_the_vm():
    with pytest.raises(ends.VmEnded) as told:
        play([end(0)], [GuestJob("a", ("t",)), GuestJob("b", ("t",))])
    assert "after 1 of 2 jobs" in told.value.detail


def test_a_job_over_its_time_is_killed_and_the_next_goes_on():
    jobs = [GuestJob("slow", ("t",), timeout=0.0), GuestJob("b", ("t",))]
    vm, results = play([b"some", b"", end(0, 137), end(1)], jobs)
    assert vm.commands == ["exec /kpv/end-jobs"]
    assert [(r.outcome, r.exit_status) for r in results] == [("timeout", 137), ("exited", 0)]
    assert results[0].output == b"some"


def test_a_job_that_cannot_be_killed_ends_the_vm(monkeypatch):
    monkeypatch.setattr(runner, "GRACE", 0.0)
    _, results = play([b"", b"", b""], [GuestJob("stuck", ("t",), timeout=0.0)], ["kpv: begin stuck"])
    assert [r.outcome for r in results] == ["vm-ended"]
    assert "could not be killed" in results[0].end.detail


def test_closing_the_results_early_ends_the_jobs():
    vm = FakeVm([end(0), b"more"], [])
    results = runner.run(vm, [GuestJob("a", ("t",)), GuestJob("b", ("t",))])
    next(results)
    results.close()
    assert vm.commands == ["exec /kpv/end-jobs all"]
    assert vm.session.closed


def test_endless_output_is_cut_and_said_so(monkeypatch):
    monkeypatch.setattr(runner, "LIMIT", 10)
    _, results = play([b"x" * 8, b"y" * 8, end(0)], [GuestJob("loud", ("t",))])
    assert results[0].output == b"x" * 8 + b"yy" and results[0].truncated


def test_a_job_with_a_line_break_is_refused_before_anything_runs():
    with pytest.raises(ValueError, match="no line break"):
        play([], [GuestJob("a", ("echo", "two\nlines"))])


def test_frames_out_of_order_are_an_error():
    with pytest.raises(InfraError, match="job 1 where job 0 was due"):
        play([end(1)], [GuestJob("a", ("t",)), GuestJob("b", ("t",))])


def test_no_jobs_need_no_guest():
    assert list(runner.run(None, [])) == []  # type: ignore[arg-type]


def test_fetch_leaves_out_what_cannot_be_read():
    vm = FakeVm([b"\x1f\x8b\n" + end(0), b"cat: no such file\n" + end(1, 1)], [])
    assert runner.fetch(vm, ["/proc/config.gz", "/nope"], deadline=runner.Deadline(5)) == {
        "/proc/config.gz": b"\x1f\x8b\n"
    }
    assert vm.listed.startswith("0 '' cat /proc/config.gz\n")


@pytest.mark.skipif(shutil.which("bash") is None, reason="no shell with EPOCHREALTIME on this host")
def test_the_guest_s_half_frames_each_job_and_marks_it(tmp_path):
    """data/run-jobs in bash, its device files replaced; busybox's shell runs it in tests/system."""
    script = (DATA / "run-jobs").read_text()
    for device, stand_in in (
        ("/dev/kmsg", "kmsg"),
        ("/sys/kernel/tracing/trace_marker", "trace"),
        ("/run/kpv-jobs", "pid"),
    ):
        assert device in script
        script = script.replace(device, str(tmp_path / stand_in))
    jobs = (
        f"0 a.4k {sys.executable} -c 'import sys; print(1, file=sys.stderr, end=\"\")'\n"
        "1 '' sh -c 'kill -SEGV $$'\n2 c.64k /no/such/program\n3 d.4k cat\n"
    )
    done = subprocess.run(["bash", "-c", script, "x", WORD], input=jobs.encode(), capture_output=True, timeout=20)
    items = parse(done.stdout)
    statuses = [item.status for item in items if isinstance(item, Ended)]
    assert statuses == [0, 139, 127, 0]
    assert items[0] == b"1"
    assert isinstance(items[2], Ended)  # a job's death is not told in its output
    assert done.stderr == b""
    assert (tmp_path / "kmsg").read_text().splitlines() == [
        f"<5>kpv: {what} {name}" for name in ("a.4k", "c.64k", "d.4k") for what in ("begin", "end")
    ]
    assert (tmp_path / "trace").read_text().replace("kpv", "<5>kpv") == (tmp_path / "kmsg").read_text()
    assert int((tmp_path / "pid").read_text()) != os.getpid()
