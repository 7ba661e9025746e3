"""From the checkpoint plugin's file to the tables of each test."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.contpte import record, regime, summary, walk
from pipeline.contpte.record import Mark, Op
from pipeline.contpte.tables import Tables, When
from pipeline.errors import KpvError

_WHEN: Mapping[Op, When] = {
    Op.CHECKPOINT: "checkpoint",
    Op.STEP_BEGIN: "step-begin",
    Op.STEP_END: "step-end",
}
_FNV_BASIS, _FNV_PRIME = 0xCBF29CE484222325, 0x100000001B3


def hash_name(name: str) -> int:
    """FNV-1a of 64 bits, as guest-tests/kpv_mark.h names tests, steps and checkpoints."""
    value = _FNV_BASIS
    for byte in name.encode():
        value = (value ^ byte) * _FNV_PRIME & (1 << 64) - 1
    return value


@dataclass(frozen=True)
class Checkpoint:
    """One point of a test at which its tables were read; ``name``: hash of the checkpoint's or step's name."""

    name: int
    when: When
    mark: Mark


def read_checkpoints(path: Path) -> dict[int, list[Checkpoint]]:
    """By hash of the test (``hash_name("fixture.variant.test")``): its checkpoints in order; none for one without.

    A test that ran several times has those of its last run. Raises RecordError.
    """
    return sort(record.read(path).marks, {})


def sort(marks: Iterable[Mark], tests: dict[int, list[Checkpoint]]) -> dict[int, list[Checkpoint]]:
    """Add marks to the checkpoints of their tests, see read_checkpoints."""
    for mark in marks:
        if mark.op == Op.TEST_BEGIN:
            tests[mark.name] = []
        elif mark.op in _WHEN and mark.test:
            tests.setdefault(mark.test, []).append(Checkpoint(mark.name, _WHEN[mark.op], mark))
    return tests


def tables_of(checkpoints: Iterable[Checkpoint], names: Iterable[str]) -> list[Tables]:
    """What the tables of a test held, point by point.

    ``names``: those of its steps and ``pages`` records; a checkpoint of another
    name is ``#<hash>``. What could not be read or is of a kind that this model
    does not know says so in ``failure``.
    """
    by_hash = {hash_name(name): name for name in names}
    # Most points find the tables as the one before left them.
    read: dict[tuple[object, ...], dict[str, object]] = {}
    found = []
    for checkpoint in checkpoints:
        mark = checkpoint.mark
        same = (mark.ttbr0, mark.ttbr1, mark.tcr, mark.base, mark.bytes, mark.status, mark.detail, mark.memory)
        if same not in read:
            read[same] = {"failure": mark.failure} if mark.status else _contents(mark)
        found.append(
            Tables(
                at=by_hash.get(checkpoint.name, f"#{checkpoint.name:016x}"),
                when=checkpoint.when,
                view="child" if mark.view else "own",
                base=mark.base,
                bytes=mark.bytes,
                others=mark.others,
                steady=mark.tries > 0,
                **read[same],
            )
        )
    return found


def _contents(mark: Mark) -> dict[str, object]:
    """Fields of Tables that come from the registers and the table memory."""
    try:
        how = regime.of(ttbr0=mark.ttbr0, ttbr1=mark.ttbr1, tcr=mark.tcr)
        spans = list(walk.walk(walk.Pieces(mark.pieces), how, mark.base, mark.base + mark.bytes))
    except (KpvError, ValueError) as err:
        return {"failure": str(err)}
    return {
        "granule": how.granule.name,
        "asid": how.asid,
        "hardware_af": how.hardware_af,
        "hardware_dirty": how.hardware_dirty,
        "counts": summary.counts(spans, how.granule, mark.base, mark.base + mark.bytes),
        "entries": summary.encode(spans, how.granule),
    }
