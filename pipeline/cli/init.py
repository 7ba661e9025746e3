"""``kpv init``."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from pipeline import locate, newstudy
from pipeline.cli import complete
from pipeline.cli.app import app


@app.command(
    epilog="Examples:  kpv init my-series --series v1.mbox   |   "
    "kpv init my-series --series v1.mbox --tree git:/home/me/linux@v6.12   |   kpv init copy --from madvise-free-mthp"
)
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make.")] = Path("my-study"),
    origin: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="The study to copy: file, folder or name. Without it: the one that comes with kpv.",
            show_default=False,
            autocompletion=complete.study,
        ),
    ] = None,
    series: Annotated[
        Path | None,
        typer.Option(help="Your series: an mbox, a patch, or a quilt folder. It becomes the candidate.", exists=True),
    ] = None,
    tree: Annotated[
        str,
        typer.Option(
            help="The tree it applies to: git:PATH@REV, debian:PACKAGE, tar:PATH or dir:PATH. "
            "Without it: that of the study that is copied."
        ),
    ] = "",
) -> None:
    """Make a study to start from: a copy with comments on what to change.

    With --series the kernels are the tree as it is, as the baseline, and the tree with the series. The claims then
    say that what the tree does is kept; those on what the series changes are yours to write. Nothing that is there
    is overwritten.
    """
    if origin is None:
        source = next(iter(locate.shipped().values()))
    else:
        source = locate.study_file(origin)
        source = source / locate.STUDY if source.is_dir() else source
    made = newstudy.make(folder, origin=source, series=series, tree=tree)
    print(f"{made}: read it, change what is yours, then")
    print(f"    kpv build {shlex.quote(str(folder))}       # does the series apply, configure and compile?")
    print(f"    kpv validate {shlex.quote(str(folder))}    # the verdict, and runs/<id>/report.html")
