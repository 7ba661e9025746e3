"""What a mutant's header must say, and how it is told when it does not."""

from pathlib import Path

import pytest

from pipeline.errors import Exit
from pipeline.mutate import mutant
from pipeline.mutate.mutant import MutantError

CHECKOUT = Path(__file__).parents[2]
DIFF = "---\n a.c | 1 +\n\ndiff --git a/a.c b/a.c\n--- a/a.c\n+++ b/a.c\n@@ -1 +1,2 @@\n int a;\n+/* Mutant: legal */\n"


@pytest.fixture
def put(tmp_path: Path):
    def write(name: str, header: str, diff: str = DIFF) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(header + diff)
        return path

    return write


def test_a_header_says_kind_title_and_what_breaks(put):
    path = put(
        "x.patch",
        "From: A <a@b.c>\nDate: now\nSubject: [PATCH v2 1/3] mm: flush too\n little\nMutant: bug\n"
        "Breaks: P1: a page stays\n dirty\nSeen: in review\n\nSome words.\n",
    )
    read = mutant.read(path, name="x")
    assert (read.kind, read.title, read.about) == ("bug", "mm: flush too little", "P1: a page stays dirty")


def test_the_lines_may_stand_in_the_message_as_well(put):
    path = put("x.patch", "Subject: [PATCH] t\n\nWords first.\n\nMutant: legal\n\nBreaks: nothing,\nit flushes more.\n")
    read = mutant.read(path, name="x")
    assert (read.kind, read.about) == ("legal", "nothing, it flushes more.")


def test_without_a_field_the_first_paragraph_tells(put):
    assert mutant.read(put("x.patch", "Subject: t\nMutant: legal\n\nFlushes\nmore.\n\nNo.\n"), name="x").about == (
        "Flushes more."
    )


def test_a_bare_diff_with_the_line_is_enough(put):
    read = mutant.read(put("odd-name.patch", "Mutant: Bug\n"), name="odd-name")
    assert (read.kind, read.title, read.about) == ("bug", "odd-name", "")


def test_what_the_diff_itself_says_is_no_header(put):
    with pytest.raises(MutantError, match="found none"):
        mutant.read(put("x.patch", "Subject: t\n"), name="x")


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("Subject: t\n", ['x.patch: expected a line "Mutant: bug" or "Mutant: legal" before the diff, found none']),
        ("Subject: t\nMutant: maybe\n", ["x.patch:2:", 'found "Mutant: maybe"']),
        ("Subject: t\nMutant:\n", ["x.patch:2:", 'found "Mutant: "']),
        ("Mutant: bug\nSubject: t\nMutant: legal\n", ["x.patch:3:", "once"]),
    ],
)
def test_a_missing_or_wrong_kind_is_one_line_with_file_and_fix(put, tmp_path, header, words):
    put("x.patch", header)
    with pytest.raises(MutantError) as error:
        mutant.load_all(tmp_path)
    assert error.value.exit_code is Exit.USAGE
    assert error.value.hint
    assert "\n" not in error.value.message
    for word in words:
        assert word in error.value.message


def test_all_wrong_headers_are_counted(put, tmp_path):
    for name in ("a.patch", "b.patch", "c.patch"):
        put(name, "Subject: t\n")
    with pytest.raises(MutantError) as error:
        mutant.load_all(tmp_path)
    assert "a.patch" in error.value.message and "(and 2 more)" in error.value.message
    assert "b.patch" in error.value.detail and "c.patch" in error.value.detail


def test_patches_are_taken_at_any_depth_by_name(put, tmp_path):
    for name in ("b.patch", "a.patch", "more/deep/c.patch", "more/notes.txt"):
        put(name, "Mutant: bug\n")
    assert [each.name for each in mutant.load_all(tmp_path)] == ["a", "b", "more/deep/c"]


@pytest.mark.parametrize("glob", ["madvise-*", "madvise-x", "more/*", "*x.patch", "more/madvise-x"])
def test_only_some_are_taken_by_name_or_last_part(put, tmp_path, glob):
    put("more/madvise-x.patch", "Mutant: bug\n")
    put("rmap-y.patch", "Mutant: nonsense\n")  # not asked for
    assert [each.name for each in mutant.load_all(tmp_path, only=glob)] == ["more/madvise-x"]


def test_no_mutant_is_an_error(put, tmp_path):
    with pytest.raises(MutantError, match="no such folder"):
        mutant.load_all(tmp_path / "nowhere")
    with pytest.raises(MutantError, match=r"holds no \*\.patch"):
        mutant.load_all(tmp_path)
    put("a.patch", "Mutant: bug\n")
    with pytest.raises(MutantError, match="no mutant matches 'b'") as error:
        mutant.load_all(tmp_path, only="b")
    assert "a" in error.value.hint


def test_a_file_that_is_no_text_is_told_like_any_other(put, tmp_path):
    (tmp_path / "x.patch").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MutantError, match="found none"):
        mutant.load_all(tmp_path)


def test_every_mutant_of_the_checkout_says_what_it_breaks():
    for each in mutant.load_all(CHECKOUT / "tests" / "mutants"):
        assert each.about, each.path
        assert each.title != each.path.stem, each.path
