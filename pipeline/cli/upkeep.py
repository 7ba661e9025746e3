"""Commands about this machine: what it lacks, and what may go."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline import doctor as doctor_room
from pipeline import housekeeping, ui
from pipeline.cli.app import app
from pipeline.cli.options import Json, cache_folder


@app.command(epilog="Example:  kpv doctor --json")
def doctor(json: Json = False) -> None:
    """List what this machine has, lacks or has too old, with the command that mends it."""
    findings = doctor_room.examine(cache=cache_folder())
    ui.doctor_report(findings, json=json)
    raise typer.Exit(doctor_room.exit_code(findings))


@app.command(
    epilog="Examples:  kpv clean   |   kpv clean --older-than 7 --work --really   |   kpv clean --max-size 4   |   "
    "kpv clean --older-than 90 --runs runs --really"
)
def clean(
    older_than: Annotated[
        float | None,
        typer.Option(min=0, help="What was not used for so many days goes; 30 unless --max-size is given."),
    ] = None,
    max_size: Annotated[
        float | None,
        typer.Option(min=0, help="GiB that may stay: what was not used for longest goes, until the rest fits."),
    ] = None,
    work: Annotated[
        bool, typer.Option("--work", help="Also the trees that kernels are built in, and sources without such a tree.")
    ] = False,
    runs: Annotated[
        Path | None, typer.Option("--runs", help="Also the run folders in this folder.", show_default=False)
    ] = None,
    really: Annotated[bool, typer.Option("--really", help="Remove; without it only say what would go.")] = False,
) -> None:
    """Remove what was not used for a while, by age and by size. A dry run unless told --really.

    Results and kernels of the cache; with --work and --runs what these name as well. What another kpv is using
    stays. A run that goes stays in the history, without its folder.
    """
    if older_than is None and max_size is None:
        older_than = 30.0
    found = housekeeping.clean(
        cache_folder(),
        older_than=older_than,
        max_bytes=None if max_size is None else int(max_size * 2**30),
        work=work,
        runs=runs,
        really=really,
    )
    ui.table(
        "removed" if really else "would be removed (dry run; --really removes)",
        ["what", "MiB", "last used"],
        [[entry.what, f"{entry.bytes / 2**20:.1f}", f"{entry.days:.1f} days ago"] for entry in found.gone],
    )
    done = "removed" if really else "to remove"
    stays = "" if found.left is None else f", {found.left / 2**20:.0f} MiB stay"
    print(f"{found.bytes / 2**20:.0f} MiB {done}{stays}; {cache_folder()}")
