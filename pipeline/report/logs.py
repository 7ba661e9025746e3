"""Texts of a guest in the page: cut to what fits, the rest is in the run's folder."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.observation import Cell
from pipeline.report.words import clean, cut

LOG_LINES, LOG_CHARS = 120, 8_000
TRACE_LINES, TRACE_CHARS = 60, 8_000
#: Lines of the console that lead to a finding.
BEFORE_FINDING = 30
#: Of a trace that shows what a claim rests on: its beginning, where the call is.
EXCERPT_LINES, EXCERPT_CHARS = 40, 5_000

_STAMP = re.compile(r"^\[ *\d+\.\d+\]")

#: Reads the beginning of a file of the run, named relative to the page; "" where it is not there.
Reader = Callable[[str], str]


@dataclass(frozen=True)
class Log:
    """A text of the guest. ``left``: lines that were left off, ``end``: where, "before", "behind" or "around" it."""

    name: str
    text: str
    left: int
    end: str = "before"


def logs_of(cell: Cell) -> tuple[Log, ...]:
    """What is kept of a cell's texts in the run itself: of the console what is around its first finding, of each
    other text the end."""
    texts = (
        ("KTAP, its records left out", _without_records(cell.ktap), LOG_LINES, LOG_CHARS),
        ("Console", cell.console, LOG_LINES, LOG_CHARS),
        ("Trace, its end", cell.trace, TRACE_LINES, TRACE_CHARS),
    )
    logs = [Log(name, *cut(text, lines=lines, chars=chars)) for name, text, lines, chars in texts if text.strip()]
    around = _around(clean(cell.console), cell.console_findings)
    return tuple(around if log.name == "Console" and around is not None else log for log in logs)


def _without_records(ktap: str) -> str:
    """What a test printed for people: its records (``# kpv {...}``) are what the rest of the page is made of."""
    return "".join(one for one in ktap.splitlines(keepends=True) if not one.startswith("# kpv {"))


def _around(console: str, findings: Sequence[str]) -> Log | None:
    """The console from BEFORE_FINDING lines before the first finding on; None where it is not in it, or all fits."""
    lines = console.rstrip("\n").split("\n")
    told = [clean(finding).strip() for finding in findings]
    # A finding ends with the line that tells it, less its time stamp (pipeline.guest.console).
    bare = [_STAMP.sub("", one).strip() for one in lines]
    at = next((i for i, one in enumerate(bare) if one and any(finding.endswith(one) for finding in told)), None)
    if at is None or len(lines) <= LOG_LINES:
        return None
    first = max(0, at - BEFORE_FINDING)
    kept = lines[first : first + LOG_LINES]
    while len(kept) > BEFORE_FINDING and sum(map(len, kept)) + len(kept) > LOG_CHARS:
        kept = kept[:-1]
    text = "\n".join(kept)[:LOG_CHARS]
    return Log("Console around the finding", text, len(lines) - len(kept), "around")


def excerpt(cell: Cell, files: Sequence[str], read: Reader) -> Log | None:
    """The beginning of a cell's trace, from the run or from its file; None where there is none."""
    path = next((path for path in files if path.endswith("trace.txt")), "")
    text = clean(cell.trace or (read(path) if path else "")).rstrip("\n")
    if not text:
        return None
    every = text.split("\n")
    kept = every[:EXCERPT_LINES]
    while len(kept) > 1 and sum(map(len, kept)) + len(kept) > EXCERPT_CHARS:
        kept = kept[:-1]
    return Log(f"Trace on {cell.kernel}", "\n".join(kept)[:EXCERPT_CHARS], len(every) - len(kept), "behind")


def nothing(_: str) -> str:
    """The reader of a run without a folder."""
    return ""
