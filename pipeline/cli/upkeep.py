"""Commands about this machine: what it lacks, and what may go."""

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


@app.command(epilog="Examples:  kpv clean   |   kpv clean --older-than 7 --really")
def clean(
    older_than: Annotated[float, typer.Option(min=0, help="Days since the last use.")] = 30.0,
    kernels: Annotated[bool, typer.Option("--work", help="Also the trees that kernels are built in.")] = False,
    really: Annotated[bool, typer.Option("--really", help="Remove; without it only say what would go.")] = False,
) -> None:
    """Remove what the cache has not used for a while. A dry run unless told --really."""
    removed = housekeeping.clean(cache_folder(), older_than=older_than, work=kernels, really=really)
    ui.table(
        "removed" if really else "would be removed (dry run; --really removes)",
        ["what", "MiB", "last used"],
        [[entry.what, f"{entry.bytes / 2**20:.1f}", f"{entry.days:.1f} days ago"] for entry in removed],
    )
    print(f"{sum(entry.bytes for entry in removed) / 2**20:.0f} MiB in {cache_folder()}")
