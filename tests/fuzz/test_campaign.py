"""Which seeds run in which boots, and what becomes of a failure: with VMs that are played by a function."""

import itertools
import json
from pathlib import Path

import pytest

from pipeline import cells, exercise, plan, resources, stages, study
from pipeline.errors import Exit, UserError
from pipeline.exercise import BootJob, BootOutcome
from pipeline.fuzz import campaign
from pipeline.guest.plugins import Plugin
from pipeline.observation import Boot, Cell, Check, Outcome
from pipeline.tlb.model import Observation

SHIPPED = study.load(resources.folder("patches") / "madvise-free-mthp")


def only(kernel: str, machine: str) -> study.Study:
    return campaign._of_the_program(plan.only(SHIPPED, kernels=(kernel,), machines=(machine,)), ())


def test_sequences_are_spread_over_cells_with_seeds_that_count_on():
    wanted = campaign.Plan(seed=10, sequences=12)
    (batch,) = campaign.batches(only("merged", "max"), "merged", "max", wanted)
    assert len(batch) == 6
    assert [spec.seed for spec in batch] == list(range(10, 16))
    assert {spec.sequences for spec in batch} == {2}
    assert len({spec.job for spec in batch}) == len(batch)


def test_many_sequences_take_several_boots_and_no_seed_twice():
    wanted = campaign.Plan(seed=0, sequences=6 * campaign.PER_CELL + 1)
    batches = list(campaign.batches(only("merged", "max"), "merged", "max", wanted))
    assert len(batches) == 2
    seeds = [spec.seed for batch in batches for spec in batch]
    assert seeds == list(range(12))
    assert sum(spec.sequences for batch in batches for spec in batch) >= wanted.sequences


def test_time_lets_one_boot_follow_another_until_it_is_over(monkeypatch: pytest.MonkeyPatch):
    clock = itertools.count(0, 40)
    monkeypatch.setattr(campaign.time, "monotonic", lambda: float(next(clock)))
    wanted = campaign.Plan(seed=0, seconds=100)
    assert len(list(campaign.batches(only("merged", "max"), "merged", "max", wanted))) == 3


def test_the_guest_is_told_by_its_environment():
    wanted = campaign.Plan(seed=4, first=31, sequences=1, ops="map:0.0:0+1 reclaim", known=True)
    spec = next(campaign.batches(only("merged", "max"), "merged", "max", wanted))[-1]
    assert spec.argv[:2] == ("/bin/busybox", "env")
    assert {"KPV_SEED=9", "KPV_FIRST=31", "KPV_SEQUENCES=1", "KPV_OPS=map:0.0:0+1 reclaim", "KPV_KNOWN=1"} < set(
        spec.argv
    )
    assert spec.argv[-3:] == ("/kpv/bin/lazyfree_fuzz", "-r", "lazyfree.128k.random_mixed")


def test_a_kernel_or_machine_that_the_study_has_not_is_a_mistake():
    with pytest.raises(UserError, match="no kernel 'nope'"):
        plan.only(SHIPPED, kernels=("nope",))


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Run a campaign whose boots are played: ``fails(spec)`` gives the cell of a spec that fails, or None."""

    def play(fails, wanted: campaign.Plan, machines=()) -> tuple[campaign.Result, list[BootJob]]:
        jobs: list[BootJob] = []

        def boot(job: BootJob, emit, *, stop) -> BootOutcome:
            jobs.append(job)
            done = [fails(spec) or passed(spec) for spec in job.specs]
            return BootOutcome(Boot(id=job.id, kernel=job.kernel, machine=job.machine.id), tuple(done))

        monkeypatch.setattr(exercise, "run", boot)
        monkeypatch.setattr(stages, "prepare", lambda study, options, emit: Ready(study))
        monkeypatch.setattr(stages, "make_guest", lambda ready, options, emit: GUEST)
        monkeypatch.setattr(stages, "pairs", lambda ready, built: [Pair(machine) for machine in ready.study.machines])
        options = stages.Options(cache=tmp_path / "cache", runs=tmp_path / "runs", command=("kpv", "fuzz"))
        narrowed = plan.only(SHIPPED, kernels=("merged",), machines=machines)
        return campaign.run(narrowed, wanted, options, lambda event: None), jobs

    return play


class Ready:
    recipes = ()

    def __init__(self, study: study.Study) -> None:
        self.study = study


GUEST = cells.Guest(
    initrd=(),
    rootfs_sha256="",
    programs={},
    qemu_version="QEMU 10",
    model=Plugin("contpte-tlb", Path("contpte-tlb.so"), "0" * 64),
)


class Pair:
    kernel, image, requested, build_id, system_map = "merged", Path("Image"), {}, "12", None

    def __init__(self, machine: str) -> None:
        from pipeline.guest import machine as machines

        self.machine = machines.load(resources.folder("qemu"), machine)


def passed(spec: campaign.FuzzSpec, **facts) -> Cell:
    return Cell(
        **{
            "kernel": spec.kernel,
            "machine": spec.machine,
            "scenario": spec.scenario,
            "variant": spec.variant,
            "outcome": Outcome.PASSED,
            "params": {"sequences": spec.sequences},
            **facts,
        }
    )


def test_a_campaign_without_failure_passes_and_is_recorded(played):
    result, jobs = played(lambda spec: None, campaign.Plan(seed=1, sequences=60))
    assert result.exit_code is Exit.PASS
    assert [row[:4] for row in result.by_pair()] == [("merged", "max", 60, 0), ("merged", "a57", 60, 0)]
    assert len(jobs) == 2
    record = json.loads((result.folder / "campaign.json").read_text())
    assert record["plan"]["seed"] == 1
    assert len(record["cells"]) == 12


def test_a_failure_ends_that_machine_and_leaves_its_test_and_log(played):
    def fails(spec: campaign.FuzzSpec) -> Cell | None:
        if (spec.machine, spec.variant, spec.base) != ("max", "64k", "random"):
            return None
        ktap = '# found: KPV_OPS="a"\n# shrunk: KPV_OPS="b"\n# | int x;\n'
        checks = [Check(name="old-or-zero", ok=False, detail="page 1")]
        return passed(spec, outcome=Outcome.FAILED, ktap=ktap, checks=checks)

    result, jobs = played(fails, campaign.Plan(seed=1, sequences=3 * 6 * campaign.PER_CELL))
    assert result.exit_code is Exit.FAIL
    assert sorted(job.machine.id for job in jobs) == ["a57", "a57", "a57", "max"]
    (failure,) = result.failures
    assert (result.folder / failure.test_file).read_text() == "int x;\n"
    assert failure.failure.shrunk == "b"
    told = failure.told(result.folder)
    assert "merged/max/random.64k: old-or-zero: page 1" in told
    assert '--ops "b"' in told


def test_the_tlb_model_watches_where_only_its_machines_are_asked_for(played):
    def seen(spec: campaign.FuzzSpec) -> Cell:
        return passed(spec, tlb=Observation(invalid="" if spec.variant != "4k" else "no store to a table was seen"))

    result, jobs = played(seen, campaign.Plan(seed=1, sequences=6), ("max-tlb",))
    assert [[plugin.name for plugin in job.plugins] for job in jobs] == [["contpte-tlb"]]
    assert {one.variant for one in result.tried if one.outcome == Outcome.SKIPPED} == {"4k"}
    assert result.exit_code is Exit.INCONCLUSIVE


def test_cells_that_could_not_be_tried_are_no_pass(played):
    result, _ = played(lambda spec: passed(spec, outcome=Outcome.SKIPPED), campaign.Plan(seed=1, sequences=6))
    assert result.exit_code is Exit.INCONCLUSIVE
