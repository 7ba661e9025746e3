"""One thing shown whole."""

import pytest

from pipeline import locate, study
from pipeline.catalogue import cells, pages
from pipeline.catalogue.pages import Page
from pipeline.errors import UserError
from pipeline.observation import Check, Need, Outcome, Step
from pipeline.study import Study
from tests.judge.builders import a_study, all_cells, with_cell
from tests.report.builders import a_run

CELL = "v2/max/full.64k"


@pytest.fixture(scope="module")
def shipped() -> Study:
    return study.load(locate.shipped()["madvise-free-mthp"])


def text(page: Page) -> str:
    return "\n".join([page.title, *(" ".join((s.title, *row)) for s in page.sections for row in s.rows)])


def section(page: Page, title: str) -> tuple[tuple[str, ...], ...]:
    return next(section.rows for section in page.sections if section.title == title)


def test_a_scenario_has_its_source_properties_needs_checks_claims_and_known_findings(shipped):
    page = pages.scenario_page(shipped, "unfolded_block")
    told = text(page)
    assert "guest-tests/lazyfree.c:" in told
    assert "NEED" not in told
    assert ("becomes-clean", "No dirty bit is left on a freed page") in section(page, "checks")
    assert section(page, "claims")[0][0] == "any-fold-state"
    assert section(page, "known findings")[0][0] == "cont-bit-in-batch"


def test_a_scenario_that_needs_more_says_what(shipped):
    facts = dict(pages.scenario_page(shipped, "pmd_collapsed").sections[0].rows)
    assert "collapsed" in facts["needs"]
    assert facts["test"] == "lazyfree_thp -r lazyfree.2m.pmd_collapsed"
    races = dict(pages.scenario_page(shipped, "race_split").sections[0].rows)
    assert races["needs"].startswith("cpus_online >= 2")


def test_one_variant_has_the_claims_on_it_alone(shipped):
    everything = {row[0] for row in section(pages.scenario_page(shipped, "full_cover"), "claims")}
    of_4k = {row[0] for row in section(pages.scenario_page(shipped, "full_cover.4k"), "claims")}
    assert "no-split-when-covered" in everything - of_4k
    with pytest.raises(UserError, match=r"no scenario 'full_cover\.3k'") as caught:
        pages.scenario_page(shipped, "full_cover.3k")
    assert "full_cover.32k" in caught.value.hint


def test_every_name_that_is_listed_can_be_shown(shipped):
    names = {
        "kernel": [kernel.id for kernel in shipped.kernel],
        "machine": list(shipped.machines),
        "scenario": [scenario.id for scenario in shipped.scenario],
        "claim": [claim.id for claim in shipped.claim],
        "invariant": [*study.BUILT_IN, *(invariant.id for invariant in shipped.invariant)],
    }
    assert names.keys() == pages.OF_STUDY.keys()
    for kind, some in names.items():
        for name in some:
            page = pages.OF_STUDY[kind](shipped, name)
            assert page.title.startswith(name)
            assert any(section.rows for section in page.sections), name
            assert page.data, name


def test_every_scenario_is_found_in_the_source_of_its_program(shipped):
    lost = [
        s.id
        for s in shipped.scenario
        if ".c:" not in dict(pages.scenario_page(shipped, s.id).sections[0].rows)["source"]
    ]
    assert lost == []


def test_a_kernel_lists_its_patches(shipped):
    (patch,) = section(pages.kernel_page(shipped, "v2"), "patches")
    assert patch[1] == "mm/madvise: mark whole large folios lazyfree"
    assert patch[3] == "mm/madvise.c"


@pytest.mark.parametrize("kind", pages.OF_STUDY)
def test_a_name_that_is_none_is_told(shipped, kind):
    with pytest.raises(UserError, match="nosuch"):
        pages.OF_STUDY[kind](shipped, "nosuch")


def test_the_study_itself_tells_its_limits_and_cells(shipped):
    told = text(pages.study_page(shipped))
    assert "swapin-clean-shared" in told
    assert "QEMU's TCG does not look at the contiguous bit" in told
    assert f"of {len(shipped.scenario)} scenarios" in told


def test_a_run_shows_what_is_not_pass():
    run = a_run(cells=with_cell(all_cells(a_study()), CELL, steps=[Step(name="free", mthp={"split": 1})]))
    page = cells.run_page(run)
    assert section(page, "not PASS") == (("v2", "no-split", "FAIL", f"{CELL}: mthp.split == 0: mthp.split = 1"),)
    assert "exit code 1" in text(page)


def test_a_cell_shows_checks_counters_and_what_was_decided_on_it():
    changes = {
        "outcome": Outcome.FAILED,
        "reason": "a check failed",
        "needs": [Need(what="folio_order", ok=False, want="4", got="0")],
        "steps": [Step(name="free", mthp={"split": 1, "nr_anon": 0}, probe={"p": None})],
        "checks": [Check(name="no-lost-write", ok=True), Check(name="no-lost-write", ok=False, detail="page 3")],
    }
    page = cells.cell_page(a_run(cells=with_cell(all_cells(a_study()), CELL, **changes)), CELL)
    assert page.title == f"{CELL}: failed"
    assert section(page, "checks") == (("no-lost-write", "1", "1", "page 3"),)
    assert section(page, "counters") == (("free", "0", "mthp.split=1 probe.p=?"),)
    assert section(page, "needs that were not met") == (("folio_order", "4", "0"),)
    assert {row[1] for row in section(page, "decided on it")} >= {"no-split", "no-lost-write", "completes"}
    with pytest.raises(UserError, match=r"no cell 'v2/max/full\.64'") as caught:
        cells.cell_page(a_run(), "v2/max/full.64")
    assert CELL in caught.value.hint
