"""Collect: from the end of a job in the guest to the observation of its cell, while the boot goes on."""

import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InfraError
from pipeline.guest import console
from pipeline.guest.deadline import Deadline
from pipeline.guest.ends import End, VmEnded
from pipeline.guest.monitor import Monitor
from pipeline.guest.runner import GuestResult
from pipeline.observation import Boot, Cell, Need, Outcome
from pipeline.observe import records, slices, tables, tlb
from pipeline.plan import CellSpec

#: Characters kept of one cell's trace or console; the boot's files hold everything.
EXCERPT = 200_000
#: Seconds for a job's last console line to be read: the guest wrote it before it said that the job had ended.
_SETTLE = 2.0

OUTCOMES = {
    End.PANIC: Outcome.PANIC,
    End.OOPS: Outcome.PANIC,
    End.HANG: Outcome.HANG,
    End.WATCHDOG: Outcome.HANG,
    End.EXITED_EARLY: Outcome.CRASHED,
    End.LOST: Outcome.LOST,
    End.TIMEOUT: Outcome.LOST,
}


@dataclass(frozen=True)
class Watched:
    """What QEMU's plugins say of a boot's tests: their page tables, and what a TLB would have made of them."""

    tables: tables.Recorded
    model: tlb.Modelled

    def complete(self, reading: records.Reading, test: str) -> None:
        """Add what was seen of a test that has ended."""
        tables.add(reading, self.tables.take(test))
        tlb.add(reading, self.model.take(test, [step.name for step in reading.steps]))


class Collector:
    """The cells of one boot. ``cpus``: how many CPUs the guest has online."""

    def __init__(self, specs: Iterable[CellSpec], boot: Boot, lines: Monitor, watched: Watched, *, cpus: int) -> None:
        self.cells: list[Cell] = []
        self._specs = {spec.job: spec for spec in specs}
        self._boot, self._console, self._watched, self._cpus = boot, lines, watched, cpus
        self._at = 0  # the first console line that was not looked at

    def add(self, result: GuestResult) -> Cell:
        """The cell of a job that ended, whole but for its trace.

        Where the VM ended in the job, all there will be of the console must have been read before.
        """
        reading = _reading(result)
        spec = self._specs[result.job.id]
        self._watched.complete(reading, spec.test)
        before, lines = self._console_of(spec.job, ended=result.end is None)
        text = "\n".join(lines)
        outside = _outside(before)
        if self.cells:
            self.cells[-1].console_findings += outside
            outside = []
        cell = Cell(
            kernel=spec.kernel,
            machine=spec.machine,
            scenario=spec.scenario,
            variant=spec.variant,
            outcome=reading.outcome,
            reason=reading.reason,
            seconds=result.seconds,
            params=reading.params,
            needs=[self._need_of_cpus(spec), *reading.needs],
            steps=reading.steps,
            pages=reading.pages,
            tables=reading.tables,
            tlb=reading.tlb,
            checks=reading.checks,
            console_findings=[*outside, *_findings(lines)],
            malformed=reading.malformed,
            ktap=result.text,
            console=text[-EXCERPT:],
            boot=self._boot.id,
        )
        self.cells.append(cell)
        return cell

    def blame(self, err: VmEnded) -> None:
        """The kernel fell over after its last cell: that cell is the nearest thing to blame."""
        self.cells[-1].outcome, self.cells[-1].reason = OUTCOMES[err.end], err.message

    def finish(self, trace_dat: Path) -> None:
        """Once the VM is gone: what the console said last, and each cell's part of the trace."""
        left = _outside(self._console.lines[self._at :])
        if self.cells:
            self.cells[-1].console_findings += left
        elif left:
            self._boot.failure = self._boot.failure or "; ".join(left)
        traces = _traces(trace_dat)
        for cell in self.cells:
            cell.trace = traces.get(cell.job, "")[:EXCERPT]

    def _need_of_cpus(self, spec: CellSpec) -> Need:
        return Need(what="cpus_online", ok=self._cpus >= spec.cpus, want=f"{spec.cpus}", got=f"{self._cpus}")

    def _console_of(self, name: str, *, ended: bool) -> tuple[list[str], list[str]]:
        """The lines before a job's begin marker that belong to no job, and those between its markers.

        To the console's end where there is no end marker.
        """
        first, last = f"kpv: begin {name}", f"kpv: end {name}"
        if ended:
            self._console.wait(lambda line: line.endswith(last), Deadline(_SETTLE), start=self._at)
        lines = self._console.lines[self._at :]
        begin = next((at for at, line in enumerate(lines) if line.endswith(first)), len(lines))
        end = next((at for at, line in enumerate(lines) if line.endswith(last)), len(lines))
        self._at += end + 1
        return lines[:begin], lines[begin + 1 : end]


def _outside(lines: list[str]) -> list[str]:
    """Findings that belong to no cell by their place; the cell before them is the nearest to blame."""
    return [f"outside any cell: {finding}" for finding in _findings(lines)]


def _findings(lines: list[str]) -> list[str]:
    return [f"{finding.kind}: {finding.headline}" for finding in console.findings(lines)]


def _reading(result: GuestResult) -> records.Reading:
    """The guest's own words, overruled by what the host saw of the test's end."""
    reading = records.read(result.text, exit_status=result.exit_status or 0)
    if result.end is not None:
        reading.outcome, reading.reason = OUTCOMES[result.end.end], result.end.message
    elif result.outcome == "timeout":
        reading.outcome = Outcome.TIMEOUT
        reading.reason = f"not done within {result.job.timeout:g} s; killed"
    elif result.truncated:
        reading.outcome, reading.reason = Outcome.CRASHED, "printed more than can be kept"
    return reading


def _traces(path: Path) -> dict[str, str]:
    program = shutil.which("trace-cmd")
    if not path.is_file() or program is None:
        return {}
    done = subprocess.run(
        [program, "report", "-i", str(path)], capture_output=True, text=True, check=False, errors="replace"
    )
    if done.returncode:
        raise InfraError(f"{path}: trace-cmd report failed: {done.stderr.strip()[-300:]}")
    return slices.by_cell(done.stdout.splitlines())
