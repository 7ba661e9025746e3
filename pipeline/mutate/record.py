"""What is known of a mutant once it was tried, and keeping it for as long as nothing that matters changes."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from pipeline import plan
from pipeline.judge.model import Noun
from pipeline.mutate import mutant
from pipeline.mutate.score import Finding, Outcome
from pipeline.store import Store
from pipeline.study import Scenario, Study

#: Outcomes that another try would not change.
LASTING = frozenset({Outcome.KILLED, Outcome.SURVIVED, Outcome.ACCEPTED, Outcome.REJECTED, Outcome.NOT_BUILT})


class Times(Noun):
    """Seconds of wall time. ``build`` is 0 where the kernel was in the store, ``run`` from the first boot on."""

    patch: float = 0.0
    build: float = 0.0
    run: float = 0.0

    @property
    def total(self) -> float:
        return self.patch + self.build + self.run


class Commands(Noun):
    """What made the kernel, and the VMs it ran in."""

    make: str = ""
    qemu: tuple[str, ...] = ()


class Result(Noun):
    """One mutant's result, and one object of the JSON output.

    ``kernel``: the kernel under test, which it changes. ``killed_by``: the certain kills seen; of
    a legal variant, what rejects it. ``structure``: structure claims that a legal variant breaks.
    ``inconclusive``: what was left undecided. ``reason``: why there is no kernel, or that
    it is no other one. ``cells``: how many were observed on each machine, of how many.
    ``image_sha256``: of its kernel's Image. ``cached``: a recorded result, with the times of then.
    """

    file: str
    name: str
    title: str
    about: str = ""
    kind: mutant.Kind
    kernel: str
    outcome: Outcome
    killed_by: tuple[Finding, ...] = ()
    structure: tuple[Finding, ...] = ()
    inconclusive: tuple[Finding, ...] = ()
    reason: str = ""
    all_checks: bool = False
    cells: dict[str, str] = Field(default_factory=dict)
    times: Times = Times()
    image_sha256: str = ""
    commands: Commands = Commands()
    cached: bool = False


def inputs(
    *,
    kernel: Mapping[str, Any],
    reference: Mapping[str, Any],
    kind: mutant.Kind,
    all_checks: bool,
    judged: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything that can change a result.

    ``kernel`` and ``reference``: the inputs of the two kernels' builds; ``judged``: see ``judge.inputs``, of the
    study as it is judged, see ``score.study_of``. The mutant's name and title do not count.
    """
    return {
        "kernel": dict(kernel),
        "reference": dict(reference),
        "kind": kind,
        "all_checks": all_checks,
        **judged,
    }


def find(store: Store, wanted: Mapping[str, Any]) -> Result | None:
    """The recorded result of these inputs; one of all checks serves who wants the first kill as well."""
    for all_checks in (True,) if wanted["all_checks"] else (True, False):
        folder = store.find("mutant", {**wanted, "all_checks": all_checks})
        if folder is not None and (result := _read(folder)) is not None:
            return result.model_copy(update={"cached": True})
    return None


def keep(store: Store, wanted: Mapping[str, Any], result: Result) -> bool:
    """Record a result; False for one that another try may change. A fresh one replaces an older one."""
    if result.outcome not in LASTING:
        return False

    def make(folder: Path) -> None:
        (folder / "result.json").write_text(result.model_dump_json(indent=1) + "\n", encoding="utf-8")

    before = store.find("mutant", wanted)
    if before is not None:
        store.remove(before.name)
    store.artifact("mutant", wanted, make, subject=result.name)
    return True


def earlier(store: Store, name: str) -> Result | None:
    """The last result of a mutant of this name, of whatever kernel and suite: it only says what to try first."""
    folder = store.latest("mutant", name)
    return _read(folder) if folder is not None else None


class Killers:
    """Which cells should run first: those that killed this mutant the last time, then those that killed others,
    then one of each scenario before a second one of any."""

    def __init__(self, study: Study) -> None:
        self._kills: dict[str, frozenset[tuple[str, str]]] = {}
        self._waves = {f"{scenario.id}.{v}": n for scenario in study.scenario for n, v in enumerate(_varied(scenario))}

    def add(self, result: Result) -> None:
        """What killed a mutant; a later result of the same takes the place of an earlier one."""
        certain = {(kill.machine, kill.cell) for kill in result.killed_by if kill.kind != "structure"}
        self._kills[result.name] = frozenset(certain)

    def rank(self, mutant: str) -> Callable[[plan.CellSpec], tuple[int, int, int]]:
        """For a mutant of this name: the lower, the earlier a cell should run."""
        own = self._kills.get(mutant, frozenset())
        kills = Counter(kill for each in self._kills.values() for kill in each)

        def of(spec: plan.CellSpec) -> tuple[int, int, int]:
            at = (spec.machine, spec.job)
            return (0 if at in own else 1, -kills[at], self._waves.get(spec.job, 0))

        return of


def _varied(scenario: Scenario) -> list[str]:
    """The variants of a scenario, the folio of one contiguous block first: it has most of what the others have."""
    return sorted(scenario.variants, key=lambda variant: variant.partition("_")[0] != "64k")


def _read(folder: Path) -> Result | None:
    """A recorded result; None where it was removed meanwhile, or is of another version."""
    try:
        return Result.model_validate_json((folder / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None
