"""Kernels that only a TLB with contiguous entries shows, told by rule and function; stock 6.12 has no finding."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from pipeline import plan
from pipeline.events import discard
from pipeline.judge.model import Verdict
from pipeline.mutate import campaign, mutant
from pipeline.mutate.campaign import Campaign
from pipeline.mutate.score import Outcome
from pipeline.report import tlb
from pipeline.stages import Options, Result
from pipeline.study import Study
from tests.system.conftest import CHECKOUT, MUTANTS, Bench

pytestmark = pytest.mark.system

HARDWARE = CHECKOUT / "tests" / "hardware-mutants"
#: Mutant -> rule and function that tell it: the function is that of the store.
TOLD = {
    HARDWARE / "contpte-convert-no-tlbi.patch": ("break-before-make", "contpte_convert"),
    HARDWARE / "tlbflush-range-no-dsb.patch": ("tlbi-not-completed", "contpte_clear_young_dirty_ptes"),
    MUTANTS / "contpte-access-flags-one-entry.patch": ("partial-update", "__ptep_set_access_flags"),
    MUTANTS / "contpte-fold-ignores-permissions.patch": ("fold-permissions", "contpte_convert"),
}
SCENARIOS = ("full_cover.64k", "partial_inner.64k", "fold_one_page_used.64k", "fold_part_protected.64k")
MACHINES = ("max-tlb", "a57-tlb")


@pytest.fixture(scope="module")
def narrowed(shipped: Study) -> Study:
    return plan.narrow(shipped, kernels=("merged",), machines=MACHINES, scenarios=SCENARIOS)


@pytest.fixture(scope="module")
def killed(narrowed: Study, session_options: Options, tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    folder: Path = tmp_path_factory.mktemp("mutants")
    for path in TOLD:
        shutil.copy(path, folder)
    # One VM at once: which machine kills a mutant is the same in each run then.
    fresh = dataclasses.replace(session_options, fresh=True, jobs=1)
    return campaign.run(narrowed, campaign.under_test(narrowed), mutant.load_all(folder), fresh, discard)


@pytest.fixture(scope="module")
def stock(killed: Campaign, narrowed: Study, session_options: Options) -> Result:
    """The kernel under test by itself, from what the campaign has recorded of it."""
    (merged,) = (kernel for kernel in narrowed.kernel if kernel.id == "merged")
    study = narrowed.model_copy(update={"kernel": (merged,), "compare": False})
    return Bench(session_options).validate(study, fresh=False)


@pytest.mark.parametrize("path", TOLD, ids=lambda path: path.stem)
def test_a_seeded_bug_is_told_by_rule_and_function(killed: Campaign, path: Path):
    rule, function = TOLD[path]
    (found,) = (each for each in killed.results if each.name == path.stem)
    assert found.outcome is Outcome.KILLED
    told = [kill.message for kill in found.killed_by if kill.check == "tlb-rules" and kill.machine in MACHINES]
    assert any(message.startswith(f"{rule} in {function}") for message in told), told
    assert all("; missing: " in message and ", ASID " in message for message in told)


def test_stock_has_no_finding_and_every_cell_was_watched(stock: Result):
    (judged,) = stock.run.judgement.kernels
    rules = next(each for each in judged.decisions if each.id == "tlb-rules")
    assert rules.verdict == Verdict.PASS
    assert len(rules.rows) == len(MACHINES) * len(SCENARIOS)
    assert [cell.name for cell in stock.run.cells if cell.tlb is None or cell.tlb.invalid] == []
    assert tlb.section(stock.run).groups == ()


def test_the_model_counts_the_folds_that_the_probes_count(stock: Result):
    (judged,) = stock.run.judgement.kernels
    assert next(each for each in judged.decisions if each.id == "folds-as-probed").verdict == Verdict.PASS
    for machine in MACHINES:
        assert dict(tlb.counts(stock.run, "merged", machine))["unfolds"] > 0


def test_one_entry_for_a_block_saves_walks(stock: Result):
    """Of folios that are blocks; the reads and writes of the tests are the same to both TLBs."""
    for machine in tlb.section(stock.run).machines:
        (row,) = machine.reach
        assert (row.variant, row.kernel) == ("64k", "merged")
        assert 0 < row.walks_a < row.walks_b < row.accesses
