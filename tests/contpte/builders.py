"""Builds translation tables in a byte array by the architecture's figures, without the code under test."""

import struct
from dataclasses import dataclass, field

#: By granule: log2 of what an entry of each level maps (level 0 to 3), and entries of a contiguous block by level.
SHIFTS = {"4k": (39, 30, 21, 12), "16k": (47, 36, 25, 14), "64k": (None, 42, 29, 16)}
BLOCK = {"4k": {1: 16, 2: 16, 3: 16}, "16k": {2: 32, 3: 128}, "64k": {2: 32, 3: 32}}
TOP = {"4k": 0, "16k": 0, "64k": 1}
TG0 = {"4k": 0, "64k": 1, "16k": 2}
GRANULES = tuple(SHIFTS)

BASE = 0x4000_0000
A1, AS, HA, HD = 1 << 22, 1 << 36, 1 << 39, 1 << 40

#: A page as Linux 6.12 maps anonymous memory that was written: user, inner shareable, nG, never executed, dirty.
VALID, TABLE = 1, 2
READ_ONLY, AF, NG, DBM, CONT = 1 << 7, 1 << 10, 1 << 11, 1 << 51, 1 << 52
SW_DIRTY = 1 << 55
PAGE = VALID | TABLE | 1 << 6 | 3 << 8 | AF | NG | DBM | 1 << 53 | 1 << 54 | SW_DIRTY


def tcr(granule: str, *, va_bits: int = 48, hardware: bool = True) -> int:
    return (64 - va_bits) | TG0[granule] << 14 | 5 << 32 | A1 | AS | (HA | HD if hardware else 0)


@dataclass
class Tables:
    """Physical memory from BASE on, with a first table for 48-bit addresses at its start."""

    granule: str
    memory: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        self.root = self._new()

    @property
    def page(self) -> int:
        return 1 << SHIFTS[self.granule][3]

    def _new(self) -> int:
        at = BASE + len(self.memory)
        self.memory += bytes(self.page)
        return at

    def word(self, address: int) -> int:
        return struct.unpack_from("<Q", self.memory, address - BASE)[0]

    def put(self, address: int, value: int) -> None:
        struct.pack_into("<Q", self.memory, address - BASE, value)

    def slot(self, va: int, level: int = 3) -> int:
        """Physical address of the entry of ``va`` at a level; tables on the way are made."""
        table, shifts = self.root, SHIFTS[self.granule]
        for here in range(TOP[self.granule], level + 1):
            bits = 48 - shifts[here] if here == TOP[self.granule] else shifts[here - 1] - shifts[here]
            entry = table + 8 * (va >> shifts[here] & ((1 << bits) - 1))
            if here == level:
                return entry
            if not self.word(entry) & VALID:
                self.put(entry, self._new() | VALID | TABLE)
            table = self.word(entry) & 0xFFFF_FFFF_F000
        raise AssertionError

    def map(self, va: int, value: int, level: int = 3) -> None:
        self.put(self.slot(va, level), value)

    def map_block(self, va: int, pa: int, attributes: int = PAGE | CONT, level: int = 3) -> None:
        """A whole contiguous block."""
        size = 1 << SHIFTS[self.granule][level]
        for i in range(BLOCK[self.granule][level]):
            self.map(va + i * size, pa + i * size | attributes, level)
