"""A study over the fake kernel tree, mutants of it, and a guest played by what the built Image says of itself.

A line ``/* kpv: max full.64k no-lost-write */`` in a source makes that check fail on that machine in that
cell; ``*`` stands for any machine or cell. In place of a check: ``panic``, ``skip``, ``split`` (the claim on
function), ``cost`` (the one on structure), ``no-boot``, ``lost`` (the guest cannot be worked with),
``lost-late`` (it cannot after the last cell that was wanted).
"""

import fnmatch
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipeline import cells, exercise, stages
from pipeline.errors import InfraError
from pipeline.events import CellFinished, Event, StageStarted
from pipeline.exercise import BootJob, BootOutcome
from pipeline.guest import qemu
from pipeline.guest.plugins import Plugin
from pipeline.kernel import build
from pipeline.kernel.build import BuildError, KernelArtifact
from pipeline.mutate import campaign, mutant
from pipeline.mutate.campaign import Campaign
from pipeline.observation import Boot, Cell, Check, Need, Outcome, Step
from pipeline.study import Study
from tests.judge.builders import NEEDS, a_claim, a_scenario, a_study
from tests.kernel.conftest import Bench, bench, linux, make_patch, tools  # noqa: F401

GUEST = cells.Guest(
    initrd=(),
    rootfs_sha256="2" * 64,
    programs={"free": "3" * 64},
    qemu_version="QEMU 10",
    model=Plugin("contpte-tlb", Path("contpte-tlb.so"), "4" * 64),
)
#: Where the fake sources take a line more.
PLACE = {"mm/madvise.c": "\tint split = 1;\n", "mm/util.c": "\treturn 0;\n", "include/linux/mm.h": "16\n"}


class Vm:
    """Plays exercise.run by the Image it is given."""

    def __init__(self) -> None:
        self.jobs: list[BootJob] = []
        self.seconds = 0.01

    def __call__(self, job: BootJob, emit, *, stop: threading.Event, until) -> BootOutcome:
        self.jobs.append(job)
        emit(StageStarted(stage="boot", subject=f"{job.kernel}/{job.machine.id}", why=job.why))
        boot = Boot(id=job.id, kernel=job.kernel, machine=job.machine.id, needs=list(NEEDS), qemu=["qemu", job.id])
        job.workdir.mkdir(parents=True)
        (job.workdir / "console.log").write_text("kpv: ready\n")
        if "lost" in set(self._said(job, "")):
            raise InfraError("the guest's runner told of nothing")
        if "no-boot" in set(self._said(job, "")):
            boot.end, boot.failure = "panic", "Kernel panic while booting"
            return BootOutcome(boot, ())
        done = []
        for spec in job.specs:
            done.append(self._cell(job, spec))
            emit(
                CellFinished(
                    kernel=spec.kernel,
                    machine=spec.machine,
                    scenario=spec.scenario,
                    variant=spec.variant,
                    outcome=done[-1].outcome,
                    seconds=self.seconds,
                )
            )
            if until(done[-1], boot):
                break
            if done[-1].outcome is Outcome.PANIC:
                boot.end = "panic"
                return BootOutcome(boot, tuple(done))
        if "lost-late" in set(self._said(job, "")):
            raise InfraError("the guest does not power off")
        boot.end = "poweroff"
        return BootOutcome(boot, tuple(done))

    def _cell(self, job: BootJob, spec) -> Cell:
        said = set(self._said(job, spec.job))
        outcome, checks, needs = Outcome.PASSED, [], []
        for name in ("no-lost-write", "becomes-clean"):
            ok = name not in said
            checks.append(Check(name=name, ok=ok, detail="" if ok else f"{name} broken"))
            outcome = outcome if ok else Outcome.FAILED
        if "panic" in said:
            outcome, checks = Outcome.PANIC, []
        if "skip" in said:
            outcome, checks, needs = Outcome.SKIPPED, [], [Need(what="folio_order", ok=False, want="4", got="0")]
        return Cell(
            kernel=spec.kernel,
            machine=spec.machine,
            scenario=spec.scenario,
            variant=spec.variant,
            outcome=outcome,
            seconds=self.seconds,
            needs=needs,
            checks=checks,
            steps=[Step(name="free", mthp={"split": int("split" in said), "cost": int("cost" in said)})],
            ktap=f"ok 1 {spec.job}\n",
            boot=job.id,
        )

    @staticmethod
    def _said(job: BootJob, cell: str) -> Iterator[str]:
        for machine, where, what in re.findall(r"/\* kpv: (\S+) (\S+) (\S+) \*/", job.image.read_text()):
            if fnmatch.fnmatchcase(job.machine.id, machine) and fnmatch.fnmatchcase(cell, where):
                yield what


@dataclass
class Lab:
    """Runs campaigns and keeps what happened in the last one."""

    bench: Bench
    vm: Vm
    study: Study
    events: list[Event] = field(default_factory=list)
    saved: list[Campaign] = field(default_factory=list)
    emit: object = None

    @property
    def mutants(self) -> Path:
        return self.bench.folder / "mutants"

    def mutant(
        self,
        name: str,
        *effects: str,
        kind: str = "bug",
        file: str = "mm/madvise.c",
        title: str = "",
        text: str = "",
        needs: str = "",
    ) -> None:
        """A mutant with these effects, each as ``<machine> <cell> <check>``, or which adds ``text``."""
        text += "".join(f"\t/* kpv: {effect} */\n" for effect in effects)
        text = text or f"\t/* nothing, but {name} */\n"
        diff = make_patch(self.bench.linux, {file: (PLACE[file], PLACE[file] + text)})
        head = f"Subject: [PATCH] {title or name}\nMutant: {kind}\nBreaks: P1 of {name}\n"
        head += f"Needs: {needs}\n" if needs else ""
        self.write(name, f"{head}---\n{diff}")

    def write(self, name: str, text: str) -> None:
        path = self.mutants / f"{name}.patch"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run(self, *, only: str = "", kernel: str = "", fresh: bool = False, all_checks: bool = False, **more):
        self.vm.jobs.clear()
        self.events.clear()
        self.saved.clear()
        options = stages.Options(
            cache=self.bench.cache,
            runs=self.bench.folder / "runs",
            command=("kpv", "mutate", "study.toml"),
            jobs=more.pop("jobs", 1),
            fresh=fresh,
        )
        return campaign.run(
            self.study,
            campaign.under_test(self.study, kernel),
            mutant.load_all(self.mutants, only=only),
            options,
            self.emit or self.events.append,
            all_checks=all_checks,
            save=self.saved.append,
        )

    def booted(self) -> list[str]:
        """``<kernel>/<machine>`` of the last campaign's boots."""
        return [f"{job.kernel}/{job.machine.id}" for job in self.vm.jobs]

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


def quick_build(recipe, ready, options, emit, *, start=None) -> KernelArtifact | BuildError:
    """Plays stages.make: an Image is the sources one after the other, and ``#error`` in them an error."""
    sources = [recipe.overlay.files.get(name) or (ready.source.path / name).read_bytes() for name in PLACE]
    sources += [data for name, data in recipe.overlay.files.items() if name not in PLACE and name.endswith(".c")]
    log = options.cache / "build.log"
    log.parent.mkdir(exist_ok=True)
    log.write_text("$ make Image\n")
    error = next((line.strip() for data in sources for line in data.decode().splitlines() if "#error" in line), "")
    if error:
        return BuildError(recipe.kernel.id, log, error, "", doing="build")

    def make(folder: Path) -> None:
        image = b"".join(sources)
        (folder / "Image").write_bytes(image)
        for name in ("config", "build.log"):
            (folder / name).write_text("made\n")
        facts = {"image_sha256": hashlib.sha256(image).hexdigest(), "commands": ["make Image"]}
        (folder / "kernel.json").write_text(json.dumps(facts))

    inputs = build.inputs_of(ready.source, recipe.overlay, recipe.fragments, ready.tools)
    made = options.store.artifact("kernel", inputs, make, subject=recipe.kernel.id)
    return KernelArtifact(made.path, made.key, made.cached, made.why, "12", "6.12.99", 0.0, (), 0)


@pytest.fixture
def lab(slow_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """``slow_lab`` whose kernels are not even compiled by a fake compiler."""
    monkeypatch.setattr(stages, "make", quick_build)
    monkeypatch.setattr(build, "prime", lambda **more: None)
    return slow_lab


@pytest.fixture
def slow_lab(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Lab:  # noqa: F811
    """Kernels base (baseline), merged and v2 (expected to fail), two machines, three cells, two invariants."""
    vm = Vm()
    monkeypatch.setattr(exercise, "run", vm)
    monkeypatch.setattr(stages, "make_guest", lambda *args: GUEST)
    monkeypatch.setattr(qemu, "find", lambda: "qemu-system-aarch64")
    monkeypatch.chdir(bench.folder)
    (bench.folder / "tiny.config").write_text("CONFIG_FOO=y\n")
    checked = ["no-lost-write", "becomes-clean"]
    study = a_study(
        path=bench.folder / "study.toml",
        fragments=["tiny"],
        source={"tree": f"dir:{bench.linux}"},
        kernel=[
            {"id": "base", "role": "baseline"},
            {"id": "merged", "title": "as it was merged"},
            {"id": "v2", "expect": {"verdict": "FAIL"}},
        ],
        scenario=[
            a_scenario("full", variants=["64k", "128k"], checks=checked, properties=["P1"]),
            a_scenario("fork", variants=["64k"], checks=checked, properties=["P6"]),
        ],
        invariant=[
            {"id": "no-lost-write", "title": "No lost write"},
            {"id": "becomes-clean", "title": "No dirty bit is left"},
        ],
        claim=[a_claim(), a_claim(id="cheap", title="It is cheap", kind="structure", candidate="mthp.cost == 0")],
    )
    return Lab(bench, vm, study)
