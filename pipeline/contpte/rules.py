"""What must hold of the entries of a table, as rules that name their source.

Two kinds of walker are covered. One caches a contiguous block as a single TLB
entry, made from any entry of the block: the block's entries must agree. The
other evaluates each entry alone, and where no hardware updates the access flag
and the dirty state, an entry that was left behind faults for ever while the
block as Linux gathers it (contpte_ptep_get()) needs nothing.

Everything is vectorised over uint64 arrays; findings are made one by one only
where something is wrong.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.contpte.descriptor import (
    AF,
    ATTR_INDEX,
    CONTIGUOUS,
    DBM,
    GP,
    LAST,
    LINUX_WRITE,
    NG,
    NS,
    NT,
    PRESENT_INVALID,
    PXN,
    READ_ONLY,
    SHAREABILITY,
    SW_DEVMAP,
    SW_DIRTY,
    SW_SPECIAL,
    SW_UFFD_WP,
    TABLE,
    UPPER,
    USER,
    UXN,
    VALID,
    Granule,
)
from pipeline.contpte.walk import Entries

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Rule:
    """``source``: where it is written; the Arm ARM by the title of the part, as section numbers change by issue."""

    id: str
    title: str
    source: str


_MISPROGRAMMING = 'Arm ARM (DDI 0487), "The Contiguous bit" and "Misprogramming of the Contiguous bit"'
#: D8.7.1 is the number that Linux gives in contpte_ptep_set_access_flags(), without naming the issue of the manual.
_ANY_ENTRY = "Arm ARM (DDI 0487) D8.7.1 as Linux cites it: any entry of the block may become the cached translation"

RULES = {
    rule.id: rule
    for rule in (
        Rule("block-valid", "all entries of a contiguous block are valid", _MISPROGRAMMING),
        Rule("block-whole", "all entries of a contiguous block have the contiguous bit", _MISPROGRAMMING),
        Rule("block-aligned", "a contiguous block is aligned to its size in physical memory", _MISPROGRAMMING),
        Rule("block-consecutive", "a contiguous block maps consecutive memory", _MISPROGRAMMING),
        Rule("block-attributes", "all entries of a contiguous block have the same memory attributes", _MISPROGRAMMING),
        Rule("block-permissions", "all entries of a contiguous block have the same permissions", _MISPROGRAMMING),
        Rule(
            "block-software",
            "all entries of a contiguous block have the same software bits",
            "Linux, __contpte_try_fold(): folds only entries equal but for access flag and dirty state",
        ),
        Rule(
            "access-flag-alone",
            "where software manages the access flag, no entry of a block is left without it while another has it",
            _ANY_ENTRY + "; an entry by itself: an access flag fault that finds nothing to do",
        ),
        Rule(
            "dirty-state-alone",
            "where software manages the dirty state, no entry of a block is left read-only while another is not",
            _ANY_ENTRY + "; an entry by itself: a permission fault that finds nothing to do",
        ),
        Rule(
            "invalid-contiguous",
            "of a block's entries that are present to Linux only (PROT_NONE), not some have the contiguous bit",
            "Linux, contpte_try_unfold() comes before any change of a part: made valid again the bit would count",
        ),
        Rule(
            "write-protected",
            "what Linux takes for write-protected is read-only to hardware",
            "Linux, pte_wrprotect() in arch/arm64/include/asm/pgtable.h",
        ),
        Rule(
            "shared-writable",
            "a private page that two processes map is writable in neither",
            "Linux, copy_present_ptes() in mm/memory.c: what is copied on write is write-protected on both sides",
        ),
        Rule(
            "type",
            "a valid entry has a type that its level has",
            'Arm ARM (DDI 0487), "Translation table descriptor formats"',
        ),
        Rule(
            "leaf-aligned",
            "a leaf's output address is aligned to what it maps, within 48 bits",
            'Arm ARM (DDI 0487), "Block descriptor and Page descriptor formats": the bits below are RES0',
        ),
    )
}

#: Rules on the entries of a contiguous block together.
OF_BLOCKS = frozenset(RULES) - {"write-protected", "shared-writable", "type", "leaf-aligned"}

_ATTRIBUTES = ATTR_INDEX | NS | SHAREABILITY | NG | UPPER | 1 << 63
_PERMISSIONS = USER | READ_ONLY | DBM | PXN | UXN | GP
_SOFTWARE = SW_SPECIAL | SW_DEVMAP | SW_UFFD_WP


@dataclass(frozen=True)
class Finding:
    """A rule that does not hold.

    ``va``: what the first offending entry maps; ``block``: what its block begins
    with, ``entry``: its number there (0 and ``va`` where no block is concerned);
    ``offending``: how many entries of the block offend. ``value``: the entry,
    ``other``: one of the same block that it does not agree with, or itself.
    """

    rule: str
    level: int
    va: int
    block: int
    entry: int
    offending: int
    value: int
    other: int


def u64(value: int) -> np.uint64:
    """A mask that numpy combines with entries without changing their type."""
    return np.uint64(value)


def check(
    entries: Entries, *, va: int, level: int, granule: Granule, hardware_af: bool, hardware_dirty: bool
) -> list[Finding]:
    """Every rule on entries of one level that follow each other, the first of which maps ``va``.

    ``va`` is aligned to a contiguous block of the level, and the entries are
    whole blocks (ValueError otherwise). ``hardware_af``, ``hardware_dirty``:
    whether all CPUs that walk these tables update access flag and dirty state.
    """
    count, size = granule.contiguous[level], granule.maps(level)
    if va % (count * size) or len(entries) % count:
        raise ValueError(f"entries of level {level} from {va:#x} are not whole blocks of {count}")
    place = _Place(va, level, size)
    found = list(_alone(entries, place, granule))
    if count > 1 and (entries & u64(CONTIGUOUS)).any():
        blocks = entries.reshape(-1, count)
        found += _blocks(blocks, place, granule, hardware_af=hardware_af, hardware_dirty=hardware_dirty)
    return sorted(found, key=lambda finding: finding.va)


def leaves(entries: Entries, level: int, granule: Granule) -> Mask:
    """Which entries hardware translates by."""
    if level != LAST and not granule.has_blocks(level):
        return np.zeros(entries.shape, dtype=np.bool_)
    return (entries & u64(VALID | TABLE)) == u64(VALID | TABLE if level == LAST else VALID)


def folded(blocks: Entries, level: int, granule: Granule) -> Mask:
    """Which rows, each a contiguous block's entries, are folded: all leaves with the contiguous bit."""
    return (leaves(blocks, level, granule) & ((blocks & u64(CONTIGUOUS)) != 0)).all(axis=1)


def dirty(entries: Entries) -> Mask:
    """Linux's pte_dirty() of each entry alone."""
    hardware = (entries & u64(DBM | READ_ONLY)) == u64(DBM)
    return hardware | ((entries & u64(SW_DIRTY)) != 0)


def faults_for_ever(blocks: Entries, *, write: bool) -> Mask:
    """Which entries of folded blocks a walker without hardware updates cannot use, though Linux's view allows it.

    Such a walker evaluates the entry alone; a kernel that compares the gathered
    view (access flag and dirty state of any entry are those of all) with what
    the access needs finds nothing to change. Same shape as ``blocks``, one row
    a block. On a CPU without FEAT_HAFDBS no entry may be so, see
    contpte_ptep_set_access_flags().
    """
    accessed = (blocks & u64(AF)) != 0
    young = accessed.any(axis=1, keepdims=True)
    if not write:
        return young & ~accessed
    written = dirty(blocks).any(axis=1, keepdims=True)
    may_write = (blocks & u64(DBM)) != 0
    return may_write & young & written & (~accessed | ((blocks & u64(READ_ONLY)) != 0))


def shared_writable(mine: Entries, theirs: Entries, *, granule: Granule) -> Mask:
    """Which entries of level 3 may be written by Linux's word although ``theirs``, of another process, map the frame.

    Of private memory that is copied on write; shape of ``mine``.
    """
    address = u64(granule.address_mask(LAST))
    mapped = theirs[leaves(theirs, LAST, granule)] & address
    writable = leaves(mine, LAST, granule) & ((mine & u64(LINUX_WRITE)) != 0)
    return writable & np.isin(mine & address, mapped)


@dataclass(frozen=True)
class _Place:
    """Where entries lie: ``va`` of the first, bytes that each maps."""

    va: int
    level: int
    size: int

    def finding(self, rule: str, at: int, value: np.uint64) -> Finding:
        va = self.va + at * self.size
        return Finding(rule, self.level, va, va, 0, 1, int(value), int(value))

    def in_block(self, rule: str, row: int, block: Entries, bad: Mask) -> Finding:
        at, good = int(np.argmax(bad)), np.flatnonzero(~bad)
        start = self.va + row * len(block) * self.size
        other = block[good[0]] if len(good) else block[at]
        return Finding(rule, self.level, start + at * self.size, start, at, int(bad.sum()), int(block[at]), int(other))


def _alone(entries: Entries, place: _Place, granule: Granule) -> Iterator[Finding]:
    """Rules on an entry by itself."""
    valid = (entries & u64(VALID)) != 0
    leaf = leaves(entries, place.level, granule)
    known = leaf if place.level == LAST else leaf | ((entries & u64(TABLE)) != 0)
    checks = {
        "type": valid & ~known,
        "write-protected": leaf & ((entries & u64(USER | DBM | READ_ONLY)) == u64(USER)),
    }
    # Bits 11:0 hold attributes, and so does bit 16 of a block descriptor.
    below = granule.maps(place.level) - (1 << 12) & ~(NT if place.level != LAST else 0)
    if below:
        checks["leaf-aligned"] = leaf & ((entries & u64(below)) != 0)
    for rule, bad in checks.items():
        for at in np.flatnonzero(bad).tolist():
            yield place.finding(rule, at, entries[at])


def _blocks(
    blocks: Entries, place: _Place, granule: Granule, *, hardware_af: bool, hardware_dirty: bool
) -> Iterator[Finding]:
    """Rules on the entries of a block together; ``blocks`` has one row a block."""
    contiguous = (blocks & u64(CONTIGUOUS)) != 0
    leaf = leaves(blocks, place.level, granule)
    live = leaf & contiguous
    some, whole = live.any(axis=1), live.all(axis=1)
    for row in np.flatnonzero(some & ~whole).tolist():
        if not leaf[row].all():
            yield place.in_block("block-valid", row, blocks[row], ~leaf[row])
        if (leaf[row] & ~contiguous[row]).any():
            yield place.in_block("block-whole", row, blocks[row], leaf[row] & ~contiguous[row])
    # A whole block of such entries is what hugetlb makes of a contiguous page with PROT_NONE.
    present = contiguous & ~leaf & ((blocks & u64(VALID | PRESENT_INVALID)) == u64(PRESENT_INVALID))
    for row in np.flatnonzero(present.any(axis=1) & ~present.all(axis=1) & ~some).tolist():
        yield place.in_block("invalid-contiguous", row, blocks[row], present[row])
    rows = np.flatnonzero(whole)
    if len(rows):
        yield from _equal(blocks[rows], rows, place, granule)
        yield from _alike(blocks[rows], rows, place, hardware_af=hardware_af, hardware_dirty=hardware_dirty)


def _equal(blocks: Entries, rows: NDArray[np.intp], place: _Place, granule: Granule) -> Iterator[Finding]:
    """Entries of folded blocks differ in nothing but the address, which counts up, access flag and dirty state."""
    count = blocks.shape[1]
    steps = np.arange(count, dtype=np.uint64) * u64(place.size)
    differ = blocks ^ (blocks[:, :1] + steps)
    differ &= ~u64(AF | SW_DIRTY)
    # With DBM a clear AP[2] is the dirty state; whether that may differ is a rule of its own.
    may_write = ((blocks & u64(DBM)) != 0).all(axis=1)
    differ[may_write] &= ~u64(READ_ONLY)
    address = granule.address_mask(place.level)
    astray = ((differ & u64(address)) != 0).any(axis=1)
    masks = {
        "block-consecutive": address,
        "block-attributes": _ATTRIBUTES,
        "block-permissions": _PERMISSIONS,
        "block-software": _SOFTWARE,
    }
    for at in np.flatnonzero((differ != 0).any(axis=1)).tolist():
        for rule, mask in masks.items():
            if (differ[at] & u64(mask)).any():
                kept = mask & ~READ_ONLY if may_write[at] else mask
                parts = (blocks[at] - steps) & u64(kept)
                values, counts = np.unique(parts, return_counts=True)
                # What most entries have is taken for right.
                yield place.in_block(rule, int(rows[at]), blocks[at], parts != values[np.argmax(counts)])
    unaligned = (blocks[:, 0] & u64(address & (count * place.size - 1))) != 0
    for at in np.flatnonzero(unaligned & ~astray).tolist():
        yield place.in_block("block-aligned", int(rows[at]), blocks[at], np.ones(count, dtype=np.bool_))


def _alike(
    blocks: Entries, rows: NDArray[np.intp], place: _Place, *, hardware_af: bool, hardware_dirty: bool
) -> Iterator[Finding]:
    """Without hardware updates every entry has to serve the access that comes to it."""
    if not hardware_af:
        behind = faults_for_ever(blocks, write=False)
        for at in np.flatnonzero(behind.any(axis=1)).tolist():
            yield place.in_block("access-flag-alone", int(rows[at]), blocks[at], behind[at])
    if not hardware_dirty:
        state = blocks & u64(DBM | READ_ONLY)
        behind = (state == u64(DBM | READ_ONLY)) & (state == u64(DBM)).any(axis=1, keepdims=True)
        for at in np.flatnonzero(behind.any(axis=1)).tolist():
            yield place.in_block("dirty-state-alone", int(rows[at]), blocks[at], behind[at])
