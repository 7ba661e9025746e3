"""A campaign: the whole suite of a kernel several times, each time from new boots."""

import hashlib
import shlex
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from pipeline import cells, runfolder, stages
from pipeline.errors import Exit, InfraError
from pipeline.events import CellFinished, Emit, Event, Note, StageProgress
from pipeline.kernel.build import BuildError
from pipeline.observation import Outcome
from pipeline.repeat import record, report
from pipeline.repeat.record import Pass
from pipeline.run import write_text
from pipeline.stages import Options
from pipeline.store import Store
from pipeline.study import Study


@dataclass(frozen=True)
class Campaign:
    """A campaign, or what of it is done. ``passes``: by kernel, in order; ``wanted``: of each."""

    command: str
    wanted: int
    folder: Path
    passes: dict[str, tuple[Pass, ...]] = field(default_factory=dict)

    @property
    def differences(self) -> dict[str, list[report.Difference]]:
        return {kernel: report.differences(some) for kernel, some in self.passes.items()}

    @property
    def exit_code(self) -> Exit:
        """1 where anything differs, else 4 where there is nothing to compare, else 0."""
        if any(self.differences.values()):
            return Exit.FAIL
        enough = bool(self.passes) and all(len(some) > 1 for some in self.passes.values())
        return Exit.PASS if enough else Exit.INCONCLUSIVE

    def write(self, json_file: Path | None = None) -> None:
        """Write JSON into the campaign's folder, and where else it is wanted. Raises InfraError."""
        text = report.dumps(self.passes, command=self.command, wanted=self.wanted)
        for path in filter(None, (self.folder / "repeat.json", json_file)):
            write_text(path, text)


def run(
    study: Study,
    times: int,
    options: Options,
    emit: Emit,
    *,
    save: Callable[[Campaign], None] = lambda campaign: None,
) -> Campaign:
    """Have ``times`` passes of each of the study's kernels; those of earlier campaigns count, unless ``options.fresh``.

    ``save`` gets the campaign so far after each pass. What a pass recorded stays out of the way of other runs.
    Raises UserError as ``stages.validate`` does, BuildError for a kernel that does not compile, InfraError also for a
    pass that the surroundings spoiled: it is not recorded, and those before it are.
    """
    started = datetime.now(UTC)
    with runfolder.recording(_quieter(emit)) as (emit, keep_in):
        ready = stages.prepare(study, options, emit)
        guest = stages.make_guest(ready, options, emit)
        folder = runfolder.create(options.runs, f"{study.id}-repeat", started)
        keep_in(folder / "events.jsonl")
        emit(Note(text=f"folder: {folder}"))
        campaign = Campaign(shlex.join(options.command), times, folder)
        save(campaign)  # a file that cannot be written is told before hours of work
        for recipe in ready.recipes:
            kernel = stages.make(recipe, ready, options, emit)
            if isinstance(kernel, BuildError):
                raise kernel
            alone = record.alone(study, recipe.kernel)
            judged = cells.judged_inputs(alone, ready.machines, guest)
            image = hashlib.sha256(kernel.image.read_bytes()).hexdigest()
            pairs = stages.pairs(replace(ready, recipes=(recipe,)), {recipe.kernel.id: kernel})
            done: tuple[Pass, ...] = ()
            for number in range(1, times + 1):
                wanted = record.inputs(image=image, judged=judged, number=number)
                found = None if options.fresh else record.find(options.store, wanted)
                if found is None:
                    first = done[0] if done else None
                    found = _pass(alone, pairs, guest, options, emit, folder=folder, number=number, first=first)
                    record.keep(options.store, wanted, found, subject=f"{study.id}/{recipe.kernel.id}/{number}")
                done = (*done, found)
                emit(StageProgress(stage="passes", subject=recipe.kernel.id, done=number, total=times))
                campaign = replace(campaign, passes=campaign.passes | {recipe.kernel.id: done})
                save(campaign)
        return campaign


def _pass(
    study: Study,
    pairs: Iterable[cells.Pair],
    guest: cells.Guest,
    options: Options,
    emit: Emit,
    *,
    folder: Path,
    number: int,
    first: Pass | None,
) -> Pass:
    """Every cell once; what was printed is kept of cells that are not as in the first pass, in a folder of the pass."""
    home = folder / f"pass-{number}"
    began, at = time.monotonic(), datetime.now(UTC)
    boots, observed = cells.exercise_all(
        study,
        pairs,
        guest,
        store=Store(home / "store"),
        workdir=home / "boots",
        jobs=options.jobs,
        fresh=True,
        emit=emit,
    )
    lost = next((cell for cell in observed if cell.outcome is Outcome.LOST), None)
    if lost is not None:
        raise InfraError(f"pass {number}: {lost.name}: {lost.reason or 'QEMU went away'}", hint="run the command again")
    done = record.of(
        study,
        observed,
        boots,
        number=number,
        started=at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        seconds=round(time.monotonic() - began, 1),
    )
    strange = _strange(done, first)
    for cell in observed:
        if cell.name in strange:
            runfolder.cell_files(home, cell)
    shutil.rmtree(home / "store", ignore_errors=True)
    if not strange:
        shutil.rmtree(home)
    return done


def _strange(done: Pass, first: Pass | None) -> set[str]:
    """Names of the cells that are not as in the first pass; of the first, those that did not pass."""
    if first is None:
        return {name for name, outcome in done.outcomes.items() if outcome != Outcome.PASSED}
    before, now = first.facts(), done.facts()
    return {where for what, where in now.keys() | before.keys() if before.get((what, where)) != now.get((what, where))}


def _quieter(emit: Emit) -> Emit:
    """Without the cells: a pass counts, and what of it differs."""

    def heard(event: Event) -> None:
        if not isinstance(event, CellFinished):
            emit(event)

    return heard
