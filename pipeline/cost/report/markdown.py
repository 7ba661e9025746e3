"""cost.md: the tables, for a page of the documentation or of a CI job."""

from collections.abc import Iterable

from pipeline.cost.report import grids
from pipeline.cost.report.figures import MISSING
from pipeline.cost.report.grids import Grid
from pipeline.cost.report.view import LIMITS, View
from pipeline.cost.tables import Table
from pipeline.cost.words import COUNTS
from pipeline.report.markdown import escaped
from pipeline.report.words import MARK, plural


def render(view: View) -> str:
    """The document as text."""
    lines = [f"# What it costs: {escaped(view.study.title)}", "", _made(view), "", *_verdict(view)]
    lines += _overview(view)
    for table in view.tables:
        lines += _table(view, table)
    lines += [*_growth(view), *_limits()]
    return "\n".join(lines) + "\n"


def _grid(lead: str, grid: Grid) -> list[str]:
    """A table after its lead, and nothing for one without rows."""
    align = ["---" if at < grid.words else "---:" for at in range(len(grid.header))]
    rows = [[escaped(text) for text in row] for row in grid.rows]
    lines = [f"| {' | '.join(row)} |" for row in (grid.header, align, *rows)]
    return [f"{lead}:", "", *lines, ""] if grid.rows else []


def _made(view: View) -> str:
    run = view.run
    return (
        f"Made by `{view.command}`, kpv {run.kpv}: {escaped(view.versions)}, {escaped(run.host.qemu or 'QEMU')}, "
        f"machine {', '.join(view.measured.machines)}, method {run.method}. Counts are of one call each; "
        "change is against the baseline."
    )


def _verdict(view: View) -> list[str]:
    kernels = view.judgement.kernels
    rows = []
    for kernel in kernels:
        expected = "as expected" if kernel.as_expected else f"not as expected: {kernel.difference}"
        rows.append((kernel.kernel, f"{MARK[kernel.verdict]} {kernel.verdict}", expected))
    lines = _grid("Verdict", Grid(("kernel", "verdict", "expected"), tuple(rows), words=3))
    bounds = tuple((f"{title} ({name})", *found) for name, title, found in _decisions(view))
    lines += _grid("Bounds", Grid(("bound", *(kernel.kernel for kernel in kernels)), bounds, words=1 + len(kernels)))
    told = view.outside()
    if told:
        lines += ["Outside a bound, or not decided:", ""]
    for one in told:
        first = one.rows[0] if one.rows else None
        more = f" (and {plural(len(one.rows) - 1, 'other call')})" if len(one.rows) > 1 else ""
        where = f"{first.cell}: {first.reason}{more}" if first else one.decision.reason
        expected = ", as expected" if one.expected else ""
        lines.append(f"- `{one.decision.id}` {one.decision.verdict}{expected}: {escaped(where)}")
    return [*lines, ""] if told else lines


def _decisions(view: View) -> Iterable[tuple[str, str, list[str]]]:
    for topic in view.topics():
        found = [f"{MARK[d.verdict]} {d.verdict}" if d else MISSING for _, d in topic.decisions]
        yield topic.id, topic.title, found


def _overview(view: View) -> list[str]:
    if len(view.tables) < 2:
        return []
    lines = ["## Where it is saved, and where it is paid", ""]
    for kernel in view.candidates:
        lines += _grid(f"Change of the instructions on {kernel}, by folio size", grids.overview(view, kernel))
    return lines


def _table(view: View, table: Table) -> list[str]:
    lines = [f"## {table.operation}: {escaped(view.title(table))}", "", f"Over a {view.place(table)}.", ""]
    lines += _grid("Instructions a page, and their change", grids.instructions(view, table))
    for published, _ in table.published:
        lead = f"Beside what was published ({escaped(published.source)}, {published.range} range)"
        lines += _grid(lead, grids.published(view, table, published))
        notes = [f"- {one.size}: {escaped(one.note)}" for one in view.compared(table, published) if one.note]
        lines += [*notes, ""] if notes else []
    lines += _grid("Instructions of the call", grids.totals(table))
    lead = f"Events of the call, {' / '.join(table.kernels)}; one number where they are equal"
    lines += _grid(lead, grids.events(table))
    if table.zero:
        lines += [f"0 everywhere: {', '.join(map(escaped, table.zero))}.", ""]
    lines += _grid("Fitted over the folio sizes from a contiguous block to below a PMD", grids.folios(view, table))
    if table.operation != view.tables[0].operation:  # the page has those of every operation
        return lines
    size, _, _ = view.functions(table)
    lead = f"Functions with the most instructions of their own, {size} folios; calls in parentheses"
    return lines + _grid(lead, grids.functions(view, table))


def _growth(view: View) -> list[str]:
    grown = _grid("Instructions against pages of the range, fitted by a line and by a power of it", grids.growth(view))
    if not grown:
        return []
    lead = "Old over new at each range, so that a short one is known to tell what a long one does"
    return ["## Growth with the range", "", *grown, *_grid(lead, grids.steady(view))]


def _limits() -> list[str]:
    counts = [f"- `{name}`: {escaped(text)}" for name, text in COUNTS.items()]
    limits = [f"- {escaped(text)}" for text in LIMITS]
    return ["## What is counted, and what is not", "", *counts, "", *limits]
