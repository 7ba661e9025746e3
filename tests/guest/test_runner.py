"""The runner's protocol against hostile output, and its guest's half in the host's shell."""

import contextlib
import mmap
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InfraError
from pipeline.guest import ends, runner
from pipeline.guest.framing import Ended, Framing
from pipeline.guest.mailbox import SIZE, Mailbox
from pipeline.guest.runner import GuestJob
from pipeline.guest.shell import ShellLost

WORD = "0123456789abcdef"
CHECKOUT = Path(__file__).parents[2]
DATA = CHECKOUT / "pipeline" / "guest" / "data"


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
    """One runner in the guest: what it writes, and how it ends.

    Of a runner that serves, ``mail`` goes to the mailbox with each chunk of the session.
    """

    def __init__(self, *chunks: bytes | Exception, mail: Sequence[bytes] = (), status: int = 0) -> None:
        self.script, self.mail, self.status = list(chunks), list(mail), status
        self.word = ""
        self.closed = False

    def poll(self, seconds: float) -> bytes | None:
        if self.mail:
            self.mailbox += self.mail.pop(0).replace(b"WORD", self.word.encode())
        if not self.script:
            return b"" if self.mail else None
        chunk = self.script.pop(0)
        if isinstance(chunk, Exception):
            raise chunk
        return chunk.replace(b"WORD", self.word.encode())

    def chunks(self, deadline: object) -> Iterator[bytes]:
        while (chunk := self.poll(0)) is not None:
            yield chunk

    def exit_status(self, deadline: object) -> int:
        return self.status

    def close(self) -> None:
        self.closed = True


class FakeVm:
    """Plays the guest's side: one session after the other, with what was asked of each."""

    def __init__(self, *sessions: FakeSession, console: Sequence[str] = ()) -> None:
        self.sessions = list(sessions)
        self.console = FakeConsole(list(console))
        self.phase = ""
        self.started: list[tuple[str, str]] = []
        self.commands: list[str] = []
        self.shell = self
        self.mailbox = self
        self.mail = bytearray()

    def open(self, command: str, *, deadline: object, stdin: bytes = b"") -> FakeSession:
        session = self.sessions.pop(0)
        session.mailbox = self.mail
        first, _, rest = stdin.decode().partition("\n")
        serves = command.startswith("KPV_SERVE=")
        session.word = first if serves else command.removesuffix("; exit $?").rpartition(" ")[2]
        self.started.append((command.replace(session.word, "WORD"), rest if serves else stdin.decode()))
        return session

    def take(self) -> bytes:
        data = bytes(self.mail)
        self.mail.clear()
        return data

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


def play(chunks, jobs, console=(), **how):
    vm = FakeVm(FakeSession(*chunks, **how), console=console)
    return vm, list(runner.run(vm, jobs))


def test_results_come_in_order_with_status_and_guest_seconds():
    vm, results = play(
        [b"one" + end(0) + b"two", end(1, 139)], [GuestJob("a.4k", ("t", "it's")), GuestJob("b.4k", ("u",))]
    )
    assert [(r.job.id, r.outcome, r.exit_status, r.output, r.seconds) for r in results] == [
        ("a.4k", "exited", 0, b"one", 0.25),
        ("b.4k", "exited", 139, b"two", 0.25),
    ]
    assert vm.started == [("setsid /kpv/run-jobs WORD; exit $?", "0 a.4k t 'it'\"'\"'s'\n1 b.4k u\n")]


def test_results_are_yielded_as_they_come():
    vm = FakeVm(FakeSession(end(0), ShellLost("later")))
    assert next(runner.run(vm, [GuestJob("a", ("t",)), GuestJob("b", ("t",))])).job.id == "a"


def test_a_vm_that_ends_in_a_job_is_that_job_s_result_and_the_last():
    jobs = [GuestJob("a", ("t",)), GuestJob("b", ("t",)), GuestJob("c", ("t",))]
    _, results = play([end(0) + b"half", ShellLost("gone")], jobs, ["kpv: begin a", "kpv: end a", "kpv: begin b"])
    assert [(r.job.id, r.outcome, r.exit_status) for r in results] == [("a", "exited", 0), ("b", "vm-ended", None)]
    assert results[1].output == b"half"
    assert isinstance(results[1].end, ends.GuestPanic)
    assert results[1].end.phase == "running b"


def test_a_vm_that_ends_between_two_jobs_is_no_job_s_result():
    vm = FakeVm(FakeSession(end(0), ShellLost("gone")), console=["kpv: begin a", "kpv: end a"])
    results = runner.run(vm, [GuestJob("a", ("t",)), GuestJob("b", ("t",))])
    assert next(results).outcome == "exited"
    with pytest.raises(ends.GuestPanic):
        next(results)


def test_a_runner_that_ends_in_a_job_is_that_job_s_end_and_another_runs_the_rest():
    first, second = FakeSession(end(0) + b"half", status=137), FakeSession(b"whole" + end(0))
    vm = FakeVm(first, second)
    results = list(runner.run(vm, [GuestJob(name, ("t",)) for name in "abc"]))
    assert [(r.job.id, r.outcome, r.exit_status, r.output) for r in results] == [
        ("a", "exited", 0, b""),
        ("b", "exited", 137, b"half"),
        ("c", "exited", 0, b"whole"),
    ]
    assert [listed for _, listed in vm.started] == ["0 a t\n1 b t\n2 c t\n", "0 c t\n"]
    assert vm.commands == ["exec /kpv/end-jobs"]  # what the first left running must not disturb
    assert first.closed and second.closed


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
    session = FakeSession(end(0), b"more")
    vm = FakeVm(session)
    results = runner.run(vm, [GuestJob("a", ("t",)), GuestJob("b", ("t",))])
    next(results)
    results.close()
    assert vm.commands == ["exec /kpv/end-jobs all"]
    assert session.closed


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
    vm = FakeVm(FakeSession(b"\x1f\x8b\n" + end(0), b"cat: no such file\n" + end(1, 1)))
    assert runner.fetch(vm, ["/proc/config.gz", "/nope"], deadline=runner.Deadline(5)) == {
        "/proc/config.gz": b"\x1f\x8b\n"
    }
    assert vm.started[0][1].startswith("0 '' cat /proc/config.gz\n")


SERVED = [GuestJob(f"{name}.4k", ("/kpv/bin/free", "-r", f"f.4k.{name}"), serves=True) for name in ("a", "b", "c")]


def serve(*sessions, console=()):
    vm = FakeVm(*sessions, console=console)
    return vm, list(runner.run(vm, SERVED))


def test_a_program_that_serves_is_started_once_and_writes_to_the_mailbox():
    vm, results = serve(FakeSession(mail=[b"one" + end(0) + b"tw", b"o" + end(1, 1) + end(2)]))
    assert [(r.job.id, r.exit_status, r.output) for r in results] == [
        ("a.4k", 0, b"one"),
        ("b.4k", 1, b"two"),
        ("c.4k", 0, b""),
    ]
    assert vm.started == [
        (
            "KPV_SERVE=/sys/bus/pci/devices/0000:00:10.0 setsid /kpv/bin/free; exit $?",
            "0 a.4k -r f.4k.a\n1 b.4k -r f.4k.b\n2 c.4k -r f.4k.c\n",
        )
    ]


def test_what_a_serving_program_says_of_itself_is_output_of_its_test():
    _, results = serve(
        FakeSession(b"/kpv/bin/free: No such device\n", mail=[b"", b""], status=2), *[FakeSession(status=2)] * 2
    )
    assert results[0].output == b"/kpv/bin/free: No such device\n"
    assert [r.exit_status for r in results] == [2, 2, 2]


@pytest.mark.parametrize("forged", [end(1).replace(b"WORD", b"0" * 16), end(0)[:-1] + b"?\n", b"\x1eWOR", b"\x1e" * 9])
def test_what_only_looks_like_a_frame_is_output(forged):
    _, results = serve(FakeSession(mail=[forged + end(0), end(1) + end(2)]))
    assert results[0].output.startswith(forged[:1]) and len(results) == 3
    assert [r.exit_status for r in results] == [0, 0, 0]


def test_a_frame_of_the_session_is_output_where_frames_come_by_mail():
    _, results = serve(FakeSession(end(0, 7), mail=[b"", end(0) + end(1) + end(2)]))
    assert results[0].exit_status == 0 and b"end 0" in results[0].output


def test_a_serving_program_that_dies_is_its_test_s_end_and_another_serves_the_rest():
    vm, results = serve(FakeSession(mail=[end(0) + b"half"], status=139), FakeSession(mail=[end(0)]))
    assert [(r.job.id, r.outcome, r.exit_status, r.output) for r in results] == [
        ("a.4k", "exited", 0, b""),
        ("b.4k", "exited", 139, b"half"),
        ("c.4k", "exited", 0, b""),
    ]
    assert vm.started[1][1] == "0 c.4k -r f.4k.c\n"
    assert vm.commands == ["exec /kpv/end-jobs"]


def test_what_an_earlier_program_left_in_the_mailbox_is_nobody_s():
    vm = FakeVm(FakeSession(mail=[end(0) + end(1) + end(2)]))
    vm.mail += b"late words"
    assert [r.output for r in runner.run(vm, SERVED)] == [b"", b"", b""]


def test_what_was_mailed_before_the_kernel_died_is_kept_and_the_right_test_blamed():
    session = FakeSession(b"", ShellLost("gone"))
    vm = FakeVm(session, console=["kpv: begin a.4k", "kpv: end a.4k", "kpv: begin b.4k"])
    session.mail = [b"", end(0) + b"# before the step\n"]  # not looked at when the connection broke
    results = list(runner.run(vm, SERVED))
    assert [(r.job.id, r.outcome) for r in results] == [("a.4k", "exited"), ("b.4k", "vm-ended")]
    assert results[1].output == b"# before the step\n"
    assert results[1].end.phase == "running b.4k"


def test_a_served_test_over_its_time_is_killed_and_the_program_goes_on():
    slow = GuestJob("slow.4k", SERVED[0].argv, timeout=0.0, serves=True)
    vm = FakeVm(FakeSession(mail=[b"some", b"", end(0, 137), end(1)]))
    results = list(runner.run(vm, [slow, SERVED[1]]))
    assert vm.commands == ["exec /kpv/end-jobs"]
    assert [(r.outcome, r.exit_status, r.output) for r in results] == [("timeout", 137, b"some"), ("exited", 0, b"")]


def test_each_program_serves_its_own_tests_and_the_script_runs_the_rest():
    other = GuestJob("d.4k", ("/kpv/bin/other", "-r", "f.4k.d"), serves=True)
    vm = FakeVm(
        FakeSession(mail=[end(0) + end(1)]), FakeSession(mail=[end(0)]), FakeSession(end(0)), FakeSession(mail=[end(0)])
    )
    jobs = [*SERVED[:2], other, GuestJob("x", ("true",)), SERVED[2]]
    assert [r.job.id for r in runner.run(vm, jobs)] == ["a.4k", "b.4k", "d.4k", "x", "c.4k"]
    assert len(vm.started) == 4


@pytest.mark.parametrize(
    "job",
    [
        GuestJob("a b", ("t",), serves=True),
        GuestJob("a", ("t", "two words"), serves=True),
        GuestJob("a", ("t", ""), serves=True),
        GuestJob("a", ("t",), marked=False, serves=True),
    ],
)
def test_what_a_serving_program_cannot_be_told_is_refused(job):
    with pytest.raises(ValueError, match="serves is marked"):
        list(runner.run(FakeVm(), [job]))


class GuestsHalf:
    """Writes to a mailbox as guest-tests/kpv_mailbox.h does."""

    def __init__(self, path: Path) -> None:
        self.map = mmap.mmap(os.open(path, os.O_RDWR), 0)

    def write(self, data: bytes) -> None:
        size = len(self.map) - 4096
        (written,) = struct.unpack_from("<Q", self.map, 0)
        for at, byte in enumerate(data):
            self.map[4096 + (written + at) % size] = byte
        struct.pack_into("<Q", self.map, 0, written + len(data))


def test_the_mailbox_gives_each_byte_once_around_its_ring(tmp_path):
    box = Mailbox(tmp_path / "mailbox")
    guest = GuestsHalf(tmp_path / "mailbox")
    assert box.take() == b""
    sent = b""
    for size in (1, 100_000, 200_000, len(guest.map) - 4096, 7):
        data = os.urandom(size)
        sent += data
        guest.write(data)
        assert box.take() == data
        assert box.take() == b""
    assert struct.unpack_from("<Q", guest.map, 64) == (len(sent),)
    box.close()


def test_a_mailbox_whose_count_makes_no_sense_is_empty(tmp_path):
    box = Mailbox(tmp_path / "mailbox")
    guest = GuestsHalf(tmp_path / "mailbox")
    struct.pack_into("<Q", guest.map, 0, 1 << 60)
    assert box.take() == b""
    guest.write(b"again")
    assert box.take() == b"again"
    box.close()


def test_guest_and_host_agree_on_the_mailbox():
    text = (CHECKOUT / "guest-tests" / "kpv_mailbox.h").read_text()
    assert f"#define KPV_MAILBOX_SIZE\t{SIZE:#x}UL" in text


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
