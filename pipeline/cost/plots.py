"""Line plots on two logarithmic axes: where each line, tick and word goes; the template only draws."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

#: Of the drawing, in its own units (CSS pixels at full width).
WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 132, 16, 48
#: Between two names at the ends of lines.
APART = 15
#: Shapes that tell lines apart where colours do not; the style sheet has as many colours.
MARKERS = ("circle", "square", "triangle", "diamond", "cross")

#: A value so little outside of a tick, e.g. 0.975, wants no tick of its own.
SLACK = 1.05

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Tick:
    """A mark on an axis at ``at``, in units of the drawing."""

    at: float
    text: str


@dataclass(frozen=True)
class Curve:
    """A line: ``points`` in units of the drawing with what each says. ``name_at``: where its name stands."""

    name: str
    number: int
    points: tuple[tuple[float, float, str], ...]
    name_at: tuple[float, float]

    @property
    def marker(self) -> str:
        return MARKERS[self.number % len(MARKERS)]

    @property
    def path(self) -> str:
        return "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y, _ in self.points)


@dataclass(frozen=True)
class Plot:
    """A plot. ``words``: all of it as a sentence, for those who do not see it; the page has the table as well."""

    title: str
    x_label: str
    y_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    curves: tuple[Curve, ...]
    words: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def log_plot(
    title: str,
    lines: Mapping[str, Points],
    *,
    x_label: str,
    y_label: str,
    x_text: Callable[[float], str] = lambda x: f"{x:g}",
    y_text: Callable[[float], str] = lambda y: f"{y:g}",
) -> Plot | None:
    """A plot of named lines; points that are not above 0 have no place on it. None where fewer than two x are left.

    Ticks of x are the x of the points. A line's number, thus colour and marker, is its place in ``lines``.
    """
    shown = {name: sorted((x, y) for x, y in points if x > 0 and y > 0) for name, points in lines.items()}
    xs = sorted({x for points in shown.values() for x, _ in points})
    ys = [y for points in shown.values() for _, y in points]
    if len(xs) < 2:
        return None
    ticks = decades(min(ys), max(ys))
    low, high = min(*ys, ticks[0]), max(*ys, ticks[-1])

    def across(x: float) -> float:
        return LEFT + 12 + (WIDTH - RIGHT - LEFT - 24) * _share(x, xs[0], xs[-1])

    def up(y: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * _share(y, low, high)

    ends = {name: up(points[-1][1]) for name, points in shown.items() if points}
    name_at = _spread(ends, TOP + 6, HEIGHT - BOTTOM)
    curves = tuple(
        Curve(
            name,
            number,
            tuple((across(x), up(y), f"{name}, {x_text(x)}: {y_text(y)}") for x, y in points),
            (WIDTH - RIGHT + 10, name_at[name]),
        )
        for number, (name, points) in enumerate(shown.items())
        if points
    )
    told = "; ".join(
        f"{name}: " + ", ".join(f"{x_text(x)} {y_text(y)}" for x, y in points)
        for name, points in shown.items()
        if points
    )
    return Plot(
        title=title,
        x_label=x_label,
        y_label=y_label,
        x_ticks=tuple(Tick(across(x), x_text(x)) for x in xs),
        y_ticks=tuple(Tick(up(y), short(y)) for y in ticks),
        curves=curves,
        words=f"{title}. {y_label} by {x_label}: {told}.",
    )


def short(value: float) -> str:
    """A tick's number: ``0.5``, ``10,000``, ``20 M`` for 20 million."""
    return f"{value / 1e6:,g} M" if value >= 1e6 else f"{value:,g}"


def decades(low: float, high: float) -> list[float]:
    """Ticks from about ``low`` or below to about ``high`` or above: powers of ten, with 2 and 5 where they are few."""
    first, last = math.floor(math.log10(low * SLACK)), math.ceil(math.log10(high / SLACK))
    last = max(last, first + 1)
    if last - first > 3:
        return [10.0**power for power in range(first, last + 1)]
    steps = [factor * 10.0**power for power in range(first, last) for factor in (1, 2, 5)] + [10.0**last]
    start = max(at for at, tick in enumerate(steps) if tick <= low * SLACK)
    end = min(at for at, tick in enumerate(steps) if tick >= high / SLACK)
    return steps[start : max(end, start + 1) + 1]


def _share(value: float, low: float, high: float) -> float:
    return math.log(value / low) / math.log(high / low)


def _spread(wanted: Mapping[str, float], top: float, bottom: float) -> dict[str, float]:
    """Heights at which names do not run into each other, near where they are wanted."""
    order = sorted(wanted, key=lambda name: wanted[name])
    heights: list[float] = []
    for name in order:
        heights.append(max(wanted[name], heights[-1] + APART if heights else top))
    limit = bottom
    for at in reversed(range(len(heights))):
        heights[at] = min(heights[at], limit)
        limit = heights[at] - APART
    return dict(zip(order, heights, strict=True))
