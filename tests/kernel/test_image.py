"""Facts of a vmlinux, and which functions a probe can find; and the toolchain."""

import hashlib
import importlib.util
import os
from pathlib import Path

import pytest

from pipeline.errors import InfraError
from pipeline.kernel import image, toolchain
from tests.kernel.conftest import FAKE

_SPEC = importlib.util.spec_from_file_location("mkelf", FAKE / "tree/scripts/mkelf.py")
assert _SPEC is not None and _SPEC.loader is not None
mkelf = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(mkelf)

FUNCTIONS = [
    "madvise_free",
    "twice",
    "twice",
    "split.isra.0",
    "walk.constprop.3",
    "cold",
    "cold.cold",
    "gone.cold",
    "p.part.0.isra.2",
]


@pytest.fixture
def vmlinux(tmp_path: Path) -> Path:
    path = tmp_path / "vmlinux"
    path.write_bytes(mkelf.elf(FUNCTIONS, b"content"))
    return path


def test_build_id_and_banner(vmlinux: Path) -> None:
    facts = image.read(vmlinux)
    assert facts.build_id == hashlib.sha1(b"content").hexdigest()
    assert facts.banner == "Linux version 6.12.99 (kpv@kpv) #1"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("madvise_free", ""),
        ("cold", ""),
        ("twice", "2 functions of this kernel are called twice"),
        ("split", "split exists only as split.isra.0"),
        ("walk", "walk exists only as walk.constprop.3"),
        ("p", "p exists only as p.part.0.isra.2"),
        ("gone", "this kernel has no function gone"),
        ("linux_banner", "this kernel has no function linux_banner"),
        ("split.isra.0", ""),
    ],
)
def test_where_a_probe_can_go(vmlinux: Path, name: str, reason: str) -> None:
    found = image.read(vmlinux).symbols.why_no_probe(name)
    assert found.startswith(reason) and (found == "") == (reason == "")


def test_a_file_that_changed_is_read_again(vmlinux: Path) -> None:
    before = image.read(vmlinux).build_id
    vmlinux.write_bytes(mkelf.elf(["x"] * 40, b"other"))
    assert image.read(vmlinux).build_id != before


def test_what_is_no_arm64_vmlinux_is_told(tmp_path: Path, vmlinux: Path) -> None:
    (tmp_path / "text").write_text("no ELF here, only words")
    with pytest.raises(image.ImageError, match="not an ELF file"):
        image.read(tmp_path / "text")
    data = bytearray(vmlinux.read_bytes())
    data[18] = 62
    (tmp_path / "x86").write_bytes(data)
    with pytest.raises(image.ImageError, match="arm64 ELF file, found EM_X86_64"):
        image.read(tmp_path / "x86")
    (tmp_path / "noid").write_bytes(vmlinux.read_bytes().replace(b"GNU\0", b"XXX\0"))
    with pytest.raises(image.ImageError, match="no build-id"):
        image.read(tmp_path / "noid")


# --- toolchain ------------------------------------------------------------------------------------------------------


def test_the_cross_compiler_of_a_pc(tools: None) -> None:
    found = toolchain.find()
    assert found.prefix == "aarch64-linux-gnu-" and found.compiler == "aarch64-linux-gnu-gcc (Fake) 1.0"
    assert "CC=ccache aarch64-linux-gnu-gcc" in found.make_args and "ARCH=arm64" in found.make_args
    assert set(found.identity()) == {"compiler", "linker", "host compiler"}


def test_the_native_compiler_of_an_arm64_host(tools: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    (tmp_path / "ld").write_text("#!/bin/sh\necho ld 2\n")
    (tmp_path / "ld").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    found = toolchain.find()
    assert found.prefix == "" and "CC=ccache gcc" in found.make_args and found.linker == "ld 2"


def test_missing_programs_are_told_together_with_their_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(toolchain.MissingTool) as caught:
        toolchain.find()
    assert isinstance(caught.value, InfraError)
    for package in ("gcc-aarch64-linux-gnu", "binutils-aarch64-linux-gnu", "flex", "bison", "bc", "ccache", "make"):
        assert package in caught.value.packages and package in caught.value.hint
    assert "aarch64-linux-gnu-gcc" in caught.value.message
