"""The observations of a run, found by kernel, machine and scenario, and what keeps one from being evidence."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline.judge.model import BuildFact
from pipeline.observation import Boot, Cell, Outcome
from pipeline.study import Study, matches

#: Preconditions without which a boot proves nothing of the kernel (see pipeline.observe.preconditions).
REQUIRED_NEEDS = ("build_id", "page_size", "config")
RAN = frozenset({Outcome.PASSED, Outcome.FAILED})
CLEAN_END = "poweroff"
#: Ends of a boot (pipeline.guest.ends) that are the surroundings' doing: QEMU killed, a host too busy.
INFRA_ENDS = frozenset({"lost", "timeout"})
NOT_RUN = "not run"


@dataclass(frozen=True)
class Spot:
    """Where a cell is planned: kernel, machine, ``<scenario>.<variant>``."""

    kernel: str
    machine: str
    scenario: str

    def __str__(self) -> str:
        return f"{self.kernel}/{self.machine}/{self.scenario}"

    def on(self, kernel: str) -> "Spot":
        """The same machine and scenario on another kernel."""
        return Spot(kernel, self.machine, self.scenario)


def spot_of(cell: Cell) -> Spot:
    """Where a cell ran."""
    return Spot(cell.kernel, cell.machine, f"{cell.scenario}.{cell.variant}")


class Evidence:
    """An index of a run's cells and boots; the order in which they come does not matter."""

    def __init__(
        self, study: Study, cells: Iterable[Cell], boots: Iterable[Boot], builds: Mapping[str, BuildFact]
    ) -> None:
        self.study = study
        self.builds = builds
        self._planned: dict[str, list[Spot]] = {}
        self._cells: dict[Spot, list[Cell]] = defaultdict(list)
        for cell in sorted(cells, key=lambda c: c.name):
            self._cells[spot_of(cell)].append(cell)
        for repeats in self._cells.values():
            if len(repeats) > 1:  # writing a cell out takes a millisecond
                repeats.sort(key=repr)
        self._boots = {boot.id: boot for boot in sorted(boots, key=lambda b: b.id)}
        self._unmet = {boot.id: unmet(boot) for boot in self._boots.values()}

    def planned(self, kernel: str) -> list[Spot]:
        """Every cell that the study asks of a kernel, in the study's order."""
        if kernel not in self._planned:
            self._planned[kernel] = [
                Spot(kernel, machine, f"{scenario.id}.{variant}")
                for scenario in self.study.scenario
                for variant in scenario.variants
                for machine in self.study.runs(scenario, variant)
            ]
        return self._planned[kernel]

    def matching(self, kernel: str, globs: Iterable[str], machines: Iterable[str] = ()) -> list[Spot]:
        """The planned cells of a kernel whose scenario matches one of ``globs``; all machines if none is named."""
        wanted, globs = tuple(machines), tuple(globs)
        names = {f"{s.id}.{v}" for s in self.study.scenario for v in s.variants}
        names = {name for name in names if any(matches(name, glob) for glob in globs)}
        return [
            spot for spot in self.planned(kernel) if spot.scenario in names and (not wanted or spot.machine in wanted)
        ]

    def checking(self, kernel: str, invariant: str) -> list[Spot]:
        """The planned cells of a kernel that must decide an invariant."""
        names = {f"{s.id}.{v}" for s in self.study.scenario if invariant in s.checks for v in s.variants}
        return [spot for spot in self.planned(kernel) if spot.scenario in names]

    def machines(self, kernel: str) -> list[str]:
        """The machines on which the study runs a kernel."""
        return list(dict.fromkeys(spot.machine for spot in self.planned(kernel)))

    def at(self, spot: Spot) -> list[Cell]:
        """The cells observed at a spot: none, one, or one a repeat."""
        return self._cells.get(spot, [])

    def boots(self, kernel: str, machine: str) -> list[Boot]:
        return [boot for boot in self._boots.values() if (boot.kernel, boot.machine) == (kernel, machine)]

    def unplanned(self) -> list[str]:
        """Names of the cells that the study does not ask for."""
        asked = {spot for kernel in self.study.kernel for spot in self.planned(kernel.id)}
        return [str(spot) for spot in self._cells if spot not in asked]

    def ran_on(self, kernel: str, machine: str) -> bool:
        """Whether any cell shows that the kernel answered on the machine."""
        return any(
            cell.outcome not in (Outcome.NOT_RUN, Outcome.LOST)
            for spot, cells in self._cells.items()
            if (spot.kernel, spot.machine) == (kernel, machine)
            for cell in cells
        )

    def why_absent(self, spot: Spot) -> str:
        """Why there is no observation at a spot."""
        build = self.builds.get(spot.kernel)
        if build is not None and not build.ok:
            return f"{NOT_RUN}: the kernel was not built"
        failed = [boot for boot in self.boots(spot.kernel, spot.machine) if boot.failure]
        if failed:
            return f"{NOT_RUN}: the kernel did not boot on {spot.machine}"
        return NOT_RUN

    def unfit_boot(self, cell: Cell) -> str:
        """Why the boot of a cell is no evidence of its kernel, "" if it is, or if the cell never ran."""
        if cell.outcome == Outcome.NOT_RUN:
            return ""
        boot = self._boots.get(cell.boot)
        if boot is None:
            return f"its boot {cell.boot!r} is not on record, so no precondition is known"
        if (boot.kernel, boot.machine) != (cell.kernel, cell.machine):
            return f"its boot {boot.id} is one of {boot.kernel}/{boot.machine}"
        return self._unmet[boot.id]

    def plugins(self, cell: Cell) -> list[str]:
        """Names of the plugins that were loaded when a cell ran."""
        boot = self._boots.get(cell.boot)
        return boot.plugins if boot is not None else []

    def hindrance(self, cell: Cell) -> str:
        """Why nothing may be concluded from what a cell does not show, "" if it was observed whole.

        A violation that it does show still counts, unless its boot is unfit.
        """
        if cell.outcome == Outcome.NOT_RUN:
            return f"{NOT_RUN}: {cell.reason}" if cell.reason else self.why_absent(spot_of(cell))
        if reason := self.unfit_boot(cell):
            return f"lost: {reason}" if cell.outcome == Outcome.LOST else reason
        unmet_needs = [need for need in cell.needs if not need.ok]
        if unmet_needs:
            return "precondition not met: " + ", ".join(
                f"{need.what} wanted {need.want or '?'}, got {need.got or '?'}" for need in unmet_needs
            )
        if cell.outcome not in RAN:
            return f"{cell.outcome}: {cell.reason}" if cell.reason else str(cell.outcome)
        if cell.malformed:
            return f"{len(cell.malformed)} unreadable record(s), the first: {cell.malformed[0]}"
        return self._unexplained_failure(cell)

    def _unexplained_failure(self, cell: Cell) -> str:
        """A ``not ok`` that no failed check of an invariant accounts for, e.g. an assertion in the set-up."""
        invariants = {invariant.id for invariant in self.study.invariant}
        strange = [check.name for check in cell.checks if not check.ok and check.name not in invariants]
        if strange:
            return f"failed check {strange[0]!r} is no invariant of the study"
        if cell.outcome == Outcome.FAILED and not any(not check.ok for check in cell.checks):
            return f"the test failed outside any check: {cell.reason or _not_ok(cell.ktap)}"
        return ""


def unmet(boot: Boot) -> str:
    """The preconditions of a boot that are not met or were not measured, "" if all are."""
    bad = [f"{need.what} wanted {need.want or '?'}, got {need.got or '?'}" for need in boot.needs if not need.ok]
    if bad:
        return f"precondition of boot {boot.id} not met: {', '.join(bad)}"
    measured = {need.what.split()[0] for need in boot.needs if need.what}
    missing = [what for what in REQUIRED_NEEDS if what not in measured]
    return f"precondition of boot {boot.id} not measured: {', '.join(missing)}" if missing else ""


def _not_ok(ktap: str) -> str:
    return next((line for line in ktap.splitlines() if line.startswith("not ok")), "no KTAP line says why")
