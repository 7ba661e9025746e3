"""A run, or one cell of it, shown whole: what was checked, counted and decided."""

from collections.abc import Iterable

from pipeline import near
from pipeline.catalogue.pages import Page, Section
from pipeline.compare import COUNTERS
from pipeline.judge.model import Decision, Row
from pipeline.observation import Cell
from pipeline.report.words import MARK, clean, counts, expectation, judgement_of, line, outcomes
from pipeline.run import Run

#: Lines of a cell's console that are shown, from its end.
CONSOLE = 30


def run_page(run: Run) -> Page:
    """A run's facts, its kernels, and every decision that is not PASS."""
    judgement = judgement_of(run)
    facts = (
        ("study", f"{run.study.content.title} ({run.study.file})"),
        ("started", run.started),
        ("command", " ".join(run.command)),
        ("kpv", f"{run.kpv} {run.host.kpv_git}".strip()),
        ("host", ", ".join(filter(None, (run.host.os, run.host.qemu, run.host.gcc)))),
        ("cells", outcomes(run.cells)),
        ("verdict", f"{judgement.verdict} (exit code {judgement.exit_code})"),
        *(("infrastructure", problem) for problem in judgement.infra),
    )
    kernels = tuple((k.kernel, str(k.verdict), counts(k), expectation(k)) for k in judgement.kernels)
    open_ = tuple(
        (k.kernel, d.id, str(d.verdict), line(d.reason))
        for k in judgement.kernels
        for d in k.decisions
        if d.verdict != d.verdict.PASS
    )
    return Page(
        run.id,
        (
            Section("", facts),
            Section("kernels", kernels, ("kernel", "verdict", "decisions", "expected")),
            Section("not PASS", open_, ("kernel", "claim or invariant", "verdict", "reason")),
        ),
        judgement.model_dump(mode="json"),
    )


def cell_page(run: Run, name: str) -> Page:
    """One cell. ``name``: ``kernel/machine/scenario.variant``. Raises UserError."""
    cell = next((cell for cell in run.cells if cell.name == name), None)
    if cell is None:
        raise near.unknown("cell", name, [cell.name for cell in run.cells], where=run.id)
    rows = [
        (decision, row)
        for kernel in judgement_of(run).kernels
        for decision in kernel.decisions
        for row in decision.rows
        if row.cell == name
    ]
    data = {
        "cell": cell.model_dump(mode="json"),
        "decisions": [{"id": d.id, "kind": d.kind, **row.model_dump(mode="json")} for d, row in rows],
    }
    return Page(f"{cell.name}: {cell.outcome}", tuple(_sections(cell, rows)), data)


def _sections(cell: Cell, rows: Iterable[tuple[Decision, Row]]) -> Iterable[Section]:
    params = " ".join(f"{name}={value}" for name, value in cell.params.items())
    facts = [("reason", line(cell.reason)), ("seconds", f"{cell.seconds:.2f}"), ("boot", cell.boot), ("params", params)]
    yield Section("", tuple(fact for fact in facts if fact[1]))
    unmet = tuple((need.what, need.want, need.got) for need in cell.needs if not need.ok)
    yield Section("needs that were not met", unmet, ("need", "wanted", "found"))
    if cell.needs and not unmet:
        yield Section(
            "", (("needs", f"all {len(cell.needs)} met: {' '.join(dict.fromkeys(n.what for n in cell.needs))}"),)
        )
    yield Section(
        "decided on it",
        tuple((f"{MARK[row.verdict]} {row.verdict}", d.id, d.kind, line(row.reason or row.text)) for d, row in rows),
        ("verdict", "claim or invariant", "kind", "because"),
    )
    yield Section("checks", tuple(_checks(cell)), ("check", "held", "failed", "first failure"))
    yield Section("counters", tuple(_counters(cell)), ("step", "returned", "counters that are not 0"))
    yield Section("pages", tuple((p.at, p.region, p.states) for p in cell.pages), ("at", "region", "one letter a page"))
    yield Section("kernel findings on the console", tuple(("-", line(finding)) for finding in cell.console_findings))
    yield Section("records that cannot be read", tuple(("-", line(text)) for text in cell.malformed))
    tail = clean(cell.console).rstrip("\n").split("\n")[-CONSOLE:] if cell.console else []
    yield Section("end of its console", tuple(("", text) for text in tail))


def _checks(cell: Cell) -> Iterable[tuple[str, ...]]:
    for name in dict.fromkeys(check.name for check in cell.checks):
        tried = [check for check in cell.checks if check.name == name]
        failed = [check for check in tried if not check.ok]
        yield name, str(len(tried) - len(failed)), str(len(failed)), line(failed[0].detail) if failed else ""


def _counters(cell: Cell) -> Iterable[tuple[str, ...]]:
    for step in cell.steps:
        values = [
            f"{group}.{name}={'?' if value is None else value}"
            for group in COUNTERS
            for name, value in getattr(step, group).items()
            if value != 0
        ]
        yield step.name, f"{step.ret}{f' (errno {step.errno})' if step.errno else ''}", " ".join(values)
