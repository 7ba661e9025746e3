"""The samples of a run, found by kernel, machine and call."""

from collections import defaultdict
from collections.abc import Iterator

from pipeline.contpte.descriptor import GRANULES, Granule
from pipeline.cost import spec
from pipeline.cost.growth import Growth, fit
from pipeline.cost.model import CostRun, Sample
from pipeline.cost.spec import Point
from pipeline.study import Kernel


def point_of(sample: Sample) -> Point:
    """The call that a sample measured."""
    return Point(sample.operation, sample.folio_bytes, sample.range_bytes)


def unfit(sample: Sample) -> str:
    """Why a sample is no evidence, "" if it is: it has no counts, or its range held other folios than it should."""
    if sample.outcome != "measured":
        return sample.reason
    wanted = (sample.folio_bytes // sample.page_bytes).bit_length() - 1
    if sample.order != wanted:
        found = "various orders" if sample.order is None else f"order {sample.order}"
        return f"folios of order {wanted} wanted, found {found}"
    return ""


class Measured:
    """An index of a run's samples; the order in which they come does not matter."""

    def __init__(self, run: CostRun) -> None:
        self.run = run
        self.kernels: tuple[Kernel, ...] = run.study.content.kernel
        self.points = spec.points(run.study.content.cost)
        self._samples: dict[tuple[str, str, Point], list[Sample]] = defaultdict(list)
        for sample in sorted(run.samples, key=lambda one: (one.repeat, one.boot)):
            self._samples[sample.kernel, sample.machine, point_of(sample)].append(sample)
        self.machines = list(run.machines) or sorted({sample.machine for sample in run.samples})
        self.page_bytes = next((sample.page_bytes for sample in run.samples), 4096)

    @property
    def granule(self) -> Granule:
        """Of the guest's pages."""
        return next(one for one in GRANULES.values() if one.page == self.page_bytes)

    @property
    def pmd(self) -> int:
        """Bytes that a PMD maps: a table has as many entries of 8 bytes as a page holds. Such a folio has no PTEs."""
        return self.page_bytes * (self.page_bytes // 8)

    def params(self, point: Point) -> dict[str, int]:
        """``spec.PARAMS`` of a call."""
        block = self.granule.block
        return {
            "range": point.range,
            "size": point.folio,
            "pages": point.range // self.page_bytes,
            "folios": point.range // point.folio,
            "pages_per_folio": point.folio // self.page_bytes,
            "blocks": point.range // block if block <= point.folio < self.pmd else 0,
        }

    def all(self, kernel: str, machine: str, point: Point) -> list[Sample]:
        """Every measurement of a call, in the order they were made."""
        return self._samples.get((kernel, machine, point), [])

    def one(self, kernel: str, machine: str, point: Point) -> Sample | None:
        """The first measurement of a call that is evidence, or None."""
        return next((one for one in self.all(kernel, machine, point) if not unfit(one)), None)

    def why_absent(self, kernel: str, machine: str, point: Point) -> str:
        """Why there is no measurement of a call, "" if there is one."""
        reasons = [unfit(one) for one in self.all(kernel, machine, point)]
        return next(iter(reasons), "not measured") if all(reasons) else ""

    def planned(self, machine: str) -> list[Point]:
        """Every call that the study counts on a machine."""
        return spec.points(self.run.study.content.cost, machine)

    def ranges(self, machine: str, operation: str, folio: int) -> list[int]:
        """Ranges that the study counts of an operation at a folio size, the shortest first; bytes."""
        return sorted(
            point.range for point in self.planned(machine) if (point.operation, point.folio) == (operation, folio)
        )

    def families(self, machine: str) -> Iterator[tuple[str, int, list[int]]]:
        """(operation, folio bytes, ranges) of all that is counted over two ranges or more."""
        for operation, folio in dict.fromkeys((point.operation, point.folio) for point in self.planned(machine)):
            if len(ranges := self.ranges(machine, operation, folio)) > 1:
                yield operation, folio, ranges

    def growth(self, kernel: str, machine: str, operation: str, folio: int, count: str) -> Growth | None:
        """How a count grows with the pages of the range; None where it is missing at one, or there is one only."""
        counts = {}
        for at in self.ranges(machine, operation, folio):
            sample = self.one(kernel, machine, Point(operation, folio, at))
            value = sample.counts.get(count) if sample is not None else None
            if value is None or sample is None:
                return None
            counts[sample.pages] = value
        return fit(counts) if len(counts) > 1 else None
