"""Words for the shell's completion.

Whatever goes wrong gives no words: a shell that completes is no place for errors.
"""

import os
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path

import typer

from pipeline import explain, locate, report
from pipeline import study as studies
from pipeline.catalogue import lists, pages
from pipeline.errors import KpvError
from pipeline.study import Study

Words = list[tuple[str, str]]


def _completer(words: Callable[[typer.Context], Iterable[tuple[str, str]]]) -> Callable[[typer.Context, str], Words]:
    """A completer that typer can call: those words that begin as what is typed, each with its help."""

    def complete(ctx: typer.Context, incomplete: str) -> Words:
        try:
            return [(word, told) for word, told in words(ctx) if word.startswith(incomplete)]
        except (KpvError, OSError, ValueError):
            return []

    return complete


def _study(ctx: typer.Context) -> Study:
    """The study that the command line names so far, else the one nearest at hand."""
    given = ctx.params.get("study_file") or next((word for word in _typed() if _names_study(word)), None)
    return studies.load(locate.study_file(Path(given) if given else None))


def _typed() -> list[str]:
    """The words so far. click forgets them where the last is an option that still lacks its value."""
    line = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS", "")
    try:
        return shlex.split(line)[1:]
    except ValueError:  # an open quote
        return line.split()[1:]


def _names_study(word: str) -> bool:
    return word.endswith(".toml") or (Path(word) / locate.STUDY).is_file() or word in locate.shipped()


def _kernels(ctx: typer.Context) -> Iterable[tuple[str, str]]:
    return [(kernel.id, kernel.title) for kernel in _study(ctx).kernel]


def _machines(ctx: typer.Context) -> Iterable[tuple[str, str]]:
    return [(row[0], row[-1]) for row in lists.all_machines(_study(ctx)).rows]


def _study_machines(ctx: typer.Context) -> Iterable[tuple[str, str]]:
    return [(name, "") for name in _study(ctx).machines]


def _scenarios(ctx: typer.Context) -> Iterable[tuple[str, str]]:
    every = _study(ctx).scenario
    return [(s.id, s.title) for s in every] + [(f"{s.id}.{v}", s.title) for s in every for v in s.variants]


def _runs(ctx: typer.Context) -> Iterable[tuple[str, str]]:
    root = Path(ctx.params.get("runs") or "runs")
    return [("last", "the newest run"), *((folder.name, "") for folder in reversed(locate.run_folders(root)))]


def _names(ctx: typer.Context) -> Iterable[tuple[str, str]]:
    """Names of the kind that ``kpv show`` was given."""
    kind = ctx.params.get("kind")
    if kind in pages.OF_STUDY:
        listing = lists.OF_STUDY[f"{kind}s"](_study(ctx))
        return [(row[0], row[-1]) for row in listing.rows]
    if kind == "study":
        return [(name, "") for name in locate.shipped()]
    return _runs(ctx) if kind == "run" else []


def _words(ctx: typer.Context) -> Iterable[tuple[str, str]]:
    return {topic.word: topic.kind for topic in explain.topics(_study(ctx))}.items()


study = _completer(lambda ctx: [(name, "comes with kpv") for name in locate.shipped()])
kernel = _completer(_kernels)
machine = _completer(_study_machines)
any_machine = _completer(_machines)
scenario = _completer(_scenarios)
run = _completer(_runs)
name = _completer(_names)
word = _completer(_words)
form = _completer(lambda ctx: [(name, "") for name in report.names()])
list_kind = _completer(lambda ctx: [(kind, "") for kind in ("studies", *lists.OF_STUDY, "runs")])
show_kind = _completer(lambda ctx: [(kind, "") for kind in ("study", *pages.OF_STUDY, "run", "cell")])
