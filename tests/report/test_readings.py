"""What is drawn of page tables, from entries made by hand."""

import pytest

from pipeline.contpte.descriptor import NG, SW_UFFD_WP
from pipeline.report import drawing
from pipeline.report.blocks import Frames, Stretch
from pipeline.report.readings import MAX_PICTURES, read, steps_of
from tests.judge.builders import a_cell
from tests.report.tables import BASE, entry, folio, tables


def only(entries, letters="", pages=16, **more):
    (found,) = read(tables(entries, **more), letters, pages).blocks
    return found


def test_a_folded_block_is_one_with_its_frames_and_its_folio():
    block = only(folio(0x400, 16), "A" * 16)
    assert block.folded
    assert block.lanes == dict.fromkeys(("cont", "young", "dirty", "write"), (Stretch(0, 16, "x"),))
    assert block.frames == (Frames(0, 16, pfn=0x400),)
    assert [(f.first, f.count, f.pages, f.before, f.after) for f in block.folios] == [(0, 16, 16, False, False)]


def test_a_block_with_one_entry_unmarked_is_not_folded():
    entries = folio(0x400, 16)
    entries[5] = entry(0x405, "ydw")
    block = only(entries)
    assert not block.folded
    assert block.lanes["cont"] == (Stretch(0, 5, "x"), Stretch(6, 10, "x"))
    assert drawing.title(block) == "Block 0: contiguous bit in 15 of 16"


def test_what_the_call_left_is_told_entry_by_entry():
    """The first half lazyfree: clean and old, single pages; the rest as before."""
    block = only(folio(0x400, 8, "w") + folio(0x408, 8, "ydw"), "l" * 8 + "A" * 8)
    assert block.lanes["young"] == block.lanes["dirty"] == (Stretch(8, 8, "x"),)
    assert block.lanes["write"] == (Stretch(0, 16, "x"),)
    assert [(f.first, f.count) for f in block.folios] == [(8, 8)]
    words = drawing.describe(block)
    for part in ("cont: none", "young: 8 to 15", "pages: 0 to 7 lazyfree, 8 to 15 anonymous, large folio"):
        assert part in words


def test_blocks_that_look_alike_are_drawn_once_whatever_their_frames():
    reading = read(tables(folio(0x400, 16) + folio(0x900, 16) + folio(0x500, 16)), "A" * 48, 16)
    (block,) = reading.blocks
    assert (block.number, block.alike, block.every) == (0, 3, 1)
    assert drawing.title(block) == "Blocks 0 to 2, alike: folded"


def test_a_folio_over_two_blocks_is_open_where_it_goes_on_and_its_pattern_drawn_once():
    first, second = read(tables(folio(0x400, 32) + folio(0x800, 32)), "A" * 64, 32).blocks
    assert [(f.before, f.after) for block in (first, second) for f in block.folios] == [(False, True), (True, False)]
    assert drawing.title(first) == "Blocks 0, 2, alike: folded"
    assert "16 of a folio of 32 pages that begins before the block" in drawing.describe(second)


def test_frames_end_where_a_folio_ends_even_if_the_next_is_their_neighbour():
    block = only(folio(0x400, 16, "yw"), "A" * 16, 8)
    assert [(run.first, run.pfn) for run in block.frames] == [(0, 0x400), (8, 0x408)]


@pytest.mark.parametrize(("granule", "size"), [("4k", 16), ("16k", 128), ("64k", 32)])
def test_the_granule_tells_how_many_entries_a_block_has(granule, size):
    block = only(folio(size * 4, size, granule=granule), "A" * size, size, granule=granule)
    assert (block.size, block.folded) == (size, True)
    assert f'class="block n{size}"' in drawing.block(block)
    assert f'href="#folded{size}"' in drawing.block(block)


def test_swap_entries_holes_and_prot_none_are_kinds_of_their_own():
    present = entry(0x40D, "y")
    entries = [0] * 4 + [0x1234 << 12 | 1 << 6] * 8 + [(present | NG) & ~1, 0, 0, present | SW_UFFD_WP]
    block = only(entries, "." * 4 + "s" * 8 + "a..a", 1)
    assert [(kind.what, kind.count) for kind in block.kinds] == [
        ("none", 4),
        ("swap", 8),
        ("prot-none", 1),
        ("none", 2),
        ("valid", 1),
    ]
    assert [run.first for run in block.frames] == [12, 15]


def test_nothing_mapped_has_no_lines_for_bits():
    block = only([0] * 16, "." * 16)
    assert not block.mapped
    assert "#lanes" not in drawing.block(block)
    assert drawing.describe(block) == f"16 entries at {BASE:#x}: all none; pages: all not mapped"


def test_a_block_descriptor_is_one_entry_for_many_pages():
    block = only([entry(0x40000, "ydw", level=2)], "A" * 512, 512, level=2)
    assert (block.size, block.maps) == (1, 512)
    assert drawing.title(block) == "Block 0: one block descriptor for 512 pages"
    assert "frames: 0x40000 to 0x401ff" in drawing.describe(block)


def test_pages_before_the_region_or_without_a_record_have_no_letter():
    block = only(folio(0x400, 16), "AAAA")
    assert block.letters == "AAAA" + " " * 12
    assert "4 to 15 not told" in drawing.describe(block)


def test_what_was_not_read_says_why():
    assert read(tables([0] * 16, failure="TCR_EL1.DS is set")).failure == "TCR_EL1.DS is set"


def test_too_many_pictures_are_counted():
    entries = [e for at in range(9) for e in folio(0x400 + at * 16, 16, "cydw"[: at % 4] + "w" * (at // 4))]
    reading = read(tables(entries))
    assert len(reading.blocks) == MAX_PICTURES
    assert sum(block.alike for block in reading.blocks) + reading.more == 9


def test_a_step_needs_both_ends_and_takes_the_letters_told_around_it():
    begin, end = tables(folio(0x400, 16)), tables(folio(0x400, 16, "cw"), when="step-end")
    readings = [begin, end, tables([0] * 16, at="reclaim")]
    cell = a_cell("v2/max/full.64k", tables=readings, params={"pages_per_folio": 16})
    (step,) = steps_of(cell, ["free", "reclaim"])
    assert (step.name, step.before.blocks[0].letters, step.after.blocks[0].folded) == ("free", " " * 16, True)


def test_letters_of_an_earlier_checkpoint_hold_while_no_entry_changed():
    same, other = folio(0x400, 16), folio(0x400, 16, "cw")
    pages = [{"at": "after-free", "region": "range", "states": "L" * 16}]

    def told(between):
        readings = [
            tables(same, at="after-free", when="checkpoint"),
            *between,
            tables(same, at="reclaim"),
            tables([0] * 16, at="reclaim", when="step-end"),
        ]
        (step,) = steps_of(a_cell("v2/max/full.64k", tables=readings, pages=pages), ["reclaim"])
        return step.before.blocks[0].letters.strip()

    assert told([]) == "L" * 16
    assert told([tables(other, at="x", when="checkpoint")]) == ""
