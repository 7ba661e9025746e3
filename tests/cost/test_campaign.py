"""What is booted for a study's costs, and what its samples are made of; the boots themselves are system tests."""

import threading
from pathlib import Path

import pytest

from pipeline import resources
from pipeline import study as studies
from pipeline.cost import campaign, guest, spec
from pipeline.cost.guest import BootJob, Task
from pipeline.cost.model import CostBoot
from pipeline.cost.wanted import DEFAULT
from pipeline.guest import cpio
from pipeline.guest import machine as machines
from pipeline.guest.plugins import Plugin
from pipeline.store import Store
from tests.cost.test_counted import MAP, line

MIB = 1 << 20
MAX = machines.load(resources.folder("qemu"), "max")
TASKS = (
    Task("free", 4096, 4 * MIB),
    Task("free", 65536, 4 * MIB),
    Task("exit", 65536, 4 * MIB),
    Task("fork", 4096, MIB),
)


@pytest.fixture
def job(tmp_path: Path) -> BootJob:
    (tmp_path / "System.map").write_text(MAP)
    (tmp_path / "program").write_bytes(b"ELF")
    return BootJob(
        id="merged-max-short",
        kernel="merged",
        machine=MAX,
        image=tmp_path / "Image",
        system_map=tmp_path / "System.map",
        program=tmp_path / "program",
        tasks=TASKS,
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


def test_short_calls_are_repeated_and_long_ones_have_a_boot_of_their_own():
    parts = dict(campaign.parts([p for cost in DEFAULT for p in cost.points], repeats=2))
    assert {task.range_bytes for task in parts["short"]} == {4 * MIB}
    assert [task.repeat for task in parts["short"]][:4] == [0, 1, 0, 1]
    lengths = [task.range_bytes >> 20 for task in parts["long"]]
    assert lengths == sorted(lengths) and lengths[0] == 64 and lengths[-1] == 1024
    assert {task.repeat for task in parts["long"]} == {0}


def test_nothing_is_booted_for_what_is_not_counted():
    assert [name for name, _ in campaign.parts([spec.Point("free", 4096, MIB)], repeats=1)] == ["short"]


def test_a_machine_has_one_cpu_and_room_for_the_longest_range():
    made = guest.machine_of(MAX, [Task("free", 4096, 4 * MIB), Task("free", 4096, 1024 * MIB)])
    assert (made.smp, made.thread, made.memory_mib) == (1, "single", 1024 + guest.BESIDE_MIB)


def test_the_guest_has_the_program_and_its_list():
    entries = {entry.name: entry for entry in cpio.read(guest.archive(b"ELF", TASKS))}
    assert entries["init"].data == b"ELF"
    assert entries["jobs"].data.decode().splitlines()[1] == f"1 free 65536 {4 * MIB}"


def test_a_sample_is_told_of_as_the_guest_and_the_plugin_saw_it(job, tmp_path):
    console = (
        "[    0.1] noise\nkpv-cost 0 0\nkpv-cost 0 done\nkpv-cost 1 failed: folios of order 4 wanted, found order 0 at "
        "page 7\nkpv-cost 2 4\n"
    )
    counted = "\n".join([line(test=0), line(test=1), line(test=2, broken="too many exceptions in one another")])
    samples = guest.samples(job, boot(), left(tmp_path / "files", console, counted))
    assert [sample.outcome for sample in samples] == ["measured", "inconclusive", "inconclusive", "inconclusive"]
    assert (samples[0].order, samples[0].counts["instructions"], samples[0].held_off.interrupts) == (0, 819, 1)
    assert samples[0].profile is not None
    assert [sample.reason for sample in samples[1:]] == [
        "folios of order 4 wanted, found order 0 at page 7",
        "too many exceptions in one another",
        "the plugin saw no operation",
    ]


def test_a_kernel_that_panics_owes_its_samples(job, tmp_path):
    samples = guest.samples(
        job, boot(failure="the guest panicked"), left(tmp_path / "files", "kpv-cost 0 0\n", line(test=0))
    )
    assert [sample.reason for sample in samples] == ["", *["the guest panicked"] * 3]


def test_without_the_plugin_the_guest_s_clock_counts(job, tmp_path):
    by_clock = BootJob(**{**vars(job), "plugin": None})
    samples = guest.samples(by_clock, boot(), left(tmp_path / "files", "kpv-cost 0 0\nkpv-cost 0 took 883888\n"))
    assert (samples[0].counts, samples[0].profile) == ({"instructions": 883888}, None)
    assert samples[2].reason == "the guest did not time it"


@pytest.mark.parametrize(
    "change",
    [
        {"tasks": TASKS[1:]},
        {"machine": MAX.model_copy(update={"cpu": "cortex-a57"})},
        {"icount": False},
        {"plugin": None},
        {"plugin": Plugin("cost", Path("cost.so"), "another key")},
    ],
)
def test_what_changes_counts_changes_the_key(job, change):
    assert BootJob(**{**vars(job), **change}).inputs != job.inputs


def test_what_was_counted_is_not_counted_again_unless_told(job, tmp_path, monkeypatch):
    booted = []

    def run(asked: BootJob, emit, *, stop):
        booted.append(asked.why)
        left(asked.workdir, "kpv-cost 0 0\n", line(test=0))
        (asked.workdir / "qemu.err").write_text("")
        return boot(failure="the guest panicked" if len(booted) == 1 else "")

    monkeypatch.setattr(guest, "run", run)
    store = Store(tmp_path / "store")

    def count(*, fresh: bool = False):
        return campaign._count(job, {"image": "1"}, store, lambda event: None, stop=threading.Event(), fresh=fresh)

    first, _ = count()
    assert first.failure  # and so it is not kept
    assert not count()[0].cached
    kept, samples = count()
    assert kept.cached and samples[0].counts["instructions"] == 819 and samples[0].boot == job.id
    assert not count(fresh=True)[0].cached
    assert booted == ["first time", "first time", "told to run again"]
