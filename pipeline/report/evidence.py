"""Each claim and invariant with what it rests on: places and numbers, the kernels side by side."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.judge.model import Behaviour, Decision, Row, Verdict, worst
from pipeline.observation import Cell
from pipeline.report.cells import Scenario
from pipeline.report.counters import CounterRow, flat, names, row
from pipeline.report.jobs import Files, Job
from pipeline.report.logs import Log, Reader, excerpt
from pipeline.report.words import judgement_of
from pipeline.run import Run
from pipeline.study import Claim

#: Places of one decision that get a line; beyond it they are counted.
MAX_PLACES = 60

Kinds = ("function", "structure")


@dataclass(frozen=True)
class Column:
    """One kernel's share in a decision. ``decision`` is None where the kernel is not judged on it; ``shows``: on
    the baseline, whether it shows the old behaviour."""

    kernel: str
    decision: Decision | None
    shows: str = ""


@dataclass(frozen=True)
class Said:
    """What a kernel says at a place: a verdict, or on the baseline whether it ``shows`` the old behaviour; neither
    where it is not judged there."""

    kernel: str
    verdict: Verdict | None = None
    shows: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Place:
    """Where a decision was made. ``job``: "" for what is not of one cell. ``machines``: those that say the same."""

    job: str
    machines: tuple[str, ...]
    cell: str
    said: tuple[Said, ...]
    numbers: tuple[CounterRow, ...] = ()
    given: str = ""


@dataclass(frozen=True)
class Topic:
    """A decision over all kernels. ``held``: of an invariant, ``(kernel, places that hold)``; ``scenarios``: where,
    as ``(scenario, anchor)``. ``example``: a job that shows best what does not hold, with excerpts of its traces."""

    id: str
    title: str
    kind: str
    columns: tuple[Column, ...]
    claim: Claim | None
    open: bool
    places: tuple[Place, ...]
    more: int
    held: tuple[tuple[str, int], ...]
    scenarios: tuple[tuple[str, str], ...]
    example: Job | None = None
    step: str = ""
    excerpts: tuple[Log, ...] = ()


def topics(run: Run, shown: Sequence[Scenario], files: Files, read: Reader) -> list[Topic]:
    """Every decision once, across kernels, in the order of the judgement."""
    heads: dict[str, Decision] = {}
    for kernel in judgement_of(run).kernels:
        for decision in kernel.decisions:
            heads.setdefault(decision.id, decision)
    maker = _Topics(run, shown, files, read)
    return [maker.topic(head) for head in heads.values()]


class _Topics:
    def __init__(self, run: Run, shown: Sequence[Scenario], files: Files, read: Reader) -> None:
        self.kernels = judgement_of(run).kernels
        self.claims = {claim.id: claim for claim in run.study.content.claim}
        self.cells = {cell.name: cell for cell in run.cells}
        self.scenarios = {scenario.id: scenario.anchor for scenario in shown}
        self.jobs = {
            cell.name.split("/", 1)[1]: job for s in shown for job in s.jobs for one in job.shown for cell in one.cells
        }
        self.files, self.read = files, read

    def topic(self, head: Decision) -> Topic:
        columns, rows = [], {}
        for kernel in self.kernels:
            own = next((d for d in kernel.decisions if d.id == head.id), None)
            behaviour = next((b for b in kernel.behaviours if b.claim == head.id), None)
            columns.append(Column(kernel.kernel, own, behaviour.shows if own is None and behaviour else ""))
            rows[kernel.kernel] = _numbered(own or behaviour)
        claim = self.claims.get(head.id)
        odd = any(c.decision is not None and c.decision.verdict != Verdict.PASS for c in columns)
        is_claim = head.kind in Kinds
        keys = dict.fromkeys(key for of_kernel in rows.values() for key in of_kernel)
        lines = [key for key in keys if is_claim or any(not _holds(of.get(key)) for of in rows.values())]
        places = self._merged(self._place(key, rows, columns, claim) for key in lines)
        topic = Topic(
            id=head.id,
            title=head.title,
            kind=head.kind,
            columns=tuple(columns),
            claim=claim,
            open=odd,
            places=tuple(places[:MAX_PLACES]),
            more=max(0, len(places) - MAX_PLACES),
            held=() if is_claim else tuple((k, sum(map(_passes, of.values()))) for k, of in rows.items() if of),
            scenarios=() if is_claim else self._where(rows),
        )
        return self._illustrated(topic) if odd else topic

    def _place(
        self, key: tuple[str, int], rows: Mapping[str, Mapping[tuple[str, int], Row]], columns: Sequence[Column],
        claim: Claim | None,
    ) -> Place:  # fmt: skip
        where, _ = key
        machine, _, job = where.partition("/")
        said = tuple(_said(column, rows[column.kernel].get(key), claim) for column in columns)
        cells = [self.cells.get(f"{column.kernel}/{where}") for column in columns]
        cell = next((one.name for one in cells if one), "")
        if claim is None:
            return Place(job, (machine,) if machine else (), cell, said)
        told = [_values(rows[column.kernel].get(key)) for column in columns]
        both = list(zip(told, cells, strict=True))
        numbers = tuple(
            row(claim.step, name, [[_number(name, values, one, claim)] for values, one in both])
            for name in names(claim)
        )
        params = dict.fromkeys(f"{n} = {v}" for values in told for n, v in values.items() if n.startswith("param."))
        return Place(job, (machine,), cell, said, numbers, ", ".join(params))

    def _merged(self, places: Iterable[Place]) -> list[Place]:
        """Machines that say the same of a job in one place."""
        found: dict[Place, Place] = {}
        for place in places:
            alike = replace(place, machines=(), cell="")
            before = found.get(alike)
            if place.job and before is not None:
                found[alike] = replace(before, machines=tuple(dict.fromkeys((*before.machines, *place.machines))))
            else:
                found[alike if place.job else place] = place
        return list(found.values())

    def _where(self, rows: Mapping[str, Mapping[tuple[str, int], Row]]) -> tuple[tuple[str, str], ...]:
        jobs = dict.fromkeys(key[0].partition("/")[2] for of in rows.values() for key in of)
        names = dict.fromkeys(job.rpartition(".")[0] for job in jobs if job)
        return tuple((name, self.scenarios.get(name, "")) for name in names)

    def _illustrated(self, topic: Topic) -> Topic:
        """With the job that shows it best: of the worst verdict, and if possible with blocks that were folded."""
        verdict = worst(c.decision.verdict for c in topic.columns if c.decision is not None)
        found = [
            (place, self.jobs[f"{place.machines[0]}/{place.job}"])
            for place in topic.places
            if place.job
            and any(said.verdict == verdict for said in place.said)
            and f"{place.machines[0]}/{place.job}" in self.jobs
        ]
        if not found:
            return topic
        place, job = next((one for one in found if _folded(one[1])), found[0])
        excerpts = [
            excerpt(cell, self.files.get(cell.name, ()), self.read)
            for said in place.said
            if said.verdict == verdict
            and (cell := self.cells.get(f"{said.kernel}/{place.machines[0]}/{place.job}")) is not None
        ]
        drawn = [picture.step for picture in job.pictures]
        step = topic.claim.step if topic.claim is not None and topic.claim.step in drawn else next(iter(drawn), "")
        return replace(topic, example=job, step=step, excerpts=tuple(one for one in excerpts if one is not None))


def _numbered(said: Decision | Behaviour | None) -> dict[tuple[str, int], Row]:
    """Rows by ``machine/job`` ("machine", "") and how often that came before: repeats of a cell stay apart."""
    seen: Counter[str] = Counter()
    found = {}
    for one in said.rows if said is not None else ():
        where = one.cell.partition("/")[2]
        found[where, seen[where]] = one
        seen[where] += 1
    return found


def _passes(found: Row) -> bool:
    return found.verdict == Verdict.PASS


def _holds(found: Row | None) -> bool:
    return found is None or found.verdict == Verdict.PASS


def _said(column: Column, found: Row | None, claim: Claim | None) -> Said:
    if found is None:
        return Said(column.kernel)
    if column.decision is None:
        shows = {Verdict.PASS: "yes", Verdict.FAIL: "no"}.get(found.verdict, "undecided")
        return Said(column.kernel, shows=shows, reason=found.reason)
    reason = found.reason
    if claim is not None and found.expression and reason.startswith(found.expression):
        # The expression and its values are in the place's own numbers.
        reason = f"known: {found.known}" if found.known else ""
    return Said(column.kernel, found.verdict, reason=reason)


def _values(found: Row | None) -> dict[str, str]:
    if found is None:
        return {}
    return dict(part.split(" = ", 1) for part in found.values.split(", ") if " = " in part)


def _number(name: str, told: Mapping[str, str], cell: Cell | None, claim: Claim) -> int | None:
    """What the judge read; where it did not look at this counter, what the cell has of it."""
    if name in told:
        return int(told[name]) if told[name].lstrip("-").isdecimal() else None
    step = next((step for step in cell.steps if step.name == claim.step), None) if cell is not None else None
    return flat(step).get(name) if step is not None else None


def _folded(job: Job) -> bool:
    return any(block.folded for p in job.pictures for _, ends in p.columns for block in ends[0][1].blocks)
