"""What recorded tables add to the observation of a test: counts for claims, and what had to be so before it."""

from collections.abc import Mapping, Sequence

from pipeline.contpte.descriptor import GRANULES
from pipeline.contpte.tables import Tables

#: Name of the checkpoint at which a test has mapped its folios and done nothing else.
MAPPED = "mapped"


def step_counts(tables: Sequence[Tables], step: str, occurrence: int) -> dict[str, int]:
    """Counts at both ends of a step, e.g. ``folded_before`` and ``folded_after``; what was not read is absent.

    ``occurrence``: which of the steps of that name, from 0. Names are those of
    summary.COUNTS.
    """
    found = {}
    for when, suffix in (("step-begin", "before"), ("step-end", "after")):
        here = [one for one in tables if one.when == when and one.at == step and one.view == "own"]
        if occurrence < len(here):
            found |= {f"{name}_{suffix}": count for name, count in here[occurrence].counts.items()}
    return found


def foldable(tables: Sequence[Tables], params: Mapping[str, int], *, step: str = "free") -> tuple[int, int] | None:
    """Pages that a large TLB entry should cover before the step and those that one does, None where none should.

    A test whose folios (``params``: ``pages_per_folio``) are as large as a
    contiguous block must have them folded, or mapped by block descriptors,
    before what it is about: all of them at the checkpoint MAPPED; where it has
    none, one block at least at some point up to the first step of that name.
    Points that look at less than a folio say nothing of it.
    """
    read = [one for one in tables if not one.failure and one.view == "own"]
    if not read:
        return None
    granule = GRANULES[read[0].granule]
    block = granule.block // granule.page
    folio = params.get("pages_per_folio", 0)
    read = [one for one in read if one.bytes >= folio * granule.page]
    if folio < block or not read:
        return None
    covered = [one.counts["folded"] * block + one.counts["block"] for one in read]
    mapped = [(one.counts["pages"], got) for one, got in zip(read, covered, strict=True) if one.at == MAPPED]
    if mapped:
        return min(mapped, key=lambda pages: pages[1] - pages[0])
    first = next((at for at, one in enumerate(read) if one.at == step and one.when == "step-begin"), len(read) - 1)
    return block, max(covered[: first + 1])
