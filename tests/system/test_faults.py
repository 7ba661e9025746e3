"""What goes wrong is told apart: the kernel's fault, the user's, the surroundings'."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from pipeline import plan
from pipeline.errors import Exit
from pipeline.events import CellFinished, Event, StageStarted
from pipeline.observation import Outcome
from pipeline.stages import Result
from pipeline.study import Study
from tests.system.conftest import SHIPPED, Bench

pytestmark = pytest.mark.system

PATCHES = Path(__file__).parent / "patches"
QEMU = "qemu-system-aarch64"


def narrowed(study: Study, *scenarios: str, timeout: int = 30, machines: tuple[str, ...] = ("max",)) -> Study:
    small = plan.narrow(study, machines=machines, scenarios=scenarios)
    return small.model_copy(
        update={"scenario": tuple(s.model_copy(update={"timeout": timeout}) for s in small.scenario)}
    )


def failing(result: Result, kernel: str) -> tuple[str, ...]:
    return next(k for k in result.run.judgement.kernels if k.kernel == kernel).failing


def row(result: Result, kernel: str, decision: str):
    judged = next(k for k in result.run.judgement.kernels if k.kernel == kernel)
    return next(d for d in judged.decisions if d.id == decision)


def test_a_kernel_that_does_not_compile_fails_builds_with_the_compilers_words(bench: Bench, with_patches):
    study = narrowed(with_patches(PATCHES / "does-not-compile.patch"), "full_cover.64k")
    result = bench.validate(study)
    assert result.exit_code is Exit.FAIL
    assert "builds" in failing(result, "mutant")
    assert "no_such_variable" in row(result, "mutant", "builds").reason
    assert failing(result, "baseline") == ()
    assert "no_such_variable" in (result.folder / "kernels" / "mutant" / "build.log").read_text()


def test_a_kernel_that_panics_at_boot_fails_boots_and_names_the_panic(bench: Bench, with_patches):
    result = bench.validate(narrowed(with_patches(PATCHES / "panics-at-boot.patch"), "full_cover.64k"))
    assert result.exit_code is Exit.FAIL
    assert "boots" in failing(result, "mutant")
    boot = next(b for b in result.run.boots if b.kernel == "mutant")
    assert boot.end == "panic"
    assert "booting" in boot.failure
    assert "seeded panic" in boot.failure
    assert {c.outcome for c in result.run.cells if c.kernel == "mutant"} == {Outcome.NOT_RUN}


def test_a_kernel_that_dies_under_a_workload_fails_that_cell_and_runs_the_others(bench: Bench, with_patches):
    study = narrowed(
        with_patches(PATCHES / "bug-in-madvise.patch"), "full_cover.64k", "partial_inner.*", "swapped_out.*"
    )
    result = bench.validate(study)
    assert result.exit_code is Exit.FAIL
    outcomes = {c.job: c.outcome for c in result.run.cells if c.kernel == "mutant"}
    assert outcomes["full_cover.64k"] is Outcome.PANIC
    assert {o for job, o in outcomes.items() if job != "full_cover.64k"} == {Outcome.PASSED}
    died = next(c for c in result.run.cells if c.name == "mutant/max/full_cover.64k")
    assert any("madvise.c" in finding for finding in died.console_findings)
    assert {"completes", "console-clean"} <= set(failing(result, "mutant"))


def test_a_workload_that_never_ends_fails_completes(bench: Bench, with_patches):
    study = narrowed(with_patches(PATCHES / "hangs-in-madvise.patch"), "full_cover.64k", "swapped_out.64k", timeout=5)
    result = bench.validate(study)
    assert result.exit_code is Exit.FAIL
    assert "completes" in failing(result, "mutant")
    assert failing(result, "baseline") == ()
    hung = next(c for c in result.run.cells if c.name == "mutant/max/full_cover.64k")
    assert hung.outcome in (Outcome.TIMEOUT, Outcome.HANG)
    assert "full_cover.64k" in hung.reason or "5 s" in hung.reason


@pytest.mark.parametrize("moment", ["before the first cell", "among the cells"])
def test_a_qemu_killed_from_outside_is_infrastructure_and_no_verdict(shipped: Study, bench: Bench, moment: str):
    study = narrowed(plan.narrow(shipped, kernels=("merged",)), "full_cover*", "rearm_*")
    killed = threading.Event()

    def emit(event: Event) -> None:
        early = isinstance(event, StageStarted) and event.stage == "exercise"
        if (early if moment == "before the first cell" else isinstance(event, CellFinished)) and not killed.is_set():
            killed.set()
            for child in psutil.Process().children(recursive=True):
                if child.name().startswith(QEMU[:15]):
                    child.kill()

    bench.events = Recorder(emit)
    result = bench.validate(study)
    assert killed.is_set()
    assert result.exit_code is Exit.INFRA
    assert "FAIL" not in {k.verdict for k in result.run.judgement.kernels}
    assert any("SIGKILL" in problem for problem in result.run.judgement.infra)
    assert "lost" in {boot.end for boot in result.run.boots}
    spoiled = {cell.outcome for cell in result.run.cells} - {Outcome.PASSED}
    assert spoiled <= {Outcome.LOST, Outcome.NOT_RUN}
    assert spoiled


class Recorder(list):
    """A list of events that also passes them on."""

    def __init__(self, listener):
        super().__init__()
        self.listener = listener

    def append(self, event):
        super().append(event)
        self.listener(event)


def heed_ctrl_c() -> None:
    """Undo what a background job of a shell inherits: SIGINT ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_leaves_no_process_behind_and_keeps_the_artifacts(tmp_path: Path, merged, booted_image):
    runs = tmp_path / "runs"
    command = [sys.executable, "-m", "pipeline", "validate", str(SHIPPED), "--runs", str(runs), "--fresh", "--json"]
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=said, text=True, process_group=0, preexec_fn=heed_ctrl_c
        )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if '"StageStarted"' in line and '"exercise"' in line:
                break
        children = psutil.Process(process.pid).children(recursive=True)
        assert [c for c in children if c.name().startswith(QEMU[:15])]
        os.killpg(process.pid, signal.SIGINT)
        process.stdout.read()
        assert process.wait(timeout=30) == Exit.INTERRUPTED
    finally:
        process.kill()
    assert (tmp_path / "said").read_text() == "kpv: interrupted; what was finished is kept\n"
    _, alive = psutil.wait_procs(children, timeout=5)
    assert alive == []
    (folder,) = runs.iterdir()
    assert list(folder.glob("boots/*/console.log"))
    assert (folder / "events.jsonl").stat().st_size > 0


def test_qemu_dies_with_its_parent(tmp_path: Path, merged):
    command = [
        sys.executable, "-m", "pipeline", "validate", str(SHIPPED), "--runs", str(tmp_path), "--fresh", "--json",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if '"StageStarted"' in line and '"exercise"' in line:
            break
    machines = [c for c in psutil.Process(process.pid).children(recursive=True) if c.name().startswith(QEMU[:15])]
    assert machines
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(machines, timeout=5)
    assert alive == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_is_told_with_the_folder_and_a_way_out(tmp_path: Path):
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "none", small], check=True)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", "validate", str(SHIPPED), "--runs", str(tmp_path / "runs")],
            env={**os.environ, "KPV_CACHE": str(small)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == Exit.INFRA
        assert "no space left" in done.stderr
        assert str(small) in done.stderr
        assert "hint:" in done.stderr
        assert "Traceback" not in done.stderr
    finally:
        subprocess.run(["umount", small], check=True)
