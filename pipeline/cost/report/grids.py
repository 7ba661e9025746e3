"""The tables of a report as rows of words; Markdown, HTML and text only set them."""

from dataclasses import dataclass

from pipeline.cost import spec
from pipeline.cost.report.figures import MISSING, percent, power, small, times, total
from pipeline.cost.report.view import View
from pipeline.cost.spec import Published
from pipeline.cost.tables import INSTRUCTIONS, Line, Table

Row = tuple[str, ...]


@dataclass(frozen=True)
class Grid:
    """A table. The first ``words`` columns are text, the others figures."""

    header: Row
    rows: tuple[Row, ...]
    words: int = 1


def instructions(view: View, table: Table) -> Grid:
    """Instructions a page, their change against the baseline, and the published one."""
    header = ["folio", *table.kernels, *(f"{name}, change" for name in view.candidates)]
    header += [f"published ({published.unit}), change" for published, _ in table.published]
    rows = []
    for line in table.of(INSTRUCTIONS):
        row = [line.size, *(small(entry.per_page) for entry in line.entries)]
        row += [percent(line.of(name).change) for name in view.candidates]
        for _, published in table.published:
            found = published.get(line.folio)
            row.append(percent(found.new / found.old - 1) if found else MISSING)
        rows.append(tuple(row))
    return Grid(tuple(header), tuple(rows))


def totals(table: Table) -> Grid:
    """Instructions of the call."""
    rows = [(line.size, *(total(entry.total) for entry in line.entries)) for line in table.of(INSTRUCTIONS)]
    return Grid(("folio", *table.kernels), tuple(rows))


def published(view: View, table: Table, beside: Published) -> Grid:
    """Old over new, as counted and as published, with the published figures."""
    found = view.compared(table, beside)
    header = ["folio", *(f"old/{name}" for name, _ in found[0].ratios), "published old/new"]
    header += [f"old, {beside.unit}", f"new, {beside.unit}"]
    rows = [
        (one.size, *(times(ratio) for _, ratio in one.ratios), times(one.published), f"{one.old:g}", f"{one.new:g}")
        for one in found
    ]
    return Grid(tuple(header), tuple(rows))


def events(table: Table) -> Grid:
    """Events of the call by folio size: one number where the kernels are equal, else one a kernel."""
    sizes = [line.size for line in table.of(INSTRUCTIONS)]
    rows = []
    for count in table.events:
        by_size = {line.size: line for line in table.of(count)}
        rows.append((count, *(_event(by_size[size]) if size in by_size else MISSING for size in sizes)))
    return Grid(("event", *sizes), tuple(rows))


def _event(line: Line) -> str:
    entries = line.entries if line.differs else line.entries[:1]
    return " / ".join(total(entry.total) for entry in entries)


def folios(view: View, table: Table) -> Grid:
    """What a folio costs and what a page does."""
    header = ("kernel", "instructions a folio", "and a page", "exponent of the folio size")
    rows = [(one.kernel, small(one.per_folio), small(one.per_page), power(one.exponent)) for one in view.folios(table)]
    return Grid(header, tuple(rows))


def functions(view: View, table: Table) -> Grid:
    """The functions that cost most at the folio size that tells most: own instructions, and calls."""
    _, kernels, found = view.functions(table)
    rows = [
        (one.name, *(f"{total(own)} ({total(calls)})" for own, calls in zip(one.instructions, one.calls, strict=True)))
        for one in found
    ]
    return Grid(("function", *kernels), tuple(rows))


def overview(view: View, kernel: str) -> Grid:
    """Change of the instructions of every operation by folio size."""
    sizes = sorted({line.folio for table in view.tables for line in table.of(INSTRUCTIONS)})
    rows = [
        (
            view.name(table.operation, table.machine),
            *(percent(table.change(size, kernel)) for size in sizes),
        )
        for table in view.tables
    ]
    return Grid(("operation", *(spec.size_of(size) for size in sizes)), tuple(rows))


def growth(view: View) -> Grid:
    """Instructions against the pages of the range."""
    page = view.measured.page_bytes
    header = ("operation", "folio", "ranges", "kernel", "a page", "fixed", "exponent", "faster than linear")
    rows = []
    for series in view.range_growth():
        for one in series.kernels:
            found = one.growth
            first, last = (spec.size_of(found.points[at][0] * page) for at in (0, -1))
            fitted = (small(found.per_unit), f"{found.fixed:,.0f}", power(found.exponent))
            flag = "yes" if found.faster_than_linear else "no"
            rows.append(
                (view.name(one.operation, one.machine), series.size, f"{first} to {last}", one.kernel, *fitted, flag)
            )
    return Grid(header, tuple(rows), words=4)


def steady(view: View) -> Grid:
    """Old over new at every range."""
    found = view.steady()
    ranges = sorted({at for one in found for at, _ in one.ratios}, key=spec.bytes_of)
    rows = [
        (
            view.name(one.operation, one.machine),
            one.size,
            one.kernel,
            *(times(dict(one.ratios).get(at)) for at in ranges),
        )
        for one in found
    ]
    return Grid(("operation", "folio", "kernel", *ranges), tuple(rows), words=3)
