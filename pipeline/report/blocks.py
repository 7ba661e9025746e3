"""Contiguous blocks as they are drawn: nouns only, made by pipeline.report.readings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

#: Bits of an entry that get a line each, and what they are to Linux.
LANES = {
    "cont": "contiguous bit",
    "young": "accessed (AF)",
    "dirty": "dirty: hardware may write it, or Linux's dirty bit",
    "write": "may be written (DBM, Linux's PTE_WRITE)",
}


@dataclass(frozen=True)
class Stretch:
    """``count`` entries from ``first`` on that are alike; ``what``: in which respect."""

    first: int
    count: int
    what: str = ""

    @property
    def last(self) -> int:
        return self.first + self.count - 1


@dataclass(frozen=True)
class Frames(Stretch):
    """Entries that map consecutive frames, the first of them ``pfn``."""

    pfn: int = 0


@dataclass(frozen=True)
class Folio(Stretch):
    """Entries that map pages of one large folio. ``before``, ``after``: it goes on beyond the block."""

    pages: int = 0
    before: bool = False
    after: bool = False


@dataclass(frozen=True)
class Block:
    """The entries that hardware may cache as one, if they are folded; above level 3 one block descriptor.

    ``number``: which of the reading, from 0; ``alike``: as many, each ``every``
    blocks on, look the same but for their frames, which are the first's.
    ``maps``: pages an entry. ``letters``: states of the pages
    (observation.Pages), blank where none was told.
    """

    number: int
    va: int
    alike: int
    every: int
    size: int
    maps: int
    folded: bool
    kinds: tuple[Stretch, ...]
    lanes: dict[str, tuple[Stretch, ...]]
    letters: str
    frames: tuple[Frames, ...]
    folios: tuple[Folio, ...]

    @property
    def mapped(self) -> bool:
        """Whether hardware or Linux translates by any of its entries."""
        return any(kind.what in ("valid", "prot-none") for kind in self.kinds)

    @property
    def look(self) -> "Block":
        """The block but for its frames, which no two boots need have alike."""
        return replace(self, frames=tuple(replace(run, pfn=0) for run in self.frames))


@dataclass(frozen=True)
class Reading:
    """The blocks of a region at one point; ``more`` are not drawn. ``failure``: why nothing was read."""

    blocks: tuple[Block, ...] = ()
    more: int = 0
    failure: str = ""


def stretches(values: Sequence[str]) -> Iterator[Stretch]:
    """Runs of the same value."""
    at = 0
    for what, group in groupby(values):
        count = len(list(group))
        yield Stretch(at, count, what)
        at += count
