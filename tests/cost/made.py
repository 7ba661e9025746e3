"""Runs of costs as the tests want them: counts by a law, in a study of three kernels."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from pipeline.cost import model, spec
from pipeline.cost.model import CostRun, Function, Profile, Sample
from pipeline.cost.spec import Bound, Cost, Published

MADE_UP = model.load(Path(__file__).parent / "data" / "made-up.json")
SIZES = ("4k", "64k", "2m")
FREE = Cost(operation="free", title="MADV_FREE of the range", sizes=SIZES, ranges=("64m",))
GROWS = Cost(operation="free", sizes=("64k",), ranges=("256m", "1g"))

UNCONVERTED = Bound(
    id="unconverted",
    title="No block is taken apart",
    operations=("free",),
    kernels=("v2", "merged"),
    holds="cost.converts == 0",
    failing=("v2",),
)

Law = Callable[[str, Sample], Mapping[str, int | None]]


def plain(kernel: str, sample: Sample) -> dict[str, int | None]:
    """The baseline splits and marks pages, v2 converts each block twice, merged marks folios."""
    large = 4096 < sample.folio_bytes < 2 << 20
    if kernel == "baseline" and large:
        return {"instructions": 800 * sample.pages + 5000, "splits": sample.folios, "converts": 0, "tlbi_range": 3}
    blocks = sample.pages // 16 if large else 0
    if kernel == "v2":
        counts = {"instructions": 40 * sample.pages + 700 * blocks + 5000, "converts": 2 * blocks}
        return {**counts, "splits": 0, "tlbi_range": 2 * blocks + 3}
    return {"instructions": 40 * sample.pages + 5000, "splits": 0, "converts": 0, "tlbi_range": 3}


def run(
    *,
    costs: Iterable[Cost] = (FREE, GROWS),
    bounds: Iterable[Bound] = (),
    published: Iterable[Published] = (),
    law: Law = plain,
    repeats: int = 1,
    spoil: Callable[[Sample], str] = lambda sample: "",
) -> CostRun:
    """A run of all that ``costs`` asks for. ``spoil``: why a sample is inconclusive, "" if it is not."""
    costs = tuple(costs)
    study = MADE_UP.study.content.model_copy(
        update={"cost": costs, "bound": tuple(bounds), "published": tuple(published)}
    )
    samples = []
    for kernel in study.kernel:
        for point in spec.points(costs):
            for repeat in range(repeats):
                blank = Sample(
                    kernel=kernel.id,
                    machine="max",
                    operation=point.operation,
                    folio_bytes=point.folio,
                    range_bytes=point.range,
                    repeat=repeat,
                    order=(point.folio // 4096).bit_length() - 1,
                    counts={"instructions": 0},
                )
                if reason := spoil(blank):
                    changes = {"outcome": "inconclusive", "reason": reason, "counts": {}}
                else:
                    changes = {"counts": dict(law(kernel.id, blank))}
                samples.append(blank.model_copy(update=changes))
    fact = MADE_UP.study.model_copy(update={"content": study})
    made = MADE_UP.model_copy(update={"study": fact, "samples": samples})
    return CostRun.model_validate(made.model_dump(by_alias=True))  # in the order of a record that was read


def profiled(run: CostRun) -> CostRun:
    """The same run with a profile of three frames in each sample."""

    def with_profile(sample):
        total = sample.counts["instructions"] or 0
        own = {"el0t_64_sync": total // 10, "madvise_free_pte_range": total - total // 10}
        stacks = {"el0t_64_sync": total // 10, "el0t_64_sync;madvise_free_pte_range": total - total // 10}
        functions = {name: Function(calls=1, instructions=count) for name, count in own.items()}
        return sample.model_copy(update={"profile": Profile(functions=functions, stacks=stacks)})

    return run.model_copy(update={"samples": [with_profile(s) if s.counts else s for s in run.samples]})
