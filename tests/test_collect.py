"""A cell is whole, console findings included, as soon as its job has ended."""

import threading
from pathlib import Path

import pytest

from pipeline.collect import Collector, Watched
from pipeline.guest import ends
from pipeline.guest.monitor import Monitor
from pipeline.guest.runner import GuestJob, GuestResult
from pipeline.observation import Boot, Cell, Need, Outcome
from pipeline.observe.tables import Recorded
from pipeline.observe.tlb import Modelled
from pipeline.plan import CellSpec

WARNING = "WARNING: CPU: 0 PID: 7 at mm/madvise.c:7 madvise_free+0x1/0x2"
OK = b"TAP version 13\n1..1\nok 1 free.64k.full\n"


class Guest:
    """A console that a test writes line by line, and the collector of its boot."""

    def __init__(self, path: Path, *specs: CellSpec, cpus: int = 1) -> None:
        path.write_bytes(b"")
        self.path = path
        self.alive = True
        self.console = Monitor(path, alive=lambda: self.alive)
        self.boot = Boot(id="b", kernel="v2", machine="max")
        watched = Watched(Recorded(path.parent, []), Modelled(path.parent, []))
        self.collector = Collector(specs, self.boot, self.console, watched, cpus=cpus)

    def say(self, *lines: str) -> None:
        with self.path.open("a") as log:
            log.writelines(f"{line}\n" for line in lines)

    def end(self, name: str, *between: str, end: ends.VmEnded | None = None) -> Cell:
        self.say(f"[ 1.0] kpv: begin {name}", *between, *([] if end else [f"[ 2.0] kpv: end {name}"]))
        if end is not None:
            self.close()
        outcome = "vm-ended" if end else "exited"
        return self.collector.add(GuestResult(GuestJob(name, ("t",)), outcome, 0, OK, 0.1, end=end))

    def close(self) -> None:
        self.alive = False
        self.console.close()

    def finish(self) -> list[Cell]:
        self.close()
        self.collector.finish(self.path.with_name("no-trace.dat"))
        return self.collector.cells


def spec(name: str, cpus: int = 1) -> CellSpec:
    scenario, _, variant = name.partition(".")
    return CellSpec("v2", "max", scenario, variant, "free", "free", 30, cpus)


@pytest.fixture
def guest(tmp_path: Path):
    made = Guest(tmp_path / "console.log", spec("full.64k"), spec("fork.64k"))
    yield made
    made.close()


def test_a_cell_has_its_own_part_of_the_console_at_once(guest):
    guest.say("Booting Linux")
    first = guest.end("full.64k", "one")
    second = guest.end("fork.64k", WARNING)
    assert (first.console, second.console) == ("one", WARNING)
    assert first.console_findings == []
    assert second.console_findings == [f"warning: {WARNING}"]


def test_a_cell_waits_for_the_last_line_that_the_guest_wrote_of_it(guest):
    guest.say("kpv: begin full.64k", WARNING)
    late = threading.Timer(0.2, guest.say, (WARNING.replace(":7 ", ":8 "), "kpv: end full.64k"))
    late.start()
    cell = guest.collector.add(GuestResult(GuestJob("full.64k", ("t",)), "exited", 0, OK, 0.1))
    assert len(cell.console_findings) == 2


@pytest.mark.parametrize(("where", "blamed"), [("before", "full.64k"), ("between", "full.64k"), ("after", "fork.64k")])
def test_a_finding_outside_any_cell_is_the_nearest_one_s(guest, where, blamed):
    guest.say(*[WARNING] * (where == "before"))
    guest.end("full.64k")
    guest.say(*[WARNING] * (where == "between"))
    guest.end("fork.64k")
    guest.say(*[WARNING] * (where == "after"))
    found = {cell.job: cell.console_findings for cell in guest.finish() if cell.console_findings}
    assert found == {blamed: [f"outside any cell: warning: {WARNING}"]}
    assert guest.boot.failure == ""


def test_a_finding_of_a_boot_without_cells_is_its_failure(guest):
    guest.say(WARNING)
    assert guest.finish() == []
    assert WARNING in guest.boot.failure


def test_the_cell_that_the_kernel_died_in_has_all_that_was_said(guest):
    guest.end("full.64k")
    panic = ends.GuestPanic("Kernel panic", phase="running fork.64k")
    cell = guest.end("fork.64k", "Kernel panic - not syncing: seeded", "---[ end Kernel panic", end=panic)
    assert cell.outcome is Outcome.PANIC
    assert cell.reason == "running fork.64k: Kernel panic"
    assert cell.console_findings == ["panic: Kernel panic - not syncing: seeded"]


def test_a_kernel_that_dies_after_the_last_cell_is_that_cell_s(guest):
    guest.end("full.64k")
    guest.collector.blame(ends.GuestPanic("Kernel panic", phase="powering off"))
    (cell,) = guest.finish()
    assert (cell.outcome, cell.reason) == (Outcome.PANIC, "powering off: Kernel panic")


@pytest.mark.parametrize(("wanted", "online", "ok"), [(1, 1, True), (1, 2, True), (2, 2, True), (2, 1, False)])
def test_a_cell_says_how_many_cpus_were_online(tmp_path, wanted, online, ok):
    guest = Guest(tmp_path / "console.log", spec("full.64k", cpus=wanted), cpus=online)
    assert guest.end("full.64k").needs == [Need(what="cpus_online", ok=ok, want=f"{wanted}", got=f"{online}")]
    guest.close()
