"""Jobs: what of a variant fails, differs between machines or decides a claim, with its kernels side by side."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.judge.model import Verdict
from pipeline.observation import Cell, Outcome
from pipeline.report.counters import NOT_OBSERVED, CounterRow, counters
from pipeline.report.logs import Log, logs_of
from pipeline.report.pictures import PagesRow, Picture, drawn, page_states, pictures
from pipeline.report.words import judgement_of
from pipeline.run import Run
from pipeline.study import Claim, matches

#: Enough of a study that went wrong everywhere; beyond it a cell has its line in the table, and its files.
MAX_JOBS, MAX_LOGS = 300, 40
#: Where a run keeps the files of its boots.
BOOTS = "boots/"

Verdicts = Mapping[str, tuple[Verdict, str]]
Files = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Shown:
    """One kernel of a job. ``cells``: one a machine, alike. ``params``: the test's own input, ``64 | 60`` where
    machines differ. ``checks``: ``(name, held, broken details)``. ``files``: by machine."""

    kernel: str
    cells: tuple[Cell, ...]
    verdict: Verdict
    reason: str
    params: tuple[tuple[str, str], ...]
    checks: tuple[tuple[str, int, tuple[str, ...]], ...]
    logs: tuple[Log, ...]
    files: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def cell(self) -> Cell:
        return self.cells[0]


@dataclass(frozen=True)
class Job:
    """A scenario's variant on machines that show the same, its kernels side by side. ``left``: counters that are
    alike on every kernel and were left off."""

    name: str
    machines: tuple[str, ...]
    anchor: str
    shown: tuple[Shown, ...]
    counters: tuple[CounterRow, ...]
    left: int
    pages: tuple[PagesRow, ...]
    pictures: tuple[Picture, ...]


class Jobs:
    """Makes the jobs of a run, numbered for their anchors; keeps within MAX_JOBS and MAX_LOGS."""

    def __init__(self, run: Run, verdicts: Verdicts, files: Files) -> None:
        self.verdicts, self.files = verdicts, files
        self.claims = run.study.content.claim
        self.deciding = {
            row.cell.split("/", 1)[1]
            for kernel in judgement_of(run).kernels
            for decision in kernel.decisions
            if decision.kind in ("function", "structure")
            for row in decision.rows
            if "/" in row.cell
        }
        self.number = self.logged = self.left = 0
        #: Variants still to come of which a cell does not simply pass: room is kept for them.
        self.loud = len({cell.job for cell in run.cells if self._loud(cell)})

    def of(self, cells: Sequence[Cell]) -> tuple[Job, ...]:
        """The jobs of one variant: one where its machines show the same; none where nothing is worth it."""
        by_machine: dict[str, list[Cell]] = {}
        for cell in cells:
            by_machine.setdefault(cell.machine, []).append(cell)
        verdicts: set[tuple[object, ...]] = set()
        alike: dict[tuple[object, ...], list[list[Cell]]] = {}
        for of_machine in by_machine.values():
            face = tuple((cell.kernel, *self._face(cell)) for cell in of_machine)
            verdicts.add(face)
            pages = tuple(record for cell in of_machine for record in cell.pages)
            alike.setdefault((face, pages), []).append(of_machine)
        loud = any(map(self._loud, cells))
        self.loud -= loud
        if not loud and len(verdicts) == 1 and not any(f"{c.machine}/{c.job}" in self.deciding for c in cells):
            return ()
        room = max(0, MAX_JOBS - self.number - (0 if loud else self.loud))
        self.left += max(0, len(alike) - room)
        return tuple(self._job(group) for group in list(alike.values())[:room])

    def _loud(self, cell: Cell) -> bool:
        quiet = self.verdicts[cell.name][0] == Verdict.PASS and cell.outcome == Outcome.PASSED
        return not quiet or bool(cell.console_findings or cell.malformed)

    def _face(self, cell: Cell) -> tuple[object, ...]:
        """What makes machines differ: all that is not simply as it should be."""
        return (
            cell.outcome,
            self.verdicts[cell.name],
            tuple(check for check in cell.checks if not check.ok),
            tuple(need for need in cell.needs if not need.ok),
            tuple(cell.console_findings),
            tuple(cell.malformed),
        )

    def _job(self, machines: Sequence[Sequence[Cell]]) -> Job:
        self.number += 1
        first = machines[0]
        claims = [claim for claim in self.claims if any(matches(first[0].job, glob) for glob in claim.scenarios)]
        rows, left = counters(machines, claims)
        shown = pictures(machines, _steps(first, claims))
        return Job(
            name=first[0].job,
            machines=tuple(cells[0].machine for cells in machines),
            anchor=f"c{self.number}",
            shown=tuple(self._shown(tuple(same)) for same in zip(*machines, strict=True)),
            counters=rows,
            left=left,
            pages=page_states(first, but=drawn(shown)),
            pictures=shown,
        )

    def _shown(self, cells: tuple[Cell, ...]) -> Shown:
        verdict, reason = self.verdicts[cells[0].name]
        logs = logs_of(cells[0]) if self._loud(cells[0]) and self.logged < MAX_LOGS else ()
        self.logged += bool(logs)
        files = tuple((cell.machine, tuple(_own(self.files.get(cell.name, ())))) for cell in cells)
        return Shown(cells[0].kernel, cells, verdict, reason, _params(cells), _checks(cells[0]), logs, files)


def _steps(cells: Sequence[Cell], claims: Sequence[Claim]) -> list[str]:
    """Steps to draw: those that claims are on; without claims the first one that was read."""
    named = list(dict.fromkeys(claim.step for claim in claims))
    read = dict.fromkeys(tables.at for cell in cells for tables in cell.tables if tables.when == "step-begin")
    return [name for name in named if name in read] or list(read)[:1]


def _own(paths: Iterable[str]) -> Iterator[str]:
    """The files of a cell itself, without those of its boot, which are linked once a boot."""
    return (path for path in paths if not path.startswith(BOOTS))


def _params(cells: Sequence[Cell]) -> tuple[tuple[str, str], ...]:
    names = dict.fromkeys(name for cell in cells for name in cell.params)
    values = {name: dict.fromkeys(str(cell.params.get(name, NOT_OBSERVED)) for cell in cells) for name in names}
    return tuple((name, " | ".join(of)) for name, of in values.items())


def _checks(cell: Cell) -> tuple[tuple[str, int, tuple[str, ...]], ...]:
    names = dict.fromkeys(check.name for check in cell.checks)
    return tuple(
        (
            name,
            sum(check.ok for check in cell.checks if check.name == name),
            tuple(check.detail or "does not hold" for check in cell.checks if check.name == name and not check.ok),
        )
        for name in names
    )
