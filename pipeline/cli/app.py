"""The ``kpv`` program itself: what its commands register with, and how it ends."""

import sys
from typing import Annotated

import typer

import pipeline
from pipeline import ui
from pipeline.errors import Exit, KpvError

app = typer.Typer(
    name="kpv",
    help="From a kernel patch series to a verdict on arm64 hardware semantics, with the evidence.",
    epilog="Exit codes: 0 pass, 1 a kernel is not judged as expected, 2 usage, 3 infrastructure, 4 inconclusive.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _top(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        print(f"kpv {pipeline.__version__}")
        raise typer.Exit


def main() -> None:
    """Entry point: every error of ours is one clear line and the right exit code."""
    try:
        app(standalone_mode=True)
    except KpvError as err:
        ui.error(err)
        sys.exit(err.exit_code)
    except KeyboardInterrupt:
        print("kpv: interrupted; what was finished is kept", file=sys.stderr)
        sys.exit(Exit.INTERRUPTED)
