"""`kpv boot`: which kernel and machine, what is run in the guest, and how its end is told. No VM here."""

import contextlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline import boot, plan
from pipeline.cli import boot as command
from pipeline.errors import Exit, InfraError
from pipeline.guest import ends, machine
from pipeline.observation import Boot, Need
from tests.guest.test_terminal import FakeChannel
from tests.judge.builders import a_study
from tests.test_cli import kpv  # noqa: F401


class FakeVM:
    """A VM whose command ends with a status, or which ends itself."""

    def __init__(self, *, status: int | None = 0, end: ends.VmEnded | None = None) -> None:
        self.lines: list[str] = []
        self.end, self.status = end, status
        self.shell = SimpleNamespace(channel=self.channel)

    def channel(self, line: str, *, pty: tuple[int, int] | None):
        self.lines.append(line)
        channel = FakeChannel()
        channel.close = lambda: None
        if self.status is not None:
            channel.finish(self.status)
        return channel

    def over(self) -> bool:
        return self.end is not None

    def failure(self) -> ends.VmEnded:
        assert self.end is not None
        return self.end


@pytest.fixture
def guest(tmp_path, monkeypatch):
    """A guest whose command reads from /dev/null."""
    with Path("/dev/null").open() as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        yield _maker(tmp_path)


def _maker(tmp_path: Path):

    def make(**how: object) -> boot.Guest:
        profile = machine.Machine(id="max", cpu="max", hardware_dbm=True)
        measured = Boot(id="b", kernel="v2", machine="max", probes={"mark": "", "convert": "no such symbol"})
        measured.needs = [Need(what="swap", ok=False, want="/dev/zram0", got="")]
        return boot.Guest(FakeVM(**how), "v2", profile, measured, tmp_path)

    return make


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ((), "exec sh"),
        (("cat /proc/swaps | wc -l",), "cat /proc/swaps | wc -l"),
        (("echo", "two words", "$HOME"), "echo 'two words' '$HOME'"),
    ],
)
def test_one_word_is_a_line_for_the_shell_and_several_are_a_program(guest, capfd, command, line):
    made = guest(status=5)
    with capfd.disabled():
        assert made.attach(command) == 5
    assert made.vm.lines == [f"cd /root; PATH=$PATH:/kpv/bin; export PATH; {line}"]


def test_a_guest_that_its_own_shell_powers_off_ends_well_and_one_that_panics_does_not(guest, capfd):
    gone = ends.GuestExited("the guest ended by itself", phase="in a shell")
    with capfd.disabled():
        assert guest(status=None, end=gone).attach() == 0
        with pytest.raises(ends.GuestExited):
            guest(status=None, end=gone).attach(("reboot",))
        with pytest.raises(ends.GuestPanic):
            guest(status=None, end=ends.GuestPanic("panic", phase="in a shell")).attach()


def test_a_broken_connection_of_a_guest_that_lives_is_an_infrastructure_error(guest):
    made = guest()

    def refuse(line: str, *, pty: object) -> None:
        raise EOFError

    made.vm.shell = SimpleNamespace(channel=refuse)
    with pytest.raises(InfraError, match="the connection to the guest broke"):
        made.attach()


def test_the_greeting_says_where_the_tests_are_and_what_is_not_as_it_should_be(guest):
    told = guest().greeting()
    assert "kernel v2 on max" in told
    assert "/kpv/bin" in told
    assert "not placed: convert (no such symbol)" in told
    assert "not as it should be: swap: wanted /dev/zram0, found " in told


def test_the_kernel_is_the_last_candidate_or_the_only_one():
    three = a_study(kernel=[{"id": "base", "role": "baseline"}, {"id": "v1"}, {"id": "v2"}])
    assert boot.default_kernel(three).id == "v2"
    assert boot.default_kernel(plan.only(three, kernels=("base",))).id == "base"


@pytest.fixture
def booting(monkeypatch, tmp_path):
    """What `kpv boot` would boot and run; the command ends with status 3."""
    asked: dict[str, object] = {}

    @contextlib.contextmanager
    def booted(study, kernel, profile, options, emit, **more):
        asked.update(study=study.id, kernel=kernel.id, machine=profile, **more)

        def attach(words: tuple[str, ...]) -> int:
            asked["command"] = words
            return 3

        yield SimpleNamespace(attach=attach, greeting=lambda: "hello", poweroff=lambda: asked.update(off=True))

    monkeypatch.setattr(command.boot_room, "booted", booted)
    monkeypatch.setenv("KPV_CACHE", str(tmp_path))
    return asked


def test_what_stands_behind_the_dashes_is_the_guests_with_a_study_or_without(kpv, booting):  # noqa: F811
    assert kpv("boot", "-k", "v2", "--", "uname", "-r", "--", "-k")[0] == 3
    assert booting["command"] == ("uname", "-r", "--", "-k")
    assert (booting["study"], booting["kernel"], booting["machine"]) == ("madvise-free-mthp", "v2", "max")
    assert booting["off"]
    kpv("boot", "madvise-free-mthp/newest", "-m", "n1", "--cpus", "1", "--append", "quiet", "--", "id")
    assert (booting["study"], booting["kernel"], booting["machine"]) == ("madvise-free-mthp-newest", "newest", "n1")
    assert (booting["cpus"], booting["append"], booting["command"]) == (1, ("quiet",), ("id",))


def test_a_shell_is_greeted_and_a_command_is_not(kpv, booting):  # noqa: F811
    assert "hello" in kpv("boot")[1]
    assert booting["command"] == ()
    assert "hello" not in kpv("boot", "--", "id")[1]
    assert "hello" not in kpv("boot", "--quiet")[1]


def test_a_kernel_or_machine_that_is_none_is_told_before_anything_is_built(kpv, booting):  # noqa: F811
    for words, told in ((("-k", "mergd"), "did you mean: merged?"), (("-m", "n2"), "machine 'n2'")):
        code, said = kpv("boot", *words)
        assert code == Exit.USAGE
        assert told in said
    assert booting == {}
