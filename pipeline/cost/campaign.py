"""From a study to its costs: builds the kernels for counting, boots what the store does not have, and reports."""

import dataclasses
import shutil
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pipeline
from pipeline import events, resources, runfolder, stages
from pipeline import run as runs
from pipeline.cost import guest, spec
from pipeline.cost.guest import BootJob, Task
from pipeline.cost.model import CostBoot, CostRun, Sample
from pipeline.cost.report import files
from pipeline.cost.report.view import View
from pipeline.errors import UserError
from pipeline.events import Emit, Note, StageFinished, StageStarted
from pipeline.guest import plugins, workloads
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
#: Bytes of a range up to which it is measured with the others in one boot, and more than once.
SMALL = 64 << 20
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
    study: Study, options: Options, emit: Emit, *, machines: tuple[str, ...] = (), repeats: int = 2,
    method: Method = "plugin",
) -> Result:  # fmt: skip
    """Count all that ``study.cost`` names, on ``machines`` of the study (all without a model of TLBs, if empty).

    ``repeats``: how often the short calls are measured in a boot. Raises UserError or InfraError for what
    stops it before there is anything to judge; a kernel that does not build or boot is judged, not raised.
    """
    started = datetime.now(UTC)
    fact = runs.StudyFact(file=stages.as_seen(study.path), sha256=stages.sha256(study.path), content=study)
    with runfolder.recording(emit) as (emit, keep_in):
        ready = stages.prepare(for_counting(study), options, emit)
        chosen = [
            machine for machine in ready.machines if (machine.id in machines if machines else machine.tlb is None)
        ]
        if not chosen:
            raise UserError(
                f"{study.path}: no machine to count on: {', '.join(machines) or 'each has a model of its TLBs'}",
                hint=f"machines of the study: {', '.join(machine.id for machine in ready.machines)}",
            )
        programs = _programs(ready, options, emit, method=method)
        folder = runfolder.create(options.runs, f"{study.id}-cost", started)
        keep_in(folder / "events.jsonl")
        emit(Note(text=f"run folder: {folder}"))
        kernels = {recipe.kernel.id: stages.make(recipe, ready, options, emit) for recipe in ready.recipes}
        jobs = [
            BootJob(
                id=f"{kernel}-{machine.id}-{name}",
                kernel=kernel,
                machine=machine,
                image=built.image,
                system_map=built.system_map,
                program=programs.program,
                tasks=tasks,
                workdir=folder / "boots" / f"{kernel}-{machine.id}-{name}",
                plugin=programs.plugin,
            )
            for name, tasks in parts(spec.points(study.cost), repeats)
            for kernel, built in kernels.items()
            if isinstance(built, KernelArtifact)
            for machine in chosen
        ]
        boots, samples = _count_all(jobs, kernels, programs, options, emit)
        for recipe in ready.recipes:
            built = kernels[recipe.kernel.id]
            if isinstance(built, BuildError):
                samples += [
                    _not_built(built, recipe.kernel.id, m.id, p) for m in chosen for p in spec.points(study.cost)
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


def for_counting(study: Study) -> Study:
    """The study with kernels that are built without what looks for bugs."""

    def without(fragments: Iterable[str]) -> tuple[str, ...]:
        return tuple(name for name in fragments if name not in DISTORTING)

    kernels = tuple(k.model_copy(update={"fragments": without(k.fragments)}) for k in study.kernel)
    return study.model_copy(update={"fragments": (*without(study.fragments), FRAGMENT), "kernel": kernels})


def parts(points: Iterable[spec.Point], repeats: int) -> list[tuple[str, tuple[Task, ...]]]:
    """What is measured in one boot each: calls on short ranges, ``repeats`` times each, and those that show growth."""
    points = list(points)
    small = [point for point in points if point.range < SMALL]
    large = sorted((point for point in points if point.range >= SMALL), key=lambda point: point.range)
    found = [
        ("short", [Task(p.operation, p.folio, p.range, repeat) for p in small for repeat in range(repeats)]),
        ("long", [Task(p.operation, p.folio, p.range) for p in large]),
    ]
    # The longest first: two VMs then end at about the same time.
    return [(name, tuple(tasks)) for name, tasks in found[::-1] if tasks]


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


def _count_all(
    jobs: list[BootJob], kernels: Mapping[str, KernelArtifact | BuildError], programs: Programs, options: Options,
    emit: Emit,
) -> tuple[list[CostBoot], list[Sample]]:  # fmt: skip
    """Every job, from the store or from a boot, ``options.jobs`` at once. Whatever ends this call ends every VM."""
    stop = threading.Event()
    boots: list[CostBoot] = []
    samples: list[Sample] = []

    def one(job: BootJob) -> tuple[CostBoot, list[Sample]]:
        inputs = {
            **job.inputs,
            "image": stages.sha256(job.image),
            "program": programs.program_sha256,
            "qemu": programs.qemu_version,
        }
        return _count(job, inputs, options.store, emit, stop=stop, fresh=options.fresh)

    with ThreadPoolExecutor(max_workers=max(1, options.jobs)) as executor:
        work = [executor.submit(one, job) for job in jobs]
        try:
            for future in work:
                boot, made = future.result()
                boots.append(boot)
                samples += made
        except BaseException:
            stop.set()
            executor.shutdown(wait=True, cancel_futures=True)
            raise
    return boots, samples


def _count(
    job: BootJob, inputs: Mapping[str, object], store: Store, emit: Emit, *, stop: threading.Event, fresh: bool
) -> tuple[CostBoot, list[Sample]]:
    """The samples of a job: recorded, or of a boot, which is recorded then if nothing went wrong in it."""
    subject = f"{job.kernel}/{job.machine.id}"
    kept = None if fresh else store.find("cost", inputs)
    if kept is not None:
        emit(StageStarted(stage="cost", subject=subject))
        boot = CostBoot.model_validate_json((kept / "boot.json").read_bytes())
        boot = boot.model_copy(update={"id": job.id, "cached": True})
        emit(StageFinished(stage="cost", subject=subject, seconds=0.0, cached=True))
        return boot, guest.samples(job, boot, kept)
    why = "told to run again" if fresh else store.why("cost", inputs, subject=job.id)
    boot = guest.run(dataclasses.replace(job, why=why), emit, stop=stop)
    samples = guest.samples(job, boot, job.workdir)
    if not boot.failure:
        before = store.find("cost", inputs)
        if before is not None:
            store.remove(before.name)
        store.artifact("cost", inputs, lambda folder: _keep(job, boot, folder), subject=job.id)
    return boot, samples


def _keep(job: BootJob, boot: CostBoot, folder: Path) -> None:
    for name in guest.files(job):
        shutil.copyfile(job.workdir / name, folder / name)
    (folder / "boot.json").write_text(boot.model_dump_json(indent=1) + "\n", encoding="utf-8")
