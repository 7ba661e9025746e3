"""Mutants: patches that say of themselves whether they seed a bug or are a legal variant."""

import fnmatch
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from pipeline.errors import UserError

Kind = Literal["bug", "legal"]

#: Where the header ends and the diff, or its statistics, begin.
_DIFF = re.compile(r"^(---|diff --git |Index: )")
_FIELD = re.compile(r"^([A-Za-z][A-Za-z-]*):\s*(.*)$")
#: The field that says what a mutant does, for a person.
_ABOUT = "breaks"
#: The field that says what it takes to tell it, and its word for the TLB model.
_NEEDS = "needs"
TLB_MODEL = "tlb-model"


class MutantError(UserError):
    """A mutant's header cannot be used; the message starts with file:line, or the file."""


@dataclass(frozen=True)
class Mutant:
    """One patch. ``name``: its path below the mutants' folder, without ``.patch``.

    ``title``: the subject without its tag. ``about``: what it breaks, or why it is legal; "" where
    the patch does not say. ``needs``: words of its ``Needs:`` line, what alone may tell it.
    """

    path: Path
    name: str
    kind: Kind
    title: str
    about: str = ""
    needs: frozenset[str] = frozenset()

    @property
    def needs_model(self) -> bool:
        """Whether it is for the machines with a model of their TLBs."""
        return TLB_MODEL in self.needs


def load_all(folder: Path, *, only: str = "") -> tuple[Mutant, ...]:
    """Every ``*.patch`` below a folder, by name; with ``only`` those whose name, or its last part, matches the glob.

    Raises MutantError for a folder without a matching patch, and for the first header that does
    not say ``Mutant: bug`` or ``Mutant: legal``.
    """
    if not folder.is_dir():
        raise MutantError(f"{folder}: no such folder of mutants", hint="name a folder that holds *.patch files")
    paths = sorted(folder.rglob("*.patch"))
    if not paths:
        raise MutantError(f"{folder}: holds no *.patch", hint="a mutant is a patch with a line `Mutant: bug`")
    chosen = [path for path in paths if not only or _matches(path.relative_to(folder), only)]
    if not chosen:
        raise MutantError(
            f"{folder}: no mutant matches {only!r}",
            hint=f"there are {len(paths)}, e.g. {', '.join(_name(folder, path) for path in paths[:3])}",
        )
    mutants, errors = [], []
    for path in chosen:
        try:
            mutants.append(read(path, name=_name(folder, path)))
        except MutantError as err:
            errors.append(err)
    if errors:
        first, more = errors[0], len(errors) - 1
        raise MutantError(
            first.message + (f" (and {more} more)" if more else ""),
            hint=first.hint,
            detail="\n".join(err.message for err in errors[1:]),
        )
    return tuple(mutants)


def read(path: Path, *, name: str) -> Mutant:
    """Read one patch's header: the lines before the diff. Raises MutantError."""
    try:
        text = path.read_bytes().decode("utf-8", "replace")
    except OSError as err:
        raise MutantError(f"{path}: cannot read the mutant: {err.strerror}", hint="check the file") from err
    fields = list(_fields(text))
    kinds = [(line, value) for line, field, value in fields if field == "mutant"]
    if not kinds:
        raise MutantError(
            f'{path}: expected a line "Mutant: bug" or "Mutant: legal" before the diff, found none',
            hint="add it below the patch's Subject",
        )
    for line, value in kinds:
        if value.lower() not in get_args(Kind) or value.lower() != kinds[0][1].lower():
            expected = 'expected "Mutant: bug" or "Mutant: legal"' + (", once" if len(kinds) > 1 else "")
            raise MutantError(f'{path}:{line}: {expected}, found "Mutant: {value}"', hint="correct that line")
    subject = next((value for _, field, value in fields if field == "subject"), "")
    about = next((value for _, field, value in fields if field == _ABOUT and value), "")
    return Mutant(
        path=path,
        name=name,
        kind="bug" if kinds[0][1].lower() == "bug" else "legal",
        title=re.sub(r"^(\[[^\]]*\]\s*)+", "", subject) or path.stem,
        about=about or _first_paragraph(text),
        needs=frozenset(word for _, field, value in fields if field == _NEEDS for word in re.split(r"[\s,]+", value)),
    )


def _name(folder: Path, path: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def _matches(path: Path, glob: str) -> bool:
    names = (path.as_posix(), path.with_suffix("").as_posix(), path.name, path.stem)
    return any(fnmatch.fnmatchcase(name, glob) for name in names)


def _fields(text: str) -> Iterator[tuple[int, str, str]]:
    """(line number, name in lower case, value) of what looks like a header's field, anywhere before the diff.

    A value goes on in lines that begin with a blank (RFC 5322, 2.2.3), and below the
    header until an empty line.
    """
    lines = _before_the_diff(text)
    in_mail_header = True
    for at, line in enumerate(lines):
        in_mail_header = in_mail_header and bool(line.strip())
        if not (match := _FIELD.match(line)):
            continue
        value = [match[2]]
        for following in lines[at + 1 :]:
            if not following.strip() or (_FIELD.match(following) and not following[0].isspace()):
                break
            if in_mail_header and not following[0].isspace():
                break
            value.append(following.strip())
        yield at + 1, match[1].lower(), " ".join(value).strip()


def _first_paragraph(text: str) -> str:
    """The first lines of the message below the mail's header that are no field."""
    body = "\n".join(_before_the_diff(text)).partition("\n\n")[2]
    paragraphs = (part for part in re.split(r"\n\s*\n", body) if part.strip())
    return next((" ".join(part.split()) for part in paragraphs if not _FIELD.match(part.strip())), "")


def _before_the_diff(text: str) -> list[str]:
    lines = text.replace("\r\n", "\n").split("\n")
    end = next((at for at, line in enumerate(lines) if _DIFF.match(line)), len(lines))
    return lines[:end]
