"""Files of the checkpoint plugin: recorded ones as they are, and each way to be damaged told by its place."""

import struct
from pathlib import Path

import pytest

from pipeline.contpte import read, record
from pipeline.contpte.record import Op, RecordError
from pipeline.contpte.tables import Tables

#: Three cells on stock 6.12 with 4K pages: full_cover_single, write_after_free_inner, mixed_ro_first, of 64k folios.
RECORDINGS = Path(__file__).parent / "recordings"
SINGLE, INNER, MIXED = (
    f"lazyfree.64k.{name}" for name in ("full_cover_single", "write_after_free_inner", "mixed_ro_first")
)
NAMES = ("mapped", "before-free", "free", "after-free", "before-free-write", "free-write", "after-free-write", "end")


@pytest.fixture(params=["max", "a57"])
def machine(request) -> str:
    return request.param


@pytest.fixture
def recording(machine) -> Path:
    return RECORDINGS / f"{machine}.bin"


def tables(path: Path, test: str) -> list[Tables]:
    return read.tables_of(read.read_checkpoints(path)[read.hash_name(test)], NAMES)


def one(path: Path, test: str, at: str, when: str = "checkpoint", view: str = "own") -> Tables:
    (found,) = [t for t in tables(path, test) if (t.at, t.when, t.view) == (at, when, view)]
    return found


def test_names_are_hashed_as_the_guest_does():
    """FNV-1a of 64 bits: its published test vectors."""
    assert read.hash_name("") == 0xCBF29CE484222325
    assert read.hash_name("a") == 0xAF63DC4C8601EC8C
    assert read.hash_name("foobar") == 0x85944171F73967E8


def test_each_test_of_the_boot_is_there_with_its_checkpoints_in_order(recording):
    found = read.read_checkpoints(recording)
    assert list(found) == [read.hash_name(name) for name in (SINGLE, INNER, MIXED)]
    assert [(t.at, t.when) for t in tables(recording, SINGLE)][:5] == [
        ("mapped", "checkpoint"),
        ("before-free", "checkpoint"),
        ("free", "step-begin"),
        ("free", "step-end"),
        ("after-free", "checkpoint"),
    ]
    assert all(not t.failure for test in (SINGLE, INNER, MIXED) for t in tables(recording, test))


def test_the_machine_is_told_by_its_registers(recording, machine):
    found = one(recording, SINGLE, "mapped")
    assert (found.granule, found.hardware_af, found.hardware_dirty) == ("4k", machine == "max", machine == "max")


def test_a_folded_block_before_and_after_madv_free(recording):
    before, after = one(recording, SINGLE, "free", "step-begin"), one(recording, SINGLE, "free", "step-end")
    assert before.counts | {"folded": 1, "own_dirty": 16, "own_young": 16, "read_only": 0} == before.counts
    assert after.counts | {"folded": 1, "dirty": 0, "young": 0, "read_only": 16, "writable": 16} == after.counts
    assert len(before.entries) == len(after.entries) == 1


def test_one_write_reaches_one_entry_by_hardware_and_all_by_software(recording, machine):
    after = one(recording, INNER, "free-write", "step-end")
    blocks = after.counts["folded"]
    assert blocks == 4
    assert after.counts["dirty"] == after.counts["young"] == 16 * blocks
    assert after.counts["own_dirty"] == (blocks if machine == "max" else 16 * blocks)
    assert after.counts["read_only"] == (15 * blocks if machine == "max" else 0)


def test_both_processes_of_a_test_are_seen(recording):
    own, child = one(recording, MIXED, "end"), one(recording, MIXED, "end", view="child")
    assert own.asid != child.asid
    assert (child.counts["valid"], child.counts["writable"], child.counts["none"]) == (8, 0, 24)


def test_a_name_that_nobody_gave_is_its_hash(recording):
    found = read.tables_of(read.read_checkpoints(recording)[read.hash_name(SINGLE)], [])
    assert found[0].at == f"#{read.hash_name('mapped'):016x}"


def test_the_tables_of_a_cell_survive_json(recording):
    for found in tables(recording, MIXED):
        assert Tables.model_validate_json(found.model_dump_json()) == found


def test_a_test_that_ran_twice_has_its_last_run(recording, tmp_path):
    data = recording.read_bytes()
    header = data[:32]
    (tmp_path / "twice").write_bytes(header + data[32:] + data[32:])
    once, twice = read.read_checkpoints(recording), read.read_checkpoints(tmp_path / "twice")
    assert {name: len(found) for name, found in once.items()} == {name: len(found) for name, found in twice.items()}


# ---- damage ----


@pytest.fixture
def damaged(tmp_path):
    """A function that writes bytes as a file and reads it."""

    def do(data: bytes) -> record.Recording:
        (tmp_path / "file").write_bytes(data)
        return record.read(tmp_path / "file")

    return do


WHOLE = (RECORDINGS / "max.bin").read_bytes()
FIRST = 32


def changed(offset: int, kind: str, value: int, data: bytes = WHOLE) -> bytes:
    out = bytearray(data)
    struct.pack_into(f"<{kind}", out, offset, value)
    return bytes(out)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "expected page tables"),
        (b"\x7fELF" + bytes(60), "expected page tables"),
        (WHOLE[:20], "expected page tables"),
        (changed(8, "I", 2), "version 2 of the format, this program reads version 1"),
        (changed(FIRST, "I", 0), "no record at byte 32"),
        (changed(FIRST + 4, "I", 8), "no record at byte 32"),
        (changed(FIRST + 8, "I", 77), "a mark 77, which is unknown"),
        (changed(FIRST + 28, "I", 5), "shorter than its 5 runs"),
    ],
)
def test_what_is_damaged_is_told_with_its_place(damaged, data, words):
    with pytest.raises(RecordError, match=words):
        damaged(data)


def offset_of_first_tables() -> int:
    at = FIRST
    while struct.unpack_from("<I", WHOLE, at + 28)[0] == 0:
        at += struct.unpack_from("<I", WHOLE, at + 4)[0]
    return at


def test_a_run_that_is_too_long_or_left_out(damaged):
    at = offset_of_first_tables()
    with pytest.raises(RecordError, match=f"at byte {at} is shorter"):
        damaged(changed(at + 120 + 8, "Q", 1 << 40))
    with pytest.raises(RecordError, match=f"at byte {at} has .* bytes behind"):
        damaged(changed(at + 28, "I", 1))


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(RecordError, match="cannot read"):
        record.read(tmp_path / "none")


@pytest.mark.parametrize("cut", [1, 50, 119])
def test_the_end_may_be_cut_off_as_when_qemu_is_killed(damaged, cut):
    whole = damaged(WHOLE)
    assert not whole.cut_short
    found = damaged(WHOLE[:-cut])
    assert found.marks == whole.marks[:-1] and found.cut_short > 0


def test_a_header_alone_is_a_boot_without_marks(damaged):
    assert damaged(WHOLE[:FIRST]).marks == ()


def test_why_tables_were_not_read_is_told_in_words(damaged, tmp_path):
    at = offset_of_first_tables()
    data = changed(at + 12, "I", 4, changed(at + 112, "Q", 12))
    mark = next(m for m in damaged(data).marks if m.status)
    assert mark.failure.startswith("TCR_EL1.T0SZ is 12")
    assert "does not know" in next(m for m in damaged(changed(at + 12, "I", 99)).marks if m.status).failure
    assert mark.op == Op.CHECKPOINT
    (tmp_path / "file").write_bytes(data)
    found = tables(tmp_path / "file", SINGLE)
    assert found[0].failure.startswith("TCR_EL1.T0SZ") and not found[0].counts and not found[1].failure


def test_tables_that_the_record_lacks_are_a_failure_not_an_exception(tmp_path):
    """The last run is left out: the walk comes to memory that is not there."""
    at = offset_of_first_tables()
    size, runs = struct.unpack_from("<I", WHOLE, at + 4)[0], struct.unpack_from("<I", WHOLE, at + 28)[0]
    last = 16 + 16 * 8
    data = WHOLE[: at + size - last] + WHOLE[at + size :]
    data = changed(at + 4, "I", size - last, changed(at + 28, "I", runs - 1, data))
    (tmp_path / "file").write_bytes(data)
    assert "no memory of 16 table entries" in tables(tmp_path / "file", SINGLE)[0].failure
