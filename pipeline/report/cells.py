"""The cells of a run side by side: one machine and scenario on every kernel."""

import ast
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.judge.expr import GROUPS
from pipeline.judge.model import Verdict
from pipeline.observation import Cell, Outcome, Pages, Step
from pipeline.report.words import cut
from pipeline.run import Run
from pipeline.study import Study, matches

#: Of a log in the page; the rest is in the run's folder.
LOG_LINES, LOG_CHARS = 120, 12_000
TRACE_LINES, TRACE_CHARS = 60, 8_000
#: Enough of a study that went wrong everywhere; beyond it a log is only linked.
MAX_LOGS = 60


@dataclass(frozen=True)
class Log:
    """A text of the guest, its end: ``left`` lines before it were left off."""

    name: str
    text: str
    left: int


@dataclass(frozen=True)
class Shown:
    """One cell with its share in the verdict. ``checks``: ``(name, held, broken details)``."""

    cell: Cell
    anchor: str
    verdict: Verdict
    reason: str
    checks: tuple[tuple[str, int, tuple[str, ...]], ...]
    logs: tuple[Log, ...]
    files: tuple[str, ...]


@dataclass(frozen=True)
class CounterRow:
    """A counter of a step over the kernels, "–" where it was not observed; ``differs``: they are not all equal."""

    step: str
    counter: str
    values: tuple[str, ...]
    differs: bool


@dataclass(frozen=True)
class PagesRow:
    """Page states at a checkpoint; kernels that show the same states share a drawing."""

    at: str
    region: str
    drawings: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Spot:
    """A scenario's variant on a machine, its cells in the study's order of kernels."""

    machine: str
    scenario: str
    title: str
    shown: tuple[Shown, ...]
    counters: tuple[CounterRow, ...]
    zeros: int
    pages: tuple[PagesRow, ...]

    @property
    def anchors(self) -> list[tuple[str, str]]:
        return [(one.cell.name, one.anchor) for one in self.shown]


def spots(run: Run, verdicts: Mapping[str, tuple[Verdict, str]], files: Mapping[str, Sequence[str]]) -> list[Spot]:
    """Every machine and scenario of the run, in the study's order, then what the study does not ask for."""
    study = run.study.content
    titles = {f"{s.id}.{v}": s.title for s in study.scenario for v in s.variants}
    order = {name: at for at, name in enumerate(titles)}
    kernels = {kernel.id: at for at, kernel in enumerate(study.kernel)}
    machines = {name: at for at, name in enumerate(study.machines)}
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in run.cells:
        groups.setdefault((cell.machine, f"{cell.scenario}.{cell.variant}"), []).append(cell)
    found, number, logged = [], 0, 0

    def place(key: tuple[str, str]) -> tuple[int, str, int, str]:
        machine, scenario = key
        return machines.get(machine, len(machines)), machine, order.get(scenario, len(order)), scenario

    for machine, scenario in sorted(groups, key=place):
        cells = sorted(groups[machine, scenario], key=lambda c: (kernels.get(c.kernel, len(kernels)), c.kernel))
        shown = []
        for cell in cells:
            number += 1
            verdict, reason = verdicts[cell.name]
            loud = verdict != Verdict.PASS or cell.outcome != Outcome.PASSED
            logs = _logs(cell) if loud and logged < MAX_LOGS else ()
            logged += bool(logs)
            paths = tuple(files.get(cell.name, ()))
            shown.append(Shown(cell, f"c{number}", verdict, reason, _checks(cell), logs, paths))
        counters, zeros = _counters(cells, _named_counters(study, scenario))
        title = titles.get(scenario, "not in the study")
        found.append(Spot(machine, scenario, title, tuple(shown), counters, zeros, _pages(cells)))
    return found


def _checks(cell: Cell) -> tuple[tuple[str, int, tuple[str, ...]], ...]:
    names = dict.fromkeys(check.name for check in cell.checks)
    return tuple(
        (
            name,
            sum(check.ok for check in cell.checks if check.name == name),
            tuple(check.detail or "does not hold" for check in cell.checks if check.name == name and not check.ok),
        )
        for name in names
    )


def _logs(cell: Cell) -> tuple[Log, ...]:
    texts = (
        ("KTAP", cell.ktap, LOG_LINES, LOG_CHARS),
        ("Console", cell.console, LOG_LINES, LOG_CHARS),
        ("Trace, its end", cell.trace, TRACE_LINES, TRACE_CHARS),
    )
    return tuple(Log(name, *cut(text, lines=lines, chars=chars)) for name, text, lines, chars in texts if text.strip())


def _named_counters(study: Study, scenario: str) -> set[tuple[str, str]]:
    """(step, counter) pairs that a claim on ``<scenario>.<variant>`` names: shown even where they are 0 everywhere."""
    names = set()
    for claim in study.claim:
        if not any(matches(scenario, glob) for glob in claim.scenarios):
            continue
        for text in (claim.candidate, claim.baseline):
            try:
                tree = ast.parse(" ".join(text.split()), mode="eval")
            except SyntaxError:  # an old run's study; the judge has told it
                continue
            for node in ast.walk(tree):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                    names.add((claim.step, f"{node.value.id}.{node.attr}"))
    return names


def _counters(cells: list[Cell], named: set[tuple[str, str]]) -> tuple[tuple[CounterRow, ...], int]:
    """Counters side by side, and how many were left off as 0 on every kernel."""
    per_cell = [_steps(cell) for cell in cells]
    rows, zeros = [], 0
    for key in dict.fromkeys(key for steps in per_cell for key in steps):
        values = [steps.get(key, {}) for steps in per_cell]
        counters = dict.fromkeys(name for one in values for name in one)
        for counter in counters:
            numbers = [one.get(counter) for one in values]
            if (key, counter) not in named and not any(numbers):
                zeros += 1
                continue
            shown = tuple("–" if number is None else str(number) for number in numbers)
            rows.append(CounterRow(key, counter, shown, len(set(shown)) > 1))
    return tuple(rows), zeros


def _steps(cell: Cell) -> dict[str, dict[str, int | None]]:
    """Counters by step; a name used again is numbered, so that nothing is hidden."""
    seen: Counter[str] = Counter()
    found = {}
    for step in cell.steps:
        seen[step.name] += 1
        key = step.name if seen[step.name] == 1 else f"{step.name} ({seen[step.name]})"
        found[key] = _step(step)
    return found


def _step(step: Step) -> dict[str, int | None]:
    found: dict[str, int | None] = {"ret": step.ret, "errno": step.errno}
    for group in GROUPS:
        if group != "param":
            found |= {f"{group}.{name}": value for name, value in sorted(getattr(step, group).items())}
    return found


def _pages(cells: list[Cell]) -> tuple[PagesRow, ...]:
    rows = []
    seen_keys = dict.fromkeys((record.at, record.region, at) for cell in cells for record, at in _numbered(cell))
    for key in seen_keys:
        same: dict[str, list[str]] = {}
        for cell in cells:
            for record, at in _numbered(cell):
                if (record.at, record.region, at) == key:
                    same.setdefault(record.states, []).append(cell.kernel)
        everyone = len(same) == 1 and len(next(iter(same.values()))) == len(cells) > 1
        drawings = tuple(
            ("all kernels" if everyone else ", ".join(kernels), states) for states, kernels in same.items()
        )
        rows.append(PagesRow(key[0], key[1], drawings))
    return tuple(rows)


def _numbered(cell: Cell) -> Iterator[tuple[Pages, int]]:
    """Page records with how often the same checkpoint and region came before."""
    seen: Counter[tuple[str, str]] = Counter()
    for record in cell.pages:
        yield record, seen[record.at, record.region]
        seen[record.at, record.region] += 1
