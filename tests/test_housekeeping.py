"""What `kpv clean` takes: the oldest first, by age and by size, and nothing that is in use."""

import os
import time
from pathlib import Path

import pytest

from pipeline import housekeeping
from pipeline.kernel import source, worktree
from pipeline.store import Store, disk_usage
from tests.kernel.conftest import Bench, bench, linux, tools  # noqa: F401

DAY = 86400


def age(path: Path, days: float) -> None:
    then = time.time() - days * DAY
    os.utime(path, (then, then))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Three artifacts of a bit over 100 KiB each, last used 40, 20 and 0 days ago."""
    store = Store(tmp_path / "cache" / "store")
    for days in (40, 20, 0):
        made = store.artifact(
            "kernel", {"days": days}, lambda out: out.joinpath("Image").write_bytes(os.urandom(100 << 10)), subject="k"
        )
        age(made.path / "inputs.json", days)
    return tmp_path / "cache"


def kernels(cache: Path) -> int:
    return len(list((cache / "store" / "kernel").iterdir()))


def days_of(found: housekeeping.Cleaned) -> list[int]:
    return [round(entry.days) for entry in found.gone]


def test_what_was_not_used_for_so_long_goes_and_only_if_really(cache):
    dry = housekeeping.clean(cache, older_than=30)
    assert (days_of(dry), kernels(cache)) == ([40], 3)
    done = housekeeping.clean(cache, older_than=30, really=True)
    assert ([entry.what for entry in done.gone], kernels(cache)) == ([entry.what for entry in dry.gone], 2)
    assert done.bytes >= 100 << 10
    assert days_of(housekeeping.clean(cache, older_than=30)) == []


def test_the_longest_unused_go_until_the_rest_fits(cache):
    room = 250 << 10
    found = housekeeping.clean(cache, older_than=None, max_bytes=room, really=True)
    assert days_of(found) == [40]
    assert found.left <= room
    assert found.left == sum(entry.bytes for entry in Store(cache / "store").entries())
    assert days_of(housekeeping.clean(cache, older_than=None, max_bytes=0)) == [20, 0]
    assert days_of(housekeeping.clean(cache, older_than=None, max_bytes=1 << 30)) == []


def test_age_and_size_together_take_what_either_wants(cache):
    assert days_of(housekeeping.clean(cache, older_than=30, max_bytes=150 << 10)) == [40, 20]
    assert days_of(housekeeping.clean(cache, older_than=10, max_bytes=1 << 30)) == [40, 20]


def test_run_folders_go_with_the_rest_where_asked_for_but_not_one_that_is_under_way(cache, tmp_path):
    runs = tmp_path / "runs"
    for name, days, finished in (
        ("old", 50, "run.json"),
        ("fuzz", 45, "campaign.json"),
        ("now", 0, ""),
        ("died", 5, ""),
    ):
        (runs / name).mkdir(parents=True)
        for file in filter(None, ("events.jsonl", finished)):
            (runs / name / file).write_text("{}\n")
            age(runs / name / file, days)
        age(runs / name, days)
    (runs / "mine").mkdir()
    age(runs / "mine", 90)
    assert days_of(housekeeping.clean(cache, older_than=30)) == [40], "runs are evidence: not unless asked for"
    found = housekeeping.clean(cache, older_than=0.5, runs=runs, really=True)
    assert [entry.what for entry in found.gone if "run" in entry.what] == [
        "run old",
        "run fuzz",
        "interrupted run died",
    ]
    assert sorted(path.name for path in runs.iterdir()) == ["mine", "now"]


def test_build_trees_go_before_their_source_and_stay_while_they_are_in_use(bench: Bench):  # noqa: F811
    bench.build()
    tree = bench.tree()
    assert [home.name for home, _ in source.unpacked(bench.cache)] == [tree.id]
    for path in (bench.slot() / "lock", bench.cache / "sources" / tree.id / "source.json"):
        age(path, 60)
    assert not any("tree" in entry.what for entry in housekeeping.clean(bench.cache, older_than=30).gone)
    with worktree.hold(tree, cache=bench.cache, study_id="study", kernel_id="k", emit=bench.events.append):
        age(bench.slot() / "lock", 60)
        held = housekeeping.clean(bench.cache, older_than=30, work=True, really=True)
    assert not any("tree" in entry.what or "source" in entry.what for entry in held.gone)
    assert bench.slot().exists()
    age(bench.slot() / "lock", 60)
    done = housekeeping.clean(bench.cache, older_than=30, work=True, really=True)
    assert [entry.what for entry in done.gone if "source" in entry.what or "tree" in entry.what] == [
        "build tree study-k",
        f"source {tree.id}",
    ]
    assert disk_usage(bench.cache / "sources") < 1 << 16
    assert bench.build().path.exists(), "and all of it can be made again"


def test_by_age_alone_nothing_that_stays_is_sized_up(cache, monkeypatch):
    sized: list[Path] = []
    monkeypatch.setattr("pipeline.store.disk_usage", lambda folder: sized.append(folder) or 1)
    found = housekeeping.clean(cache, older_than=30)
    assert (len(sized), found.bytes, found.left) == (1, 1, None)
    assert housekeeping.clean(cache, older_than=30, max_bytes=3).left == 2
    assert len(sized) == 4
