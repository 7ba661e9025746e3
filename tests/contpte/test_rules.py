"""Each rule broken on purpose, and its correct twin: for all granules, and blocks of pages and of block descriptors."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.contpte import rules
from pipeline.contpte.descriptor import GRANULES
from tests.contpte import builders
from tests.contpte.builders import AF, CONT, DBM, NG, PAGE, READ_ONLY, SW_DIRTY

VA, PA = 0x1000_0000_0000, 0x8000_0000_0000 >> 1
HARDWARE = {"hardware_af": True, "hardware_dirty": True}
SOFTWARE = {"hardware_af": False, "hardware_dirty": False}
USER, PXN, UXN, GP, NS = 1 << 6, 1 << 53, 1 << 54, 1 << 50, 1 << 5
SPECIAL, DEVMAP, UFFD_WP = 1 << 56, 1 << 57, 1 << 58

LEVELS = [(granule, level) for granule in builders.GRANULES for level in builders.BLOCK[granule]]


@pytest.fixture(params=LEVELS, ids=lambda at: f"{at[0]}-level{at[1]}")
def block(request) -> "Block":
    return Block(*request.param)


class Block:
    """Three contiguous blocks that follow each other; tests spoil the middle one."""

    def __init__(self, granule: str, level: int) -> None:
        self.granule, self.level = granule, level
        self.size = 1 << builders.SHIFTS[granule][level]
        self.count = builders.BLOCK[granule][level]
        kind = PAGE if level == 3 else PAGE & ~2
        self.entries = [PA + i * self.size | kind | CONT for i in range(3 * self.count)]

    @property
    def middle(self) -> range:
        return range(self.count, 2 * self.count)

    def at(self, entry: int) -> int:
        """Index of an entry of the middle block; negative from its end."""
        return self.count + entry % self.count

    def check(self, *, hardware_af: bool = True, hardware_dirty: bool = True) -> list[rules.Finding]:
        return rules.check(
            np.array(self.entries, dtype=np.uint64),
            va=VA,
            level=self.level,
            granule=GRANULES[self.granule],
            hardware_af=hardware_af,
            hardware_dirty=hardware_dirty,
        )

    def broken(self, **how: bool) -> set[str]:
        return {finding.rule for finding in self.check(**how)}

    def only(self, **how: bool) -> rules.Finding:
        (finding,) = self.check(**how)
        assert finding.block == VA + self.count * self.size
        return finding


def test_sound_blocks_have_no_finding(block):
    assert block.check(**HARDWARE) == block.check(**SOFTWARE) == []


def test_every_rule_that_findings_name_is_described():
    assert all(rule.title and rule.source for rule in rules.RULES.values())


# ---- validity and the contiguous bit ----


@pytest.mark.parametrize("entry", [0, 5, -1])
def test_an_invalid_entry_within_a_block(block, entry):
    block.entries[block.at(entry)] = 0
    found = block.only()
    assert (found.rule, found.entry, found.offending, found.value) == ("block-valid", entry % block.count, 1, 0)


def test_a_swap_entry_within_a_block(block):
    block.entries[block.at(3)] = 0xC040004
    assert block.only().rule == "block-valid"


def test_twin_a_whole_block_gone(block):
    for i in block.middle:
        block.entries[i] = 0
    assert block.check() == []


@pytest.mark.parametrize("entry", [0, 5, -1])
def test_the_contiguous_bit_missing_from_one_entry(block, entry):
    block.entries[block.at(entry)] &= ~CONT
    found = block.only()
    assert (found.rule, found.entry, found.offending) == ("block-whole", entry % block.count, 1)


def test_the_contiguous_bit_on_one_entry_only(block):
    for i in block.middle:
        block.entries[i] &= ~CONT
    assert block.check() == []
    block.entries[block.at(7)] |= CONT
    found = block.only()
    assert (found.rule, found.offending) == ("block-whole", block.count - 1)


def test_twin_an_unfolded_block_may_be_anything(block):
    for number, i in enumerate(block.middle):
        block.entries[i] = (block.entries[i] & ~CONT) ^ (0, READ_ONLY, DBM | READ_ONLY, UXN)[number % 4]
    block.entries[block.at(3)] = 0
    assert block.check(**SOFTWARE) == []


def test_half_a_change_is_told_by_all_that_it_breaks(block):
    block.entries[block.at(1)] = 0
    block.entries[block.at(2)] &= ~CONT
    assert block.broken() == {"block-valid", "block-whole"}


def test_the_contiguous_bit_on_some_entries_that_are_present_to_linux_only(block):
    for i in block.middle:
        block.entries[i] = block.entries[i] & ~CONT & ~1 | NG
    assert block.check() == []
    block.entries[block.at(4)] |= CONT
    found = block.only()
    assert (found.rule, found.entry) == ("invalid-contiguous", 4)


def test_twin_a_whole_block_present_to_linux_only_as_hugetlb_makes_it(block):
    for i in block.middle:
        block.entries[i] = block.entries[i] & ~1 | NG
    assert block.check() == []


def test_twin_bit_52_of_a_swap_entry_is_part_of_its_offset(block):
    for i in block.middle:
        block.entries[i] = CONT | i << 12
    assert block.check() == []


# ---- addresses ----


@pytest.mark.parametrize("entry", [0, 5, -1])
def test_one_entry_maps_other_memory(block, entry):
    block.entries[block.at(entry)] += 1 << 40
    found = block.only()
    assert (found.rule, found.entry, found.offending) == ("block-consecutive", entry % block.count, 1)


def test_two_entries_swapped(block):
    a, b = block.at(2), block.at(9)
    block.entries[a], block.entries[b] = block.entries[b], block.entries[a]
    found = block.only()
    assert (found.rule, found.entry, found.offending) == ("block-consecutive", 2, 2)


def test_every_entry_maps_the_same_memory(block):
    for i in block.middle:
        block.entries[i] = block.entries[block.at(0)]
    assert block.broken() == {"block-consecutive"}


@pytest.mark.parametrize("by", [1, 3, -1])
def test_a_block_that_is_not_aligned_in_memory(block, by):
    """Consecutive by itself, and even its neighbour's continuation."""
    for i in block.middle:
        block.entries[i] += by * block.size
    found = block.only()
    assert (found.rule, found.entry, found.offending) == ("block-aligned", 0, block.count)


def test_twin_a_block_elsewhere_in_memory(block):
    for i in block.middle:
        block.entries[i] += 5 * block.count * block.size
    assert block.check() == []


# ---- attributes and permissions ----

ATTRIBUTES = {2: "AttrIdx", 4: "AttrIdx", 5: "NS", 8: "SH", 11: "nG", 59: "PBHA", 63: "ignored"}
PERMISSIONS = {6: "AP[1]", 50: "GP", 53: "PXN", 54: "UXN"}


@pytest.mark.parametrize("entry", [0, 1, -1])
@pytest.mark.parametrize(
    ("bit", "rule"),
    [
        *((bit, "block-attributes") for bit in ATTRIBUTES),
        *((bit, "block-permissions") for bit in PERMISSIONS),
        *((bit, "block-software") for bit in (56, 57, 58)),
    ],
)
def test_one_bit_of_one_entry_differs(block, bit, rule, entry):
    block.entries[block.at(entry)] ^= 1 << bit
    found = block.only()
    assert (found.rule, found.entry, found.offending) == (rule, entry % block.count, 1)
    assert found.other == block.entries[block.at(1 if entry == 0 else 0)]


@pytest.mark.parametrize("bit", [*ATTRIBUTES, *PERMISSIONS, 56, 57, 58])
def test_twin_the_bit_differs_in_the_whole_block(block, bit):
    for i in block.middle:
        block.entries[i] ^= 1 << bit
    assert block.check() == []


@pytest.mark.parametrize("count", [1, 2])
def test_write_permission_of_some_entries(block, count):
    """As when a part of a block is write-protected for a fork."""
    for entry in range(count):
        block.entries[block.at(entry)] = block.entries[block.at(entry)] & ~DBM | READ_ONLY
    found = block.only()
    assert (found.rule, found.entry, found.offending) == ("block-permissions", 0, count)


def test_read_only_of_one_entry_that_linux_lets_nobody_write(block):
    for i in block.middle:
        block.entries[i] = block.entries[i] & ~DBM | READ_ONLY
    assert block.check() == []
    block.entries[block.at(6)] &= ~READ_ONLY
    assert block.broken() == {"block-permissions", "write-protected"}


# ---- access flag and dirty state: hardware may set them on any entry ----


def test_twin_hardware_set_them_on_one_entry_or_several(block):
    for number, i in enumerate(block.middle):
        block.entries[i] = block.entries[i] & ~SW_DIRTY & ~AF | READ_ONLY
        if number % 5 == 3:
            block.entries[i] = block.entries[i] & ~READ_ONLY | AF
        if number % 7 == 2:
            block.entries[i] |= SW_DIRTY
    assert block.check(**HARDWARE) == []


@pytest.mark.parametrize("entry", [0, 5, -1])
def test_software_set_the_access_flag_of_one_entry_only(block, entry):
    for i in block.middle:
        block.entries[i] &= ~AF
    assert block.check(**SOFTWARE) == []
    block.entries[block.at(entry)] |= AF
    found = block.only(hardware_af=False)
    assert (found.rule, found.offending) == ("access-flag-alone", block.count - 1)
    assert block.check(**HARDWARE) == []


@pytest.mark.parametrize("entry", [0, 5, -1])
def test_software_made_one_entry_writable_only(block, entry):
    for i in block.middle:
        block.entries[i] = block.entries[i] & ~SW_DIRTY | READ_ONLY
    assert block.check(**SOFTWARE) == []
    block.entries[block.at(entry)] = block.entries[block.at(entry)] & ~READ_ONLY | SW_DIRTY
    found = block.only(hardware_dirty=False)
    assert (found.rule, found.offending) == ("dirty-state-alone", block.count - 1)
    assert block.check(**HARDWARE) == []


def test_twin_the_software_dirty_bit_may_differ(block):
    block.entries[block.at(4)] &= ~SW_DIRTY
    assert block.check(**SOFTWARE) == []


# ---- a walker that evaluates each entry alone ----


def test_after_a_fault_the_entry_itself_must_be_permissive(block):
    old = [e & ~SW_DIRTY & ~AF | READ_ONLY for e in block.entries[: block.count]]
    one = np.array([old], dtype=np.uint64)
    assert not rules.faults_for_ever(one, write=False).any() and not rules.faults_for_ever(one, write=True).any()
    one[0, 3] |= np.uint64(AF)  # a CPU read through entry 3
    stuck = rules.faults_for_ever(one, write=False)[0]
    assert not stuck[3] and stuck.sum() == block.count - 1
    assert not rules.faults_for_ever(one, write=True).any()  # a write still finds the block clean, and is let through
    one[0, 3] &= ~np.uint64(READ_ONLY)  # and wrote
    stuck = rules.faults_for_ever(one, write=True)[0]
    assert not stuck[3] and stuck.sum() == block.count - 1
    one[0] |= np.uint64(AF)
    one[0] &= ~np.uint64(READ_ONLY)  # the kernel made them all so
    assert not rules.faults_for_ever(one, write=True).any()


def test_an_entry_that_may_not_be_written_is_not_stuck_for_a_write():
    one = np.array([[PAGE & ~DBM | READ_ONLY | CONT] * 16], dtype=np.uint64)
    assert not rules.faults_for_ever(one, write=True).any()


# ---- entries by themselves ----


def test_what_linux_write_protected_but_hardware_may_write(block):
    for i in block.middle:
        block.entries[i] &= ~DBM & ~CONT
    found = block.check()
    assert {one.rule for one in found} == {"write-protected"} and len(found) == block.count
    assert found[0].va == VA + block.count * block.size


def test_twin_the_kernels_own_pages_are_not_linux_user_pages(block):
    for i in block.middle:
        block.entries[i] &= ~DBM & ~USER
    assert block.check() == []


@pytest.mark.parametrize(("granule", "level"), [("4k", 3), ("4k", 0), ("16k", 1), ("64k", 1), ("64k", 3)])
def test_a_type_that_the_level_does_not_have(granule, level):
    known = GRANULES[granule]
    entries = np.zeros(known.contiguous[level], dtype=np.uint64)
    entries[0] = 0x4000_0001
    found = rules.check(entries, va=0, level=level, granule=known, **HARDWARE)
    assert [one.rule for one in found] == ["type"]


@pytest.mark.parametrize("granule", ["16k", "64k"])
def test_a_page_at_an_address_that_is_not_of_48_bits(granule):
    known = GRANULES[granule]
    entries = np.zeros(known.contiguous[3], dtype=np.uint64)
    entries[2] = 0x4000_0000 | PAGE | 1 << 13
    found = rules.check(entries, va=0, level=3, granule=known, **HARDWARE)
    assert [(one.rule, one.va) for one in found] == [("leaf-aligned", 2 * known.page)]


def test_a_block_descriptor_that_is_not_aligned():
    known = GRANULES["4k"]
    entries = np.zeros(16, dtype=np.uint64)
    entries[3] = 0x4010_0000 | PAGE & ~2
    (found,) = rules.check(entries, va=0, level=2, granule=known, **HARDWARE)
    assert (found.rule, found.va) == ("leaf-aligned", 3 << 21)
    entries[3] = 0x4020_0000 | PAGE & ~2 | 1 << 16  # twin, with nT
    assert rules.check(entries, va=0, level=2, granule=known, **HARDWARE) == []


# ---- two processes ----


def test_a_frame_of_two_processes_is_writable_in_neither(granule):
    page = 1 << builders.SHIFTS[granule][3]
    mine = np.array([i * page | PAGE for i in range(8)], dtype=np.uint64)
    theirs = np.array([(8 + i) * page | PAGE for i in range(8)] + [0, 0xC040004], dtype=np.uint64)
    shared = rules.shared_writable(mine, theirs, granule=GRANULES[granule])
    assert not shared.any()
    theirs[2] = 5 * page | PAGE & ~DBM | READ_ONLY
    shared = rules.shared_writable(mine, theirs, granule=GRANULES[granule])
    assert np.flatnonzero(shared).tolist() == [5]
    mine[5] = 5 * page | PAGE & ~DBM | READ_ONLY
    assert not rules.shared_writable(mine, theirs, granule=GRANULES[granule]).any()


# ---- properties ----

VARY = st.lists(
    st.sampled_from([0, AF, SW_DIRTY, READ_ONLY, AF | READ_ONLY, AF | SW_DIRTY]), min_size=128, max_size=128
)


@settings(deadline=None, max_examples=60)
@given(at=st.sampled_from(LEVELS), vary=VARY, number=st.integers(0, 4000))
def test_any_pattern_of_access_and_dirty_bits_is_sound_where_hardware_sets_them(at, vary, number):
    block = Block(*at)
    offset = number * block.count * block.size
    block.entries = [e + offset ^ vary[i % 128] for i, e in enumerate(block.entries)]
    assert block.check(**HARDWARE) == []


BITS = sorted({*range(48), *range(50, 64)} - {1, 7, 10, 51, 55})


@settings(deadline=None, max_examples=200)
@given(at=st.sampled_from(LEVELS), bit=st.sampled_from(BITS), entry=st.integers(0, 127), vary=VARY)
def test_any_other_bit_of_any_one_entry_is_found_at_that_entry(at, bit, entry, vary):
    block = Block(*at)
    block.entries = [e ^ vary[i % 128] for i, e in enumerate(block.entries)]
    block.entries[block.at(entry)] ^= 1 << bit
    found = block.check(**HARDWARE)
    if 12 <= bit < builders.SHIFTS[at[0]][at[1]]:
        # Reserved bits below the address; nT of a block descriptor is not one.
        nt = bit == 16 and at[1] != 3
        assert [one.rule for one in found] == ([] if nt else ["leaf-aligned"])
    else:
        assert [one.entry for one in found if one.rule in rules.OF_BLOCKS] == [entry % block.count]


@pytest.mark.parametrize("granule", builders.GRANULES)
def test_a_gibibyte_is_checked_in_less_than_a_tenth_of_a_second(granule):
    """The CPU's time, best of some: 262,144 entries with 4K pages, one in a thousand blocks broken."""
    known = GRANULES[granule]
    count = (1 << 30) // known.page
    entries = np.arange(count, dtype=np.uint64) * np.uint64(known.page) | np.uint64(PAGE | CONT | 1 << 40)
    entries[:: 1000 * known.contiguous[3]] ^= np.uint64(UXN)
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        found = rules.check(entries, va=0, level=3, granule=known, **SOFTWARE)
        best = min(best, time.process_time() - began)
    assert len(found) == -(-count // (1000 * known.contiguous[3]))
    assert best < 0.1


def test_entries_that_are_no_whole_blocks_are_refused():
    entries = np.zeros(16, dtype=np.uint64)
    for va, some in ((0x1000, entries), (0, entries[:15])):
        with pytest.raises(ValueError, match="not whole blocks"):
            rules.check(some, va=va, level=3, granule=GRANULES["4k"], **HARDWARE)
