"""What a run of a mutant shows: by the study's own judge, held against the kernel that the mutant changes.

A kill is certain where the judge says FAIL for the mutant's kernel, and PASS at the same place for
the kernel without the mutant: what fails there too, or is a known finding, kills nothing, and what
was not decided on either side is told as open.

A broken structure claim is a cost, not a defect. It kills a bug that nothing else catches, and the
kill is told as one of structure; a legal variant that breaks nothing but structure claims is accepted.
"""

from collections.abc import Iterable
from enum import StrEnum

from pipeline.judge import claims, invariants
from pipeline.judge.evidence import Evidence, Spot
from pipeline.judge.model import BuildFact, Decision, Kind, Noun, Row, Verdict, worst
from pipeline.mutate import mutant
from pipeline.observation import Boot, Cell
from pipeline.study import Kernel, Scenario, Study, matches


class Outcome(StrEnum):
    """What became of a mutant; the first three of a bug or a legal variant, the rest of either."""

    KILLED = "killed"  # a bug: something fails that holds without it
    SURVIVED = "survived"  # a bug: every check was decided, and nothing fails
    ACCEPTED = "accepted"  # a legal variant: every check was decided, and none but of structure fails
    REJECTED = "rejected"  # a legal variant: something fails that is no cost
    INCONCLUSIVE = "inconclusive"  # nothing fails, but something could not be decided
    NOT_BUILT = "not-built"
    NOT_APPLIED = "not-applied"


#: Outcomes that are as they should be.
GOOD = frozenset({Outcome.KILLED, Outcome.ACCEPTED})
#: Outcomes that show a hole in the suite, or a check that is too strict.
BAD = frozenset({Outcome.SURVIVED, Outcome.REJECTED})


class Finding(Noun):
    """A check decided against a mutant, or left open, at one place.

    ``check``: id of a claim, an invariant or a built-in invariant. ``cell``: ``<scenario>.<variant>``,
    "" where it is about the whole boot. ``properties``: what the scenario is there to decide.
    """

    check: str
    kind: Kind
    machine: str
    cell: str = ""
    message: str = ""
    properties: tuple[str, ...] = ()


class Score(Noun):
    """``kills``: certain ones. ``structure``: structure claims that break for certain. ``open``: what the
    mutant's kernel leaves undecided although it is decided on the kernel under test."""

    kills: tuple[Finding, ...] = ()
    structure: tuple[Finding, ...] = ()
    open: tuple[Finding, ...] = ()

    def outcome(self, kind: mutant.Kind) -> Outcome:
        """What this makes of a bug or of a legal variant."""
        if kind == "bug" and (self.kills or self.structure):
            return Outcome.KILLED
        if self.kills:
            return Outcome.REJECTED
        # A cost that could not be counted keeps nobody from accepting a legal variant.
        if any(kind == "bug" or finding.kind != "structure" for finding in self.open):
            return Outcome.INCONCLUSIVE
        return Outcome.SURVIVED if kind == "bug" else Outcome.ACCEPTED


class Reference:
    """The kernel under test as it was observed: what mutants are held against."""

    def __init__(self, study: Study, name: str, cells: Iterable[Cell], boots: Iterable[Boot]) -> None:
        self.study, self.name = study, name
        self.cells = {(cell.machine, cell.job): cell for cell in cells}
        self.boots = {boot.id: boot for boot in boots}
        alone = study_of(study, name, "none")
        alone = alone.model_copy(update={"kernel": alone.kernel[:1]})
        evidence = Evidence(alone, self.cells.values(), self.boots.values(), {name: BuildFact(ok=True)})
        self.decisions = _decide(evidence, alone.kernel[0])
        self._rows = _rows(self.decisions)

    def verdict(self, check: str, place: str) -> Verdict:
        """What it says of a check at a place: ``/<machine>/<cell>``, ``/<machine>``, or "".

        A check that no cell of it lists has no row there: then it held if the cell went by undisturbed,
        and what is about a whole boot if that one booted.
        """
        if (check, place) in self._rows:
            return self._rows[check, place]
        whole_boot = place.count("/") < 2
        return self._rows.get(("boots" if whole_boot else "completes", place), Verdict.INCONCLUSIVE)


class Trial:
    """Judges the cells of one mutant against those of the kernel that it changes."""

    def __init__(self, reference: Reference, name: str) -> None:
        self.study = study_of(reference.study, reference.name, name)
        self._reference = reference
        self._mutant = self.study.kernel[-1]
        self._scenarios = {f"{s.id}.{v}": s for s in self.study.scenario for v in s.variants}

    def score(self, cells: Iterable[Cell], boots: Iterable[Boot], *, whole: bool = True) -> Score:
        """The score of a run; ``whole``: every cell was asked for, so what is missing is left open."""
        there = self._reference
        return self._score(self.study, [*there.cells.values(), *cells], [*there.boots.values(), *boots], whole=whole)

    def kills(self, cell: Cell, boot: Boot) -> tuple[Finding, ...]:
        """The certain kills that one cell shows, while its boot still runs; structure claims left out."""
        there = self._reference.cells.get((cell.machine, cell.job))
        if there is None or cell.job not in self._scenarios:
            return ()
        study = _narrowed(self.study, self._scenarios[cell.job], cell)
        known = self._reference.boots.get(there.boot)
        return self._score(study, [there, cell], [boot, *([known] if known else [])], whole=False).kills

    def _score(self, study: Study, cells: list[Cell], boots: list[Boot], *, whole: bool) -> Score:
        evidence = Evidence(study, cells, boots, {kernel.id: BuildFact(ok=True) for kernel in study.kernel})
        kills, structure, left_open = [], [], []
        for decision in _decide(evidence, self._mutant):
            for row in decision.rows:
                if row.verdict not in (Verdict.FAIL, Verdict.INCONCLUSIVE):
                    continue
                place = row.cell.removeprefix(self._mutant.id)
                finding = self._finding(decision, row, place)
                without = self._reference.verdict(decision.id, place)
                # The judge has excused what an invariant shows there as well; of a claim it knows nothing.
                excused = decision.kind not in ("built-in", "invariant") and without == Verdict.FAIL
                if row.verdict == Verdict.FAIL and without == Verdict.INCONCLUSIVE:
                    why = f"{finding.message}; undecided on {self._reference.name}"
                    left_open.append(finding.model_copy(update={"message": why}))
                elif row.verdict == Verdict.FAIL and not excused:
                    (structure if decision.kind == "structure" else kills).append(finding)
                elif (
                    row.verdict == Verdict.INCONCLUSIVE
                    and without == Verdict.PASS
                    and (whole or evidence.at(Spot(self._mutant.id, finding.machine, finding.cell)))
                ):
                    left_open.append(finding)
        return Score(kills=tuple(kills), structure=tuple(structure), open=tuple(_once(left_open)))

    def _finding(self, decision: Decision, row: Row, place: str) -> Finding:
        _, machine, cell = (*place.split("/", 2), "", "")[:3]
        scenario = self._scenarios.get(cell)
        return Finding(
            check=decision.id,
            kind=decision.kind,
            machine=machine,
            cell=cell,
            message=row.reason or row.text,
            properties=scenario.properties if scenario else (),
        )


def study_of(study: Study, reference: str, name: str) -> Study:
    """The study with two kernels: the one under test, in the baseline's place, and the mutant's.

    The study's own baseline is left out, and with it whether a claim discriminates: that says
    nothing of a mutant. A known finding of the kernel under test is one of the mutant's too.
    """
    known = [
        entry.model_copy(update={"kernels": (reference, name)})
        for entry in study.known
        if any(matches(reference, glob) for glob in entry.kernels)
    ]
    return study.model_copy(
        update={
            "kernel": (Kernel(id=reference, role="baseline"), Kernel(id=name)),
            "claim": tuple(claim.model_copy(update={"baseline": ""}) for claim in study.claim),
            "known": tuple(known),
        }
    )


def _narrowed(study: Study, scenario: Scenario, cell: Cell) -> Study:
    """The study as if it had this one cell."""
    return study.model_copy(
        update={
            "machines": (cell.machine,),
            "scenario": (scenario.model_copy(update={"variants": (cell.variant,), "machines": ()}),),
            "claim": tuple(
                claim
                for claim in study.claim
                if any(matches(cell.job, glob) for glob in claim.scenarios)
                and (not claim.machines or cell.machine in claim.machines)
            ),
        }
    )


def _once(found: Iterable[Finding]) -> Iterable[Finding]:
    """Of findings that say the same of one cell the first: what hinders a cell hinders all of its checks.

    A cost stands for costs only.
    """
    first: dict[tuple[str, str, str, bool], Finding] = {}
    for each in found:
        first.setdefault((each.machine, each.cell, each.message, each.kind == "structure"), each)
    return first.values()


def _decide(evidence: Evidence, kernel: Kernel) -> list[Decision]:
    return [*invariants.decide(evidence, kernel), *claims.decide(evidence, kernel)]


def _rows(decisions: Iterable[Decision]) -> dict[tuple[str, str], Verdict]:
    """Verdict by check and place; of repeats the worse."""
    found: dict[tuple[str, str], list[Verdict]] = {}
    for decision in decisions:
        for row in decision.rows:
            _, slash, place = row.cell.partition("/")
            found.setdefault((decision.id, slash + place), []).append(row.verdict)
    return {at: worst(verdicts) for at, verdicts in found.items()}
