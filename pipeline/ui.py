"""What a person, or a program reading JSON lines, sees while kpv works. Consumes events; decides nothing.

Progress goes to stderr, so that stdout holds results only; ``--json`` puts the
events themselves on stdout.
"""

import contextlib
import json as jsonlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live as RichLive
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline import doctor
from pipeline.catalogue.pages import Page
from pipeline.errors import InfraError, KpvError
from pipeline.events import (
    CellFinished,
    Emit,
    Event,
    Finding,
    MutantFinished,
    StageFinished,
    StageProgress,
    StageStarted,
    discard,
)
from pipeline.progress import Board, Stage, bounded, clock, fraction, left, permanent_line

#: Seconds between two progress lines of one stage where there is no terminal.
THROTTLE = 5.0
#: Columns of a table that is written to a file or a pipe.
PIPE_WIDTH = 160

STYLES = {
    "PASS": "green", "passed": "green", "ok": "green",
    "FAIL": "bold red", "failed": "red", "missing": "bold red", "too-old": "bold red",
    "INCONCLUSIVE": "yellow", "skipped": "yellow", "optional": "yellow", "KNOWN": "cyan",
    "killed": "green", "accepted": "green", "survived": "bold red", "rejected": "bold red",
    "inconclusive": "yellow", "not-built": "yellow", "not-applied": "yellow",
}  # fmt: skip


class Plain:
    """One line for each event of interest, for logs and CI; progress at most once in THROTTLE seconds a stage."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.board = Board()
        self.lock = threading.Lock()
        self.first: float | None = None
        self.cells_told = float("-inf")
        self.untold_cells = False

    def __call__(self, event: Event) -> None:
        with self.lock:
            if self.first is None:
                self.first = event.at
            stage = self.board.take(event)
            line = self._line(event, stage)
            if line:
                self._print(event.at, line)

    def close(self) -> None:
        """Tell the cell counts that throttling has kept back."""
        with self.lock:
            if self.untold_cells:
                self._print(None, self.board.cell_counts())
                self.untold_cells = False

    def _line(self, event: Event, stage: Stage | None) -> str:
        if isinstance(event, StageProgress) and stage is not None:
            return self._progress(event, stage)
        if isinstance(event, CellFinished):
            return self._cell(event)
        return permanent_line(event)

    def _progress(self, event: StageProgress, stage: Stage) -> str:
        if event.at - max(stage.told, stage.started) < THROTTLE:
            return ""
        stage.told = event.at
        return " ".join(filter(None, [f"{stage.name}:", fraction(stage), left(stage, event.at), stage.line]))

    def _cell(self, event: CellFinished) -> str:
        if event.outcome != "passed":
            return permanent_line(event)
        self.untold_cells = event.at - self.cells_told < THROTTLE
        if self.untold_cells:
            return ""
        self.cells_told = event.at
        return self.board.cell_counts()

    def _print(self, at: float | None, line: str) -> None:
        stamp = " " * 8 if at is None else f"[{clock(at - (self.first or at)):>6}]"
        print(f"{stamp} {line}", file=self.stream, flush=True)


class Live:
    """A terminal: finished things scroll up, running stages stay below with a bar, a time and their last words."""

    def __init__(self, console: Console, *, now: Callable[[], float] = time.time) -> None:
        self.console = console
        self.now = now
        self.board = Board()
        self.first: float | None = None
        self.lock = threading.Lock()
        # stdout is left alone: results may go to a file while progress is on the terminal.
        self.live = RichLive(
            console=console, get_renderable=self.render, refresh_per_second=8, transient=True, redirect_stdout=False
        )

    def __call__(self, event: Event) -> None:
        with self.lock:
            self.first = event.at if self.first is None else self.first
            self.board.take(event)
            line = permanent_line(event)
        if line and not self._shown_below(event):
            self.console.print(Text(line, style=line_style(event)), soft_wrap=True)

    @staticmethod
    def _shown_below(event: Event) -> bool:
        """Passed cells are counted in the region, stages run there: scrolling them by would hide what matters."""
        match event:
            case CellFinished():
                return event.outcome == "passed"
            case StageStarted():
                return not event.why
        return False

    def render(self) -> RenderableType:
        """The region below the scrolled lines, as of now."""
        with self.lock:
            grid = Table.grid(padding=(0, 1))
            for column in ("left", "left", "right", "right", "left"):
                grid.add_column(justify=column, no_wrap=True, overflow="ellipsis")
            now = self.now()
            for stage in self.board.stages.values():
                bar = ProgressBar(total=stage.total or None, completed=stage.done, width=20, pulse=not stage.total)
                grid.add_row(
                    Text(stage.name, style="bold"),
                    bar,
                    Text(fraction(stage) or "..."),
                    Text(f"{clock(now - stage.started)} {left(stage, now)}".rstrip()),
                    Text(stage.line, style="dim"),
                )
            told = [self.board.cell_counts(), f"{clock(now - self.first)} in all" if self.first is not None else ""]
            return Group(grid, Text("; ".join(filter(None, told))))


class JsonLines:
    """Each event as one JSON object a line."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        line = jsonlib.dumps(event.as_dict(), ensure_ascii=False)
        with self.lock:
            try:
                print(line, file=self.stream, flush=True)
            except BrokenPipeError as err:
                if self.stream is sys.stdout:
                    # Or the interpreter would complain once more when it flushes at exit.
                    os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())
                raise InfraError("the program that reads the JSON events has closed its end") from err


@contextlib.contextmanager
def choose(*, json: bool = False, quiet: bool = False, stream: TextIO | None = None) -> Iterator[Emit]:
    """The consumer that fits: JSON lines, silence, a live display on a terminal, else plain lines.

    ``stream`` is stdout for JSON and stderr otherwise unless given.
    """
    if json:
        yield JsonLines(stream or sys.stdout)
    elif quiet:
        yield discard
    elif (console := Console(file=stream or sys.stderr)).is_terminal and not console.is_dumb_terminal:
        live = Live(console)
        with live.live:
            yield live
        if counts := live.board.cell_counts():
            console.print(Text(counts))
    else:
        plain = Plain(stream or sys.stderr)
        try:
            yield plain
        finally:
            plain.close()


def error(err: KpvError, *, stream: TextIO | None = None) -> None:
    """``kpv: error: message``, the detail (bounded, indented) and ``hint:``; never a traceback."""
    stream = stream or sys.stderr
    print(f"kpv: error: {err.message}", file=stream)
    for line in bounded(err.detail):
        print(f"    {line}".rstrip(), file=stream)
    if err.hint:
        print(f"hint: {err.hint}", file=stream)
    stream.flush()


def table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, stream: TextIO | None = None
) -> None:
    """Print a table to stdout. Cells are shown as their ``str``, verdicts and statuses in their colour."""
    console = _results(stream)
    grid = Table(title=Text(title) if title else None, title_justify="left", header_style="bold")
    for column in columns:
        grid.add_column(Text(column), overflow="fold")
    for row in rows:
        grid.add_row(*(Text(str(cell), style=STYLES.get(str(cell).split(" ")[0], "")) for cell in row))
    console.print(grid)


def warn(text: str) -> None:
    """A line on stderr about something that did not stop the work."""
    print(f"kpv: {text}", file=sys.stderr, flush=True)


def json(data: object, *, stream: TextIO | None = None) -> None:
    """Print JSON to stdout."""
    print(jsonlib.dumps(data, indent=1, ensure_ascii=False, default=str), file=stream or sys.stdout)


def page(shown: Page, *, stream: TextIO | None = None) -> None:
    """Print something whole to stdout: its title, then each section that has rows."""
    console = _results(stream)
    console.print(Text(shown.title, style="bold"), soft_wrap=True)
    for section in shown.sections:
        if not section.rows:
            continue
        if section.columns:
            table(section.title, section.columns, section.rows, stream=stream)
            continue
        if section.title:
            console.print(Text(section.title, style="bold"), soft_wrap=True)
        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        for name, text in section.rows:
            grid.add_row(Text(f"  {name}" if name else ""), Text(text))
        console.print(grid)


def doctor_report(findings: Sequence[doctor.Finding], *, json: bool = False, stream: TextIO | None = None) -> None:
    """Print what ``kpv doctor`` found: a table and the command that mends all, or one JSON object."""
    stream = stream or sys.stdout
    if json:
        print(jsonlib.dumps(doctor.report(findings), indent=2, ensure_ascii=False), file=stream)
        return
    table("", ("what", "status", "found", "wanted"), [(f.what, f.status, f.found, f.wanted) for f in findings],
          stream=stream)  # fmt: skip
    for finding in findings:
        if finding.status is not doctor.Status.OK:
            why = f" ({finding.why})" if finding.why else ""
            print(f"{finding.status}: {finding.what}{why}\n    {finding.fix}", file=stream)
    lacking = len(doctor.broken(findings))
    if not lacking:
        print("ready: nothing that kpv needs is missing", file=stream)
    elif mend := doctor.mend(findings):
        print(f"to mend all that a command can mend: {mend}", file=stream)
    else:
        print(f"not ready: {lacking} to mend by hand, see above", file=stream)


def line_style(event: Event) -> str:
    """The colour of an event's permanent line on a terminal."""
    match event:
        case CellFinished() | MutantFinished():
            return STYLES.get(event.outcome, "red")
        case StageFinished(ok=False):
            return "bold red"
        case StageFinished(cached=True) | StageStarted():
            return "dim"
        case Finding():
            return "yellow"
    return ""


def _results(stream: TextIO | None) -> Console:
    stream = stream or sys.stdout
    return Console(file=stream, width=None if stream.isatty() else PIPE_WIDTH)
