"""Descriptors of stage 1 translation tables: the architecture's fields and Linux's own.

Fields are those of VMSAv8-64 (Arm ARM DDI 0487, "Translation table descriptor
formats") with 48-bit addresses; Linux's are those of 6.12,
arch/arm64/include/asm/pgtable-prot.h and pgtable.h.
"""

from dataclasses import dataclass
from enum import StrEnum

VALID = 1 << 0
#: With VALID: a table above level 3, a page at level 3. Without it above level 3: a block.
TABLE = 1 << 1
ATTR_INDEX = 7 << 2  # AttrIndx[2:0], the memory type by MAIR_EL1
NS = 1 << 5
USER = 1 << 6  # AP[1]: EL0 may access
READ_ONLY = 1 << 7  # AP[2]
SHAREABILITY = 3 << 8  # SH[1:0]
AF = 1 << 10  # access flag
NG = 1 << 11  # not global: tagged by ASID
NT = 1 << 16  # block translation entry (FEAT_BBM level 1), level 1 and 2 only
GP = 1 << 50  # guarded page (FEAT_BTI)
DBM = 1 << 51  # dirty bit modifier (FEAT_HAFDBS)
CONTIGUOUS = 1 << 52
PXN = 1 << 53
UXN = 1 << 54
#: Ignored by hardware, Linux's own (PTE_DIRTY, PTE_SPECIAL, PTE_DEVMAP, PTE_UFFD_WP).
SW_DIRTY = 1 << 55
SW_SPECIAL = 1 << 56
SW_DEVMAP = 1 << 57
SW_UFFD_WP = 1 << 58
#: PBHA[62:59], or POIndex[62:60] with FEAT_S1POE.
UPPER = 0xF << 59

#: Linux has no bit of its own for "may be written": it takes DBM (PTE_WRITE), also where no hardware looks at it.
LINUX_WRITE = DBM
#: Without VALID: laid out like a valid descriptor, but any access faults (PROT_NONE). It is the nG bit.
PRESENT_INVALID = NG
#: Swap entries: PTE_SWP_EXCLUSIVE, PTE_SWP_UFFD_WP, and "Encode and decode a swap entry" in pgtable.h.
SWP_EXCLUSIVE = 1 << 2
SWP_UFFD_WP = 1 << 3
SWP_TYPE_SHIFT, SWP_TYPE_BITS = 6, 5
SWP_OFFSET_SHIFT, SWP_OFFSET_BITS = 12, 50

LEVELS = 4
LAST = LEVELS - 1
ADDRESS_BITS = 48


@dataclass(frozen=True)
class Granule:
    """A translation granule. ``contiguous``: entries of a contiguous block, by level; 1 where there are none.

    Numbers of entries: Arm ARM, "The Contiguous bit" (also KVM's
    contiguous_bit_shift() in arch/arm64/include/asm/kvm_nested.h, and
    CONT_PTE_SHIFT, CONT_PMD_SHIFT in arch/arm64/Kconfig).
    """

    name: str
    page_shift: int
    contiguous: tuple[int, int, int, int]

    @property
    def page(self) -> int:
        """Bytes of a page."""
        return 1 << self.page_shift

    @property
    def stride(self) -> int:
        """Bits of the virtual address that one level resolves."""
        return self.page_shift - 3

    @property
    def block(self) -> int:
        """Bytes of a contiguous block of pages."""
        return self.contiguous[LAST] << self.page_shift

    def shift(self, level: int) -> int:
        """log2 of the bytes that one entry of a level maps."""
        return self.page_shift + (LAST - level) * self.stride

    def maps(self, level: int) -> int:
        """Bytes that one entry of a level maps."""
        return 1 << self.shift(level)

    def has_blocks(self, level: int) -> bool:
        """Whether a level may hold block descriptors, with 48-bit addresses ("Block descriptor formats")."""
        return level in ((1, 2) if self.page_shift == 12 else (2,))

    def address_mask(self, level: int) -> int:
        """The bits of the output address in a leaf of a level; those of a next table's are a page's."""
        return max(0, (1 << ADDRESS_BITS) - (1 << self.shift(level)))


GRANULES = {
    granule.name: granule
    for granule in (
        Granule("4k", 12, (1, 16, 16, 16)),
        Granule("16k", 14, (1, 1, 32, 128)),
        Granule("64k", 16, (1, 1, 32, 32)),
    )
}


class Kind(StrEnum):
    """What an entry is, to hardware and to Linux."""

    NONE = "none"  # zero
    PAGE = "page"
    BLOCK = "block"
    TABLE = "table"
    PROT_NONE = "prot-none"  # invalid to hardware, present to Linux (PTE_PRESENT_INVALID)
    SWAP = "swap"  # any other that is not valid: swapped out, under migration, a marker
    RESERVED = "reserved"  # valid, of a type that the level does not have


@dataclass(frozen=True)
class Descriptor:
    """One entry of a table, decoded. ``value``: its 64 bits."""

    value: int
    level: int
    granule: Granule

    @property
    def kind(self) -> Kind:
        if self.value & VALID:
            if self.level == LAST:
                return Kind.PAGE if self.value & TABLE else Kind.RESERVED
            if self.value & TABLE:
                return Kind.TABLE
            return Kind.BLOCK if self.granule.has_blocks(self.level) else Kind.RESERVED
        if not self.value:
            return Kind.NONE
        return Kind.PROT_NONE if self.value & PRESENT_INVALID else Kind.SWAP

    @property
    def leaf(self) -> bool:
        """Whether hardware translates by it."""
        return self.kind in (Kind.PAGE, Kind.BLOCK)

    @property
    def address(self) -> int:
        """Physical address of what it maps, or of the next table."""
        level = LAST if self.kind == Kind.TABLE else self.level
        return self.value & self.granule.address_mask(level)

    @property
    def pfn(self) -> int:
        """Page frame number, as in /proc/PID/pagemap."""
        return self.address >> self.granule.page_shift

    @property
    def attr_index(self) -> int:
        return self.value >> 2 & 7

    @property
    def shareability(self) -> str:
        return ("non", "reserved", "outer", "inner")[self.value >> 8 & 3]

    @property
    def hw_dirty(self) -> bool:
        """Linux's pte_hw_dirty(): may be written, and hardware need not make it so first."""
        return bool(self.value & LINUX_WRITE) and not self.value & READ_ONLY

    @property
    def dirty(self) -> bool:
        """Linux's pte_dirty(), of this entry alone."""
        return self.hw_dirty or bool(self.value & SW_DIRTY)

    @property
    def swap_type(self) -> int:
        return self.value >> SWP_TYPE_SHIFT & ((1 << SWP_TYPE_BITS) - 1)

    @property
    def swap_offset(self) -> int:
        return self.value >> SWP_OFFSET_SHIFT & ((1 << SWP_OFFSET_BITS) - 1)

    @property
    def flags(self) -> tuple[str, ...]:
        """Names of what is set, in the order of the bits; those of a swap entry are its own."""
        kind = self.kind
        if kind in (Kind.NONE, Kind.RESERVED):
            return ()
        names = _SWAP_FLAGS if kind == Kind.SWAP else _TABLE_FLAGS if kind == Kind.TABLE else _LEAF_FLAGS
        flags = [name for bit, name in names if self.value & bit]
        if kind == Kind.PROT_NONE:
            flags.remove("nG")
        return tuple(flags)

    def __str__(self) -> str:
        """For a person: ``page 0x48180000 user AF nG DBM cont PXN UXN sw-dirty attr 0 inner``."""
        kind = self.kind
        if kind == Kind.NONE:
            return "none"
        if kind == Kind.RESERVED:
            return f"reserved {self.value:#018x}"
        if kind == Kind.SWAP:
            return " ".join((f"swap type {self.swap_type} offset {self.swap_offset:#x}", *self.flags))
        words = (f"{kind} {self.address:#x}", *self.flags)
        return " ".join(words if kind == Kind.TABLE else (*words, f"attr {self.attr_index}", self.shareability))


_LEAF_FLAGS = (
    (NS, "NS"),
    (USER, "user"),
    (READ_ONLY, "read-only"),
    (AF, "AF"),
    (NG, "nG"),
    (GP, "GP"),
    (DBM, "DBM"),
    (CONTIGUOUS, "cont"),
    (PXN, "PXN"),
    (UXN, "UXN"),
    (SW_DIRTY, "sw-dirty"),
    (SW_SPECIAL, "special"),
    (SW_DEVMAP, "devmap"),
    (SW_UFFD_WP, "uffd-wp"),
)
#: PXNTable, UXNTable (XNTable), APTable[0] and [1], NSTable.
_TABLE_FLAGS = (
    (1 << 59, "PXNTable"),
    (1 << 60, "UXNTable"),
    (1 << 61, "APTable0"),
    (1 << 62, "APTable1"),
    (1 << 63, "NSTable"),
)
_SWAP_FLAGS = ((SWP_EXCLUSIVE, "exclusive"), (SWP_UFFD_WP, "uffd-wp"))
