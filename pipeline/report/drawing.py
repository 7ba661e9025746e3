"""Inline SVG: a contiguous block as on a whiteboard, and a number as a bar. Classes are those of style.css.

The entries of a folded block are drawn as one box, those of others as boxes
apart; below, a line a bit, set where it is thick; an arrow over each run of
frames. Each picture tells the same in words (``describe``).
"""

from collections.abc import Callable, Iterable
from itertools import groupby

from markupsafe import Markup, escape

from pipeline.contpte.descriptor import GRANULES
from pipeline.report.blocks import LANES, Block, Frames, Stretch, stretches
from pipeline.report.pages import STATES, UNKNOWN, css_class

#: Of a picture, in its own units: the labels' column, the entries, a margin.
LEFT, WIDTH, RIGHT = 40, 256, 4
_FOLIO, _BOX, _DEEP, _LANE, _LANE_STEP, _FRAMES = 12, 17, 20, 47, 11, 92
#: Entries narrower than this have one letter a run, not one each.
_NARROW = 8
#: Room of a frame number.
_NUMBER = 50


def defs() -> Markup:
    """What every picture has alike, once a page: the pictures refer to it, which keeps them small."""
    # Rules that name an ancestor do not reach what is referred to, so these classes are of no other use.
    lanes = ""
    for at, name in enumerate(LANES):
        y = _LANE + at * _LANE_STEP
        lanes += f"<text class=bt x=0 y={y + 4}>{name}</text><path class=bg d='M{LEFT} {y}h{WIDTH}'/>"
    symbols = {"lanes": lanes, "frames": f"<path d='{_arrow(LEFT + 1, LEFT + WIDTH - 1)}'/>"}
    for size in sorted({1} | {size for granule in GRANULES.values() for size in granule.contiguous}):
        symbols[f"apart{size}"] = f"<path d='{_apart(0, size, WIDTH / size)}'/>"
        symbols[f"folded{size}"] = _folded(size)
    parts = (f"<symbol id={name} overflow=visible>{content}</symbol>" for name, content in symbols.items())
    # Hidden by size, not by display: what is not displayed is not drawn where it is referred to either.
    return Markup(f"<svg class=defs aria-hidden=true>{''.join(parts)}</svg>")


def _apart(first: int, count: int, each: float) -> str:
    gap = min(3.0, each / 4)
    box = f"h{each - gap:.4g}v{_DEEP}h-{each - gap:.4g}z"
    return f"M{LEFT + first * each + gap / 2:.4g} {_BOX}" + f"m{each:.4g} 0".join([box] * count)


def _folded(size: int) -> str:
    """The outline of a folded block, and its entries where they are wide enough."""
    each = WIDTH / size
    ticks = "".join(f"M{_x(at, each)} {_BOX}v{_DEEP}" for at in range(1, size)) if each >= _NARROW else ""
    return f"<path class=bk d='{ticks}'/><rect class=bo x={LEFT} y={_BOX} width={WIDTH} height={_DEEP} rx=4 />"


def _arrow(left: float, right: float) -> str:
    head = "l-4 -3m4 3l-4 3" if right - left > WIDTH / 16 else ""
    return f"M{left:.4g} {_FRAMES - 3}v6m0 -3H{right:.4g}{head}"


def title(block: Block) -> str:
    """Which blocks a picture stands for, and whether they are folded."""
    if block.alike == 1:
        which = f"Block {block.number}"
    elif block.every == 1:
        which = f"Blocks {block.number} to {block.number + block.alike - 1}, alike"
    else:
        numbers = range(block.number, block.number + block.alike * block.every, block.every)
        which = f"Blocks {', '.join(map(str, numbers[:4]))}{' …' if len(numbers) > 4 else ''}, alike"
    if block.maps > 1:
        return f"{which}: {_of_many(block)}"
    return f"{which}: {_fold(block)}"


def _of_many(block: Block) -> str:
    return f"{'one block descriptor' if block.mapped else 'one entry'} for {block.maps} pages"


def _fold(block: Block) -> str:
    if block.folded:
        return "folded"
    if not block.mapped:
        return "nothing mapped"
    marked = sum(run.count for run in block.lanes["cont"])
    return f"contiguous bit in {marked} of {block.size}" if marked else "not folded"


def describe(block: Block) -> str:
    """All that the picture shows, in words; it follows its title."""
    entries = f"{block.size} entries" if block.size > 1 else "1 entry"
    parts = [f"{entries} at {block.va:#x}: " + _list(block, block.kinds, lambda run: run.what)]
    if block.mapped:
        for name, runs in block.lanes.items():
            parts.append(f"{name}: " + (_list(block, runs, lambda _: "") if runs else "none"))
    if block.letters.strip():
        parts.append("pages: " + _list(block, stretches(block.letters), lambda run: _state(run.what)))
    if block.frames:
        shown = ", ".join(f"{run.pfn:#x} to {_last(block, run):#x}" for run in block.frames[:4])
        parts.append(f"frames: {shown}{' …' if len(block.frames) > 4 else ''}")
    parts += [_folio(folio.pages, folio.count, folio.before, folio.after) for folio in block.folios[:4]]
    return "; ".join(parts)


def _list(block: Block, runs: Iterable[Stretch], word: Callable[[Stretch], str]) -> str:
    shown = []
    for run in runs:
        where = "all" if run.count == block.size else f"{run.first}" if run.count == 1 else f"{run.first} to {run.last}"
        shown.append(f"{where} {word(run)}".rstrip())
    return ", ".join(shown[:8]) + (" …" if len(shown) > 8 else "")


def _folio(pages: int, count: int, before: bool, after: bool) -> str:
    what = f"a folio of {pages} pages" if pages > 1 else "a large folio"
    if before or after:
        where = "begins before and ends after" if before and after else "begins before" if before else "ends after"
        return f"{count} of {what} that {where} the block"
    return f"{count} pages of {what}" if pages > count else what


def _state(letter: str) -> str:
    return {" ": "not told", "*": "of several states"}.get(letter, STATES.get(letter, UNKNOWN))


def _last(block: Block, run: Frames) -> int:
    return run.pfn + run.count * block.maps - 1


def block(block: Block) -> Markup:
    """The picture of a block."""
    each = WIDTH / block.size
    parts = [*_folio_marks(block, each), *_boxes(block, each)]
    height = _BOX + _DEEP + 4
    if block.mapped:
        parts.append(_lanes(block, each))
        parts += _frame_marks(block, each)
        height = _FRAMES + 16
    return Markup(
        f'<svg class="block n{block.size}" viewBox="0 0 {LEFT + WIDTH + RIGHT} {height}" role=img '
        f'aria-label="{escape(describe(block))}">{"".join(parts)}</svg>'
    )


def _x(entry: float, each: float) -> str:
    return f"{LEFT + entry * each:.4g}"


def _folio_marks(block: Block, each: float) -> list[str]:
    """A bracket over each large folio, open where it goes on."""
    parts = []
    for folio in block.folios:
        left, right = LEFT + folio.first * each + 1, LEFT + (folio.last + 1) * each - 1
        start = f"M{left:.4g} {_FOLIO}" + ("" if folio.before else "m0 4v-4")
        end = f"H{right:.4g}" + ("" if folio.after else "v4")
        parts.append(f'<path class=f d="{start}{end}"/>')
        words = f"folio, {folio.pages} pages" if folio.pages > 1 else "large folio"
        if folio.count * each < 100:
            words = str(folio.pages) if folio.pages > 1 else ""
        if words:
            parts.append(f"<text class=m x={(left + right) / 2:.4g} y={_FOLIO - 3}>{words}</text>")
    return parts


def _boxes(block: Block, each: float) -> list[str]:
    """Boxes by kind of entry and state of the page, with the state's letter in them."""
    looks = [(kind.what, block.letters[at]) for kind in block.kinds for at in range(kind.first, kind.last + 1)]
    parts, at = [], 0
    for (kind, letter), group in groupby(looks):
        count = len(list(group))
        look = f'"{kind} {css_class(letter) if letter.strip("* ") else "pn"}"'
        if block.folded:
            wide = f"{count * each:.4g}"
            parts.append(f'<path class={look} d="M{_x(at, each)} {_BOX}h{wide}v{_DEEP}h-{wide}z"/>')
        elif count == block.size:
            parts.append(f'<use class={look} href="#apart{count}"/>')
        else:
            parts.append(f'<path class={look} d="{_apart(at, count, each)}"/>')
        at += count
    if block.folded:
        parts.append(f'<use href="#folded{block.size}"/>')
    return [*parts, *_letters(block, each)]


def _letters(block: Block, each: float) -> list[str]:
    if not block.letters.strip():
        return []
    y = _BOX + 14
    if each >= _NARROW and block.size > 1:
        # From the middle of the first box to that of the last, whatever the font: a letter is about 7 wide.
        shown = escape(block.letters.replace(" ", chr(160)))
        return [f"<text class=l y={y} x={_x(0.5, each)} dx=-3.5 textLength={WIDTH - each + 7:.4g}>{shown}</text>"]
    return [
        f"<text class=l y={y} x={_x(run.first + run.count / 2, each)}>{escape(run.what)}</text>"
        for run in stretches(block.letters)
        if run.count * each >= _NARROW and run.what.strip()
    ]


def _lanes(block: Block, each: float) -> str:
    parts = ['<use href="#lanes"/>']
    for at, runs in enumerate(block.lanes.values()):
        if runs:
            y, inset = _LANE + at * _LANE_STEP, min(1.0, each / 8)
            ends = ((LEFT + run.first * each + inset, run.count * each - 2 * inset) for run in runs)
            d = "".join(f"M{left:.4g} {y}h{wide:.4g}" for left, wide in ends)
            parts.append(f'<path class=s d="{d}"/>')
    return "".join(parts)


def _frame_marks(block: Block, each: float) -> list[str]:
    """An arrow over each run of consecutive frames, with the first and last where there is room."""
    y, parts = _FRAMES, [f"<text x=0 y={_FRAMES + 4}>frames</text>"]
    for run in block.frames:
        left, right = LEFT + run.first * each + 1, LEFT + (run.last + 1) * each - 1
        whole = run.count == block.size
        parts.append('<use href="#frames"/>' if whole else f'<path d="{_arrow(left, right)}"/>')
        room = right - left
        if room >= _NUMBER:
            parts.append(f"<text x={left:.4g} y={y + 13}>{run.pfn:#x}</text>")
        # Of the run before the next one's first frame is close enough.
        if room >= 2 * _NUMBER and run is block.frames[-1]:
            parts.append(f"<text class=z x={right:.4g} y={y + 13}>{_last(block, run):#x}</text>")
    return parts


def bar(value: int | None, most: int) -> Markup:
    """A bar as long as ``value`` is of ``most``, both without their signs; beside a number, so it is not read out."""
    if not value or not most:
        return Markup("")
    wide = max(1, round(48 * abs(value) / most))
    return Markup(f"<svg class=bar aria-hidden=true><path d=M0,4h{wide} /></svg>")
