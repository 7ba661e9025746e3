"""Each field of a descriptor, on entries that a 6.12 kernel wrote and on each bit by itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.contpte.descriptor import GRANULES, Descriptor, Kind

FOUR = GRANULES["4k"]


def entry(value: int, level: int = 3, granule: str = "4k") -> Descriptor:
    return Descriptor(value, level, GRANULES[granule])


def test_a_dirty_page_of_a_folded_block_as_linux_maps_it():
    page = entry(0x00F8000041F70F43)
    assert (page.kind, page.address, page.pfn) == (Kind.PAGE, 0x41F70000, 0x41F70)
    assert page.flags == ("user", "AF", "nG", "DBM", "cont", "PXN", "UXN", "sw-dirty")
    assert (page.attr_index, page.shareability) == (0, "inner")
    assert page.hw_dirty and page.dirty
    assert str(page) == "page 0x41f70000 user AF nG DBM cont PXN UXN sw-dirty attr 0 inner"


def test_the_same_page_after_madv_free_is_old_clean_and_read_only_but_may_be_written():
    page = entry(0x0078000041F70BC3)
    assert page.flags == ("user", "read-only", "nG", "DBM", "cont", "PXN", "UXN")
    assert not page.hw_dirty and not page.dirty


def test_what_hardware_made_dirty_is_dirty_without_linux_bit():
    page = entry(0x0078000041F70F43)
    assert "sw-dirty" not in page.flags and page.hw_dirty and page.dirty


def test_linux_dirty_bit_counts_on_a_page_that_may_not_be_written():
    page = entry(0x00E0000041FE0FC3)
    assert "DBM" not in page.flags and not page.hw_dirty and page.dirty


def test_a_pmd_sized_block():
    block = entry(0x00E8000042000F41, level=2)
    assert (block.kind, block.leaf, block.address) == (Kind.BLOCK, True, 0x42000000)


def test_a_table_has_flags_of_its_own():
    table = entry(0x0800000048180003, level=2)
    assert (table.kind, table.leaf, table.address, table.flags) == (Kind.TABLE, False, 0x48180000, ("PXNTable",))
    assert str(table) == "table 0x48180000 PXNTable"


def test_prot_none_keeps_the_layout_of_a_page_but_is_none_to_hardware():
    gone = entry(0x00E0000041F70FC2 & ~1)
    assert (gone.kind, gone.leaf, gone.address) == (Kind.PROT_NONE, False, 0x41F70000)
    assert "nG" not in gone.flags and "AF" in gone.flags


@pytest.mark.parametrize(
    ("value", "type_", "offset", "flags"),
    [
        (0xC040004, 0, 0xC040, ("exclusive",)),
        (0x486A004, 0, 0x486A, ("exclusive",)),
        (5 << 6 | 0x123 << 12 | 1 << 3, 5, 0x123, ("uffd-wp",)),
    ],
)
def test_a_swap_entry(value, type_, offset, flags):
    swap = entry(value)
    assert (swap.kind, swap.swap_type, swap.swap_offset, swap.flags) == (Kind.SWAP, type_, offset, flags)
    assert str(swap).startswith(f"swap type {type_} offset {offset:#x}")


@pytest.mark.parametrize(
    ("value", "level", "granule", "kind"),
    [
        (0, 3, "4k", Kind.NONE),
        (1, 3, "4k", Kind.RESERVED),
        (1, 0, "4k", Kind.RESERVED),
        (1, 1, "4k", Kind.BLOCK),
        (1, 1, "16k", Kind.RESERVED),
        (1, 2, "16k", Kind.BLOCK),
        (1, 1, "64k", Kind.RESERVED),
        (1, 2, "64k", Kind.BLOCK),
        (3, 2, "4k", Kind.TABLE),
    ],
)
def test_the_type_depends_on_level_and_granule(value, level, granule, kind):
    assert entry(value, level, granule).kind == kind


@pytest.mark.parametrize(
    ("granule", "level", "bits"),
    [
        ("4k", 3, (12, 48)),
        ("4k", 2, (21, 48)),
        ("4k", 1, (30, 48)),
        ("16k", 3, (14, 48)),
        ("16k", 2, (25, 48)),
        ("64k", 3, (16, 48)),
        ("64k", 2, (29, 48)),
    ],
)
def test_the_output_address_is_what_lies_above_what_an_entry_maps(granule, level, bits):
    low, high = bits
    every = entry((1 << 64) - 1 - (0 if level == 3 else 2), level, granule)
    assert every.leaf
    assert every.address == (1 << high) - (1 << low)


@pytest.mark.parametrize(
    ("granule", "pages", "size"), [("4k", 16, 0x10000), ("16k", 128, 2 << 20), ("64k", 32, 2 << 20)]
)
def test_a_contiguous_block_of_pages(granule, pages, size):
    assert (GRANULES[granule].contiguous[3], GRANULES[granule].block) == (pages, size)


#: Bits of a page that a flag or a field is named after, for every bit below 59.
NAMED = {
    2: "attr 1",
    3: "attr 2",
    4: "attr 4",
    5: "NS",
    6: "user",
    7: "read-only",
    8: "reserved",
    9: "outer",
    10: "AF",
    11: "nG",
    50: "GP",
    51: "DBM",
    52: "cont",
    53: "PXN",
    54: "UXN",
    55: "sw-dirty",
    56: "special",
    57: "devmap",
    58: "uffd-wp",
}


@pytest.mark.parametrize(("bit", "word"), NAMED.items())
def test_each_bit_of_a_page_is_told_by_its_name(bit, word):
    assert word not in str(entry(3))
    assert word in str(entry(3 | 1 << bit))


@given(st.integers(0, (1 << 64) - 1), st.integers(0, 3), st.sampled_from(sorted(GRANULES)))
def test_anything_can_be_told(value, level, granule):
    one = entry(value, level, granule)
    assert str(one)
    assert one.address < 1 << 48 and one.address % GRANULES[granule].page == 0
    assert one.leaf == (one.kind in (Kind.PAGE, Kind.BLOCK))
