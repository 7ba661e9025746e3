"""The cells of a run: every one in a table by scenario, with the jobs that are worth more below it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pipeline.judge.model import Verdict
from pipeline.observation import Cell
from pipeline.report.jobs import BOOTS, Files, Job, Jobs, Verdicts
from pipeline.run import Run


@dataclass(frozen=True)
class Place:
    """One kernel in a variant's row of the table: verdicts, each with ``(machine, its file)``."""

    kernel: str
    verdicts: tuple[tuple[Verdict, tuple[tuple[str, str], ...]], ...]


@dataclass(frozen=True)
class Scenario:
    """``variants``: ``(name, anchor of its first job or "", one Place a kernel)``; ``tally``: cells by verdict."""

    id: str
    title: str
    anchor: str
    tally: tuple[tuple[Verdict, int], ...]
    variants: tuple[tuple[str, str, tuple[Place, ...]], ...]
    jobs: tuple[Job, ...]


def scenarios(run: Run, verdicts: Verdicts, files: Files) -> tuple[list[Scenario], int]:
    """Every scenario of the run, in the study's order, then what the study does not ask for; and how many jobs
    beyond MAX_JOBS were left off."""
    study = run.study.content
    titles = {scenario.id: scenario.title for scenario in study.scenario}
    order = {scenario.id: at for at, scenario in enumerate(study.scenario)}
    variants = {(s.id, v): at for s in study.scenario for at, v in enumerate(s.variants)}
    by_job: dict[tuple[str, str], list[Cell]] = {}
    for cell in sorted(run.cells, key=_place(run)):
        by_job.setdefault((cell.scenario, cell.variant), []).append(cell)
    maker = Jobs(run, verdicts, files)
    found: dict[str, list[tuple[str, list[Cell], tuple[Job, ...]]]] = {}
    for (scenario, variant), cells in sorted(
        by_job.items(),
        key=lambda item: (order.get(item[0][0], len(order)), item[0][0], variants.get(item[0], 99), item[0][1]),
    ):
        found.setdefault(scenario, []).append((variant, cells, maker.of(cells)))
    shown = [
        Scenario(
            id=name,
            title=titles.get(name, "not in the study"),
            anchor=f"s-{name}",
            tally=_tally(verdicts[cell.name][0] for _, cells, _ in rows for cell in cells),
            variants=tuple(
                (variant, jobs[0].anchor if jobs else "", _places(cells, verdicts, files))
                for variant, cells, jobs in rows
            ),
            jobs=tuple(job for _, _, jobs in rows for job in jobs),
        )
        for name, rows in found.items()
    ]
    return shown, maker.left


def anchors(found: Iterable[Scenario]) -> dict[str, str]:
    """Where each cell is in the page: its job, or the scenario's table."""
    there = {}
    for scenario in found:
        there |= {
            f"{place.kernel}/{machine}/{scenario.id}.{variant}": scenario.anchor
            for variant, _, places in scenario.variants
            for place in places
            for _, machines in place.verdicts
            for machine, _ in machines
        }
        there |= {cell.name: job.anchor for job in scenario.jobs for one in job.shown for cell in one.cells}
    return there


def _place(run: Run) -> Callable[[Cell], tuple[int, str, int, str]]:
    kernels = {kernel.id: at for at, kernel in enumerate(run.study.content.kernel)}
    machines = {name: at for at, name in enumerate(run.study.content.machines)}

    def key(cell: Cell) -> tuple[int, str, int, str]:
        return machines.get(cell.machine, 99), cell.machine, kernels.get(cell.kernel, 99), cell.kernel

    return key


def _tally(verdicts: Iterable[Verdict]) -> tuple[tuple[Verdict, int], ...]:
    every = list(verdicts)
    order = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.KNOWN, Verdict.PASS)
    return tuple((verdict, every.count(verdict)) for verdict in order if verdict in every)


def _places(cells: Sequence[Cell], verdicts: Verdicts, files: Files) -> tuple[Place, ...]:
    found: dict[str, dict[Verdict, list[tuple[str, str]]]] = {}
    for cell in cells:
        path = next(iter(files.get(cell.name, ())), "")
        found.setdefault(cell.kernel, {}).setdefault(verdicts[cell.name][0], []).append((cell.machine, path))
    return tuple(
        Place(kernel, tuple((verdict, tuple(machines)) for verdict, machines in by_verdict.items()))
        for kernel, by_verdict in found.items()
    )


def of_boots(run: Run, files: Files) -> dict[str, list[str]]:
    """The files of each boot, by its id."""
    found: dict[str, list[str]] = {}
    for cell in run.cells:
        if not found.get(cell.boot):
            found[cell.boot] = [path for path in files.get(cell.name, ()) if path.startswith(BOOTS)]
    return found
