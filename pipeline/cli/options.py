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

from pipeline import stages, ui
from pipeline.events import Emit, Event, StageStarted

StudyArg = Annotated[Path, typer.Argument(help="A study.toml, or the folder that holds one.", show_default=False)]
RunArg = Annotated[Path, typer.Argument(help="A run's folder under runs/, or its run.json.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Stream events as JSON lines to stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the verdict and errors.")]
KernelOpt = Annotated[list[str] | None, typer.Option("--kernel", "-k", help="Only this kernel and the baseline.")]
MachineOpt = Annotated[list[str] | None, typer.Option("--machine", "-m", help="Only this machine.")]
ScenarioOpt = Annotated[
    list[str] | None, typer.Option("--scenario", "-s", help="Only these scenarios, e.g. 'full_cover' or '*.64k'.")
]


def cache_folder() -> Path:
    """$KPV_CACHE, or the user's cache folder by the XDG rules."""
    return Path(os.environ.get("KPV_CACHE") or platformdirs.user_cache_path("kpv")).absolute()


def run_options(runs: Path, *, jobs: int = 2, fresh: bool = False) -> stages.Options:
    command = ("kpv", *sys.argv[1:])
    return stages.Options(cache=cache_folder(), runs=runs.absolute(), command=command, jobs=jobs, fresh=fresh)


@contextmanager
def events(json: bool, quiet: bool, *, explain: bool = False) -> Iterator[Emit]:
    with ui.choose(json=json, quiet=quiet) as shown:

        def unexplained(event: Event) -> None:
            shown(dataclasses.replace(event, why="") if isinstance(event, StageStarted) else event)

        yield shown if explain else unexplained
