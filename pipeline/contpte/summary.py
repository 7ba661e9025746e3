"""From spans of entries to what is kept of them: counts by page, and the entries themselves in few words."""

import re
from collections.abc import Iterable, Iterator

import numpy as np

from pipeline.contpte import rules
from pipeline.contpte.descriptor import (
    AF,
    CONTIGUOUS,
    DBM,
    LAST,
    PRESENT_INVALID,
    READ_ONLY,
    SW_DIRTY,
    SW_UFFD_WP,
    SWP_UFFD_WP,
    VALID,
    Granule,
)
from pipeline.contpte.rules import Mask, u64
from pipeline.contpte.walk import Entries, Span

#: Pages of the range, but for ``folded``, which is blocks. A block descriptor counts for all pages that it maps.
COUNTS = {
    "pages": "of the range",
    "valid": "translated by hardware",
    "contiguous": "whose entry has the contiguous bit, and is valid",
    "folded": "contiguous blocks (not pages) that are whole, and have a page in the range",
    "block": "mapped by a block descriptor (a PMD)",
    "young": "accessed, as Linux sees them: the access flag of any entry of a folded block",
    "dirty": "dirty, as Linux sees them: the dirty state of any entry of a folded block",
    "own_young": "whose own entry has the access flag",
    "own_dirty": "whose own entry is dirty to Linux: hardware may write it, or the software bit is set",
    "sw_dirty": "whose own entry has Linux's dirty bit",
    "writable": "that Linux lets be written (PTE_WRITE, the DBM bit)",
    "read_only": "whose own entry is read-only to hardware (AP[2]) at this moment",
    "prot_none": "present to Linux, invalid to hardware",
    "swap": "with a swap entry: swapped out, under migration, a marker",
    "none": "with no entry",
    "uffd_wp": "write-protected by userfaultfd",
    "stuck": "of folded blocks that a CPU without hardware updates could not use although Linux's view allows it",
}


def counts(spans: Iterable[Span], granule: Granule, base: int, end: int) -> dict[str, int]:
    """COUNTS over the pages of [base, end); every page of it is in exactly one span, or below a table of one."""
    total = dict.fromkeys(COUNTS, 0)
    total["pages"] = (end - base) // granule.page
    for span in spans:
        size, number = granule.maps(span.level), len(span.entries)
        first = min(max(0, (base - span.va) // size), number)
        last = min(max(0, -(-(end - span.va) // size)), number)
        if last <= first:
            continue
        starts = span.va + np.arange(first, last, dtype=np.int64) * size
        pages = (np.minimum(starts + size, end) - np.maximum(starts, base)) >> granule.page_shift
        block = granule.contiguous[span.level]
        grouped = span.entries.reshape(-1, block if number % block == 0 else 1)
        is_folded = rules.folded(grouped, span.level, granule)
        if span.level == LAST:
            total["folded"] += int(is_folded[first // block : -(-last // block)].sum())
        for name, mask in _masks(grouped, span.level, granule, is_folded).items():
            total[name] += int(pages[mask.reshape(-1)[first:last]].sum())
    return total


def _masks(grouped: Entries, level: int, granule: Granule, is_folded: Mask) -> dict[str, Mask]:
    """For each count by page which entries it is of; shape of ``grouped``, one row a contiguous block."""

    def has(bit: int) -> Mask:
        return (grouped & u64(bit)) != 0

    leaf = rules.leaves(grouped, level, granule)
    invalid = ~has(VALID)
    row = is_folded[:, None]
    young, dirty = leaf & has(AF), leaf & rules.dirty(grouped)
    swap = invalid & ~has(PRESENT_INVALID) & (grouped != 0)
    stuck = rules.faults_for_ever(grouped, write=True) | rules.faults_for_ever(grouped, write=False)
    return {
        "valid": leaf,
        "contiguous": leaf & has(CONTIGUOUS),
        "block": leaf & np.bool_(level != LAST),
        "own_young": young,
        "own_dirty": dirty,
        "young": young | (row & young.any(axis=1, keepdims=True)),
        "dirty": dirty | (row & dirty.any(axis=1, keepdims=True)),
        "sw_dirty": leaf & has(SW_DIRTY),
        "writable": leaf & has(DBM),
        "read_only": leaf & has(READ_ONLY),
        "prot_none": invalid & has(PRESENT_INVALID),
        "swap": swap,
        "none": grouped == 0,
        "uffd_wp": (leaf & has(SW_UFFD_WP)) | (swap & has(SWP_UFFD_WP)),
        "stuck": row & stuck,
    }


_RUN = re.compile(r"([0-9a-f]+) ([0-3]) ([0-9a-f]+)(?: x(\d+)(?: \+([0-9a-f]+))?)?")


def encode(spans: Iterable[Span], granule: Granule) -> list[str]:
    """Entries as runs, ``<va> <level> <entry>[ x<count>[ +<step>]]``: each entry of a run is the one before plus step.

    va, entry and step are hexadecimal; va is what the run's first entry maps.
    A folded block of which no page differs from the others is one run.
    """
    return [run for span in spans for run in _runs(span, granule.maps(span.level))]


def _runs(span: Span, size: int) -> Iterator[str]:
    values, at = span.entries.tolist(), 0
    while at < len(values):
        step = values[at + 1] - values[at] if at + 1 < len(values) else 0
        end = at + 1
        if step in (0, size):
            while end < len(values) and values[end] - values[end - 1] == step:
                end += 1
        run = f"{span.va + at * size:x} {span.level} {values[at]:x}"
        if end - at > 1:
            run += f" x{end - at}" + (f" +{step:x}" if step else "")
        yield run
        at = end


def decode(runs: Iterable[str], granule: Granule) -> list[Span]:
    """The inverse of ``encode``; runs that adjoin become one span. Raises ValueError for anything else."""
    spans: list[tuple[int, int, list[Entries]]] = []
    end = -1
    for run in runs:
        match = _RUN.fullmatch(run)
        if match is None:
            raise ValueError(f"not a run of table entries: {run!r}")
        va, level, count, step = int(match[1], 16), int(match[2]), int(match[4] or 1), int(match[5] or "0", 16)
        entries = np.uint64(int(match[3], 16)) + np.arange(count, dtype=np.uint64) * np.uint64(step)
        if not spans or va != end or spans[-1][1] != level:
            spans.append((va, level, []))
        spans[-1][2].append(entries)
        end = va + count * granule.maps(level)
    return [Span(va, level, np.concatenate(parts)) for va, level, parts in spans]
