"""report.html: one file that needs no network and no script. Here the run becomes what the template shows."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.report import cells, drawing, evidence, measured, pages, tlb
from pipeline.report.logs import Reader, nothing
from pipeline.report.reproduce import command_of, study_path
from pipeline.report.words import (
    EMULATOR,
    KIND,
    MARK,
    base_version,
    cell_verdicts,
    clean,
    counts,
    expectation,
    fact,
    headline,
    judgement_of,
    line,
    machine_line,
    outcomes,
    plural,
    short,
)
from pipeline.run import Run

TEMPLATES = Path(__file__).parent / "templates"


def render(run: Run, files: Mapping[str, Sequence[str]], read: Reader = nothing) -> str:
    """The page as text. ``files`` maps cell names to paths relative to the page, ``read`` reads such a path."""
    judgement = judgement_of(run)
    shown, left = cells.scenarios(run, cell_verdicts(run), files)
    topics = evidence.topics(run, shown, files, read)
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            run=run,
            study=run.study.content,
            judgement=judgement,
            headline=headline(judgement),
            kinds=[(KIND[kind], [t for t in topics if t.kind == kind]) for kind in KIND],
            topic_ids={topic.id for topic in topics},
            scenarios=shown,
            jobs_left=left,
            boot_files=cells.of_boots(run, files),
            anchors=cells.anchors(shown),
            facts=[(kernel, fact(run, kernel.kernel)) for kernel in judgement.kernels],
            machines=[(name, machine_line(profile)) for name, profile in sorted(run.machines.items())],
            known=[(entry, _occurrences(run, entry.id)) for entry in run.study.content.known],
            pre_existing=_occurrences(run, "pre-existing"),
            tlb=tlb.section(run),
            narrowed=measured.narrowed(run),
            seeds=measured.seeds(run),
            boot_needs=measured.of_boots(run),
            cell_needs=measured.of_cells(run),
            base=base_version(run),
            study_path=study_path(run),
            command=command_of(run).replace('"$study"', shlex.quote(study_path(run))),
        )
    )


def environment() -> Environment:
    """Of every page's templates: strict and escaping, with the filters and words that they share."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"clean": clean, "line": line, "short": short, "pages": pages.markup, "href": _href}
    environment.filters |= {"pages_letter": pages.one, "shell": lambda words: clean(shlex.join(words))}
    environment.globals |= {"plural": plural, "counts": counts, "expectation": expectation, "outcomes": outcomes}
    environment.globals |= {"mark": MARK, "emulator": EMULATOR, "states": pages.STATES, "draw": drawing}
    return environment


def _href(path: str) -> str:
    """A link relative to the page: quoted, so that no path can turn into another scheme or host."""
    return "./" + quote(path.lstrip("/"))


def _occurrences(run: Run, known: str) -> list[tuple[str, str]]:
    """(decision, cell) of each row that a known finding excuses."""
    return [
        (decision.id, row.cell)
        for kernel in judgement_of(run).kernels
        for decision in kernel.decisions
        for row in decision.rows
        if row.known == known
    ]
