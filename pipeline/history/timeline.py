"""Verdicts over time: one line for each claim or invariant on each kernel of a study."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.history.index import Entry, Point
from pipeline.judge.model import Verdict
from pipeline.report.words import MARK

#: Runs whose marks a table shows, the newest last.
SHOWN = 24


@dataclass(frozen=True)
class Line:
    """One claim or invariant (``of``, "" for the kernel as a whole) on one kernel; ``points``: the oldest first."""

    study: str
    kernel: str
    of: str
    points: tuple[Point, ...]

    @property
    def now(self) -> Point:
        return self.points[-1]

    @property
    def changes(self) -> tuple[Point, ...]:
        """The first run of each verdict that differs from the one before."""
        pairs = zip(self.points, self.points[1:], strict=False)
        return tuple(after for before, after in pairs if before.verdict != after.verdict)

    @property
    def first_changed(self) -> Point | None:
        """The first run whose verdict is another than that of the very first."""
        return self.changes[0] if self.changes else None

    @property
    def since(self) -> Point:
        """The first run that has had today's verdict without a break."""
        return self.changes[-1] if self.changes else self.points[0]

    @property
    def before(self) -> Verdict | None:
        """The verdict that today's replaced, None where there was no other."""
        return self.points[self.points.index(self.since) - 1].verdict if self.changes else None

    def marks(self, runs: Sequence[Entry]) -> str:
        """One sign a run, a blank where the run does not have it."""
        verdicts = {point.run.key: point.verdict for point in self.points}
        return "".join(MARK[verdicts[run.key]] if run.key in verdicts else " " for run in runs)


def lines(points: Iterable[Point]) -> list[Line]:
    """The lines of some points, in the order of the first run that has them; each kernel starts with itself."""
    found: dict[tuple[str, str, str], list[Point]] = {}
    for point in points:
        found.setdefault((point.run.study, point.kernel, point.of), []).append(point)
    made = [Line(*key, tuple(some)) for key, some in found.items()]
    first = {key: at for at, key in enumerate(found)}
    kernels = {(line.study, line.kernel): at for at, line in reversed(list(enumerate(made)))}
    return sorted(
        made,
        key=lambda line: (kernels[line.study, line.kernel], line.of != "", first[line.study, line.kernel, line.of]),
    )


def runs_of(some: Iterable[Line]) -> list[Entry]:
    """The runs that have a point in any of the lines, the oldest first."""
    found = {point.run.key: point.run for line in some for point in line.points}
    return sorted(found.values(), key=lambda run: (run.started, run.id))


def telling(some: Iterable[Line]) -> list[Line]:
    """The kernels as a whole, and whatever changed or is not PASS now."""
    return [line for line in some if not line.of or line.changes or line.now.verdict != Verdict.PASS]


def rows(some: Sequence[Line]) -> list[list[str]]:
    """For a table: study, kernel, claim, marks of the newest runs of its study, verdict now, since when, and before."""
    studies = {line.study for line in some}
    runs = {study: runs_of(line for line in some if line.study == study)[-SHOWN:] for study in studies}
    return [
        [
            line.study,
            line.kernel,
            line.of or "(the kernel)",
            line.marks(runs[line.study]),
            str(line.now.verdict),
            f"{line.since.run.started[:10]} {line.since.run.id}",
            str(line.before or ""),
        ]
        for line in some
    ]


def as_dict(some: Iterable[Line]) -> list[dict[str, object]]:
    """JSON-ready: one object a line, with all of its points."""
    return [
        {
            "study": line.study,
            "kernel": line.kernel,
            "of": line.of,
            "kind": line.now.kind,
            "verdict": line.now.verdict,
            "since": line.since.run.id,
            "before": line.before,
            "first_changed": line.first_changed.run.id if line.first_changed else None,
            "points": [
                {
                    "run": point.run.id,
                    "folder": str(point.run.folder),
                    "started": point.run.started,
                    "kpv": point.run.kpv,
                    "narrowed": point.run.narrowed,
                    "verdict": point.verdict,
                    "reason": point.reason,
                    "cells": point.cells,
                }
                for point in line.points
            ],
        }
        for line in some
    ]
