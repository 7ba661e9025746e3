"""The ``kpv`` program itself: what its commands register with, and how it ends."""

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer

import pipeline
from pipeline import ui
from pipeline.errors import Exit, KpvError

_F = TypeVar("_F", bound=Callable[..., Any])


class _App(typer.Typer):
    """Shows each paragraph of a command's help, and each example, on lines of its own."""

    def command(self, name: str | None = None, *, epilog: str = "", **options: Any) -> Callable[[_F], _F]:
        """As typer's. ``epilog``: ``Examples:  one   |   another``."""
        lead, colon, examples = epilog.partition(":  ")
        if colon:
            epilog = "\n".join([f"{lead}:", *(f"  {example}" for example in examples.split("   |   "))])
        register = super().command(name, epilog=epilog, **options)

        def command(function: _F) -> _F:
            paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
            function.__doc__ = "\n\n".join(" ".join(paragraph.split("\n")) for paragraph in paragraphs)
            register(_interruptible(function))
            return function

        return command


app = _App(
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
        app(prog_name="kpv", standalone_mode=True)  # also where Python runs it as a module
    except KpvError as err:
        ui.error(err)
        sys.exit(err.exit_code)


def _interruptible(function: _F) -> _F:
    """Typer ends a program that is interrupted without a word."""

    @functools.wraps(function)
    def command(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except KeyboardInterrupt:
            ui.warn("interrupted; what was finished is kept")
            sys.exit(Exit.INTERRUPTED)

    return command  # type: ignore[return-value]
