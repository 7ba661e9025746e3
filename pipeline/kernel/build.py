"""From source, overlay and config request to a kernel in the store.

The same inputs give the same Image, byte for byte: what a build takes from its
surroundings (time, user, host, locale, version suffix) is pinned.
"""

import hashlib
import json
import os
import shlex
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import events
from pipeline.errors import InfraError, UserError
from pipeline.events import Emit, Note, StageFinished, StageProgress, StageStarted
from pipeline.kernel import buildlog, image, kconfig, reach, toolchain, worktree
from pipeline.kernel.process import clean_env, stream
from pipeline.kernel.series import Overlay, Series
from pipeline.kernel.source import SourceTree
from pipeline.store import DiskFull, Store, disk_full_told, write_atomic

#: Part of every kernel's key: raise it when this module would make another kernel of the same inputs.
RECIPE = 1

#: Part of the key of kernels of which reach.py spared objects: raise it when that would spare others.
REACH = 1

#: Documentation/kbuild/reproducible-builds.rst.
PINNED = {
    "KBUILD_BUILD_TIMESTAMP": "Wed Jan  1 00:00:00 UTC 2025",
    "KBUILD_BUILD_USER": "kpv",
    "KBUILD_BUILD_HOST": "kpv",
    "KBUILD_BUILD_VERSION": "1",
    "LOCALVERSION": "",
}

#: Steps that follow any change: archives up to vmlinux, three links with kallsyms, the Image. Measured on 6.12.
_RELINK_STEPS = 35
#: Steps of a build from nothing per option that is set, where no build was counted yet. Measured on 6.12.
_STEPS_PER_OPTION = 2.2


class BuildError(UserError):
    """The kernel does not compile or link. ``first``: the first error line; ``log``: the full output."""

    def __init__(self, kernel: str, log: Path, first: str, detail: str, *, doing: str) -> None:
        super().__init__(f"kernel {kernel} does not {doing}: {first}", hint=f"full output: {log}", detail=detail)
        self.kernel = kernel
        self.log = log
        self.first = first


class BuildKilled(InfraError):
    """A program of the build was ended by a signal, which says nothing about the kernel."""


@dataclass(frozen=True)
class KernelArtifact:
    """A built kernel: its files in the store and what is known of it.

    ``warnings``: warning lines in files that its series touches; ``all_warnings``
    counts those of the whole kernel. ``seconds``: what the build took when it was made.
    """

    path: Path
    key: str
    cached: bool
    why: str
    build_id: str
    release: str
    seconds: float
    warnings: tuple[str, ...]
    all_warnings: int

    @property
    def image(self) -> Path:
        return self.path / "Image"

    @property
    def vmlinux(self) -> Path:
        return self.path / "vmlinux"

    @property
    def system_map(self) -> Path:
        return self.path / "System.map"

    @property
    def config(self) -> Path:
        return self.path / "config"

    @property
    def log(self) -> Path:
        return self.path / "build.log"

    def facts(self) -> dict[str, Any]:
        """kernel.json: the inputs, sizes in bytes, commands and seconds."""
        facts: dict[str, Any] = json.loads((self.path / "kernel.json").read_text(encoding="utf-8"))
        return facts


@dataclass(frozen=True)
class Start:
    """Where builds of small changes to one kernel start: ``slot`` keeps the objects of ``overlay``."""

    slot: str
    overlay: Overlay


@dataclass(frozen=True)
class _Job:
    """What one build needs at hand everywhere."""

    kernel: str
    source: SourceTree
    overlay: Overlay
    requested: kconfig.Requested
    tools: toolchain.Toolchain
    store: Store
    cache: Path
    emit: Emit

    @property
    def env(self) -> dict[str, str]:
        ccache = {
            "CCACHE_DIR": str(self.cache / "ccache"),
            "CCACHE_MAXSIZE": "5G",
            "CCACHE_COMPILERCHECK": "content",
            # Takes the dependencies from the compile itself instead of a preprocessor run beforehand.
            "CCACHE_DEPEND": "1",
        }
        return clean_env(PINNED | ccache)

    def make(self, slot: worktree.Slot, *args: str) -> list[str]:
        return [
            "make",
            "-C",
            str(slot.tree),
            f"O={worktree.OBJECTS}",
            "--no-print-directory",
            *self.tools.make_args,
            *args,
        ]


def inputs_of(
    source: SourceTree,
    overlay: Overlay,
    fragments: kconfig.Requested,
    tools: toolchain.Toolchain,
    *,
    start: Start | None = None,
) -> dict[str, Any]:
    """Everything that can change a kernel; known before it is built.

    One with a changed header that is built from a start is not the same to the byte, see pipeline.kernel.reach.
    """
    spared = {"reach": REACH} if start and _headers_changed(source, start.overlay, overlay) else {}
    return spared | {
        "recipe": RECIPE,
        "source": source.identity,
        "series": overlay.digest,
        "config": hashlib.sha256(kconfig.text_of(fragments).encode()).hexdigest(),
        "environment": PINNED,
        **tools.identity(),
    }


def build(
    *,
    source: SourceTree,
    overlay: Overlay,
    series: Series,
    fragments: kconfig.Requested,
    study_id: str,
    kernel_id: str,
    store: Store,
    cache: Path,
    emit: Emit,
    start: Start | None = None,
) -> KernelArtifact:
    """The kernel of these inputs, from the store or built in the slot of this study and kernel.

    With ``start`` it is built in that slot, from the objects it keeps; see ``prime``.

    Raises KconfigError, BuildError (both UserError: the kernel's fault), and
    MissingTool, DiskFull, BuildKilled (InfraError: the surroundings').
    """
    job = _Job(kernel_id, source, overlay, fragments, toolchain.find(), store, cache, emit)
    inputs = inputs_of(source, overlay, fragments, job.tools, start=start)
    subject = f"{study_id}/{kernel_id}"
    began = time.monotonic()
    why = store.why("kernel", inputs, subject=subject)
    emit(StageStarted(stage="build", subject=kernel_id, why=why))

    def make(folder: Path) -> None:
        name = start.slot if start else kernel_id
        with worktree.hold(source, cache=cache, study_id=study_id, kernel_id=name, emit=emit) as held:
            if start and worktree.keeps(held, start.overlay, request=inputs["config"]):
                slot = _from(start, held, job, inputs["config"])
            else:
                slot = worktree.update(held, source, overlay, request=inputs["config"])
            _build(job, slot, folder, inputs, series)

    ok = False
    cached = False
    try:
        artifact = store.artifact("kernel", inputs, make, subject=subject)
        ok, cached = True, artifact.cached
    finally:
        emit(StageFinished(stage="build", subject=kernel_id, seconds=time.monotonic() - began, cached=cached, ok=ok))
    facts = json.loads((artifact.path / "kernel.json").read_text(encoding="utf-8"))
    said = (artifact.path / "warnings.txt").read_text(encoding="utf-8")
    return KernelArtifact(
        path=artifact.path,
        key=artifact.key,
        cached=artifact.cached,
        why=artifact.why,
        build_id=facts["build_id"],
        release=facts["release"],
        seconds=facts["seconds"],
        warnings=buildlog.warnings_in(said, series.files),
        all_warnings=said.count("warning: "),
    )


def _from(start: Start, held: worktree.Slot, job: _Job, request: str) -> worktree.Slot:
    """The slot with the kernel's files, and the kept objects that are the same with them."""
    worktree.rewind(held, job.source, start.overlay)
    names = _headers_changed(job.source, start.overlay, job.overlay)
    old = {name: (held.tree / name).read_text(encoding="utf-8", errors="replace") for name in names}
    known = reach.of_build(held.tree, held.objects, worktree.stamp(held)) if names else None
    slot = worktree.update(held, job.source, job.overlay, request=request)
    for name in names:
        assert known is not None
        data = job.overlay.files.get(name)
        data = (job.source.path / name).read_bytes() if data is None else data
        targets = known.of(name, old[name], data.decode("utf-8", "replace"))
        slot = worktree.spare(slot, job.source, name, targets)
        of_all = f"{len(targets)} of {known.dependents(name)}"
        job.emit(Note(text=f"{job.kernel}: what {name} changes is used by {of_all} objects that include it"))
    return slot


def _headers_changed(source: SourceTree, before: Overlay, after: Overlay) -> list[str]:
    """Headers that both kernels have, with other content."""
    old, new = before.digests(), after.digests()

    def there(name: str, digests: Mapping[str, str | None]) -> bool:
        return digests[name] is not None if name in digests else (source.path / name).exists()

    return sorted(
        name
        for name in old.keys() | new.keys()
        if name.endswith(".h") and old.get(name, "") != new.get(name, "") and there(name, old) and there(name, new)
    )


def prime(
    *,
    source: SourceTree,
    start: Start,
    fragments: kconfig.Requested,
    study_id: str,
    store: Store,
    cache: Path,
    emit: Emit,
) -> None:
    """Have the objects of ``start.overlay`` in its slot, for builds that start there. Raises as ``build`` does."""
    job = _Job(start.slot, source, start.overlay, fragments, toolchain.find(), store, cache, emit)
    request = inputs_of(source, start.overlay, fragments, job.tools)["config"]
    with worktree.hold(source, cache=cache, study_id=study_id, kernel_id=start.slot, emit=emit) as held:
        if worktree.keeps(held, start.overlay, request=request):
            return
        with events.stage(emit, "build", start.slot):
            slot = worktree.update(held, source, start.overlay, request=request)
            _make(job, slot, request)
            worktree.keep(slot, start.overlay, request=request)


def _make(job: _Job, slot: worktree.Slot, request: str) -> tuple[str, list[str]]:
    """Configure and compile what is in the slot; the final .config and the command."""
    with disk_full_told(slot.path), worktree.building(slot):
        slot.log.write_bytes(b"")
        config = _configure(job, slot)
        dot_config = slot.objects / ".config"
        before = dot_config.read_text(encoding="utf-8") if dot_config.exists() else ""
        if before != config:
            write_atomic(dot_config, config)
        command = job.make(slot, f"-j{len(os.sched_getaffinity(0)) + 1}", "-Otarget", "Image")
        _make_image(job, slot, command, before=before, config=config)
    worktree.succeeded(slot, request=request)
    return config, command


def _build(job: _Job, slot: worktree.Slot, folder: Path, inputs: Mapping[str, Any], series: Series) -> None:
    began = time.monotonic()
    config, command = _make(job, slot, inputs["config"])
    with disk_full_told(folder):
        _collect(slot, folder)
        facts = {
            "inputs": dict(inputs),
            "source": job.source.identity,
            "version": job.source.version,
            "release": (slot.objects / "include/config/kernel.release").read_text().strip(),
            "series_digest": series.digest,
            "patches": [{"name": each.name, "subject": each.subject, "sha256": each.sha256} for each in series.patches],
            "overlay_digest": job.overlay.digest,
            "overlay": job.overlay.digests(),
            "config_sha256": hashlib.sha256(config.encode()).hexdigest(),
            "build_id": image.read(folder / "vmlinux").build_id,
            "image_sha256": hashlib.sha256((folder / "Image").read_bytes()).hexdigest(),
            "bytes": {name: (folder / name).stat().st_size for name in ("Image", "vmlinux", "System.map")},
            "commands": [shlex.join(command)],
            "environment": PINNED,
            "seconds": round(time.monotonic() - began, 2),
        }
        write_atomic(folder / "kernel.json", json.dumps(facts, indent=1) + "\n")


def _collect(slot: worktree.Slot, folder: Path) -> None:
    for origin, name in (
        (slot.objects / "arch/arm64/boot/Image", "Image"),
        (slot.objects / "vmlinux", "vmlinux"),
        (slot.objects / "System.map", "System.map"),
        (slot.objects / ".config", "config"),
        (slot.log, "build.log"),
    ):
        shutil.copyfile(origin, folder / name)
    lines = [line for each in buildlog.load_warnings(slot.warnings).values() for line in each]
    write_atomic(folder / "warnings.txt", "".join(f"{line}\n" for line in dict.fromkeys(lines)))


def _configure(job: _Job, slot: worktree.Slot) -> str:
    """The final .config, from the store where the Kconfig files and the request were seen before."""
    began = time.monotonic()
    rules = {
        name: digest
        for name, digest in job.overlay.digests().items()
        if os.path.basename(name).startswith(("Kconfig", "Makefile")) or name.startswith("scripts/")
    }
    text = kconfig.text_of(job.requested)
    inputs = {"recipe": RECIPE, "source": job.source.identity, "rules": rules, "request": text, **job.tools.identity()}

    def make(folder: Path) -> None:
        job.emit(StageStarted(stage="configure", subject=job.kernel))
        (folder / "request").write_text(text, encoding="utf-8")
        # A config beside the slot's own: .config is only replaced by a different one, which would touch its users.
        job_env = job.env | {"KCONFIG_CONFIG": str(folder / "config"), "KCONFIG_ALLCONFIG": str(folder / "request")}
        for target in ("allnoconfig", "olddefconfig"):
            _run_make(job, slot, job.make(slot, target), job_env, lambda line: None, doing="configure")

    artifact = job.store.artifact("config", inputs, make, subject=job.kernel)
    config = (artifact.path / "config").read_text(encoding="utf-8")
    kconfig.require(job.requested, config, slot.tree, kernel=job.kernel)
    if not artifact.cached:
        job.emit(StageFinished(stage="configure", subject=job.kernel, seconds=time.monotonic() - began))
    return config


def _make_image(job: _Job, slot: worktree.Slot, command: list[str], *, before: str, config: str) -> None:
    """Run make. ``before``: the .config that the objects were built with, "" for none."""
    counts_path = slot.path.parent / "steps.json"
    try:
        counts = json.loads(counts_path.read_text())
    except (FileNotFoundError, ValueError):
        counts = {}
    key = hashlib.sha256(config.encode()).hexdigest()
    whole = counts.get(key, int(len(kconfig.values(config)) * _STEPS_PER_OPTION))
    total = whole if slot.cold else min(_steps_of_change(slot, before, config), whole)

    def step(done: int, line: str) -> None:
        # More than was expected, as where an option changes the compiler's flags: then at most as for a whole build.
        likely = next((each for each in (total, whole) if done <= each), 0)
        estimated = " (of an estimated total)" if likely == whole and key not in counts else ""
        job.emit(StageProgress(stage="build", subject=job.kernel, done=done, total=likely, line=line + estimated))

    reader = buildlog.Reader(buildlog.load_warnings(slot.warnings), step)
    env = job.env | ({"CCACHE_DISABLE": "1"} if slot.shadowing else {})
    try:
        _run_make(job, slot, command, env, reader.line, doing="build")
    finally:
        write_atomic(slot.warnings, json.dumps(reader.settled(slot.objects), indent=1))
    if slot.cold:
        write_atomic(counts_path, json.dumps(counts | {key: reader.steps}))


def _steps_of_change(slot: worktree.Slot, before: str, config: str) -> int:
    """Steps that follow changed files and options: objects that depend on them, those of new options, the link."""
    old, new = kconfig.values(before), kconfig.values(config)
    changed = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    objects = worktree.affected(slot, (name.removeprefix("CONFIG_") for name in changed))
    return objects + int(len(new.keys() - old.keys()) * _STEPS_PER_OPTION) + _RELINK_STEPS


def _run_make(
    job: _Job, slot: worktree.Slot, command: list[str], env: Mapping[str, str], on_line: Any, *, doing: str
) -> None:
    with slot.log.open("ab") as log:
        start = log.tell()
        log.write(f"$ {shlex.join(command)}\n".encode())
        code = stream(command, cwd=slot.path, env=env, log=log, on_line=on_line, keep_open=(slot.lock,))
    if code == 0:
        return
    said = slot.log.read_bytes()[start:].decode(errors="replace")
    if buildlog.disk_was_full(said):
        raise DiskFull(slot.path, detail=said[-2000:])
    first, detail = buildlog.first_error(said)
    if code < 0 or buildlog.was_killed(said):
        raise BuildKilled(
            f"kernel {job.kernel}: the build was ended by a signal"
            + (f" ({-code})" if code < 0 else f": {first}") + ", often for want of memory",
            hint="see dmesg for the OOM killer; run the command again",
            detail=f"full output: {slot.log}\n{detail}",
        )  # fmt: skip
    raise BuildError(job.kernel, slot.log, first, detail, doing=doing)
