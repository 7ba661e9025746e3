"""What is said of tables that break a rule, and of what the rest of a cell knows of the page."""

import numpy as np
import pytest

from pipeline.contpte import facts
from pipeline.contpte.descriptor import GRANULES
from pipeline.contpte.findings import Violation, violations
from pipeline.contpte.summary import counts, encode
from pipeline.contpte.tables import Tables
from pipeline.contpte.walk import Span
from tests.contpte.builders import AF, CONT, DBM, PAGE, READ_ONLY, SW_DIRTY

VA, PA = 0x1000_0000_0000, 0x41E0_0000
KNOWN = GRANULES["4k"]


def entries(**spoilt: int) -> list[int]:
    """Two folded blocks; ``e5=value`` replaces entry 5."""
    values = [PA + i * KNOWN.page | PAGE | CONT for i in range(32)]
    for name, value in spoilt.items():
        values[int(name[1:])] = value
    return values


def tables(values: list[int], at: str = "before-free", when: str = "checkpoint", **changes) -> Tables:
    span = Span(VA, 3, np.array(values, dtype=np.uint64))
    known = {
        "at": at,
        "when": when,
        "base": VA,
        "bytes": len(values) * KNOWN.page,
        "granule": "4k",
        "hardware_af": True,
        "hardware_dirty": True,
        "counts": counts([span], KNOWN, VA, VA + len(values) * KNOWN.page),
        "entries": encode([span], KNOWN),
    }
    return Tables(**known | changes)


def only(found) -> Violation:
    (one,) = found
    return one


def test_sound_tables_have_none():
    assert violations([tables(entries()), tables([0] * 32, "after-free")]) == []


def test_a_violation_names_rule_place_block_entry_and_both_descriptors():
    bad = PA + 5 * KNOWN.page | PAGE & ~DBM | READ_ONLY | CONT
    one = only(violations([tables(entries()), tables(entries(e5=bad), "after-free")]))
    assert one.rule.id == "block-permissions" and one.sure
    text = str(one)
    for word in (
        "after-free: block-permissions: VA 0x100000005000, entry 5 of the contiguous block at 0x100000000000 (1 of 16",
        f"page 0x41e05000 user read-only AF nG cont PXN UXN sw-dirty attr 0 inner [{bad:#018x}]",
        "others of the block: page 0x41e00000 user AF nG DBM cont",
        "before (before-free): page 0x41e05000 user AF nG DBM cont",
    ):
        assert word in text, text


def test_linux_view_of_the_page_stands_beside_it():
    spoilt = tables(entries(e21=0), "after-free")
    states = {("after-free", "own"): "L" * 21 + "." + "A" * 10, ("before-free", "own"): "a" * 32}
    text = str(only(violations([spoilt], states=states, folio_pages=16)))
    assert text.endswith("; Linux: page 21 of the region at 0x100000000000, none")
    spoilt = tables(entries(e21=entries()[21] ^ 1 << 54), "after-free")
    states[("after-free", "own")] = "A" * 32
    text = str(only(violations([spoilt], states=states, folio_pages=16)))
    assert "anonymous, swap-backed page of a large folio" in text
    assert "frame 0x41e15 of the folio of 16 pages at frame 0x41e10" in text


def test_the_entry_before_is_that_of_the_same_process():
    bad = entries()[5] ^ 1 << 54
    child = tables([0] * 32, "x", view="child")
    one = only(violations([tables(entries(), "first"), child, tables(entries(e5=bad), "then")]))
    assert one.before == entries()[5] and one.before_at == "first"


def test_a_step_is_told_with_its_end():
    bad = entries()[5] ^ 1 << 54
    text = str(only(violations([tables(entries(e5=bad), "free", "step-end")])))
    assert text.startswith("end of step free: ")


@pytest.mark.parametrize("changes", [{"others": 1}, {"steady": False}])
def test_what_another_cpu_may_have_been_changing_is_not_sure(changes):
    bad = entries()[5] ^ 1 << 54
    one = only(violations([tables(entries(e5=bad), **changes)]))
    assert not one.sure and "half of a change" in str(one)


def test_what_is_there_at_two_points_is_no_half_of_a_change():
    bad = entries()[5] ^ 1 << 54
    twice = [tables(entries(e5=bad), at, others=1) for at in ("first", "then")]
    assert [one.sure for one in violations(twice)] == [True, True]
    moved = [tables(entries(e5=bad), "first", others=1), tables(entries(e6=entries()[6] ^ 1 << 54), "then", others=1)]
    assert [one.sure for one in violations(moved)] == [False, False]


def test_rules_of_software_management_hold_where_there_is_no_other():
    old = [e & ~AF & ~SW_DIRTY | READ_ONLY for e in entries()]
    old[3] |= AF
    assert violations([tables(old)]) == []
    assert only(violations([tables(old, hardware_af=False)])).rule.id == "access-flag-alone"


def test_tables_that_were_not_read_are_passed_over():
    assert violations([Tables(at="x", when="checkpoint", base=VA, bytes=4096, failure="no RAM")]) == []


# ---- two processes ----

READ = [e & ~DBM & ~CONT | READ_ONLY for e in entries()]
STATES = {("end", "own"): "A" * 32, ("end", "child"): "A" * 32}


def test_a_private_page_that_the_child_maps_too_may_be_written_by_nobody():
    own, child = tables(READ, "end"), tables(READ, "end", view="child")
    assert violations([own, child], states=STATES) == []
    widened = READ.copy()
    widened[4] |= DBM
    for pair in ([tables(widened, "end"), child], [own, tables(widened, "end", view="child")]):
        one = only(violations(pair, states=STATES))
        assert (one.rule.id, one.finding.va) == ("shared-writable", VA + 4 * KNOWN.page)
        assert "the other process: page 0x41e04000" in str(one)


def test_pages_that_are_not_known_to_be_private_are_not_judged():
    widened = [e | DBM for e in READ]
    pair = [tables(widened, "end"), tables(READ, "end", view="child")]
    assert violations(pair) == []
    assert violations(pair, states=dict.fromkeys(STATES, "z" * 32)) == []


def test_views_of_different_points_are_not_compared():
    pair = [tables([e | DBM for e in READ], "before"), tables(READ, "end", view="child")]
    assert violations(pair, states=STATES | {("before", "own"): "A" * 32}) == []


# ---- facts ----


def test_counts_of_a_step_are_of_its_two_ends_and_of_the_right_one():
    readings = [
        tables(entries(), "free", "step-begin"),
        tables([0] * 32, "free", "step-end"),
        tables([0] * 32, "free", "step-begin"),
        tables(entries(), "free", "step-end"),
        tables([0] * 32, "free", "step-end", view="child"),
    ]
    first, second = (facts.step_counts(readings, "free", n) for n in (0, 1))
    assert (first["folded_before"], first["folded_after"], first["none_after"]) == (2, 0, 32)
    assert (second["folded_before"], second["folded_after"]) == (0, 2)
    assert facts.step_counts(readings, "free", 2) == facts.step_counts(readings, "other", 0) == {}


def test_counts_of_a_reading_that_failed_are_absent_not_zero():
    failed = Tables(at="free", when="step-begin", base=VA, bytes=4096, failure="no RAM")
    assert facts.step_counts([failed, tables(entries(), "free", "step-end")], "free", 0).keys() == {
        f"{name}_after" for name in tables(entries()).counts
    }


UNFOLDED = [e & ~CONT for e in entries()]


@pytest.mark.parametrize(
    ("readings", "pages", "expected"),
    [
        ([], 16, None),
        ([tables(UNFOLDED, "mapped")], 8, None),
        ([tables(UNFOLDED, "mapped")], 16, (32, 0)),
        ([tables(entries(), "mapped")], 16, (32, 32)),
        ([tables(entries()[:16] + UNFOLDED[16:], "mapped"), tables(entries(), "before-free")], 16, (32, 16)),
        ([tables(entries(), "mapped"), tables(UNFOLDED, "mapped")], 16, (32, 0)),
        ([tables(UNFOLDED), tables(entries()[:16] + UNFOLDED[16:], "free", "step-begin")], 16, (16, 16)),
        ([tables(UNFOLDED, "free", "step-begin"), tables(entries(), "after")], 16, (16, 0)),
        ([tables(UNFOLDED), tables(entries(), "other")], 16, (16, 32)),
        ([tables(entries(), "mapped", view="child")], 16, None),
    ],
)
def test_what_can_be_folded_must_have_been_before_the_step(readings, pages, expected):
    assert facts.foldable(readings, {"pages_per_folio": pages}) == expected
