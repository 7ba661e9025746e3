"""What a study says of costs: which calls are counted, what was published of them, and the bounds they must keep."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import Field, field_validator

from pipeline.cost.words import COUNTS, OPERATIONS
from pipeline.judge import expr
from pipeline.schema import Id, Misplaced, Table

#: A folio size or a range: ``64k``, ``1g``.
SIZE = r"^[1-9][0-9]*[kmg]$"
Size = Annotated[str, Field(pattern=SIZE)]
Glob = str

_UNITS = {"k": 2**10, "m": 2**20, "g": 2**30}

#: ``cost``: what the call cost on the kernel that is judged, ``baseline``: on the baseline, ``shortest``: on the
#: same kernel over the shortest range that the study counts at this folio size. ``param``: see ``PARAMS``.
LANGUAGE = expr.Language(
    groups=("cost", "baseline", "shortest", "param"),
    noun="a bound",
    where="see the language of bounds in docs/cost.md",
)
#: What a bound may ask of the call itself. ``range``, ``size``: bytes of the range and of a folio. ``blocks``:
#: contiguous blocks of PTEs in the range, 0 where folios are smaller, or mapped by a PMD.
PARAMS = ("range", "size", "pages", "folios", "pages_per_folio", "blocks")


def bytes_of(size: Size) -> int:
    """``64k`` as 65536."""
    return int(size[:-1]) * _UNITS[size[-1]]


def size_of(number: int) -> Size:
    """65536 as ``64k``, in the largest unit that divides it; bytes below 1 KiB as they are."""
    unit = max((name for name, one in _UNITS.items() if number % one == 0), key=lambda n: _UNITS[n], default="")
    return f"{number // _UNITS[unit]}{unit}" if unit and number else str(number)


@dataclass(frozen=True, order=True)
class Point:
    """One call: an operation on a range of folios of one size, in bytes."""

    operation: str
    folio: int
    range: int

    def __str__(self) -> str:
        return f"{self.operation}.{size_of(self.folio)}.{size_of(self.range)}"


class Cost(Table):
    """One operation, counted at every folio size over every range.

    The first entry of an operation makes its table, at its first range; more ranges, and further
    entries with fewer sizes, show how the cost grows.
    """

    operation: Id
    """What is done to the range, e.g. ``free``: the list is in [cost.md](cost.md)."""
    title: str = ""
    """One line."""
    sizes: Annotated[tuple[Size, ...], Field(min_length=1)]
    """Folio sizes: ``4k``, ``64k``, ``2m``."""
    ranges: Annotated[tuple[Size, ...], Field(min_length=1)]
    """Lengths of the range: ``64m``, ``1g``; each a whole number of folios."""
    machines: tuple[Id, ...] = ()
    """Machines it is counted on; all without a model of TLBs, if left out."""

    @property
    def points(self) -> list[Point]:
        return [Point(self.operation, bytes_of(s), bytes_of(r)) for s in self.sizes for r in self.ranges]


class PublishedRow(Table):
    """What was published of one folio size, in the unit of its table."""

    size: Size
    """The folio size."""
    old: Annotated[float, Field(gt=0)]
    """The published figure before the series."""
    new: Annotated[float, Field(gt=0)]
    """The published figure with it."""
    note: str = ""
    """Why the counts differ from it."""


class Published(Table):
    """A table that was published of one operation, to be set beside the counts."""

    operation: Id
    """Which one."""
    source: str
    """Where it was published, and of what."""
    unit: str
    """Of its figures."""
    range: Size
    """The length of the range they were taken over."""
    kernels: tuple[Glob, ...] = ("*",)
    """Globs: the candidates that it is set beside."""
    row: Annotated[tuple[PublishedRow, ...], Field(min_length=1)]
    """One a folio size."""

    def applies_to(self, kernel: str) -> bool:
        return _matches(kernel, self.kernels)


class Bound(Table):
    """What a cost must keep, in every call that it names. Outside it is FAIL, and the report tells by how
    much; a count that is missing makes it INCONCLUSIVE."""

    id: Id
    """Its name in reports."""
    title: str
    """What is bounded, as a statement."""
    operations: Annotated[tuple[Id, ...], Field(min_length=1)]
    """The operations it bounds."""
    holds: str
    """Expression that must be true: see [cost.md](cost.md) for its names."""
    sizes: tuple[Size, ...] = ()
    """Folio sizes where it must hold; all that the study counts, if left out."""
    ranges: tuple[Size, ...] = ()
    """Ranges where it must hold; all that the study counts, if left out."""
    kernels: tuple[Glob, ...] = ("*",)
    """Globs: what it is for."""
    failing: tuple[Id, ...] = ()
    """Kernels that are expected to be outside; that one of them is not is told, and is not as expected."""

    @field_validator("holds")
    @classmethod
    def _of_the_language(cls, text: str) -> str:
        for name in expr.names_in(text, LANGUAGE):
            group, _, what = name.partition(".")
            known = PARAMS if group == "param" else COUNTS
            if what not in known:
                raise ValueError(f"{name}: expected {group}.X with X one of {', '.join(known)}")
        return text

    def applies_to(self, kernel: str) -> bool:
        return _matches(kernel, self.kernels)

    def is_at(self, point: Point) -> bool:
        """Whether a call is one of those it names."""
        sizes, ranges = map(bytes_of, self.sizes), map(bytes_of, self.ranges)
        if point.operation not in self.operations:
            return False
        return (not self.sizes or point.folio in sizes) and (not self.ranges or point.range in ranges)


def points(costs: Iterable[Cost], machine: str = "") -> list[Point]:
    """Every call that a study counts, on ``machine`` if one is named, once, in its order."""
    here = [cost for cost in costs if not machine or not cost.machines or machine in cost.machines]
    return list(dict.fromkeys(point for cost in here for point in cost.points))


def check(
    costs: Sequence[Cost],
    published: Sequence[Published],
    bounds: Sequence[Bound],
    *,
    kernels: Iterable[str],
    machines: Iterable[str],
) -> None:
    """That the tables of a study fit together. Raises Misplaced, which names the key that does not."""
    kernels, machines = list(kernels), list(machines)
    counted: dict[str, set[tuple[str, str]]] = {}
    for cost in costs:
        counted.setdefault(cost.operation, set()).update((s, r) for s in cost.sizes for r in cost.ranges)
    for at, cost in enumerate(costs):
        if cost.operation not in OPERATIONS:
            known = ", ".join(OPERATIONS)
            raise Misplaced(("cost", at, "operation"), f"{cost.operation!r}: expected one of {known}")
        for machine in cost.machines:
            if machine not in machines:
                raise Misplaced(("cost", at, "machines"), f"{machine!r} is no machine of the study")
        for size in cost.sizes:
            for length in cost.ranges:
                if bytes_of(length) % bytes_of(size):
                    raise Misplaced(("cost", at, "ranges"), f"a range of {length} is no whole number of {size} folios")
    for at, table in enumerate(published):
        _operation(("published", at, "operation"), table.operation, counted)
        _kernels(("published", at, "kernels"), table.kernels, kernels)
    for at, bound in enumerate(bounds):
        for operation in bound.operations:
            _operation(("bound", at, "operations"), operation, counted)
        _kernels(("bound", at, "kernels"), bound.kernels, kernels)
        for kernel in bound.failing:
            if kernel not in kernels or not bound.applies_to(kernel):
                raise Misplaced(("bound", at, "failing"), f"{kernel!r} is no kernel that the bound is for")
        for key, one, place in (("sizes", bound.sizes, 0), ("ranges", bound.ranges, 1)):
            for operation, value in itertools.product(bound.operations, one):
                if value not in {point[place] for point in counted[operation]}:
                    raise Misplaced(("bound", at, key), f"{operation} is not counted at {value}")


def _matches(kernel: str, globs: Iterable[Glob]) -> bool:
    return any(fnmatchcase(kernel, glob) for glob in globs)


def _operation(at: tuple[str | int, ...], operation: str, counted: Iterable[str]) -> None:
    if operation not in counted:
        raise Misplaced(at, f"{operation!r} is no operation of a [[cost]]")


def _kernels(at: tuple[str | int, ...], globs: Iterable[Glob], kernels: Iterable[str]) -> None:
    for glob in globs:
        if not any(fnmatchcase(kernel, glob) for kernel in kernels):
            raise Misplaced(at, f"{glob!r} matches no kernel of the study")
