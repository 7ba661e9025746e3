"""Facts about the machine kpv runs on."""

import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, kw_only=True)
class Host:
    """Sizes in bytes; ``shm`` and ``disk`` are free room. ``codename`` is Debian's, ``""`` elsewhere."""

    arch: str
    cores: int
    memory: int
    shm: int
    disk: int
    cached: int
    codename: str
    root: bool


def measure(cache: Path, *, root: Path = Path("/")) -> Host:
    """The facts about this host: ``disk`` is free where ``cache`` is or will be, ``cached`` what the cache holds.

    Only root itself can say what a file system keeps for root, so ``disk`` is what this user may fill.
    """
    existing = next(p for p in (cache, *cache.absolute().parents) if p.is_dir())
    shm = root / "dev/shm"
    return Host(
        arch=platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        memory=psutil.virtual_memory().total,
        shm=shutil.disk_usage(shm).free if shm.is_dir() else 0,
        disk=shutil.disk_usage(existing).free,
        cached=_size(cache),
        codename=debian_codename(root),
        root=os.geteuid() == 0,
    )


def debian_codename(root: Path = Path("/")) -> str:
    """``bookworm`` or ``trixie``; ``""`` for every other system, whose package names are not known here."""
    try:
        text = (root / "etc/os-release").read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    codename = fields.get("VERSION_CODENAME", "").strip("\"'")
    return codename if fields.get("ID", "").strip("\"'") == "debian" and codename in {"bookworm", "trixie"} else ""


def _size(folder: Path) -> int:
    """Bytes on disk below ``folder``; what vanishes while it is walked counts nothing."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(Path(parent, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total
