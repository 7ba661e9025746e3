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


def never_folded(tables: Sequence[Tables], params: Mapping[str, int], *, step: str = "free") -> tuple[int, int] | None:
    """Pages wanted and got that a large TLB entry could cover before the step, or None where nothing can be said.

    A test whose folios are as large as a contiguous block, or larger, must
    have had one folded (or mapped by a block descriptor) before what it is
    about: at the checkpoint MAPPED, or else at any point up to the first step
    of that name. ``params``: those of the test, ``pages_per_folio``.
    """
    read = [one for one in tables if not one.failure and one.view == "own"]
    if not read:
        return None
    granule = GRANULES[read[0].granule]
    entries = granule.block // granule.page
    if params.get("pages_per_folio", 0) < entries:
        return None
    first = next((at for at, one in enumerate(read) if one.at == step and one.when == "step-begin"), len(read) - 1)
    points = [one for one in read if one.at == MAPPED] or read[: first + 1]
    return entries, max(one.counts["folded"] * entries + one.counts["block"] for one in points)
