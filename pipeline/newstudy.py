"""A study to start from: a copy of one that is there, perhaps with a series of one's own as its candidate.

The copy is edited as text, so that its comments stay; what comes out is read
as a study before the folder is there.
"""

import json
import re
import shutil
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline import study as studies
from pipeline.errors import InfraError, UserError
from pipeline.kernel import series as patches
from pipeline.kernel.series import Series
from pipeline.locate import STUDY
from pipeline.stages import as_seen

#: Tables that speak of the kernels of the study they were written for.
_OF_KERNELS = ("published", "bound")
_HEADER = re.compile(r"^\s*\[\[?\s*([\w.-]+)")

_NOTE = """\
# Made by `kpv init` from {origin}.
#
# What to change, from the top:
#   title      what your series does, in one line; the report starts with it
#   [source]   the tree that the series applies to, e.g. "git:/home/me/linux@v6.12"
#   [[kernel]] the baseline, and a candidate for each version of the series
#   [[claim]]  what the series changes, as expressions over counters; drop what is not about it
#   programs   which guest tests run
# Each mistake is told with its line: `kpv build {name}` reads everything and builds the kernels.

"""

_KERNELS = """\
# ---- kernels ----

# What the series is compared with: the tree as it is.
[[kernel]]
id = "baseline"
title = "the tree without the series"
role = "baseline"

# The series: patch files, mboxes, or folders with a quilt `series` file, relative to this file, in order.
# A kernel that is expected to fail says so: expect = {{ verdict = "FAIL", failing = ["no-lost-write"] }}
[[kernel]]
id = "{candidate}"
title = {title}
series = [{series}]

"""

_CLAIMS = """\
# The baseline here is the tree as it is, not one with the old behaviour, so `baseline` is commented out: the claims say
# that what holds in the tree holds with the series too. Where your series changes a count, claim it, and say with
# `baseline` what the tree shows without it.

"""


class StartError(UserError):
    """The new study cannot be made."""


def make(target: Path, *, origin: Path, series: Path | None = None, tree: str = "") -> Path:
    """Make the folder ``target`` with a study like ``origin``; returns the path of its study.toml.

    ``series``: a patch, mbox or quilt folder, taken in as the candidate over the
    tree as it is; claims then ask that what the tree does is kept. ``tree``:
    another [source], e.g. ``git:PATH@REV``. Raises StartError where something
    is there already or the copy would not be a sound study, and what
    ``study.load`` and ``series.load`` raise; leaves nothing behind then.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise StartError(f"{target}: is there already", hint="name another folder, or remove this one")
    base = studies.load(origin)
    text = origin.read_text(encoding="utf-8")
    if "extends" in tomllib.loads(text):
        raise StartError(f"{origin}: extends another study, so a copy of it is not whole", hint="start from that one")
    found = patches.load([str(series.absolute())], Path()) if series is not None else None
    name = _id(target.absolute().name)
    text = _set_key(text, "id", json.dumps(name), where="")
    if tree:
        text = _set_key(text, "tree", json.dumps(tree), where="source")
    if found is not None and series is not None:
        text = _with_series(text, name, series, found)
    text = _NOTE.format(origin=as_seen(origin.absolute()), name=as_seen(target.absolute())) + text
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as temp:
            folder = Path(temp) / "study"
            folder.mkdir()
            _copy(base, folder, series)
            (folder / STUDY).write_text(text, encoding="utf-8")
            _sound(folder / STUDY, origin)
            if target.exists():
                target.rmdir()
            folder.rename(target)
    except OSError as err:
        raise InfraError(f"{target}: cannot make the folder: {err.strerror}") from err
    return target / STUDY


def _sound(path: Path, origin: Path) -> None:
    try:
        studies.load(path)
    except UserError as err:
        raise StartError(
            f"{origin}: a copy of it is no sound study: {err.message}", hint="copy and edit it by hand"
        ) from err


def _copy(base: studies.Study, folder: Path, series: Path | None) -> None:
    """The fragments that stand beside the study, and its kernels' patches or the series."""
    for fragment in base.folder.glob("*.config"):
        shutil.copyfile(fragment, folder / fragment.name)
    wanted = [series.absolute()] if series is not None else []
    if series is None:
        for entry in dict.fromkeys(entry for kernel in base.kernel for entry in kernel.series):
            if not (base.folder / entry).resolve().is_relative_to(base.folder.resolve()):
                raise StartError(f"{base.path}: series {entry!r} lies outside its folder", hint="copy it by hand")
            wanted.append(base.folder / entry)
    for path in wanted:
        place = folder / (path.name if series is not None else path.relative_to(base.folder))
        place.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, place)
        else:
            shutil.copyfile(path, place)


def _with_series(text: str, name: str, file: Path, found: Series) -> str:
    subject = found.patches[0].subject if len(found.patches) == 1 else ""
    more = f"{len(found.patches)} patches of {file.name}" if len(found.patches) > 1 else file.name
    title = re.sub(r"^\[[^\]]*\]\s*", "", subject) or f"{name}: {more}"
    text = _set_key(text, "title", json.dumps(title, ensure_ascii=False), where="")
    text = _set_key(text, "links", "[]", where="")
    kernels = _KERNELS.format(candidate=_id(file.stem), title=json.dumps(more), series=json.dumps(file.name))
    out: list[str] = []
    seen = set()
    for table, block in _blocks(text):
        if table in _OF_KERNELS:
            continue
        if table == "kernel":
            out += [] if table in seen else [kernels]
            out.append(_trailing_comment(block))
        elif table == "claim":
            out += [] if table in seen else [_CLAIMS]
            out.append(_commented(block, "baseline"))
        elif table == "known":
            out.append(_commented(block, "kernels"))
        elif table == "":
            out.append(block[re.match(r"(?:#.*\n|\n)*", block).end() :])  # what is said of another series
        else:
            out.append(re.sub(r"^# -+ kernels -+\n+", "", block, flags=re.M))
        seen.add(table)
    return "".join(out)


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    """The text cut before each table's header: name of the outermost table ("" for the top), its lines."""
    table, lines, inside = "", [], ""
    for line in text.splitlines(keepends=True):
        if not inside and (header := _HEADER.match(line)):
            yield table, "".join(lines)
            table, lines = header[1].partition(".")[0], []
        lines.append(line)
        for quotes in ('"""', "'''"):
            if inside in ("", quotes) and line.count(quotes) % 2:
                inside = "" if inside else quotes
    yield table, "".join(lines)


def _trailing_comment(block: str) -> str:
    """What stands at the end of a block after its keys: it belongs to the block that follows."""
    lines = block.splitlines(keepends=True)
    last = max((at for at, line in enumerate(lines) if line.strip() and not line.startswith("#")), default=-1)
    return "".join(lines[last + 1 :]).lstrip("\n")


def _edit_key(block: str, key: str, edit: Callable[[str], str]) -> str:
    """A block with the lines of one key's value edited; as it is where the key is not there."""
    lines = block.splitlines(keepends=True)
    for at, line in enumerate(lines):
        if not re.match(rf"{re.escape(key)}\s*=", line):
            continue
        for end in range(at + 1, len(lines) + 1):
            try:
                tomllib.loads("".join(lines[at:end]))
            except tomllib.TOMLDecodeError:
                continue
            return "".join([*lines[:at], edit("".join(lines[at:end])), *lines[end:]])
    return block


def _commented(block: str, key: str) -> str:
    return _edit_key(block, key, lambda value: "".join(f"# {line}" for line in value.splitlines(keepends=True)))


def _set_key(text: str, key: str, value: str, *, where: str) -> str:
    """The text with one key of the table ``where`` ("" for the top) set anew, if it is there."""
    return "".join(
        _edit_key(block, key, lambda _: f"{key} = {value}\n") if table == where else block
        for table, block in _blocks(text)
    )


def _id(name: str) -> str:
    """A name as a study may use it: lower case, no other characters than letters, digits, ``.``, ``_``, ``-``."""
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip(".-_")[:64] or "study"
