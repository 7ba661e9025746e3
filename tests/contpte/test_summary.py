"""Counts against a count page by page, and entries that come back from their few words as they were."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.contpte import summary
from pipeline.contpte.descriptor import GRANULES, Descriptor, Kind
from pipeline.contpte.summary import COUNTS, counts, decode, encode
from pipeline.contpte.walk import Span
from tests.contpte import builders
from tests.contpte.builders import AF, CONT, DBM, PAGE, READ_ONLY, SW_DIRTY

VA = 0x1000_0000_0000
KINDS = [
    0,
    PAGE,
    PAGE & ~AF,
    PAGE & ~SW_DIRTY | READ_ONLY,
    PAGE & ~DBM | READ_ONLY,
    PAGE & ~DBM & ~SW_DIRTY | READ_ONLY,
    PAGE | 1 << 58,
    PAGE & ~1,
    0xC040004,
    0xC04000C,
]


def of_each_page(entries: list[int], granule: str, base: int, end: int) -> dict[str, int]:
    """The counts that are of each page's own entry, one by one."""
    known, total = GRANULES[granule], dict.fromkeys(COUNTS, 0)
    total["pages"] = (end - base) // known.page
    for i, value in enumerate(entries):
        if not base <= VA + i * known.page < end:
            continue
        one = Descriptor(value, 3, known)
        total["valid"] += one.leaf
        total["contiguous"] += one.leaf and "cont" in one.flags
        total["own_young"] += one.leaf and "AF" in one.flags
        total["own_dirty"] += one.leaf and one.dirty
        total["sw_dirty"] += one.leaf and "sw-dirty" in one.flags
        total["writable"] += one.leaf and "DBM" in one.flags
        total["read_only"] += one.leaf and "read-only" in one.flags
        total["prot_none"] += one.kind == Kind.PROT_NONE
        total["swap"] += one.kind == Kind.SWAP
        total["none"] += one.kind == Kind.NONE
        total["uffd_wp"] += "uffd-wp" in one.flags
    return total


@settings(deadline=None, max_examples=80)
@given(
    granule=st.sampled_from(builders.GRANULES),
    kinds=st.lists(st.sampled_from(KINDS), min_size=256, max_size=256),
    window=st.tuples(st.integers(0, 255), st.integers(1, 256)),
)
def test_counts_of_unfolded_pages_are_those_of_each_page(granule, kinds, window):
    page = GRANULES[granule].page
    # Addresses in valid entries only: elsewhere the bits mean other things.
    entries = [kind | (0x4000_0000 + i * page if kind & 1 else 0) for i, kind in enumerate(kinds)]
    base = VA + window[0] * page
    end = min(base + window[1] * page, VA + 256 * page)
    found = counts([Span(VA, 3, np.array(entries, dtype=np.uint64))], GRANULES[granule], base, end)
    expected = of_each_page(entries, granule, base, end)
    expected["young"], expected["dirty"] = expected["own_young"], expected["own_dirty"]
    assert found == expected


@pytest.fixture
def block(granule):
    """Entries of two folded blocks, clean and old."""
    known = GRANULES[granule]
    count = known.contiguous[3]
    return [(0x4000_0000 + i * known.page) | (PAGE | CONT | READ_ONLY) & ~AF & ~SW_DIRTY for i in range(2 * count)]


def whole(granule, entries, first=0, last=None):
    known = GRANULES[granule]
    last = len(entries) if last is None else last
    base, end = VA + first * known.page, VA + last * known.page
    return counts([Span(VA, 3, np.array(entries, dtype=np.uint64))], known, base, end)


def test_one_write_makes_a_folded_block_dirty_and_young_as_linux_sees_it(granule, block):
    count = len(block) // 2
    before = whole(granule, block)
    assert (before["folded"], before["young"], before["dirty"], before["read_only"]) == (2, 0, 0, 2 * count)
    block[3] = block[3] & ~READ_ONLY | AF
    after = whole(granule, block)
    assert (after["young"], after["dirty"], after["own_young"], after["own_dirty"]) == (count, count, 1, 1)
    assert after["read_only"] == 2 * count - 1 and after["folded"] == 2
    # A CPU without hardware updates would fault on the others of this block for ever.
    assert (before["stuck"], after["stuck"]) == (0, count - 1)


def test_a_folded_block_counts_where_the_range_has_one_page_of_it(granule, block):
    count = len(block) // 2
    block[3] |= AF
    part = whole(granule, block, 4, 6)
    assert (part["pages"], part["valid"], part["folded"], part["young"], part["own_young"]) == (2, 2, 1, 2, 0)
    assert whole(granule, block, count - 1, count + 1)["folded"] == 2


def test_a_block_with_one_entry_spoiled_is_not_folded(granule, block):
    block[1] &= ~CONT
    assert (whole(granule, block)["folded"], whole(granule, block)["contiguous"]) == (1, len(block) - 1)


def test_pages_below_a_block_descriptor_are_counted_within_the_range(granule):
    known = GRANULES[granule]
    size, group = known.maps(2), known.contiguous[2]
    entries = np.zeros(group, dtype=np.uint64)
    entries[1] = 8 * size | PAGE & ~2
    base = VA + size + size // 2
    found = counts([Span(VA, 2, entries)], known, base, base + size)
    pages = size // known.page
    assert (found["pages"], found["valid"], found["block"], found["none"]) == (
        pages,
        pages // 2,
        pages // 2,
        pages // 2,
    )
    assert found["folded"] == 0 and found["dirty"] == pages // 2


def test_a_table_among_block_descriptors_is_counted_by_what_is_below_it(granule):
    known = GRANULES[granule]
    above, below = np.zeros(known.contiguous[2], dtype=np.uint64), np.zeros(known.contiguous[3], dtype=np.uint64)
    above[0], below[0] = 0x4000_0003, 0x4100_0000 | PAGE
    found = counts([Span(VA, 2, above), Span(VA, 3, below)], known, VA, VA + len(below) * known.page)
    assert (found["valid"], found["none"]) == (1, len(below) - 1)


# ---- in few words ----


def test_a_folded_block_is_one_run(granule, block):
    known = GRANULES[granule]
    (run,) = encode([Span(VA, 3, np.array(block, dtype=np.uint64))], known)
    assert run == f"{VA:x} 3 {block[0]:x} x{len(block)} +{known.page:x}"


def test_one_page_that_differs_stands_alone(granule, block):
    block[3] |= AF
    runs = encode([Span(VA, 3, np.array(block, dtype=np.uint64))], GRANULES[granule])
    assert [run.split()[2] for run in runs] == [f"{block[0]:x}", f"{block[3]:x}", f"{block[4]:x}"]


@settings(deadline=None, max_examples=80)
@given(
    granule=st.sampled_from(builders.GRANULES),
    values=st.lists(
        st.lists(st.one_of(st.sampled_from(KINDS), st.integers(0, (1 << 64) - 1)), min_size=1, max_size=40), max_size=4
    ),
    rising=st.booleans(),
)
def test_entries_come_back_as_they_were(granule, values, rising):
    known = GRANULES[granule]
    step = known.page if rising else 0
    spans = [
        Span(VA + n * (1 << 30), 3, np.array([(v + i * step) % (1 << 64) for i, v in enumerate(part)], dtype=np.uint64))
        for n, part in enumerate(values)
    ]
    back = decode(encode(spans, known), known)
    assert [(s.va, s.level, s.entries.tolist()) for s in back] == [(s.va, s.level, s.entries.tolist()) for s in spans]


def test_runs_that_adjoin_are_one_span_again_but_not_across_levels():
    known = GRANULES["4k"]
    runs = ["1000 3 5", "2000 3 7 x2", "4000 3 1 x2 +1000", "200000 2 9", "400000 3 1"]
    assert [(s.va, s.level, s.entries.tolist()) for s in decode(runs, known)] == [
        (0x1000, 3, [5, 7, 7, 1, 0x1001]),
        (0x200000, 2, [9]),
        (0x400000, 3, [1]),
    ]


@pytest.mark.parametrize("run", ["", "1000", "1000 4 5", "1000 3 x2", "1000 3 5 x", "1000 3 5 +1000", "g 3 5"])
def test_what_is_no_run_is_refused(run):
    with pytest.raises(ValueError, match="not a run"):
        decode([run], GRANULES["4k"])


def test_every_count_is_described():
    assert all(summary.COUNTS.values())
