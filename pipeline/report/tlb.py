"""What the TLB model saw over a run: findings by rule and function, counts by kernel, and the reach of TLB entries."""

from collections import Counter, defaultdict
from dataclasses import dataclass

from pipeline.judge import tlb
from pipeline.observation import Cell
from pipeline.report.words import plural
from pipeline.run import Run
from pipeline.tlb.model import COUNTERS, RULES

#: Counters of a kernel, as the report orders them; the accesses are told with the reach.
COUNTED = tuple(name for name in COUNTERS if not name.startswith(("accesses", "hits", "walks")))


@dataclass(frozen=True)
class Group:
    """Findings of one rule by one function on a kernel: ``count`` of all, in ``cells`` of ``machines``.

    ``example``: one of them in words.
    """

    kernel: str
    rule: str
    asks: str
    function: str
    count: int
    machines: tuple[str, ...]
    cells: tuple[str, ...]
    example: str


@dataclass(frozen=True)
class Counts:
    """What was counted on a machine: a number for each of the section's kernels. ``name``: in COUNTERS."""

    name: str
    words: str
    values: tuple[int, ...]


@dataclass(frozen=True)
class Reach:
    """Data accesses of a kernel's tests of one folio size to their regions, and what two TLBs made of them.

    A has one entry for a contiguous block, B one for each page; they differ in nothing else.
    """

    variant: str
    kernel: str
    accesses: int
    walks_a: int
    walks_b: int
    hits_a: int
    hits_b: int

    @property
    def saved(self) -> str:
        """Walks of B that A does without, in per cent; "" where B has none."""
        return f"{100 * (self.walks_b - self.walks_a) / self.walks_b:.0f} %" if self.walks_b else ""


@dataclass(frozen=True)
class Watched:
    """One machine. ``cells``: that were watched; ``invalid``: of which the model does not vouch for itself."""

    machine: str
    core: str
    cells: int
    invalid: int
    kernels: tuple[str, ...]
    counts: tuple[Counts, ...]
    reach: tuple[Reach, ...]


@dataclass(frozen=True)
class Section:
    """All of it; falsy where no machine of the run has a model."""

    machines: tuple[Watched, ...]
    groups: tuple[Group, ...]

    def __bool__(self) -> bool:
        return bool(self.machines)


def section(run: Run) -> Section:
    """What there is to tell, machines and kernels in the study's order."""
    study = run.study.content
    seen = [cell for cell in run.cells if cell.tlb is not None]
    kernels = [kernel.id for kernel in study.kernel if any(cell.kernel == kernel.id for cell in seen)]
    machines = [machine for machine in study.machines if any(cell.machine == machine for cell in seen)]
    return Section(
        machines=tuple(
            _watched(machine, kernels, [cell for cell in seen if cell.machine == machine]) for machine in machines
        ),
        groups=tuple(group for kernel in kernels for group in _groups(kernel, seen)),
    )


def sentence(run: Run) -> str:
    """The section in a sentence, "" where there is none: for forms with little room."""
    found = section(run)
    if not found:
        return ""
    where = f"TLB model: {plural(sum(one.cells for one in found.machines), 'cell')} watched"
    where += f" on {', '.join(one.machine for one in found.machines)}"
    invalid = sum(one.invalid for one in found.machines)
    where += f", {invalid} of them in doubt" if invalid else ""
    told = [f"{one.rule} in {one.function} ({one.kernel}, {one.count} times)" for one in found.groups]
    return f"{where}; {'; '.join(told) or 'no findings'}."


def counts(run: Run, kernel: str, machine: str) -> list[tuple[str, int]]:
    """Counters of a kernel on a machine by name, none where nothing was watched."""
    for one in section(run).machines:
        if one.machine == machine and kernel in one.kernels:
            return [(count.name, count.values[one.kernels.index(kernel)]) for count in one.counts]
    return []


def _groups(kernel: str, seen: list[Cell]) -> list[Group]:
    found: defaultdict[tuple[str, str], list[Cell]] = defaultdict(list)
    counts: Counter[tuple[str, str]] = Counter()
    for cell in seen:
        if cell.kernel != kernel or cell.tlb is None or not tlb.look(cell).broken:
            continue
        for kind in cell.tlb.kinds:
            key = (kind.rule, tlb.function(kind.function))
            counts[key] += kind.count
            if cell not in found[key]:
                found[key].append(cell)
    return [
        Group(
            kernel=kernel,
            rule=rule,
            asks=RULES.get(rule, ""),
            function=function,
            count=counts[rule, function],
            machines=tuple(dict.fromkeys(cell.machine for cell in cells)),
            cells=tuple(cell.name for cell in cells),
            example=_example(cells, rule, function),
        )
        for (rule, function), cells in sorted(found.items(), key=lambda item: -counts[item[0]])
    ]


def _example(cells: list[Cell], rule: str, function: str) -> str:
    for cell in cells:
        if cell.tlb is None:
            continue
        for finding in cell.tlb.findings:
            if (finding.rule, tlb.function(finding.function)) == (rule, function):
                return tlb.describe(finding, cell.tlb)
    return ""


def _watched(machine: str, kernels: list[str], cells: list[Cell]) -> Watched:
    sums: defaultdict[str, Counter[str]] = defaultdict(Counter)
    by_size: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for cell in cells:
        if cell.tlb is not None and not cell.tlb.invalid:
            sums[cell.kernel].update(cell.tlb.counters)
            by_size[cell.variant, cell.kernel].update(cell.tlb.counters)
    reach = [_reach(variant, kernel, by_size[variant, kernel]) for variant, kernel in by_size]
    order = {kernel: at for at, kernel in enumerate(kernels)}
    return Watched(
        machine=machine,
        core=next((cell.tlb.core for cell in cells if cell.tlb is not None and cell.tlb.core), ""),
        cells=len(cells),
        invalid=sum(cell.tlb is not None and bool(cell.tlb.invalid) for cell in cells),
        kernels=tuple(kernels),
        counts=tuple(Counts(name, COUNTERS[name], tuple(sums[kernel][name] for kernel in kernels)) for name in COUNTED),
        reach=tuple(
            sorted((one for one in reach if one.accesses), key=lambda one: (_pages(one.variant), order[one.kernel]))
        ),
    )


def _reach(variant: str, kernel: str, counters: Counter[str]) -> Reach:
    return Reach(
        variant=variant,
        kernel=kernel,
        accesses=counters["accesses"],
        walks_a=counters["walks_a"],
        walks_b=counters["walks_b"],
        hits_a=counters["hits_a"],
        hits_b=counters["hits_b"],
    )


def _pages(variant: str) -> tuple[int, str]:
    """Variants by the size that their names begin with: ``64k``, ``128k_disk``, ``2m``."""
    digits = len(variant) - len(variant.lstrip("0123456789"))
    unit = {"k": 1, "m": 1024}.get(variant[digits : digits + 1].lower(), 0)
    return (int(variant[:digits]) * unit if digits and unit else 1 << 30), variant
