"""report.html: one file that needs no network and no script. Here the run becomes what the template shows."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.judge.model import Decision, Row, Verdict
from pipeline.report import pages
from pipeline.report.cells import spots
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
from pipeline.study import Claim

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Column:
    """One kernel's share in a decision; ``decision`` is None where the kernel is not judged on it.

    ``rows``: those worth a line each. ``held``: (cell, anchor) of the rest. ``shows``: on the baseline,
    whether it shows the old behaviour.
    """

    kernel: str
    decision: Decision | None
    rows: tuple[Row, ...] = ()
    held: tuple[str, ...] = ()
    shows: str = ""


@dataclass(frozen=True)
class Topic:
    """A claim or invariant with what each kernel says of it; ``open``: worth reading first."""

    id: str
    title: str
    kind: str
    columns: tuple[Column, ...]
    claim: Claim | None
    open: bool


def render(run: Run, files: Mapping[str, Sequence[str]]) -> str:
    """The page as text. ``files`` maps cell names to paths relative to the page."""
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
    judgement = judgement_of(run)
    topics = _topics(run)
    verdicts = cell_verdicts(run)
    all_spots = spots(run, verdicts, files)
    return environment.get_template("report.html.j2").render(
        run=run,
        study=run.study.content,
        judgement=judgement,
        headline=headline(judgement),
        mark=MARK,
        kinds=[(KIND[kind], [t for t in topics if t.kind == kind]) for kind in KIND],
        spots=all_spots,
        anchors={name: anchor for spot in all_spots for name, anchor in spot.anchors},
        facts=[(kernel, fact(run, kernel.kernel)) for kernel in judgement.kernels],
        machines=[(name, machine_line(profile)) for name, profile in sorted(run.machines.items())],
        known=[(entry, _occurrences(run, entry.id)) for entry in run.study.content.known],
        pre_existing=_occurrences(run, "pre-existing"),
        emulator=EMULATOR,
        states=pages.STATES,
        base=base_version(run),
        study_path=study_path(run),
        command=command_of(run).replace('"$study"', shlex.quote(study_path(run))),
    )


def _href(path: str) -> str:
    """A link relative to the page: quoted, so that no path can turn into another scheme or host."""
    return "./" + quote(path.lstrip("/"))


def _topics(run: Run) -> list[Topic]:
    """Every decision once, across kernels, in the order of the judgement."""
    kernels = judgement_of(run).kernels
    heads: dict[str, Decision] = {}
    for kernel in kernels:
        for decision in kernel.decisions:
            heads.setdefault(decision.id, decision)
    claims = {claim.id: claim for claim in run.study.content.claim}
    topics = []
    for head in heads.values():
        columns = []
        for kernel in kernels:
            own = next((d for d in kernel.decisions if d.id == head.id), None)
            if own is not None:
                columns.append(_column(kernel.kernel, own))
                continue
            behaviour = next((b for b in kernel.behaviours if b.claim == head.id), None)
            if behaviour is not None:
                columns.append(Column(kernel.kernel, None, rows=behaviour.rows, shows=behaviour.shows))
            else:
                columns.append(Column(kernel.kernel, None))
        worth = any(c.decision is not None and c.decision.verdict != Verdict.PASS for c in columns)
        topics.append(Topic(head.id, head.title, head.kind, tuple(columns), claims.get(head.id), worth))
    return topics


def _column(kernel: str, decision: Decision) -> Column:
    """Claims show every row, for its numbers; invariants those that do not pass, and count the rest."""
    if decision.kind in ("function", "structure"):
        return Column(kernel, decision, rows=decision.rows)
    held = tuple(row.cell for row in decision.rows if row.verdict == Verdict.PASS)
    rows = tuple(row for row in decision.rows if row.verdict != Verdict.PASS)
    return Column(kernel, decision, rows=rows, held=held)


def _occurrences(run: Run, known: str) -> list[tuple[str, str]]:
    """(decision, cell) of each row that a known finding excuses."""
    return [
        (decision.id, row.cell)
        for kernel in judgement_of(run).kernels
        for decision in kernel.decisions
        for row in decision.rows
        if row.known == known
    ]
