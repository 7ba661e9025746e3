"""Counters of a job, the kernels side by side."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.judge.expr import GROUPS
from pipeline.observation import Cell, Step
from pipeline.study import Claim

NOT_OBSERVED = "–"
#: Shown only where a claim names them: what pictures, page states and the section on the TLB model show, and gauges
#: that the kernel folds now and then.
QUIET = ("pt.", "smaps.", "tlb.", "vmstat.nr_")


@dataclass(frozen=True)
class Value:
    """A number as text, and what its bar shows of it; None: no bar. Machines that differ are apart by a bar."""

    text: str
    number: int | None = None


@dataclass(frozen=True)
class CounterRow:
    """A counter of a step over the kernels. ``differs``: they are not all equal. ``most``: of the values."""

    step: str
    counter: str
    values: tuple[Value, ...]
    differs: bool

    @property
    def most(self) -> int:
        return max((abs(value.number or 0) for value in self.values), default=0)


def row(step: str, counter: str, numbers: Sequence[Sequence[int | None]]) -> CounterRow:
    """``numbers``: by kernel, then by machine."""
    values = []
    for of_kernel in numbers:
        texts = [NOT_OBSERVED if number is None else str(number) for number in of_kernel]
        values.append(Value(texts[0] if len(set(texts)) == 1 else " | ".join(texts), of_kernel[0]))
    return CounterRow(step, counter, tuple(values), len({value.text for value in values}) > 1)


def counters(machines: Sequence[Sequence[Cell]], claims: Sequence[Claim]) -> tuple[tuple[CounterRow, ...], int]:
    """Those that a claim names, or events that differ between kernels; and how many others there were.

    ``machines``: for each machine its cells, one a kernel in the same order.
    """
    named = {(claim.step, name) for claim in claims for name in names(claim)}
    steps = [[_steps(cell) for cell in cells] for cells in machines]
    rows, left = [], 0
    for step in dict.fromkeys(step for cells in steps for cell in cells for step in cell):
        of_step = [[cell.get(step, {}) for cell in cells] for cells in steps]
        for counter in dict.fromkeys(name for cells in of_step for cell in cells for name in cell):
            if (step, counter) not in named and _dull(of_step, counter):
                left += 1
                continue
            rows.append(row(step, counter, [[c.get(counter) for c in same] for same in zip(*of_step, strict=True)]))
    return tuple(rows), left


def names(claim: Claim) -> list[str]:
    """The counters that a claim names, in order, without the test's own input."""
    found = [name for text in (claim.candidate, claim.baseline) for name in _words(text)]
    return list(dict.fromkeys(found))


def _words(text: str) -> list[str]:
    shown = "".join(char if char.isalnum() or char in "._" else " " for char in text).split()
    return [word for word in shown if word.split(".")[0] in GROUPS and "." in word and not word.startswith("param.")]


def _dull(of_step: Sequence[Sequence[Mapping[str, int | None]]], counter: str) -> bool:
    """Whether on each machine every kernel has the same, or nothing was counted anywhere."""
    if counter.startswith(QUIET):
        return True
    numbers = [[cell.get(counter) for cell in cells] for cells in of_step]
    return not any(map(any, numbers)) or all(len(set(of_machine)) == 1 for of_machine in numbers)


def _steps(cell: Cell) -> dict[str, dict[str, int | None]]:
    """Counters by step; a name used again is numbered, so that nothing is hidden."""
    seen: Counter[str] = Counter()
    found = {}
    for step in cell.steps:
        seen[step.name] += 1
        key = step.name if seen[step.name] == 1 else f"{step.name} ({seen[step.name]})"
        found[key] = flat(step)
    return found


def flat(step: Step) -> dict[str, int | None]:
    """Every counter of a step by the name that claims use."""
    found: dict[str, int | None] = {"ret": step.ret, "errno": step.errno}
    for group in GROUPS:
        if group != "param":
            found |= {f"{group}.{name}": value for name, value in sorted(getattr(step, group).items())}
    return found
