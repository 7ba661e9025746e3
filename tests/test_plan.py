"""Which cells a study has, what each depends on, and what narrowing leaves."""

import pytest

from pipeline import locate, plan, study
from pipeline.errors import UserError
from pipeline.run import StudyFact
from pipeline.store import key_of
from pipeline.study import Study
from tests.judge.builders import a_claim, a_scenario, a_study


def test_the_cells_of_a_kernel_on_a_machine_follow_the_study():
    names = [spec.name for spec in plan.cells(a_study(), "v2", "max")]
    assert names == ["v2/max/full.64k", "v2/max/full.128k", "v2/max/fork.64k"]


def test_a_scenario_may_be_kept_to_some_machines():
    study = a_study(
        scenario=[
            a_scenario("full", variants=["64k"], machines=["a57"]),
            a_scenario("fork", variants=["64k"]),
        ]
    )
    assert [spec.job for spec in plan.cells(study, "v2", "max")] == ["fork.64k"]


def test_the_guest_is_asked_for_exactly_one_test():
    spec = plan.cells(a_study(), "v2", "max")[0]
    assert spec.argv == ("/kpv/bin/free", "-r", "free.64k.full")


GIVEN = {
    "image_sha256": "1" * 64,
    "machine": {"cpu": "max"},
    "qemu": ["QEMU 10", "-cpu"],
    "rootfs_sha256": "2" * 64,
    "program_sha256": "3" * 64,
}


def key(spec: plan.CellSpec, study=None, **changes: object) -> str:
    return key_of("cell", plan.cell_inputs(spec, **{**GIVEN, **changes}, study=study or a_study()))


def test_a_cell_depends_on_everything_that_can_change_it():
    study = a_study()
    spec, other = plan.cells(study, "v2", "max")[:2]
    keys = {
        key(spec),
        key(other),
        key(plan.cells(study, "base", "max")[0]),
        key(spec, image_sha256="9" * 64),
        key(spec, machine={"cpu": "a57"}),
        key(spec, qemu=["QEMU 11", "-cpu"]),
        key(spec, rootfs_sha256="9" * 64),
        key(spec, program_sha256="9" * 64),
        key(spec, study=a_study(probe=[{"id": "x", "symbol": "y"}])),
        key(spec, study=a_study(tracepoints=["a:b"])),
    }
    assert len(keys) == 10
    assert key(spec) == key(spec)


def test_a_cell_does_not_depend_on_claims_or_titles():
    spec = plan.cells(a_study(), "v2", "max")[0]
    assert key(spec) == key(spec, study=a_study(title="another", claim=[]))


def test_narrowing_keeps_the_baseline_and_drops_what_has_no_scenario_left():
    study = a_study(
        kernel=[
            {"id": "base", "role": "baseline"},
            {"id": "v2", "expect": {"verdict": "FAIL", "failing": ["no-split"]}},
            {"id": "merged"},
        ]
    )
    small = plan.narrow(study, kernels=("v2",), machines=("max",), scenarios=("fork",))
    assert [kernel.id for kernel in small.kernel] == ["base", "v2"]
    assert small.machines == ("max",)
    assert [s.id for s in small.scenario] == ["fork"]
    assert small.claim == ()
    assert [i.id for i in small.invariant] == ["no-lost-write"]
    assert {kernel.expect.verdict for kernel in small.kernel} == {"PASS"}
    assert plan.narrow(study) == study


def test_a_glob_narrows_variants_too():
    small = plan.narrow(a_study(), scenarios=("*.64k",))
    assert [(s.id, s.variants) for s in small.scenario] == [("full", ("64k",)), ("fork", ("64k",))]


def test_a_glob_after_an_exclamation_mark_takes_away():
    def left(*globs: str) -> list[str]:
        return [f"{s.id}.{v}" for s in plan.narrow(a_study(), scenarios=globs).scenario for v in s.variants]

    assert left("!fork") == ["full.64k", "full.128k"]
    assert left("*.64k", "!full*") == ["fork.64k"]


def test_a_narrowed_study_is_a_sound_study():
    study = a_study(
        known=[{"id": "k", "of": "no-split", "scenarios": ["full.*"], "explanation": "e"}],
    )
    for scenarios in (("fork",), ("full",), ("full.128k",)):
        small = plan.narrow(study, scenarios=scenarios)
        assert Study.model_validate(small.model_dump(by_alias=True)) == small


@pytest.mark.parametrize("option", ["kernels", "machines", "scenarios"])
def test_an_unknown_name_is_told_with_those_there_are(option):
    with pytest.raises(UserError) as err:
        plan.narrow(a_study(), **{option: ("nosuch",)})
    assert "nosuch" in err.value.message
    assert err.value.hint


def test_a_run_of_fewer_kernels_still_shows_all_that_each_is_expected_to_fail_on():
    study = a_study(
        kernel=[
            {"id": "base", "role": "baseline"},
            {"id": "v2", "expect": {"verdict": "FAIL", "failing": ["no-split"]}},
            {"id": "merged"},
        ]
    )
    small = plan.narrow(study, kernels=("v2",))
    assert [kernel.expect.verdict for kernel in small.kernel] == ["PASS", "FAIL"]


SELECTING = {
    "machines": ["max", "a57", "watched"],
    "machine": [{"id": "watched", "scenarios": ["full.64k", "fork.*"]}],
}


def test_a_machine_may_be_kept_to_some_scenarios():
    study = a_study(**SELECTING)
    assert [spec.job for spec in plan.cells(study, "v2", "watched")] == ["full.64k", "fork.64k"]
    assert [spec.job for spec in plan.cells(study, "v2", "max")] == ["full.64k", "full.128k", "fork.64k"]


def test_a_selection_is_narrowed_with_its_machine():
    study = a_study(**SELECTING)
    only = plan.narrow(study, machines=("watched",), scenarios=("full",))
    assert [spec.job for spec in plan.cells(only, "v2", "watched")] == ["full.64k"]
    assert Study.model_validate(only.model_dump(by_alias=True)).machine == only.machine
    plain = plan.narrow(study, machines=("max", "a57"))
    assert plain.machine == ()
    assert plan.narrow(study, scenarios=("full.128k",)).machines == ("max", "a57")


def test_narrowing_drops_what_no_machine_that_is_left_could_decide():
    watched = {"holds": "mthp.split == 0", "step": "free", "scenarios": ["full.*"], "machines": ["watched"]}
    study = a_study(
        **SELECTING,
        invariant=[{"id": "no-lost-write", "title": "No lost write"}, {"id": "as-seen", "title": "As seen", **watched}],
        claim=[a_claim(), a_claim(id="cheap", machines=["watched"])],
    )
    assert [claim.id for claim in plan.narrow(study, machines=("max",)).claim] == ["no-split"]
    assert [entry.id for entry in plan.narrow(study, machines=("max",)).invariant] == ["no-lost-write"]
    both = plan.narrow(study, machines=("watched",))
    assert [claim.id for claim in both.claim] == ["no-split", "cheap"]
    assert [entry.id for entry in both.invariant] == ["no-lost-write", "as-seen"]
    assert [entry.id for entry in plan.narrow(study, scenarios=("full.128k",)).invariant] == ["no-lost-write"]


def test_a_machine_that_selects_nothing_here_is_refused_with_what_there_is():
    with pytest.raises(UserError, match=r"no scenario matches full\.128k"):
        plan.narrow(a_study(**SELECTING), machines=("watched",), scenarios=("full.128k",))


@pytest.mark.parametrize("kernels", [("merged",), ("v2",), ("baseline",)])
def test_a_study_of_fewer_kernels_is_still_a_sound_study(kernels):
    """run.json holds the study, and is read as one again: nothing in it may speak of a kernel that is left out."""
    whole = study.load(locate.shipped()["madvise-free-mthp"])
    assert whole.bound
    for made in (plan.narrow(whole, kernels=kernels), plan.narrow(whole, kernels=kernels, machines=("max",))):
        assert Study.model_validate_json(made.model_dump_json(by_alias=True)).kernel == made.kernel
        assert StudyFact(file="x", sha256="0" * 64, content=made).content == made
    alone = plan.only(whole, kernels=kernels)
    assert [bound.id for bound in alone.bound] == [b.id for b in whole.bound if b.applies_to(kernels[0])]
    assert {name for bound in alone.bound for name in bound.failing} <= set(kernels)


@pytest.mark.parametrize("machines", [("max",), ("a57",), ("max-tlb", "a57-tlb")])
def test_a_study_of_fewer_machines_is_still_a_sound_study(machines):
    """Calls are counted on machines that the study may have lost, and bounds may speak of no other calls."""
    whole = study.load(locate.shipped()["madvise-free-mthp"])
    assert any(cost.machines for cost in whole.cost)
    for made in (plan.narrow(whole, machines=machines), plan.only(whole, machines=machines)):
        assert StudyFact(file="x", sha256="0" * 64, content=made).content == made
        assert {machine for cost in made.cost for machine in cost.machines} <= set(machines)
    assert plan.only(whole, machines=("max",)).bound == whole.bound
