"""Where trees come from: one pristine copy each, and every wrong spec told."""

import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from pipeline import apt
from pipeline.errors import InfraError
from pipeline.events import Event, StageFinished, discard
from pipeline.kernel import debian as debian_module
from pipeline.kernel import source
from pipeline.kernel.source import SourceError, SourceTree, resolve
from pipeline.store import DiskFull


def _resolve(spec: str, tmp_path: Path) -> SourceTree:
    return resolve(spec, cache=tmp_path / "cache", folder=tmp_path, emit=discard)


def _pack(tmp_path: Path, linux: Path, mode: str = "w:xz", name: str = "linux.tar.xz", top: str = "linux-6.12") -> Path:
    path = tmp_path / name
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        tar.add(linux, arcname=top)
    return path


@pytest.mark.parametrize("spec", ["linux", "svn:x", "tar:", "debian:", "debian:bash", "debian:linux-source-../x"])
def test_a_wrong_spec_is_told(tmp_path: Path, spec: str) -> None:
    with pytest.raises(SourceError, match="expected"):
        _resolve(spec, tmp_path)


# --- tar ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_tar_of_any_compression(tmp_path: Path, linux: Path, mode: str) -> None:
    _pack(tmp_path, linux, mode, "linux.bin")
    tree = _resolve("tar:linux.bin", tmp_path)
    assert tree.version == "6.12.99" and (tree.path / "mm/madvise.c").exists()
    assert not list((tmp_path / "cache/sources").glob(".unpacking-*"))


def test_a_tree_is_unpacked_once_and_by_content(tmp_path: Path, linux: Path) -> None:
    archive = _pack(tmp_path, linux)
    events: list[Event] = []
    first = resolve("tar:linux.tar.xz", cache=tmp_path / "cache", folder=tmp_path, emit=events.append)
    assert [e for e in events if isinstance(e, StageFinished)]
    events.clear()
    shutil.copy(archive, tmp_path / "same.tar.xz")
    same = resolve("tar:same.tar.xz", cache=tmp_path / "cache", folder=tmp_path, emit=events.append)
    assert same.path == first.path and same.identity == first.identity and events == []


def test_a_tar_without_a_top_folder(tmp_path: Path, linux: Path) -> None:
    _pack(tmp_path, linux, top=".")
    assert _resolve("tar:linux.tar.xz", tmp_path).version == "6.12.99"


def _hostile(tmp_path: Path, linux: Path, member: tarfile.TarInfo) -> str:
    path = _pack(tmp_path, linux, "w", "bad.tar")
    with tarfile.open(path, "a") as tar:
        tar.addfile(member, io.BytesIO(b"") if member.isreg() else None)
    return "tar:bad.tar"


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    return info


@pytest.mark.parametrize(
    ("member", "told"),
    [
        (_member("../../escaped"), "lead out"),
        (_member("/tmp/kpv-escaped"), "lead out"),
        (_member("linux-6.12/link", tarfile.SYMTYPE, "/etc/passwd"), "symlink link leads out"),
        (_member("linux-6.12/mm/link", tarfile.SYMTYPE, "../../../etc"), "symlink mm/link leads out"),
        (_member("linux-6.12/hard", tarfile.LNKTYPE, "../../../etc/passwd"), "lead out|cannot read"),
        (_member("linux-6.12/pipe", tarfile.FIFOTYPE), "device, pipe"),
    ],
)
def test_hostile_members_are_refused_and_nothing_stays(
    tmp_path: Path, linux: Path, member: tarfile.TarInfo, told: str
) -> None:
    with pytest.raises(SourceError, match=told):
        _resolve(_hostile(tmp_path, linux, member), tmp_path)
    assert not (tmp_path / "escaped").exists() and not Path("/tmp/kpv-escaped").exists()
    assert not [p for p in (tmp_path / "cache/sources").iterdir() if p.is_dir()]


def test_links_within_the_tree_are_kept(tmp_path: Path, linux: Path) -> None:
    (linux / "mm/link").symlink_to("../kernel/main.c")
    _pack(tmp_path, linux)
    assert (_resolve("tar:linux.tar.xz", tmp_path).path / "mm/link").is_symlink()


def test_what_is_no_archive_is_told(tmp_path: Path, linux: Path) -> None:
    (tmp_path / "a.tar").write_text("no archive at all" * 100)
    with pytest.raises(SourceError, match="cannot read the archive"):
        _resolve("tar:a.tar", tmp_path)
    whole = _pack(tmp_path, linux).read_bytes()
    (tmp_path / "cut.tar.xz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match="cannot read the archive"):
        _resolve("tar:cut.tar.xz", tmp_path)
    with pytest.raises(SourceError, match="is not a file"):
        _resolve("tar:missing.tar", tmp_path)


def test_an_archive_of_something_else_is_no_kernel_tree(tmp_path: Path, linux: Path) -> None:
    _pack(tmp_path, linux / "mm")
    with pytest.raises(SourceError, match=r"not a kernel tree: its top Makefile does not exist"):
        _resolve("tar:linux.tar.xz", tmp_path)
    (linux / "Makefile").write_text("all:\n")
    with pytest.raises(SourceError, match="sets no VERSION"):
        _resolve("dir:linux", tmp_path)


def test_a_release_candidate_keeps_its_name(linux: Path) -> None:
    text = (linux / "Makefile").read_text().replace("EXTRAVERSION =", "EXTRAVERSION = -rc3")
    (linux / "Makefile").write_text(text)
    assert source.version_of(linux) == "6.12.99-rc3"


def test_a_full_disk_while_unpacking(tmp_path: Path, linux: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _pack(tmp_path, linux)
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "tar").write_text("#!/bin/sh\necho 'tar: x: Cannot write: No space left on device' >&2\nexit 2\n")
    (tools / "tar").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    with pytest.raises(DiskFull, match="MiB free"):
        _resolve("tar:linux.tar.xz", tmp_path)


def test_a_half_unpacked_tree_is_made_anew(tmp_path: Path, linux: Path) -> None:
    _pack(tmp_path, linux)
    tree = _resolve("tar:linux.tar.xz", tmp_path)
    home = tree.path.parent
    (home / "source.json").unlink()
    (tree.path / "mm/madvise.c").unlink()
    (home.parent / f".unpacking-{home.name}").mkdir()
    assert (_resolve("tar:linux.tar.xz", tmp_path).path / "mm/madvise.c").exists()


def test_an_interrupt_leaves_nothing(tmp_path: Path, linux: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _pack(tmp_path, linux)

    def interrupt(*a: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(source, "_refuse_escapes", interrupt)
    with pytest.raises(KeyboardInterrupt):
        _resolve("tar:linux.tar.xz", tmp_path)
    assert not [p for p in (tmp_path / "cache/sources").iterdir() if p.is_dir()]


# --- debian ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def debian(tmp_path: Path, linux: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "src"
    folder.mkdir()
    monkeypatch.setattr(debian_module, "SOURCES", folder)
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "dpkg-query").write_text('#!/bin/sh\n[ "$3" = linux-source-6.12 ] && printf 6.12.99-1 || exit 1\n')
    (tools / "dpkg-query").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    return folder


def test_a_debian_source_is_named_by_package_version_and_content(tmp_path: Path, linux: Path, debian: Path) -> None:
    archive = _pack(debian, linux, name="linux-source-6.12.tar.xz")
    tree = _resolve("debian:linux-source-6.12", tmp_path)
    assert tree.identity.startswith("debian:linux-source-6.12:6.12.99-1:") and "6.12.99-1" in tree.description
    os.utime(archive, (1, 1))
    assert _resolve("debian:linux-source-6.12", tmp_path).identity == tree.identity


def test_a_missing_debian_source_names_the_command(tmp_path: Path, debian: Path) -> None:
    with pytest.raises(InfraError) as caught:
        _resolve("debian:linux-source-6.12", tmp_path)
    assert caught.value.hint == "sudo apt-get install --no-install-recommends linux-source-6.12"


def test_the_digest_of_a_tarball_is_remembered(
    tmp_path: Path, linux: Path, debian: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _pack(debian, linux, name="linux-source-6.12.tar.xz")
    _resolve("debian:linux-source-6.12", tmp_path)
    monkeypatch.setattr("hashlib.file_digest", lambda *a: pytest.fail("hashed again"))
    _resolve("debian:linux-source-6.12", tmp_path)


FAKE_APT = """#!/bin/sh
# apt-get -c CONFIG -q COMMAND [PACKAGE]
echo "$@" >> {calls}
[ "$4" != download ] || [ "$5" != linux-source-7.2 ] || exec dpkg-deb --build {deb} . > /dev/null
[ "$4" = update ] || exit 100
"""


@pytest.fixture
def suite(tmp_path: Path, linux: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An apt-get that gives linux-source-7.2 of any suite; returns the file with its calls."""
    content = tmp_path / "deb"
    (content / "usr/src").mkdir(parents=True)
    (content / "DEBIAN").mkdir()
    (content / "DEBIAN/control").write_text(
        "Package: linux-source-7.2\nVersion: 7.2.1-1\nArchitecture: all\nMaintainer: t <t@t>\nDescription: t\n"
    )
    _pack(content / "usr/src", linux, name="linux-source-7.2.tar.xz")
    tools, calls = tmp_path / "bin", tmp_path / "calls"
    tools.mkdir()
    (tools / "apt-get").write_text(FAKE_APT.format(calls=calls, deb=content))
    (tools / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setattr(apt, "suite_sources", lambda name: f"Suites: {name}\n")
    return calls


def test_a_source_of_another_suite_is_fetched_once_and_not_installed(tmp_path: Path, suite: Path) -> None:
    tree = _resolve("debian:linux-source-7.2@sid", tmp_path)
    assert tree.identity.startswith("debian:linux-source-7.2:7.2.1-1:")
    calls = suite.read_text()
    assert _resolve("debian:linux-source-7.2@sid", tmp_path) == tree
    assert suite.read_text() == calls


def test_a_suite_without_the_package_is_told(tmp_path: Path, suite: Path) -> None:
    with pytest.raises(InfraError) as caught:
        _resolve("debian:linux-source-9.9@sid", tmp_path)
    assert "linux-source-9.9@sid" in caught.value.message
    assert "suite" in caught.value.hint
    assert "download linux-source-9.9" in caught.value.detail


@pytest.mark.parametrize("name", ["linux-source-7.2@", "linux-source-7.2@SID", "linux-source-7.2@sid;x", "vim@sid"])
def test_a_bad_name_of_a_package_or_suite_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match="@SUITE"):
        _resolve(f"debian:{name}", tmp_path)


# --- git ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def repo(linux: Path) -> Path:
    for argv in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "base"], ["tag", "v1"]):
        who = ["-c", "user.name=t", "-c", "user.email=t@t"]
        subprocess.run(["git", "-C", str(linux), *who, *argv], check=True, capture_output=True)
    return linux


def test_a_git_revision_is_the_commit_not_the_working_tree(tmp_path: Path, repo: Path) -> None:
    (repo / "mm/madvise.c").write_text("dirty")
    tree = _resolve("git:linux@v1", tmp_path)
    commit = subprocess.run(["git", "-C", str(repo), "rev-parse", "v1"], capture_output=True, text=True).stdout.strip()
    assert tree.identity == f"git:{commit}"
    assert "dirty" not in (tree.path / "mm/madvise.c").read_text()
    assert not (tree.path / ".git").exists() and _resolve("git:linux@HEAD", tmp_path).path == tree.path


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("git:linux", "no revision given"),
        ("git:nowhere@v1", "is not a folder"),
        ("git:linux@v99", "has no revision 'v99'"),
        ("git:linux@--all", "has no revision"),
        ("git:plain@v1", "not a usable git tree"),
    ],
)
def test_a_wrong_git_spec_is_told(tmp_path: Path, repo: Path, spec: str, told: str) -> None:
    (tmp_path / "plain").mkdir()
    with pytest.raises(SourceError, match=told):
        _resolve(spec, tmp_path)


def test_a_git_tree_without_a_makefile_is_no_kernel(tmp_path: Path, repo: Path) -> None:
    who = ["-c", "user.name=t", "-c", "user.email=t@t"]
    subprocess.run(["git", "-C", str(repo), "rm", "-q", "Makefile"], check=True)
    subprocess.run(["git", "-C", str(repo), *who, "commit", "-q", "-m", "x"], check=True)
    with pytest.raises(SourceError, match="revision HEAD has no Makefile"):
        _resolve("git:linux@HEAD", tmp_path)


# --- dir ------------------------------------------------------------------------------------------------------------


def test_a_folder_is_copied_without_git_and_objects(tmp_path: Path, repo: Path) -> None:
    (repo / "mm/madvise.o").write_text("object")
    (repo / ".gitignore").write_text("*.o\n")
    (repo / "mm/untracked.c").write_text("int x;\n")
    tree = _resolve("dir:linux", tmp_path)
    assert not (tree.path / ".git").exists() and not (tree.path / "mm/madvise.o").exists()
    assert (tree.path / "mm/untracked.c").exists()


def test_a_folder_that_changes_is_another_source(tmp_path: Path, linux: Path) -> None:
    first = _resolve("dir:linux", tmp_path)
    assert _resolve("dir:linux", tmp_path).identity == first.identity
    (linux / "mm/util.c").write_text("int changed;\n")
    second = _resolve("dir:linux", tmp_path)
    assert second.identity != first.identity and (second.path / "mm/util.c").read_text() == "int changed;\n"
    assert (first.path / "mm/util.c").read_text() != "int changed;\n"


def test_a_folder_built_in_place_is_cleaned_in_the_copy_only(tmp_path: Path, linux: Path) -> None:
    (linux / ".config").write_text("CONFIG_X=y\n")
    (linux / "include/generated").mkdir()
    (linux / "include/generated/x.h").write_text("")
    (linux / "out").mkdir()
    (linux / "out/source").symlink_to("..")
    (linux / "out/vmlinux").write_text("x")
    tree = _resolve("dir:linux", tmp_path)
    assert not (tree.path / ".config").exists() and not (tree.path / "include/generated").exists()
    assert not (tree.path / "out").exists()
    assert (linux / ".config").exists() and (linux / "include/generated/x.h").exists()


def test_a_folder_that_changes_while_it_is_copied_is_told(
    tmp_path: Path, linux: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shutil.copy2

    def copy(a: Path, b: Path, **k: bool) -> object:
        (linux / "mm/util.c").write_text(f"int changed; // {a}")
        return real(a, b, **k)

    monkeypatch.setattr(shutil, "copy2", copy)
    with pytest.raises(SourceError, match="changed while it was copied"):
        _resolve("dir:linux", tmp_path)


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is not a folder"):
        _resolve("dir:nowhere", tmp_path)
