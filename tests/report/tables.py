"""Readings of page tables made by hand: entries by what they say, in the form of an observation."""

from collections.abc import Sequence

import numpy as np

from pipeline.contpte import summary
from pipeline.contpte.descriptor import AF, CONTIGUOUS, DBM, GRANULES, LAST, NG, READ_ONLY, SW_DIRTY, TABLE, USER, VALID
from pipeline.contpte.tables import Tables, When
from pipeline.contpte.walk import Span

BASE = 0x1000_0000_0000
_BITS = {"c": CONTIGUOUS, "y": AF, "w": DBM, "d": SW_DIRTY}


def entry(pfn: int, flags: str = "cydw", *, granule: str = "4k", level: int = LAST) -> int:
    """A leaf: of ``flags`` c contiguous, y young, d dirty, w may be written; clean ones are read-only to hardware."""
    value = pfn << GRANULES[granule].page_shift | VALID | USER | NG | (TABLE if level == LAST else 0)
    for flag in flags:
        value |= _BITS[flag]
    return value if "d" in flags else value | READ_ONLY


def folio(pfn: int, pages: int, flags: str = "cydw", granule: str = "4k") -> list[int]:
    """Entries of a folio's pages."""
    return [entry(pfn + at, flags, granule=granule) for at in range(pages)]


def tables(
    entries: Sequence[int],
    *,
    at: str = "free",
    when: When = "step-begin",
    granule: str = "4k",
    level: int = LAST,
    **more: object,
) -> Tables:
    """A reading of a region at BASE that consists of these entries."""
    kind = GRANULES[granule]
    spans = [Span(BASE, level, np.array(entries, dtype=np.uint64))]
    data = {"at": at, "when": when, "base": BASE, "bytes": len(entries) * kind.maps(level), "granule": granule}
    return Tables.model_validate(data | {"entries": summary.encode(spans, kind)} | more)
