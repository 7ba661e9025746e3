import gzip
import shutil
import stat
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.guest import cpio

NAMES = st.lists(st.from_regex(r"[a-z]{1,6}(/[a-z]{1,6}){0,2}", fullmatch=True), unique=True, max_size=8)


def entries() -> list[cpio.Entry]:
    return [
        cpio.file("bin/busybox", b"\x7fELF" * 3, mode=0o755),
        cpio.link("bin/sh", "busybox"),
        cpio.device("dev/console", 5, 1),
        cpio.folder("root", mode=0o700),
    ]


def test_the_same_files_in_any_order_give_the_same_bytes():
    assert cpio.archive(entries()) == cpio.archive(reversed(entries()))
    assert cpio.compressed(cpio.archive(entries())) == cpio.compressed(cpio.archive(entries()))


def test_what_is_written_is_read_back_with_parents_added():
    found = {entry.name: entry for entry in cpio.read(cpio.archive(entries()))}
    assert list(found) == sorted(found)
    assert found["bin/busybox"].data == b"\x7fELF" * 3
    assert stat.S_IMODE(found["root"].mode) == 0o700
    assert stat.S_ISDIR(found["bin"].mode) and stat.S_ISDIR(found["dev"].mode)
    assert stat.S_ISCHR(found["dev/console"].mode) and found["dev/console"].rdev == (5, 1)
    assert found["bin/sh"].data == b"busybox" and stat.S_ISLNK(found["bin/sh"].mode)


@pytest.mark.skipif(shutil.which("cpio") is None, reason="no cpio on this host to compare with")
def test_cpio_reads_it_too():
    listed = subprocess.run(
        ["cpio", "--list", "--verbose", "--numeric-uid-gid"],
        input=cpio.archive(entries()),
        capture_output=True,
        check=True,
    ).stdout.decode()
    assert "bin/sh -> busybox" in listed
    console = next(line for line in listed.splitlines() if line.endswith("dev/console"))
    assert console.startswith("crw-------") and "5,   1" in console
    assert "1970" in console and " 0        0 " in console


@given(NAMES, st.binary(max_size=9))
def test_any_files_come_back_and_the_archive_is_aligned(names, data):
    wanted = [name for name in names if not any(other.startswith(f"{name}/") for other in names)]
    archive = cpio.archive(cpio.file(name, data) for name in wanted)
    assert len(archive) % 4 == 0
    files = {entry.name: entry.data for entry in cpio.read(archive) if stat.S_ISREG(entry.mode)}
    assert files == dict.fromkeys(wanted, data)


@pytest.mark.parametrize("name", ["/etc/passwd", "a/../b", "a//b", "TRAILER!!!"])
def test_names_that_would_land_elsewhere_are_refused(name):
    with pytest.raises(ValueError, match="not a relative"):
        cpio.archive([cpio.file(name, b"")])


def test_two_files_of_one_name_are_refused():
    with pytest.raises(ValueError, match="twice"):
        cpio.archive([cpio.file("a", b"1"), cpio.file("a", b"2")])


def test_bytes_that_are_no_archive_are_refused():
    with pytest.raises(ValueError, match="no newc header at byte 0"):
        list(cpio.read(b"070707 other"))


def test_gzip_has_no_date():
    assert gzip.decompress(cpio.compressed(b"x")) == b"x"
    assert cpio.compressed(b"x")[4:8] == b"\0\0\0\0"
