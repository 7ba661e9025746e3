"""``kpv repeat``."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from pipeline import plan, ui
from pipeline.cli import complete
from pipeline.cli.app import app
from pipeline.cli.options import JobsOpt, MachineOpt, Quiet, ScenarioOpt, StudyArg, events, load_study, run_options
from pipeline.repeat import campaign as repeat_campaign
from pipeline.repeat import report as repeat_report


@app.command(
    epilog="Examples:  kpv repeat patches/madvise-free-mthp -k merged --times 30 --json repeat.json   |   "
    "kpv repeat patches/madvise-free-mthp -k merged -m max -s 'race_*' -n 100"
)
def repeat(
    study_file: StudyArg,
    times: Annotated[int, typer.Option("--times", "-n", min=2, help="Passes of each kernel in all.")] = 10,
    kernel: Annotated[
        list[str] | None, typer.Option("--kernel", "-k", help="Only this kernel.", autocompletion=complete.kernel)
    ] = None,
    machine: MachineOpt = None,
    scenario: ScenarioOpt = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write passes and differences to this file.")] = None,
    runs: Annotated[Path, typer.Option(help="Where the campaign's folder is made.")] = Path("runs"),
    jobs: JobsOpt = 2,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do not count the passes of earlier campaigns.")] = False,
    quiet: Quiet = False,
) -> None:
    """Measure how steady a suite is: run it again and again on the same kernel, and tell every verdict that differs.

    A pass boots anew and runs every cell. Passes are kept: a campaign that was stopped goes on where it was, and
    --times 20 after --times 10 runs ten more. Each kernel is judged by itself, without the baseline.

    Exit codes: 0 every outcome and every verdict is the same in all passes, 1 one is not.
    """
    loaded = plan.narrow(load_study(study_file), machines=tuple(machine or ()), scenarios=tuple(scenario or ()))
    with events(False, quiet) as emit:
        result = repeat_campaign.run(
            plan.only(loaded, kernels=tuple(kernel or ())),
            times,
            run_options(runs, jobs=jobs, fresh=fresh),
            emit,
            save=lambda so_far: so_far.write(json_file),
        )
    for name, found in result.differences.items():
        if found:
            ui.table(f"What differs on {name}", repeat_report.COLUMNS, repeat_report.rows(found))
    for name, passes in result.passes.items():
        print(repeat_report.summary(name, passes, result.differences[name]))
    print(f"{result.exit_code.name}; {shlex.quote(str(result.folder / 'repeat.json'))}")
    raise typer.Exit(result.exit_code)
