"""Small builders of studies and observations; every default is one that passes."""

from pipeline.judge.model import BuildFact, Decision, Judgement, KernelJudgement
from pipeline.judge.verdict import judge
from pipeline.observation import Boot, Cell, Check, Need, Outcome, Step
from pipeline.study import Study

NEEDS = tuple(Need(what=what, ok=True, want="x", got="x") for what in ("build_id", "page_size", "config"))
BUILT = {"base": BuildFact(ok=True), "v2": BuildFact(ok=True), "merged": BuildFact(ok=True)}


def a_study(**changes: object) -> Study:
    """base and v2 on two machines, scenarios full (64k, 128k) and fork (64k), one invariant, one claim."""
    data: dict[str, object] = {
        "schema": 1,
        "id": "demo",
        "title": "A demonstration",
        "source": {"tree": "debian:linux-source-6.12"},
        "fragments": ["base"],
        "machines": ["max", "a57"],
        "kernel": [{"id": "base", "role": "baseline"}, {"id": "v2"}],
        "scenario": [
            a_scenario("full", variants=["64k", "128k"]),
            a_scenario("fork", variants=["64k"]),
        ],
        "invariant": [{"id": "no-lost-write", "title": "No lost write"}],
        "claim": [a_claim()],
    }
    return Study.model_validate(data | changes)


def a_scenario(name: str, **changes: object) -> dict[str, object]:
    data = {"id": name, "title": "f", "program": "free", "fixture": "free", "checks": ["no-lost-write"]}
    return data | changes


def a_claim(**changes: object) -> dict[str, object]:
    return {
        "id": "no-split",
        "title": "A covered folio is not split",
        "scenarios": ["full.*"],
        "step": "free",
        "candidate": "mthp.split == 0",
        "baseline": "mthp.split == param.folios",
    } | changes


def split(kernel: str) -> int:
    """Splits of 4 folios: the baseline's old behaviour, every other kernel's new one."""
    return 4 if kernel == "base" else 0


def a_cell(name: str, **changes: object) -> Cell:
    """A passing cell ``kernel/machine/scenario.variant`` with one step ``free`` and one held check."""
    kernel, machine, rest = name.split("/")
    scenario, variant = rest.split(".")
    data: dict[str, object] = {
        "kernel": kernel,
        "machine": machine,
        "scenario": scenario,
        "variant": variant,
        "outcome": Outcome.PASSED,
        "params": {"folios": 4},
        "steps": [Step(name="free", mthp={"split": split(kernel)})],
        "checks": [Check(name="no-lost-write", ok=True)],
        "boot": f"{kernel}-{machine}",
        "ktap": "TAP version 13\n1..1\nok 1 free.64k.full\n",
    }
    return Cell.model_validate(data | changes)


def a_boot(name: str, **changes: object) -> Boot:
    kernel, machine = name.split("/")
    data = {"id": f"{kernel}-{machine}", "kernel": kernel, "machine": machine, "end": "poweroff", "needs": NEEDS}
    return Boot.model_validate({k: list(v) if k == "needs" else v for k, v in (data | changes).items()})


def names(study: Study) -> list[str]:
    return [
        f"{k.id}/{m}/{s.id}.{v}"
        for k in study.kernel
        for s in study.scenario
        for v in s.variants
        for m in (s.machines or study.machines)
    ]


def all_cells(study: Study, **by_name: object) -> list[Cell]:
    """Every planned cell passing."""
    return [a_cell(name) for name in names(study)]


def all_boots(study: Study) -> list[Boot]:
    return [a_boot(f"{k.id}/{m}") for k in study.kernel for m in study.machines]


def with_cell(cells: list[Cell], name: str, **changes: object) -> list[Cell]:
    """The cells with one changed; the name must be among them."""
    assert name in [cell.name for cell in cells], name
    return [a_cell(name, **changes) if cell.name == name else cell for cell in cells]


def without(cells: list[Cell], *gone: str) -> list[Cell]:
    return [cell for cell in cells if cell.name not in gone]


def judged(study: Study, cells: list[Cell] | None = None, boots: list[Boot] | None = None, builds=None) -> Judgement:
    return judge(
        study,
        all_cells(study) if cells is None else cells,
        all_boots(study) if boots is None else boots,
        BUILT if builds is None else builds,
    )


def kernel(judgement: Judgement, name: str) -> KernelJudgement:
    return next(k for k in judgement.kernels if k.kernel == name)


def decision(judgement: Judgement, name: str, id_: str) -> Decision:
    return next(d for d in kernel(judgement, name).decisions if d.id == id_)
