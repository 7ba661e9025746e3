"""The judgement of a run: each kernel's verdict, held against what the study expects of it."""

from collections.abc import Iterable, Mapping, Sequence

from pipeline.errors import Exit
from pipeline.judge import claims, invariants
from pipeline.judge.evidence import INFRA_ENDS, Evidence
from pipeline.judge.model import (
    Behaviour,
    BuildFact,
    Control,
    Decision,
    Judgement,
    KernelJudgement,
    KnownNotSeen,
    Verdict,
    worst,
)
from pipeline.observation import Boot, Cell, Outcome
from pipeline.study import Kernel, Study, matches


def judge(study: Study, cells: Iterable[Cell], boots: Iterable[Boot], builds: Mapping[str, BuildFact]) -> Judgement:
    """Judge every kernel of a study on the observations of a run.

    Pure and deterministic: the same observations in any order give the same judgement.
    ``builds`` maps kernel ids; a kernel without an entry counts as not built yet.
    """
    cells, boots = list(cells), list(boots)
    evidence = Evidence(study, cells, boots, builds)
    kernels = tuple(_kernel(evidence, kernel) for kernel in study.kernel)
    infra = tuple(_infra(evidence, cells))
    return Judgement(
        kernels=kernels,
        known_not_seen=tuple(_not_seen(evidence, kernels)),
        infra=infra,
        unplanned=tuple(evidence.unplanned()),
        control=claims.control(evidence, study.baseline.id) if study.baseline else None,
        exit_code=exit_code(kernels, infra),
    )


def control(study: Study, cells: Iterable[Cell], boots: Iterable[Boot], kernel: str) -> Control:
    """Judge one kernel against itself; see ``claims.control``."""
    return claims.control(Evidence(study, cells, boots, {}), kernel)


def _kernel(evidence: Evidence, kernel: Kernel) -> KernelJudgement:
    decisions = invariants.decide(evidence, kernel)
    behaviours: list[Behaviour] = []
    if kernel.role == "candidate":
        decisions += claims.decide(evidence, kernel)
    else:
        behaviours = claims.behaviours(evidence, kernel)
    return of_kernel(kernel, decisions, behaviours)


def of_kernel(kernel: Kernel, decisions: Sequence[Decision], behaviours: Sequence[Behaviour] = ()) -> KernelJudgement:
    """The judgement of a kernel by what was decided on it, held against ``kernel.expect``."""
    verdict = worst(decision.verdict for decision in decisions)
    if verdict == Verdict.KNOWN:  # counted and shown, and no fault of this kernel's series
        verdict = Verdict.PASS
    difference, definite = _difference(kernel, verdict, decisions)
    return KernelJudgement(
        kernel=kernel.id,
        title=kernel.title,
        role=kernel.role,
        verdict=verdict,
        expected=Verdict(kernel.expect.verdict),
        expected_failing=kernel.expect.failing,
        as_expected=not difference,
        difference=difference,
        definite=definite,
        decisions=tuple(decisions),
        behaviours=tuple(behaviours),
    )


def _difference(kernel: Kernel, verdict: Verdict, decisions: Sequence[Decision]) -> tuple[str, bool]:
    """What is not as expected, and whether that rests on a definite PASS or FAIL."""
    expect = kernel.expect
    failing = {decision.id for decision in decisions if decision.verdict == Verdict.FAIL}
    words, definite = [], False
    if verdict != expect.verdict:
        words.append(f"expected {expect.verdict}, judged {verdict}")
        definite = verdict != Verdict.INCONCLUSIVE
    if expect.failing:
        by_id = {decision.id: decision for decision in decisions}
        for name in sorted(set(expect.failing) - failing):
            found = by_id[name].verdict if name in by_id else Verdict.INCONCLUSIVE
            words.append(f"{name} was expected to fail, judged {found if name in by_id else 'on candidates only'}")
            definite |= found != Verdict.INCONCLUSIVE
        for name in sorted(failing - set(expect.failing)):
            words.append(f"{name} fails and was not expected to")
            definite = True
    if kernel.role == "baseline" and not failing - {"builds", "boots"} and verdict == Verdict.FAIL:
        # Nothing to compare with: no word on the series, see _baseline_missing.
        definite = False
    return "; ".join(words), definite


def _infra(evidence: Evidence, cells: list[Cell]) -> Iterable[str]:
    """What the surroundings spoiled, so that another run may tell more."""
    for cell in sorted(cells, key=lambda c: c.name):
        if cell.outcome == Outcome.LOST:
            yield f"{cell.name}: lost: {cell.reason or 'QEMU or the connection went away'}"
    for kernel in evidence.study.kernel:
        build = evidence.builds.get(kernel.id)
        if build is not None and not build.ok and build.infra:
            yield f"{kernel.id}: not built: {build.failure}"
        for machine in evidence.machines(kernel.id):
            boots = evidence.boots(kernel.id, machine)
            spoiled = [boot for boot in boots if boot.end in INFRA_ENDS]
            if spoiled and _wanting(evidence, kernel.id, machine):
                yield f"{kernel.id}/{machine}: {_spoiled(spoiled[0])}"
    yield from _baseline_missing(evidence)


def _spoiled(boot: Boot) -> str:
    """How a boot was spoiled, in one line."""
    first = boot.failure.splitlines()[0] if boot.failure else "its cells after that did not run"
    return f"boot {boot.id} ended as {boot.end}: {first}"


def _wanting(evidence: Evidence, kernel: str, machine: str) -> bool:
    """Whether a planned cell has no observation on a machine, so that a spoiled boot did cost something."""
    spots = [spot for spot in evidence.planned(kernel) if spot.machine == machine]
    return any(all(cell.outcome == Outcome.NOT_RUN for cell in evidence.at(spot)) for spot in spots)


def _baseline_missing(evidence: Evidence) -> Iterable[str]:
    baseline = evidence.study.baseline
    if baseline is None:
        return
    build = evidence.builds.get(baseline.id)
    if build is None or not build.ok:
        yield f"{baseline.id}: the baseline was not built"
        return
    for machine in evidence.machines(baseline.id):
        booted = any(not boot.failure for boot in evidence.boots(baseline.id, machine))
        if not booted and not evidence.ran_on(baseline.id, machine):
            yield f"{baseline.id}/{machine}: the baseline was not booted"


def _not_seen(evidence: Evidence, kernels: tuple[KernelJudgement, ...]) -> Iterable[KnownNotSeen]:
    """Known findings of the study that a kernel they name does not show; never a failure."""
    for known in evidence.study.known:
        for kernel in kernels:
            decision = next((d for d in kernel.decisions if d.id == known.of), None)
            if decision is None or not any(matches(kernel.kernel, glob) for glob in known.kernels):
                continue
            if any(row.known == known.id for row in decision.rows):
                continue
            could = _could_show(evidence, kernel.kernel, known)
            rows = [row for row in decision.rows if row.cell in could]
            open_rows = [row for row in rows if row.verdict != Verdict.PASS]
            if not rows:
                yield KnownNotSeen(known=known.id, kernel=kernel.kernel, fixed=False, reason="no cell of it was judged")
            elif open_rows:
                reason = f"{open_rows[0].cell}: {open_rows[0].reason}"
                yield KnownNotSeen(known=known.id, kernel=kernel.kernel, fixed=False, reason=reason)
            else:
                reason = f"held in {len(rows)} cell{'s' * (len(rows) != 1)}"
                yield KnownNotSeen(known=known.id, kernel=kernel.kernel, fixed=True, reason=reason)


def _could_show(evidence: Evidence, kernel: str, known) -> set[str]:
    """Names of the rows in which a known finding could occur on a kernel."""
    machines = [m for m in evidence.machines(kernel) if any(matches(m, glob) for glob in known.machines)]
    names = {str(spot) for spot in evidence.matching(kernel, known.scenarios) if spot.machine in machines}
    if "*" in known.scenarios:  # rows of a whole kernel or machine, as of `builds` and `boots`
        names |= {kernel, *(f"{kernel}/{machine}" for machine in machines)}
    return names


def exit_code(kernels: tuple[KernelJudgement, ...], infra: tuple[str, ...]) -> int:
    """1 a definite difference, else 3 infrastructure, else 4 inconclusive, else 0."""
    odd = [kernel for kernel in kernels if not kernel.as_expected]
    if any(kernel.definite for kernel in odd):
        return int(Exit.FAIL)
    if infra:
        return int(Exit.INFRA)
    return int(Exit.INCONCLUSIVE if odd else Exit.PASS)
