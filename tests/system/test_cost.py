"""Costs of the shipped study's kernels, counted on real ones: small ranges, the same laws as large ones."""

from dataclasses import replace

import pytest

from pipeline.cost import campaign, wanted
from pipeline.cost.model import CostRun, Sample

pytestmark = pytest.mark.system

BLOCK = 64 << 10


@pytest.fixture(scope="module")
def count(shipped, session_options):
    """Counts on the machine max, over 4 MiB, from boots of its own each time."""

    def run(*operations: str, sizes: tuple[str, ...]) -> CostRun:
        study = wanted.narrow(shipped, operations=operations, sizes=sizes, ranges=("4m",))
        return campaign.run(study, replace(session_options, fresh=True), lambda event: None, machines=("max",)).run

    return run


@pytest.fixture(scope="module")
def counted(count) -> CostRun:
    return count("free", "reclaim", sizes=("64k", "2m"))


def find(run: CostRun, kernel: str, operation: str, folio: int) -> Sample:
    found = [s for s in run.samples if (s.kernel, s.operation, s.folio_bytes) == (kernel, operation, folio)]
    assert len(found) == 1
    return found[0]


def test_the_same_calls_cost_the_same_to_the_instruction(count, counted):
    """However loaded the host is, and whatever else is counted in a run."""
    again = count("free", sizes=("64k",))
    assert len(again.samples) == 3
    for sample in again.samples:
        assert (sample.outcome, sample.order) == ("measured", 4)
        assert sample == find(counted, sample.kernel, "free", BLOCK)


def test_each_kernel_does_what_its_design_says(counted):
    of = {kernel: find(counted, kernel, "free", BLOCK) for kernel in ("baseline", "v2", "merged")}
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
    sample = find(counted, "merged", "free", 2 << 20)
    assert sample.folios == 2
    assert sample.counts["lazyfree_marks"] == 2
    assert sample.counts["pte_stores"] < 2 * 3
    assert sample.counts["page_table_locks"] == 0


def test_a_profile_has_every_instruction_and_whole_stacks(counted):
    for sample in counted.samples:
        assert sum(sample.profile.stacks.values()) == sample.counts["instructions"]
        assert all(stack.startswith("el0t_64_sync;") for stack in sample.profile.stacks if ";" in stack)
    profile = find(counted, "v2", "free", BLOCK).profile
    assert any(stack.endswith("__contpte_try_fold;contpte_convert") for stack in profile.stacks)


def test_reclaim_is_counted_with_the_pages_gone(counted):
    reclaimed = find(counted, "merged", "reclaim", BLOCK)
    assert reclaimed.counts["unfolds"] == reclaimed.range_bytes // BLOCK
    assert reclaimed.counts["instructions"] > find(counted, "merged", "free", BLOCK).counts["instructions"]
