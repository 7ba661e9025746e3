"""``kpv history``."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline import near, ui
from pipeline.cli import complete
from pipeline.cli.app import app
from pipeline.cli.options import AsJson, cache_folder
from pipeline.errors import UserError
from pipeline.history import chart, timeline
from pipeline.history.index import Index
from pipeline.run import write_text

_CHARTS = {".svg": chart.svg, ".html": chart.html}


@app.command(
    epilog="Examples:  kpv history   |   kpv history --kernel merged --claim no-lost-write   |   "
    "kpv history --plot history.html   |   kpv history --rebuild runs ~/other/runs"
)
def history(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(help="With --rebuild: run folders, or folders of them, to take in too.", show_default=False),
    ] = None,
    study: Annotated[str, typer.Option(help="Only this study, by its id.")] = "",
    kernel: Annotated[
        str, typer.Option("--kernel", "-k", help="Only this kernel.", autocompletion=complete.kernel)
    ] = "",
    claim: Annotated[str, typer.Option("--claim", "-c", help="Only this claim or invariant.")] = "",
    every: Annotated[
        bool, typer.Option("--all", help="Every claim and invariant, also those that were always PASS.")
    ] = False,
    narrowed: Annotated[
        bool, typer.Option("--narrowed", help="Also runs of a part of their study (kpv run, or with -k, -m, -s).")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Write a strip chart to this file, .svg or .html.")
    ] = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Make the index again from the run folders.")] = False,
    json: AsJson = False,
) -> None:
    """The verdict of each claim and invariant over the runs of this machine, and since when it is so.

    Each run that ends is entered in an index in the cache folder. It holds nothing that the run folders do not,
    and is made again from them with --rebuild. The table has one sign a run, the newest last: ✓ PASS, ✗ FAIL,
    ? INCONCLUSIVE, ≈ KNOWN.
    """
    if plot is not None and plot.suffix not in _CHARTS:
        raise UserError(f"{plot}: expected a name that ends in .svg or .html", hint="kpv history --plot history.html")
    if folders and not rebuild:
        raise UserError("folders are taken in with --rebuild only", hint="kpv history --rebuild FOLDER...")
    index = Index(cache_folder())
    if rebuild:
        for problem in index.rebuild([*(folders or ()), Path("runs")]):
            ui.warn(f"left out: {problem}")
    points = index.points(narrowed=narrowed)
    for kind, asked, have in (
        ("study", study, [point.run.study for point in points]),
        ("kernel", kernel, [point.kernel for point in points]),
        ("claim or invariant", claim, [point.of for point in points if point.of]),
    ):
        if asked and asked not in have:
            raise near.unknown(kind, asked, list(dict.fromkeys(have)), where="the history")
    lines = timeline.lines(index.points(study=study, kernel=kernel, of=claim, narrowed=narrowed))
    shown = lines if every or claim else timeline.telling(lines)
    if plot is not None:
        title = f"Verdicts of {study}" if study else "Verdicts over runs"
        write_text(plot, _CHARTS[plot.suffix](shown, title=title))
    if json:
        ui.json(timeline.as_dict(shown))
        return
    runs = timeline.runs_of(lines)
    ui.table(
        f"{len(runs)} runs" + (f", {runs[0].started} to {runs[-1].started}" if runs else ""),
        ("study", "kernel", "claim or invariant", "runs", "now", "since", "before"),
        timeline.rows(shown),
    )
    if len(shown) < len(lines):
        print(f"{len(lines) - len(shown)} more were PASS in every run: --all")
