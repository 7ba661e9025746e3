"""cost.html: one file that needs no network and no script. Here the run becomes what the template shows."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.cost.flame import Flame, flame
from pipeline.cost.plots import Plot
from pipeline.cost.report import drawings, grids
from pipeline.cost.report.grids import Grid, Row
from pipeline.cost.report.view import LIMITS, View
from pipeline.cost.tables import Table
from pipeline.cost.words import COUNTS
from pipeline.report.html import environment
from pipeline.report.words import headline, line, machine_line

#: A grid as the template takes it.
Shown = tuple[Row, tuple[Row, ...]]


@dataclass(frozen=True)
class Operation:
    """One operation's section.

    ``published``: source, plot, table, and (size, note). ``flames``: kernel, graph, words.
    """

    anchor: str
    table: Table
    title: str
    place: str
    by_size: Plot | None
    instructions: Shown
    totals: Shown
    events: Shown
    folios: Shown
    published: tuple[tuple[str, Plot | None, Shown, tuple[tuple[str, str], ...]], ...]
    profiled_size: str
    functions: Shown
    flames: tuple[tuple[str, Flame, str], ...]
    folded: dict[str, str]


def render(view: View, folded: dict[tuple[str, str, str, str], str]) -> str:
    """The page as text. ``folded``: files of folded stacks, relative to the page, see ``files.folded``."""
    run, judgement = view.run, view.judgement
    return (
        environment()
        .get_template("cost.html.j2")
        .render(
            run=run,
            study=view.study,
            judgement=judgement,
            headline=headline(judgement),
            topics=view.topics(),
            outside=view.outside(),
            overview=_overview(view),
            operations=[_operation(view, table, folded) for table in view.tables],
            growth=_shown(grids.growth(view)) if list(view.range_growth()) else None,
            growth_plots=list(drawings.growth(view)),
            steady=_shown(grids.steady(view)),
            counted=COUNTS,
            limits=LIMITS,
            command=view.command,
            study_path=line(run.study.file),
            machines=[(name, machine_line(profile)) for name, profile in sorted(run.machines.items())],
        )
    )


def _shown(grid: Grid) -> Shown:
    return grid.header, grid.rows


def _overview(view: View) -> list[tuple[str, Row, Sequence[Row]]]:
    if len(view.tables) < 2:
        return []
    return [(kernel, *_shown(grids.overview(view, kernel))) for kernel in view.candidates]


def _operation(view: View, table: Table, folded: dict[tuple[str, str, str, str], str]) -> Operation:
    size, samples = view.profiled(table)
    flames = []
    for kernel, sample in samples:
        assert sample.profile is not None
        graph = flame(sample.profile.stacks)
        words = f"Flame graph of {table.operation} on {kernel}, {size} folios; the table above has its functions."
        flames.append((kernel, graph, words))
    key = (table.machine, table.operation, size)
    return Operation(
        anchor=f"{table.operation}-{table.machine}",
        table=table,
        title=view.title(table),
        place=view.place(table),
        by_size=drawings.by_size(table),
        instructions=_shown(grids.instructions(view, table)),
        totals=_shown(grids.totals(table)),
        events=_shown(grids.events(table)),
        folios=_shown(grids.folios(view, table)),
        published=tuple(
            (
                f"{beside.source}; {beside.range} range, in {beside.unit}",
                drawings.published(view, table, beside),
                _shown(grids.published(view, table, beside)),
                tuple((one.size, one.note) for one in view.compared(table, beside) if one.note),
            )
            for beside, _ in table.published
        ),
        profiled_size=size,
        functions=_shown(grids.functions(view, table)),
        flames=tuple(flames),
        folded={kernel: folded[kernel, *key] for kernel, _ in samples},
    )
