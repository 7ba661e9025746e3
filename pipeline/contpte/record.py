"""Reads the file of the checkpoint plugin: marks of guest tests and the table memory at each.

The layout is that of qemu/checkpoint/record.h, all little-endian.
"""

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

import numpy as np

from pipeline.contpte.walk import Entries
from pipeline.errors import InfraError

MAGIC = b"KPVPTE\r\n"
VERSION = 1
_HEADER = struct.Struct("<8sIIQQ")
_RECORD = struct.Struct("<8I11Q")
_RECORD_MAGIC = 0x4345524B
_RUN = struct.Struct("<QQ")


class RecordError(InfraError):
    """The file is not what the plugin writes."""


class Op(IntEnum):
    """enum kpv_mark_op of guest-tests/kpv_mark.h."""

    TEST_BEGIN = 1
    TEST_END = 2
    STEP_BEGIN = 3
    STEP_END = 4
    CHECKPOINT = 5


#: enum tables_status of qemu/checkpoint/tables.h, for a person; {detail} is the record's.
_STATUS = {
    1: "the guest's RAM could not be mapped",
    2: "QEMU's CPU lacks a register that is needed",
    3: "TCR_EL1.TG0 is {detail}, which is reserved",
    4: "TCR_EL1.T0SZ is {detail}: not 25 to 48 bits of virtual address",
    5: "TCR_EL1.DS is set: descriptors hold 52-bit addresses (LPA2)",
    6: "a table is at a 52-bit physical address: {detail:#x}",
    7: "TCR_EL1.EPD0 is set: no tables are walked",
    8: "the range ends at {detail:#x}, which TTBR0_EL1 does not cover",
    9: "a table at {detail:#x} lies outside RAM",
    10: "too much to record, {detail} bytes so far",
}


@dataclass(frozen=True)
class Mark:
    """One mark: what the test said, the registers of its CPU, and the table memory that was read.

    ``test``: hash of the test; ``name``: of the step or checkpoint. ``tries``:
    readings until two were alike, 0 if none were. ``memory``: the runs as they
    are in the file, see ``pieces``.
    """

    op: Op
    status: int
    vcpu: int
    others: int
    tries: int
    test: int
    name: int
    base: int
    bytes: int
    view: int
    ttbr0: int
    ttbr1: int
    tcr: int
    start: int
    end: int
    detail: int
    memory: bytes = field(repr=False)

    @property
    def pieces(self) -> list[tuple[int, Entries]]:
        """Physical address and entries of each run, from the first table down."""
        pieces, at = [], 0
        while at < len(self.memory):
            address, count = _RUN.unpack_from(self.memory, at)
            at += _RUN.size
            pieces.append((address, np.frombuffer(self.memory, dtype="<u8", count=count, offset=at)))
            at += count * 8
        return pieces

    @property
    def failure(self) -> str:
        """Why its tables were not read, "" if they were."""
        if not self.status:
            return ""
        words = _STATUS.get(self.status, "status {status} that this reader does not know")
        return words.format(detail=self.detail, status=self.status)


@dataclass(frozen=True)
class Recording:
    """``cut_short``: bytes at the end that are no whole record, as QEMU ended in the middle of it."""

    ram_base: int
    ram_bytes: int
    marks: tuple[Mark, ...]
    cut_short: int = 0


def read(path: Path) -> Recording:
    """Parse a file. Raises RecordError, which tells where it is wrong."""
    data = _bytes(path)
    size, ram_base, ram_bytes = _head(path, data)
    marks, at = _marks(path, data, size)
    return Recording(ram_base, ram_bytes, tuple(marks), cut_short=len(data) - at)


class Follower:
    """Reads a file that QEMU still writes: each mark is in it before the guest goes on."""

    def __init__(self, path: Path) -> None:
        self._path, self._at = path, 0

    def marks(self) -> list[Mark]:
        """Those that became whole since the last time, none before QEMU made the file. Raises RecordError."""
        if not self._path.is_file():
            return []
        data = _bytes(self._path, self._at)
        start = 0
        if not self._at:
            if len(data) < _HEADER.size:
                return []
            start, _, _ = _head(self._path, data)
        found, end = _marks(self._path, data, start, origin=self._at)
        self._at += end
        return found


def _bytes(path: Path, start: int = 0) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read()
    except OSError as err:
        raise RecordError(f"{path}: cannot read the recorded page tables: {err.strerror}") from err


def _head(path: Path, data: bytes) -> tuple[int, int, int]:
    """Bytes of the header, and where RAM begins and how long it is."""
    if len(data) < _HEADER.size or not data.startswith(MAGIC):
        raise RecordError(f"{path}: expected page tables as the checkpoint plugin records them, found {data[:8]!r}")
    _, version, size, ram_base, ram_bytes = _HEADER.unpack_from(data)
    if version != VERSION:
        raise RecordError(
            f"{path}: recorded in version {version} of the format, this program reads version {VERSION}",
            hint="run the cells again with: kpv validate --fresh",
        )
    return size, ram_base, ram_bytes


def _marks(path: Path, data: bytes, at: int, *, origin: int = 0) -> tuple[list[Mark], int]:
    """The whole records from ``at`` on and where they end; ``origin``: where in the file ``data`` begins."""
    marks = []
    while len(data) - at >= _RECORD.size:
        magic, size = struct.unpack_from("<II", data, at)
        if magic != _RECORD_MAGIC or size < _RECORD.size:
            raise RecordError(f"{path}: no record at byte {origin + at}, where one begins")
        if size > len(data) - at:
            break
        marks.append(_mark(path, data, at, size, origin=origin))
        at += size
    return marks, at


def _mark(path: Path, data: bytes, start: int, size: int, *, origin: int) -> Mark:
    _, _, op, status, vcpu, others, tries, runs, *values = _RECORD.unpack_from(data, start)
    test, name, base, length, view, ttbr0, ttbr1, tcr, first, end, detail = values
    memory = at = start + _RECORD.size
    for _ in range(runs):
        if at + _RUN.size > start + size:
            raise RecordError(f"{path}: the record at byte {origin + start} is shorter than its {runs} runs")
        _, count = _RUN.unpack_from(data, at)
        at += _RUN.size + count * 8
    if at > start + size:
        raise RecordError(f"{path}: the record at byte {origin + start} is shorter than its {runs} runs")
    if at != start + size:
        raise RecordError(
            f"{path}: the record at byte {origin + start} has {start + size - at} bytes behind its last run"
        )
    try:
        known = Op(op)
    except ValueError as err:
        raise RecordError(f"{path}: the record at byte {origin + start} is of a mark {op}, which is unknown") from err
    return Mark(
        op=known,
        status=status,
        vcpu=vcpu,
        others=others,
        tries=tries,
        test=test,
        name=name,
        base=base,
        bytes=length,
        view=view,
        ttbr0=ttbr0,
        ttbr1=ttbr1,
        tcr=tcr,
        start=first,
        end=end,
        detail=detail,
        memory=data[memory:at],
    )
