"""Costs judged: the bounds of the study, and what it must have measured at all. No VM, no file."""

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.cost import growth, spec
from pipeline.cost.measured import Measured, unfit
from pipeline.cost.model import CostRun, Sample
from pipeline.cost.spec import Bound, Point
from pipeline.cost.words import COUNTS
from pipeline.judge import expr, verdict
from pipeline.judge.evidence import INFRA_ENDS
from pipeline.judge.expr import Broken, Undecided
from pipeline.judge.invariants import summarize
from pipeline.judge.model import Decision, Judgement, Row, Verdict
from pipeline.study import Expect, Kernel

#: Of the instructions of a call, two boots may differ by so much; events not at all.
STEADY = 0.001

#: What every kernel is judged by, whatever the study's bounds are.
BUILT_IN = {
    "measured": "Everything that the study counts was counted",
    "steady": "The same call costs the same in every boot",
    "linear": "No cost grows faster than its range",
}


def judge(run: CostRun) -> Judgement:
    """Every kernel of the run's study by its bounds and by ``BUILT_IN``, held against what is expected.

    Pure: the same samples in any order give the same judgement.
    """
    measured = Measured(run)
    kernels = tuple(
        verdict.of_kernel(_expected(measured, kernel), _decisions(measured, kernel)) for kernel in measured.kernels
    )
    infra = tuple(
        f"{boot.kernel}/{boot.machine}: boot {boot.id} ended as {boot.end}: {boot.failure or 'its samples are lost'}"
        for boot in run.boots
        if boot.end in INFRA_ENDS
    )
    return Judgement(kernels=kernels, infra=infra, exit_code=verdict.exit_code(kernels, infra))


def _asked(measured: Measured) -> list[Bound]:
    """The bounds that speak of a call of the run: on a choice of machines one may speak of none."""
    planned = [point for machine in measured.machines for point in measured.planned(machine)]
    return [bound for bound in measured.run.study.content.bound if any(map(bound.is_at, planned))]


def _expected(measured: Measured, kernel: Kernel) -> Kernel:
    """The kernel with what its bounds expect of it, instead of what its claims do."""
    failing = tuple(bound.id for bound in _asked(measured) if kernel.id in bound.failing)
    expect = Expect(verdict=Verdict.FAIL.value if failing else Verdict.PASS.value, failing=failing)
    return kernel.model_copy(update={"expect": expect})


def _decisions(measured: Measured, kernel: Kernel) -> list[Decision]:
    found = [_decide(name, BUILT_IN[name], list(rows(measured, kernel.id))) for name, rows in _RULES.items()]
    decisions = [decision for decision in found if decision.rows]
    return decisions + [
        _decide(bound.id, bound.title, _bound(measured, kernel.id, bound), kind="structure")
        for bound in _asked(measured)
        if bound.applies_to(kernel.id)
    ]


def _decide(name: str, title: str, rows: list[Row], *, kind: str = "built-in") -> Decision:
    result, reason = summarize(rows, none="the study counts nothing that it speaks of")
    return Decision(id=name, title=title, kind=kind, verdict=result, reason=reason, rows=tuple(rows))


def _row(place: str, reason: str, *, failed: bool = True, **more: str) -> Row:
    return Row(cell=place, verdict=Verdict.FAIL if failed else Verdict.INCONCLUSIVE, reason=reason, **more)


def _measured(measured: Measured, kernel: str) -> Iterable[Row]:
    for machine in measured.machines:
        for point in measured.planned(machine):
            place = f"{kernel}/{machine}/{point}"
            if reason := measured.why_absent(kernel, machine, point):
                yield _row(place, reason, failed=False)
            else:
                yield Row(cell=place, verdict=Verdict.PASS)


def _steady(measured: Measured, kernel: str) -> Iterable[Row]:
    """Of every call that was measured in several boots: the spread of its counts."""
    for machine in measured.machines:
        for point in measured.planned(machine):
            samples = [one for one in measured.all(kernel, machine, point) if not unfit(one)]
            if len({one.boot for one in samples}) < 2:
                continue
            place, different = f"{kernel}/{machine}/{point}", _unsteady(samples)
            text = f"alike in {len(samples)} boots"
            yield _row(place, different) if different else Row(cell=place, verdict=Verdict.PASS, text=text)


def _unsteady(samples: list[Sample]) -> str:
    """The first count that differs by more than it may, "" if none does."""
    for name in COUNTS:
        values = [sample.counts.get(name) for sample in samples]
        known = [value for value in values if value is not None]
        if len(known) not in (0, len(values)):
            return f"{name} was counted in {len(known)} boots of {len(values)}"
        allowed = STEADY * min(known, default=0) if name == "instructions" else 0
        if known and max(known) - min(known) > allowed:
            return f"{name} between {min(known):,} and {max(known):,} in {len(known)} boots"
    return ""


def _linear(measured: Measured, kernel: str) -> Iterable[Row]:
    for machine in measured.machines:
        for operation, folio, ranges in measured.families(machine):
            place = f"{kernel}/{machine}/{operation}.{spec.size_of(folio)}"
            by_range = {at: measured.one(kernel, machine, Point(operation, folio, at)) for at in ranges}
            if missing := [at for at, sample in by_range.items() if sample is None]:
                why = measured.why_absent(kernel, machine, Point(operation, folio, missing[0]))
                yield _row(place, f"at {spec.size_of(missing[0])}: {why}", failed=False)
                continue
            fits = {
                name: grown for name in COUNTS if (grown := measured.growth(kernel, machine, operation, folio, name))
            }
            fast = [f"{name} {_steepest(one)}" for name, one in fits.items() if one.faster_than_linear]
            if fast:
                yield _row(place, "; ".join(fast))
                continue
            exponent = fits["instructions"].exponent
            text = f"instructions: {fits['instructions'].per_unit:.1f} a page, exponent {exponent or 0:.2f}"
            yield Row(cell=place, verdict=Verdict.PASS, text=text)


def _steepest(one: growth.Growth) -> str:
    """How a count grows where it does so fastest, over pages of the range."""
    assert one.where is not None
    assert one.steepest is not None
    before, after = (dict(one.points)[pages] for pages in one.where)
    power = f"like the range to the power of {one.steepest:.2f}" if before else "from nothing"
    return f"grows {power}: {before:,} over {one.where[0]:,} pages, {after:,} over {one.where[1]:,}"


_RULES = {"measured": _measured, "steady": _steady, "linear": _linear}


@dataclass(frozen=True)
class _Names:
    """Values of a bound's names at one point."""

    measured: Measured
    kernel: str
    machine: str
    point: Point

    def __call__(self, name: str) -> int | None:
        group, _, what = name.partition(".")
        if group == "param":
            return self.measured.params(self.point)[what]
        where, point = self.kernel, self.point
        if group == "baseline":
            baseline = self.measured.run.study.content.baseline
            if baseline is None:
                return None
            where = baseline.id
        if group == "shortest":
            point = Point(
                point.operation, point.folio, self.measured.ranges(self.machine, point.operation, point.folio)[0]
            )
        sample = self.measured.one(where, self.machine, point)
        return None if sample is None else sample.counts.get(what)


def _bound(measured: Measured, kernel: str, bound: Bound) -> list[Row]:
    growing = any(name.startswith("shortest.") for name in expr.names_in(bound.holds, spec.LANGUAGE))
    rows = []
    for machine in measured.machines:
        for point in measured.planned(machine):
            if not bound.is_at(point):
                continue
            ranges = measured.ranges(machine, point.operation, point.folio)
            if growing and point.range == ranges[0]:
                if len(ranges) == 1 and bound.sizes:
                    rows.append(_row(f"{kernel}/{machine}/{point}", "counted over one range only", failed=False))
                continue
            rows.append(_bound_row(_Names(measured, kernel, machine, point), bound))
    return rows


def _bound_row(names: _Names, bound: Bound) -> Row:
    place = f"{names.kernel}/{names.machine}/{names.point}"
    read = expr.evaluate_with(bound.holds, spec.LANGUAGE, names)
    shown = {"expression": bound.holds, "values": str(read), "text": str(read)}
    if read.truth is True:
        return Row(cell=place, verdict=Verdict.PASS, **shown)
    if isinstance(read.truth, Undecided):
        why = names.measured.why_absent(names.kernel, names.machine, names.point)
        return _row(place, f"{read.truth.reason}{f': {why}' if why else ''}", failed=False, **shown)
    return _row(place, "; ".join(map(excess, read.broken)) or str(read), **shown)


def excess(broken: Broken) -> str:
    """A comparison that does not hold, and by how much: the difference, and what it is of the right side."""
    by = broken.left - broken.right
    if not by:
        return f"both are {broken.left:,}: {broken.text} does not hold"
    share = f" ({abs(by) / abs(broken.right):.1%})" if broken.right else ""
    how = "more" if by > 0 else "less"
    return f"{broken.left:,} is {abs(by):,}{share} {how} than {broken.right:,}: {broken.text} does not hold"
