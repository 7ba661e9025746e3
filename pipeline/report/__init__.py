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
#: Read of a trace for its excerpt in the page.
EXCERPT_BYTES = 64 * 1024


def names() -> list[str]:
    """The forms by the name that ``form`` takes, i.e. the module that makes each: html, junit, json, text..."""
    return [_name(render) for render in (*LINKING.values(), *FORMS.values())]


def form(name: str, run: Run, files: Mapping[str, Sequence[str]], folder: Path, *, tested_by: str = "") -> str:
    """One form of the report as text; ``files``, ``folder``: see ``write_all``. ``tested_by``: for report.txt alone,
    see ``text.render``. Raises UserError for a name that is none."""
    run = run if run.judgement is not None else run.judged()
    if tested_by and name == _name(text.render):
        return text.render(run, tested_by=tested_by)
    for file, linking in LINKING.items():
        if _name(linking) == name:
            return _linked(file, run, files, folder)
    for render in FORMS.values():
        if _name(render) == name:
            return render(run)
    raise near.unknown("form of report", name, names())


def _linked(file: str, run: Run, files: Mapping[str, Sequence[str]], folder: Path) -> str:
    """A form that links to records; the page has excerpts of them as well."""
    if file == "report.html":
        return html.render(run, files, lambda path: _beginning(folder / path))
    return LINKING[file](run, files)


def _beginning(path: Path) -> str:
    """The first EXCERPT_BYTES of a file of the run; "" where it is gone, which an old run's may be."""
    try:
        with path.open("rb") as file:
            return file.read(EXCERPT_BYTES).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


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
    texts |= {name: _linked(name, run, files, folder) for name in LINKING}
    for name, content in texts.items():
        write_text(folder / name, content, executable=name.endswith(".sh"))
    return {name: folder / name for name in texts}
