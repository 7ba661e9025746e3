"""``kpv fuzz``."""

import dataclasses
import shlex
from pathlib import Path
from typing import Annotated

import typer

from pipeline import plan, ui
from pipeline.cli.app import app
from pipeline.cli.options import Json, MachineOpt, Quiet, StudyArg, events, load_study, run_options
from pipeline.fuzz import campaign as fuzz_campaign


@app.command(
    epilog="Examples:  kpv fuzz patches/madvise-free-mthp -k merged --seconds 600   |   "
    "kpv fuzz patches/madvise-free-mthp -k merged -m max -s random.64k --seed 7 --first 31 --sequences 1"
)
def fuzz(
    study_file: StudyArg,
    kernel: Annotated[list[str] | None, typer.Option("--kernel", "-k", help="Only this kernel.")] = None,
    machine: MachineOpt = None,
    scenario: Annotated[list[str] | None, typer.Option("--scenario", "-s", help="Only these, e.g. '*.64k'.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the first cell; a fresh one unless given.")] = None,
    first: Annotated[int, typer.Option(min=0, help="Number of the first sequence of each seed.")] = 0,
    sequences: Annotated[int, typer.Option("--sequences", "-n", min=0, help="For each kernel and machine.")] = 0,
    seconds: Annotated[float, typer.Option("--seconds", "-t", min=0, help="Go on for so long instead.")] = 0.0,
    ops: Annotated[str, typer.Option(help="Replay this sequence, as it was printed after KPV_OPS=.")] = "",
    known: Annotated[
        bool, typer.Option("--known", help="With operations that stock 6.12 is known to fail on.")
    ] = False,
    runs: Annotated[Path, typer.Option(help="Where the campaign's folder is made.")] = Path("runs"),
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="VMs at once.")] = 2,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run random sequences of operations against a study's kernels, and shrink those that fail."""
    wanted = fuzz_campaign.Plan(first=first, sequences=sequences, seconds=seconds, ops=ops, known=known)
    if seed is not None:
        wanted = dataclasses.replace(wanted, seed=seed)
    with events(json, quiet) as emit:
        loaded = plan.only(load_study(study_file), kernels=tuple(kernel or ()), machines=tuple(machine or ()))
        result = fuzz_campaign.run(loaded, wanted, run_options(runs, jobs=jobs), emit, scenarios=tuple(scenario or ()))
    if not json:
        ui.table(
            f"seed {wanted.seed}",
            ["kernel", "machine", "sequences", "failed", "seconds"],
            [list(row) for row in result.by_pair()],
        )
        for one in result.failures:
            print(one.told(result.folder))
        print(f"{result.exit_code.name}; {shlex.quote(str(result.folder / 'campaign.json'))}")
    raise typer.Exit(result.exit_code)
