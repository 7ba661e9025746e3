"""What is printed for sequences of events; times come from the events, or from a clock that the test turns."""

import io
import json
import re

import pytest
from rich.console import Console

from pipeline import doctor, ui
from pipeline.errors import InfraError, UserError
from pipeline.events import (
    CellFinished,
    Event,
    Finding,
    Note,
    StageFinished,
    StageProgress,
    StageStarted,
    discard,
    stage,
)
from pipeline.progress import Board, Stage, bounded, clock, left, one_line

START = 1_000_000.0


def started(at: float, subject: str = "v2", why: str = "") -> StageStarted:
    return StageStarted(at=START + at, stage="build", subject=subject, why=why)


def progress(at: float, done: int, total: int = 100, line: str = "", subject: str = "v2") -> StageProgress:
    return StageProgress(at=START + at, stage="build", subject=subject, done=done, total=total, line=line)


def finished(at: float, seconds: float = 60, **state: bool) -> StageFinished:
    return StageFinished(at=START + at, stage="build", subject="v2", seconds=seconds, **state)


def cell(at: float, outcome: str = "passed", variant: str = "64k") -> CellFinished:
    return CellFinished(
        at=START + at, kernel="v2", machine="max", scenario="free", variant=variant, outcome=outcome, seconds=0.02
    )


def plain(*events: Event) -> list[str]:
    stream = io.StringIO()
    with ui.choose(stream=stream) as emit:
        for event in events:
            emit(event)
    return stream.getvalue().splitlines()


def test_plain_progress_is_at_most_one_line_in_five_seconds_for_each_stage() -> None:
    lines = plain(started(0), *(progress(t / 10, t) for t in range(100)))
    assert lines == [
        "[ 0.0 s] build v2",
        "[ 5.0 s] build v2: 50/100 (50 %) about 5.0 s left",
    ]


def test_plain_throttles_stages_apart() -> None:
    lines = plain(
        started(0),
        started(0, "base"),
        progress(6, 10),
        progress(6.1, 20, subject="base"),
        progress(7, 11),
        progress(12, 12),
    )
    assert [line.split("]")[1].split(":")[0] for line in lines[2:]] == [" build v2", " build base", " build v2"]


def test_plain_says_what_a_stage_came_to() -> None:
    assert plain(started(0, why="the series changed"), finished(75, 75)) == [
        "[ 0.0 s] build v2: the series changed",
        "[  1:15] build v2: done in 1:15",
    ]
    assert plain(finished(0, 0.1, cached=True)) == ["[ 0.0 s] build v2: up to date"]
    assert plain(finished(0, 3, ok=False)) == ["[ 0.0 s] build v2: FAILED after 3.0 s"]


def test_plain_tells_every_cell_that_did_not_pass_and_counts_the_others() -> None:
    lines = plain(cell(0), *(cell(0.1 + i / 100) for i in range(40)), cell(1, "failed", "128k"), cell(1.1))
    assert lines == [
        "[ 0.0 s] 1 cell: 1 passed",
        "[ 1.0 s] v2/max/free.128k: failed",
        "         43 cells: 42 passed, 1 failed",
    ]


def test_plain_tells_findings_and_notes_on_one_line_each() -> None:
    lines = plain(
        Finding(at=START, subject="v2/max", what="Oops\n\x1b[31mBUG: bad\tpage\x1b[0m\x07"),
        Note(at=START, text="hello"),
    )
    assert lines == ["[ 0.0 s] finding: v2/max: Oops BUG: bad page", "[ 0.0 s] hello"]


def test_plain_keeps_the_counts_when_the_work_is_interrupted() -> None:
    stream = io.StringIO()
    with pytest.raises(KeyboardInterrupt), ui.choose(stream=stream) as emit:  # noqa: PT012
        emit(cell(0))
        emit(cell(1))
        raise KeyboardInterrupt
    assert stream.getvalue().splitlines()[-1].strip() == "2 cells: 2 passed"


def test_json_is_every_event_one_object_a_line() -> None:
    stream = io.StringIO()
    with ui.choose(json=True, stream=stream) as emit:
        emit(started(0))
        emit(progress(0.1, 3, line="CC mm/madvise.o\nLD vmlinux"))
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert first == {"event": "StageStarted", "at": START, "stage": "build", "subject": "v2", "why": ""}
    assert second["line"] == "CC mm/madvise.o\nLD vmlinux"


def test_a_closed_reader_of_json_is_an_error_that_says_so() -> None:
    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    with ui.choose(json=True, stream=Closed()) as emit, pytest.raises(InfraError, match="has closed its end"):
        emit(started(0))


def test_quiet_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with ui.choose(quiet=True) as emit:
        assert emit is discard
    assert capsys.readouterr() == ("", "")


def live(now: float = START) -> tuple[ui.Live, io.StringIO, list[float]]:
    stream, hand = io.StringIO(), [now]
    console = Console(file=stream, force_terminal=True, width=100, color_system=None)
    return ui.Live(console, now=lambda: hand[0]), stream, hand


def region(display: ui.Live) -> str:
    console = Console(file=io.StringIO(), width=100, color_system=None)
    console.print(display.render())
    return console.file.getvalue()


def test_live_shows_running_stages_with_fraction_time_and_last_words() -> None:
    display, stream, hand = live()
    display(started(0))
    display(progress(5, 25, line="  CC      mm/madvise.o"))
    display(cell(6))
    hand[0] = START + 15
    shown = region(display)
    assert re.search(r"build v2 .*25/100 \(25 %\) +0:15 about 0:45 left CC mm/madvise.o", shown)
    assert "1 cell: 1 passed" in shown
    assert stream.getvalue() == ""
    display(finished(60))
    assert "build v2" not in region(display)
    assert "build v2: done in 1:00" in stream.getvalue()


def test_live_tells_the_time_of_the_whole_from_the_first_event() -> None:
    display, _, hand = live()
    hand[0] = START + 5
    assert "in all" not in region(display)
    display(Note(at=START, text="hello"))
    display(cell(2))
    hand[0] = START + 65
    assert "1 cell: 1 passed; 1:05 in all" in region(display)


def test_live_scrolls_failures_by_and_does_not_read_markup_in_them() -> None:
    display, stream, _ = live()
    display(cell(0, "failed"))
    display(Finding(at=START, subject="v2", what="BUG: [bold]not markup[/bold] [/x]"))
    assert "v2/max/free.64k: failed" in stream.getvalue()
    assert "[bold]not markup[/bold] [/x]" in stream.getvalue()


def test_a_terminal_gets_the_live_display_and_a_dumb_one_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    stream = Terminal()
    with ui.choose(stream=stream) as emit:
        assert isinstance(emit, ui.Live)
        emit(cell(0))
    assert "1 cell: 1 passed" in stream.getvalue()
    monkeypatch.setenv("TERM", "dumb")
    with ui.choose(stream=Terminal()) as emit:
        assert isinstance(emit, ui.Plain)


def test_no_remaining_time_is_told_before_it_can_be_known() -> None:
    stage = Stage(stage="build", subject="v2", started=0)
    assert stage.remaining(100) is None
    stage.total, stage.done = 1000, 19
    assert stage.remaining(100) is None
    stage.done = 500
    assert stage.remaining(2.9) is None
    assert stage.remaining(30) == 30
    stage.done = 1200
    assert stage.remaining(30) == 0
    assert left(stage, 30) == ""


def test_a_stage_that_finishes_without_having_started_is_no_error() -> None:
    board = Board()
    assert board.take(finished(0)) is None
    assert board.take(progress(1, 5)).done == 5
    assert board.take(finished(2)).done == 5
    assert board.stages == {}


def test_progress_without_words_keeps_the_last_ones() -> None:
    board = Board()
    board.take(progress(0, 1, line="CC a.o"))
    assert board.take(progress(1, 2)).line == "CC a.o"


def test_an_error_is_message_detail_and_hint_without_a_traceback() -> None:
    stream = io.StringIO()
    ui.error(UserError("patch 3 does not apply", hint="git rebase", detail="a\n  b\x1b[1m\n"), stream=stream)
    assert stream.getvalue() == "kpv: error: patch 3 does not apply\n    a\n      b\nhint: git rebase\n"


def test_a_long_detail_keeps_its_start_and_its_end() -> None:
    lines = bounded("\n".join(f"line {n}" for n in range(1000)) + "\n" + "x" * 5000)
    assert (lines[0], lines[9]) == ("line 0", "line 9")
    assert lines[10] == "... (971 lines left out) ..."
    assert lines[11] == "line 981"
    assert len(lines) == 31
    assert len(lines[-1]) == 300


def test_clock() -> None:
    assert [clock(s) for s in (-1, 0.44, 9.94, 10, 59.6, 75, 3725)] == [
        "0.0 s", "0.4 s", "9.9 s", "0:10", "1:00", "1:15", "1:02:05",
    ]  # fmt: skip
    assert one_line("y" * 400).endswith("...")


def test_a_table_in_a_pipe_is_whole_and_reads_no_markup() -> None:
    stream = io.StringIO()
    ui.table("Verdicts", ("kernel", "verdict", "evidence"), [("v2", "FAIL", "[red]" + "e" * 60)], stream=stream)
    text = stream.getvalue()
    assert "Verdicts" in text
    assert re.search(r"v2 .* FAIL .*\[red\]e{60}", text)
    assert "\x1b" not in text


def test_the_doctors_report_tells_the_fix_and_the_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = doctor.Finding(
        what="ccache", status=doctor.Status.MISSING, found="not in PATH", wanted="ccache", why="speed", fix="apt-get it"
    )
    fine = doctor.Finding(what="bc", status=doctor.Status.OK, found="1.07", wanted="bc")
    monkeypatch.setattr(doctor, "mend", lambda _: "sh bootstrap.sh")
    stream = io.StringIO()
    ui.doctor_report([fine, missing], stream=stream)
    assert "missing: ccache (speed)\n    apt-get it\n" in stream.getvalue()
    assert stream.getvalue().endswith("to mend all that a command can mend: sh bootstrap.sh\n")
    stream = io.StringIO()
    ui.doctor_report([fine], stream=stream)
    assert stream.getvalue().endswith("ready: nothing that kpv needs is missing\n")
    stream = io.StringIO()
    ui.doctor_report([fine, missing], json=True, stream=stream)
    assert json.loads(stream.getvalue())["ok"] is False


def test_a_stage_that_ctrl_c_ends_is_not_told_as_failed() -> None:
    told: list[Event] = []
    with pytest.raises(KeyboardInterrupt), stage(told.append, "build", "v2"):
        raise KeyboardInterrupt
    with pytest.raises(UserError), stage(told.append, "build", "v3"):
        raise UserError("no")
    assert [(type(event), event.subject) for event in told] == [
        (StageStarted, "v2"),
        (StageStarted, "v3"),
        (StageFinished, "v3"),
    ]
    assert told[-1].ok is False
