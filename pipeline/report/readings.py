"""From readings of page tables to blocks to draw, at both ends of a step."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from pipeline.contpte import rules, summary
from pipeline.contpte.descriptor import AF, CONTIGUOUS, DBM, GRANULES, LAST, PRESENT_INVALID, TABLE, VALID, Granule
from pipeline.contpte.rules import Mask, u64
from pipeline.contpte.tables import Tables
from pipeline.contpte.walk import Entries, Span
from pipeline.observation import Cell
from pipeline.report.blocks import LANES, Block, Folio, Frames, Reading, Stretch, stretches

#: Pictures of one end of a step; blocks that look alike in a row are one. What is beyond is counted.
MAX_PICTURES = 4
#: Blocks of a pattern that is drawn once, e.g. those of one folio.
MAX_PATTERN = 4
#: Kinds of an entry, by value of the lowest two bits of its code.
KINDS = ("none", "valid", "prot-none", "swap")
_MASKS = (3, 4, 8, 16, 32)  # kind, then the lanes


@dataclass(frozen=True)
class Step:
    """A region before and after one step of a test."""

    name: str
    before: Reading
    after: Reading


def steps_of(cell: Cell, names: Sequence[str]) -> list[Step]:
    """The named steps of a cell of which the tables were read at both ends; the first time each was done."""
    found, pages = [], cell.params.get("pages_per_folio", 0)
    own = [one for one in cell.tables if one.view == "own"]
    states = {record.at: record.states for record in cell.pages if record.region == "range"}
    for name in dict.fromkeys(names):
        begin = next((i for i, one in enumerate(own) if one.at == name and one.when == "step-begin"), None)
        end = next((one for one in own if one.at == name and one.when == "step-end"), None)
        if begin is None or end is None:
            continue
        # Where the test told no states right before the step, those of the last time hold if no entry changed since.
        told = states.get(f"before-{name}") or _told_before(own[: begin + 1], states)
        before, after = read(own[begin], told, pages), read(end, states.get(f"after-{name}", ""), pages)
        found.append(Step(name, before, after))
    return found


def _told_before(tables: Sequence[Tables], states: Mapping[str, str]) -> str:
    now = tables[-1]
    for one in reversed(tables[:-1]):
        if (one.base, one.entries) != (now.base, now.entries):
            return ""
        if one.when == "checkpoint" and one.at in states:
            return states[one.at]
    return ""


def read(tables: Tables, letters: str = "", folio_pages: int = 0) -> Reading:
    """The blocks of one reading. ``letters``: states of the pages from ``base`` on; ``folio_pages``: of the
    folios that the test arranged, which start at multiples of it in physical memory."""
    if tables.failure:
        return Reading(failure=tables.failure)
    granule = GRANULES[tables.granule]
    folio_pages = folio_pages if folio_pages & (folio_pages - 1) == 0 else 0
    found = [
        one
        for span in summary.decode(tables.entries, granule)
        for one in _blocks(span, granule, tables, letters, folio_pages)
    ]
    blocks = [
        replace(found[at][1](), number=at, alike=alike, every=every)
        for first, every, alike in _repeats([key for key, _ in found])
        for at in range(first, first + every)
    ]
    return Reading(tuple(blocks[:MAX_PICTURES]), sum(block.alike for block in blocks[MAX_PICTURES:]))


def _repeats(keys: Sequence[object]) -> Iterator[tuple[int, int, int]]:
    """``(at, every, times)``: patterns of up to MAX_PATTERN keys that come several times in a row, else single keys."""
    at = 0
    while at < len(keys):
        every, times = 1, 1
        for length in range(1, MAX_PATTERN + 1):
            pattern, end = keys[at : at + length], at + length
            while keys[end : end + length] == pattern:
                end += length
            if end > at + length:
                every, times = length, (end - at) // length
                break
        yield at, every, times
        at += every * times


def _blocks(
    span: Span, granule: Granule, tables: Tables, letters: str, folio_pages: int
) -> Iterator[tuple[object, Callable[[], Block]]]:
    """Of each block of the region what is alike for blocks that look alike, and what makes it."""
    size = granule.contiguous[LAST] if span.level == LAST and len(span.entries) % granule.contiguous[LAST] == 0 else 1
    maps = granule.maps(span.level) >> granule.page_shift
    rows = span.entries.reshape(-1, size)
    codes = _codes(rows)
    is_folded = rules.folded(rows, span.level, granule)
    end = tables.base + tables.bytes
    is_table = ((rows & u64(VALID | TABLE)) == u64(VALID | TABLE)).all(axis=1)
    pfns = (rows & u64(granule.address_mask(span.level))) >> u64(granule.page_shift)
    for at in range(len(rows)):
        va = span.va + at * size * granule.maps(span.level)
        if span.level != LAST and (is_table[at] or not tables.base - granule.maps(span.level) < va < end):
            continue  # what a table translates is a span of its own
        page = (va - tables.base) >> granule.page_shift
        shown = _letters(letters, page, size, maps)
        joined = _joined(codes[at], pfns[at], maps, folio_pages)
        large = folio_pages > 1 and not shown.islower()
        borders = ((pfns[at] % u64(folio_pages)) == 0).tobytes() if large else b""
        ends = large and int(pfns[at][-1] + u64(1)) % folio_pages == 0
        key = (span.level, codes[at].tobytes(), shown, joined.tobytes(), borders, ends, bool(is_folded[at]))

        def make(at: int = at, va: int = va, shown: str = shown, joined: Mask = joined) -> Block:
            frames = tuple(_frames(codes[at], pfns[at].tolist(), joined.tolist()))
            lanes = zip(LANES, _MASKS[1:], strict=True)
            return Block(
                number=0,
                va=va,
                alike=1,
                every=1,
                size=size,
                maps=maps,
                folded=bool(is_folded[at]) and size > 1,
                kinds=tuple(stretches([KINDS[code & 3] for code in codes[at].tolist()])),
                lanes={name: tuple(_set(codes[at] & mask)) for name, mask in lanes},
                letters=shown,
                frames=frames,
                folios=tuple(_folios(shown, frames, pfns[at].tolist(), folio_pages)) if maps == 1 else (),
            )

        yield key, make


def _codes(rows: Entries) -> np.ndarray:
    """Kind and lanes of each entry in one byte, see _MASKS."""

    def has(bit: int) -> np.ndarray:
        return (rows & u64(bit)) != 0

    valid = has(VALID)
    prot_none = ~valid & has(PRESENT_INVALID)
    present = valid | prot_none
    kind = np.select([valid, prot_none, rows != 0], [1, 2, 3], 0)
    bits = [has(CONTIGUOUS), has(AF), rules.dirty(rows), has(DBM)]
    return (kind + sum((bit & present) * mask for bit, mask in zip(bits, _MASKS[1:], strict=True))).astype(np.uint8)


def _letters(letters: str, page: int, size: int, maps: int) -> str:
    """A letter an entry; where it maps pages of several states "*"."""
    if maps == 1:
        return "".join(letters[p] if 0 <= p < len(letters) else " " for p in range(page, page + size))
    states = set(letters[max(0, page) : max(0, page + maps)])
    return (states.pop() if len(states) == 1 else "*" if states else " ") * size


def _set(bits: np.ndarray) -> Iterator[Stretch]:
    return (one for one in stretches(["x" if bit else "" for bit in bits.tolist()]) if one.what)


def _joined(codes: np.ndarray, pfns: Entries, maps: int, folio_pages: int) -> Mask:
    """Which entries map the frame behind that of the entry before. Where one folio ends and the next begins is no
    such place: whether they happen to be neighbours tells nothing."""
    present = (codes & 3) % 3 != 0
    joined = np.zeros(len(pfns), dtype=np.bool_)
    joined[1:] = present[1:] & present[:-1] & (pfns[1:] == pfns[:-1] + u64(maps))
    if folio_pages:
        joined &= (pfns % u64(folio_pages)) != 0
    return joined


def _frames(codes: np.ndarray, pfns: list[int], joined: list[bool]) -> Iterator[Frames]:
    start, present = 0, ((codes & 3) % 3 != 0).tolist()
    for at in range(1, len(pfns) + 1):
        if at == len(pfns) or not joined[at]:
            if present[start]:
                yield Frames(start, at - start, pfn=pfns[start])
            start = at


def _folios(letters: str, frames: Sequence[Frames], pfns: list[int], pages: int) -> Iterator[Folio]:
    """Large folios by the letters (upper case), cut where the frames leave one."""
    for run in frames:
        for at, group in groupby(
            range(run.first, run.last + 1), lambda i: letters[i].isupper() and (pfns[i] // pages if pages > 1 else -1)
        ):
            entries = list(group)
            if at is False:
                continue
            first, count = entries[0], len(entries)
            inside = pfns[first] % pages if pages > 1 else 0
            ends_block = entries[-1] == len(pfns) - 1
            yield Folio(
                first,
                count,
                pages=pages,
                before=first == 0 and inside > 0,
                after=ends_block and inside + count < pages,
            )
