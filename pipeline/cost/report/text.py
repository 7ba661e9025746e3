"""cost.txt: fits a reply on a mailing list, at most 71 columns of plain ASCII where the study's names allow."""

from collections.abc import Sequence

from pipeline.cost import spec
from pipeline.cost.report import grids
from pipeline.cost.report.figures import percent, power, small, total
from pipeline.cost.report.view import View
from pipeline.cost.tables import INSTRUCTIONS, Table, telling
from pipeline.report.text import wrap
from pipeline.report.words import expectation, plural, short

#: Calls told of a bound that is not kept; the rest are counted.
ROWS = 2


def render(view: View) -> str:
    """The text: the verdict, the first operation in full, the others where they tell most, growth, how to repeat it."""
    lines = _head(view)
    for table in view.tables[:1]:
        lines += ["", *_table(view, table)]
    lines += [*_others(view), *_growth(view), *_outside(view), *_tail(view)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def columns(rows: Sequence[Sequence[str]], *, words: int = 1) -> list[str]:
    """Rows with their columns under each other, the first ``words`` to the left, figures to the right."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]

    def padded(row: Sequence[str]) -> str:
        cells = zip(row, widths, strict=True)
        return "  ".join(text.ljust(w) if at < words else text.rjust(w) for at, (text, w) in enumerate(cells))

    return [f"  {padded(row)}" for row in rows]


def _head(view: View) -> list[str]:
    run = view.run
    lines = wrap(f"What it costs: {view.study.title}", lines=2)
    lines += wrap(
        f"Counted: {view.versions} under {run.host.qemu or 'QEMU'}, machine {', '.join(view.measured.machines)}, "
        f"method {run.method}. Counts of one call each, not time.",
        rest="  ",
    )
    lines += ["", *wrap(f"Verdict: {view.judgement.verdict}.")]
    width = max(len(kernel.kernel) for kernel in view.judgement.kernels)
    for kernel in view.judgement.kernels:
        first = f"  {kernel.kernel:{width}}  {kernel.verdict:12}  "
        lines += wrap(expectation(kernel), first=first, rest="      ", lines=2)
    return lines


def _table(view: View, table: Table) -> list[str]:
    """Instructions a page of each kernel, then the change of each candidate, then the published one."""
    grid = grids.instructions(view, table)
    header = ["folio", *table.kernels, *view.candidates, *("publ." for _ in table.published)]
    lines = wrap(f"{table.operation}: {view.title(table)}. Instructions a page, {view.place(table)}, and their change:")
    lines += columns([header, *grid.rows])
    for published, _ in table.published:
        lines += wrap(f"publ.: {published.source}, {published.range} range.", first="  ", rest="    ")
    return [*lines, *_events(table)]


def _events(table: Table) -> list[str]:
    folio = telling(table)
    rows = [
        [line.count, *(total(entry.total) for entry in line.entries)]
        for line in table.lines
        if line.folio == folio and line.count in table.events
    ]
    if not rows:
        return []
    return ["", f"  Events of the call, {spec.size_of(folio or 0)} folios:", *columns([["", *table.kernels], *rows])]


def _others(view: View) -> list[str]:
    """Every operation in a line, at the folio size where the kernels are furthest apart."""
    rows = []
    for table in view.tables:
        if (folio := telling(table)) is None:
            continue
        line = next(one for one in table.of(INSTRUCTIONS) if one.folio == folio)
        figures = [small(entry.per_page) for entry in line.entries]
        rows.append(
            [
                view.name(table.operation, table.machine),
                line.size,
                *figures,
                *(percent(line.of(name).change) for name in view.candidates),
            ]
        )
    if len(rows) < 2:
        return []
    kernels = [kernel.id for kernel in view.study.kernel]
    lead = "Where it is saved, and where it is paid: instructions a page where they differ most, and their change:"
    return ["", *wrap(lead), *columns([["operation", "folio", *kernels, *view.candidates], *rows], words=2)]


def _growth(view: View) -> list[str]:
    rows = []
    for series in view.range_growth():
        for one in series.kernels:
            flag = "FASTER than linear" if one.growth.faster_than_linear else ""
            rows.append(
                [
                    view.name(one.operation, one.machine),
                    series.size,
                    one.kernel,
                    small(one.growth.per_unit),
                    power(one.growth.exponent),
                    flag,
                ]
            )
    if not rows:
        return []
    header = ["operation", "folio", "kernel", "a page", "exponent", ""]
    return ["", "Growth with the range:", *columns([header, *rows], words=3)]


def _outside(view: View) -> list[str]:
    lines: list[str] = []
    for one in view.outside():
        verdict = f"{one.decision.verdict}{', as expected' if one.expected else ''}"
        lines += wrap(f"{one.kernel} {verdict}: {one.decision.title} ({one.decision.id})", first="  ", rest="    ")
        for row in one.rows[:ROWS]:
            lines += wrap(f"{row.cell.split('/')[-1]}: {row.reason}", first="    ", rest="      ")
        if len(one.rows) > ROWS:
            lines.append(f"    and {plural(len(one.rows) - ROWS, 'other call')}: see cost.html")
        if not one.rows:
            lines += wrap(one.decision.reason, first="    ", rest="      ")
    return ["", "Outside a bound, or not decided:", *lines] if lines else []


def _tail(view: View) -> list[str]:
    lines = ["", *(f"Spoiled by the surroundings: {text}" for text in view.judgement.infra)]
    lines += wrap(
        "Limits: what the kernel executes is counted, exactly; misses of caches and TLBs, and waiting, are not.",
        rest="  ",
    )
    lines += ["", f"Reproduce (kpv {view.run.kpv}):", *wrap(view.command, first="  ", rest="    ", lines=2)]
    lines.append(f"  study sha256 {short(view.run.study.sha256, 16)}")
    for kernel in view.run.kernels:
        lines.append(f"  {kernel.id}: config {short(kernel.config_sha256)} image {short(kernel.image_sha256)}")
    return lines
