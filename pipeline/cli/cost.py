"""``kpv cost``."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline import plan
from pipeline.cli import verdicts
from pipeline.cli.app import app
from pipeline.cli.options import (
    ExplainOpt,
    Json,
    KernelOpt,
    MachineOpt,
    Quiet,
    RunsOpt,
    StudyArg,
    events,
    load_study,
    run_options,
)
from pipeline.cost import campaign, wanted
from pipeline.cost.report import markdown
from pipeline.cost.words import OPERATIONS
from pipeline.run import write_text

_operations = f"Only this operation: {', '.join(OPERATIONS)}."


@app.command(
    epilog="Examples:  kpv cost patches/madvise-free-mthp   |   "
    "kpv cost patches/madvise-free-mthp -k merged -m max -o free --size 64k --range 1g"
)
def cost(
    study_file: StudyArg,
    kernel: KernelOpt = None,
    machine: MachineOpt = None,
    operation: Annotated[list[str] | None, typer.Option("--operation", "-o", help=_operations)] = None,
    size: Annotated[list[str] | None, typer.Option("--size", help="Only folios of this size, e.g. 64k.")] = None,
    length: Annotated[
        list[str] | None, typer.Option("--range", help="Ranges of this length, e.g. 1g, instead of the study's.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="How often each call is measured, in a boot each.")] = 1,
    method: Annotated[
        str, typer.Option(help="'plugin', or 'icount': by the guest's clock, no events and no profile.")
    ] = "plugin",
    table: Annotated[Path | None, typer.Option(help="Also write the tables to this Markdown file.")] = None,
    runs: RunsOpt = Path("runs"),
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="VMs at once.")] = 2,
    fresh: Annotated[bool, typer.Option("--fresh", help="Count again, whatever the store holds.")] = False,
    explain: ExplainOpt = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Count what calls cost in each kernel of a study: instructions, splits, TLB invalidations, locks.

    Counts are exact and the same on any machine; the study's bounds are judged by them. Kernels are built
    without the options that look for bugs: the first of an empty cache takes minutes.
    """
    if method not in ("plugin", "icount"):
        raise typer.BadParameter("expected plugin or icount", param_hint="--method")
    with events(json, quiet, explain=explain) as emit:
        study = plan.narrow(load_study(study_file), kernels=tuple(kernel or ()))
        study = wanted.narrow(
            study, operations=tuple(operation or ()), sizes=tuple(size or ()), ranges=tuple(length or ())
        )
        result = campaign.run(
            study,
            run_options(runs, jobs=jobs, fresh=fresh),
            emit,
            machines=tuple(machine or ()),
            repeats=repeats,
            method=method,
        )
    if table is not None:
        write_text(table, markdown.render(result.view))
    verdicts.costs(result.view, result.folder, json=json, quiet=quiet)
