"""Series: what is read, what is refused, and how a patch that does not apply is told."""

import base64
import re
import subprocess
from pathlib import Path

import pytest

from pipeline.events import discard
from pipeline.kernel import series
from pipeline.kernel.series import Overlay, SeriesError, apply, load
from pipeline.kernel.source import SourceTree, resolve
from tests.kernel.conftest import make_patch

HUNK = "@@ -1,6 +1,6 @@\n #include <linux/mm.h>\n \n-int util(void)\n+int used(void)\n {\n \treturn 0;\n }\n"
GOOD = f"--- a/mm/util.c\n+++ b/mm/util.c\n{HUNK}"


@pytest.fixture
def tree(tmp_path: Path, linux: Path) -> SourceTree:
    return resolve("dir:linux", cache=tmp_path / "cache", folder=tmp_path, emit=discard)


def _apply(tmp_path: Path, tree: SourceTree, *texts: str | bytes) -> Overlay:
    names = []
    for number, text in enumerate(texts, 1):
        (tmp_path / f"{number}.patch").write_bytes(text if isinstance(text, bytes) else text.encode())
        names.append(f"{number}.patch")
    return apply(load(names, tmp_path), tree)


def _told(tmp_path: Path, tree: SourceTree, *texts: str | bytes) -> SeriesError:
    with pytest.raises(SeriesError) as caught:
        _apply(tmp_path, tree, *texts)
    assert "\n" not in caught.value.message and caught.value.hint
    return caught.value


def _mail(subject: str, diff: str, *, ending: str = "\n", encoding: str = "") -> str:
    body = f"Why.\n\nSigned-off-by: A <a@b.c>\n---\n mm/util.c | 2 +-\n\n{diff}-- \n2.39\n"
    extra = ""
    if encoding == "base64":
        extra = "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n"
        body = base64.encodebytes(body.replace("\n", "\r\n").encode()).decode()
    head = f"From: A Person <a@b.c>\nDate: Thu, 7 Mar 2024 14:14:25 +0800\nSubject: {subject}\n{extra}\n"
    return ("From 0123456789 Mon Sep 17 00:00:00 2001\n" + head + body + "\n").replace("\n", ending)


# --- reading --------------------------------------------------------------------------------------------------------


def test_a_plain_patch(tmp_path: Path, tree: SourceTree) -> None:
    (tmp_path / "p.patch").write_text(GOOD)
    loaded = load(["p.patch"], tmp_path)
    [patch] = loaded.patches
    assert (patch.name, patch.files, patch.text) == ("p.patch", ("mm/util.c",), GOOD)
    assert loaded.files == {"mm/util.c"}
    overlay = apply(loaded, tree)
    content = overlay.files["mm/util.c"]
    assert content is not None and b"int used(void)" in content and overlay.notes == ()
    assert b"int util(void)" in (tree.path / "mm/util.c").read_bytes(), "the tree itself is not touched"


@pytest.mark.parametrize(("ending", "encoding"), [("\n", ""), ("\r\n", ""), ("\n", "base64")])
def test_a_mail_in_the_wild(tmp_path: Path, tree: SourceTree, ending: str, encoding: str) -> None:
    (tmp_path / "m.mbox").write_bytes(_mail("[PATCH v2] mm: use it", GOOD, ending=ending, encoding=encoding).encode())
    loaded = load(["m.mbox"], tmp_path)
    [patch] = loaded.patches
    assert patch.subject == "mm: use it" and patch.author == "A Person <a@b.c>"
    assert b"int used(void)" in (apply(loaded, tree).files["mm/util.c"] or b"")


def test_an_mbox_of_several_mails_in_any_order_without_its_cover(tmp_path: Path, tree: SourceTree) -> None:
    second = GOOD.replace("int used", "int twice").replace("int util", "int used")
    cover = _mail("[PATCH 0/2] cover", "").replace(" mm/util.c | 2 +-\n", "")
    (tmp_path / "s.mbox").write_text(cover + _mail("[PATCH 2/2] two", second) + _mail("[PATCH 1/2] one", GOOD))
    loaded = load(["s.mbox"], tmp_path)
    assert [patch.subject for patch in loaded.patches] == ["one", "two"]
    assert [patch.name for patch in loaded.patches] == ["s.mbox#3", "s.mbox#2"]
    assert b"int twice(void)" in (apply(loaded, tree).files["mm/util.c"] or b"")


def test_an_incomplete_mbox_is_told(tmp_path: Path) -> None:
    (tmp_path / "s.mbox").write_text(_mail("[PATCH 1/3] one", GOOD) + _mail("[PATCH 3/3] three", GOOD))
    with pytest.raises(SeriesError, match=r"expected patches 1 to 3, found 1, 3"):
        load(["s.mbox"], tmp_path)
    (tmp_path / "c.mbox").write_text(_mail("[PATCH 0/2] cover", ""))
    with pytest.raises(SeriesError, match="only a cover letter"):
        load(["c.mbox"], tmp_path)
    (tmp_path / "r.mbox").write_text(_mail("Re: [PATCH] x", "> diff --git a/x b/x\n> --- a/x\n"))
    with pytest.raises(SeriesError, match=r"r\.mbox: the patch holds no diff"):
        load(["r.mbox"], tmp_path)


def test_a_quilt_folder(tmp_path: Path, tree: SourceTree) -> None:
    quilt = tmp_path / "q"
    quilt.mkdir()
    (quilt / "series").write_text("# a comment\n\none.patch\ntwo.patch -p1 # last\n#three.patch\n")
    (quilt / "one.patch").write_text(f"From: B <b@c.d>\nSubject: one\n\nWhy.\n\n{GOOD}")
    (quilt / "two.patch").write_text(GOOD.replace("int used", "int twice").replace("int util", "int used"))
    loaded = load(["q"], tmp_path)
    assert [(patch.name, patch.subject) for patch in loaded.patches] == [("q/one.patch", "one"), ("q/two.patch", "two")]
    assert b"int twice" in (apply(loaded, tree).files["mm/util.c"] or b"")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a.patch -p0\n", r"q/series:1: options '-p0': only -p1"),
        ("# nothing\n", "lists no patch"),
        ("../x.patch\n", "outside of the folder"),
        ("missing.patch\n", r"q/missing\.patch: cannot read the patch: No such file"),
        (None, "no quilt series file"),
    ],
)
def test_a_wrong_quilt_folder_is_told(tmp_path: Path, text: str | None, told: str) -> None:
    (tmp_path / "q").mkdir()
    if text is not None:
        (tmp_path / "q/series").write_text(text)
    with pytest.raises(SeriesError, match=told):
        load(["q"], tmp_path)


def test_the_digest_is_of_the_diffs_and_their_order(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(_mail("[PATCH] one", GOOD))
    (tmp_path / "b").write_text(_mail("[PATCH] other words", GOOD))
    (tmp_path / "c").write_text(_mail("[PATCH] one", GOOD.replace("used", "other")))
    digest = {name: load(list(name), tmp_path).digest for name in ("a", "b", "c", "ac", "ca")}
    assert digest["a"] == digest["b"]
    assert len(set(digest.values())) == 4


# --- refused --------------------------------------------------------------------------------------------------------


def _git_diff(name: str, header: str, body: str = "") -> str:
    return f"diff --git a/{name} b/{name}\n{header}{body}"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "the patch file is empty"),
        ("just words\n", "holds no diff"),
        (f"--- a/mm/../../x\n+++ b/mm/../../x\n{HUNK}", "leads out of the tree"),
        (f"--- /etc/passwd\n+++ /etc/passwd\n{HUNK}", "absolute path, /etc/passwd"),
        (f"--- a//etc/passwd\n+++ b//etc/passwd\n{HUNK}", "absolute path"),
        (f"--- a/.git/config\n+++ b/.git/config\n{HUNK}", "git's own folder"),
        (f"--- a/x/.GIT/config\n+++ b/x/.GIT/config\n{HUNK}", "git's own folder"),
        (f"--- mm.c\n+++ mm.c\n{HUNK}", "without a/ or b/"),
        (f"--- a/o/x\n+++ b/o/x\n{HUNK}", "where kpv builds"),
        (f'--- "a/mm/\\377.c"\n+++ "b/mm/\\377.c"\n{HUNK}', "not UTF-8"),
        (f'--- "a/mm/\\001.c"\n+++ "b/mm/\\001.c"\n{HUNK}', "control characters"),
        (f"--- a/mm/\udcff.c\n+++ b/mm/\udcff.c\n{HUNK}", "not UTF-8"),
        (f"--- /dev/null\n+++ /dev/null\n{HUNK}", "both the old and the new"),
        (HUNK, "hunk before any file name"),
        ("diff --git a/a b b/a b\n", "blanks"),
        (_git_diff("l", "new file mode 120000\n", "--- /dev/null\n+++ b/l\n@@ -0,0 +1 @@\n+/etc\n"), "symbolic link"),
        (_git_diff("l", "index 12..34 120000\n", "--- a/l\n+++ b/l\n@@ -1 +1 @@\n-a\n+/etc\n"), "symbolic link"),
        (_git_diff("s", "new file mode 160000\n", "--- /dev/null\n+++ b/s\n@@ -0,0 +1 @@\n+Sub\n"), "submodule"),
        (_git_diff("x", "new file mode 104755\n"), "has mode 104755"),
        (_git_diff("b", "index 12..34\n", "GIT binary patch\nliteral 3\n"), "binary patch"),
        (_git_diff("b", "index 12..34\n", "Binary files a/b and b/b differ\n"), "binary patch"),
        (_git_diff("mm/util.c", "index 12..34 100644\n"), "changes nothing in mm/util.c"),
        (_git_diff("mm/util.c", "rename from mm/util.c\nrename to ../x\n"), "leads out"),
        ("diff --cc mm/util.c\n", "combined diff"),
        (GOOD.replace("@@ -1,6 +1,6 @@", "@@ -1,9 +1,9 @@"), r"ends in the middle of hunk #1 of mm/util.c"),
        (GOOD.replace("\n \n", "\nwrapped\n"), r"damaged in hunk #1 of mm/util.c \(@@ -1,6 \+1,6 @@\), at line 5"),
    ],
)
def test_hostile_damaged_and_empty_patches_are_refused(tmp_path: Path, tree: SourceTree, text: str, told: str) -> None:
    error = _told(tmp_path, tree, text.encode("utf-8", "surrogateescape"))
    assert error.message.startswith("1.patch: ")
    assert re.search(told, error.message), error.message


def test_a_patch_through_a_link_of_the_tree_is_refused(tmp_path: Path, linux: Path) -> None:
    (linux / "lib").symlink_to("mm")
    tree = resolve("dir:linux", cache=tmp_path / "cache", folder=tmp_path, emit=discard)
    assert "lib is a symbolic link" in _told(tmp_path, tree, GOOD.replace("mm/util.c", "lib/util.c")).message


def test_a_missing_patch_is_told(tmp_path: Path) -> None:
    with pytest.raises(SeriesError, match=r"no\.patch: cannot read the patch: No such file"):
        load(["no.patch"], tmp_path)


# --- applying -------------------------------------------------------------------------------------------------------


def test_no_series_is_an_empty_overlay(tmp_path: Path, tree: SourceTree) -> None:
    overlay = apply(load([], tmp_path), tree)
    assert overlay.files == {} and len(overlay.digest) == 64


def test_what_ends_as_it_was_is_not_in_the_overlay(tmp_path: Path, tree: SourceTree) -> None:
    back = GOOD.replace("-int util", "-X").replace("+int used", "+int util").replace("-X", "-int used")
    assert _apply(tmp_path, tree, GOOD, back).digest == apply(load([], tmp_path), tree).digest


def test_new_deleted_renamed_and_mode(tmp_path: Path, tree: SourceTree) -> None:
    text = (
        "diff --git a/mm/new.sh b/mm/new.sh\nnew file mode 100755\n--- /dev/null\n+++ b/mm/new.sh\n@@ -0,0 +1 @@\n+hi\n"
        "diff --git a/mm/notes.txt b/mm/notes.txt\ndeleted file mode 100644\n--- a/mm/notes.txt\n+++ /dev/null\n"
        "@@ -1 +0,0 @@\n-all\n"
        "diff --git a/mm/util.c b/mm/moved.c\nsimilarity index 100%\nrename from mm/util.c\nrename to mm/moved.c\n"
        "diff --git a/kernel/main.c b/kernel/main.c\nold mode 100644\nnew mode 100755\n"
    )
    overlay = _apply(tmp_path, tree, text)
    assert overlay.files["mm/new.sh"] == b"hi\n" and overlay.modes["mm/new.sh"] == 0o755
    assert overlay.files["mm/notes.txt"] is None and "mm/notes.txt" not in overlay.modes
    assert overlay.files["mm/util.c"] is None
    assert overlay.files["mm/moved.c"] == (tree.path / "mm/util.c").read_bytes()
    assert overlay.modes["kernel/main.c"] == 0o755
    assert overlay.digests()["mm/notes.txt"] is None


def test_an_offset_is_taken_and_noted(tmp_path: Path, tree: SourceTree, linux: Path) -> None:
    patch = make_patch(linux, {"mm/madvise.c": ("split = 1", "split = 4")})
    shifted = patch.replace("@@ -15,7 +15,7", "@@ -10,7 +10,7")
    assert shifted != patch
    overlay = _apply(tmp_path, tree, shifted)
    assert overlay.notes == ("1.patch: mm/madvise.c: hunk #1 applied at line 15, offset 5",)


def test_a_patch_that_does_not_apply_names_file_hunk_and_version(tmp_path: Path, tree: SourceTree, linux: Path) -> None:
    edits = {"mm/madvise.c": ("int end = start + 1", "int end = start + 2")}
    first = make_patch(linux, edits)
    bad = make_patch(linux, {"mm/madvise.c": ("split = 2", "split = 4")}).replace(
        " \tint split = 1;", " \tint split = 9;"
    )
    hunk = bad[bad.index("@@") :]
    error = _told(tmp_path, tree, GOOD, first + hunk)
    header = hunk.splitlines()[0]
    assert error.message == f"2.patch: does not apply to Linux 6.12.99: mm/madvise.c: hunk #2 ({header})"
    assert "-\tint split = 9;" in error.detail and "+\tint split = 1;" in error.detail
    assert "expected by the patch" in error.detail and "in the tree" in error.detail


def test_fuzz_is_never_taken(tmp_path: Path, tree: SourceTree, linux: Path) -> None:
    patch = make_patch(linux, {"mm/madvise.c": ("split = 1", "split = 4")})
    outer = "\n int madvise_free(int start)\n"
    assert outer in patch
    assert "hunk #1" in _told(tmp_path, tree, patch.replace(outer, "\n int madvise_free(long start)\n")).message


def test_an_applied_patch_is_told_as_such(tmp_path: Path, tree: SourceTree) -> None:
    assert _told(tmp_path, tree, GOOD, GOOD).message.startswith("2.patch: is already applied in Linux 6.12.99")


def test_missing_and_existing_files_are_told(tmp_path: Path, tree: SourceTree) -> None:
    assert "mm/gone.c does not exist there" in _told(tmp_path, tree, GOOD.replace("util.c", "gone.c")).message
    new = (
        "diff --git a/mm/util.c b/mm/util.c\nnew file mode 100644\n--- /dev/null\n+++ b/mm/util.c\n@@ -0,0 +1 @@\n+x\n"
    )
    assert "creates mm/util.c, which exists there already" in _told(tmp_path, tree, new).message
    assert "mm is a folder" in _told(tmp_path, tree, GOOD.replace("mm/util.c", "mm")).message


def test_neither_the_users_git_settings_nor_a_repository_around_change_anything(
    tmp_path: Path, tree: SourceTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path / "around")], check=True)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "around"))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "around/.git"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home/.gitconfig").write_text("[apply]\n\twhitespace = fix\n")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    overlay = _apply(tmp_path, tree, GOOD.replace("+int used(void)", "+int used(void)  "))
    assert b"int used(void)  \n" in (overlay.files["mm/util.c"] or b"")


def test_git_and_kpv_must_read_the_same_files(
    tmp_path: Path, tree: SourceTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series, "_git_apply", lambda *a: (0, "1\t1\tmm/other.c\0"))
    assert "git reads other file names in it: mm/other.c" in _told(tmp_path, tree, GOOD).message


def test_the_scratch_folder_is_gone(tmp_path: Path, tree: SourceTree, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temp"))
    _apply(tmp_path, tree, GOOD)
    _told(tmp_path, tree, GOOD, GOOD)
    assert list((tmp_path / "temp").iterdir()) == []
