"""The forms of a report, each made from a Run alone, so that an old run can be reported again."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pipeline import near
from pipeline.report import html, json, junit, ktap, markdown, reproduce, text
from pipeline.run import Run, write_text

#: Files that depend on nothing but the run.
FORMS: dict[str, Callable[[Run], str]] = {
    "run.json": json.render,
    "report.txt": text.render,
    "report.ktap": ktap.render,
    "summary.md": markdown.render,
    "reproduce.sh": reproduce.render,
}
#: Files that link to the records of cells.
LINKING: dict[str, Callable[[Run, Mapping[str, Sequence[str]]], str]] = {
    "report.html": html.render,
    "junit.xml": junit.render,
}


def names() -> list[str]:
    """The forms by the name that ``form`` takes, i.e. the module that makes each: html, junit, json, text..."""
    return [_name(render) for render in (*LINKING.values(), *FORMS.values())]


def form(name: str, run: Run, files: Mapping[str, Sequence[str]]) -> str:
    """One form of the report as text; ``files``: see ``write_all``. Raises UserError for a name that is none."""
    run = run if run.judgement is not None else run.judged()
    for linking in LINKING.values():
        if _name(linking) == name:
            return linking(run, files)
    for render in FORMS.values():
        if _name(render) == name:
            return render(run)
    raise near.unknown("form of report", name, names())


def _name(render: Callable[..., str]) -> str:
    return render.__module__.rpartition(".")[2]


def write_all(run: Run, folder: Path, files: Mapping[str, Sequence[str]]) -> dict[str, Path]:
    """Write every form into ``folder`` and return the paths by file name; a run without a judgement is judged first.

    ``files`` maps cell names to paths of their bulky records (KTAP, console, trace), relative to
    ``folder``, which HTML and JUnit link to. Each file is written whole or not at all. Raises InfraError
    where the disk is full.
    """
    run = run if run.judgement is not None else run.judged()
    texts = {name: render(run) for name, render in FORMS.items()}
    texts |= {name: render(run, files) for name, render in LINKING.items()}
    for name, content in texts.items():
        write_text(folder / name, content, executable=name.endswith(".sh"))
    return {name: folder / name for name in texts}
