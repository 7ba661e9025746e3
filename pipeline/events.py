"""Typed events: what the stages say while they work.

Stages call an ``Emit``; the terminal, the JSON log and the tests consume the
events. Nothing else prints.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Event:
    """``at``: seconds since the epoch at which the event was made."""

    at: float = field(default_factory=time.time)

    def as_dict(self) -> dict[str, object]:
        """A JSON-ready object whose ``event`` is the class name."""
        return {"event": type(self).__name__, **dataclasses.asdict(self)}


@dataclass(frozen=True, kw_only=True)
class StageStarted(Event):
    """A stage (``source``, ``patch``, ``configure``, ``build``, ``rootfs``, ``boot``,
    ``exercise``, ``judge``, ``report``) began on a subject, e.g. kernel ``v2``."""

    stage: str
    subject: str
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class StageProgress(Event):
    """``done`` of ``total`` units; ``total`` is 0 where it is not known yet."""

    stage: str
    subject: str
    done: int
    total: int
    line: str = ""


@dataclass(frozen=True, kw_only=True)
class StageFinished(Event):
    """``cached``: the stage found its result in the store and made nothing."""

    stage: str
    subject: str
    seconds: float
    cached: bool = False
    ok: bool = True


@dataclass(frozen=True, kw_only=True)
class CellFinished(Event):
    """One kernel x machine x scenario x variant has its observation."""

    kernel: str
    machine: str
    scenario: str
    variant: str
    outcome: str
    seconds: float
    cached: bool = False


@dataclass(frozen=True, kw_only=True)
class MutantFinished(Event):
    """A mutant was scored. ``text``: its outcome and what it rests on; ``seconds``: from patch to verdict."""

    mutant: str
    kind: str
    outcome: str
    text: str
    seconds: float
    cached: bool = False


@dataclass(frozen=True, kw_only=True)
class Finding(Event):
    """Something seen that a verdict will rest on: an oops, a failed check."""

    subject: str
    what: str


@dataclass(frozen=True, kw_only=True)
class Note(Event):
    """A line for a person; no consumer decides anything on it."""

    text: str


Emit = Callable[[Event], None]


def discard(event: Event) -> None:
    """An ``Emit`` for callers that listen to nothing."""


@contextmanager
def stage(emit: Emit, name: str, subject: str) -> Iterator[None]:
    """A stage without progress of its own: told when it starts, and when it ends; one that Ctrl-C ends does not."""
    began = time.monotonic()

    def end(*, ok: bool) -> None:
        emit(StageFinished(stage=name, subject=subject, seconds=time.monotonic() - began, ok=ok))

    emit(StageStarted(stage=name, subject=subject))
    try:
        yield
    except Exception:
        end(ok=False)
        raise
    end(ok=True)
