"""Texts of a guest in the page: cut to what fits, the rest is in the run's folder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.observation import Cell
from pipeline.report.words import clean, cut

LOG_LINES, LOG_CHARS = 120, 8_000
TRACE_LINES, TRACE_CHARS = 60, 8_000
#: Of a trace that shows what a claim rests on: its beginning, where the call is.
EXCERPT_LINES, EXCERPT_CHARS = 40, 5_000

#: Reads the beginning of a file of the run, named relative to the page; "" where it is not there.
Reader = Callable[[str], str]


@dataclass(frozen=True)
class Log:
    """A text of the guest. ``left``: lines that were left off, ``end``: at which end, "before" or "behind" it."""

    name: str
    text: str
    left: int
    end: str = "before"


def logs_of(cell: Cell) -> tuple[Log, ...]:
    """What is kept of a cell's texts in the run itself, the end of each."""
    texts = (
        ("KTAP", cell.ktap, LOG_LINES, LOG_CHARS),
        ("Console", cell.console, LOG_LINES, LOG_CHARS),
        ("Trace, its end", cell.trace, TRACE_LINES, TRACE_CHARS),
    )
    return tuple(Log(name, *cut(text, lines=lines, chars=chars)) for name, text, lines, chars in texts if text.strip())


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
