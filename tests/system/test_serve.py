"""A test program that serves, in a real VM: whatever becomes of a test is told of that test and of no other."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import cli, resources, stages
from pipeline.events import discard
from pipeline.guest import keys, machine, rootfs, runner, workloads
from pipeline.guest.deadline import Deadline
from pipeline.guest.runner import GuestJob, GuestResult
from pipeline.guest.vm import VM
from pipeline.observation import Outcome
from pipeline.observe import records
from pipeline.store import Store

pytestmark = pytest.mark.system

PROGRAMS = Path(__file__).parent / "programs"


@pytest.fixture(scope="module")
def program(shipped, session_options, tmp_path_factory) -> Path:
    """programs/misbehaves.c, built as the guest tests are."""
    ready = stages.prepare(shipped, session_options, discard)
    sources = tmp_path_factory.mktemp("guest-tests")
    for path in (*resources.folder("guest-tests").glob("*.h"), resources.folder("guest-tests") / "Makefile"):
        shutil.copy(path, sources)
    shutil.copy(PROGRAMS / "misbehaves.c", sources)
    built = workloads.compile_all(
        ["misbehaves"],
        sources=sources,
        tree=ready.source.path,
        cross_compile=ready.tools.prefix,
        compiler=ready.tools.compiler,
        store=Store(tmp_path_factory.mktemp("store")),
    )
    return built["misbehaves"].path


@pytest.fixture(scope="module")
def booted(program: Path, booted_image: Path, tmp_path_factory) -> Iterator[VM]:
    folder, made = tmp_path_factory.mktemp("vm"), keys.make()
    base = rootfs.base(Store(cli.cache_folder() / "store"), emit=discard).path
    initrd = rootfs.assemble([base, rootfs.workloads({"misbehaves": program}), made.archive], folder / "initrd")
    profile = machine.load(resources.folder("qemu"), "max").model_copy(update={"smp": 1})
    with VM(profile, image=booted_image, initrd=initrd, keys=made, workdir=folder) as guest:
        guest.wait_ready(Deadline(60))
        yield guest


def job(name: str, *, timeout: float = 20.0, variant: str = "4k") -> GuestJob:
    return GuestJob(
        f"{name}.{variant}", ("/kpv/bin/misbehaves", "-r", f"ends.{variant}.{name}"), timeout=timeout, serves=True
    )


def run(guest: VM, *jobs: GuestJob) -> dict[str, tuple[GuestResult, records.Reading]]:
    """Each job between two that must not notice it."""
    around = [job("well"), *(each for one in jobs for each in (one, job("well")))]
    results = list(runner.run(guest, around))
    assert [result.job for result in results] == around
    for result in results[::2]:
        reading = records.read(result.text, exit_status=result.exit_status or 0)
        assert (reading.outcome, reading.params) == (Outcome.PASSED, {"setup": 1, "word_is_told": 0}), result.text
        assert result.text.count("\nok 1 ") == 1
    return {
        result.job.id: (result, records.read(result.text, exit_status=result.exit_status or 0))
        for result in results[1::2]
    }


def test_each_way_to_end_is_told_of_its_own_test(booted):
    done = run(
        booted,
        *(job(name) for name in ("fails", "asserts", "skips", "by_signal", "aborts_in_libc", "not_in_time")),
        job("well", variant="crash"),
    )
    outcomes = {name: reading.outcome for name, (_, reading) in done.items()}
    assert outcomes == {
        "fails.4k": Outcome.FAILED,
        "asserts.4k": Outcome.FAILED,
        "skips.4k": Outcome.SKIPPED,
        "by_signal.4k": Outcome.CRASHED,
        "aborts_in_libc.4k": Outcome.FAILED,  # SIGABRT is how the harness's own assertions end
        "not_in_time.4k": Outcome.TIMEOUT,
        "well.crash": Outcome.CRASHED,
    }
    assert "signal 7" in done["by_signal.4k"][1].reason
    assert done["by_signal.4k"][1].params == {"setup": 1, "before": 1}
    assert "signal 11" in done["well.crash"][1].reason
    assert "free(): double free" in done["aborts_in_libc.4k"][0].text


def test_a_test_that_hangs_is_killed_alone(booted):
    result, reading = run(booted, job("never", timeout=1.0))["never.4k"]
    assert result.outcome == "timeout"
    assert reading.params == {"setup": 1, "before": 1}


def test_a_test_that_kills_its_harness_has_crashed(booted):
    result, reading = run(booted, job("kills_harness"))["kills_harness.4k"]
    assert (result.outcome, result.exit_status, reading.outcome) == ("exited", 137, Outcome.CRASHED)
    assert "signal 9" in reading.reason
    assert reading.params == {"setup": 1, "after": 1}  # it is waited for all the same


def test_a_test_that_kills_the_program_that_serves_has_crashed_and_leaves_nothing_running(booted):
    result, reading = run(booted, job("kills_server"))["kills_server.4k"]
    assert (result.outcome, result.exit_status, reading.outcome) == ("exited", 137, Outcome.CRASHED)
    assert reading.params == {"setup": 1, "before": 1}
    left = booted.run("cat /proc/[0-9]*/comm", deadline=Deadline(10)).text.split()
    assert "init" in left and "misbehaves" not in left


def test_a_process_that_a_test_leaves_belongs_to_it_to_its_end(booted):
    result, reading = run(booted, job("leaves_child"))["leaves_child.4k"]
    assert reading.params == {"setup": 1, "left": 1}
    assert result.seconds > 0.3


def test_no_byte_is_lost_or_mixed_up_when_two_processes_write_more_than_the_mailbox_holds(booted):
    result, reading = run(booted, job("much_output"))["much_output.4k"]
    assert reading.malformed == []
    for name in ("parent", "child"):
        wanted = [f'# kpv {{"rec":"param","{name}":{i}}}' for i in range(10000)]
        assert [line for line in result.text.splitlines() if f'"{name}"' in line] == wanted


def test_a_process_killed_while_it_writes_does_not_stop_the_others(booted):
    _, reading = run(booted, job("writer_dies"))["writer_dies.4k"]
    assert reading.outcome is Outcome.PASSED
    assert reading.params["parent"] == -1
    assert reading.malformed == []


def test_a_forged_frame_is_output(booted):
    result, reading = run(booted, job("forges"))["forges.4k"]
    assert reading.outcome is Outcome.PASSED
    assert result.output.count(b"\x1e") == 2


def test_each_test_has_its_markers_on_the_console_and_the_rest_of_the_guest_is_fine(booted):
    start = booted.console.count
    run(booted, job("by_signal"), job("skips"))
    booted.run(":", deadline=Deadline(5))
    said = [line.rpartition("kpv: ")[2] for line in booted.console.lines[start:] if "kpv: " in line]
    names = ["well.4k", "by_signal.4k", "well.4k", "skips.4k", "well.4k"]
    assert said == [f"{what} {name}" for name in names for what in ("begin", "end")]
    assert booted.findings() == []


def test_without_a_mailbox_the_program_is_an_ordinary_kselftest(booted):
    argv = ("/kpv/bin/misbehaves", "-r", "ends.4k.well", "-r", "ends.4k.fails")
    (result,) = runner.run(booted, [GuestJob("plain.4k", argv)])
    assert result.exit_status == 1
    assert '\n# kpv {"rec":"param","word_is_told":0}\n' in result.text
    assert "\nok 1 ends.4k.well\n" in result.text and "\nnot ok 2 ends.4k.fails\n" in result.text
