"""Which calls a run counts: what the study says, or a choice of that."""

import fnmatch
import re
from collections.abc import Collection, Iterable

from pipeline import near
from pipeline.cost.spec import SIZE, Bound, Cost, Point, bytes_of
from pipeline.cost.words import OPERATIONS
from pipeline.errors import UserError
from pipeline.study import Study

SIZES = ("4k", "16k", "32k", "64k", "128k", "256k", "512k", "1m", "2m")
#: What is counted for a study that does not say: every operation at every size, and the growth of the first.
DEFAULT = (
    *(Cost(operation=name, title=title, sizes=SIZES, ranges=("4m",)) for name, title in OPERATIONS.items()),
    Cost(operation="free", sizes=("4k", "64k", "2m"), ranges=("64m", "128m", "256m", "512m", "1g")),
)


def narrow(
    study: Study, *, operations: tuple[str, ...] = (), sizes: tuple[str, ...] = (), ranges: tuple[str, ...] = ()
) -> Study:
    """The study with the calls that are to be counted, ``DEFAULT`` if it names none; empty means all it counts.

    ``ranges``: lengths that are counted instead of the study's. Bounds that lose all their calls are
    dropped. A narrowed run cannot show all that a kernel is expected to be outside of, so each is
    then expected to keep its bounds. Raises UserError for what the study does not count.
    """
    costs = study.cost or DEFAULT
    if not (operations or sizes or ranges):
        return study.model_copy(update={"cost": costs})
    _known("operation", operations, [cost.operation for cost in costs])
    _known("folio size", sizes, [size for cost in costs for size in cost.sizes])
    for length in ranges:
        for size in sizes or SIZES:
            _whole(length, size)
    kept = []
    for cost in costs:
        left = tuple(size for size in cost.sizes if not sizes or size in sizes)
        if left and (not operations or cost.operation in operations):
            kept.append(cost.model_copy(update={"sizes": left, "ranges": ranges or cost.ranges}))
    points = {point for cost in kept for point in cost.points}
    bounds = _met(study.bound, points)
    published = tuple(one for one in study.published if any(point.operation == one.operation for point in points))
    return study.model_copy(update={"cost": tuple(kept), "bound": bounds, "published": published})


def without_absent(study: Study) -> Study:
    """The study without what its tables on costs say of kernels and machines that it does not have (any more)."""
    ids = [kernel.id for kernel in study.kernel]
    costs = []
    for cost in study.cost:
        here = tuple(machine for machine in cost.machines if machine in study.machines)
        if here or not cost.machines:
            costs.append(cost.model_copy(update={"machines": here}))
    points = {point for cost in costs for point in cost.points}
    bounds = []
    for bound in study.bound if len(costs) == len(study.cost) else _met(study.bound, points):
        left = _globs(bound.kernels, ids)
        failing = tuple(kernel for kernel in bound.failing if kernel in ids)
        bounds += [bound.model_copy(update={"kernels": left, "failing": failing})] if left else []
    published = [
        table.model_copy(update={"kernels": left})
        for table in study.published
        if (left := _globs(table.kernels, ids)) and any(point.operation == table.operation for point in points)
    ]
    return study.model_copy(update={"cost": tuple(costs), "bound": tuple(bounds), "published": tuple(published)})


def _globs(globs: Iterable[str], kernels: Iterable[str]) -> tuple[str, ...]:
    return tuple(glob for glob in globs if fnmatch.filter(kernels, glob))


def _met(bounds: Iterable[Bound], points: Collection[Point]) -> tuple[Bound, ...]:
    return tuple(left for bound in bounds if (left := _left(bound, points)) is not None)


def _left(bound: Bound, points: Collection[Point]) -> Bound | None:
    """What of a bound speaks of these calls, None of one that does not: it names no other operation, size or range."""
    met = [point for point in points if bound.is_at(point)]
    if "shortest." in bound.holds:  # it is one over the longer ranges
        shortest = {min(p for p in points if (p.operation, p.folio) == (m.operation, m.folio)) for m in met}
        met = [point for point in met if point not in shortest]
    if not met:
        return None
    left = {
        "operations": tuple(name for name in bound.operations if name in {point.operation for point in met}),
        "sizes": tuple(size for size in bound.sizes if bytes_of(size) in {point.folio for point in met}),
        "ranges": tuple(length for length in bound.ranges if bytes_of(length) in {point.range for point in met}),
    }
    return bound.model_copy(update={**left, "failing": ()})


def _known(what: str, wanted: Iterable[str], known: Iterable[str]) -> None:
    counted = list(dict.fromkeys(known))
    for name in wanted:
        if name not in counted:
            raise near.unknown(what, name, counted, where="what the study counts")


def _whole(length: str, size: str) -> None:
    if not re.fullmatch(SIZE, length):
        raise UserError(f"a range of {length!r}: expected a number with k, m or g", hint="e.g. 64m or 1g")
    if bytes_of(length) % bytes_of(size):
        raise UserError(f"a range of {length} is no whole number of {size} folios", hint="choose a multiple, e.g. 4m")
