"""Claims: what a series says it changes, decided on the same cell of baseline and candidate."""

from dataclasses import dataclass

from pipeline.judge import steps
from pipeline.judge.evidence import Evidence, Spot
from pipeline.judge.expr import Undecided
from pipeline.judge.invariants import excuse, summarize
from pipeline.judge.model import Behaviour, Control, Decision, Row, Shows, Verdict
from pipeline.judge.steps import Reading
from pipeline.observation import Cell
from pipeline.study import Claim, Kernel

NO_DISCRIMINATION = "does not discriminate"


def decide(evidence: Evidence, kernel: Kernel) -> list[Decision]:
    """Each claim of the study on one candidate, in the study's order."""
    return [_decide(evidence, kernel, claim) for claim in evidence.study.claim]


def behaviours(evidence: Evidence, baseline: Kernel) -> list[Behaviour]:
    """Whether the baseline shows the old behaviour, for each claim that says what it is."""
    return [_behaviour(evidence, baseline, claim) for claim in evidence.study.claim if claim.baseline]


def control(evidence: Evidence, kernel: str) -> Control:
    """Judge a kernel against itself: no claim may tell the two apart.

    Each claim that discriminates must read alike on the same kernel: where one and the same
    observation shows the old behaviour and the new, the claim would "find" a change in nothing.
    Repeats of a cell are compared crosswise, so a counter that is not steady shows here too.
    """
    claims = [claim for claim in evidence.study.claim if claim.baseline]
    differences, observations = [], 0
    for claim in claims:
        for spot in evidence.matching(kernel, claim.scenarios, claim.machines):
            cells = [cell for cell in evidence.at(spot) if not evidence.hindrance(cell)]
            observations += len(cells)
            old = [read for cell in cells if (read := steps.read(claim.baseline, claim.step, cell)).truth is True]
            new = [read for cell in cells if (read := steps.read(claim.candidate, claim.step, cell)).truth is True]
            if old and new:
                differences.append(f"{claim.id} on {spot}: old behaviour at {old[0].values}, new at {new[0].values}")
    return Control(kernel=kernel, claims=len(claims), observations=observations, differences=tuple(differences))


def _decide(evidence: Evidence, kernel: Kernel, claim: Claim) -> Decision:
    spots = evidence.matching(kernel.id, claim.scenarios, claim.machines)
    rows = [row for spot in spots for row in _rows(evidence, claim, spot)]
    verdict, reason = summarize(rows)
    return Decision(id=claim.id, title=claim.title, kind=claim.kind, verdict=verdict, reason=reason, rows=tuple(rows))


def _rows(evidence: Evidence, claim: Claim, spot: Spot) -> list[Row]:
    cells = evidence.at(spot)
    if not cells:
        return [_inconclusive(claim, spot, evidence.why_absent(spot))]
    return [_row(evidence, claim, spot, cell) for cell in cells]


def _inconclusive(claim: Claim, spot: Spot, reason: str, **more: str) -> Row:
    return Row(cell=str(spot), verdict=Verdict.INCONCLUSIVE, reason=reason, expression=claim.candidate, **more)


def _row(evidence: Evidence, claim: Claim, spot: Spot, cell: Cell) -> Row:
    if reason := evidence.hindrance(cell):
        return _inconclusive(claim, spot, reason)
    read = steps.read(claim.candidate, claim.step, cell)
    shown = {"expression": claim.candidate, "values": read.values, "text": read.values}
    base = _on_baseline(evidence, claim, spot) if claim.baseline else None
    if base is not None:
        shown |= {"baseline_cell": base.cell, "baseline_values": base.values}
    if read.truth is False:
        reason = f"{claim.candidate}: {read.values}"
        known = excuse(evidence, claim.id, spot)
        if known:
            reason = f"{reason}; known: {known}"
        verdict = Verdict.KNOWN if known else Verdict.FAIL
        return Row(cell=str(spot), verdict=verdict, reason=reason, known=known, **shown)
    if read.truth is not True:
        return Row(cell=str(spot), verdict=Verdict.INCONCLUSIVE, reason=read.why, **shown)
    if base is not None and base.hindrance:
        return Row(cell=str(spot), verdict=Verdict.INCONCLUSIVE, reason=base.hindrance, **shown)
    return Row(cell=str(spot), verdict=Verdict.PASS, **shown)


@dataclass(frozen=True)
class _Base:
    """The baseline's side of a claim; ``hindrance``: why the claim shows nothing, "" if it discriminates."""

    cell: str = ""
    values: str = ""
    hindrance: str = ""


def _on_baseline(evidence: Evidence, claim: Claim, spot: Spot) -> _Base:
    """The baseline must show the old behaviour, and not the new, in every repeat of the same cell."""
    baseline = evidence.study.baseline
    if baseline is None:
        return _Base(hindrance="the study has no baseline kernel" if evidence.study.compare else "")
    there = spot.on(baseline.id)
    cells = evidence.at(there)
    if not cells:
        return _Base(cell=str(there), hindrance=f"no baseline observation: {evidence.why_absent(there)}")
    first = _Base(cell=str(there))
    for cell in cells:
        if reason := evidence.hindrance(cell):
            return _Base(cell=str(there), hindrance=f"no baseline observation: {reason}")
        old, new = steps.read(claim.baseline, claim.step, cell), steps.read(claim.candidate, claim.step, cell)
        values = old.values
        if isinstance(old.truth, Undecided):
            return _Base(str(there), values, f"baseline undecided: {old.why}")
        if old.truth is False:
            return _Base(str(there), values, f"{NO_DISCRIMINATION}: baseline has {values}, not {claim.baseline}")
        if new.truth is True:
            why = f"{NO_DISCRIMINATION}: baseline has {new.values}, which is the new behaviour too"
            return _Base(str(there), values, why)
        first = first if first.values else _Base(cell=str(there), values=values)
    return first


def _behaviour(evidence: Evidence, baseline: Kernel, claim: Claim) -> Behaviour:
    rows = []
    for spot in evidence.matching(baseline.id, claim.scenarios, claim.machines):
        cells = evidence.at(spot)
        if not cells:
            rows.append(_inconclusive(claim, spot, evidence.why_absent(spot)))
        rows += [_behaviour_row(evidence, claim, spot, cell) for cell in cells]
    verdicts = {row.verdict for row in rows}
    shows: Shows = "no" if Verdict.FAIL in verdicts else "yes" if verdicts == {Verdict.PASS} else "undecided"
    return Behaviour(claim=claim.id, title=claim.title, shows=shows, rows=tuple(rows))


def _behaviour_row(evidence: Evidence, claim: Claim, spot: Spot, cell: Cell) -> Row:
    """PASS: shows the old behaviour; FAIL: does not. No part of the baseline's verdict."""
    reason = evidence.hindrance(cell)
    read = Reading(Undecided(reason)) if reason else steps.read(claim.baseline, claim.step, cell)
    verdict = Verdict.INCONCLUSIVE
    if isinstance(read.truth, bool):
        verdict = Verdict.PASS if read.truth else Verdict.FAIL
    shown = {"expression": claim.baseline, "values": read.values, "text": read.values}
    return Row(cell=str(spot), verdict=verdict, reason=read.why, **shown)
