"""Page tables of real kernels, read from outside while tests run, and judged by the rules of the hardware model."""

import pytest

from pipeline import plan
from pipeline.contpte.descriptor import GRANULES, Descriptor
from pipeline.contpte.tables import Tables
from pipeline.judge.model import Verdict
from pipeline.observation import Cell
from pipeline.stages import Result
from pipeline.study import Study
from tests.system.conftest import MUTANTS, Bench

pytestmark = pytest.mark.system

NAME = "block-attributes"
SCENARIOS = ("full_cover.64k", "full_cover.32k", "fold_one_page_used.64k", "fold_part_protected.64k", "fold_forked.64k")


@pytest.fixture(scope="module")
def stock(shipped: Study, session_options) -> Result:
    """Some cells of stock 6.12 on both machines, and of the kernel before the series."""
    narrowed = plan.narrow(shipped, kernels=("merged",), machines=("max", "a57"), scenarios=SCENARIOS)
    return Bench(session_options).validate(narrowed)


def cell(result: Result, name: str) -> Cell:
    return next(one for one in result.run.cells if one.name == name)


def reading(of: Cell, at: str, when: str = "checkpoint", view: str = "own") -> Tables:
    return next(one for one in of.tables if (one.at, one.when, one.view) == (at, when, view))


def first_entry(tables: Tables) -> Descriptor:
    return Descriptor(int(tables.entries[0].split()[2], 16), 3, GRANULES[tables.granule])


def decision(result: Result, kernel: str):
    judged = next(k for k in result.run.judgement.kernels if k.kernel == kernel)
    return next(d for d in judged.decisions if d.id == NAME)


@pytest.mark.parametrize("machine", ["max", "a57"])
def test_a_free_leaves_blocks_folded_old_clean_and_read_only(stock, machine):
    found = cell(stock, f"merged/{machine}/full_cover.64k")
    before, after = reading(found, "free", "step-begin"), reading(found, "free", "step-end")
    assert before.granule == "4k" and before.hardware_dirty == (machine == "max")
    assert before.counts | {"folded": 4, "own_young": 64, "own_dirty": 64, "read_only": 0} == before.counts
    assert after.counts | {"folded": 4, "young": 0, "dirty": 0, "read_only": 64, "writable": 64} == after.counts
    assert {"user", "AF", "nG", "DBM", "cont", "PXN", "UXN", "sw-dirty"} == set(first_entry(before).flags)
    assert {"user", "read-only", "nG", "DBM", "cont", "PXN", "UXN"} == set(first_entry(after).flags)
    assert first_entry(before).address == first_entry(after).address
    step = next(step for step in found.steps if step.name == "free")
    assert (step.pt["folded_before"], step.pt["folded_after"], step.pt["dirty_after"]) == (4, 4, 0)


@pytest.mark.parametrize(("machine", "entries"), [("max", 1), ("a57", 16)])
def test_one_access_changes_one_entry_of_a_block_by_hardware_and_all_of_it_by_software(stock, machine, entries):
    found = cell(stock, f"merged/{machine}/fold_one_page_used.64k")
    read, write = (next(step.pt for step in found.steps if step.name == name) for name in ("read", "write"))
    blocks = read["folded_before"]
    assert blocks == read["folded_after"] == write["folded_after"] == 2
    assert read["own_young_after"] - read["own_young_before"] == blocks * entries
    assert write["read_only_before"] - write["read_only_after"] == blocks * entries
    # As Linux gathers them, the block is young and dirty in either case.
    assert (read["young_after"], write["dirty_after"]) == (32, 32)


@pytest.mark.parametrize("machine", ["max", "a57"])
def test_a_part_that_is_protected_unfolds_its_block_and_no_other(stock, machine):
    found = cell(stock, f"merged/{machine}/fold_part_protected.64k")
    first = next(step.pt for step in found.steps if step.name == "protect")
    assert (first["folded_before"], first["folded_after"]) == (2, 1)
    assert (first["writable_before"], first["writable_after"]) == (32, 30)


@pytest.mark.parametrize("machine", ["max", "a57"])
def test_both_processes_of_a_fork_keep_their_blocks_write_protected(stock, machine):
    found = cell(stock, f"merged/{machine}/fold_forked.64k")
    for view in ("own", "child"):
        forked = reading(found, "forked", view=view)
        assert (forked.counts["folded"], forked.counts["writable"], forked.counts["read_only"]) == (2, 0, 32)
    own, child = (first_entry(reading(found, "forked", view=view)).address for view in ("own", "child"))
    assert own == child
    written, kept = reading(found, "written"), reading(found, "written", view="child")
    assert written.counts["folded"] == 0 and kept.counts["folded"] == 2


def test_the_kernel_before_the_series_ends_with_unfolded_pages(stock):
    after = reading(cell(stock, "baseline/max/full_cover.64k"), "free", "step-end")
    assert after.counts | {"folded": 0, "contiguous": 0, "valid": 64, "dirty": 0, "young": 0} == after.counts


def test_folios_smaller_than_a_block_are_never_folded(stock):
    found = cell(stock, "merged/max/full_cover.32k")
    assert found.tables and not any(one.counts["contiguous"] for one in found.tables)
    assert "folded_pages" not in [need.what for need in found.needs]
    need = next(need for need in cell(stock, "merged/max/full_cover.64k").needs if need.what == "folded_pages")
    assert need.ok and need.want == need.got == "64"


def test_stock_kernels_keep_every_rule(stock):
    for kernel in ("baseline", "merged"):
        found = decision(stock, kernel)
        assert found.verdict == Verdict.PASS and found.rows, found.reason


def test_every_reading_was_made(stock):
    assert [one.failure for found in stock.run.cells for one in found.tables if one.failure] == []
    # Nobody else ran: what is read is nobody's half change.
    assert all(one.alone for found in stock.run.cells for one in found.tables)
    assert all(boot.plugins for boot in stock.run.boots)


@pytest.mark.parametrize(
    ("mutant", "machine", "scenario", "rule", "where"),
    [
        ("fold-keeps-own-permissions", "max", "fold_part_protected.64k", "block-permissions", "protected"),
        ("access-flags-one-entry", "a57", "fold_one_page_used.64k", "access-flag-alone", "end of step read"),
        ("access-flags-one-entry", "a57", "write_after_free_inner.64k", "access-flag-alone", "end of step free-write"),
        ("unfold-start-only", "max", "fold_part_unmapped.128k", "block-valid", "end of step unmap"),
    ],
)
def test_a_seeded_bug_is_told_by_rule_address_and_place(with_patches, bench, mutant, machine, scenario, rule, where):
    study = with_patches(MUTANTS / f"contpte-{mutant}.patch")
    result = bench.validate(plan.narrow(study, kernels=("mutant",), machines=(machine,), scenarios=(scenario,)))
    found = decision(result, "mutant")
    assert found.verdict == Verdict.FAIL
    assert any(f"{where}: {rule}: VA 0x1000" in row.reason for row in found.rows), found.reason
    assert decision(result, "baseline").verdict == Verdict.PASS


def test_folding_what_differs_in_permission_only_is_told_by_a_write_that_goes_through(with_patches, bench):
    """Its blocks agree in everything, for all pages got the permission of one."""
    study = with_patches(MUTANTS / "contpte-fold-ignores-permissions.patch")
    narrowed = plan.narrow(study, kernels=("mutant",), machines=("max",), scenarios=("fold_part_protected.64k",))
    found = cell(bench.validate(narrowed), "mutant/max/fold_part_protected.64k")
    assert [check.name for check in found.checks if not check.ok] == ["permissions-unchanged"] * 2
    assert reading(found, "protected").counts["writable"] == 32


@pytest.mark.parametrize("variant", ["contpte-clear-unfolds", "contpte-unfold-by-end"])
def test_a_legal_variant_breaks_no_rule(with_patches, bench, variant):
    study = with_patches(MUTANTS / f"legal-{variant}.patch", verdict="PASS")
    result = bench.validate(plan.narrow(study, kernels=("mutant",), machines=("max",), scenarios=("fold_*", "mixed_*")))
    found = decision(result, "mutant")
    assert found.verdict == Verdict.PASS, found.reason
