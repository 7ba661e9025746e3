"""A series: patches read from files, mboxes and quilt folders, and applied beside a tree, never in it."""

import dataclasses
import difflib
import hashlib
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pipeline.errors import UserError
from pipeline.kernel import diff as unidiff
from pipeline.kernel.process import clean_env, run
from pipeline.kernel.source import SourceTree


class SeriesError(UserError):
    """A patch cannot be read or does not apply; the message starts with its file."""


@dataclasses.dataclass(frozen=True)
class Patch:
    """One patch. ``name``: its file, with ``#n`` in an mbox. ``text``: the diff (undecodable bytes as surrogates).

    ``sha256``: of the diff alone, hex, so another commit message is no other patch.
    ``files``: relative paths it touches.
    """

    name: str
    subject: str
    author: str
    sha256: str
    text: str
    files: tuple[str, ...]
    diffs: tuple[unidiff.FileDiff, ...] = dataclasses.field(repr=False, compare=False)

    @property
    def data(self) -> bytes:
        return self.text.encode("utf-8", "surrogateescape")


@dataclasses.dataclass(frozen=True)
class Series:
    """Patches in the order they apply; ``digest``: SHA-256 over theirs, hex."""

    patches: tuple[Patch, ...]
    digest: str

    @property
    def files(self) -> frozenset[str]:
        return frozenset(name for patch in self.patches for name in patch.files)


@dataclasses.dataclass(frozen=True)
class Overlay:
    """What a series makes of a tree: new content per file, None for a deleted one.

    ``modes``: permission bits of the files that are there. ``notes``: hunks that
    applied at an offset. Files that end as they were are not in it.
    """

    files: Mapping[str, bytes | None]
    modes: Mapping[str, int]
    digest: str
    notes: tuple[str, ...] = ()

    def digests(self) -> dict[str, str | None]:
        """Per file: SHA-256 of mode and content, hex, or None for a deleted one."""
        return {
            name: None if data is None else hashlib.sha256(f"{self.modes[name]:o}\0".encode() + data).hexdigest()
            for name, data in self.files.items()
        }


def load(entries: Iterable[str], folder: Path) -> Series:
    """Read patch files, mboxes and quilt folders, in this order; paths are relative to ``folder``.

    Raises SeriesError for what is missing, hostile, damaged or empty.
    """
    patches: list[Patch] = []
    for entry in entries:
        path = folder / Path(entry).expanduser()
        if path.is_dir():
            for file in _quilt(path, entry):
                patches += _read(file, f"{entry.rstrip('/')}/{file.relative_to(path)}")
        else:
            patches += _read(path, entry)
    digest = hashlib.sha256("\n".join(patch.sha256 for patch in patches).encode()).hexdigest()
    return Series(tuple(patches), digest)


def _quilt(path: Path, entry: str) -> list[Path]:
    """The patches that the quilt ``series`` file of a folder lists (quilt(1)); only -p1 is known."""
    listing = path / "series"
    try:
        lines = listing.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise SeriesError(
            f"{entry}: the folder holds no quilt series file", hint=f"make it: (cd {path} && ls *.patch > series)"
        ) from None
    except (OSError, UnicodeDecodeError) as err:
        raise SeriesError(f"{entry}/series: cannot be read: {err}", hint="save it as UTF-8 text") from err
    files = []
    for number, line in enumerate(lines, 1):
        words = re.sub(r"(^|\s)#.*", "", line).split()
        if not words:
            continue
        if words[1:] not in ([], ["-p1"]):
            raise SeriesError(
                f"{entry}/series:{number}: options {' '.join(words[1:])!r}: only -p1 is supported",
                hint="refresh the patches with: quilt refresh -p1",
            )
        file = path / words[0]
        if not file.resolve().is_relative_to(path.resolve()):
            raise SeriesError(f"{entry}/series:{number}: {words[0]} is outside of the folder", hint="copy it there")
        files.append(file)
    if not files:
        raise SeriesError(f"{entry}/series: lists no patch", hint="add the patch names, one a line")
    return files


def _read(path: Path, name: str) -> list[Patch]:
    try:
        data = path.read_bytes()
    except OSError as err:
        raise SeriesError(
            f"{name}: cannot read the patch: {err.strerror}", hint="the paths of a series start at the study's folder"
        ) from err
    if not data.strip():
        raise SeriesError(f"{name}: the patch file is empty", hint="fetch it again, or take it out of the series")
    if _is_mail(data):
        return _mails(data, name)
    return [_patch(name, data, subject=_field(data, b"Subject") or path.stem, author=_field(data, b"From"))]


def _is_mail(data: bytes) -> bool:
    if re.match(rb"From \S+ ", data):
        return True
    head = re.split(rb"\r?\n\r?\n", data, maxsplit=1)[0]
    lines = re.split(rb"\r?\n(?![ \t])", head)
    return all(re.match(rb"[!-9;-~]+:", line) for line in lines) and re.search(rb"(?im)^subject:", head) is not None


def _field(data: bytes, name: bytes) -> str:
    match = re.search(rb"(?m)^" + name + rb": *(.+?)\r?$", data.partition(b"\n--- ")[0])
    return match[1].decode(errors="replace") if match else ""


def _mails(data: bytes, name: str) -> list[Patch]:
    with tempfile.TemporaryDirectory(prefix="kpv-mail-") as temp:
        folder = Path(temp)
        (folder / "mbox").write_bytes(data)
        run(["git", "mailsplit", "-b", "-d4", "-o.", "mbox"], what=f"read {name}", cwd=folder, env=_git_env(folder))
        mails = sorted(folder.glob("[0-9]*"))
        found: list[tuple[int, int, Patch]] = []
        for number, mail in enumerate(mails, 1):
            label = name if len(mails) == 1 else f"{name}#{number}"
            argv = ["git", "mailinfo", "--no-scissors", "--quoted-cr=strip", "message", "patch"]
            said = run(argv, what=f"read {label}", cwd=folder, env=_git_env(folder), stdin=mail.read_bytes()).stdout
            info = dict(line.split(": ", 1) for line in said.decode(errors="replace").splitlines() if ": " in line)
            tagged = re.search(rb"(?im)^subject:[^\n]*(?:\n[ \t][^\n]*)*", mail.read_bytes())
            place = re.search(rb"\[[^\]]*\b(\d+)/(\d+)\]", tagged[0] if tagged else b"")
            at, total = (int(place[1]), int(place[2])) if place else (0, 0)
            body = (folder / "patch").read_bytes()
            if place and at == 0 and not re.search(rb"(?m)^(diff --git |@@ -)", body):
                continue  # the cover letter
            author = f"{info.get('Author', '')} <{info.get('Email', '')}>"
            found.append((at, total, _patch(label, body, subject=info.get("Subject", label), author=author)))
    if not found:
        raise SeriesError(
            f"{name}: holds no patch, only a cover letter", hint="fetch the whole series, e.g. with: b4 am"
        )
    totals = {total for _, total, _ in found}
    if len(totals) == 1 and (total := totals.pop()) > 0 and len(found) > 1:
        numbers = sorted(at for at, _, _ in found)
        if numbers != list(range(1, total + 1)):
            raise SeriesError(
                f"{name}: expected patches 1 to {total}, found {', '.join(map(str, numbers))}",
                hint="fetch the whole series, and one version of it, e.g. with: b4 am",
            )
        found.sort(key=lambda item: item[0])
    return [patch for _, _, patch in found]


def _patch(name: str, data: bytes, *, subject: str, author: str) -> Patch:
    marks = [line for line in data.split(b"\n") if line.startswith((b"--- ", b"+++ ", b"@@ -", b"diff --git "))]
    if marks and all(line.endswith(b"\r") for line in marks):
        data = data.replace(b"\r\n", b"\n")
    try:
        diffs = unidiff.parse(data)
    except unidiff.DiffError as err:
        raise SeriesError(f"{name}: the patch {err.what}", hint=err.fix) from err
    files = tuple(dict.fromkeys(path for each in diffs for path in each.paths))
    return Patch(
        name,
        subject,
        author,
        hashlib.sha256(data).hexdigest(),
        data.decode("utf-8", "surrogateescape"),
        files,
        tuple(diffs),
    )


def apply(series: Series, tree: SourceTree) -> Overlay:
    """The files that the series changes in the tree, which itself is only read.

    Context must match exactly (git apply, no fuzz); an offset is taken and noted.
    Raises SeriesError naming patch, file, hunk and kernel version, or saying
    that the patch is already in the tree.
    """
    notes: list[str] = []
    with tempfile.TemporaryDirectory(prefix="kpv-series-") as temp:
        # Beside the tree, not in it: the patch itself must not lie among the files.
        scratch, patch_file = Path(temp, "tree"), Path(temp, "patch")
        scratch.mkdir()
        seen: set[str] = set()
        for patch in series.patches:
            for name in patch.files:
                if name not in seen:
                    seen.add(name)
                    _copy(patch, tree, name, scratch)
            patch_file.write_bytes(patch.data)
            notes += _apply_one(patch, tree, scratch, patch_file)
        files: dict[str, bytes | None] = {}
        modes: dict[str, int] = {}
        for name in sorted(seen):
            new, old = _state(scratch / name), _state(tree.path / name)
            if new == old:
                continue
            files[name] = None if new is None else new[1]
            if new is not None:
                modes[name] = new[0]
    overlay = Overlay(files, modes, "", tuple(notes))
    listing = "".join(f"{name}\0{digest}\n" for name, digest in overlay.digests().items())
    return dataclasses.replace(overlay, digest=hashlib.sha256(listing.encode()).hexdigest())


def _state(path: Path) -> tuple[int, bytes] | None:
    try:
        return (0o755 if path.stat().st_mode & 0o100 else 0o644, path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None


def _copy(patch: Patch, tree: SourceTree, name: str, scratch: Path) -> None:
    origin = tree.path / name
    for path in (origin, *origin.parents):
        if path == tree.path:
            break
        if path.is_symlink():
            raise SeriesError(
                f"{patch.name}: {path.relative_to(tree.path)} is a symbolic link in Linux {tree.version}",
                hint="patch the file that the link leads to",
            )
    if origin.is_dir():
        raise SeriesError(
            f"{patch.name}: {name} is a folder in {tree.version}, not a file", hint="check the base version"
        )
    state = _state(origin)
    if state is not None:
        (scratch / name).parent.mkdir(parents=True, exist_ok=True)
        (scratch / name).write_bytes(state[1])
        (scratch / name).chmod(state[0])


def _git_env(folder: Path) -> dict[str, str]:
    """git without the user's settings, and without any repository that ``folder`` might lie in.

    Inside a repository ``git apply`` silently skips the files outside of it.
    """
    return clean_env(
        {
            "GIT_CEILING_DIRECTORIES": str(folder.resolve().parent),
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_ATTR_NOSYSTEM": "1",
        }
    )


def _git_apply(scratch: Path, patch_file: Path, *options: str) -> tuple[int, str]:
    argv = ["git", "apply", "-p1", "--whitespace=nowarn", *options, str(patch_file)]
    done = run(argv, what="apply a patch", cwd=scratch, env=_git_env(scratch), check=False)
    return done.returncode, (done.stdout + done.stderr).decode(errors="replace")


def _apply_one(patch: Patch, tree: SourceTree, scratch: Path, patch_file: Path) -> list[str]:
    code, listed = _git_apply(scratch, patch_file, "--numstat", "-z")
    if code == 0:
        names = {entry.split("\t", 2)[2] for entry in listed.split("\0") if entry.count("\t") == 2}
        if not names <= set(patch.files):
            other = ", ".join(sorted(names - set(patch.files)))
            raise SeriesError(
                f"{patch.name}: git reads other file names in it: {other}", hint="make the patch with: git format-patch"
            )
        code, said = _git_apply(scratch, patch_file, "--verbose")
        if code == 0:
            return _offsets(patch, said)
    else:
        said = listed
    raise _rejected(patch, tree, scratch, patch_file, said)


def _offsets(patch: Patch, said: str) -> list[str]:
    notes, file = [], ""
    for line in said.splitlines():
        if match := re.match(r"Checking patch (.+?)(?: => .+)?\.\.\.", line):
            file = match[1]
        elif match := re.match(r"Hunk #(\d+) succeeded at (\d+) \(offset (-?\d+) lines?\)", line):
            notes.append(f"{patch.name}: {file}: hunk #{match[1]} applied at line {match[2]}, offset {match[3]}")
    return list(dict.fromkeys(notes))


def _rejected(patch: Patch, tree: SourceTree, scratch: Path, patch_file: Path, said: str) -> SeriesError:
    where = f"{patch.name}: does not apply to Linux {tree.version}"
    if _git_apply(scratch, patch_file, "--reverse", "--check")[0] == 0:
        return SeriesError(
            f"{patch.name}: is already applied in Linux {tree.version}, or by a patch before it",
            hint="take it out of the series",
        )
    before = {name: _state(scratch / name) for name in patch.files}
    for each in patch.diffs:
        if each.old is not None and before[each.old] is None:
            return SeriesError(
                f"{where}: {each.old} does not exist there", hint="check the base version, or a missing earlier patch"
            )
        if each.old is None and each.new is not None and before[each.new] is not None:
            return SeriesError(
                f"{where}: it creates {each.new}, which exists there already", hint="check the base version"
            )
    _, verbose = _git_apply(scratch, patch_file, "--reject", "--verbose")
    file = re.search(r"^Applying patch (\S+?)(?: => \S+)? with \d+ reject", verbose, re.MULTILINE)
    hunk = re.search(r"^Rejected hunk #(\d+)", verbose[file.start() :] if file else "", re.MULTILINE)
    if file and hunk:
        for each in patch.diffs:
            if file[1] in each.paths and int(hunk[1]) <= len(each.hunks):
                bad = each.hunks[int(hunk[1]) - 1]
                state = before[each.old] if each.old else None
                return SeriesError(
                    f"{where}: {each.old or each.new}: hunk #{hunk[1]} ({bad.header})",
                    hint="rebase the series onto this kernel, or name the kernel it was made for",
                    detail=_mismatch(bad, state[1] if state else b"", each.old or ""),
                )
    first = next((line for line in said.splitlines() if line.startswith("error:")), said.strip()[:200])
    return SeriesError(f"{where}: {first.removeprefix('error: ')}", hint="make it with: git format-patch", detail=said)


def _mismatch(hunk: unidiff.Hunk, content: bytes, name: str) -> str:
    """What the hunk expects against the most similar place of the file, as a diff."""
    lines: Sequence[str] = content.decode("utf-8", "surrogateescape").split("\n")
    want = list(hunk.old)

    def likeness(at: int) -> tuple[int, int]:
        same = sum(a == b for a, b in zip(want, lines[at : at + len(want)], strict=False) if a.strip())
        return same, -abs(at - (hunk.start - 1))

    # A line more or less inside shifts the rest: both ends of the hunk may be the anchor.
    at = max(range(max(1, len(lines))), key=likeness)
    found = lines[at : at + len(want) + 3]
    shown = difflib.unified_diff(
        want, list(found), "expected by the patch", f"{name}:{at + 1} in the tree", n=3, lineterm=""
    )
    return "\n".join(shown).encode("utf-8", "replace").decode()
