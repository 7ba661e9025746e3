"""Commands that list, show and explain."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline import explain as explanation
from pipeline import near, ui
from pipeline.catalogue import cells, lists, pages
from pipeline.cli import complete
from pipeline.cli.app import app
from pipeline.cli.options import AsJson, RunsOpt, StudyOpt, cache_folder, find_run, load_study
from pipeline.cli.runs import load_run
from pipeline.errors import UserError
from pipeline.history.index import Index

_LISTS = ("studies", *lists.OF_STUDY, "runs")
_PAGES = ("study", *pages.OF_STUDY, "run", "cell")


@app.command(
    "list", epilog="Examples:  kpv list scenarios   |   kpv list kernels --study my-series   |   kpv list runs"
)
def list_(
    kind: Annotated[
        str, typer.Argument(help=f"One of: {', '.join(_LISTS)}.", show_default=False, autocompletion=complete.list_kind)
    ],
    study_file: StudyOpt = None,
    runs: RunsOpt = Path("runs"),
    json: AsJson = False,
) -> None:
    """List what there is: studies, what a study has, or the runs of this machine."""
    if kind == "studies":
        listing = lists.all_studies(Path())
    elif kind == "runs":
        listing = lists.all_runs(Index(cache_folder()).runs(), runs)
    elif kind in lists.OF_STUDY:
        listing = lists.OF_STUDY[kind](load_study(study_file))
    else:
        raise near.unknown("list of", kind, _LISTS)
    if json:
        ui.json(listing.as_dicts())
    else:
        ui.table(listing.title, listing.columns, listing.rows)


@app.command(
    epilog="Examples:  kpv show scenario full_cover   |   kpv show claim no-split-when-covered   |   "
    "kpv show run last   |   kpv show cell v2/max/full_cover.64k"
)
def show(
    kind: Annotated[
        str, typer.Argument(help=f"One of: {', '.join(_PAGES)}.", show_default=False, autocompletion=complete.show_kind)
    ],
    name: Annotated[
        str,
        typer.Argument(help="Its name. A study and a run need none.", show_default=False, autocompletion=complete.name),
    ] = "",
    study_file: StudyOpt = None,
    run: Annotated[
        str, typer.Option("--run", "-r", help="Of a cell: the run it is in.", autocompletion=complete.run)
    ] = "last",
    runs: RunsOpt = Path("runs"),
    json: AsJson = False,
) -> None:
    """Show one thing whole, e.g. a scenario with its properties, needs and claims, or a cell of a run."""
    if kind not in _PAGES:
        raise near.unknown("page of", kind, _PAGES)
    if kind in ("cell", *pages.OF_STUDY) and not name:
        raise UserError(f"which {kind}? Expected a name, found none", hint=f"kpv show {kind} NAME")
    if kind == "study":
        page = pages.study_page(load_study(Path(name) if name else study_file))
    elif kind == "run":
        page = cells.run_page(load_run(find_run(name or "last", runs)))
    elif kind == "cell":
        page = cells.cell_page(load_run(find_run(run, runs)), name)
    else:
        page = pages.OF_STUDY[kind](load_study(study_file), name)
    if json:
        ui.json(page.data)
    else:
        ui.page(page)


@app.command(
    epilog="Examples:  kpv explain INCONCLUSIVE   |   kpv explain block-consecutive   |   kpv explain 'exit 3'   |   "
    "kpv explain"
)
def explain(
    word: Annotated[
        str,
        typer.Argument(
            help="A verdict, claim, invariant, rule, known finding, exit code, outcome, precondition, counter or "
            "property. Without it: the words there are.",
            show_default=False,
            autocompletion=complete.word,
        ),
    ] = "",
    study_file: StudyOpt = None,
    json: AsJson = False,
) -> None:
    """Say what a word of a report means, where the rule is written, and where to look."""
    study = load_study(study_file)
    if word:
        found = explanation.explain(word, study)
        if json:
            ui.json([topic.__dict__ for topic in found])
        for topic in [] if json else found:
            ui.page(explanation.page(topic))
        return
    by_kind: dict[str, list[str]] = {}
    for topic in explanation.topics(study):
        by_kind.setdefault(topic.kind.partition(" (")[0], []).append(topic.word)
    if json:
        ui.json(by_kind)
    else:
        ui.table(
            "kpv explain WORD",
            ("kind", "words"),
            [(kind, " ".join(dict.fromkeys(words))) for kind, words in by_kind.items()],
        )
