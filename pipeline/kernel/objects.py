"""Folders of objects: copied from one slot to another, or put back to what they were."""

import os
import shutil
from pathlib import Path

from pipeline.kernel.process import run

#: Results of linking, which any change makes anew: not worth copying.
LINKED = ("vmlinux*", ".tmp_vmlinux*", "System.map", "arch/*/boot/Image*")


def copy(origin: Path, target: Path, *, what: str) -> None:
    """Copy a folder of objects with every mtime, but without what is linked. Raises ProcessFailed."""
    run(["cp", "--archive", "--reflink=auto", str(origin), str(target)], what=what)
    for pattern in LINKED:
        for linked in target.glob(pattern):
            linked.unlink()


def mirror(origin: Path, target: Path) -> None:
    """Make ``target`` what ``origin`` is, told by size and mtime (ns); only what differs is copied or removed."""
    target.mkdir(exist_ok=True)
    want = {entry.name: entry for entry in os.scandir(origin)}
    have = {entry.name: entry for entry in os.scandir(target)}
    for name, entry in have.items():
        if name not in want or _shape(entry)[0] != _shape(want[name])[0]:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
    for name, entry in want.items():
        if entry.is_dir(follow_symlinks=False):
            mirror(Path(entry.path), target / name)
        elif name not in have or _shape(have[name]) != _shape(entry):
            # Renamed into place: killed in the middle, the name still differs from what is wanted, or is whole.
            temp = target / f".kpv-{name}"
            temp.unlink(missing_ok=True)
            shutil.copy2(entry.path, temp, follow_symlinks=False)
            temp.rename(target / name)


def _shape(entry: "os.DirEntry[str]") -> tuple[int, int, int]:
    """Kind, size and mtime; of a folder its kind alone."""
    stat = entry.stat(follow_symlinks=False)
    kind = stat.st_mode & 0o170000
    return (kind, 0, 0) if entry.is_dir(follow_symlinks=False) else (kind, stat.st_size, stat.st_mtime_ns)
