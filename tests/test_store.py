"""The store: made once, whole or not at all, and says why."""

import errno
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import InfraError
from pipeline.store import DiskFull, Store, disk_full_told, disk_usage, key_of, write_atomic


def _fill(text: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / "out").write_text(text)

    return make


def _never(folder: Path) -> None:
    raise AssertionError("made although it was in the store")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_made_once_then_found(store: Store) -> None:
    first = store.artifact("thing", {"a": 1}, _fill("x"), subject="s")
    assert (first.path / "out").read_text() == "x" and not first.cached and first.why == "first time"
    again = store.artifact("thing", {"a": 1}, _never, subject="s")
    assert again.cached and again.why == "" and again.key == first.key
    assert store.find("thing", {"a": 1}) == first.path
    assert store.find("thing", {"a": 2}) is None


def test_the_key_is_of_kind_and_inputs_in_any_order() -> None:
    assert key_of("k", {"a": 1, "b": [1, 2]}) == key_of("k", {"b": [1, 2], "a": 1})
    assert key_of("k", {"a": 1}) != key_of("j", {"a": 1})
    assert key_of("k", {"a": 1}) != key_of("k", {"a": "1"})
    assert len(key_of("k", {})) == 64
    with pytest.raises(TypeError):
        key_of("k", {"a": object()})
    with pytest.raises(ValueError, match="JSON"):
        key_of("k", {"a": float("nan")})


@pytest.mark.parametrize("kind", ["", "../up", "A", "locks", "latest"])
def test_a_kind_is_a_plain_word(store: Store, kind: str) -> None:
    with pytest.raises(ValueError, match="kind"):
        store.artifact(kind, {}, _never, subject="s")


def test_why_names_what_changed_since_the_latest_of_the_subject(store: Store) -> None:
    old = {"series": "3f2a" * 16, "config": "c" * 64, "cc": "12"}
    store.artifact("kernel", old, _fill("x"), subject="v2")
    store.artifact("kernel", {**old, "cc": "11"}, _fill("y"), subject="other")
    new = {"series": "91bc" * 16, "config": "c" * 64, "extra": True}
    assert store.why("kernel", new, subject="v2") == "cc: 12 -> none; extra: none -> true; series: 3f2a3f2a -> 91bc91bc"
    made = store.artifact("kernel", new, _fill("z"), subject="v2")
    assert made.why == "cc: 12 -> none; extra: none -> true; series: 3f2a3f2a -> 91bc91bc"
    assert store.why("kernel", new, subject="v2") == ""


def test_using_an_older_artifact_makes_it_the_latest(store: Store) -> None:
    for n in (1, 2):
        store.artifact("k", {"n": n}, _fill("x"), subject="s")
    store.artifact("k", {"n": 1}, _never, subject="s")
    assert store.artifact("k", {"n": 3}, _fill("x"), subject="s").why == "n: 1 -> 3"


def test_the_latest_of_a_subject_is_found_whatever_its_inputs(store: Store) -> None:
    assert store.latest("kernel", "v2") is None
    store.artifact("kernel", {"a": 1}, lambda folder: None, subject="v2")
    made = store.artifact("kernel", {"a": 2}, lambda folder: None, subject="v2")
    assert store.latest("kernel", "v2") == made.path
    store.remove(made.key)
    assert store.latest("kernel", "v2") is None


def test_a_removed_artifact_is_told(store: Store) -> None:
    made = store.artifact("k", {"n": 1}, _fill("x"), subject="s")
    assert store.remove(made.key) and not made.path.exists()
    assert not store.remove(made.key)
    assert store.artifact("k", {"n": 1}, _fill("x"), subject="s").why == "removed from the store"


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_nothing_is_kept_of_what_failed(store: Store, error: BaseException) -> None:
    def make(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise error

    with pytest.raises(type(error)):
        store.artifact("k", {}, make, subject="s")
    assert list((store.root / "k").iterdir()) == []
    assert store.artifact("k", {}, _fill("x"), subject="s").why == "first time"


def test_leftovers_of_killed_processes_go_but_not_what_is_being_made(store: Store) -> None:
    mine, others = store.root / "k" / f".making-{key_of('k', {})}", store.root / "k/.making-0123"
    for left in (mine, others):
        left.mkdir(parents=True)
        (left / "half").write_text("x")
    seen = []

    def outer(folder: Path) -> None:
        store.artifact("k", {"n": 2}, _fill("inner"), subject="t")  # sweeps while this one is being made
        seen.append(folder.exists())
        assert list(folder.iterdir()) == []

    store.artifact("k", {}, outer, subject="s")
    assert seen == [True] and not others.exists() and not mine.exists()


def test_a_half_made_folder_is_never_found(store: Store) -> None:
    (store.root / "k" / key_of("k", {})).mkdir(parents=True)
    assert store.find("k", {}) is None


def test_a_full_disk_names_folder_space_and_remedy(store: Store) -> None:
    def make(folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DiskFull) as caught:
        store.artifact("k", {}, make, subject="s")
    assert str(store.root) in caught.value.message and "MiB free" in caught.value.message
    assert "kpv clean" in caught.value.hint and isinstance(caught.value, InfraError)
    assert list((store.root / "k").iterdir()) == []


def test_only_a_full_disk_is_called_one(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), disk_full_told(tmp_path):
        raise PermissionError(errno.EACCES, "no")
    with pytest.raises(DiskFull), disk_full_told(tmp_path / "not/there/yet"):
        raise OSError(errno.EDQUOT, "quota")


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    write_atomic(path, "old")

    def fail(*a: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def _slow(root: str) -> None:
    def make(folder: Path) -> None:
        time.sleep(0.2)
        with Path(f"{root}.made").open("a") as log:
            log.write("x")

    Store(Path(root)).artifact("k", {"n": 1}, make, subject="s")


def test_two_processes_make_it_once(store: Store) -> None:
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=_slow, args=(str(store.root),)) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join()
        assert each.exitcode == 0
    assert Path(f"{store.root}.made").read_text() == "x"


def test_two_threads_make_it_once(store: Store) -> None:
    made = []

    def make(folder: Path) -> None:
        time.sleep(0.1)
        made.append(1)

    threads = [threading.Thread(target=store.artifact, args=("k", {}, make), kwargs={"subject": "s"}) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert made == [1]


def test_entries_tell_size_and_last_use(store: Store) -> None:
    a = store.artifact("a", {}, _fill("x" * 100_000), subject="s")
    b = store.artifact("b", {}, _fill("y"), subject="s")
    for made in (a, b):
        os.utime(made.path / "inputs.json", (1000, 1000))
    store.artifact("b", {}, _never, subject="s")
    entries = {each.kind: each for each in store.entries()}
    assert entries["a"].key == a.key and entries["a"].bytes >= 100_000 and entries["a"].used == 1000
    assert entries["b"].used > 1000, "a use is recorded"


def test_hard_links_count_by_their_share(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 8192)
    whole = disk_usage(tmp_path)
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    assert disk_usage(tmp_path) == whole
