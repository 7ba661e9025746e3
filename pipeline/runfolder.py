"""A run's folder, ``runs/<id>/``: events, reports, and the files of every kernel, boot and cell."""

import itertools
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TextIO

from pipeline import report, results
from pipeline.events import Emit, Event
from pipeline.kernel.build import BuildError, KernelArtifact
from pipeline.observation import Cell, Outcome
from pipeline.run import Run
from pipeline.store import Store


def create(root: Path, study: str, started: datetime) -> Path:
    """A folder for this run, named after the time and the study; a second run in the same second gets a suffix."""
    stem = f"{started:%Y%m%d-%H%M%S}-{study}"
    for suffix in itertools.chain([""], (f"-{n}" for n in itertools.count(2))):
        folder = root / (stem + suffix)
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise AssertionError("count() never ends")


@contextmanager
def recording(emit: Emit) -> Iterator[tuple[Emit, Callable[[Path], None]]]:
    """Passes events on, and keeps them as JSON lines in a file once there is a folder for it."""
    early: list[Event] = []
    with ExitStack() as stack:
        log: TextIO | None = None
        lock = threading.Lock()

        def keep_in(path: Path) -> None:
            nonlocal log
            with lock:
                log = stack.enter_context(path.open("w", encoding="utf-8"))
                for event in early:
                    print(json.dumps(event.as_dict()), file=log)

        def both(event: Event) -> None:
            with lock:
                if log is None:
                    early.append(event)
                else:
                    print(json.dumps(event.as_dict()), file=log, flush=True)
                emit(event)

        yield both, keep_in


def write(run: Run, folder: Path) -> dict[str, Path]:
    """Write the reports, with links to the files that are there; returns their paths by file name."""
    return report.write_all(run, folder, files_of(run, folder))


def files_of(run: Run, folder: Path) -> dict[str, list[str]]:
    """By the name of each cell: its bulky records that are there, relative to the run's folder."""
    return {cell.name: list(_links(folder, cell).values()) for cell in run.cells}


def kernel_files(folder: Path, built: KernelArtifact | BuildError) -> None:
    """Copy a kernel's configuration, build log and facts."""
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(built, BuildError):
        _copy(built.log, folder / "build.log")
        return
    for path in (built.config, built.log, built.path / "kernel.json"):
        _copy(path, folder / path.name)


def boot_files(folder: Path, store: Store, boot: str) -> None:
    """Copy the console and trace of a recorded boot, unless it left them here itself."""
    found = results.find_boot(store, boot)
    if found is not None and not folder.is_dir():
        folder.mkdir(parents=True)
        for path in found[1].iterdir():
            if path.name in results.BOOT_FILES:
                _copy(path, folder / path.name)


#: File of a cell's folder and the field of its observation.
CELL_FILES = {"ktap.txt": "ktap", "console.txt": "console", "trace.txt": "trace"}


def cell_files(folder: Path, cell: Cell) -> None:
    """Write what a cell printed."""
    home = folder / "cells" / cell.name
    home.mkdir(parents=True, exist_ok=True)
    for name, field in CELL_FILES.items():
        if text := getattr(cell, field):
            (home / name).write_text(text, encoding="utf-8", errors="backslashreplace")


def without_files(cell: Cell) -> Cell:
    """The cell as run.json keeps it: the texts of one that passed are in its files alone."""
    if cell.outcome is not Outcome.PASSED or cell.console_findings or cell.malformed:
        return cell
    return cell.model_copy(update=dict.fromkeys(CELL_FILES.values(), ""))


def _links(folder: Path, cell: Cell) -> dict[str, str]:
    """A cell's files by kind, as paths relative to the run's folder."""
    home = folder / "cells" / cell.name
    paths = {field: home / name for name, field in CELL_FILES.items()}
    boot = folder / "boots" / cell.boot
    if cell.boot:
        paths |= {"boot console": boot / "console.log", "trace.dat": boot / "trace.dat"}
    return {kind: str(path.relative_to(folder)) for kind, path in paths.items() if path.is_file()}


def _copy(source_file: Path, target: Path) -> None:
    if source_file.is_file():
        shutil.copyfile(source_file, target)
