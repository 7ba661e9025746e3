"""What the judge returns: nouns only, frozen, JSON-ready, in a fixed order."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict


class Noun(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Verdict(StrEnum):
    """KNOWN: it does not hold, and that is understood: a known finding, or there before the series."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    KNOWN = "KNOWN"


#: The worse wins where verdicts are mixed. INCONCLUSIVE outranks KNOWN: what was not seen may still be a failure.
PRECEDENCE = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.KNOWN, Verdict.PASS)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict of a whole; INCONCLUSIVE of nothing, since PASS needs a positive observation."""
    seen = set(verdicts)
    return next((verdict for verdict in PRECEDENCE if verdict in seen), Verdict.INCONCLUSIVE)


class BuildFact(Noun):
    """Whether a kernel was built. ``infra``: the surroundings failed (disk, tool), not the source."""

    ok: bool
    failure: str = ""
    infra: bool = False


class Row(Noun):
    """What one cell (or ``kernel/machine``, or ``kernel``) says on one decision.

    ``text``: the observation in short. ``reason``: why the row is not PASS. ``known``: id of the
    study's known finding, or ``pre-existing``.
    """

    cell: str
    verdict: Verdict
    text: str = ""
    reason: str = ""
    expression: str = ""
    values: str = ""
    baseline_cell: str = ""
    baseline_values: str = ""
    known: str = ""


Kind = Literal["built-in", "invariant", "function", "structure"]
Shows = Literal["yes", "no", "undecided"]


class Decision(Noun):
    """One claim or invariant decided on one kernel."""

    id: str
    title: str
    kind: Kind
    verdict: Verdict
    reason: str = ""
    rows: tuple[Row, ...] = ()

    @property
    def evidence(self) -> tuple[tuple[str, str], ...]:
        """(cell, short text) of the rows that made the verdict."""
        return tuple((row.cell, row.reason or row.text) for row in self.rows if row.verdict == self.verdict)

    @property
    def known(self) -> tuple[str, ...]:
        """Ids of the known findings among the rows, without repeats."""
        return tuple(dict.fromkeys(row.known for row in self.rows if row.known))


class Behaviour(Noun):
    """Whether the baseline shows the old behaviour a claim names; decides nothing on the baseline itself."""

    claim: str
    title: str
    shows: Shows
    rows: tuple[Row, ...] = ()


class KernelJudgement(Noun):
    """``difference``: what is not as expected, "" where all is. ``definite``: it rests on a PASS or FAIL,
    not on something INCONCLUSIVE."""

    kernel: str
    title: str = ""
    role: Literal["baseline", "candidate"]
    verdict: Verdict
    expected: Verdict
    expected_failing: tuple[str, ...] = ()
    as_expected: bool
    difference: str = ""
    definite: bool = False
    decisions: tuple[Decision, ...] = ()
    behaviours: tuple[Behaviour, ...] = ()

    def count(self, verdict: Verdict) -> int:
        """How many decisions have this verdict."""
        return sum(decision.verdict == verdict for decision in self.decisions)

    @property
    def failing(self) -> tuple[str, ...]:
        return tuple(decision.id for decision in self.decisions if decision.verdict == Verdict.FAIL)


class KnownNotSeen(Noun):
    """A known finding that did not occur on a kernel it names.

    ``fixed``: every cell it could occur in was observed and held; else it was merely not seen.
    """

    known: str
    kernel: str
    fixed: bool
    reason: str = ""


class Control(Noun):
    """A kernel judged against itself: ``differences`` must be empty, or the claims named there tell nothing."""

    kernel: str
    claims: int
    observations: int
    differences: tuple[str, ...] = ()

    def __str__(self) -> str:
        return (
            f"{self.kernel} against itself: {self.claims} claim{'s' * (self.claims != 1)} on "
            f"{self.observations} observation{'s' * (self.observations != 1)}, "
            f"{len(self.differences)} difference{'s' * (len(self.differences) != 1)}"
        )


class Judgement(Noun):
    """The judgement of a run. ``infra``: what the surroundings spoiled. ``unplanned``: cells that the study
    does not ask for (it changed since), which were not judged."""

    kernels: tuple[KernelJudgement, ...]
    known_not_seen: tuple[KnownNotSeen, ...] = ()
    infra: tuple[str, ...] = ()
    unplanned: tuple[str, ...] = ()
    control: Control | None = None
    exit_code: int

    @property
    def verdict(self) -> str:
        """One line for a person."""
        if self.exit_code == 0:
            return "every kernel is judged as expected"
        odd = [k.kernel for k in self.kernels if not k.as_expected]
        if not odd:
            return "every kernel is judged as expected, but the surroundings spoiled a part of the run"
        return f"not as expected: {', '.join(odd)}"
