"""Words for studies and runs on the command line."""

import os
from pathlib import Path

import pytest

from pipeline import locate
from pipeline.errors import UserError


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    root = tmp_path / "runs"
    for name in ("20260101-000000-demo", "20260102-000000-demo", "20260103-000000-other"):
        (root / name).mkdir(parents=True)
        (root / name / "run.json").touch()
    (root / "20260104-000000-mutants").mkdir()  # a campaign: no run
    return root


def test_without_a_word_the_study_is_the_one_here_else_the_shipped_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert locate.study_file(None) == locate.shipped()["madvise-free-mthp"]
    Path("study.toml").touch()
    assert locate.study_file(None) == Path("study.toml")


def test_a_study_is_a_path_or_the_name_of_a_shipped_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert locate.study_file(Path("madvise-free-mthp")).name == "study.toml"
    assert locate.study_file(Path("madvise-free-mthp/newest")).name == "newest.toml"
    Path("madvise-free-mthp").mkdir()
    assert locate.study_file(Path("madvise-free-mthp")) == Path("madvise-free-mthp"), "what is here comes first"
    assert locate.study_file(Path("gone/study.toml")) == Path("gone/study.toml"), "study.load tells what is wrong"
    with pytest.raises(UserError, match="madvise-free: expected a study") as caught:
        locate.study_file(Path("madvise-free"))
    assert "madvise-free-mthp" in caught.value.hint


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("last", "20260103-000000-other"),
        ("last~0", "20260103-000000-other"),
        ("last~2", "20260101-000000-demo"),
        ("20260102-000000-demo", "20260102-000000-demo"),
        ("20260102", "20260102-000000-demo"),
    ],
)
def test_a_run_is_named_by_age_id_or_start_of_its_id(runs, word, found):
    assert locate.run_folder(word, root=runs) == runs / found


def test_a_path_is_a_run_whatever_it_is_called(runs, monkeypatch):
    monkeypatch.chdir(runs)
    assert locate.run_folder("20260101-000000-demo/run.json", root=Path("x")) == Path("20260101-000000-demo/run.json")


def test_a_run_elsewhere_is_found_by_its_id(runs, tmp_path):
    known = [runs / "20260101-000000-demo", tmp_path / "gone"]
    assert locate.run_folder("20260101-000000-demo", root=tmp_path, elsewhere=known) == known[0]


def test_words_that_name_no_run_say_what_there_is(runs):
    with pytest.raises(UserError, match=r"last~3: expected 4 runs in .*, found 3"):
        locate.run_folder("last~3", root=runs)
    with pytest.raises(UserError, match="2026: 3 runs start so") as caught:
        locate.run_folder("2026", root=runs)
    assert "20260101-000000-demo" in caught.value.hint
    with pytest.raises(UserError, match="no run '20260102-000000-demi'") as caught:
        locate.run_folder("20260102-000000-demi", root=runs)
    assert caught.value.hint.startswith("did you mean: 20260102-000000-demo")


def test_of_two_runs_of_one_second_the_last_is_that_which_ended_last(tmp_path):
    for at, name in enumerate(("20260101-000000-zebra", "20260101-000000-apple")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text("{}")
        (tmp_path / name / "events.jsonl").write_text("")
        os.utime(tmp_path / name / "events.jsonl", ns=(at, at))
    assert locate.run_folder("last", root=tmp_path).name == "20260101-000000-apple"
    assert locate.run_folder("last~1", root=tmp_path).name == "20260101-000000-zebra"
