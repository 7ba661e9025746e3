"""A unified diff, read strictly: which files it touches and with which hunks.

git does the applying; this reader decides beforehand whether a patch is one
that kpv takes, and puts names to what git reports.
"""

import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath

_HUNK = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_MODES = {b"100644": 0o644, b"100755": 0o755}


class DiffError(ValueError):
    """Not a patch that kpv takes. ``args``: what is wrong, and the fix."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what, fix)
        self.what = what
        self.fix = fix


@dataclass(frozen=True)
class Hunk:
    """``start``: first line in the old file, from 1. ``old``: the lines that must be there (context and removed)."""

    header: str
    start: int
    old: tuple[str, ...]


@dataclass
class FileDiff:
    """One file of a patch; ``old`` is None for a new file, ``new`` is None for a deleted one."""

    old: str | None = None
    new: str | None = None
    hunks: list[Hunk] = field(default_factory=list)
    changes: bool = False  # has a rename, copy or mode change, which need no hunk

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for name in (self.old, self.new) if name is not None))


def parse(diff: bytes) -> list[FileDiff]:
    """The files of a patch. Raises DiffError for anything hostile, damaged or of no use."""
    lines = diff.split(b"\n")
    found: list[FileDiff] = []
    current: FileDiff | None = None
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if line.startswith(b"diff --git "):
            current = FileDiff(*_git_names(line.removeprefix(b"diff --git ")))
            found.append(current)
        elif line.startswith((b"diff --cc ", b"diff --combined ", b"@@@ ")):
            raise DiffError("is a combined diff of a merge", "make it with: git format-patch, one commit a file")
        elif line.startswith(b"--- ") and at < len(lines) and lines[at].startswith(b"+++ "):
            old = _path(line.removeprefix(b"--- "))
            new = _path(lines[at].removeprefix(b"+++ "))
            at += 1
            if old is None and new is None:
                raise DiffError("names /dev/null as both the old and the new file", "make it with: git format-patch")
            if current is None or current.hunks:
                current = FileDiff()
                found.append(current)
            current.old, current.new = old, new
        elif match := _HUNK.match(line):
            if current is None or not current.paths:
                raise DiffError(f"has a hunk before any file name (line {at})", "make it with: git format-patch")
            hunk, at = _hunk(lines, at, match, current)
            current.hunks.append(hunk)
        elif line.startswith((b"GIT binary patch", b"Binary files ")):
            raise DiffError("is or holds a binary patch", "kpv takes text patches only; leave the binary file out")
        elif current is not None and not current.hunks:
            _header(line, current)
    _useful(found)
    return found


def _useful(found: list[FileDiff]) -> None:
    if not found:
        raise DiffError("holds no diff", "name a patch made by git format-patch, or an mbox (e.g. from b4 am)")
    for each in found:
        if not each.hunks and not each.changes:
            raise DiffError(f"changes nothing in {each.paths[0]}", "remove that file from the patch")


def _hunk(lines: list[bytes], at: int, match: re.Match[bytes], current: FileDiff) -> tuple[Hunk, int]:
    header = lines[at - 1].decode(errors="replace").rstrip("\r")
    where = f"hunk #{len(current.hunks) + 1} of {current.paths[-1]} ({header})"
    old_left, new_left = (int(n) if n is not None else 1 for n in (match[2], match[4]))
    old: list[str] = []
    while old_left > 0 or new_left > 0:
        body = lines[at] if at < len(lines) else None
        if body is None or (at == len(lines) - 1 and body == b""):
            raise DiffError(f"ends in the middle of {where}", "the patch is cut short; fetch it again")
        kind = body[:1] or b" "  # mailers drop the blank of an empty context line
        if kind not in (b" ", b"+", b"-", b"\\"):
            raise DiffError(f"is damaged in {where}, at line {at + 1} of the diff", "a mailer wrapped it; fetch it raw")
        if kind in (b" ", b"-"):
            old_left -= 1
            old.append(body[1:].decode("utf-8", "surrogateescape"))
        if kind in (b" ", b"+"):
            new_left -= 1
        at += 1
    if old_left < 0 or new_left < 0:
        raise DiffError(f"has the wrong line counts in {where}", "the patch was edited by hand; make it again")
    return Hunk(header, int(match[1]), tuple(old)), at


def _header(line: bytes, current: FileDiff) -> None:
    """The extended header lines of git (git-diff(1), "generating patch text")."""
    line = line.rstrip(b"\r")
    for start in (b"old mode ", b"new mode ", b"new file mode ", b"deleted file mode "):
        if line.startswith(start):
            mode = line.removeprefix(start)
            if mode == b"120000":
                raise DiffError(f"makes or changes a symbolic link, {current.paths[0]}", "leave the link out of it")
            if mode == b"160000":
                raise DiffError(f"makes or changes a submodule, {current.paths[0]}", "leave the submodule out of it")
            if mode not in _MODES:
                raise DiffError(f"has mode {mode.decode(errors='replace')}", "only 100644 and 100755 are taken")
            current.changes = True
            if start == b"new file mode ":
                current.old = None
            elif start == b"deleted file mode ":
                current.new = None
            return
    if line.startswith(b"index ") and line.endswith((b" 120000", b" 160000")):
        raise DiffError(f"changes a symbolic link or submodule, {current.paths[0]}", "leave it out of the patch")
    for start, attribute in (
        (b"rename from ", "old"),
        (b"rename to ", "new"),
        (b"copy from ", "old"),
        (b"copy to ", "new"),
    ):
        if line.startswith(start):
            setattr(current, attribute, _safe(_unquote(line.removeprefix(start))))
            current.changes = True


def _git_names(rest: bytes) -> tuple[str, str]:
    """Both names of a ``diff --git`` line; without quotes it is ambiguous only when a name has blanks."""
    rest = rest.rstrip(b"\r")
    if match := re.fullmatch(rb'("(?:[^"\\]|\\.)*"|\S+) ("(?:[^"\\]|\\.)*"|\S+)', rest):
        old, new = _path(match[1]), _path(match[2])
        if old is not None and new is not None:
            return old, new
    raise DiffError(
        f"has a file name with blanks or none: {rest.decode(errors='replace')!r}", "the kernel has no such names"
    )


def _path(raw: bytes) -> str | None:
    """A name of a ``---``, ``+++`` or ``diff --git`` line without its first part (-p1); None for /dev/null."""
    name = _unquote(raw.rstrip(b"\r").split(b"\t")[0])
    if name == b"/dev/null":
        return None
    if name.startswith(b"/"):
        raise DiffError(f"names an absolute path, {name.decode(errors='replace')}", "use paths as a/mm/madvise.c (-p1)")
    _, slash, inner = name.partition(b"/")
    if not slash:
        raise DiffError(f"names {name.decode(errors='replace')} without a/ or b/", "use paths as a/mm/madvise.c (-p1)")
    return _safe(inner)


def _unquote(raw: bytes) -> bytes:
    if len(raw) > 1 and raw.startswith(b'"') and raw.endswith(b'"'):
        try:
            return raw[1:-1].decode("latin-1").encode("latin-1").decode("unicode_escape").encode("latin-1")
        except UnicodeError as err:
            raise DiffError(f"has an unreadable file name {raw!r}", "rename the file") from err
    return raw


def _safe(raw: bytes) -> str:
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError as err:
        raise DiffError(f"has a file name that is not UTF-8: {raw!r}", "rename the file") from err
    parts = name.split("/")
    if name.startswith("/"):
        raise DiffError(f"names an absolute path, {name}", "use paths as a/mm/madvise.c (-p1)")
    if ".." in parts or "." in parts or "" in parts:
        raise DiffError(f"names a path that leads out of the tree, {name!r}", "use plain paths as a/mm/madvise.c")
    if any(part.lower() == ".git" for part in parts):
        raise DiffError(f"touches git's own folder, {name}", "remove that file from the patch")
    if any(ord(char) < 32 or ord(char) == 127 for char in name) or "\\" in name:
        raise DiffError(f"has a file name with control characters or backslashes, {name!r}", "rename the file")
    if PurePosixPath(name).parts[0] == "o":
        raise DiffError(f"touches {name}: the folder o/ is where kpv builds", "rename the folder")
    return name
