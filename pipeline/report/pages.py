"""Page states, one letter a page, as rows of blocks: what one contiguous set of PTEs covers, if it is aligned so."""

from itertools import groupby

from markupsafe import Markup, escape

#: More than a cell's regions hold; what is beyond is counted, not drawn.
MAX_PAGES = 1024
#: Letters of observation.Pages.
STATES = {
    ".": "not mapped",
    "s": "swap entry",
    "z": "zero page",
    "a": "anonymous",
    "l": "lazyfree",
    "d": "lazyfree but dirty",
    "A": "anonymous, large folio",
    "L": "lazyfree, large folio",
    "D": "lazyfree but dirty, large folio",
    "S": "swap entry, large folio",
    "Z": "zero page, large folio",
}
UNKNOWN = "unknown state"


def blocks(states: str, size: int) -> list[str]:
    """The states cut into blocks of ``size`` pages; the last may be shorter."""
    return [states[at : at + size] for at in range(0, len(states), size)]


def describe(states: str) -> str:
    """In words, for those who do not see the drawing: ``64 pages: 0 to 47 lazyfree, large folio; 48 to 63 ...``."""
    runs, at = [], 0
    for letter, group in groupby(states):
        length = len(list(group))
        where = str(at) if length == 1 else f"{at} to {at + length - 1}"
        runs.append(f"{where} {STATES.get(letter, UNKNOWN)}")
        at += length
    shown = runs[:12] + [f"and {len(runs) - 12} more runs"] * (len(runs) > 12)
    return f"{at} page{'s' * (at != 1)}: {'; '.join(shown)}" if runs else "no pages"


def markup(states: str, size: int) -> Markup:
    """The drawing: a ``b`` a block of ``size`` pages, an ``i`` a run of one state in it.

    The letters stay, so colour is not needed.
    """
    drawn = states[:MAX_PAGES]
    parts = []
    for block in blocks(drawn, size):
        runs = ((letter, "".join(group)) for letter, group in groupby(block))
        parts.append(
            Markup("<b>{}</b>").format(
                Markup("").join(Markup("<i class={}>{}</i>").format(css_class(letter), run) for letter, run in runs)
            )
        )
    more = len(states) - len(drawn)
    tail = escape(f" and {more} more pages") if more else Markup("")
    label = describe(states)
    return Markup('<span class=pages role=img aria-label="{}">{}</span>{}').format(label, Markup("").join(parts), tail)


def one(letter: str) -> Markup:
    """A single page, for the legend."""
    return Markup("<i class={}>{}</i>").format(css_class(letter), letter)


def css_class(letter: str) -> str:
    """The class of a state; class names keep the case, which tells large folios."""
    if letter == ".":
        return "p0"
    return f"p{letter}" if letter in STATES else "px"
