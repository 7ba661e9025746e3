"""What kpv keeps that nobody used for a while: by age, by size, or by both; and what may be removed."""

import functools
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.kernel import source, worktree
from pipeline.store import Store, disk_usage

#: Any of these says that a folder is that of a finished run or campaign.
FINISHED = ("run.json", "campaign.json", "mutants.json", "repeat.json", "cost.json")
#: Days after which a run that wrote nothing more counts as one that was interrupted.
INTERRUPTED = 1.0
_DAY = 86400


@dataclass(frozen=True)
class Old:
    """Something that may go. ``days`` since it was last used."""

    what: str
    bytes: int
    days: float


@dataclass(frozen=True)
class Cleaned:
    """``gone``: what was removed, or would be. ``left``: bytes of what is looked at here and stays, None where nobody
    asked for a size."""

    gone: tuple[Old, ...]
    left: int | None

    @property
    def bytes(self) -> int:
        return sum(entry.bytes for entry in self.gone)


@dataclass(frozen=True)
class _Thing:
    """``size``: bytes, which takes its time to find out. ``remove`` says whether it did: what another process holds
    is left alone."""

    what: str
    days: float
    size: Callable[[], int]
    remove: Callable[[], bool]


def clean(
    cache: Path,
    *,
    older_than: float | None,
    max_bytes: int | None = None,
    work: bool = False,
    runs: Path | None = None,
    really: bool = False,
) -> Cleaned:
    """Remove, if ``really``, what was not used for ``older_than`` days, and then what was not used for longest
    until all that is left is no more than ``max_bytes``; None for no such limit.

    Artifacts of the store; with ``work`` build trees and unpacked sources that no build tree uses; with ``runs`` the
    run folders in that folder. What another process holds stays, and so does a run that is under way.
    """
    now = time.time()
    found = [*_artifacts(cache, now)]
    if work:
        found += [*_build_trees(cache, now), *_sources(cache, now)]
    if runs is not None:
        found += _runs(runs, now)
    found.sort(key=lambda thing: -thing.days)
    left = None if max_bytes is None else sum(thing.size() for thing in found)
    gone = []
    for thing in found:
        too_old = older_than is not None and thing.days >= older_than
        too_much = left is not None and max_bytes is not None and left > max_bytes
        if not (too_old or too_much):
            continue
        old = Old(thing.what, thing.size(), thing.days)
        if not really or thing.remove():
            gone.append(old)
            left = None if left is None else left - old.bytes
    return Cleaned(tuple(gone), left)


def _artifacts(cache: Path, now: float) -> Iterator[_Thing]:
    store = Store(cache / "store")
    for entry in store.entries():
        yield _Thing(
            f"{entry.kind} {entry.key[:12]}",
            (now - entry.used) / _DAY,
            lambda entry=entry: entry.bytes,
            lambda key=entry.key: store.remove(key),
        )


def _build_trees(cache: Path, now: float) -> Iterator[_Thing]:
    for slot in worktree.slots(cache):
        days = (now - (slot / "lock").stat().st_mtime) / _DAY
        yield _Thing(f"build tree {slot.name}", days, _size_of(slot), lambda slot=slot: worktree.remove(slot))


def _sources(cache: Path, now: float) -> Iterator[_Thing]:
    """Each is as old as its youngest build tree; one that still has build trees when its turn comes stays."""
    for tree, used in source.unpacked(cache):
        days = (now - used) / _DAY
        yield _Thing(f"source {tree.name}", days, _size_of(tree), lambda tree=tree: source.remove(cache, tree.name))


def _runs(root: Path, now: float) -> Iterable[_Thing]:
    for events in sorted(root.glob("*/events.jsonl")):
        folder = events.parent
        finished = any((folder / name).is_file() for name in FINISHED)
        days = (now - max(path.stat().st_mtime for path in (folder, events))) / _DAY
        if finished or days >= INTERRUPTED:
            what = f"run {folder.name}" if finished else f"interrupted run {folder.name}"
            yield _Thing(what, days, _size_of(folder), lambda folder=folder: _remove(folder))


def _size_of(folder: Path) -> Callable[[], int]:
    return functools.cache(lambda: disk_usage(folder))


def _remove(folder: Path) -> bool:
    shutil.rmtree(folder)
    return True
