"""What is listed: studies, what a study has, and runs known and unknown to the history."""

from pathlib import Path

import pytest

from pipeline import locate, study
from pipeline.catalogue import lists
from pipeline.history.index import Index
from pipeline.study import Study
from tests.report.builders import a_run


@pytest.fixture(scope="module")
def shipped() -> Study:
    return study.load(locate.shipped()["madvise-free-mthp"])


def test_the_studies_are_the_one_here_and_those_that_come_with_kpv(tmp_path):
    assert [row[0] for row in lists.all_studies(tmp_path).rows] == [
        "madvise-free-mthp",
        "madvise-free-mthp/newest",
        "madvise-free-mthp/torture",
    ]
    (tmp_path / "study.toml").write_text("schema = 1\n")
    here = lists.all_studies(tmp_path).rows[0]
    assert here[0] == "(here)"
    assert here[1].startswith("cannot be read: ")


@pytest.mark.parametrize("kind", lists.OF_STUDY)
def test_each_kind_of_a_study_has_a_row_for_each_of_its_names(shipped, kind):
    listing = lists.OF_STUDY[kind](shipped)
    names = [row[0] for row in listing.rows]
    wanted = {
        "kernels": [kernel.id for kernel in shipped.kernel],
        "machines": ["a57", "a57-tlb", "max", "max-tlb", "n1"],
        "scenarios": [scenario.id for scenario in shipped.scenario],
        "claims": [claim.id for claim in shipped.claim],
        "invariants": [*study.BUILT_IN, *(invariant.id for invariant in shipped.invariant)],
    }[kind]
    assert names == wanted
    assert all(len(row) == len(listing.columns) for row in listing.rows)
    assert listing.as_dicts()[0]["name"] == wanted[0]


def test_a_machine_says_whether_the_study_has_it(shipped):
    rows = {row["name"]: row for row in lists.all_machines(shipped).as_dicts()}
    assert rows["max"]["in madvise-free-mthp"] == "yes"
    assert rows["n1"]["in madvise-free-mthp"] == "no"
    assert rows["a57"]["dirty state"] == "by software"


def test_runs_are_those_of_the_history_the_newest_first_then_those_it_does_not_know(tmp_path):
    index, root = Index(tmp_path / "cache"), tmp_path / "runs"
    for day in (1, 2):
        folder = root / f"2026010{day}-000000-demo"
        folder.mkdir(parents=True)
        (folder / "run.json").touch()
        index.enter(a_run(id=folder.name, started=f"2026-01-0{day}T00:00:00Z"), folder)
    (root / "20260103-000000-demo").mkdir()
    (root / "20260103-000000-demo" / "run.json").touch()
    index.enter(a_run(id="20251231-000000-demo", started="2025-12-31T00:00:00Z"), tmp_path / "gone")
    rows = lists.all_runs(index.runs(), root).as_dicts()
    assert [row["name"][:8] for row in rows] == ["20260102", "20260101", "20251231", "20260103"]
    assert rows[0]["exit code"] == "0"
    assert rows[2]["folder"].startswith("gone: ")
    assert rows[3]["of"] == "not in the history"
    assert Path(rows[3]["folder"]) == root / "20260103-000000-demo"
