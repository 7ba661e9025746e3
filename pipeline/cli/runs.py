"""Commands that make a run, or read one."""

import dataclasses
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline import compare as comparison
from pipeline import plan, runfolder, stages, ui
from pipeline import report as report_room
from pipeline import run as run_record
from pipeline.catalogue.cells import cell_page
from pipeline.cli import complete, verdicts
from pipeline.cli.app import app
from pipeline.cli.options import (
    AsJson,
    ExplainOpt,
    FreshOpt,
    JobsOpt,
    Json,
    KernelOpt,
    MachineOpt,
    Quiet,
    RunArg,
    RunsOpt,
    ScenarioOpt,
    StudyArg,
    StudyOrHere,
    cache_folder,
    events,
    find_run,
    load_study,
    run_options,
)
from pipeline.cost.report import files as costs
from pipeline.errors import Exit, InfraError, UserError
from pipeline.history.index import Index
from pipeline.report import markdown
from pipeline.run import Run, write_text


@app.command(
    epilog="Examples:  kpv validate patches/madvise-free-mthp   |   "
    "kpv validate my/study.toml -k v2 -m max -s 'full_cover' --fresh"
)
def validate(
    study_file: StudyArg,
    kernel: KernelOpt = None,
    machine: MachineOpt = None,
    scenario: ScenarioOpt = None,
    runs: RunsOpt = Path("runs"),
    jobs: JobsOpt = 2,
    fresh: FreshOpt = False,
    explain: ExplainOpt = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Build the study's kernels, boot them, run its scenarios, judge and report."""
    with events(json, quiet, explain=explain) as emit:
        loaded = plan.narrow(
            load_study(study_file),
            kernels=tuple(kernel or ()),
            machines=tuple(machine or ()),
            scenarios=tuple(scenario or ()),
        )
        result = stages.validate(loaded, run_options(runs, jobs=jobs, fresh=fresh), emit)
    markdown.tell_github(result.run, os.environ)
    _finish(result, json=json)


@app.command(
    epilog="Examples:  kpv run full_cover.64k -k merged -m max   |   kpv run 'partial_*' my-series -k v1 --fresh"
)
def run(
    pattern: Annotated[
        str,
        typer.Argument(
            metavar="SCENARIO",
            help="A scenario, with or without its variant, or a pattern of them: 'full_cover', '*.64k'.",
            show_default=False,
            autocompletion=complete.scenario,
        ),
    ],
    study_file: StudyOrHere = None,
    kernel: KernelOpt = None,
    machine: MachineOpt = None,
    runs: RunsOpt = Path("runs"),
    jobs: JobsOpt = 2,
    fresh: FreshOpt = False,
    explain: ExplainOpt = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run some scenarios of a study, and show what each cell checked and counted.

    As validate, with a folder under runs/ and a report, but for the scenarios that match, and with the cells in
    the terminal. The baseline always runs too, since claims compare with it.
    """
    with events(json, quiet, explain=explain) as emit:
        loaded = plan.narrow(
            load_study(study_file),
            kernels=tuple(kernel or ()),
            machines=tuple(machine or ()),
            scenarios=(pattern,),
        )
        result = stages.validate(loaded, run_options(runs, jobs=jobs, fresh=fresh), emit)
    if not json and not quiet:
        for cell in result.run.cells:
            ui.page(cell_page(result.run, cell.name))
            print()
    _finish(result, json=json)


@app.command(epilog="Examples:  kpv judge last   |   kpv judge runs/20250101-120000-madvise-free-mthp")
def judge(name: RunArg, runs: RunsOpt = Path("runs"), json: Json = False, quiet: Quiet = False) -> None:
    """Judge a run's recorded observations or costs anew, with no VM, and write its reports again."""
    found = find_run(name, runs)
    if costs.is_record(found):
        with events(json, quiet) as emit:
            view = costs.rejudge(found, emit)
        verdicts.costs(view, found, json=json, quiet=quiet)
    with events(json, quiet) as emit:
        result = stages.rejudge(found, emit)
    _finish(result, json=json)


@app.command(
    epilog="Examples:  kpv report last   |   kpv report last --format text   |   "
    "kpv report 20250101 --format junit -o junit.xml   |   "
    "kpv report last --format text --tested-by 'Jane Doe <jane@example.org>'"
)
def report(
    name: RunArg,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            "-f",
            help=f"One form to print: {', '.join(report_room.names())}. Without it: all, into the run's folder.",
            autocompletion=complete.form,
        ),
    ] = "",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file, not to stdout.")] = None,
    tested_by: Annotated[
        str,
        typer.Option(
            metavar="WHO", help="With --format text: end with a Tested-by of 'Name <address>', if all candidates pass."
        ),
    ] = "",
    runs: RunsOpt = Path("runs"),
) -> None:
    """Report a run again, as it was judged: one form of the report, or all of them.

    The exit code is 0 whatever the verdict. To judge anew as well: kpv judge.
    """
    folder = find_run(name, runs)
    found = load_run(folder)
    folder = folder if folder.is_dir() else folder.parent
    if tested_by and form != "text":
        raise UserError("--tested-by is for the text of the report", hint="add --format text")
    if not form:
        if output is not None:
            raise UserError("--output is for one form of the report", hint="name it with --format, e.g. text")
        for path in runfolder.write(found, folder).values():
            print(path)
        return
    files = runfolder.files_of(found, folder)
    text = report_room.form(form, found, files, folder, tested_by=tested_by)
    if output is None:
        sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))
    else:
        write_text(output, text)


@app.command(epilog="Examples:  kpv compare last~1 last   |   kpv compare 20250101 last --json")
def compare(old: RunArg, new: RunArg, runs: RunsOpt = Path("runs"), json: AsJson = False, quiet: Quiet = False) -> None:
    """Compare two runs: inputs, verdicts, how cells ended, and counters.

    Exit codes: 0 no verdict changed, 1 the verdict of a kernel, of a claim or invariant on it, or of a cell on one
    of these changed. What only one of the runs has is told, and changes no exit code.
    """
    found = comparison.compare(load_run(find_run(old, runs)), load_run(find_run(new, runs)))
    if json:
        ui.json(dataclasses.asdict(found))
    elif not quiet:
        ui.page(comparison.page(found))
    raise typer.Exit(Exit.FAIL if found.verdict_changed else Exit.PASS)


def load_run(path: Path) -> Run:
    """A run as it was judged."""
    found = run_record.load(path)
    return found if found.judgement is not None else found.judged()


def _finish(result: stages.Result, *, json: bool) -> None:
    """Enter the run in the history, print the verdict, and end with its exit code."""
    try:
        Index(cache_folder()).enter(result.run, result.folder)
    except InfraError as err:
        # The run is done and kept; its verdict is not held back for the sake of the index.
        ui.warn(f"not entered in the history: {err.message}; {err.hint}")
    _verdict(result, json=json)


def _verdict(result: stages.Result, *, json: bool) -> None:
    judgement = result.run.judgement
    assert judgement is not None
    if not json:
        verdicts.kernels(result.run.study.content.title, judgement, result.folder / "report.html")
    raise typer.Exit(result.exit_code)
