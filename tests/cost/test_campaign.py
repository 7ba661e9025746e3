"""What is booted for a study's costs, and what its samples are made of; the boots themselves are system tests."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import resources
from pipeline import study as studies
from pipeline.cost import campaign, guest
from pipeline.cost.guest import BootJob, Task
from pipeline.cost.model import CostBoot
from pipeline.cost.wanted import DEFAULT
from pipeline.errors import InfraError
from pipeline.events import Finding, StageFinished, StageProgress, StageStarted
from pipeline.exercise import Stopped
from pipeline.guest import cpio
from pipeline.guest import machine as machines
from pipeline.guest.plugins import Plugin
from pipeline.stages import Options
from tests.cost.test_counted import MAP, line

MIB = 1 << 20
MAX = machines.load(resources.folder("qemu"), "max")
TASK = Task("free", 65536, 4 * MIB)


@pytest.fixture
def job(tmp_path: Path) -> BootJob:
    (tmp_path / "System.map").write_text(MAP)
    (tmp_path / "program").write_bytes(b"ELF")
    return BootJob(
        id="merged-max-free.64k.4m",
        kernel="merged",
        machine=MAX,
        image=tmp_path / "Image",
        image_sha256="1",
        system_map=tmp_path / "System.map",
        program=tmp_path / "program",
        program_sha256="2",
        qemu_version="QEMU 10",
        task=TASK,
        workdir=tmp_path / "boot",
        plugin=Plugin("cost", tmp_path / "cost.so", "key").with_suffix("jsonl"),
    )


def left(folder: Path, console: str, counted: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "console.log").write_text(console)
    (folder / "cost.jsonl").write_text(counted)
    return folder


def boot(**changes: object) -> CostBoot:
    return CostBoot.model_validate({"id": "b", "kernel": "merged", "machine": "max", **changes})


def test_kernels_for_counting_have_no_checks_in_them():
    study = campaign.for_counting(studies.load(resources.folder("patches") / "madvise-free-mthp"))
    assert not {"debug", "trace"} & {*study.fragments, *(f for kernel in study.kernel for f in kernel.fragments)}
    assert study.fragments[-1] == "cost"
    assert "contpte-4k" in study.fragments


def test_the_longest_calls_are_made_first_and_each_as_often_as_asked():
    made = campaign.tasks([p for cost in DEFAULT for p in cost.points], repeats=2)
    lengths = [task.range_bytes for task in made]
    assert lengths == sorted(lengths, reverse=True) and lengths[0] == 1024 * MIB
    assert [campaign.name_of(task) for task in made[:2]] == ["free.4k.1g", "free.4k.1g.1"]
    assert len({campaign.name_of(task) for task in made}) == len(made)


def test_a_machine_has_one_cpu_and_room_for_the_longest_range():
    made = guest.machine_of(MAX, Task("free", 4096, 1024 * MIB))
    assert (made.smp, made.thread, made.memory_mib) == (1, "single", 1024 + guest.BESIDE_MIB)


def test_the_guest_has_the_program_and_its_list():
    entries = {entry.name: entry for entry in cpio.read(guest.archive(b"ELF", TASK))}
    assert entries["init"].data == b"ELF"
    assert entries["jobs"].data.decode() == f"0 free 65536 {4 * MIB}\n"


def test_a_sample_is_told_of_as_the_guest_and_the_plugin_saw_it(job, tmp_path):
    sample = guest.sample(
        job, boot(), left(tmp_path / "files", "[ 0.1] noise\nkpv-cost 0 4\nkpv-cost 0 done\n", line(test=0))
    )
    assert (sample.outcome, sample.order, sample.counts["instructions"]) == ("measured", 4, 819)
    assert (sample.held_off.interrupts, sample.boot) == (1, "b")
    assert sample.profile is not None


@pytest.mark.parametrize(
    ("failure", "console", "counted", "why"),
    [
        ("", "kpv-cost 0 failed: found order 0 at page 7\n", line(test=0), "found order 0 at page 7"),
        ("", "kpv-cost 0 4\n", line(test=0, broken="too many exceptions"), "too many exceptions"),
        ("", "kpv-cost 0 4\n", "", "the plugin saw no operation"),
        ("the guest panicked", "kpv-cost 0 4\n", "", "the guest panicked"),
    ],
)
def test_a_sample_without_counts_says_why(job, tmp_path, failure, console, counted, why):
    sample = guest.sample(job, boot(failure=failure), left(tmp_path / "files", console, counted))
    assert (sample.outcome, sample.reason, sample.counts) == ("inconclusive", why, {})


def test_without_the_plugin_the_guest_s_clock_counts(job, tmp_path):
    by_clock = replace(job, plugin=None)
    sample = guest.sample(by_clock, boot(), left(tmp_path / "files", "kpv-cost 0 4\nkpv-cost 0 took 883888\n"))
    assert (sample.counts, sample.profile) == ({"instructions": 883888}, None)
    sample = guest.sample(by_clock, boot(), left(tmp_path / "files", "kpv-cost 0 4\n"))
    assert sample.reason == "the guest did not time it"


@pytest.mark.parametrize(
    "change",
    [
        {"task": replace(TASK, range_bytes=8 * MIB)},
        {"image_sha256": "another"},
        {"program_sha256": "another"},
        {"qemu_version": "QEMU 11"},
        {"machine": MAX.model_copy(update={"cpu": "cortex-a57"})},
        {"icount": False},
        {"plugin": None},
        {"plugin": Plugin("cost", Path("cost.so"), "another key")},
    ],
)
def test_what_changes_counts_changes_the_key(job, change):
    assert replace(job, **change).inputs != job.inputs


def test_what_was_counted_is_not_counted_again_unless_told(job, tmp_path, monkeypatch):
    booted, told = [], []

    def run(asked: BootJob, *, stop):
        booted.append(asked.id)
        left(asked.workdir, "kpv-cost 0 4\n", line(test=0))
        (asked.workdir / "qemu.err").write_text("")
        return boot(failure="the guest panicked" if len(booted) == 1 else "")

    monkeypatch.setattr(guest, "run", run)

    def count(*, fresh: bool = False):
        told.clear()
        options = Options(cache=tmp_path, runs=tmp_path, fresh=fresh)
        (made,), (sample,) = campaign._count_all([job], options, told.append)
        return made, sample

    assert count()[0].failure  # and so it is not kept
    assert "the guest panicked" in [event.what for event in told if isinstance(event, Finding)]
    assert not count()[0].cached
    kept, sample = count()
    assert kept.cached and sample.counts["instructions"] == 819 and sample.boot == job.id
    assert [type(event) for event in told] == [StageStarted, StageProgress, StageFinished]
    assert told[-1].cached
    assert not count(fresh=True)[0].cached and told[0].why == "told to run again"
    assert len(booted) == 3


def test_whatever_ends_a_run_ends_every_vm(job, tmp_path, monkeypatch):
    other_runs, stopped = threading.Event(), []

    def run(asked: BootJob, *, stop: threading.Event):
        if asked.kernel == "merged":
            other_runs.wait(10)
            raise InfraError("the disk is full")
        other_runs.set()
        stopped.append(stop.wait(10))
        raise Stopped("given up")

    monkeypatch.setattr(guest, "run", run)
    jobs = [job, replace(job, id="v2", kernel="v2", image_sha256="v2"), replace(job, id="late", image_sha256="late")]
    with pytest.raises(InfraError, match="the disk is full"):
        campaign._count_all(jobs, Options(cache=tmp_path, runs=tmp_path, jobs=2), lambda event: None)
    assert stopped == [True]
