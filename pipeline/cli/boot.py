"""``kpv boot``."""

import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperCommand

from pipeline import boot as boot_room
from pipeline import near, resources
from pipeline.cli import complete
from pipeline.cli.app import app
from pipeline.cli.options import Quiet, StudyOrHere, events, load_study, run_options
from pipeline.guest import machine as machines

_COMMAND = "kpv.command"


class _WithCommand(TyperCommand):
    """What stands behind ``--`` is the guest's, whether a study was named or not."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        at = args.index("--") if "--" in args else len(args)
        ctx.meta[_COMMAND] = tuple(args[at + 1 :])
        return super().parse_args(ctx, args[:at])

    def collect_usage_pieces(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND...]"]


@app.command(
    cls=_WithCommand,
    epilog="Examples:  kpv boot -k v2 -m max   |   "
    "kpv boot my-series -k v1 -- lazyfree -r lazyfree.64k.full_cover   |   "
    "kpv boot -- 'grep thp /proc/vmstat'   |   kpv boot --keep guest -- uname -r",
)
def boot(
    ctx: typer.Context,
    study_file: StudyOrHere = None,
    kernel: Annotated[
        str, typer.Option("--kernel", "-k", help="Else the study's last candidate.", autocompletion=complete.kernel)
    ] = "",
    machine: Annotated[
        str,
        typer.Option(
            "--machine", "-m", help="Any machine; else the study's first.", autocompletion=complete.any_machine
        ),
    ] = "",
    cpus: Annotated[int, typer.Option(min=0, max=8, help="CPUs of the guest; 0: as many as the machine has.")] = 0,
    append: Annotated[
        list[str] | None, typer.Option("--append", help="A word for the kernel's command line; may be given again.")
    ] = None,
    keep: Annotated[Path | None, typer.Option("--keep", help="Leave console.log and trace.dat in this folder.")] = None,
    quiet: Quiet = False,
) -> None:
    """Boot a kernel of a study and open a shell in it, or run the command behind --.

    The guest is that of a run: the study's tests are in /kpv/bin, its probes are placed and tracing is on. One word
    behind -- is a line for the guest's shell, several are a program and its arguments; its streams and its exit code
    are those of kpv. The command has a terminal where kpv has one. When it ends, the guest is powered off.

    Exit codes: the command's own (0 for a shell that ends, or powers the guest off); 2 usage, 3 where there was no
    guest or it ended by itself, as a panic does.
    """
    study = load_study(study_file)
    have = [entry.id for entry in study.kernel]
    if kernel and kernel not in have:
        raise near.unknown("kernel", kernel, have, where="the study")
    chosen = next((entry for entry in study.kernel if entry.id == kernel), None) or boot_room.default_kernel(study)
    profile = machines.load(resources.folder("qemu"), machine or study.machines[0]).id
    command: tuple[str, ...] = ctx.meta[_COMMAND]
    with ExitStack() as stack:
        workdir = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kpv-boot-")))
        with events(False, quiet) as emit:
            guest = stack.enter_context(
                boot_room.booted(
                    study,
                    chosen,
                    profile,
                    run_options(Path("runs")),
                    emit,
                    workdir=workdir.absolute(),
                    cpus=cpus,
                    append=tuple(append or ()),
                )
            )
        if not command and not quiet:
            print(guest.greeting(), file=sys.stderr, flush=True)
        status = guest.attach(command)
        guest.poweroff()
    raise typer.Exit(status)
