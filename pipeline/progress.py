"""What the events of a run add up to, as text: running stages, cells by outcome, and the words for each event.

Pure functions and counters; pipeline.ui puts them on a terminal or into a log.
"""

import re
from collections import Counter
from dataclasses import dataclass

from pipeline.events import (
    CellFinished,
    Event,
    Finding,
    MutantFinished,
    Note,
    StageFinished,
    StageProgress,
    StageStarted,
)

#: A remaining time is told only after this many seconds and this fraction: earlier ones are guesses.
ESTIMATE_SECONDS, ESTIMATE_FRACTION = 3.0, 0.02
#: Lines of an error's detail that are shown: from the start, and from the end.
DETAIL_HEAD, DETAIL_TAIL = 10, 20
#: Characters of one line of detail or of a stage's last words.
LINE_LENGTH = 300


@dataclass(kw_only=True)
class Stage:
    """One running stage. Times are seconds since the epoch, as in the events."""

    stage: str
    subject: str
    started: float
    done: int = 0
    total: int = 0
    line: str = ""
    told: float = float("-inf")

    @property
    def name(self) -> str:
        return f"{self.stage} {self.subject}"

    def remaining(self, now: float) -> float | None:
        """Seconds left if the rest goes as fast as what is done, or None where that cannot be said yet."""
        elapsed = now - self.started
        if not self.total or elapsed < ESTIMATE_SECONDS or self.done < self.total * ESTIMATE_FRACTION:
            return None
        return elapsed * max(self.total - self.done, 0) / self.done


class Board:
    """The state that the events add up to: running stages and cells by outcome."""

    def __init__(self) -> None:
        self.stages: dict[tuple[str, str], Stage] = {}
        self.cells: Counter[str] = Counter()

    def take(self, event: Event) -> Stage | None:
        """Note an event; returns the stage it is about, which a StageFinished has just removed."""
        match event:
            case StageStarted():
                stage = Stage(stage=event.stage, subject=event.subject, started=event.at)
                self.stages[event.stage, event.subject] = stage
                return stage
            case StageProgress():
                new = Stage(stage=event.stage, subject=event.subject, started=event.at)
                stage = self.stages.setdefault((event.stage, event.subject), new)
                stage.done, stage.total = event.done, event.total
                stage.line = one_line(event.line) or stage.line
                return stage
            case StageFinished():
                return self.stages.pop((event.stage, event.subject), None)
            case CellFinished():
                self.cells[event.outcome] += 1
        return None

    def cell_counts(self) -> str:
        """``12 cells: 11 passed, 1 failed``; empty before the first."""
        if not self.cells:
            return ""
        counts = ", ".join(f"{count} {outcome}" for outcome, count in self.cells.most_common())
        total = self.cells.total()
        return f"{total} cell{'s' if total != 1 else ''}: {counts}"


def permanent_line(event: Event) -> str:
    """The line that stays on the screen or in the log for an event; ``""`` for progress, which does not stay."""
    match event:
        case StageStarted(why=why):
            return f"{event.stage} {event.subject}: {one_line(why)}" if why else f"{event.stage} {event.subject}"
        case StageFinished(ok=False):
            return f"{event.stage} {event.subject}: FAILED after {clock(event.seconds)}"
        case StageFinished(cached=True):
            return f"{event.stage} {event.subject}: up to date"
        case StageFinished():
            return f"{event.stage} {event.subject}: done in {clock(event.seconds)}"
        case CellFinished():
            cell = f"{event.kernel}/{event.machine}/{event.scenario}.{event.variant}"
            return f"{cell}: {event.outcome}{' (recorded before)' if event.cached else ''}"
        case MutantFinished():
            how = " (recorded before)" if event.cached else f" in {clock(event.seconds)}"
            return one_line(f"mutant {event.mutant} ({event.kind}){how}: {event.text}")
        case Finding():
            return f"finding: {one_line(event.subject)}: {one_line(event.what)}"
        case Note():
            return one_line(event.text)
    return ""


def fraction(stage: Stage) -> str:
    """``12/40 (30 %)``, ``12`` where the total is not known, ``""`` before anything is done."""
    if stage.total:
        return f"{stage.done}/{stage.total} ({100 * stage.done // stage.total} %)"
    return str(stage.done) if stage.done else ""


def left(stage: Stage, now: float) -> str:
    """``about 1:20 left``, or ``""`` where that is not known, or nothing is."""
    seconds = stage.remaining(now)
    return f"about {clock(seconds)} left" if seconds else ""


def clock(seconds: float) -> str:
    """``0.4 s`` below ten seconds, else minutes and seconds, ``12:05``; hours in front from one hour."""
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def one_line(text: str) -> str:
    """``text`` on one line without control characters: guests and compilers may print anything."""
    return _shortened(" ".join(_printable(text).split()))


def bounded(detail: str) -> list[str]:
    """The lines of ``detail``, the middle left out where it is long, each cut to LINE_LENGTH."""
    lines = [_shortened(_printable(line)).rstrip() for line in detail.expandtabs().splitlines()]
    if len(lines) <= DETAIL_HEAD + DETAIL_TAIL + 1:
        return lines
    out = len(lines) - DETAIL_HEAD - DETAIL_TAIL
    return [*lines[:DETAIL_HEAD], f"... ({out} lines left out) ...", *lines[-DETAIL_TAIL:]]


def _printable(text: str) -> str:
    text = re.sub(r"\x1b\[[0-9;?]*[ -/]*[@-~]", "", text)
    return "".join(char if char.isprintable() else " " for char in text)


def _shortened(line: str) -> str:
    return line if len(line) <= LINE_LENGTH else line[: LINE_LENGTH - 3] + "..."
