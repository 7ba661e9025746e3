"""The forms of a report, each made from a Run alone, so that an old run can be reported again."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

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


def write_all(run: Run, folder: Path, files: Mapping[str, Sequence[str]]) -> dict[str, Path]:
    """Write every form into ``folder`` and return the paths by file name; a run without a judgement is judged first.

    ``files`` maps cell names to paths of their bulky records (KTAP, console, trace), relative to
    ``folder``, which HTML and JUnit link to. Each file is written whole or not at all. Raises InfraError
    where the disk is full.
    """
    run = run if run.judgement is not None else run.judged()
    texts = {name: render(run) for name, render in FORMS.items()}
    texts["junit.xml"] = junit.render(run, files)
    texts["report.html"] = html.render(run, files)
    for name, content in texts.items():
        write_text(folder / name, content, executable=name.endswith(".sh"))
    return {name: folder / name for name in texts}
