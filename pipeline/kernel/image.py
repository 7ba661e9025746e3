"""Facts read from a built vmlinux: build-id, banner, and which functions a probe can find."""

import dataclasses
import functools
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import NoteSection

from pipeline.errors import InfraError

#: Elf64_Sym (ELF-64 Object File Format, section 3).
_SYM = np.dtype([("name", "<u4"), ("info", "u1"), ("other", "u1"), ("shndx", "<u2"), ("value", "<u8"), ("size", "<u8")])
_STT_FUNC = 2
_SHN_UNDEF = 0
#: What GCC appends to the name of a copy or a part of a function (-fipa-cp, -fipa-sra, -freorder-blocks).
_SUFFIX = re.compile(r"\.(?:constprop|isra|part|cold|lto_priv)\.?\d*.*$")


class ImageError(InfraError):
    """Not a vmlinux that kpv can read."""


@dataclasses.dataclass(frozen=True)
class Symbols:
    """Functions of a kernel: ``functions`` counts definitions of a name; ``variants``: base name -> GCC's copies."""

    functions: Mapping[str, int]
    variants: Mapping[str, tuple[str, ...]]

    def why_no_probe(self, name: str) -> str:
        """ "" if a kprobe on ``name`` has exactly one place to go, else the reason, in one line.

        register_kprobe() takes a symbol's exact name, and since 6.6 refuses
        one that several functions have (commit b022f0c7e404).
        """
        count = self.functions.get(name, 0)
        if count == 1:
            return ""
        if count > 1:
            return f"{count} functions of this kernel are called {name}"
        copies = [each for each in self.variants.get(name, ()) if ".cold" not in each]
        if copies:
            return f"{name} exists only as {', '.join(copies)}: GCC changed its arguments"
        return f"this kernel has no function {name}: absent, renamed, or inlined everywhere"


@dataclasses.dataclass(frozen=True)
class ImageFacts:
    """``build_id``: hex of the GNU build-id note. ``banner``: the kernel's linux_banner, without the newline."""

    build_id: str
    banner: str
    symbols: Symbols


def read(vmlinux: Path) -> ImageFacts:
    """The facts of a vmlinux, remembered per file. Raises ImageError where it is none."""
    info = vmlinux.stat()
    return _read(vmlinux, info.st_size, info.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _read(vmlinux: Path, size: int, mtime_ns: int) -> ImageFacts:
    try:
        with vmlinux.open("rb") as data:
            elf = ELFFile(data)
            if elf.elfclass != 64 or not elf.little_endian or elf["e_machine"] != "EM_AARCH64":
                raise ImageError(f"{vmlinux}: expected a 64-bit little-endian arm64 ELF file, found {elf['e_machine']}")
            names, table = _table(elf, vmlinux)
            return ImageFacts(_build_id(elf, vmlinux), _banner(elf, names, table), _symbols(names, table))
    except ELFError as err:
        raise ImageError(
            f"{vmlinux}: not an ELF file: {err}", hint="build the kernel again: kpv clean, then rerun"
        ) from err


def _build_id(elf: ELFFile, vmlinux: Path) -> str:
    for section in elf.iter_sections():
        if isinstance(section, NoteSection):
            for note in section.iter_notes():
                if note["n_type"] == "NT_GNU_BUILD_ID" and note["n_name"] == "GNU":
                    return str(note["n_desc"])
    raise ImageError(f"{vmlinux}: has no build-id note", hint="the linker must support --build-id")


def _table(elf: ELFFile, vmlinux: Path) -> tuple[bytes, np.ndarray]:
    section = elf.get_section_by_name(".symtab")
    if section is None:
        raise ImageError(
            f"{vmlinux}: has no symbol table", hint="use the vmlinux that the build made, not a stripped one"
        )
    return elf.get_section(section["sh_link"]).data(), np.frombuffer(section.data(), dtype=_SYM)


def _name(names: bytes, at: int) -> str:
    return names[at : names.index(b"\0", at)].decode(errors="replace")


def _symbols(names: bytes, table: np.ndarray) -> Symbols:
    functions: dict[str, int] = {}
    variants: dict[str, list[str]] = {}
    for at in table["name"][((table["info"] & 15) == _STT_FUNC) & (table["shndx"] != _SHN_UNDEF)].tolist():
        name = _name(names, at)
        functions[name] = functions.get(name, 0) + 1
        base = _SUFFIX.sub("", name)
        if base != name:
            variants.setdefault(base, []).append(name)
    return Symbols(functions, {base: tuple(sorted(set(found))) for base, found in variants.items()})


def _banner(elf: ELFFile, names: bytes, table: np.ndarray) -> str:
    at = names.find(b"\0linux_banner\0") + 1
    hits = table[table["name"] == at] if at else table[:0]
    if len(hits) == 0:
        return ""
    value, section = int(hits[0]["value"]), elf.get_section(int(hits[0]["shndx"]))
    start = value - section["sh_addr"]
    return str(section.data()[start : start + 1024].split(b"\0")[0].decode(errors="replace").strip())
