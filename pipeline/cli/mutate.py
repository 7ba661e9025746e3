"""``kpv mutate``."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline import plan, ui
from pipeline.cli.app import app
from pipeline.cli.options import MachineOpt, Quiet, ScenarioOpt, StudyArg, events, load_study, run_options
from pipeline.mutate import campaign as mutate_campaign
from pipeline.mutate import mutant
from pipeline.mutate import report as mutate_report


@app.command(
    epilog="Examples:  kpv mutate patches/madvise-free-mthp --mutants tests/mutants   |   "
    "kpv mutate my/study.toml --mutants my/mutants --only 'madvise-*' -m max --json mutants.json   |   "
    "kpv mutate patches/madvise-free-mthp --mutants tests/mutants --matrix docs/mutants.md"
)
def mutate(
    study_file: StudyArg,
    mutants: Annotated[Path, typer.Option("--mutants", help="The folder of the patches, *.patch at any depth.")],
    only: Annotated[str, typer.Option("--only", help="Only mutants whose name matches, e.g. 'madvise-*'.")] = "",
    kernel: Annotated[
        str, typer.Option("--kernel", "-k", help="The kernel to mutate; else the last candidate expected to pass.")
    ] = "",
    machine: MachineOpt = None,
    scenario: ScenarioOpt = None,
    all_checks: Annotated[
        bool, typer.Option("--all-checks", help="Run every cell of every mutant, not only up to the first kill.")
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write a list with one object a mutant to this file.")
    ] = None,
    matrix: Annotated[
        Path | None,
        typer.Option(
            "--matrix", help="Write mutant x check as Markdown: all that fail with --all-checks, else the first."
        ),
    ] = None,
    runs: Annotated[Path, typer.Option(help="Where the campaign's folder is made.")] = Path("runs"),
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="VMs at once.")] = 2,
    fresh: Annotated[bool, typer.Option("--fresh", help="Try every mutant again, whatever the store holds.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Say why each thing was made again.")] = False,
    quiet: Quiet = False,
) -> None:
    """Measure how sharp a study is: seed bugs in a kernel that must be killed, and legal variants that must not.

    Each mutant is a patch whose header has a line "Mutant: bug" or "Mutant: legal". It is applied to the
    kernel under test, built, and run on every machine. It is killed by a check that fails with it and holds
    without it. A legal variant may change costs: claims of kind structure do not reject it.

    Exit codes: 0 every bug killed and every legal variant accepted, 1 a bug survived or a legal variant was
    rejected, 4 a mutant told nothing (it does not apply or build, or is inconclusive).
    """
    found = mutant.load_all(mutants, only=only)
    loaded = load_study(study_file)
    chosen = mutate_campaign.under_test(loaded, kernel)
    narrowed = plan.narrow(loaded, machines=tuple(machine or ()), scenarios=tuple(scenario or ()))
    with events(False, quiet, explain=explain) as emit:
        result = mutate_campaign.run(
            narrowed,
            chosen,
            found,
            run_options(runs, jobs=jobs, fresh=fresh),
            emit,
            all_checks=all_checks,
            save=lambda so_far: so_far.write(json_file=json_file, matrix_file=matrix),
        )
    ui.table(
        f"Mutants of {result.kernel.id}: {loaded.title}",
        mutate_report.COLUMNS,
        [mutate_report.row(each) for each in result.results],
    )
    for line in mutate_report.summary(result.results):
        print(line)
    raise typer.Exit(result.exit_code)
