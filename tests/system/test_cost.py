"""Costs of the shipped study's kernels, counted on real ones: small ranges, the same laws as large ones."""

from dataclasses import replace

import pytest

from pipeline.cost import campaign, wanted
from pipeline.cost.model import CostRun, Sample

pytestmark = pytest.mark.system

BLOCK = 64 << 10


@pytest.fixture(scope="module")
def counted(shipped, session_options):
    """Two runs of the same calls, each from boots of its own: MADV_FREE of 4 MiB, and reclaim of it."""
    study = wanted.narrow(shipped, operations=("free", "reclaim"), sizes=("64k", "2m"), ranges=("4m",))
    options = replace(session_options, fresh=True)
    return [campaign.run(study, options, lambda event: None, machines=("max",), repeats=1) for _ in range(2)]


def find(run: CostRun, kernel: str, operation: str, folio: int) -> Sample:
    found = [s for s in run.samples if (s.kernel, s.operation, s.folio_bytes) == (kernel, operation, folio)]
    assert len(found) == 1
    return found[0]


def test_the_same_kernels_cost_the_same_to_the_instruction(counted):
    first, second = ([s.model_copy(update={"boot": ""}) for s in result.run.samples] for result in counted)
    assert len(first) == 3 * 2 * 2
    assert all(sample.outcome == "measured" and sample.order for sample in first)
    assert first == second


def test_each_kernel_does_what_its_design_says(counted):
    run = counted[0].run
    of = {kernel: find(run, kernel, "free", BLOCK) for kernel in ("baseline", "v2", "merged")}
    blocks, pages = of["v2"].range_bytes // BLOCK, of["v2"].pages
    assert (of["baseline"].counts["splits"], of["baseline"].counts["lazyfree_marks"]) == (blocks, pages)
    assert (of["v2"].counts["splits"], of["merged"].counts["splits"]) == (0, 0)
    assert (of["v2"].counts["unfolds"], of["v2"].counts["folds"]) == (blocks, blocks)
    assert of["v2"].counts["tlbi_range"] == 2 * blocks + 1
    assert (of["merged"].counts["converts"], of["merged"].counts["tlbi_range"]) == (0, 1)
    # One store an entry; a page that is marked one by one is read, cleared and set.
    assert of["merged"].counts["pte_stores"] == pages
    cost = {kernel: sample.counts["instructions"] for kernel, sample in of.items()}
    assert cost["merged"] < cost["v2"] < cost["baseline"]


def test_what_a_pmd_maps_is_one_entry(counted):
    sample = find(counted[0].run, "merged", "free", 2 << 20)
    assert sample.folios == 2
    assert sample.counts["lazyfree_marks"] == 2
    assert sample.counts["pte_stores"] < 2 * 3
    assert sample.counts["page_table_locks"] == 0


def test_a_profile_has_every_instruction_and_whole_stacks(counted):
    for sample in counted[0].run.samples:
        assert sum(sample.profile.stacks.values()) == sample.counts["instructions"]
        assert all(stack.startswith("el0t_64_sync;") for stack in sample.profile.stacks if ";" in stack)
    profile = find(counted[0].run, "v2", "free", BLOCK).profile
    assert any(stack.endswith("__contpte_try_fold;contpte_convert") for stack in profile.stacks)


def test_reclaim_is_counted_with_the_pages_gone(counted):
    reclaimed = find(counted[0].run, "merged", "reclaim", BLOCK)
    assert reclaimed.counts["unfolds"] == reclaimed.range_bytes // BLOCK
    assert reclaimed.counts["instructions"] > find(counted[0].run, "merged", "free", BLOCK).counts["instructions"]
