"""What every form of the report shows, in one place: the forms only write it down."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from pipeline.cost import flame, spec, tables
from pipeline.cost.bounds import judge
from pipeline.cost.flame import FunctionLine
from pipeline.cost.measured import Measured
from pipeline.cost.model import CostRun, Sample
from pipeline.cost.spec import Point, Published
from pipeline.cost.tables import INSTRUCTIONS, FolioGrowth, RangeGrowth, Table, telling
from pipeline.cost.words import OPERATIONS
from pipeline.judge.model import Decision, Judgement, Row, Verdict

#: What holds of every run, whatever the study.
LIMITS = (
    "Counted is what the guest's kernel executes. What an instruction takes on hardware is not: misses of caches, "
    "walks of page tables after a TLB miss, the wait for a TLB invalidation or a barrier, contention.",
    "Debugging options that a study uses to find bugs are left out of the kernels that are counted.",
    "QEMU's TCG takes no notice of the contiguous bit: what folding saves in TLB misses, and what unfolding costs in "
    "them, does not show. That blocks are taken apart and put together does.",
)


@dataclass(frozen=True)
class Compared:
    """A folio size: baseline over kernel, as counted and as published. ``ratios``: by kernel, None where unknown."""

    size: str
    ratios: tuple[tuple[str, float | None], ...]
    published: float
    old: float
    new: float
    note: str


@dataclass(frozen=True)
class Topic:
    """A bound or a built-in rule over the kernels; None for one it is not for. ``holds``: a bound's expression."""

    id: str
    title: str
    holds: str
    decisions: tuple[tuple[str, Decision | None], ...]


@dataclass(frozen=True)
class Outside:
    """A bound that is not kept, or not decided, where it is so, and whether that was expected."""

    kernel: str
    decision: Decision
    rows: tuple[Row, ...]
    expected: bool


@dataclass(frozen=True)
class Series:
    """Growth of one operation at one folio size over ranges: a line a kernel."""

    machine: str
    operation: str
    folio: int
    kernels: tuple[RangeGrowth, ...]

    @property
    def size(self) -> str:
        return spec.size_of(self.folio)


@dataclass(frozen=True)
class Steady:
    """Old over new at every range counted, so that a short range is known to tell what a long one does."""

    machine: str
    operation: str
    size: str
    kernel: str
    ratios: tuple[tuple[str, float], ...]

    @property
    def spread(self) -> float:
        """Between the largest and the smallest, as a share of the latter."""
        values = [ratio for _, ratio in self.ratios]
        return max(values) / min(values) - 1


class View:
    """A run, judged, with its tables. Everything is derived from the run; nothing is kept elsewhere."""

    def __init__(self, run: CostRun) -> None:
        self.run = run
        self.study = run.study.content
        self.measured = Measured(run)
        self.judgement: Judgement = judge(run)

    @property
    def judged(self) -> CostRun:
        """The record with its judgement, and with the profiles of the calls that the tables have."""
        shown = set()
        for table in self.tables:
            for line in table.of(INSTRUCTIONS):
                point = Point(table.operation, line.folio, table.range)
                shown |= {id(self.measured.one(kernel, table.machine, point)) for kernel in table.kernels}
        samples = [one if id(one) in shown else one.model_copy(update={"profile": None}) for one in self.run.samples]
        return self.run.model_copy(update={"judgement": self.judgement, "samples": samples})

    @cached_property
    def tables(self) -> list[Table]:
        return tables.tables(self.measured)

    @property
    def command(self) -> str:
        """The command that made the run, as a shell takes it."""
        return shlex.join(["kpv", *self.run.command[1:]] if self.run.command else ["kpv", "cost", self.run.study.file])

    @property
    def versions(self) -> str:
        """``Linux 6.12.117`` of the study's kernels."""
        found = dict.fromkeys(kernel.version for kernel in self.run.kernels if kernel.version)
        return f"Linux {', '.join(found) or 'of unknown version'}"

    @property
    def candidates(self) -> list[str]:
        return [kernel.id for kernel in self.study.kernel if kernel.role == "candidate"]

    def compared(self, table: Table, published: Published) -> list[Compared]:
        """Each published size, beside the ratios counted."""
        kernels = [name for name in self.candidates if published.applies_to(name)]
        found = []
        for row in published.row:
            changes = [(name, table.change(spec.bytes_of(row.size), name)) for name in kernels]
            ratios = tuple((name, 1 / (1 + change) if change is not None else None) for name, change in changes)
            found.append(Compared(row.size, ratios, row.old / row.new, row.old, row.new, " ".join(row.note.split())))
        return found

    def folios(self, table: Table) -> list[FolioGrowth]:
        return list(tables.folio_growth(self.measured, table))

    def range_growth(self) -> Iterator[Series]:
        """Growth of the instructions over ranges, a series a machine, operation and folio size."""
        groups: dict[tuple[str, str, int], list[RangeGrowth]] = {}
        for one in tables.range_growth(self.measured):
            groups.setdefault((one.machine, one.operation, one.folio), []).append(one)
        for (machine, operation, folio), members in groups.items():
            yield Series(machine, operation, folio, tuple(members))

    def steady(self) -> list[Steady]:
        return [
            Steady(
                machine, operation, spec.size_of(folio), kernel, tuple((spec.size_of(at), ratio) for at, ratio in found)
            )
            for machine in self.measured.machines
            for operation, folio, kernel, found in tables.ratios(self.measured, machine)
        ]

    def topics(self) -> list[Topic]:
        """Every bound and built-in rule once, with each kernel's decision on it."""
        kernels = self.judgement.kernels
        heads = {decision.id: decision.title for kernel in kernels for decision in kernel.decisions}
        holds = {bound.id: bound.holds for bound in self.study.bound}
        return [
            Topic(
                name,
                title,
                holds.get(name, ""),
                tuple((kernel.kernel, next((d for d in kernel.decisions if d.id == name), None)) for kernel in kernels),
            )
            for name, title in heads.items()
        ]

    def outside(self) -> list[Outside]:
        """What does not pass, a kernel after the other."""
        return [
            Outside(
                kernel.kernel,
                decision,
                tuple(row for row in decision.rows if row.verdict == decision.verdict),
                decision.verdict == Verdict.FAIL and decision.id in kernel.expected_failing,
            )
            for kernel in self.judgement.kernels
            for decision in kernel.decisions
            if decision.verdict != Verdict.PASS
        ]

    def profiled(self, table: Table) -> tuple[str, list[tuple[str, Sample]]]:
        """The folio size at which an operation's kernels differ most, and each kernel's sample there with a profile."""
        folio = telling(table)
        if folio is None:
            return "", []
        point = Point(table.operation, folio, table.range)
        samples = [(kernel, self.measured.one(kernel, table.machine, point)) for kernel in table.kernels]
        return spec.size_of(folio), [(kernel, one) for kernel, one in samples if one is not None and one.profile]

    def functions(self, table: Table) -> tuple[str, list[str], list[FunctionLine]]:
        """That folio size, the kernels with a profile there, and the functions that cost most on any of them."""
        size, samples = self.profiled(table)
        profiles = [one.profile for _, one in samples if one.profile is not None]
        return size, [kernel for kernel, _ in samples], flame.functions(profiles)

    def title(self, table: Table) -> str:
        return table.title or OPERATIONS[table.operation]

    def name(self, operation: str, machine: str) -> str:
        """An operation as tables of several call it: with its machine where there are several."""
        return f"{operation}, {machine}" if len(self.measured.machines) > 1 else operation

    def place(self, table: Table) -> str:
        """The range of a table, and its machine where there are several."""
        where = f", machine {table.machine}" if len(self.measured.machines) > 1 else ""
        return f"{spec.size_of(table.range)} range{where}"
