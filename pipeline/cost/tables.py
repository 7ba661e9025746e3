"""What a run counted, side by side: per folio size and operation, old against new, beside what was published."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.cost import spec
from pipeline.cost.growth import Growth, fit
from pipeline.cost.measured import Measured
from pipeline.cost.spec import Point, Published, PublishedRow
from pipeline.cost.words import COUNTS

#: What the first tables show; the rest are events.
INSTRUCTIONS = "instructions"


@dataclass(frozen=True)
class Entry:
    """A count of one kernel. ``total``: of the call, None where it was not counted; ``reason``: why.

    ``change``: against the baseline, as a share of it (-0.9 is a tenth left); None on the baseline itself,
    and where either is not known or the baseline has 0.
    """

    kernel: str
    total: int | None
    pages: int
    change: float | None = None
    reason: str = ""

    @property
    def per_page(self) -> float | None:
        return None if self.total is None else self.total / self.pages


@dataclass(frozen=True)
class Line:
    """A count at one folio size (bytes) over the kernels, in the study's order."""

    folio: int
    count: str
    entries: tuple[Entry, ...]

    @property
    def size(self) -> str:
        return spec.size_of(self.folio)

    @property
    def differs(self) -> bool:
        """Whether the kernels differ, or one could not be counted."""
        return len({entry.total for entry in self.entries}) > 1

    def of(self, kernel: str) -> Entry:
        return next(entry for entry in self.entries if entry.kernel == kernel)


@dataclass(frozen=True)
class Table:
    """An operation over a range (bytes) on a machine. ``lines``: by count, then by folio size, the smallest first.

    ``published``: the tables that the study sets beside it, by folio size in bytes.
    """

    machine: str
    operation: str
    title: str
    range: int
    kernels: tuple[str, ...]
    lines: tuple[Line, ...]
    published: tuple[tuple[Published, dict[int, PublishedRow]], ...] = ()

    def of(self, count: str) -> list[Line]:
        return [line for line in self.lines if line.count == count]

    @property
    def events(self) -> list[str]:
        """The counts other than instructions that are not 0 everywhere."""
        seen = [line.count for line in self.lines if any(entry.total for entry in line.entries)]
        return [count for count in COUNTS if count in seen and count != INSTRUCTIONS]

    @property
    def zero(self) -> list[str]:
        """The counts that were counted and are 0 on every kernel at every size."""
        return [
            count
            for count in COUNTS
            if (lines := self.of(count)) and all(e.total == 0 for x in lines for e in x.entries)
        ]

    def change(self, folio: int, kernel: str) -> float | None:
        """Change of the instructions at a folio size against the baseline."""
        return next((line.of(kernel).change for line in self.of(INSTRUCTIONS) if line.folio == folio), None)


@dataclass(frozen=True)
class RangeGrowth:
    """How a count of a kernel grows with the pages of the range."""

    kernel: str
    machine: str
    operation: str
    folio: int
    count: str
    growth: Growth


@dataclass(frozen=True)
class FolioGrowth:
    """How the instructions of a call fall with the folio size: what a folio costs, and what a page does.

    Fitted over the sizes from a contiguous block to below a PMD: ``per_folio`` * folios + ``per_page`` * pages.
    ``exponent``: of the folio size, -1 where each folio costs the same whatever its size, 0 where each page does.
    """

    kernel: str
    machine: str
    operation: str
    per_folio: float
    per_page: float
    exponent: float | None


def tables(measured: Measured) -> list[Table]:
    """A table an operation and machine, each at the first range that the study counts of it."""
    study = measured.run.study.content
    kernels = tuple(kernel.id for kernel in measured.kernels)
    found = []
    for machine in measured.machines:
        for operation in dict.fromkeys(cost.operation for cost in study.cost):
            first = next(cost for cost in study.cost if cost.operation == operation)
            at = spec.bytes_of(first.ranges[0])
            points = sorted({p for p in measured.planned(machine) if p.operation == operation and p.range == at})
            if not points:
                continue
            lines = tuple(_line(measured, machine, point, count) for count in COUNTS for point in points)
            beside = tuple(
                (table, {spec.bytes_of(row.size): row for row in table.row})
                for table in study.published
                if table.operation == operation
            )
            kept = tuple(line for line in lines if line.count == INSTRUCTIONS or _known(line))
            found.append(Table(machine, operation, first.title, at, kernels, kept, beside))
    return found


def _known(line: Line) -> bool:
    return any(entry.total is not None for entry in line.entries)


def _line(measured: Measured, machine: str, point: Point, count: str) -> Line:
    baseline = measured.run.study.content.baseline
    old = None
    if baseline is not None and (sample := measured.one(baseline.id, machine, point)) is not None:
        old = sample.counts.get(count)
    entries = []
    for kernel in measured.kernels:
        sample = measured.one(kernel.id, machine, point)
        pages = point.range // measured.page_bytes
        if sample is None:
            entries.append(Entry(kernel.id, None, pages, reason=measured.why_absent(kernel.id, machine, point)))
            continue
        total = sample.counts.get(count)
        compared = kernel != baseline and old and total is not None
        entries.append(Entry(kernel.id, total, pages, total / old - 1 if compared else None))
    return Line(point.folio, count, tuple(entries))


def range_growth(measured: Measured, count: str = INSTRUCTIONS) -> Iterator[RangeGrowth]:
    """How a count grows with the range, wherever the study counts it over two ranges or more."""
    for machine in measured.machines:
        for operation, folio, _ in measured.families(machine):
            for kernel in measured.kernels:
                found = measured.growth(kernel.id, machine, operation, folio, count)
                if found is not None:
                    yield RangeGrowth(kernel.id, machine, operation, folio, count, found)


def folio_growth(measured: Measured, table: Table) -> Iterator[FolioGrowth]:
    """How the instructions of an operation fall with the folio size, on each kernel with two such sizes or more."""
    between = [line for line in table.of(INSTRUCTIONS) if measured.granule.block <= line.folio < measured.pmd]
    for kernel in table.kernels:
        counts = {line.folio: total for line in between if (total := line.of(kernel).total) is not None}
        if len(counts) < 2:
            continue
        by_folios = fit({table.range // folio: total for folio, total in counts.items()})
        yield FolioGrowth(
            kernel,
            table.machine,
            table.operation,
            by_folios.per_unit,
            by_folios.fixed / (table.range // measured.page_bytes),
            fit(counts).exponent,
        )


def ratios(measured: Measured, machine: str) -> Iterator[tuple[str, int, str, list[tuple[int, float]]]]:
    """(operation, folio, kernel, [(range, instructions of the baseline over the kernel's)]), where ranges differ."""
    baseline = measured.run.study.content.baseline
    if baseline is None:
        return
    for operation, folio, ranges in measured.families(machine):
        old = _instructions(measured, baseline.id, machine, operation, folio, ranges)
        for kernel in measured.kernels:
            new = _instructions(measured, kernel.id, machine, operation, folio, ranges)
            if kernel != baseline and old and new:
                found = [(at, a / b) for at, a, b in zip(ranges, old, new, strict=True)]
                yield operation, folio, kernel.id, found


def _instructions(
    measured: Measured, kernel: str, machine: str, operation: str, folio: int, ranges: list[int]
) -> list[int]:
    """Instructions over each of the ranges; none where one of them was not measured."""
    samples = [measured.one(kernel, machine, Point(operation, folio, at)) for at in ranges]
    found = [sample.counts[INSTRUCTIONS] for sample in samples if sample is not None]
    return [total for total in found if total] if len(found) == len(ranges) and all(found) else []


def telling(table: Table) -> int | None:
    """The folio size at which the kernels are furthest apart, each from each, else the costliest; None of nothing."""

    def apart(line: Line) -> tuple[float, float, int]:
        totals = [entry.total for entry in line.entries if entry.total]
        gaps = [abs(math.log(one / other)) for one, other in itertools.combinations(totals, 2)]
        return min(gaps, default=0.0), max(gaps, default=0.0), max(totals)

    lines = [line for line in table.of(INSTRUCTIONS) if any(entry.total for entry in line.entries)]
    return max(lines, key=apart).folio if lines else None
