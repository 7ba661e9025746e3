"""Content-addressed artifacts: made once, whole or not at all, shared between processes.

An artifact is a folder ``<root>/<kind>/<key>``; its key is the SHA-256 of its
kind and of everything that can change it (``inputs``). It is made in a folder
beside and renamed, so a reader never sees half of one, whatever was killed.
"""

import contextlib
import dataclasses
import errno
import functools
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pipeline.errors import InfraError

_MAKING = ".making-"
_INPUTS = "inputs.json"
_FULL = (errno.ENOSPC, errno.EDQUOT)


class DiskFull(InfraError):
    """A write failed for want of space."""

    def __init__(self, folder: Path, *, detail: str = "") -> None:
        at = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
        free = shutil.disk_usage(at).free
        super().__init__(
            f"{folder}: no space left on the disk, {free / 2**20:.0f} MiB free",
            hint="free some space, e.g. with: kpv clean",
            detail=detail,
        )


@contextlib.contextmanager
def disk_full_told(folder: Path) -> Iterator[None]:
    """Turn ENOSPC and EDQUOT of the block into DiskFull, which names ``folder`` and what is free there."""
    try:
        yield
    except OSError as err:
        if err.errno in _FULL:
            raise DiskFull(folder, detail=str(err)) from err
        raise


@dataclasses.dataclass(frozen=True)
class Artifact:
    """``why`` it was made: the inputs that changed, "first time", or "" when it was ``cached``."""

    path: Path
    key: str
    cached: bool
    why: str


@dataclasses.dataclass(frozen=True)
class Entry:
    """One artifact in the store; ``used``: seconds since the epoch of the last use."""

    kind: str
    key: str
    path: Path
    used: float

    @functools.cached_property
    def bytes(self) -> int:
        """What its files occupy on the disk. Looked up once, when it is first asked for: a store has many artifacts."""
        return disk_usage(self.path)


def canonical(value: object) -> str:
    """JSON with one spelling per value: the same inputs give the same key on any machine."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def key_of(kind: str, inputs: Mapping[str, Any]) -> str:
    """The key (64 hex digits) of an artifact."""
    return hashlib.sha256(canonical({"kind": kind, "inputs": dict(inputs)}).encode()).hexdigest()


def write_atomic(path: Path, text: str) -> None:
    """Write a text file so that a reader, or a kill, sees the old or the new one. Raises DiskFull."""
    with disk_full_told(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as out:
                out.write(text)
            os.chmod(name, 0o644)  # mkstemp's files are private; a store may be shared
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            raise


class Store:
    """The artifacts under one folder. Safe to use from several processes and threads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._swept: set[str] = set()

    def artifact(
        self,
        kind: str,
        inputs: Mapping[str, Any],
        make: Callable[[Path], None],
        *,
        subject: str,
    ) -> Artifact:
        """The artifact of these inputs, made by ``make(folder)`` if the store has none.

        ``make`` fills an empty folder; when it raises, nothing is kept and the
        error goes on. ``subject`` (a kernel's id, say) only serves ``why``.
        Raises DiskFull when the disk fills up.
        """
        key = key_of(kind, inputs)
        path = self._path(kind, key)
        with disk_full_told(self.root):
            if self._ready(path):
                return self._used(kind, key, inputs, subject)
            with self._lock(kind, key):
                if self._ready(path):  # another process made it while this one waited
                    return self._used(kind, key, inputs, subject)
                why = self._why(kind, inputs, subject)
                self._sweep(kind)
                self._make(path, key, inputs, make)
                self._remember(kind, key, inputs, subject)
        return Artifact(path, key, cached=False, why=why)

    def find(self, kind: str, inputs: Mapping[str, Any]) -> Path | None:
        """The folder of the artifact of these inputs, or None; makes nothing."""
        path = self._path(kind, key_of(kind, inputs))
        return path if self._ready(path) else None

    def latest(self, kind: str, subject: str) -> Path | None:
        """The folder of the artifact that ``subject`` had last, whatever its inputs; None if there is none any more."""
        record = self._recall(kind, subject)
        path = self._path(kind, str(record["key"])) if record else None
        return path if path and self._ready(path) else None

    def why(self, kind: str, inputs: Mapping[str, Any], *, subject: str) -> str:
        """Why ``artifact`` would make something now: as ``Artifact.why``, "" if it would not."""
        return "" if self.find(kind, inputs) else self._why(kind, inputs, subject)

    def entries(self) -> Iterator[Entry]:
        """Every whole artifact."""
        for inputs in sorted(self.root.glob(f"*/*/{_INPUTS}")):
            folder = inputs.parent
            if folder.name.startswith(_MAKING):
                continue
            with contextlib.suppress(FileNotFoundError):  # removed by another process meanwhile
                yield Entry(folder.parent.name, folder.name, folder, inputs.stat().st_mtime)

    def remove(self, key: str) -> bool:
        """Remove the artifact of a key; False if there is none. Waits while it is being made."""
        found = False
        for path in sorted(self.root.glob(f"*/{key}")):
            with self._lock(path.parent.name, key):
                # Renamed first: a half-removed folder must not look whole.
                doomed = path.with_name(f"{_MAKING}{key}")
                shutil.rmtree(doomed, ignore_errors=True)
                with contextlib.suppress(FileNotFoundError):
                    path.rename(doomed)
                    found = True
                    shutil.rmtree(doomed)
        return found

    def _path(self, kind: str, key: str) -> Path:
        if not re.fullmatch(r"[a-z][a-z0-9-]*", kind) or kind in ("locks", "latest"):
            raise ValueError(f"not a kind of artifact: {kind!r}")
        return self.root / kind / key

    @staticmethod
    def _ready(path: Path) -> bool:
        return (path / _INPUTS).exists()

    def _lock(self, kind: str, key: str) -> FileLock:
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / f"{kind}-{key}.lock")

    def _make(self, path: Path, key: str, inputs: Mapping[str, Any], make: Callable[[Path], None]) -> None:
        temp = path.with_name(f"{_MAKING}{key}")
        if temp.exists():
            shutil.rmtree(temp)
        temp.mkdir(parents=True)
        try:
            make(temp)
            write_atomic(temp / _INPUTS, json.dumps(dict(inputs), indent=1, sort_keys=True) + "\n")
            temp.rename(path)
        except BaseException:
            shutil.rmtree(temp, ignore_errors=True)
            raise

    def _sweep(self, kind: str) -> None:
        """Remove what killed processes left half made; what is being made now is locked, and stays.

        Once is enough: who dies later is swept by the next process.
        """
        if kind in self._swept:
            return
        self._swept.add(kind)
        for left in self.root.glob(f"{kind}/{_MAKING}*"):
            lock = self._lock(kind, left.name.removeprefix(_MAKING))
            try:
                with lock.acquire(blocking=False):
                    shutil.rmtree(left, ignore_errors=True)
            except Timeout:
                continue

    def _record_of(self, kind: str, subject: str) -> Path:
        name = hashlib.sha256(subject.encode()).hexdigest()[:24]
        return self.root / "latest" / kind / f"{name}.json"

    def _remember(self, kind: str, key: str, inputs: Mapping[str, Any], subject: str) -> None:
        record = {"subject": subject, "key": key, "inputs": dict(inputs)}
        write_atomic(self._record_of(kind, subject), json.dumps(record, sort_keys=True))

    def _recall(self, kind: str, subject: str) -> dict[str, Any] | None:
        try:
            record = json.loads(self._record_of(kind, subject).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):  # it only feeds an explanation
            return None
        return record if isinstance(record, dict) else None

    def _used(self, kind: str, key: str, inputs: Mapping[str, Any], subject: str) -> Artifact:
        path = self._path(kind, key)
        with contextlib.suppress(OSError):  # a store on a read-only mount still serves
            os.utime(path / _INPUTS)
            latest = self._recall(kind, subject)
            if latest is None or latest.get("key") != key:
                self._remember(kind, key, inputs, subject)
        return Artifact(path, key, cached=True, why="")

    def _why(self, kind: str, inputs: Mapping[str, Any], subject: str) -> str:
        latest = self._recall(kind, subject)
        if latest is None:
            return "first time"
        old, new = latest["inputs"], json.loads(canonical(dict(inputs)))
        if old == new:
            return "removed from the store"
        return "; ".join(
            f"{name}: {_short(old.get(name))} -> {_short(new.get(name))}"
            for name in sorted(old.keys() | new.keys())
            if old.get(name) != new.get(name)
        )


def _short(value: object) -> str:
    """A value for a person: a digest by its first digits, anything long cut."""
    text = "none" if value is None else value if isinstance(value, str) else canonical(value)
    if re.fullmatch(r"[0-9a-f]{32,}", text):
        return text[:8]
    return text if len(text) <= 60 else f"{text[:48]}...#{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def disk_usage(folder: Path) -> int:
    """Bytes that the files under ``folder`` occupy; a file with several hard links counts by its share."""
    total = 0
    folders = [os.fspath(folder)]
    while folders:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                    continue
                with contextlib.suppress(FileNotFoundError):
                    stat = entry.stat(follow_symlinks=False)
                    total += stat.st_blocks * 512 // max(stat.st_nlink, 1)
    return total
