"""How a cost grows: with the range it is paid over, and with the folio size."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

#: The largest exponent that still counts as linear: n log n between 64 MiB and 1 GiB of 4K pages has 1.09,
#: and counts are exact.
LINEAR = 1.05
#: Fewer events than one a table of 512 PTEs are no cost of the range: rounding would show as growth.
MATERIAL = 1 / 512


@dataclass(frozen=True)
class Growth:
    """Counts over a size (pages), with the line and the power of it that fit them best (least squares).

    ``per_unit`` and ``fixed``: count = per_unit * size + fixed. ``exponent``: of the power, fitted through the
    logarithms, None where a count is 0. ``steepest``: the largest between two neighbouring sizes, ``where``, of
    those where the count is not negligible; None where it is so everywhere.
    """

    points: tuple[tuple[int, int], ...]
    per_unit: float
    fixed: float
    exponent: float | None
    steepest: float | None
    where: tuple[int, int] | None

    @property
    def faster_than_linear(self) -> bool:
        """Whether the count grows faster than the size somewhere."""
        return self.steepest is not None and self.steepest > LINEAR


def fit(counts: Mapping[int, int]) -> Growth:
    """The growth of counts by size. Raises ValueError for fewer than two sizes, or one that is not positive."""
    points = tuple(sorted(counts.items()))
    if len(points) < 2 or points[0][0] <= 0:
        raise ValueError(f"expected counts at two sizes or more, all positive, found {[size for size, _ in points]}")
    sizes, values = (np.array(column, dtype=float) for column in zip(*points, strict=True))
    per_unit, fixed = np.polyfit(sizes, values, 1)
    exponent = float(np.polyfit(np.log(sizes), np.log(values), 1)[0]) if values.min() > 0 else None
    steps = {
        (a, b): math.log(after / before) / math.log(b / a) if before else math.inf
        for (a, before), (b, after) in itertools.pairwise(points)
        if after >= MATERIAL * b
    }
    where = max(steps, key=lambda pair: steps[pair], default=None)
    return Growth(points, float(per_unit), float(fixed), exponent, steps[where] if where else None, where)
