"""The index of runs: filled, replaced, made again, and what happens when its file is not what it should be."""

import multiprocessing
import sqlite3
from pathlib import Path

import pytest

from pipeline.errors import InfraError
from pipeline.history.index import Index, NewerIndex
from pipeline.judge.model import Verdict
from pipeline.observation import Step
from pipeline.run import Run, save
from tests.judge.builders import a_study, all_cells, with_cell
from tests.report.builders import a_run

CELL = "v2/max/full.64k"


def run_on(day: int, *, split: int = 0, **changes: object) -> Run:
    cells = with_cell(all_cells(a_study()), CELL, steps=[Step(name="free", mthp={"split": split})])
    return a_run(id=f"202601{day:02}-000000-demo", started=f"2026-01-{day:02}T00:00:00Z", cells=cells, **changes)


def stored(root: Path, run: Run) -> Path:
    folder = root / run.id
    folder.mkdir(parents=True)
    save(run, folder / "run.json")
    return folder


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return Index(tmp_path / "cache")


def verdicts(index: Index, of: str = "no-split", **filters: object) -> list[Verdict]:
    return [point.verdict for point in index.points(kernel="v2", of=of, **filters)]


def test_a_run_is_entered_with_the_verdict_of_each_kernel_claim_and_invariant(index, tmp_path):
    index.enter(run_on(1, split=1), tmp_path / "runs" / "a")
    (entry,) = index.runs()
    assert (entry.id, entry.study, entry.exit_code, entry.cells) == ("20260101-000000-demo", "demo", 1, 12)
    assert entry.folder == tmp_path / "runs" / "a"
    points = {(point.kernel, point.of): point for point in index.points()}
    assert points["v2", ""].verdict == points["v2", "no-split"].verdict == Verdict.FAIL
    assert points["v2", "no-split"].reason == f"{CELL}: mthp.split == 0: mthp.split = 1"
    assert points["v2", "no-split"].cells == 4
    assert points["base", "no-lost-write"].verdict == Verdict.PASS
    assert ("base", "no-split") not in points, "the baseline is not judged by claims"


def test_runs_come_in_the_order_of_their_time_whatever_order_they_were_entered_in(index, tmp_path):
    for day, split in ((3, 0), (1, 1), (2, 0)):
        index.enter(run_on(day, split=split), tmp_path / str(day))
    assert verdicts(index) == [Verdict.FAIL, Verdict.PASS, Verdict.PASS]


def test_a_run_that_is_judged_anew_or_copied_replaces_itself(index, tmp_path):
    run = run_on(1, split=1)
    index.enter(run, tmp_path / "a")
    known = a_study(known=[{"id": "why", "of": "no-split", "scenarios": ["full.*"], "explanation": "it is known"}])
    again = run.model_copy(update={"study": run.study.model_copy(update={"content": known})}).judged()
    index.enter(again, tmp_path / "copy")
    assert verdicts(index) == [Verdict.KNOWN]
    assert [entry.folder for entry in index.runs()] == [tmp_path / "copy"]


def test_two_runs_of_one_second_in_two_folders_are_two(index, tmp_path):
    index.enter(run_on(1, command=("kpv", "validate", "a")), tmp_path / "a")
    index.enter(run_on(1, command=("kpv", "validate", "b")), tmp_path / "b")
    assert len(index.runs()) == 2


@pytest.mark.parametrize(
    ("command", "narrowed"),
    [
        (("kpv", "validate", "study.toml"), False),
        (("kpv", "validate", "study.toml", "--fresh", "-j", "1"), False),
        (("kpv", "validate", "study.toml", "-k", "v2"), True),
        (("kpv", "validate", "study.toml", "--machine=max"), True),
        (("kpv", "run", "full"), True),
    ],
)
def test_a_run_of_a_part_of_its_study_counts_only_where_asked_for(index, tmp_path, command, narrowed):
    index.enter(run_on(1, command=command), tmp_path)
    assert index.runs()[0].narrowed is narrowed
    assert bool(verdicts(index)) is not narrowed
    assert verdicts(index, narrowed=True) == [Verdict.PASS]


def test_the_index_is_made_again_from_the_folders_it_knew_and_from_others(index, tmp_path):
    known = stored(tmp_path / "runs", run_on(1))
    index.enter(run_on(1), known)
    index.enter(run_on(2), tmp_path / "gone")
    stored(tmp_path / "other", run_on(3, split=1))
    index.path.unlink()
    (problem,) = index.rebuild([tmp_path / "other"])
    assert str(tmp_path / "gone") in problem
    assert [entry.id[:8] for entry in index.runs()] == ["20260101", "20260103"]
    assert index.folders() == [known, tmp_path / "other" / "20260103-000000-demo"]
    assert index.rebuild() == [], "a folder that is gone is told once"
    assert verdicts(index) == [Verdict.PASS, Verdict.FAIL]


def test_a_damaged_index_is_made_again_from_the_known_folders(index, tmp_path):
    index.enter(run_on(1), stored(tmp_path / "runs", run_on(1)))
    index.path.write_bytes(b"this is no database, though it is long enough to be taken for one" * 40)
    for left in index.path.parent.glob("*-wal"):
        left.unlink()
    assert verdicts(index) == [Verdict.PASS]
    index.enter(run_on(2, split=1), tmp_path / "b")
    assert verdicts(index) == [Verdict.PASS, Verdict.FAIL]


def test_a_newer_index_is_left_alone_and_told(index, tmp_path):
    index.enter(run_on(1), stored(tmp_path / "runs", run_on(1)))
    with sqlite3.connect(index.path) as db:
        db.execute("PRAGMA user_version = 2")
    db.close()
    with pytest.raises(NewerIndex, match="expected an index of schema 1, found 2") as caught:
        index.runs()
    assert "kpv history --rebuild" in caught.value.hint
    index.rebuild()
    assert verdicts(index) == [Verdict.PASS]


def test_a_folder_that_cannot_be_written_is_an_infrastructure_error(tmp_path):
    (tmp_path / "history").write_text("in the way")
    with pytest.raises(InfraError, match="cannot use the index of runs"):
        Index(tmp_path).enter(run_on(1), tmp_path)


def _enter_many(cache: Path, first: int) -> None:
    for day in range(first, first + 5):
        Index(cache).enter(run_on(day), cache / str(day))


def test_writers_at_the_same_time_lose_nothing(index, tmp_path):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_enter_many, args=(tmp_path / "cache", first)) for first in (1, 6, 11)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(50)
        assert writer.exitcode == 0
    assert [entry.id[6:8] for entry in index.runs()] == [f"{day:02}" for day in range(1, 16)]
    assert len(index.folders()) == 15
