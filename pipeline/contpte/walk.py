"""Walks stage 1 tables in any memory that can be read: a RAM file, a dump, an array, or a plugin's records."""

import mmap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from numpy.typing import NDArray

from pipeline.contpte.descriptor import LAST, TABLE, VALID
from pipeline.contpte.regime import Regime, Unsupported
from pipeline.errors import InfraError

#: Descriptors, one uint64 an entry, in the host's order.
Entries = NDArray[np.uint64]
_LITTLE = np.dtype("<u8")
#: Bits 51:48 of an output address with 64K pages (Arm ARM, FEAT_LPA).
_HIGH_64K = 0xF << 12


class MemoryHole(InfraError):
    """Physical memory that is not there was read."""

    def __init__(self, address: int, count: int) -> None:
        super().__init__(f"no memory of {count} table entries at physical address {address:#x}")
        self.address = address


class Memory(Protocol):
    """Physical memory that holds tables. ``address`` is a multiple of 8. Both raise MemoryHole."""

    def entry(self, address: int) -> int:
        """One entry."""
        ...

    def entries(self, address: int, count: int) -> Entries:
        """``count`` entries that follow each other; may be a view of memory that changes."""
        ...


class Flat:
    """Memory in one piece: a buffer that begins at the physical address ``base``."""

    def __init__(self, data: bytes | bytearray | memoryview | mmap.mmap, *, base: int) -> None:
        self._base = base
        self._all = np.frombuffer(data, dtype=_LITTLE, count=len(data) // 8)

    def entry(self, address: int) -> int:
        return int(self.entries(address, 1)[0])

    def entries(self, address: int, count: int) -> Entries:
        at, odd = divmod(address - self._base, 8)
        if odd or at < 0 or at + count > len(self._all):
            raise MemoryHole(address, count)
        return self._all[at : at + count]


def ram_file(path: Path, *, base: int) -> Flat:
    """A guest's RAM that QEMU shares as a file, while the guest stands still. Raises InfraError."""
    try:
        with path.open("rb") as file:
            return Flat(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), base=base)
    except (OSError, ValueError) as err:
        raise InfraError(f"{path}: cannot map the guest's RAM: {err}") from err


class Pieces:
    """Memory of which only some pieces are known, e.g. those that a plugin recorded."""

    def __init__(self, pieces: Iterable[tuple[int, Entries]]) -> None:
        self._pieces = sorted(pieces, key=lambda piece: piece[0])

    def entry(self, address: int) -> int:
        return int(self.entries(address, 1)[0])

    def entries(self, address: int, count: int) -> Entries:
        for start, values in self._pieces:
            at, odd = divmod(address - start, 8)
            if not odd and at >= 0 and at + count <= len(values):
                return values[at : at + count]
        raise MemoryHole(address, count)


def dump(path: Path) -> Pieces:
    """The memory of an ELF dump, as ``dump-guest-memory`` writes it. Raises InfraError."""
    try:
        with path.open("rb") as file:
            whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            segments = [s for s in ELFFile(file).iter_segments("PT_LOAD") if s["p_filesz"]]
            pieces = [
                (s["p_paddr"], np.frombuffer(whole, dtype=_LITTLE, count=s["p_filesz"] // 8, offset=s["p_offset"]))
                for s in segments
            ]
    except (OSError, ValueError, ELFError) as err:
        raise InfraError(f"{path}: not an ELF dump of a guest's memory: {err}") from err
    if not pieces:
        raise InfraError(f"{path}: the ELF file holds no memory (PT_LOAD)")
    return Pieces(pieces)


@dataclass(frozen=True)
class Span:
    """Entries of one table that follow each other.

    ``va``: what the first one maps. A span consists of whole contiguous blocks
    of its level, so it may reach out of the range that was asked for, and above
    level 3 some of it may be table descriptors.
    """

    va: int
    level: int
    entries: Entries


def walk(memory: Memory, regime: Regime, start: int, end: int) -> Iterator[Span]:
    """What translates [start, end): every entry of level 3, and of the levels above what is no table there.

    A table's span comes before those below it. Raises MemoryHole for a table
    that is not in memory, Unsupported for one at a 52-bit address, ValueError
    for a range that TTBR0 does not cover.
    """
    if not 0 <= start < end <= 1 << regime.va_bits:
        raise ValueError(f"[{start:#x}, {end:#x}) is no range of {regime.va_bits}-bit addresses")
    block = regime.granule.block
    yield from _table(memory, regime, regime.root, regime.top, start // block * block, -(-end // block) * block)


def _table(memory: Memory, regime: Regime, table: int, level: int, start: int, end: int) -> Iterator[Span]:
    """One table, of which [start, end) is wanted; the table maps all of it."""
    granule, count = regime.granule, regime.entries(level)
    shift, group = granule.shift(level), min(granule.contiguous[level], count)
    first, last = start >> shift & (count - 1), (end - 1) >> shift & (count - 1)
    low, high = first // group * group, (last // group + 1) * group
    va = (start >> shift) - (first - low) << shift
    entries = memory.entries(table + low * 8, high - low)
    if level == LAST:
        yield Span(va, level, entries)
        return
    wanted = entries[first - low : last - low + 1]
    tables = np.flatnonzero((wanted & np.uint64(VALID | TABLE)) == np.uint64(VALID | TABLE))
    if len(tables) < len(wanted):
        yield Span(va, level, entries)
    for at in tables.tolist():
        here, desc = (start >> shift) + at << shift, int(wanted[at])
        if granule.page_shift == 16 and desc & _HIGH_64K:
            raise Unsupported(f"level {level} descriptor {desc:#x} names a table at a 52-bit physical address")
        below = desc & granule.address_mask(LAST)
        yield from _table(memory, regime, below, level + 1, max(start, here), min(end, here + (1 << shift)))
