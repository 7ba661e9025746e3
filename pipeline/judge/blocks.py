"""The page tables of a cell by the rules of the hardware model: what each contiguous block must be."""

from dataclasses import dataclass

from pipeline.contpte.findings import place, violations
from pipeline.observation import Cell

#: Id of the built-in invariant, and the plugin that makes the readings.
INVARIANT = "block-attributes"
PLUGIN = "checkpoint"


@dataclass(frozen=True)
class Look:
    """What the tables of a cell show.

    ``broken``: rules that certainly do not hold, each in words; ``rules``: ids
    of those. ``doubt``: why nothing can be concluded although nothing is
    certain, "" if there is no such reason. ``blocks``: contiguous blocks that
    were seen, over all readings.
    """

    broken: tuple[str, ...]
    rules: frozenset[str]
    doubt: str
    readings: int
    blocks: int


def look(cell: Cell) -> Look:
    """Judge every reading of a cell's tables."""
    states = {(pages.at, "child" if pages.region == "child" else "own"): pages.states for pages in cell.pages}
    found = violations(cell.tables, states=states, folio_pages=cell.params.get("pages_per_folio", 0))
    sure, unsure = [one for one in found if one.sure], [one for one in found if not one.sure]
    failed = [one for one in cell.tables if one.failure]
    doubt = ""
    if failed:
        doubt = f"{place(failed[0])}: page tables not read: {failed[0].failure}"
    elif unsure:
        doubt = str(unsure[0])
    elif not cell.tables and (cell.steps or cell.pages):
        doubt = "no page tables on record"
    return Look(
        broken=tuple(str(one) for one in sure),
        rules=frozenset(one.rule.id for one in sure),
        doubt=doubt,
        readings=len(cell.tables) - len(failed),
        blocks=sum(one.counts.get("folded", 0) for one in cell.tables),
    )


def words(look: Look) -> str:
    """What a look that found nothing wrong rests on."""
    return f"{look.readings} readings of page tables, {look.blocks} contiguous blocks in them"
