"""What a run was made under: which part of the study it is, and preconditions as measured."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.observation import Boot
from pipeline.run import Run

#: Options of ``kpv validate`` that leave out a part of the study.
NARROWING = {"-k": "kernel", "--kernel": "kernel", "-m": "machine", "--machine": "machine", "-s": "scenario",
             "--scenario": "scenario"}  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """A precondition of boots that read alike. ``where``: which boots, in words."""

    what: str
    ok: bool
    want: str
    got: str
    where: str


@dataclass(frozen=True)
class Tally:
    """A precondition that tests measure themselves: how often it was met and not."""

    what: str
    met: int
    unmet: int


def narrowed(run: Run) -> tuple[str, ...]:
    """The options by which only a part of the study was run, as given: ``-k merged``; none for the whole study."""
    words, found = list(run.command), []
    for at, word in enumerate(words):
        name, _, value = word.partition("=")
        if word in NARROWING and at + 1 < len(words):
            found.append(shlex.join((word, words[at + 1])))
        elif (name in NARROWING and value) or (word[:2] in NARROWING and word[2:]):
            found.append(shlex.quote(word))
    return tuple(found)


def of_boots(run: Run) -> list[Measured]:
    """Each precondition of the boots once for each thing that was read."""
    found: dict[tuple[str, bool, str, str], list[Boot]] = {}
    for boot in run.boots:
        for need in boot.needs:
            found.setdefault((need.what, need.ok, need.want, need.got), []).append(boot)
    order = list(dict.fromkeys(need.what for boot in run.boots for need in boot.needs))
    return [
        Measured(what, ok, want, got, _where(boots, run.boots))
        for (what, ok, want, got), boots in sorted(found.items(), key=lambda item: order.index(item[0][0]))
    ]


def _where(boots: Sequence[Boot], every: Sequence[Boot]) -> str:
    """``every boot``; or the kernels, or machines, whose boots all read so; or the boots."""
    if len(boots) == len(every):
        return "every boot"
    for kind in ("kernel", "machine"):
        names = dict.fromkeys(getattr(boot, kind) for boot in boots)
        if len(boots) == sum(getattr(boot, kind) in names for boot in every):
            return f"{kind} {', '.join(names)}"
    return ", ".join(boot.id for boot in boots)


def of_cells(run: Run) -> list[Tally]:
    """Each precondition that tests measure, over all cells."""
    met: dict[str, list[bool]] = {}
    for cell in run.cells:
        for need in cell.needs:
            met.setdefault(need.what, []).append(need.ok)
    return [Tally(what, sum(ok), len(ok) - sum(ok)) for what, ok in met.items()]


def seeds(run: Run) -> list[tuple[str, str]]:
    """What is random in a run and where it begins: ``(QEMU, 1)``; none where nothing names a seed."""
    qemu = [boot.qemu[at + 1] for boot in run.boots for at, word in enumerate(boot.qemu[:-1]) if word == "-seed"]
    tests = sorted({cell.params["seed"] for cell in run.cells if "seed" in cell.params})
    found = {"QEMU": dict.fromkeys(qemu), "tests that draw": dict.fromkeys(map(str, tests))}
    return [(who, ", ".join(values)) for who, values in found.items() if values]
