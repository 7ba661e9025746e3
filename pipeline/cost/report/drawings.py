"""The plots of a report, and each as a file of its own."""

from collections.abc import Iterator

from pipeline.cost import spec
from pipeline.cost.plots import Plot, log_plot
from pipeline.cost.report.figures import small, times
from pipeline.cost.report.view import View
from pipeline.cost.spec import Published
from pipeline.cost.tables import INSTRUCTIONS, Table
from pipeline.report.html import TEMPLATES, environment


def by_size(table: Table) -> Plot | None:
    """Instructions a page by folio size, a line a kernel."""
    lines = {
        kernel: [(float(line.folio), line.of(kernel).per_page or 0.0) for line in table.of(INSTRUCTIONS)]
        for kernel in table.kernels
    }
    return log_plot(
        f"Instructions a page of {table.operation}",
        lines,
        x_label="folio size",
        y_label="instructions a page",
        x_text=_size,
        y_text=small,
    )


def published(view: View, table: Table, beside: Published) -> Plot | None:
    """Baseline over kernel by folio size, beside the published ratio."""
    found = view.compared(table, beside)
    # The baseline has no line here, and its colour and mark stay its own.
    lines: dict[str, list[tuple[float, float]]] = {kernel: [] for kernel in table.kernels}
    for one in found:
        for kernel, ratio in one.ratios:
            lines[kernel].append((float(spec.bytes_of(one.size)), ratio or 0.0))
    lines["published"] = [(float(spec.bytes_of(one.size)), one.published) for one in found]
    return log_plot(
        f"{table.operation}: times less than the baseline",
        lines,
        x_label="folio size",
        y_label="baseline over kernel",
        x_text=_size,
        y_text=times,
    )


def growth(view: View) -> Iterator[tuple[Plot, str]]:
    """Instructions by range, a plot an operation and folio size, with its caption."""
    page = view.measured.page_bytes
    for series in view.range_growth():
        what = f"{view.name(series.operation, series.machine)}, {series.size} folios"
        plot = log_plot(
            f"Instructions of {what}, by range",
            {
                one.kernel: [(float(pages * page), float(total)) for pages, total in one.growth.points]
                for one in series.kernels
            },
            x_label="range",
            y_label="instructions",
            x_text=_size,
            y_text=lambda y: f"{y:,.0f}",
        )
        if plot is not None:
            yield plot, f"{what}; both axes are logarithmic, the exponents are in the table."


def files(view: View) -> dict[str, str]:
    """The plots as SVG files, by name: each with its own style, for light and dark."""
    found: dict[str, Plot | None] = {}
    for table in view.tables:
        stem = f"{table.operation}-{table.machine}"
        found[f"{stem}-by-size.svg"] = by_size(table)
        for at, (beside, _) in enumerate(table.published):
            found[f"{stem}-published{at or ''}.svg"] = published(view, table, beside)
    style = (TEMPLATES / "cost.css").read_text(encoding="utf-8")
    draw = environment().get_template("cost_drawings.html.j2").module.plot
    return {name: f"{draw(plot, style)}".lstrip() for name, plot in found.items() if plot is not None}


def _size(value: float) -> str:
    return spec.size_of(int(value))
