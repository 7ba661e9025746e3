"""One pass of a suite, as far as two of them can be told apart, and keeping it."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import Field, ValidationError

from pipeline.judge.model import BuildFact, Decision, Noun, Verdict
from pipeline.judge.verdict import judge
from pipeline.observation import Boot, Cell
from pipeline.store import Store
from pipeline.study import Kernel, Study


class Pass(Noun):
    """One run of every cell of a kernel.

    ``outcomes``: how each cell ended, by its name. ``verdicts``: by check and place (``<kernel>/<machine>/<cell>``,
    or less of it for what is about a boot or a kernel). ``reasons``: likewise, of what did not pass. ``boots``: how
    each ended. ``started``: UTC; ``seconds``: of wall time.
    """

    number: int
    started: str
    seconds: float
    outcomes: dict[str, str]
    verdicts: dict[str, dict[str, Verdict]]
    reasons: dict[str, dict[str, str]] = Field(default_factory=dict)
    boots: dict[str, str] = Field(default_factory=dict)
    cached: bool = False

    def facts(self) -> dict[tuple[str, str], str]:
        """Everything that must be the same each time: (what, where) -> outcome or verdict."""
        found = {("outcome", name): str(outcome) for name, outcome in self.outcomes.items()}
        for check, rows in self.verdicts.items():
            found |= {(check, place): str(verdict) for place, verdict in rows.items()}
        return found

    def reason(self, what: str, where: str) -> str:
        return self.reasons.get(what, {}).get(where, "")


def alone(study: Study, kernel: Kernel) -> Study:
    """The study with one kernel, judged by itself: that a claim tells it from the baseline is not at issue."""
    role = kernel.model_copy(update={"role": "candidate"})
    return study.model_copy(update={"kernel": (role,), "compare": False})


def of(
    study: Study, cells: Iterable[Cell], boots: Iterable[Boot], *, number: int, started: str, seconds: float
) -> Pass:
    """What the judge makes of the cells of one pass; ``study``: see ``alone``."""
    (kernel,) = study.kernel
    cells, boots = list(cells), list(boots)
    (judged,) = judge(study, cells, boots, {kernel.id: BuildFact(ok=True)}).kernels
    rows = [(decision.id, row) for decision in judged.decisions for row in decision.rows]
    verdicts: dict[str, dict[str, Verdict]] = {}
    reasons: dict[str, dict[str, str]] = {}
    for check, row in rows:
        verdicts.setdefault(check, {})[row.cell] = row.verdict
        if row.verdict != Verdict.PASS:
            reasons.setdefault(check, {})[row.cell] = row.reason or row.text
    for decision in judged.decisions:
        _whole(decision, verdicts)
    for cell in cells:
        if cell.reason:
            reasons.setdefault("outcome", {})[cell.name] = cell.reason
    return Pass(
        number=number,
        started=started,
        seconds=seconds,
        outcomes={cell.name: str(cell.outcome) for cell in cells},
        verdicts=verdicts,
        reasons=reasons,
        boots={boot.id: boot.end or boot.failure.partition("\n")[0] for boot in boots},
    )


def _whole(decision: Decision, verdicts: dict[str, dict[str, Verdict]]) -> None:
    """The verdict of a check as a whole, which a check without rows has as well."""
    verdicts.setdefault(decision.id, {})[""] = decision.verdict


def inputs(*, image: str, judged: Mapping[str, Any], number: int) -> dict[str, Any]:
    """What a pass is recorded under. ``image``: sha256 of the kernel's; ``judged``: see ``judge.inputs``."""
    return {"image": image, "number": number, **judged}


def find(store: Store, wanted: Mapping[str, Any]) -> Pass | None:
    """The recorded pass of these inputs, None where there is none that can be read."""
    folder = store.find("pass", wanted)
    if folder is None:
        return None
    try:
        text = (folder / "pass.json").read_text(encoding="utf-8")
        return Pass.model_validate_json(text).model_copy(update={"cached": True})
    except (OSError, ValidationError):  # removed meanwhile, or of another version
        return None


def keep(store: Store, wanted: Mapping[str, Any], done: Pass, *, subject: str) -> None:
    """Record a pass; a fresh one replaces an older one."""
    before = store.find("pass", wanted)
    if before is not None:
        store.remove(before.name)
    store.artifact(
        "pass",
        wanted,
        lambda folder: (folder / "pass.json").write_text(done.model_dump_json() + "\n", encoding="utf-8"),
        subject=subject,
    )
