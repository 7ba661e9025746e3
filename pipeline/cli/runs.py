"""Commands that make a run, or read one."""

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from pipeline import plan, stages, study, ui
from pipeline.cli.app import app
from pipeline.cli.options import Json, KernelOpt, MachineOpt, Quiet, RunArg, ScenarioOpt, StudyArg, events, run_options
from pipeline.report import markdown


@app.command(
    epilog="Examples:  kpv validate patches/madvise-free-mthp   |   "
    "kpv validate my/study.toml -k v2 -m max -s 'full_cover' --fresh"
)
def validate(
    study_file: StudyArg,
    kernel: KernelOpt = None,
    machine: MachineOpt = None,
    scenario: ScenarioOpt = None,
    runs: Annotated[Path, typer.Option(help="Where the run's folder is made.")] = Path("runs"),
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="VMs at once.")] = 2,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run every cell again, whatever the store holds.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Say why each thing was made again.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Build the study's kernels, boot them, run its scenarios, judge and report."""
    with events(json, quiet, explain=explain) as emit:
        loaded = plan.narrow(
            study.load(study_file),
            kernels=tuple(kernel or ()),
            machines=tuple(machine or ()),
            scenarios=tuple(scenario or ()),
        )
        result = stages.validate(loaded, run_options(runs, jobs=jobs, fresh=fresh), emit)
    markdown.tell_github(result.run, os.environ)
    _verdict(result, json=json)


@app.command(epilog="Example:  kpv judge runs/20250101-120000-madvise-free-mthp")
def judge(run: RunArg, json: Json = False, quiet: Quiet = False) -> None:
    """Judge a run's recorded observations anew, with no VM, and write its reports again."""
    with events(json, quiet) as emit:
        result = stages.rejudge(run, emit)
    _verdict(result, json=json)


def _verdict(result: stages.Result, *, json: bool) -> None:
    judgement = result.run.judgement
    assert judgement is not None
    if not json:
        ui.table(
            result.run.study.content.title,
            ["kernel", "verdict", "expected", "pass", "known", "fail", "inconclusive", "on"],
            [
                [
                    k.kernel,
                    k.verdict,
                    f"{k.expected}{'' if k.as_expected else '  <- differs: ' + k.difference}",
                    k.count(k.verdict.PASS),
                    k.count(k.verdict.KNOWN),
                    k.count(k.verdict.FAIL),
                    k.count(k.verdict.INCONCLUSIVE),
                    ", ".join(k.failing),
                ]
                for k in judgement.kernels
            ],
        )
        for problem in judgement.infra:
            print(f"infrastructure: {problem}")
        print(f"{judgement.verdict}; report: {shlex.quote(str(result.folder / 'report.html'))}")
    raise typer.Exit(result.exit_code)
