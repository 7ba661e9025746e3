"""What the TLB model says of a cell, in words: findings by rule and function, and why there may be none."""

from dataclasses import dataclass

from pipeline.contpte.descriptor import GRANULES, LAST, Descriptor
from pipeline.observation import Cell
from pipeline.tlb.model import NO_LINE, Finding, Observation

#: Id of the built-in invariant, and the plugin that watches.
INVARIANT = "tlb-rules"
PLUGIN = "contpte-tlb"
#: Of a machine with the plugin: it was loaded, and yet nothing is on record.
NOTHING = "the TLB model said nothing of this test"
#: Hardware that a finding is wrong on.
_WRONG_ON = {
    "A": "on a core that caches a contiguous block as one entry",
    "B": "on a core that caches each page of a block",
    "AB": "on any core",
}


@dataclass(frozen=True)
class Look:
    """What the model shows of a cell.

    ``broken``: a finding of each rule and function, in words, the first of each;
    ``kinds``: the rules and functions. ``doubt``: why nothing can be concluded,
    "" if there is no such reason; then nothing is broken either.
    """

    broken: tuple[str, ...] = ()
    kinds: frozenset[tuple[str, str]] = frozenset()
    doubt: str = ""


def look(cell: Cell) -> Look:
    """Judge what the model saw of a cell."""
    seen = cell.tlb
    if seen is None:
        return Look(doubt=NOTHING)
    first: dict[tuple[str, str], Finding] = {}
    for finding in seen.findings:
        first.setdefault((finding.rule, function(finding.function)), finding)
    words = tuple(f"{describe(finding, seen)}{_often(seen, kind)}" for kind, finding in first.items())
    if seen.invalid and not (words and seen.invalid == NO_LINE):  # what is found before a kernel dies counts
        more = f"; in doubt with it: {words[0]}" if words else ""
        return Look(doubt=f"the TLB model does not vouch for itself: {seen.invalid}{more}")
    if seen.total and not words:
        return Look(doubt=f"the TLB model counted {seen.total} findings and told none")
    return Look(broken=words, kinds=frozenset(first))


def words(cell: Cell) -> str:
    """What a cell that broke no rule rests on."""
    count = cell.tlb.counters if cell.tlb is not None else {}
    return (
        f"{count.get('pte_stores', 0)} stores to page tables, {count.get('tightened', 0)} of them tightening, "
        f"{count.get('tlbi', 0)} TLBI, {count.get('audits', 0)} audits of contiguous blocks"
    )


def function(symbol: str) -> str:
    """Of ``name+0xoffset`` the name in the source: without ``.isra.0`` and the like, which differ by build."""
    return symbol.partition("+")[0].partition(".")[0]


def describe(finding: Finding, seen: Observation) -> str:
    """A finding in a line: rule, place, descriptors, who stored, and what is missing."""
    old, new = _descriptor(finding.old, finding.level, seen), _descriptor(finding.new, finding.level, seen)
    text = f"{finding.rule} in {finding.function}, VA {finding.va:#x}, ASID {finding.asid}"
    taken = f" (taken away in {finding.taken})" if finding.taken else ""
    if finding.step:
        text += f", step {finding.step}"
    text += f": {finding.detail}: old {old}{taken}, new {new}; missing: {finding.missing}"
    if finding.tlbi:
        text += f" (not enough: that in {finding.tlbi})"
    return f"{text}; wrong {_WRONG_ON[finding.hardware]}"


def _often(seen: Observation, kind: tuple[str, str]) -> str:
    count = sum(one.count for one in seen.kinds if (one.rule, function(one.function)) == kind)
    return f"; {count} times" if count > 1 else ""


def _descriptor(value: int, level: int, seen: Observation) -> str:
    if value & 3 == 1:  # a block: what overlaps with a page was one level up
        level = min(level, LAST - 1)
    granule = next((one for one in GRANULES.values() if one.page == seen.page_size), None)
    raw = f"[{value:#018x}]"
    return f"{Descriptor(value, level, granule)} {raw}" if granule is not None else raw
