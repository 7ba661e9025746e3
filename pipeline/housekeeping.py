"""What the cache holds that nobody used for a while."""

import time
from dataclasses import dataclass
from pathlib import Path

from pipeline.kernel import worktree
from pipeline.store import Store, disk_usage


@dataclass(frozen=True)
class Old:
    """Something that may go. ``days`` since it was last used."""

    what: str
    bytes: int
    days: float


def clean(cache: Path, *, older_than: float, work: bool, really: bool) -> list[Old]:
    """What was not used for ``older_than`` days, removed if ``really``; artifacts, and with ``work`` build trees.

    A build tree that another process holds is left alone.
    """
    now = time.time()
    store = Store(cache / "store")
    found = []
    for entry in store.entries():
        days = (now - entry.used) / 86400
        if days >= older_than and (not really or store.remove(entry.key)):
            found.append(Old(f"{entry.kind} {entry.key[:12]}", entry.bytes, days))
    for slot in worktree.slots(cache) if work else []:
        days = (now - slot.stat().st_mtime) / 86400
        size = disk_usage(slot)
        if days >= older_than and (not really or worktree.remove(slot)):
            found.append(Old(f"build tree {slot.name}", size, days))
    return found
