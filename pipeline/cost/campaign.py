"""From a study to its costs: builds the kernels for counting, boots what the store does not have, and reports."""

import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pipeline
from pipeline import events, near, resources, runfolder, stages
from pipeline import run as runs
from pipeline.cost import guest, spec
from pipeline.cost.guest import BootJob, Task
from pipeline.cost.model import CostBoot, CostRun, Sample
from pipeline.cost.report import files
from pipeline.cost.report.view import View
from pipeline.errors import UserError
from pipeline.events import Emit, Finding, Note, StageFinished, StageProgress, StageStarted
from pipeline.guest import plugins, workloads
from pipeline.guest.machine import Machine
from pipeline.guest.plugins import Plugin
from pipeline.kernel.build import BuildError, KernelArtifact
from pipeline.stages import Options, Prepared
from pipeline.store import Store
from pipeline.study import Study

PLUGIN = "cost"
#: Fragments of a study that look for bugs or trace: what they add would be most of what is counted.
DISTORTING = ("debug", "trace")
#: What a kernel needs in their place.
FRAGMENT = "cost"
#: Of the store: the files of a boot.
KIND = "cost"
#: How the instructions are counted, see docs/cost.md.
Method = Literal["plugin", "icount"]


@dataclass(frozen=True)
class Programs:
    """What every boot of a run shares: the guest's program and how QEMU counts."""

    program: Path
    program_sha256: str
    plugin: Plugin | None
    qemu_version: str


@dataclass(frozen=True)
class Result:
    """A finished run, the folder that holds its report, and what it shows."""

    run: CostRun
    folder: Path
    view: View


def run(
    study: Study, options: Options, emit: Emit, *, machines: tuple[str, ...] = (), repeats: int = 1,
    method: Method = "plugin",
) -> Result:  # fmt: skip
    """Count all that ``study.cost`` names, on ``machines`` of the study (all without a model of TLBs, if empty).

    ``repeats``: how often each call is measured, in a boot each. Raises UserError or InfraError for what
    stops it before there is anything to judge; a kernel that does not build or boot is judged, not raised.
    """
    started = datetime.now(UTC)
    fact = runs.StudyFact(file=stages.as_seen(study.path), sha256=stages.sha256(study.path), content=study)
    with runfolder.recording(emit) as (emit, keep_in):
        ready = stages.prepare(for_counting(study), options, emit)
        chosen = _machines(ready, machines)
        programs = _programs(ready, options, emit, method=method)
        folder = runfolder.create(options.runs, f"{study.id}-cost", started)
        keep_in(folder / "events.jsonl")
        emit(Note(text=f"run folder: {folder}"))
        kernels = {recipe.kernel.id: stages.make(recipe, ready, options, emit) for recipe in ready.recipes}
        jobs = [
            BootJob(
                id=f"{kernel}-{machine.id}-{name_of(task)}",
                kernel=kernel,
                machine=machine,
                image=built.image,
                image_sha256=image,
                system_map=built.system_map,
                program=programs.program,
                program_sha256=programs.program_sha256,
                qemu_version=programs.qemu_version,
                task=task,
                workdir=folder / "boots" / f"{kernel}-{machine.id}-{name_of(task)}",
                plugin=programs.plugin,
            )
            for kernel, built in kernels.items()
            if isinstance(built, KernelArtifact)
            for image in [stages.sha256(built.image)]
            for machine in chosen
            for task in tasks(spec.points(study.cost, machine.id), repeats)
        ]
        boots, samples = _count_all(jobs, options, emit)
        for recipe in ready.recipes:
            built = kernels[recipe.kernel.id]
            if isinstance(built, BuildError):
                samples += [
                    _not_built(built, recipe.kernel.id, m.id, p) for m in chosen for p in spec.points(study.cost, m.id)
                ]
        made = CostRun(
            id=folder.name,
            kpv=pipeline.__version__,
            started=stages.iso(started),
            finished=stages.iso(datetime.now(UTC)),
            command=options.command,
            study=fact,
            host=stages.host_fact(ready),
            kernels=tuple(stages.kernel_fact(recipe, ready, kernels[recipe.kernel.id]) for recipe in ready.recipes),
            machines={machine.id: machine.model_dump(mode="json") for machine in chosen},
            method=method,
            boots=boots,
            samples=samples,
            **_ranges(study),
        )
        with events.stage(emit, "report", made.id):
            view = files.write_all(made, folder)
        return Result(view.judged, folder, view)


def _machines(ready: Prepared, asked: tuple[str, ...]) -> list[Machine]:
    """Those that are asked for, or all without a model of TLBs, which would be counted too. Raises UserError."""
    known = [machine.id for machine in ready.machines]
    for name in asked:
        if name not in known:
            raise near.unknown("machine", name, known, where="the study")
    chosen = [machine for machine in ready.machines if (machine.id in asked if asked else machine.tlb is None)]
    if not chosen:
        raise UserError(
            f"{ready.study.path}: no machine to count on: each has a model of its TLBs",
            hint=f"choose one with -m: {', '.join(known)}",
        )
    counting = [machine for machine in chosen if spec.points(ready.study.cost, machine.id)]
    if not counting:
        names = ", ".join(dict.fromkeys(name for cost in ready.study.cost for name in cost.machines))
        raise UserError(
            f"{ready.study.path}: on {', '.join(m.id for m in chosen)} nothing is counted", hint=f"it is on {names}"
        )
    return counting


def for_counting(study: Study) -> Study:
    """The study with kernels that are built without what looks for bugs."""

    def without(fragments: Iterable[str]) -> tuple[str, ...]:
        return tuple(name for name in fragments if name not in DISTORTING)

    kernels = tuple(k.model_copy(update={"fragments": without(k.fragments)}) for k in study.kernel)
    return study.model_copy(update={"fragments": (*without(study.fragments), FRAGMENT), "kernel": kernels})


def tasks(points: Iterable[spec.Point], repeats: int) -> list[Task]:
    """What is measured in a boot each, ``repeats`` times. The longest first: several VMs then end at about one time."""
    longest = sorted(points, key=lambda point: -point.range)
    return [Task(p.operation, p.folio, p.range, repeat) for p in longest for repeat in range(repeats)]


def name_of(task: Task) -> str:
    """``free.64k.4m``, and ``free.64k.4m.1`` the second time."""
    point = spec.Point(task.operation, task.folio_bytes, task.range_bytes)
    return f"{point}.{task.repeat}" if task.repeat else str(point)


def _ranges(study: Study) -> dict[str, object]:
    """The first range of the first operation, and all of it: what a reader of cost.json sees at first sight."""
    first = study.cost[0]
    own = {point.range for point in spec.points(study.cost) if point.operation == first.operation}
    return {"range_bytes": spec.bytes_of(first.ranges[0]), "growth_bytes": tuple(sorted(own))}


def _not_built(error: BuildError, kernel: str, machine: str, point: spec.Point) -> Sample:
    return Sample(
        kernel=kernel,
        machine=machine,
        operation=point.operation,
        folio_bytes=point.folio,
        range_bytes=point.range,
        outcome="inconclusive",
        reason=error.message,
    )


def _programs(ready: Prepared, options: Options, emit: Emit, *, method: Method) -> Programs:
    """Compile the guest's program and the plugin. Raises UserError or InfraError."""
    version = stages.host_fact(ready).qemu
    with events.stage(emit, "workloads", guest.PROGRAM):
        made = workloads.compile_all(
            (guest.PROGRAM,),
            sources=resources.folder("guest-tests"),
            tree=ready.source.path,
            cross_compile=ready.tools.prefix,
            compiler=ready.tools.compiler,
            store=options.store,
        )[guest.PROGRAM]
    plugin = None
    if method == "plugin":
        with events.stage(emit, "plugins", PLUGIN):
            plugin = plugins.compile_all(
                (PLUGIN,),
                sources=resources.folder("qemu"),
                marks=resources.folder("guest-tests"),
                compiler=ready.tools.host_compiler,
                qemu=version,
                store=options.store,
            )[PLUGIN].with_suffix("jsonl")
    return Programs(made.path, made.sha256, plugin, version)


class _Progress:
    """Tells of the samples of a kernel and machine as one stage, from its first to its last."""

    def __init__(self, jobs: Iterable[BootJob], emit: Emit) -> None:
        self._emit, self._lock = emit, threading.Lock()
        self._left = Counter(self._subject(job) for job in jobs)
        self._total = Counter(self._left)
        self._began: dict[str, float] = {}
        self._counted: set[str] = set()

    @staticmethod
    def _subject(job: BootJob) -> str:
        return f"{job.kernel}/{job.machine.id}"

    def started(self, job: BootJob, why: str) -> None:
        with self._lock:
            if self._subject(job) not in self._began:
                self._began[self._subject(job)] = time.monotonic()
                self._emit(StageStarted(stage="cost", subject=self._subject(job), why=why))

    def finished(self, job: BootJob, boot: CostBoot) -> None:
        subject = self._subject(job)
        with self._lock:
            self._left[subject] -= 1
            self._counted |= set() if boot.cached else {subject}
            done, total = self._total[subject] - self._left[subject], self._total[subject]
            if boot.failure:
                self._emit(Finding(subject=job.id, what=boot.failure))
            self._emit(StageProgress(stage="cost", subject=subject, done=done, total=total, line=name_of(job.task)))
            if done == total:
                seconds = time.monotonic() - self._began[subject]
                cached = subject not in self._counted
                self._emit(StageFinished(stage="cost", subject=subject, seconds=seconds, cached=cached))


def _count_all(jobs: list[BootJob], options: Options, emit: Emit) -> tuple[list[CostBoot], list[Sample]]:
    """Every job, from the store or from a boot, ``options.jobs`` at once. Whatever ends this call ends every VM."""
    stop, progress = threading.Event(), _Progress(jobs, emit)
    with ThreadPoolExecutor(max_workers=max(1, options.jobs)) as executor:
        work = [executor.submit(_count, job, options.store, progress, stop=stop, fresh=options.fresh) for job in jobs]
        try:
            made = [future.result() for future in work]
        except BaseException:
            stop.set()
            executor.shutdown(wait=True, cancel_futures=True)
            raise
    return [boot for boot, _ in made], [sample for _, sample in made]


def _count(
    job: BootJob, store: Store, progress: _Progress, *, stop: threading.Event, fresh: bool
) -> tuple[CostBoot, Sample]:
    """The sample of a job: recorded, or of a boot, which is recorded then if nothing went wrong in it."""
    kept = None if fresh else store.find(KIND, job.inputs)
    if kept is not None:
        progress.started(job, "")
        boot = CostBoot.model_validate_json((kept / "boot.json").read_bytes())
        boot = boot.model_copy(update={"id": job.id, "kernel": job.kernel, "cached": True})
        sample = guest.sample(job, boot, kept)
    else:
        progress.started(job, "told to run again" if fresh else store.why(KIND, job.inputs, subject=job.id))
        boot = guest.run(job, stop=stop)
        sample = guest.sample(job, boot, job.workdir)
        if not boot.failure:
            if before := store.find(KIND, job.inputs):
                store.remove(before.name)
            store.artifact(KIND, job.inputs, lambda folder: _keep(job, boot, folder), subject=job.id)
            shutil.rmtree(job.workdir)
    progress.finished(job, boot)
    return boot, sample


def _keep(job: BootJob, boot: CostBoot, folder: Path) -> None:
    for name in guest.files(job):
        shutil.copyfile(job.workdir / name, folder / name)
    (folder / "boot.json").write_text(boot.model_dump_json(indent=1) + "\n", encoding="utf-8")
