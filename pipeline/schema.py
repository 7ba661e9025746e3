"""What study files, scenario files and machine profiles share: typed tables, mistakes told by file and line."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Id = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=64)]


class Table(BaseModel):
    """A table of a file that people write. The text under a field is what docs/study-reference.md says of it."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Misplaced(ValueError):
    """What is wrong with the key ``at`` of a file, found by a validator of the whole: told with that key's line."""

    def __init__(self, at: tuple[str | int, ...], what: str) -> None:
        super().__init__(what)
        self.at = at


def problems(path: Path, text: str, err: ValidationError, *, whole: str) -> list[str]:
    """Each mistake in a TOML file as ``file:line: key: what is wrong``; ``whole`` names a mistake of no one key."""
    lines = []
    for problem in err.errors():
        cause = problem.get("ctx", {}).get("error")
        found_at = cause.at if isinstance(cause, Misplaced) else problem["loc"]
        loc = tuple(part for part in found_at if isinstance(part, (str, int)))
        where = ".".join(str(part) for part in loc) or whole
        message = {"extra_forbidden": "unknown key", "missing": "required key is missing"}.get(
            problem["type"], problem["msg"].removeprefix("Value error, ")
        )
        found = problem.get("input")
        shown = f", found {found!r}" if isinstance(found, (str, int, float, bool)) else ""
        lines.append(f"{path}:{line_of(text, loc)}: {where}: {message}{shown}")
    return lines


def first_of(lines: list[str]) -> str:
    """The first of some mistakes, and how many more there are."""
    return lines[0] + (f" (and {len(lines) - 1} more)" if len(lines) > 1 else "")


def line_of(text: str, loc: tuple[str | int, ...]) -> int:
    """The 1-based line of a key path such as ``("kernel", 1, "role")``.

    Follows ``[table]`` and ``[[array]]`` headers; where the key is missing, the
    line of the table that should hold it; 1 where nothing matches.
    """
    current: tuple[str | int, ...] = ()
    counts: dict[str, int] = {}
    best, best_len = 1, 0
    for number, line in enumerate(text.splitlines(), 1):
        if array := re.match(r"\s*\[\[\s*([\w.-]+)\s*\]\]", line):
            name = array[1]
            counts[name] = counts.get(name, -1) + 1
            counts = {other: count for other, count in counts.items() if not other.startswith(f"{name}.")}
            current = (*_indexed(name, counts), counts[name])
        elif table := re.match(r"\s*\[\s*([\w.-]+)\s*\]", line):
            current = _indexed(table[1], counts, last=True)
        elif key := re.match(r"\s*([\w-]+(?:\.[\w-]+)*)\s*=", line):
            candidate = (*current, *key[1].split("."))
            if candidate == loc[: len(candidate)] and len(candidate) > best_len:
                best, best_len = number, len(candidate)
            continue
        else:
            continue
        if current == loc[: len(current)] and len(current) > best_len:
            best, best_len = number, len(current)
    return best


def _indexed(name: str, counts: dict[str, int], *, last: bool = False) -> tuple[str | int, ...]:
    parts: list[str | int] = []
    pieces = name.split(".")
    for at, piece in enumerate(pieces):
        parts.append(piece)
        prefix = ".".join(pieces[: at + 1])
        if prefix in counts and (last or at < len(pieces) - 1):
            parts.append(counts[prefix])
    return tuple(parts)
