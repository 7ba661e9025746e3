"""`kpv init`: a sound study to start from, with comments, and nothing overwritten."""

import tomllib
from pathlib import Path

import pytest

from pipeline import locate, newstudy, study
from pipeline.errors import UserError

PATCH = """\
From 1111111111111111111111111111111111111111 Mon Sep 17 00:00:00 2001
From: A Developer <dev@example.org>
Date: Wed, 1 Jan 2025 00:00:00 +0000
Subject: [PATCH v3 {number}/{of}] mm: {what}

---
diff --git a/mm/madvise.c b/mm/madvise.c
--- a/mm/madvise.c
+++ b/mm/madvise.c
@@ -1,1 +1,1 @@
-{what}
+other
--
2.47

"""


@pytest.fixture
def shipped() -> Path:
    return locate.shipped()["madvise-free-mthp"]


def mbox(path: Path, *subjects: str) -> Path:
    texts = (PATCH.format(number=at, of=len(subjects), what=what) for at, what in enumerate(subjects, 1))
    path.write_text("".join(texts))
    return path


def test_a_copy_is_the_same_study_under_another_name_with_its_patches(tmp_path, shipped):
    made = newstudy.make(tmp_path / "My Copy", origin=shipped)
    ours, theirs = study.load(made), study.load(shipped)
    assert ours.id == "my-copy"
    assert ours.model_copy(update={"id": theirs.id, "path": theirs.path}) == theirs
    assert made.read_text().startswith("# Made by `kpv init` from ")
    for kernel in ours.kernel:
        assert all((made.parent / entry / "series").is_file() for entry in kernel.series)
    assert not (made.parent / "newest.toml").exists()


def test_a_series_is_the_candidate_over_the_tree_as_it_is(tmp_path, shipped):
    made = newstudy.make(tmp_path / "my", origin=shipped, series=mbox(tmp_path / "V1 final.mbox", "one", "two"))
    ours, theirs = study.load(made), study.load(shipped)
    assert [(k.id, k.role, k.series) for k in ours.kernel] == [
        ("baseline", "baseline", ()),
        ("v1-final", "candidate", ("V1 final.mbox",)),
    ]
    assert {kernel.expect.verdict for kernel in ours.kernel} == {"PASS"}
    assert ours.source == theirs.source
    assert ours.scenario == theirs.scenario
    assert ours.invariant == theirs.invariant
    assert ours.cost == theirs.cost
    assert theirs.bound, "what is said of the kernels of another study is left out"
    assert ours.bound == ours.published == ()
    assert sorted(path.name for path in made.parent.iterdir()) == ["V1 final.mbox", "study.toml"]


def test_claims_of_a_new_series_say_that_what_the_tree_does_is_kept(tmp_path, shipped):
    ours = study.load(newstudy.make(tmp_path / "my", origin=shipped, series=mbox(tmp_path / "v1.mbox", "one")))
    theirs = study.load(shipped)
    assert any(claim.baseline for claim in theirs.claim)
    assert not any(claim.baseline for claim in ours.claim)
    assert [(c.id, c.candidate) for c in ours.claim] == [(c.id, c.candidate) for c in theirs.claim]
    assert {known.kernels for known in ours.known} == {("*",)}, "the findings are those of the tree"
    text = ours.path.read_text()
    assert '# baseline = "mthp.split == param.folios"' in text
    assert text.count("The baseline here is the tree as it is") == 1


def test_the_title_is_the_subject_of_a_single_patch(tmp_path, shipped):
    one = newstudy.make(tmp_path / "one", origin=shipped, series=mbox(tmp_path / "v1.mbox", 'a "quoted" word'))
    assert study.load(one).title == 'mm: a "quoted" word'
    two = newstudy.make(tmp_path / "two", origin=shipped, series=mbox(tmp_path / "v2.mbox", "one", "two"))
    assert study.load(two).title == "two: 2 patches of v2.mbox"
    assert "March 2024" not in two.read_text(), "what was said of another series"


def test_another_tree_is_put_in_the_source(tmp_path, shipped):
    made = newstudy.make(tmp_path / "my", origin=shipped, tree="git:/home/me/linux@v6.13")
    assert study.load(made).source.tree == "git:/home/me/linux@v6.13"
    assert "# With and without hardware dirty state management" in made.read_text(), "comments stay"


def test_a_tree_that_is_none_leaves_nothing_behind(tmp_path, shipped):
    with pytest.raises(UserError, match="no sound study"):
        newstudy.make(tmp_path / "my", origin=shipped, tree="svn:trunk")
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_a_patch_is_refused_before_anything_is_made(tmp_path, shipped):
    (tmp_path / "letter.mbox").write_text("From: me\nSubject: hello\n\nno patch here\n")
    with pytest.raises(UserError, match=r"letter\.mbox"):
        newstudy.make(tmp_path / "my", origin=shipped, series=tmp_path / "letter.mbox")
    assert not (tmp_path / "my").exists()


def test_nothing_that_is_there_is_overwritten(tmp_path, shipped):
    (tmp_path / "empty").mkdir()
    newstudy.make(tmp_path / "empty", origin=shipped)
    with pytest.raises(UserError, match="is there already"):
        newstudy.make(tmp_path / "empty", origin=shipped)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="is there already"):
        newstudy.make(tmp_path / "file", origin=shipped)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_study_that_extends_another_is_no_start(tmp_path):
    with pytest.raises(UserError, match="extends another study"):
        newstudy.make(tmp_path / "my", origin=locate.shipped()["madvise-free-mthp/newest"])


def test_a_study_whose_keys_run_over_lines_is_edited_all_the_same(tmp_path, shipped):
    text = shipped.read_text()
    text = text.replace('id = "madvise-free-mthp"\n', 'id = "x"\n', 1)
    text = text.replace(
        'baseline = "mthp.split == param.folios"', 'baseline = """\nmthp.split ==\\\n param.folios"""', 1
    )
    text = text.replace('title = "One mark', 'title = """\n[[kernel]]"""\nno = "', 0)
    (tmp_path / "study.toml").write_text(text)
    for kernel in ("baseline", "v2"):
        (tmp_path / kernel).mkdir()
    made = newstudy.make(tmp_path / "my", origin=tmp_path / "study.toml", series=mbox(tmp_path / "v1.mbox", "one"))
    claim = tomllib.loads(made.read_text())["claim"][0]
    assert "baseline" not in claim
    assert '# baseline = """\n# mthp.split ==\\\n#  param.folios"""\n' in made.read_text()
