"""What changed from one run to another: what was put in, what was judged, what was counted."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from pipeline.catalogue.pages import Page, Section
from pipeline.judge.model import Verdict
from pipeline.observation import Cell
from pipeline.report.words import judgement_of, short
from pipeline.run import KernelFact, Run

#: Rows of a table for a person.
SHOWN = 40
#: Groups of a step's counters.
COUNTERS = ("vmstat", "mthp", "probe", "smaps", "pt")


@dataclass(frozen=True)
class Change:
    """``what`` was ``old`` in the first run and is ``new`` in the second; "none" where one does not have it."""

    what: str
    old: str
    new: str


@dataclass(frozen=True)
class Counter:
    """A counter of a step that differs on a kernel: in ``cells`` of ``of`` cells that both runs have.

    ``deciding``: a claim of the study names it. ``cell``, ``old`` and ``new``: the first of them, "none" where
    the counter was not there.
    """

    kernel: str
    step: str
    counter: str
    deciding: bool
    cells: int
    of: int
    cell: str
    old: str
    new: str


@dataclass(frozen=True)
class Comparison:
    """``inputs``: study, kernels, machines, tools, parameters such as seeds. ``verdicts``: of kernels, of claims and
    invariants on them, and of single cells on these. ``outcomes``: how cells ended. ``only_old`` and ``only_new``:
    cells that one run has."""

    old: str
    new: str
    inputs: tuple[Change, ...]
    verdicts: tuple[Change, ...]
    outcomes: tuple[Change, ...]
    counters: tuple[Counter, ...]
    only_old: tuple[str, ...]
    only_new: tuple[str, ...]

    @property
    def verdict_changed(self) -> bool:
        return bool(self.verdicts)


def compare(old: Run, new: Run) -> Comparison:
    """Compare two judged runs; what only one of them has is told, and is no change of a verdict."""
    ours, theirs = ({cell.name: cell for cell in run.cells} for run in (old, new))
    both = [(cell, theirs[name]) for name, cell in ours.items() if name in theirs]
    return Comparison(
        old=old.id,
        new=new.id,
        inputs=(*_changes(_inputs(old), _inputs(new)), *_params(both)),
        verdicts=tuple(_changes(_verdicts(old), _verdicts(new), common=True)),
        outcomes=tuple(Change(a.name, a.outcome, b.outcome) for a, b in both if a.outcome != b.outcome),
        counters=tuple(_counters(both, _named(old) | _named(new))),
        only_old=tuple(name for name in ours if name not in theirs),
        only_new=tuple(name for name in theirs if name not in ours),
    )


def _changes(old: Mapping[str, str], new: Mapping[str, str], *, common: bool = False) -> Iterable[Change]:
    """The keys whose values differ; ``common``: only those that both have."""
    for key in dict.fromkeys([*old, *new]):
        if old.get(key) != new.get(key) and not (common and (key not in old or key not in new)):
            yield Change(key, old.get(key, "none"), new.get(key, "none"))


def _inputs(run: Run) -> dict[str, str]:
    """Everything that was put in, by a name for a person."""
    host = {f"host: {name}": value for name, value in run.host.model_dump().items()}
    machines = {
        f"machine {machine}: {key}": str(value)
        for machine, profile in run.machines.items()
        for key, value in profile.items()
    }
    kernels = {key: value for kernel in run.kernels for key, value in _kernel(kernel).items()}
    plugins = {f"plugins of {boot.machine}": ", ".join(boot.plugins) for boot in run.boots}
    return {"kpv": run.kpv, **host, **machines, **kernels, **plugins, **_study(run)}


def _kernel(kernel: KernelFact) -> dict[str, str]:
    facts = {
        "source": f"{kernel.source} {kernel.version}".strip(),
        "series": ", ".join(f"{patch.subject} ({short(patch.sha256)})" for patch in kernel.series) or "no patch",
        "fragments": " ".join(kernel.fragments),
        "config": short(kernel.config_sha256),
        "image": short(kernel.image_sha256),
        "build-id": short(kernel.build_id),
        "compiler": kernel.toolchain,
    }
    return {f"kernel {kernel.id}: {name}": value for name, value in facts.items()}


def _study(run: Run) -> dict[str, str]:
    """The study's parts key by key, and its file last: what a file says that no key shows is a comment."""
    content = run.study.content.model_dump(mode="json", by_alias=True, exclude={"path"})
    found = {}
    for key, value in content.items():
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            found[f"study: {key}"] = str(value)
            continue
        for entry in value:
            name = f"study: {key} {entry['id']}"
            if key == "scenario":  # an id may come twice, with other variants
                name += f" ({entry['fixture']}, {', '.join(entry['variants'])})"
            for part, what in entry.items():
                if part != "id":
                    found[f"{name}: {part}"] = str(what)
    return found | {"study: file": short(run.study.sha256)}


def _params(both: Iterable[tuple[Cell, Cell]]) -> Iterable[Change]:
    """Parameters that a test was run with or chose, e.g. the seed of a random one."""
    for old, new in both:
        before, after = ({name: str(value) for name, value in cell.params.items()} for cell in (old, new))
        for change in _changes(before, after):
            yield Change(f"{old.name}: param.{change.what}", change.old, change.new)


def _verdicts(run: Run) -> dict[str, str]:
    found = {}
    for kernel in judgement_of(run).kernels:
        found[f"{kernel.kernel}"] = str(kernel.verdict)
        for decision in kernel.decisions:
            found[f"{kernel.kernel}: {decision.id}"] = _told(decision.verdict, decision.known)
            for row in decision.rows:
                found[f"{row.cell}: {decision.id}"] = _told(row.verdict, [row.known] if row.known else [])
    return found


def _told(verdict: Verdict, known: Sequence[str]) -> str:
    return f"{verdict} ({', '.join(known)})" if known else str(verdict)


def _named(run: Run) -> set[str]:
    """Counters that a claim of the study names, as ``vmstat.pglazyfree``."""
    words: set[str] = set()
    for claim in run.study.content.claim:
        text = "".join(
            char if char.isalnum() or char in "._" else " " for char in f"{claim.candidate} {claim.baseline}"
        )
        words |= {word for word in text.split() if word.partition(".")[0] in COUNTERS}
    return words


def _counters(both: Iterable[tuple[Cell, Cell]], named: set[str]) -> list[Counter]:
    """Deciding counters first, then those that differ in most cells."""
    seen: dict[tuple[str, str, str], int] = defaultdict(int)
    differing: list[tuple[tuple[str, str, str], str, str, str]] = []
    for old, new in both:
        before, after = _counts(old), _counts(new)
        for (step, counter), value in before.items():
            if (step, counter) not in after:
                continue
            key = (old.kernel, step, counter)
            seen[key] += 1
            if (then := after[step, counter]) != value:
                differing.append((key, old.name, _shown(value), _shown(then)))
    differing.sort(key=lambda entry: entry[0])
    found = []
    for key, group in groupby(differing, key=lambda entry: entry[0]):
        cells = list(group)
        kernel, step, counter = key
        _, name, value, then = cells[0]
        deciding = counter in named
        found.append(Counter(kernel, step, counter, deciding, len(cells), seen[key], name, value, then))
    return sorted(found, key=lambda entry: (not entry.deciding, -entry.cells, entry.counter, entry.step))


def _counts(cell: Cell) -> dict[tuple[str, str], int | None]:
    return {
        (step.name, f"{group}.{name}"): value
        for step in cell.steps
        for group in COUNTERS
        for name, value in getattr(step, group).items()
    }


def _shown(value: int | None) -> str:
    return "none" if value is None else str(value)


def page(found: Comparison) -> Page:
    """For a person: verdicts first. Inputs and counters are cut to SHOWN rows; ``--json`` has them all."""
    gone = [(f"only in {found.old}", name) for name in found.only_old]
    new = [(f"only in {found.new}", name) for name in found.only_new]
    counters = [
        (
            c.kernel,
            c.step,
            c.counter,
            "yes" if c.deciding else "",
            f"{c.cells} of {c.of}",
            f"{c.old} -> {c.new}",
            c.cell,
        )
        for c in found.counters
    ]
    changed = ("what", "before", "after")
    verdicts = [(change.what, change.old, change.new) for change in found.verdicts]
    outcomes = [(change.what, change.old, change.new) for change in found.outcomes]
    inputs = [(change.what, change.old, change.new) for change in found.inputs]
    told = f"{len(verdicts)} verdict{'s' * (len(verdicts) != 1)} changed" if verdicts else "no verdict changed"
    return Page(
        f"{found.old} -> {found.new}: {told}",
        (
            _section("verdicts", verdicts, changed),
            _section("how cells ended", outcomes, changed),
            _section("inputs", inputs, changed),
            _section(
                "counters", counters, ("kernel", "step", "counter", "claimed on", "cells", "first of them", "there")
            ),
            _section("cells that one run has", [*gone, *new], ("which", "cell")),
        ),
    )


def _section(title: str, rows: Sequence[tuple[str, ...]], columns: tuple[str, ...]) -> Section:
    cut = f" (the first {SHOWN} of {len(rows)}; --json has all)" if len(rows) > SHOWN else ""
    return Section(title + cut, tuple(rows[:SHOWN]), columns)
