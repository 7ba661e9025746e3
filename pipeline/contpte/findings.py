"""Judges recorded tables by the rules, and says of each violation where it is and what Linux made of the page."""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.contpte import rules, summary
from pipeline.contpte.descriptor import GRANULES, LAST, Descriptor, Granule
from pipeline.contpte.rules import Finding, Rule
from pipeline.contpte.tables import Tables
from pipeline.contpte.walk import Span

#: Of those letters: anonymous memory, which in these tests is private.
_PRIVATE = frozenset("ald")
#: Letters of a ``pages`` record (pipeline.observation.Pages), for a person.
_LETTERS = {
    ".": "none",
    "s": "swap entry",
    "z": "zero page",
    "a": "anonymous, swap-backed",
    "l": "lazyfree",
    "d": "lazyfree, but the folio is dirty",
    "?": "not anonymous",
}


@dataclass(frozen=True)
class Violation:
    """A rule broken at one point of a test.

    ``before``: the same entry when it was last read, None if it was not;
    ``before_at``: where. ``linux``: what the kernel has at that address, ""
    where nothing is known. ``sure``: it was not the middle of a change, since
    no other CPU could make one, or since it was there at another point too.
    """

    rule: Rule
    finding: Finding
    tables: Tables
    before: int | None
    before_at: str
    linux: str
    sure: bool = True

    def __str__(self) -> str:
        granule, found = GRANULES[self.tables.granule], self.finding
        size = granule.contiguous[found.level]
        where = f"{place(self.tables)}: {self.rule.id}: VA {found.va:#x}"
        if self.rule.id in rules.OF_BLOCKS:
            where += (
                f", entry {found.entry} of the contiguous block at {found.block:#x} ({found.offending} of {size} so)"
            )
        text = f"{where}: {_entry(found.value, found.level, granule)}"
        if found.other != found.value:
            who = "others of the block" if self.rule.id in rules.OF_BLOCKS else "the other process"
            text += f", {who}: {_entry(found.other, found.level, granule)}"
        if self.before is not None and self.before != found.value:
            text += f", before ({self.before_at}): {_entry(self.before, found.level, granule)}"
        if self.linux:
            text += f"; Linux: {self.linux}"
        if not self.sure:
            text += "; another CPU ran while this was read, so it may be half of a change"
        return text


def place(tables: Tables) -> str:
    """Where in a test: ``after-free``, ``end of step free``, ``before-free (child)``."""
    names = {"checkpoint": "", "step-begin": "begin of step ", "step-end": "end of step "}
    return f"{names[tables.when]}{tables.at}" + (" (child)" if tables.view == "child" else "")


def violations(
    tables: Sequence[Tables], *, states: Mapping[tuple[str, str], str] | None = None, folio_pages: int = 0
) -> list[Violation]:
    """Every rule on every point of a test, in order; tables that were not read are passed over.

    ``states``: letters of the ``pages`` records by checkpoint and view ("own",
    "child"); ``folio_pages``: pages of the folios that the test arranged.
    """
    found = list(_violations(tables, states or {}, folio_pages))
    seen = Counter(_what(one) for one in found)
    return [replace(one, sure=one.tables.alone or seen[_what(one)] > 1) for one in found]


def _what(one: Violation) -> tuple[object, ...]:
    """The same at any point of a test."""
    return one.tables.view, one.rule.id, one.finding.va, one.finding.value


def _violations(
    tables: Sequence[Tables], states: Mapping[tuple[str, str], str], folio_pages: int
) -> Iterator[Violation]:
    seen: dict[str, tuple[Tables, list[Span]]] = {}
    checked: dict[tuple[object, ...], tuple[list[Span], list[Finding]]] = {}
    for one in tables:
        if one.failure:
            continue
        granule = GRANULES[one.granule]
        key = (one.granule, one.hardware_af, one.hardware_dirty, *one.entries)
        if key not in checked:
            decoded = summary.decode(one.entries, granule)
            checked[key] = (
                decoded,
                [
                    finding
                    for span in decoded
                    for finding in rules.check(
                        span.entries,
                        va=span.va,
                        level=span.level,
                        granule=granule,
                        hardware_af=one.hardware_af,
                        hardware_dirty=one.hardware_dirty,
                    )
                ],
            )
        spans, findings = checked[key]
        for finding in findings:
            before, before_at = None, ""
            if one.view in seen:
                last, earlier = seen[one.view]
                before, before_at = _entry_at(earlier, finding, granule), place(last)
            letters = states.get((one.at, one.view), "")
            yield Violation(
                rules.RULES[finding.rule],
                finding,
                one,
                before,
                before_at,
                _linux(one, finding, granule, letters, folio_pages),
            )
        seen[one.view] = (one, spans)
        if one.when == "checkpoint" and len({last.at for last, _ in seen.values()}) == 1:
            yield from _between(list(seen.values()), states, granule, folio_pages)


def _between(
    views: Sequence[tuple[Tables, list[Span]]],
    states: Mapping[tuple[str, str], str],
    granule: Granule,
    folio_pages: int,
) -> Iterator[Violation]:
    """The tables of a process and its child at one checkpoint: rule ``shared-writable``, on pages known private."""
    for (mine, spans), (theirs, others) in itertools.permutations(views, 2):
        elsewhere = [span.entries for span in others if span.level == LAST]
        letters = states.get((mine.at, mine.view), "")
        for span in spans:
            if span.level != LAST or not elsewhere:
                continue
            foreign = np.concatenate(elsewhere)
            for at in np.flatnonzero(rules.shared_writable(span.entries, foreign, granule=granule)).tolist():
                va, value = span.va + at * granule.page, int(span.entries[at])
                page = (va - mine.base) // granule.page
                if not (0 <= page < len(letters) and letters[page].lower() in _PRIVATE):
                    continue
                address = Descriptor(value, LAST, granule).address
                other = next(int(e) for e in foreign if Descriptor(int(e), LAST, granule).address == address)
                finding = Finding("shared-writable", LAST, va, va, 0, 1, value, other)
                linux = _linux(mine, finding, granule, letters, folio_pages)
                yield Violation(rules.RULES[finding.rule], finding, mine, None, place(theirs), linux)


def _entry(value: int, level: int, granule: Granule) -> str:
    return f"{Descriptor(value, level, granule)} [{value:#018x}]"


def _entry_at(spans: Sequence[Span], finding: Finding, granule: Granule) -> int | None:
    size = granule.maps(finding.level)
    for span in spans:
        at = (finding.va - span.va) // size
        if span.level == finding.level and 0 <= at < len(span.entries):
            return int(span.entries[at])
    return None


def _linux(tables: Tables, finding: Finding, granule: Granule, letters: str, folio_pages: int) -> str:
    """The page's state as the kernel told it at this checkpoint, and the folio that its frame belongs to."""
    page = (finding.va - tables.base) // granule.page
    words = []
    if 0 <= page < len(letters):
        letter = letters[page]
        of = " page of a large folio" if letter.isupper() else ""
        words.append(f"page {page} of the region at {tables.base:#x}, {_LETTERS.get(letter.lower(), letter)}{of}")
    entry = Descriptor(finding.value, finding.level, granule)
    if entry.leaf and folio_pages > 1:
        head = entry.pfn & ~(folio_pages - 1)
        words.append(f"frame {entry.pfn:#x} of the folio of {folio_pages} pages at frame {head:#x}")
    return ", ".join(words)
