"""A campaign: boots kernels again and again, each boot with random sequences of other seeds."""

import itertools
import json
import secrets
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pipeline
from pipeline import cells, exercise, plan, resources, runfolder, stages, suite
from pipeline.errors import Exit
from pipeline.events import Emit, Finding, Note
from pipeline.fuzz import log
from pipeline.kernel.build import BuildError
from pipeline.observation import Cell, Outcome
from pipeline.plan import CellSpec
from pipeline.stages import Options
from pipeline.store import write_atomic
from pipeline.study import Study

PROGRAM = "lazyfree_fuzz"
#: Sequences of one cell, at most: one or two seconds of an idle host.
PER_CELL = 100


@dataclass(frozen=True)
class Plan:
    """What is asked for: ``sequences`` for each kernel on each machine, or as many as ``seconds`` of wall time allow.

    ``seed``: of the first cell, the others count on. ``first``: sequence of each seed to begin with. ``ops``:
    a sequence to replay instead. ``known``: also what the kernel is known to fail on, see lazyfree_fuzz.c.
    """

    seed: int = field(default_factory=lambda: secrets.randbelow(1 << 31))
    first: int = 0
    sequences: int = 0
    seconds: float = 0.0
    ops: str = ""
    known: bool = False


@dataclass(frozen=True, kw_only=True)
class FuzzSpec(CellSpec):
    """A cell of a campaign: scenario ``base`` with a seed of its own; ``scenario`` is unique in a boot."""

    base: str
    env: tuple[tuple[str, str], ...]
    seed: int
    sequences: int

    @property
    def serves(self) -> bool:
        return False  # each cell has an environment of its own

    @property
    def test(self) -> str:
        return f"{self.fixture}.{self.variant}.{self.base}"

    @property
    def argv(self) -> tuple[str, ...]:
        return ("/bin/busybox", "env", *(f"{name}={value}" for name, value in self.env), *super().argv)


@dataclass(frozen=True)
class Tried:
    """One cell as it is recorded."""

    kernel: str
    machine: str
    scenario: str
    variant: str
    seed: int
    first: int
    sequences: int
    outcome: str
    reason: str
    seconds: float
    failure: log.Failure | None = None
    #: Path of the C test, relative to the campaign's folder.
    test_file: str = ""

    def told(self, folder: Path) -> str:
        """A failure for a person: what, where, and how to have it again."""
        assert self.failure is not None
        lines = [
            f"{self.kernel}/{self.machine}/{self.scenario}.{self.variant}: {self.failure.what}: {self.failure.detail}",
            f"  seed {self.seed}, sequence {'unknown' if self.failure.sequence is None else self.failure.sequence}",
        ]
        if self.failure.shrunk:
            lines.append(f'  --ops "{self.failure.shrunk}"')
        if self.test_file:
            lines.append(f"  {folder / self.test_file}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Result:
    """``tried``: every cell. ``folder`` holds campaign.json, failures/ and the boots' consoles."""

    plan: Plan
    tried: tuple[Tried, ...]
    folder: Path

    @property
    def failures(self) -> tuple[Tried, ...]:
        return tuple(one for one in self.tried if one.failure is not None)

    def by_pair(self) -> list[tuple[str, str, int, int, str]]:
        """Kernel, machine, sequences tried, cells that failed and seconds spent in them, for each pair."""
        rows = []
        for kernel, machine in dict.fromkeys((one.kernel, one.machine) for one in self.tried):
            mine = [one for one in self.tried if (one.kernel, one.machine) == (kernel, machine)]
            failed = sum(one.failure is not None for one in mine)
            seconds = sum(one.seconds for one in mine)
            rows.append((kernel, machine, sum(one.sequences for one in mine), failed, f"{seconds:.1f}"))
        return rows

    @property
    def exit_code(self) -> Exit:
        if self.failures:
            return Exit.FAIL
        passed = [one for one in self.tried if one.outcome == Outcome.PASSED]
        return Exit.PASS if self.tried and len(passed) == len(self.tried) else Exit.INCONCLUSIVE


def run(study: Study, wanted: Plan, options: Options, emit: Emit, *, scenarios: tuple[str, ...] = ()) -> Result:
    """Run a campaign on the study's kernels and machines; a kernel's part ends early after a boot with a failure.

    Raises UserError and InfraError as ``stages.validate`` does, BuildError for a kernel that does not compile.
    """
    started = datetime.now(UTC)
    study = _of_the_program(study, scenarios)
    with runfolder.recording(emit) as (emit, keep_in):
        ready = stages.prepare(study, options, emit)
        guest = stages.make_guest(ready, options, emit)
        folder = runfolder.create(options.runs, f"fuzz-{study.id}", started)
        keep_in(folder / "events.jsonl")
        emit(Note(text=f"campaign folder: {folder}; seed {wanted.seed}"))
        built = {}
        for recipe in ready.recipes:
            kernel = stages.make(recipe, ready, options, emit)
            if isinstance(kernel, BuildError):
                raise kernel
            built[recipe.kernel.id] = kernel
        pairs = _unwatched(stages.pairs(ready, built))
        stop = threading.Event()
        with ThreadPoolExecutor(max_workers=max(1, options.jobs)) as executor:
            work = [
                executor.submit(_pair, study, pair, guest, wanted, folder=folder, stop=stop, emit=emit)
                for pair in pairs
            ]
            try:
                tried = tuple(one for future in work for one in future.result())
            except BaseException:
                stop.set()
                executor.shutdown(wait=True, cancel_futures=True)
                raise
        result = Result(wanted, tried, folder)
        _write(result, study, options, started)
        return result


def _unwatched(pairs: list[cells.Pair]) -> list[cells.Pair]:
    """Those of machines without a TLB model, which would only try the same again; all where no other was asked for."""
    return [pair for pair in pairs if pair.machine.tlb is None] or pairs


def _of_the_program(study: Study, scenarios: tuple[str, ...]) -> Study:
    """The study with the program's scenarios and nothing to judge them by."""
    found = suite.load(resources.folder("guest-tests"), PROGRAM, wanted_by=study.path)
    whole = study.model_copy(update={"scenario": found, "machine": (), "claim": (), "known": ()})
    return plan.narrow(whole, scenarios=scenarios)


def _pair(
    study: Study,
    pair: cells.Pair,
    guest: cells.Guest,
    wanted: Plan,
    *,
    folder: Path,
    stop: threading.Event,
    emit: Emit,
) -> list[Tried]:
    """One kernel on one machine: boots until enough is done or something failed."""
    tried: list[Tried] = []
    for number, specs in enumerate(batches(study, pair.kernel, pair.machine.id, wanted), start=1):
        boot_id = f"{folder.name}-{pair.kernel}-{pair.machine.id}-{number}"
        job = exercise.BootJob(
            id=boot_id,
            kernel=pair.kernel,
            machine=pair.machine,
            image=pair.image,
            initrd=guest.initrd,
            specs=specs,
            probes=(),
            tracepoints=(),
            requested=pair.requested,
            build_id=pair.build_id,
            workdir=folder / "boots" / boot_id,
            plugins=guest.model_of(pair.machine),
            system_map=pair.system_map,
            why=f"{sum(spec.sequences for spec in specs)} sequences, seeds from {specs[0].seed} on",
        )
        outcome = exercise.run(job, emit, stop=stop)
        done = {cell.job: cell for cell in outcome.cells}
        if not done:
            nothing = Cell(
                kernel=pair.kernel,
                machine=pair.machine.id,
                scenario=specs[0].scenario,
                variant=specs[0].variant,
                outcome=Outcome.CRASHED,
                reason=outcome.boot.failure.partition("\n")[0] or "the guest ended before the first sequence",
            )
            done = {nothing.job: nothing}
        tried += [_tried(spec, done[spec.job], wanted, folder, emit) for spec in specs if spec.job in done]
        if len(done) < len(specs) or any(one.failure for one in tried):
            break
    return tried


def batches(study: Study, kernel: str, machine: str, wanted: Plan) -> Iterator[tuple[FuzzSpec, ...]]:
    """The cells of one boot after another, the same for each kernel and machine as long as time allows."""
    until = time.monotonic() + wanted.seconds
    seeds = itertools.count(wanted.seed)
    base = plan.cells(study, kernel, machine)
    left = wanted.sequences or (1 if wanted.ops else PER_CELL * len(base))
    while left > 0:
        each = min(PER_CELL, -(-left // len(base)))
        yield tuple(_spec(spec, wanted, seed, each) for spec, seed in zip(base, seeds, strict=False))
        if not wanted.seconds:
            left -= each * len(base)
        elif time.monotonic() >= until:
            return


def _spec(spec: CellSpec, wanted: Plan, seed: int, sequences: int) -> FuzzSpec:
    env = {"KPV_SEED": str(seed), "KPV_FIRST": str(wanted.first), "KPV_SEQUENCES": str(sequences), "KPV_LOG": "1"}
    if wanted.known:
        env["KPV_KNOWN"] = "1"
    if wanted.ops:
        env["KPV_OPS"] = wanted.ops
    return FuzzSpec(
        kernel=spec.kernel,
        machine=spec.machine,
        scenario=f"{spec.scenario}-{seed}",
        variant=spec.variant,
        program=spec.program,
        fixture=spec.fixture,
        timeout=spec.timeout,
        cpus=spec.cpus,
        base=spec.scenario,
        env=tuple(env.items()),
        seed=seed,
        sequences=sequences,
    )


def _tried(spec: FuzzSpec, cell: Cell, wanted: Plan, folder: Path, emit: Emit) -> Tried:
    failure = log.failure(cell)
    test_file = ""
    if failure is not None:
        emit(Finding(subject=cell.name, what=f"{failure.what}: {failure.detail}"))
        stem = f"{spec.kernel}-{spec.machine}-{spec.base}-{spec.variant}-{spec.seed}"
        home = folder / "failures"
        home.mkdir(exist_ok=True)
        (home / f"{stem}.log").write_text(cell.ktap, encoding="utf-8", errors="backslashreplace")
        if failure.test:
            test_file = f"failures/{stem}.c"
            (folder / test_file).write_text(failure.test, encoding="utf-8")
    doubt = log.doubt(cell)
    return Tried(
        kernel=spec.kernel,
        machine=spec.machine,
        scenario=spec.base,
        variant=spec.variant,
        seed=spec.seed,
        first=wanted.first,
        sequences=cell.params.get("sequences", 0),
        outcome=Outcome.SKIPPED if doubt else cell.outcome,
        reason=doubt or cell.reason,
        seconds=cell.seconds,
        failure=failure,
        test_file=test_file,
    )


def _write(result: Result, study: Study, options: Options, started: datetime) -> None:
    record = {
        "kpv": pipeline.__version__,
        "command": list(options.command),
        "study": study.id,
        "started": started.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "plan": asdict(result.plan),
        "cells": [asdict(one) for one in result.tried],
    }
    write_atomic(result.folder / "campaign.json", json.dumps(record, indent=1) + "\n")
