"""How the stages hang together: from a study to a judged and reported run."""

import hashlib
import platform
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pipeline
from pipeline import cells, events, resources, runfolder
from pipeline import run as runs
from pipeline.errors import Exit
from pipeline.events import Emit, Note
from pipeline.guest import machine as machines
from pipeline.guest import plugins, qemu, rootfs, workloads
from pipeline.guest.machine import Machine
from pipeline.judge import expr
from pipeline.judge.model import BuildFact
from pipeline.kernel import build, kconfig, series, source, toolchain
from pipeline.kernel.build import BuildError, KernelArtifact
from pipeline.kernel.series import Overlay, Patch, Series
from pipeline.kernel.source import SourceTree
from pipeline.observe import tlb
from pipeline.schema import line_of
from pipeline.store import Store
from pipeline.study import Kernel, Study, StudyError

#: What QEMU loads in every boot, and beside it where the machine has a model of TLBs.
PLUGINS = ("checkpoint",)
MODEL = tlb.PLUGIN


@dataclass(frozen=True)
class Options:
    """What a caller decides about a run. ``jobs``: VMs at once. ``fresh``: run every cell again."""

    cache: Path
    runs: Path
    command: tuple[str, ...] = ()
    jobs: int = 2
    fresh: bool = False

    @property
    def store(self) -> Store:
        return Store(self.cache / "store")


@dataclass(frozen=True)
class Recipe:
    """A kernel of the study before it is built."""

    kernel: Kernel
    series: Series
    overlay: Overlay
    fragments: kconfig.Requested


@dataclass(frozen=True)
class Prepared:
    """A study whose every input was read and found sound: nothing of the user's is left to go wrong but the code."""

    study: Study
    source: SourceTree
    recipes: tuple[Recipe, ...]
    machines: tuple[Machine, ...]
    tools: toolchain.Toolchain
    qemu: str


@dataclass(frozen=True)
class Result:
    """A finished run and the folder that holds its report."""

    run: runs.Run
    folder: Path

    @property
    def exit_code(self) -> Exit:
        assert self.run.judgement is not None
        return Exit(self.run.judgement.exit_code)


def validate(study: Study, options: Options, emit: Emit) -> Result:
    """The main job: build, boot, exercise, judge and report a study.

    Raises UserError or InfraError for what stops it before there is anything
    to judge; a kernel that does not build or boot is judged, not raised.
    """
    started = datetime.now(UTC)
    with runfolder.recording(emit) as (emit, keep_in):
        ready = prepare(study, options, emit)
        guest = make_guest(ready, options, emit)
        folder = runfolder.create(options.runs, study.id, started)
        keep_in(folder / "events.jsonl")
        emit(Note(text=f"run folder: {folder}"))
        kernels = {recipe.kernel.id: make(recipe, ready, options, emit) for recipe in ready.recipes}
        ready_pairs = pairs(ready, kernels)
        with cells.counted(emit, study, ready_pairs) as counting:
            boots, observed = cells.exercise_all(
                study,
                ready_pairs,
                guest,
                store=options.store,
                workdir=folder / "boots",
                jobs=options.jobs,
                fresh=options.fresh,
                emit=counting,
            )
        for kernel, built in kernels.items():
            if isinstance(built, BuildError):
                observed += cells.not_built(study, kernel)
        run = runs.Run(
            id=folder.name,
            kpv=pipeline.__version__,
            started=iso(started),
            finished=iso(datetime.now(UTC)),
            command=options.command,
            study=runs.StudyFact(file=as_seen(study.path), sha256=sha256(study.path), content=study),
            host=host_fact(ready),
            kernels=tuple(kernel_fact(recipe, ready, kernels[recipe.kernel.id]) for recipe in ready.recipes),
            machines={machine.id: machine.model_dump(mode="json") for machine in ready.machines},
            boots=boots,
            cells=observed,
        )
        with events.stage(emit, "judge", run.id):
            run = run.judged()
        with events.stage(emit, "report", run.id):
            for kernel, built in kernels.items():
                runfolder.kernel_files(folder / "kernels" / kernel, built)
            for boot in run.boots:
                runfolder.boot_files(folder / "boots" / boot.id, options.store, boot.id)
            for cell in run.cells:
                runfolder.cell_files(folder, cell)
            run = run.model_copy(update={"cells": [runfolder.without_files(cell) for cell in run.cells]})
            runfolder.write(run, folder)
        return Result(run, folder)


def build_all(study: Study, options: Options, emit: Emit, *, only: tuple[str, ...] = ()) -> dict[str, KernelArtifact]:
    """Build a study's kernels (or ``only`` some). Raises BuildError for the first that does not compile."""
    ready = prepare(study, options, emit)
    built = {}
    for recipe in ready.recipes:
        if not only or recipe.kernel.id in only:
            kernel = make(recipe, ready, options, emit)
            if isinstance(kernel, BuildError):
                raise kernel
            built[recipe.kernel.id] = kernel
    return built


def rejudge(path: Path, emit: Emit) -> Result:
    """Judge the recorded observations of a run anew and write its reports again, with no VM. Raises RunError."""
    run = runs.load(path)
    folder = path if path.is_dir() else path.parent
    with events.stage(emit, "judge", run.id):
        run = run.judged()
    runfolder.write(run, folder)
    return Result(run, folder)


def prepare(study: Study, options: Options, emit: Emit) -> Prepared:
    """Read everything a study names, before the first build. Raises UserError or InfraError."""
    _check_claims(study)
    profiles = tuple(machines.load(resources.folder("qemu"), name) for name in study.machines)
    tools = toolchain.find()
    qemu_program = qemu.find()
    folders = (study.folder, resources.folder("kernel-configs"))
    requests = [kconfig.load((*study.fragments, *kernel.fragments), *folders) for kernel in study.kernel]
    loaded = [series.load(kernel.series, study.folder) for kernel in study.kernel]
    tree = source.resolve(study.source.tree, cache=options.cache, folder=study.folder, emit=emit)
    recipes = []
    for kernel, request, patches in zip(study.kernel, requests, loaded, strict=True):
        with events.stage(emit, "patch", kernel.id):
            overlay = series.apply(patches, tree)
        for note in overlay.notes:
            emit(Note(text=f"{kernel.id}: {note}"))
        recipes.append(Recipe(kernel, patches, overlay, request))
    return Prepared(study, tree, tuple(recipes), profiles, tools, qemu_program)


def _check_claims(study: Study) -> None:
    """Raises StudyError with file:line for an expression that is not in the judge's language."""
    expressions = [("claim", entry, key) for entry in study.claim for key in ("candidate", "baseline")]
    expressions += [("invariant", entry, "holds") for entry in study.invariant]
    for kind, entry, key in expressions:
        try:
            if getattr(entry, key):
                expr.check_syntax(getattr(entry, key))
        except expr.ExprError as err:
            text = study.path.read_text(encoding="utf-8")
            at = [one["id"] for one in tomllib.loads(text)[kind]].index(entry.id)
            line = line_of(text, (kind, at, key))
            raise StudyError(f"{study.path}:{line}: {kind} {entry.id}: {key}: {err.message}", hint=err.hint) from err


def make(
    recipe: Recipe, ready: Prepared, options: Options, emit: Emit, *, start: build.Start | None = None
) -> KernelArtifact | BuildError:
    """Build one kernel; a compiler error is a fact on the kernel, so it is returned, not raised."""
    try:
        return build.build(
            source=ready.source,
            overlay=recipe.overlay,
            series=recipe.series,
            fragments=recipe.fragments,
            study_id=ready.study.id,
            kernel_id=recipe.kernel.id,
            store=options.store,
            cache=options.cache,
            emit=emit,
            start=start,
        )
    except BuildError as err:
        emit(Note(text=f"{recipe.kernel.id}: {err.message}"))
        return err


def make_guest(ready: Prepared, options: Options, emit: Emit) -> cells.Guest:
    """The guest's archives: Debian's userspace and the study's compiled guest tests. Raises UserError or InfraError."""
    with events.stage(emit, "workloads", "guest-tests"):
        programs = workloads.compile_all(
            (scenario.program for scenario in ready.study.scenario),
            sources=resources.folder("guest-tests"),
            tree=ready.source.path,
            cross_compile=ready.tools.prefix,
            compiler=ready.tools.compiler,
            store=options.store,
        )
    version = _first_line([ready.qemu, "--version"])
    with events.stage(emit, "plugins", "qemu"):
        loaded = plugins.compile_all(
            (*PLUGINS, *([MODEL] if any(machine.tlb for machine in ready.machines) else [])),
            sources=resources.folder("qemu"),
            marks=resources.folder("guest-tests"),
            compiler=ready.tools.host_compiler,
            qemu=version,
            store=options.store,
        )
    base = rootfs.base(options.store, emit=emit)
    archive = options.store.artifact(
        "guest-workloads",
        {name: program.sha256 for name, program in programs.items()},
        lambda out: (out / "workloads.cpio").write_bytes(
            rootfs.workloads({name: program.path for name, program in programs.items()})
        ),
        subject="workloads",
    )
    return cells.Guest(
        initrd=(base.path, archive.path / "workloads.cpio"),
        rootfs_sha256=base.sha256,
        programs={name: program.sha256 for name, program in programs.items()},
        qemu_version=version,
        plugins=tuple(loaded[name] for name in PLUGINS),
        model=loaded[MODEL].with_suffix("jsonl") if MODEL in loaded else None,
    )


def pairs(ready: Prepared, kernels: Mapping[str, KernelArtifact | BuildError]) -> list[cells.Pair]:
    """Every machine with every kernel that was built, by id of its recipe."""
    return [
        cells.Pair(
            kernel=recipe.kernel.id,
            machine=machine,
            image=kernel.image,
            image_sha256=sha256(kernel.image),
            build_id=kernel.build_id,
            requested=recipe.fragments,
            system_map=kernel.system_map,
        )
        for recipe in ready.recipes
        if isinstance(kernel := kernels[recipe.kernel.id], KernelArtifact)
        for machine in ready.machines
    ]


def kernel_fact(recipe: Recipe, ready: Prepared, built: KernelArtifact | BuildError) -> runs.KernelFact:
    kernel = recipe.kernel
    fact = runs.KernelFact(
        id=kernel.id,
        title=kernel.title,
        role=kernel.role,
        source=ready.source.description,
        version=ready.source.version,
        series=tuple(_patch_fact(patch) for patch in recipe.series.patches),
        fragments=(*ready.study.fragments, *kernel.fragments),
        toolchain=ready.tools.compiler,
    )
    if isinstance(built, BuildError):
        return fact.model_copy(update={"build": BuildFact(ok=False, failure=built.message)})
    return fact.model_copy(
        update={
            "config_sha256": sha256(built.config),
            "build_id": built.build_id,
            "image_sha256": sha256(built.image),
            "build_seconds": 0.0 if built.cached else built.seconds,
            "cached": built.cached,
            "warnings": built.warnings,
            "build": BuildFact(ok=True),
        }
    )


def _patch_fact(patch: Patch) -> runs.PatchFact:
    """Of a path outside of the study only the name: where it was on this machine is nobody else's business."""
    name = Path(patch.name).name if Path(patch.name).is_absolute() else patch.name
    return runs.PatchFact(file=name, subject=patch.subject, sha256=patch.sha256)


def host_fact(ready: Prepared) -> runs.HostFact:
    checkout = resources.checkout()
    commit = ""
    if checkout is not None and (checkout / ".git").exists():
        commit = _first_line(["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=12"])
    return runs.HostFact(
        os=platform.freedesktop_os_release().get("PRETTY_NAME", "") if Path("/etc/os-release").exists() else "",
        qemu=_first_line([ready.qemu, "--version"]),
        gcc=ready.tools.compiler,
        ccache=_first_line(["ccache", "--version"]),
        python=platform.python_version(),
        kpv_git=commit,
    )


def _first_line(command: list[str]) -> str:
    """First line a command says; "" where it fails or is not there: it only feeds the record."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.partition("\n")[0].strip() if done.returncode == 0 else ""


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def as_seen(path: Path) -> str:
    """A path as the caller would name it: relative to the working folder if it is below it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def iso(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
