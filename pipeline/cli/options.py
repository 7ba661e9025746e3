"""What several commands take, and what they make of it."""

import dataclasses
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import platformdirs
import typer

from pipeline import locate, stages, study, ui
from pipeline.cli import complete
from pipeline.events import Emit, Event, StageStarted
from pipeline.history.index import Index
from pipeline.study import Study

StudyArg = Annotated[
    Path,
    typer.Argument(
        metavar="STUDY",
        help="A study.toml, the folder that holds one, or the name of a study that comes with kpv.",
        show_default=False,
        autocompletion=complete.study,
    ),
]
StudyOrHere = Annotated[
    Path | None,
    typer.Argument(
        metavar="STUDY",
        help="A study.toml, its folder, or the name of one that comes with kpv. Without it: ./study.toml if it is "
        "there, else the study that comes with kpv.",
        show_default=False,
        autocompletion=complete.study,
    ),
]
StudyOpt = Annotated[
    Path | None,
    typer.Option(
        "--study",
        help="Of which study: file, folder or name. Without it: ./study.toml, else the one that comes with kpv.",
        autocompletion=complete.study,
    ),
]
RunArg = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A run's folder or run.json, its id or the start of it, or last, last~1... of the runs in --runs.",
        show_default=False,
        autocompletion=complete.run,
    ),
]
RunsOpt = Annotated[Path, typer.Option(help="The folder that holds the runs.")]
Json = Annotated[bool, typer.Option("--json", help="Stream events as JSON lines to stdout.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the verdict and errors.")]
KernelOpt = Annotated[
    list[str] | None,
    typer.Option("--kernel", "-k", help="Only this kernel and the baseline.", autocompletion=complete.kernel),
]
MachineOpt = Annotated[
    list[str] | None, typer.Option("--machine", "-m", help="Only this machine.", autocompletion=complete.machine)
]
ScenarioOpt = Annotated[
    list[str] | None,
    typer.Option(
        "--scenario",
        "-s",
        help="Only these scenarios, e.g. 'full_cover' or '*.64k'; '!random*': not these.",
        autocompletion=complete.scenario,
    ),
]
JobsOpt = Annotated[int, typer.Option("--jobs", "-j", min=1, help="VMs at once.")]
FreshOpt = Annotated[bool, typer.Option("--fresh", help="Run every cell again, whatever the store holds.")]
ExplainOpt = Annotated[bool, typer.Option("--explain", help="Say why each thing was made again.")]


def cache_folder() -> Path:
    """$KPV_CACHE, or the user's cache folder by the XDG rules."""
    return Path(os.environ.get("KPV_CACHE") or platformdirs.user_cache_path("kpv")).absolute()


def load_study(given: Path | None) -> Study:
    """The study that a word of the command line means, see ``locate.study_file``."""
    return study.load(locate.study_file(given))


def find_run(given: str, root: Path) -> Path:
    """The folder of the run that a word means, see ``locate.run_folder``; any run of the history may be named."""
    index = Index(cache_folder())
    return locate.run_folder(given, root=root, elsewhere=index.folders())


def run_options(runs: Path, *, jobs: int = 2, fresh: bool = False) -> stages.Options:
    command = ("kpv", *sys.argv[1:])
    return stages.Options(cache=cache_folder(), runs=runs.absolute(), command=command, jobs=jobs, fresh=fresh)


@contextmanager
def events(json: bool, quiet: bool, *, explain: bool = False) -> Iterator[Emit]:
    with ui.choose(json=json, quiet=quiet) as shown:

        def unexplained(event: Event) -> None:
            shown(dataclasses.replace(event, why="") if isinstance(event, StageStarted) else event)

        yield shown if explain else unexplained
