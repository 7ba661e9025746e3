"""The walker against tables made by hand: what is mapped is found where it is, at every level and granule."""

import ctypes
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.contpte import regime, walk
from pipeline.contpte.regime import Unsupported
from pipeline.contpte.walk import Flat, MemoryHole, Pieces
from pipeline.errors import InfraError
from tests.contpte import builders
from tests.contpte.builders import BASE, PAGE, Tables

QEMU = Path(__file__).parents[2] / "qemu"


def how(tables: Tables) -> regime.Regime:
    return regime.of(ttbr0=tables.root | 1, ttbr1=0, tcr=builders.tcr(tables.granule))


def spans(tables: Tables, start: int, end: int, memory: walk.Memory | None = None) -> list[walk.Span]:
    return list(walk.walk(memory or Flat(tables.memory, base=BASE), how(tables), start, end))


def found(tables: Tables, start: int, end: int, memory: walk.Memory | None = None) -> dict[tuple[int, int], int]:
    """Every entry of the walk that is not zero and no table: (va, level) -> value."""
    shifts = builders.SHIFTS[tables.granule]
    return {
        (span.va + i * (1 << shifts[span.level]), span.level): value
        for span in spans(tables, start, end, memory)
        for i, value in enumerate(span.entries.tolist())
        if value and not (span.level < 3 and value & 3 == 3)
    }


@pytest.fixture
def tables(granule) -> Tables:
    return Tables(granule)


def test_a_page_is_found_at_its_address(tables):
    va = 0x1000_0000_0000
    tables.map(va, 0x4100_0000 | PAGE)
    assert found(tables, va, va + 1) == {(va, 3): 0x4100_0000 | PAGE}


def test_the_range_is_rounded_out_to_whole_blocks(tables):
    block = builders.BLOCK[tables.granule][3] * tables.page
    va = 0x1000_0000_0000 + block
    tables.map_block(va, 0x4200_0000)
    (span,) = spans(tables, va + 5 * tables.page, va + 6 * tables.page)
    assert (span.va, span.level, len(span.entries)) == (va, 3, block // tables.page)


def test_a_block_descriptor_is_found_with_the_level_that_it_is_of(tables):
    size = 1 << builders.SHIFTS[tables.granule][2]
    va = 0x1000_0000_0000
    tables.map(va, 4 * size | PAGE & ~2, level=2)
    tables.map(va + size, 0x4100_0000 | PAGE)
    assert found(tables, va, va + 2 * size) == {(va, 2): 4 * size | PAGE & ~2, (va + size, 3): 0x4100_0000 | PAGE}


def test_a_contiguous_block_of_block_descriptors_is_whole_in_its_span(tables):
    size, count = 1 << builders.SHIFTS[tables.granule][2], builders.BLOCK[tables.granule][2]
    va = 0x1000_0000_0000
    tables.map_block(va, 8 * count * size, attributes=PAGE & ~2 | builders.CONT, level=2)
    (span,) = spans(tables, va + 3 * size, va + 4 * size)
    assert (span.va, span.level, len(span.entries)) == (va, 2, count)


def test_what_is_not_mapped_is_there_as_zeroes(tables):
    va = 0x1000_0000_0000
    assert all(not span.entries.any() for span in spans(tables, va, va + 1))


def test_a_range_over_many_tables_comes_in_order_and_whole(tables):
    size = 1 << builders.SHIFTS[tables.granule][2]
    start = 0x1000_0000_0000 + size - 2 * tables.page
    values = {}
    for i in range(4):
        values[(start + i * tables.page, 3)] = (0x4100_0000 + i * tables.page) | PAGE
        tables.map(start + i * tables.page, values[(start + i * tables.page, 3)])
    assert found(tables, start, start + 4 * tables.page) == values


def test_a_table_outside_memory_is_told_with_its_address(tables):
    va = 0x1000_0000_0000
    tables.put(tables.slot(va, 2), 0x7_0000_0000 | 3)
    with pytest.raises(MemoryHole, match="0x70000"):
        spans(tables, va, va + 1)


@pytest.mark.parametrize(
    ("start", "end"), [(0, 0), (5, 4), (-1, 5), (0, (1 << 48) + 1), (0xFFFF << 48, (0xFFFF << 48) + 1)]
)
def test_a_range_that_ttbr0_does_not_cover_is_refused(tables, start, end):
    with pytest.raises(ValueError, match="no range"):
        spans(tables, start, end)


def test_a_table_at_a_52_bit_address_is_refused():
    tables = Tables("64k")
    tables.put(tables.slot(0, 1), BASE | 1 << 12 | 3)
    with pytest.raises(Unsupported, match="52-bit"):
        spans(tables, 0, 1)


pages = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4095)), min_size=1, max_size=12, unique=True)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=40)
@given(
    granule=st.sampled_from(builders.GRANULES), where=pages, window=st.tuples(st.integers(0, 5), st.integers(0, 4095))
)
def test_any_scattered_pages_are_found_in_any_window(granule, where, window):
    tables = Tables(granule)
    page, size = tables.page, 1 << builders.SHIFTS[granule][2]
    block = builders.BLOCK[granule][3] * page
    values = {}
    for number, (far, near) in enumerate(where):
        va = 0x2000_0000_0000 + far * 37 * size + near * page
        values[va] = (0x8000_0000 + number * page) | PAGE
        tables.map(va, values[va])
    start = 0x2000_0000_0000 + window[0] * 37 * size + window[1] * page
    end = start + 40 * page
    inside = {(va, 3): v for va, v in values.items() if start // block * block <= va < -(-end // block) * block}
    assert found(tables, start, end) == inside
    whole = found(tables, 0x2000_0000_0000, 0x2000_0000_0000 + 300 * size)
    assert whole == {(va, 3): v for va, v in values.items()}


# ---- memory ----


def test_flat_memory_ends_where_it_ends():
    memory = Flat(bytes(range(16)), base=0x1000)
    assert memory.entry(0x1008) == 0x0F0E0D0C0B0A0908
    assert len(memory.entries(0x1000, 2)) == 2
    for address, count in ((0x1000, 3), (0x0FF8, 1), (0x1004, 1), (0x1010, 1)):
        with pytest.raises(MemoryHole):
            memory.entries(address, count)


def test_pieces_are_read_within_one_piece_only():
    memory = Pieces([(0x2000, np.array([3, 4], dtype=np.uint64)), (0x1000, np.array([1, 2], dtype=np.uint64))])
    assert memory.entries(0x1000, 2).tolist() == [1, 2] and memory.entry(0x2008) == 4
    for address, count in ((0x1008, 2), (0x1004, 1), (0x3000, 1)):
        with pytest.raises(MemoryHole):
            memory.entries(address, count)


def test_a_ram_file(tables, tmp_path):
    va = 0x1000_0000_0000
    tables.map(va, 0x4100_0000 | PAGE)
    (tmp_path / "ram").write_bytes(tables.memory)
    memory = walk.ram_file(tmp_path / "ram", base=BASE)
    assert found(tables, va, va + 1, memory) == {(va, 3): 0x4100_0000 | PAGE}


def test_a_dump(tables, tmp_path):
    """An ELF core file with one PT_LOAD of physical memory, as QEMU's dump-guest-memory writes it."""
    va = 0x1000_0000_0000
    tables.map(va, 0x4100_0000 | PAGE)
    header = bytearray(b"\x7fELF\x02\x01\x01" + bytes(9))
    header += (4).to_bytes(2, "little") + (183).to_bytes(2, "little") + (1).to_bytes(4, "little")
    header += bytes(8) + (64).to_bytes(8, "little") + bytes(8) + bytes(4)
    header += b"".join(n.to_bytes(2, "little") for n in (64, 56, 1, 0, 0, 0))
    load = (
        (1).to_bytes(4, "little")
        + (4).to_bytes(4, "little")
        + b"".join(n.to_bytes(8, "little") for n in (120, 0, BASE, len(tables.memory), len(tables.memory), 0))
    )
    (tmp_path / "dump").write_bytes(bytes(header) + load + tables.memory)
    assert found(tables, va, va + 1, walk.dump(tmp_path / "dump")) == {(va, 3): 0x4100_0000 | PAGE}


def test_what_is_no_memory_is_told(tmp_path):
    (tmp_path / "text").write_text("not an ELF file, but long enough to have a header")
    with pytest.raises(InfraError, match="not an ELF dump"):
        walk.dump(tmp_path / "text")
    for read in (walk.ram_file, lambda path, base: walk.dump(path)):
        with pytest.raises(InfraError, match="none"):
            read(tmp_path / "none", base=0)


# ---- the plugin's own walk, in C ----


class CTables(ctypes.Structure):
    """struct tables of qemu/checkpoint/tables.h."""

    _fields_ = [
        *((name, ctypes.c_uint64) for name in ("ttbr0", "tcr", "start", "end", "detail")),
        ("nr_runs", ctypes.c_uint32),
    ]


class CRam(ctypes.Structure):
    _fields_ = [("map", ctypes.c_char_p), ("size", ctypes.c_uint64)]


class CBuffer(ctypes.Structure):
    _fields_ = [("data", ctypes.POINTER(ctypes.c_char)), ("len", ctypes.c_size_t), ("room", ctypes.c_size_t)]


@pytest.fixture(scope="session")
def in_c(tmp_path_factory):
    library = tmp_path_factory.mktemp("c") / "tables.so"
    command = ["gcc", "-std=gnu11", "-O2", "-shared", "-fPIC", "-D_GNU_SOURCE", f"-I{QEMU / 'include'}"]
    marks = QEMU.parent / "guest-tests"
    subprocess.run([*command, f"-I{marks}", "-o", library, QEMU / "checkpoint" / "tables.c"], check=True)
    function = ctypes.CDLL(str(library)).tables_read
    function.argtypes = [
        ctypes.POINTER(CTables),
        ctypes.POINTER(CRam),
        ctypes.c_uint64,
        ctypes.c_uint64,
        ctypes.POINTER(CBuffer),
    ]

    def read(tables: Tables, base: int, length: int, *, tcr: int | None = None, ttbr0: int | None = None):
        """The status, what tables_read() filled in, and the runs that it copied."""
        held = bytes(tables.memory)
        ram, out = CRam(held, len(held)), CBuffer()
        one = CTables(tables.root if ttbr0 is None else ttbr0, builders.tcr(tables.granule) if tcr is None else tcr)
        status = function(one, ram, base, length, out)
        raw = out.data[: out.len] if out.len else b""
        runs, at = [], 0
        while at < len(raw):
            address, count = np.frombuffer(raw, dtype=np.uint64, count=2, offset=at).tolist()
            runs.append((address, np.frombuffer(raw, dtype=np.uint64, count=count, offset=at + 16)))
            at += 16 + count * 8
        assert len(runs) == one.nr_runs
        return status, one, runs

    return read


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=40
)
@given(
    granule=st.sampled_from(builders.GRANULES),
    where=pages,
    window=st.tuples(st.integers(0, 5), st.integers(0, 4095), st.integers(1, 9000)),
    large=st.booleans(),
)
def test_the_plugin_records_all_that_a_walk_needs(in_c, granule, where, window, large):
    tables = Tables(granule)
    size = 1 << builders.SHIFTS[granule][2]
    for number, (far, near) in enumerate(where):
        tables.map(0x2000_0000_0000 + far * 3 * size + near * tables.page, (0x8000_0000 + number * tables.page) | PAGE)
    if large:
        tables.map_block(0x2000_0000_0000 + 64 * size, 64 * size, PAGE & ~2 | builders.CONT, level=2)
    start, length = 0x2000_0000_0000 + window[0] * 3 * size + window[1] * tables.page, window[2] * tables.page
    if large and window[2] % 2:
        start += 60 * size
    status, _, runs = in_c(tables, start, length)
    assert status == 0
    recorded = spans(tables, start, start + length, Pieces(runs))
    real = spans(tables, start, start + length)
    assert [(s.va, s.level, s.entries.tolist()) for s in recorded] == [
        (s.va, s.level, s.entries.tolist()) for s in real
    ]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"tcr": builders.tcr("4k") | 3 << 14}, 3),
        ({"tcr": builders.tcr("4k", va_bits=52)}, 4),
        ({"tcr": builders.tcr("4k", va_bits=24)}, 4),
        ({"tcr": builders.tcr("4k") | 1 << 59}, 5),
        ({"tcr": builders.tcr("4k") & ~(7 << 32) | 6 << 32, "ttbr0": BASE | 4}, 6),
        ({"tcr": builders.tcr("4k") | 1 << 7}, 7),
        ({"base": 0xFFFF << 48}, 8),
        ({"length": 0}, 8),
        ({"base": 1 << 48}, 8),
        ({"base": 5, "length": (1 << 64) - 3}, 8),
        ({"ttbr0": 0x1000}, 9),
        ({"ttbr0": BASE + (1 << 40)}, 9),
    ],
)
def test_the_plugin_records_what_it_did_not_expect_and_guesses_nothing(in_c, changes, status):
    changes = {"base": 0x1000_0000_0000, "length": 0x1000} | changes
    found = in_c(Tables("4k"), **changes)
    assert (found[0], found[2]) == (status, [])


def test_the_plugin_stops_where_a_table_is_not_in_memory(in_c, tables):
    tables.put(tables.slot(0, 2), 0x7_0000_0000 | 3)
    status, one, runs = in_c(tables, 0, tables.page)
    assert (status, one.detail) == (9, 0x7_0000_0000)
    assert len(runs) == 3 - builders.TOP[tables.granule]


def test_the_plugin_records_a_bounded_amount(in_c):
    """A table that is its own parent maps 256 TiB, all valid."""
    tables = Tables("4k")
    for i in range(512):
        tables.put(tables.root + 8 * i, tables.root | 3)
    status, one, _ = in_c(tables, 0, 1 << 47)
    assert status == 10 and one.detail <= 16 << 20
