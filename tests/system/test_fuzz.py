"""Random sequences on real kernels: a seeded bug is found, shrunk and replayed; a sound kernel has none."""

import shutil
import threading
from pathlib import Path

import pytest

from pipeline import exercise, resources, stages
from pipeline.errors import Exit
from pipeline.events import discard
from pipeline.exercise import BootJob
from pipeline.fuzz import campaign
from pipeline.guest import rootfs, workloads
from pipeline.kernel.build import KernelArtifact
from pipeline.observation import Cell, Outcome
from pipeline.plan import CellSpec
from pipeline.stages import Options
from pipeline.study import Kernel, Study
from tests.system.conftest import MUTANTS

pytestmark = pytest.mark.system

#: No other scenario kills it: it takes a page that was freed, written, aged (by a fork, or clear_refs) and protected.
MUTANT = "mprotect-old-is-clean"


def on(study: Study, kernel: Kernel, machine: str) -> Study:
    return study.model_copy(update={"kernel": (kernel,), "machines": (machine,)})


@pytest.fixture(scope="module")
def mutated(shipped: Study) -> Study:
    return on(shipped, Kernel(id="mutant", series=(str(MUTANTS / f"{MUTANT}.patch"),)), "max")


@pytest.fixture(scope="module")
def found(mutated: Study, session_options: Options) -> campaign.Result:
    return campaign.run(mutated, campaign.Plan(seed=100, sequences=240), session_options, discard)


def replay(study: Study, test: Path, variant: str, options: Options, tmp_path: Path) -> Cell:
    """Compile a printed test among the guest tests and run it on the study's one kernel and machine."""
    ready = stages.prepare(study, options, discard)
    (recipe,) = ready.recipes
    kernel = stages.make(recipe, ready, options, discard)
    assert isinstance(kernel, KernelArtifact)
    sources = tmp_path / "guest-tests"
    shutil.copytree(resources.folder("guest-tests"), sources)
    shutil.copyfile(test, sources / "replay.c")
    program = workloads.compile_all(
        ["replay"],
        sources=sources,
        tree=ready.source.path,
        cross_compile=ready.tools.prefix,
        compiler=ready.tools.compiler,
        store=options.store,
    )["replay"]
    archive = tmp_path / "replay.cpio"
    archive.write_bytes(rootfs.workloads({"replay": program.path}))
    (machine,) = ready.machines
    job = BootJob(
        id="replay",
        kernel=recipe.kernel.id,
        machine=machine,
        image=kernel.image,
        initrd=(rootfs.base(options.store, emit=discard).path, archive),
        specs=(CellSpec(recipe.kernel.id, machine.id, "replay", variant, "replay", "lazyfree", 30),),
        probes=(),
        tracepoints=(),
        requested=recipe.fragments,
        build_id=kernel.build_id,
        workdir=tmp_path / "boot",
    )
    return exercise.run(job, discard, stop=threading.Event()).cells[0]


def test_a_dirty_bit_that_gets_lost_is_found_and_shrunk_to_what_it_takes(found: campaign.Result):
    assert found.exit_code is Exit.FAIL
    assert {one.failure.what for one in found.failures} <= {"no-lost-write", "write-cancels-lazyfree"}
    shrunk = [one.failure.shrunk for one in found.failures if one.failure.shrunk]
    assert shrunk
    for line in shrunk:
        ops = [word.partition(":")[0] for word in line.split()]
        assert len(ops) <= 8, line
        assert {"free", "free-on"} & set(ops)
        assert {"cycle", "protect", "unprotect"} & set(ops), "what takes write permission and gives it back"


def test_the_printed_test_fails_on_that_kernel_and_passes_on_the_sound_one(
    found: campaign.Result, mutated: Study, shipped: Study, session_options: Options, tmp_path: Path
):
    one = next(one for one in found.failures if one.test_file)
    test = found.folder / one.test_file
    failed = replay(mutated, test, one.variant, session_options, tmp_path / "mutant")
    assert failed.outcome is Outcome.FAILED
    assert [check.name for check in failed.checks if not check.ok] == [one.failure.what]
    sound = on(shipped, Kernel(id="merged"), "max")
    passed = replay(sound, test, one.variant, session_options, tmp_path / "merged")
    assert passed.outcome is Outcome.PASSED
    assert [check.name for check in passed.checks] == [one.failure.what]


def test_the_shrunk_line_fails_again(found: campaign.Result, mutated: Study, session_options: Options):
    one = next(one for one in found.failures if one.failure.shrunk)
    wanted = campaign.Plan(seed=1, ops=one.failure.shrunk)
    again = campaign.run(mutated, wanted, session_options, discard, scenarios=(f"{one.scenario}.{one.variant}",))
    assert [tried.failure.what for tried in again.failures] == [one.failure.what]


def test_a_sound_kernel_has_no_failure(shipped: Study, session_options: Options):
    sound = shipped.model_copy(update={"kernel": (Kernel(id="merged"),)})
    result = campaign.run(sound, campaign.Plan(seed=3, sequences=300), session_options, discard)
    assert result.exit_code is Exit.PASS


def test_the_known_loss_is_found_once_it_is_looked_for(shipped: Study, session_options: Options):
    """Stock 6.12: read back from zram, shared, freed by one: the other reads zeroes."""
    sound = on(shipped, Kernel(id="merged"), "max")
    result = campaign.run(sound, campaign.Plan(seed=5, sequences=600, known=True), session_options, discard)
    assert {one.failure.what for one in result.failures} == {"sharer-data-kept"}
    assert all("pageout" in one.failure.shrunk and "fork" in one.failure.shrunk for one in result.failures)
