"""A campaign: every mutant applied to one kernel of a study, built, run on every machine and scored.

Mutants go one after the other: a build and two VMs keep two CPUs busy by turns, and beside each
other they only slow each other down. A bug ends at its first certain kill, a legal variant at
the first check that rejects it; nobody else is spared a cell.
"""

import dataclasses
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline import near, plan, runfolder, stages
from pipeline.errors import Exit, UserError
from pipeline.events import CellFinished, Emit, Event, MutantFinished, Note, StageProgress
from pipeline.judge.model import Verdict
from pipeline.mutate import matrix, report
from pipeline.mutate.bench import Bench
from pipeline.mutate.mutant import Mutant
from pipeline.mutate.record import Result
from pipeline.mutate.score import BAD, GOOD
from pipeline.run import write_text
from pipeline.stages import Options, Prepared
from pipeline.study import Kernel, Study


@dataclass(frozen=True)
class Campaign:
    """A campaign, or what of it is done. ``versions``: what it was run with, by name, for the head of a report."""

    study: Study
    kernel: Kernel
    versions: dict[str, str]
    command: str
    all_checks: bool
    folder: Path
    results: tuple[Result, ...]

    def write(self, *, json_file: Path | None = None, matrix_file: Path | None = None) -> None:
        """Write JSON and matrix into the campaign's folder, and where else they are wanted. Raises InfraError."""
        for text, name, other in (
            (report.dumps(self.results), "mutants.json", json_file),
            (self.matrix(), "mutants.md", matrix_file),
        ):
            for path in filter(None, (self.folder / name, other)):
                write_text(path, text)

    def matrix(self) -> str:
        """Mutant x check, as Markdown."""
        return matrix.render(
            self.study,
            self.kernel,
            self.results,
            versions=self.versions,
            command=self.command,
            whole=self.all_checks,
        )

    @property
    def exit_code(self) -> Exit:
        """1 where a bug survived or a legal variant was rejected, else 4 where a mutant told nothing, else 0."""
        outcomes = {result.outcome for result in self.results}
        if outcomes & BAD:
            return Exit.FAIL
        return Exit.PASS if outcomes <= GOOD else Exit.INCONCLUSIVE


def under_test(study: Study, wanted: str = "") -> Kernel:
    """The kernel that is mutated: ``wanted``, or the last candidate that the study expects to pass.

    The last, since a study lists its candidates from the first try to the form that was merged.
    Raises UserError.
    """
    ids = ", ".join(kernel.id for kernel in study.kernel)
    if wanted:
        for kernel in study.kernel:
            if kernel.id == wanted:
                return kernel
        raise near.unknown("kernel", wanted, [kernel.id for kernel in study.kernel], where="the study")
    sound = [k for k in study.kernel if k.role == "candidate" and k.expect.verdict == Verdict.PASS]
    if not sound:
        raise UserError(
            "the study expects no candidate to pass, so there is none to seed bugs in",
            hint=f"name one with --kernel: {ids}",
        )
    return sound[-1]


def run(
    study: Study,
    kernel: Kernel,
    mutants: Iterable[Mutant],
    options: Options,
    emit: Emit,
    *,
    all_checks: bool = False,
    save: Callable[[Campaign], None] = lambda campaign: None,
) -> Campaign:
    """Try the mutants on a kernel of the study; a recorded result is taken as it is unless ``options.fresh``.

    ``save`` gets the campaign so far after each mutant, so that whatever ends it leaves its results.
    Raises UserError or InfraError for what stops all of it; results that are there are kept.
    """
    started = datetime.now(UTC)
    study = study.model_copy(update={"kernel": (kernel,)})
    with runfolder.recording(_quieter(emit, kernel.id)) as (emit, keep_in):
        ready = stages.prepare(study, options, emit)
        guest = stages.make_guest(ready, options, emit)
        folder = runfolder.create(options.runs, f"{study.id}-mutants", started)
        keep_in(folder / "events.jsonl")
        emit(Note(text=f"kernel under test: {kernel.id}; folder: {folder}"))
        benches = [
            (Bench(part, guest, options, emit, folder, all_checks=all_checks), some)
            for part, some in _parts(ready, tuple(mutants))
        ]
        campaign = Campaign(
            study=study,
            kernel=kernel,
            versions=benches[0][0].versions(),
            command=shlex.join(options.command),
            all_checks=all_checks,
            folder=folder,
            results=(),
        )
        save(campaign)  # a file that cannot be written is told before hours of work
        taken: set[str] = set()
        jobs = [(bench, job) for bench, some in benches for job in bench.jobs(some, taken)]
        known = {}
        for bench, job in jobs:
            bench.remember(job)
        for bench, job in jobs:
            if not options.fresh and (found := bench.recorded(job)) is not None:
                known[job.id] = found
                bench.killers.add(found)
        for number, (bench, job) in enumerate(jobs, 1):
            result = known.get(job.id) or bench.tried(job)
            emit(
                MutantFinished(
                    mutant=result.name,
                    kind=result.kind,
                    outcome=result.outcome,
                    text=report.line(result),
                    seconds=result.times.total,
                    cached=result.cached,
                )
            )
            emit(StageProgress(stage="mutants", subject=study.id, done=number, total=len(jobs)))
            campaign = dataclasses.replace(campaign, results=(*campaign.results, result))
            save(campaign)
        return campaign


def _parts(ready: Prepared, mutants: tuple[Mutant, ...]) -> list[tuple[Prepared, tuple[Mutant, ...]]]:
    """Mutants by the machines that they are tried on.

    A machine with a model of its TLBs is for the mutants that need one; the others would only run every cell
    twice. Where no other machine was asked for, it is for all.
    """
    watched = [machine for machine in ready.machines if machine.tlb is not None]
    plain = [machine for machine in ready.machines if machine.tlb is None]
    if not (watched and plain):
        return [(ready, mutants)]
    parts = []
    for machines, some in (
        (plain, tuple(each for each in mutants if not each.needs_model)),
        (watched, tuple(each for each in mutants if each.needs_model)),
    ):
        if some:
            narrowed = plan.narrow(ready.study, machines=tuple(machine.id for machine in machines))
            parts.append((dataclasses.replace(ready, study=narrowed, machines=tuple(machines)), some))
    return parts


def _quieter(emit: Emit, kernel: str) -> Emit:
    """Without the cells of mutants: that they fail is what they are for."""

    def heard(event: Event) -> None:
        if not isinstance(event, CellFinished) or event.kernel == kernel:
            emit(event)

    return heard
