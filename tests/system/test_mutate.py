"""Mutants of a real kernel in real VMs: each is killed by the check that names what it breaks, a legal one is not."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from pipeline import plan
from pipeline.errors import Exit
from pipeline.events import discard
from pipeline.mutate import campaign, mutant
from pipeline.mutate.campaign import Campaign
from pipeline.mutate.score import Outcome
from pipeline.stages import Options
from pipeline.study import Study
from tests.system.conftest import MUTANTS

pytestmark = pytest.mark.system

LEGAL = Path(__file__).parent / "patches" / "legal-flush-also-clean.patch"
#: Mutant -> checks of which one must kill it: what it breaks is what they name.
BREAKS = {
    "madvise-ignore-any-young-dirty": {"becomes-clean", "becomes-old"},
    "madvise-no-tlb-flush": {"no-lost-write", "write-cancels-lazyfree"},
    "madvise-skip-shared-extent": {"exclusive-in-shared-extent", "walk-passes-shared-part"},
}
SCENARIOS = ("rearm_*", "full_cover*", "write_after_free_*", "dontneed_*", "shared_partial*")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("mutants")
    for path in (*(MUTANTS / f"{name}.patch" for name in BREAKS), LEGAL):
        shutil.copy(path, made)
    return made


@pytest.fixture(scope="module")
def campaigns(shipped: Study, session_options: Options, folder: Path) -> tuple[Campaign, Campaign]:
    """The same campaign twice: all afresh, then with what the first recorded."""
    study = plan.narrow(shipped, scenarios=SCENARIOS)
    kernel, mutants = campaign.under_test(shipped), mutant.load_all(folder)

    def run(*, fresh: bool) -> Campaign:
        return campaign.run(study, kernel, mutants, dataclasses.replace(session_options, fresh=fresh), discard)

    return run(fresh=True), run(fresh=False)


@pytest.mark.parametrize("name", BREAKS)
def test_a_bug_is_killed_by_a_check_that_names_what_it_breaks(campaigns, name):
    (found,) = [result for result in campaigns[0].results if result.name == name]
    assert found.outcome is Outcome.KILLED
    assert BREAKS[name] & {kill.check for kill in found.killed_by}
    assert found.image_sha256


def test_a_legal_variant_is_accepted_after_every_cell_on_every_machine_without_a_tlb_model(campaigns):
    (found,) = [result for result in campaigns[0].results if result.kind == "legal"]
    assert found.outcome is Outcome.ACCEPTED
    assert found.inconclusive == ()
    assert set(found.cells) == {"max", "a57"}
    for counts in found.cells.values():
        ran, _, planned = counts.partition(" of ")
        assert ran == planned


def test_nothing_is_tried_twice(campaigns):
    first, again = campaigns
    assert all(result.cached for result in again.results)
    assert [r.model_copy(update={"cached": False}) for r in again.results] == list(first.results)
    assert again.exit_code is first.exit_code is Exit.PASS
