"""What a study's bounds make of the counts."""

import pytest

from pipeline.cost.bounds import excess, judge
from pipeline.cost.measured import Measured
from pipeline.cost.spec import Bound, Point, bytes_of
from pipeline.judge.expr import Broken
from pipeline.judge.model import Verdict
from tests.cost import made
from tests.cost.made import UNCONVERTED

TENTH = Bound(
    id="a-tenth",
    title="A tenth of the instructions",
    operations=("free",),
    sizes=("64k",),
    ranges=("64m",),
    kernels=("merged",),
    holds="10 * cost.instructions <= baseline.instructions",
)
CONSTANT = Bound(
    id="constant",
    title="TLB invalidations do not depend on the range",
    operations=("free",),
    holds="cost.tlbi_range <= shortest.tlbi_range",
    failing=("v2",),
)


def decision(run, kernel: str, name: str):
    (found,) = [d for k in judge(run).kernels if k.kernel == kernel for d in k.decisions if d.id == name]
    return found


def test_a_bound_that_is_kept_passes_with_the_numbers_it_rests_on():
    found = decision(made.run(bounds=[TENTH]), "merged", "a-tenth")
    assert found.verdict == Verdict.PASS
    assert [(row.cell, row.values) for row in found.rows] == [
        ("merged/max/free.64k.64m", "cost.instructions = 660360, baseline.instructions = 13112200")
    ]
    assert judge(made.run(bounds=[TENTH])).exit_code == 0


def test_outside_a_bound_is_a_failure_that_tells_by_how_much():
    def law(kernel, sample):
        return {**made.plain(kernel, sample), "instructions": 1000 if kernel == "baseline" else 125}

    run = made.run(bounds=[TENTH], law=law)
    found = decision(run, "merged", "a-tenth")
    assert found.verdict == Verdict.FAIL
    assert found.rows[0].reason == (
        "1,250 is 250 (25.0%) more than 1,000: 10 * cost.instructions <= baseline.instructions does not hold"
    )
    assert judge(run).exit_code == 1


def test_an_expected_failure_is_as_expected_and_its_absence_is_not():
    assert judge(made.run(bounds=[UNCONVERTED])).exit_code == 0
    kernels = {k.kernel: k for k in judge(made.run(bounds=[UNCONVERTED])).kernels}
    assert (kernels["v2"].verdict, kernels["v2"].as_expected) == (Verdict.FAIL, True)
    assert "unconverted" not in {d.id for d in kernels["baseline"].decisions}

    mended = made.run(bounds=[UNCONVERTED], law=lambda kernel, sample: made.plain("merged", sample))
    v2 = next(k for k in judge(mended).kernels if k.kernel == "v2")
    assert v2.difference == "expected FAIL, judged PASS; unconverted was expected to fail, judged PASS"
    assert judge(mended).exit_code == 1


def test_a_bound_on_growth_compares_the_longer_ranges_with_the_shortest():
    run = made.run(bounds=[CONSTANT])
    assert [row.cell for row in decision(run, "merged", "constant").rows] == [
        "merged/max/free.64k.256m",
        "merged/max/free.64k.1g",
    ]
    assert decision(run, "merged", "constant").verdict == Verdict.PASS
    failed = decision(run, "v2", "constant")
    assert failed.verdict == Verdict.FAIL
    assert failed.rows[1].reason.startswith("32,771 is 30,720 (1497.8%) more than 2,051: ")


def test_growth_over_one_range_is_inconclusive():
    bound = CONSTANT.model_copy(update={"sizes": ("4k",), "failing": ()})
    found = decision(made.run(bounds=[bound]), "merged", "constant")
    assert (found.verdict, found.rows[0].reason) == (Verdict.INCONCLUSIVE, "counted over one range only")
    assert judge(made.run(bounds=[bound])).exit_code == 4


def test_a_count_that_this_kernel_does_not_have_is_inconclusive_never_0():
    def law(kernel, sample):
        return {**made.plain(kernel, sample), "converts": None}

    found = decision(made.run(bounds=[UNCONVERTED], law=law), "merged", "unconverted")
    assert (found.verdict, found.rows[0].reason) == (Verdict.INCONCLUSIVE, "cost.converts was not observed")


def test_a_measurement_whose_precondition_was_not_met_is_inconclusive_with_its_reason():
    def no_folios(sample):
        return "folios of order 4 wanted, found order 0" if sample.folio_bytes == 65536 else ""

    run = made.run(bounds=[TENTH], spoil=no_folios)
    for name in ("a-tenth", "measured"):
        found = decision(run, "merged", name)
        assert found.verdict == Verdict.INCONCLUSIVE
        assert "folios of order 4 wanted, found order 0" in found.reason
    assert judge(run).exit_code == 4


@pytest.mark.parametrize(("order", "found"), [(0, "order 0"), (None, "various orders")])
def test_a_range_of_other_folios_than_wanted_is_no_evidence(order, found):
    run = made.run(bounds=[TENTH])
    samples = [s.model_copy(update={"order": order if s.folio_bytes == 65536 else s.order}) for s in run.samples]
    result = decision(run.model_copy(update={"samples": samples}), "merged", "a-tenth")
    assert result.verdict == Verdict.INCONCLUSIVE
    assert result.reason.endswith(f"folios of order 4 wanted, found {found}")


def test_what_the_study_counts_and_the_run_has_not_is_inconclusive():
    run = made.run()
    run = run.model_copy(update={"samples": [s for s in run.samples if s.folio_bytes != 4096]})
    found = decision(run, "v2", "measured")
    assert (found.verdict, found.reason) == (Verdict.INCONCLUSIVE, "v2/max/free.4k.64m: not measured")


def test_without_a_baseline_s_sample_a_ratio_is_inconclusive():
    run = made.run(bounds=[TENTH])
    run = run.model_copy(update={"samples": [s for s in run.samples if s.kernel != "baseline"]})
    found = decision(run, "merged", "a-tenth")
    assert (found.verdict, found.rows[0].reason) == (
        Verdict.INCONCLUSIVE,
        "baseline.instructions was not observed",
    )


def in_boots(run, change=lambda boot, counts: counts):
    """The same run, each call measured at the same places of two boots."""
    samples = [
        s.model_copy(update={"boot": boot, "counts": change(boot, s.counts)})
        for s in run.samples
        for boot in ("a", "b")
    ]
    return run.model_copy(update={"samples": samples})


@pytest.mark.parametrize(
    ("count", "second", "verdict"),
    [
        ("instructions", 1000, Verdict.PASS),
        ("instructions", 1001, Verdict.PASS),
        ("instructions", 1002, Verdict.FAIL),
        ("splits", 1001, Verdict.FAIL),
    ],
)
def test_two_boots_may_differ_by_a_thousandth_of_the_instructions_and_by_no_event(count, second, verdict):
    run = made.run(law=lambda kernel, sample: {"instructions": 1000, "splits": 1000})
    run = in_boots(run, lambda boot, counts: {**counts, count: second} if boot == "b" else counts)
    found = decision(run, "merged", "steady")
    assert found.verdict == verdict
    if verdict == Verdict.FAIL:
        assert found.rows[0].reason == f"{count} between 1,000 and {second:,} in 2 boots"


def test_one_measurement_of_each_call_says_nothing_of_steadiness():
    assert "steady" not in {d.id for d in judge(made.run()).kernels[0].decisions}


def test_a_kernel_whose_cost_grows_faster_than_its_range_is_told_with_the_count_that_does():
    def law(kernel, sample):
        counts = made.plain(kernel, sample)
        return {**counts, "splits": sample.pages**2 // 2**14} if kernel == "merged" else counts

    run = made.run(law=law)
    assert decision(run, "baseline", "linear").verdict == Verdict.PASS
    found = decision(run, "merged", "linear")
    assert found.verdict == Verdict.FAIL
    assert found.rows[0].reason == (
        "splits grows like the range to the power of 2.00: 16,384 over 16,384 pages, 262,144 over 65,536"
    )


def test_growth_with_a_range_missing_is_inconclusive():
    run = made.run(spoil=lambda sample: "out of memory" if sample.range_bytes == 2**30 else "")
    found = decision(run, "merged", "linear")
    assert (found.verdict, found.reason) == (Verdict.INCONCLUSIVE, "merged/max/free.64k: at 1g: out of memory")


def test_a_boot_that_was_lost_is_the_surroundings_fault():
    run = made.run(spoil=lambda sample: "lost" if sample.kernel == "v2" else "")
    boot = run.boots[1].model_copy(update={"end": "lost", "failure": "QEMU was killed"})
    judged = judge(run.model_copy(update={"boots": [boot]}))
    assert judged.exit_code == 3
    assert judged.infra == ("v2/max: boot v2-max ended as lost: QEMU was killed",)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (Broken("cost.x == 0", 4, 0), "4 is 4 more than 0: cost.x == 0 does not hold"),
        (Broken("cost.x >= 8", 4, 8), "4 is 4 (50.0%) less than 8: cost.x >= 8 does not hold"),
        (Broken("cost.x < 8", 8, 8), "both are 8: cost.x < 8 does not hold"),
    ],
)
def test_an_excess_is_told_in_numbers_and_percent(broken, said):
    assert excess(broken) == said


@pytest.mark.parametrize(
    ("folio", "blocks"), [("32k", 0), ("64k", 1024), ("1m", 1024), pytest.param("2m", 0, id="mapped by a PMD")]
)
def test_a_range_has_contiguous_blocks_where_folios_are_large_enough(folio, blocks):
    counts = Measured(made.run()).params(Point("free", bytes_of(folio), 2**26))
    assert counts["blocks"] == blocks
    assert counts["pages"] == 16384
    assert counts["folios"] * counts["pages_per_folio"] == counts["pages"]


def test_a_call_is_wanted_only_on_the_machines_that_its_table_names():
    both = {"max": {"id": "max"}, "a57": {"id": "a57"}}
    here = made.FREE.model_copy(update={"machines": ("max",)})
    run = made.run(costs=[here], bounds=[TENTH]).model_copy(update={"machines": both})
    assert judge(run).exit_code == 0
    everywhere = made.run(costs=[made.FREE], bounds=[TENTH]).model_copy(update={"machines": both})
    assert decision(everywhere, "merged", "measured").reason == "merged/a57/free.4k.64m: not measured (and 2 more)"
    assert decision(everywhere, "merged", "a-tenth").verdict == Verdict.INCONCLUSIVE


def test_a_bound_on_calls_that_the_chosen_machine_does_not_make_is_no_matter_there():
    elsewhere = made.GROWS.model_copy(update={"operation": "exit", "machines": ("a57",)})
    bound = TENTH.model_copy(update={"operations": ("exit",), "ranges": (), "failing": ("merged",)})
    run = made.run(costs=[made.FREE, elsewhere], bounds=[bound])
    run = run.model_copy(update={"samples": [s for s in run.samples if s.operation == "free"]})
    assert "a-tenth" not in {d.id for k in judge(run).kernels for d in k.decisions}
    assert judge(run).exit_code == 0
