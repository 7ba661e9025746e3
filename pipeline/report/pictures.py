"""What a job shows of its pages: contiguous blocks before and after a step, and page states by checkpoint."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from pipeline.contpte.descriptor import GRANULES, LAST
from pipeline.observation import Cell, Pages
from pipeline.report.blocks import Reading
from pipeline.report.readings import steps_of


@dataclass(frozen=True)
class Picture:
    """One step on machines of which the tables look alike. ``columns``: ``(title, reading)``; where every kernel
    begins alike, that once, with the frames of ``frames_of``, and then what each made of it."""

    step: str
    machines: tuple[str, ...]
    frames_of: str
    columns: tuple[tuple[str, tuple[tuple[str, Reading], ...]], ...]


@dataclass(frozen=True)
class PagesRow:
    """Page states at a checkpoint; kernels that show the same states share a drawing. ``block``: pages of a contiguous
    block."""

    at: str
    region: str
    block: int
    drawings: tuple[tuple[str, str], ...]


def pictures(machines: Sequence[Sequence[Cell]], steps: Sequence[str]) -> tuple[Picture, ...]:
    """The steps of a job; a machine is drawn by itself only where its tables look otherwise.

    ``machines``: for each machine its cells, one a kernel.
    """
    found: dict[tuple[object, ...], Picture] = {}
    for cells in machines:
        read = {cell.kernel: {step.name: step for step in steps_of(cell, steps)} for cell in cells}
        for name in steps:
            kernels = tuple((k, of[name].before, of[name].after) for k, of in read.items() if name in of)
            if not kernels:
                continue
            look = (name, *((k, _look(before), _look(after)) for k, before, after in kernels))
            before = found.get(look) or _picture(name, kernels)
            found[look] = replace(before, machines=(*before.machines, cells[0].machine))
    return tuple(found.values())


def _picture(step: str, kernels: Sequence[tuple[str, Reading, Reading]]) -> Picture:
    """The picture of a step, of no machine yet. ``kernels``: ``(kernel, before, after)``."""
    name, first, _ = kernels[0]
    if len(kernels) > 1 and all(_look(before) == _look(first) for _, before, _ in kernels):
        begins = ("Every kernel", (("before", first),))
        return Picture(step, (), name, (begins, *((kernel, (("after", after),)) for kernel, _, after in kernels)))
    columns = ((kernel, (("before", before), ("after", after))) for kernel, before, after in kernels)
    return Picture(step, (), "", tuple(columns))


def drawn(found: Sequence[Picture]) -> set[str]:
    """Checkpoints whose page states are in the pictures, whole: their letters are in the boxes."""
    whole = [p for p in found if not any(one.more or one.failure for _, ends in p.columns for _, one in ends)]
    return {f"{when}-{picture.step}" for picture in whole for when in ("before", "after")}


def _look(reading: Reading) -> tuple[object, ...]:
    return (reading.failure, reading.more, *(repr(block.look) for block in reading.blocks))


def page_states(cells: Sequence[Cell], but: Collection[str] = ()) -> tuple[PagesRow, ...]:
    """Every checkpoint of every region, over the kernels; ``but`` those checkpoints of the region itself."""
    rows, block = [], _block_of(cells)
    seen_keys = dict.fromkeys((record.at, record.region, at) for cell in cells for record, at in _numbered(cell))
    for key in seen_keys:
        if key[1] == "range" and key[0] in but:
            continue
        same: dict[str, list[str]] = {}
        for cell in cells:
            for record, at in _numbered(cell):
                if (record.at, record.region, at) == key:
                    same.setdefault(record.states, []).append(cell.kernel)
        everyone = len(same) == 1 and len(next(iter(same.values()))) == len(cells) > 1
        drawings = tuple(
            ("all kernels" if everyone else ", ".join(kernels), states) for states, kernels in same.items()
        )
        rows.append(PagesRow(key[0], key[1], block, drawings))
    return tuple(rows)


def _block_of(cells: Sequence[Cell]) -> int:
    """Pages of a contiguous block, by the page size that the tests found; of 4K pages where they told none."""
    sizes = {cell.params["page_size"] for cell in cells if "page_size" in cell.params}
    granule = next((one for one in GRANULES.values() if sizes == {one.page}), GRANULES["4k"])
    return granule.contiguous[LAST]


def _numbered(cell: Cell) -> Iterator[tuple[Pages, int]]:
    """Page records with how often the same checkpoint and region came before."""
    seen: Counter[tuple[str, str]] = Counter()
    for record in cell.pages:
        yield record, seen[record.at, record.region]
        seen[record.at, record.region] += 1
