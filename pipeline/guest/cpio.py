"""A deterministic writer of "newc" cpio archives, the format of an initramfs.

Format: Documentation/driver-api/early-userspace/buffer-format.rst. Entries are
sorted by name, owned by root, dated 0: the same files give the same bytes.
Device nodes are lines of the archive and need no privilege. The kernel takes
several archives one after the other, each compressed or not, so each part of
the root file system is made and cached on its own.
"""

import gzip
import posixpath
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

TRAILER = "TRAILER!!!"
_HEADER = 110


@dataclass(frozen=True)
class Entry:
    """One file: ``name`` without a leading slash, ``mode`` with the file type, ``rdev`` as (major, minor)."""

    name: str
    mode: int
    data: bytes = b""
    rdev: tuple[int, int] = (0, 0)


def file(name: str, data: bytes, *, mode: int = 0o644) -> Entry:
    return Entry(name, stat.S_IFREG | mode, data)


def link(name: str, target: str) -> Entry:
    return Entry(name, stat.S_IFLNK | 0o777, target.encode())


def folder(name: str, *, mode: int = 0o755) -> Entry:
    return Entry(name, stat.S_IFDIR | mode)


def device(name: str, major: int, minor: int, *, mode: int = 0o600) -> Entry:
    """A character device."""
    return Entry(name, stat.S_IFCHR | mode, rdev=(major, minor))


def archive(entries: Iterable[Entry]) -> bytes:
    """The entries as one newc archive, a multiple of 4 bytes long.

    Parent folders that no entry names are added with mode 0755. Raises
    ValueError for two entries of one name or a name with a leading slash.
    """
    named: dict[str, Entry] = {}
    for entry in entries:
        if entry.name.startswith("/") or entry.name != posixpath.normpath(entry.name) or entry.name == TRAILER:
            raise ValueError(f"not a relative, normal path for an archive: {entry.name!r}")
        if entry.name in named:
            raise ValueError(f"{entry.name!r} is twice in the archive")
        named[entry.name] = entry
    for name in list(named):
        while name := posixpath.dirname(name):
            named.setdefault(name, folder(name))
    parts: list[bytes] = []
    for inode, name in enumerate(sorted(named), 1):
        parts.append(_record(named[name], inode))
    parts.append(_record(Entry(TRAILER, 0), 0))
    return b"".join(parts)


def compressed(data: bytes) -> bytes:
    """``data`` as gzip without a name and a date, which CONFIG_RD_GZIP reads."""
    return gzip.compress(data, compresslevel=9, mtime=0)


def read(data: bytes) -> Iterator[Entry]:
    """The entries of one uncompressed newc archive, the trailer left out.

    Raises ValueError where the bytes are no newc archive.
    """
    at = 0
    while True:
        if data[at : at + 6] != b"070701":
            raise ValueError(f"no newc header at byte {at}")
        fields = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        mode, size, rdev, name_size = fields[1], fields[6], (fields[9], fields[10]), fields[11]
        name = data[at + _HEADER : at + _HEADER + name_size - 1].decode()
        start = _aligned(at + _HEADER + name_size)
        if name == TRAILER:
            return
        yield Entry(name, mode, data[start : start + size], rdev)
        at = _aligned(start + size)


def _record(entry: Entry, inode: int) -> bytes:
    name = entry.name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (inode, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, *entry.rdev, len(name), 0)
    head = b"070701" + b"".join(b"%08X" % value for value in fields) + name
    return _padded(head) + _padded(entry.data)


def _aligned(offset: int) -> int:
    return (offset + 3) & ~3


def _padded(data: bytes) -> bytes:
    return data.ljust(_aligned(len(data)), b"\0")
