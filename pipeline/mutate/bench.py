"""The bench: where a mutant is built from the kernel it changes, run and scored."""

import dataclasses
import itertools
import math
import re
import shlex
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import cells, plan, runfolder, stages
from pipeline.errors import InfraError
from pipeline.events import Emit, Note
from pipeline.judge.model import Verdict
from pipeline.kernel import build, series
from pipeline.kernel.build import BuildError, KernelArtifact
from pipeline.kernel.series import Series, SeriesError
from pipeline.mutate import record, score
from pipeline.mutate.mutant import Mutant
from pipeline.mutate.record import Commands, Killers, Result, Times
from pipeline.mutate.score import Outcome, Reference, Score, Trial
from pipeline.observation import Boot, Cell
from pipeline.observation import Outcome as Ended
from pipeline.stages import Options, Prepared, Recipe
from pipeline.study import Study
from pipeline.suite import Scenario

#: Slot of the builds: it keeps the objects of the kernel under test. No kernel of a study can have this id.
SLOT = "_mutants"
#: A cell of a mutant has this many times as long as it takes without the mutant, and never less than the seconds
#: below: a hang is told sooner than by the scenario's own limit, which is for a host under load.
PATIENCE_TIMES, PATIENCE_SECONDS = 20, 5
#: So many mutants in a row in whose guests nothing could be done: it is not their kernels.
GIVE_UP = 3


@dataclass(frozen=True)
class Job:
    """A mutant on the way: its patch applied, or ``refused`` why not. ``key``: what its result depends on."""

    mutant: Mutant
    id: str
    study: Study
    recipe: Recipe | None = None
    refused: str = ""
    key: dict[str, Any] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0


class Bench:
    """What the mutants of a campaign share; the kernel under test is run when the first of them needs it."""

    def __init__(
        self, ready: Prepared, guest: cells.Guest, options: Options, emit: Emit, folder: Path, *, all_checks: bool
    ) -> None:
        self.killers = Killers(ready.study)
        self._ready, self._guest, self._options, self._emit = ready, guest, options, emit
        self._folder, self._all_checks = folder, all_checks
        (self._recipe,) = ready.recipes
        self._start = build.Start(SLOT, self._recipe.overlay)
        self._found: Reference | None = None
        self._image = ""
        self._primed = False
        self._lost = 0

    def versions(self) -> dict[str, str]:
        return {
            "kernel": f"Linux {self._ready.source.version}, {self._ready.source.description}",
            "QEMU": self._guest.qemu_version,
            "compiler": self._ready.tools.compiler,
        }

    def jobs(self, mutants: Iterable[Mutant], taken: set[str]) -> Iterator[Job]:
        """Each mutant with its patch applied, or the reason why it cannot be. ``taken``: ids that no other may have."""
        taken.add(self._recipe.kernel.id)
        for mutant in mutants:
            name = _id(mutant.name, taken)
            taken.add(name)
            study = score.study_of(self._ready.study, self._recipe.kernel.id, name)
            began = time.monotonic()
            try:
                patches = series.load((str(mutant.path.absolute()),), Path())
                whole = Series((*self._recipe.series.patches, *patches.patches), patches.digest)
                overlay = series.apply(whole, self._ready.source)
            except SeriesError as err:
                yield Job(mutant, name, study, refused=err.message)
                continue
            recipe = Recipe(study.kernel[-1], whole, overlay, self._recipe.fragments)
            key = record.inputs(
                kernel=self._inputs(recipe),
                reference=self._inputs(self._recipe),
                kind=mutant.kind,
                all_checks=self._all_checks,
                judged=cells.judged_inputs(study, self._ready.machines, self._guest, code=[score]),
            )
            yield Job(mutant, name, study, recipe, key=key, seconds=time.monotonic() - began)

    def recorded(self, job: Job) -> Result | None:
        """The result of an earlier campaign, under the mutant's name and title of today."""
        if job.recipe is None:
            return None
        found = record.find(self._options.store, job.key)
        return found and found.model_copy(update=self._headline(job))

    def remember(self, job: Job) -> None:
        """Have what killed a mutant in an earlier campaign tried first, though its result holds no more."""
        if (before := record.earlier(self._options.store, job.mutant.name)) is not None:
            self.killers.add(before)

    def tried(self, job: Job) -> Result:
        """Build, run and score a mutant, and record the result."""
        blank = Result(outcome=Outcome.NOT_APPLIED, all_checks=self._all_checks, **self._headline(job))
        if job.recipe is None:
            return blank.model_copy(update={"reason": job.refused})
        reference = self._reference()
        self._prime()
        began = time.monotonic()
        kernel = stages.make(job.recipe, self._ready, self._options, self._emit, start=self._start)
        runfolder.kernel_files(self._folder / "kernels" / job.id, kernel)
        times = Times(patch=round(job.seconds, 2), build=round(time.monotonic() - began, 2))
        if isinstance(kernel, BuildError):
            update: dict[str, object] = {"outcome": Outcome.NOT_BUILT, "reason": kernel.first, "times": times}
        else:
            try:
                update = self._run(job, kernel, reference, times)
                self._lost = 0
            except InfraError as err:  # a kernel may break the programs that kpv needs in the guest
                self._lost += 1
                if self._lost == GIVE_UP:
                    raise
                update = {"outcome": Outcome.INCONCLUSIVE, "reason": err.message, "times": times}
        result = blank.model_copy(update=update)
        record.keep(self._options.store, job.key, result)
        self.killers.add(result)
        return result

    def _run(self, job: Job, kernel: KernelArtifact, reference: Reference, times: Times) -> dict[str, object]:
        assert job.recipe is not None
        study = _impatient(job.study, reference.cells.values())
        trial = Trial(reference, job.id)
        killers: list[tuple[Cell, Boot]] = []

        def until(cell: Cell, boot: Boot) -> bool:
            if not self._all_checks and trial.kills(cell, boot):
                killers.append((cell, boot))
            return bool(killers)

        began = time.monotonic()
        boots: list[Boot] = []
        observed: list[Cell] = []
        try:
            boots, observed = cells.exercise_all(
                study,
                stages.pairs(dataclasses.replace(self._ready, recipes=(job.recipe,)), {job.id: kernel}),
                self._guest,
                store=self._options.store,
                workdir=self._folder / "boots",
                jobs=self._options.jobs,
                fresh=self._options.fresh,
                emit=self._emit,
                until=until,
                rank=self.killers.rank(job.mutant.name),
            )
        except InfraError:
            if not killers:  # a kill seen before the guest went to pieces is a kill
                raise
        # A VM that was slow to power off was stopped, and its cells are not among the observed.
        boots += [boot for _, boot in killers if boot.id not in {each.id for each in boots}]
        observed += [cell for cell, _ in killers if cell.name not in {each.name for each in observed}]
        found = trial.score(observed, boots, whole=not killers)
        self._keep_evidence(observed, found)
        facts = kernel.facts()
        same = facts["image_sha256"] == self._image
        return {
            "reason": f"its kernel is that of {self._recipe.kernel.id} to the byte" if same else "",
            "outcome": found.outcome(job.mutant.kind),
            **_told(found, job.mutant),
            "cells": _counts(study, job.id, observed),
            "times": times.model_copy(update={"run": round(time.monotonic() - began, 2)}),
            "image_sha256": facts["image_sha256"],
            "commands": Commands(
                make=" && ".join(facts["commands"]),
                qemu=tuple(shlex.join(boot.qemu) for boot in sorted(boots, key=lambda boot: boot.id)),
            ),
        }

    def _reference(self) -> Reference:
        """The kernel under test without a mutant: from the store, or built and run now. Raises InfraError."""
        if self._found is None:
            kernel = stages.make(self._recipe, self._ready, self._options, self._emit)
            if isinstance(kernel, BuildError):
                raise kernel
            name, self._image = self._recipe.kernel.id, kernel.facts()["image_sha256"]
            boots, observed = cells.exercise_all(
                self._ready.study,
                stages.pairs(self._ready, {name: kernel}),
                self._guest,
                store=self._options.store,
                workdir=self._folder / "boots",
                jobs=self._options.jobs,
                fresh=self._options.fresh,
                emit=self._emit,
            )
            if not any(map(_ran, observed)):
                why = next((boot.failure for boot in boots if boot.failure), "no cell of it ran")
                raise InfraError(
                    f"{name}, the kernel under test, did not run: {why.partition(chr(10))[0]}",
                    hint=f"look at: kpv validate {shlex.quote(str(self._ready.study.path))} -k {name}",
                )
            self._found = Reference(self._ready.study, name, observed, boots)
            flaws: dict[str, list[str]] = {}
            for decision in self._found.decisions:
                if decision.verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
                    flaws.setdefault(f"{decision.verdict}: {decision.reason}", []).append(decision.id)
            for reason, checks in flaws.items():
                self._emit(Note(text=f"{name} itself, where no mutant can be killed: {', '.join(checks)}: {reason}"))
        return self._found

    def _prime(self) -> None:
        if not self._primed:
            build.prime(
                source=self._ready.source,
                start=self._start,
                fragments=self._recipe.fragments,
                study_id=self._ready.study.id,
                store=self._options.store,
                cache=self._options.cache,
                emit=self._emit,
            )
            self._primed = True

    def _keep_evidence(self, observed: Iterable[Cell], found: Score) -> None:
        """What the cells printed that a finding is about, under ``cells/`` of the campaign's folder."""
        shown = {(each.machine, each.cell) for each in (*found.kills, *found.structure, *found.open)}
        for cell in observed:
            if (cell.machine, cell.job) in shown:
                runfolder.cell_files(self._folder, cell)

    def _inputs(self, recipe: Recipe) -> dict[str, Any]:
        return build.inputs_of(
            self._ready.source, recipe.overlay, recipe.fragments, self._ready.tools, start=self._start
        )

    def _headline(self, job: Job) -> dict[str, Any]:
        """What a result says of its mutant as the patch is named and described today."""
        mutant = job.mutant
        return {
            "file": stages.as_seen(mutant.path.absolute()),
            "name": mutant.name,
            "title": mutant.title,
            "about": mutant.about,
            "kind": mutant.kind,
            "kernel": self._recipe.kernel.id,
        }


def _told(found: Score, mutant: Mutant) -> dict[str, tuple[score.Finding, ...]]:
    if mutant.kind == "bug":
        return {"killed_by": (*found.kills, *found.structure), "inconclusive": found.open}
    return {"killed_by": found.kills, "structure": found.structure, "inconclusive": found.open}


def _ran(cell: Cell) -> bool:
    return cell.outcome not in (Ended.NOT_RUN, Ended.LOST)


def _counts(study: Study, kernel: str, observed: Iterable[Cell]) -> dict[str, str]:
    """By machine: cells that ran, of those planned."""
    ran = Counter(cell.machine for cell in observed if _ran(cell))
    return {machine: f"{ran[machine]} of {len(plan.cells(study, kernel, machine))}" for machine in study.machines}


def _impatient(study: Study, reference: Iterable[Cell]) -> Study:
    """The study with shorter limits, from what each cell took on the kernel under test."""
    took: dict[str, float] = {}
    for cell in reference:
        took[cell.job] = max(took.get(cell.job, 0.0), cell.seconds)

    def limit(scenario: Scenario) -> int:
        longest = max(took.get(f"{scenario.id}.{variant}", scenario.timeout) for variant in scenario.variants)
        return min(scenario.timeout, max(PATIENCE_SECONDS, math.ceil(PATIENCE_TIMES * longest)))

    scenarios = tuple(each.model_copy(update={"timeout": limit(each)}) for each in study.scenario)
    return study.model_copy(update={"scenario": scenarios})


def _id(name: str, taken: set[str]) -> str:
    """A mutant's name as the id of a kernel, another for each."""
    plain = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).lstrip("._-")[:56] or "mutant"
    tries = itertools.chain([plain], (f"{plain}-{n}" for n in itertools.count(2)))
    return next(each for each in tries if each not in taken)
