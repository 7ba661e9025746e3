"""Plugins are compiled once for sources, compiler and QEMU, and QEMU is told of them in its own quoting."""

import shutil
from pathlib import Path

import pytest

from pipeline import resources
from pipeline.guest import plugins
from pipeline.guest.plugins import Plugin, PluginError
from pipeline.store import Store

GCC, QEMU = "gcc (Debian 12.2.0-14) 12.2.0", "QEMU emulator version 10.0.2"


@pytest.fixture
def sources(tmp_path) -> Path:
    """A copy of the plugins' folder that a test may change."""
    shutil.copytree(resources.folder("qemu"), tmp_path / "qemu")
    shutil.copytree(resources.folder("guest-tests"), tmp_path / "guest-tests")
    return tmp_path / "qemu"


@pytest.fixture
def compiled(sources, tmp_path):
    def do(*names: str, compiler: str = GCC, qemu: str = QEMU) -> dict[str, Plugin]:
        store = Store(tmp_path / "store")
        marks = sources.parent / "guest-tests"
        return plugins.compile_all(names, sources=sources, marks=marks, compiler=compiler, qemu=qemu, store=store)

    return do


def test_the_shipped_plugin_compiles_without_a_warning(compiled, sources):
    makefile = sources / "Makefile"
    makefile.write_text(makefile.read_text().replace("-Wall", "-Wall -Werror"))
    assert compiled("checkpoint")["checkpoint"].path.read_bytes().startswith(b"\x7fELF")


def test_it_is_made_again_for_another_source_header_compiler_or_qemu(compiled, sources):
    first = compiled("checkpoint")["checkpoint"].key
    assert compiled("checkpoint")["checkpoint"].key == first
    keys = {first, compiled("checkpoint", compiler="gcc 14")["checkpoint"].key}
    keys.add(compiled("checkpoint", qemu="QEMU 11")["checkpoint"].key)
    for path in (
        sources / "checkpoint" / "tables.c",
        sources / "include" / "kpv-plugin.h",
        sources.parent / "guest-tests" / "kpv_mark.h",
    ):
        path.write_text(path.read_text() + "\n/* changed */\n")
        keys.add(compiled("checkpoint")["checkpoint"].key)
    assert len(keys) == 6


def test_a_plugin_that_does_not_compile_is_told_in_the_compilers_words(compiled, sources):
    (sources / "checkpoint" / "tables.c").write_text("int broken = nothing;\n")
    with pytest.raises(PluginError, match=r"checkpoint does not compile: .*tables\.c.*nothing") as told:
        compiled("checkpoint")
    assert told.value.hint.startswith("run: make ")


def test_a_plugin_that_does_not_exist_is_told(compiled):
    with pytest.raises(PluginError, match="no plugin absent"):
        compiled("checkpoint", "absent")


def test_qemus_words():
    plugin = Plugin("checkpoint", Path("/a,b/c.so"), "0" * 64, {"mode": "x,y"})
    words = plugin.argument(ram=Path("/dev/shm/ram"), memory=1 << 30, folder=Path("/runs/1,2"))
    assert words == (
        "-plugin",
        "/a,,b/c.so,ram=/dev/shm/ram,size=1073741824,out=/runs/1,,2/checkpoint.bin,mode=x,,y",
    )


def test_what_a_cell_depends_on_names_the_plugin_its_making_and_its_options():
    plain, other = (Plugin("tlb", Path("tlb.so"), "abc", options) for options in ({}, {"ways": "4"}))
    assert plain.identity == "plugin tlb abc" and other.identity == "plugin tlb abc ways=4"
