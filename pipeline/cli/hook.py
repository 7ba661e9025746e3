"""``kpv check-hook``."""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from pipeline import checkhook, plan, stages
from pipeline.cli.app import app
from pipeline.cli.options import MachineOpt, Quiet, ScenarioOpt, StudyArg, events, load_study, run_options
from pipeline.errors import KpvError
from pipeline.report.reproduce import STDIN


@app.command(
    "check-hook",
    epilog="Examples:  kpv check-hook patches/madvise-free-mthp < v1.mbox   |   "
    "git config b4.review-series-check-cmd 'kpv check-hook /path/to/study.toml'",
)
def check_hook(
    study_file: StudyArg,
    like: Annotated[
        str,
        typer.Option("--like", help="The kernel whose id, known findings and fragments the mail takes; "
                     "else the last candidate expected to pass."),
    ] = "",
    machine: MachineOpt = None,
    scenario: ScenarioOpt = None,
    runs: Annotated[Path, typer.Option(help="Where the run's folder is made.")] = Path("runs"),
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="VMs at once.")] = 2,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Judge the patches of a mail or mbox on stdin by a study, and print the JSON that `b4 review` reads.

    They are applied to the study's source, in place of its candidates. Progress goes to stderr. The one
    object of the list has status pass, warn (inconclusive, or not to be tested) or fail.
    """
    mail = sys.stdin.buffer.read()
    try:
        with tempfile.TemporaryDirectory(prefix="kpv-mail-") as folder, events(False, quiet) as emit:
            mbox = Path(folder, STDIN)
            mbox.write_bytes(checkhook.series_of(mail, os.environ, Path.cwd()))
            chosen = checkhook.candidate(load_study(study_file), mbox, checkhook.title_of(mail), like=like)
            chosen = plan.narrow(chosen, machines=tuple(machine or ()), scenarios=tuple(scenario or ()))
            result = stages.validate(chosen, run_options(runs, jobs=jobs), emit)
            shutil.copy(mbox, result.folder)
    except KpvError as err:
        print(json.dumps(checkhook.refusal(err)))
        raise
    print(json.dumps(checkhook.answer(result.run, result.folder / "report.html")))
    raise typer.Exit(result.exit_code)
