"""Observations kept: cells and boots in the store, so that nothing up to date is run again."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from pipeline.observation import Boot, Cell, Outcome
from pipeline.store import Store

#: Outcomes that say something of the kernel and would come again; the others are tried anew by the next run.
LASTING = frozenset({Outcome.PASSED, Outcome.FAILED, Outcome.CRASHED, Outcome.PANIC})
#: Files of a boot's working folder that are evidence.
BOOT_FILES = ("console.log", "trace.dat", "qemu.err")


def find_cell(store: Store, inputs: Mapping[str, object]) -> tuple[Cell, Boot] | None:
    """The recorded cell of these inputs and its boot, or None; one that was removed meanwhile, that another version
    recorded, or whose boot is gone counts as none."""
    folder = store.find("cell", inputs)
    if folder is None:
        return None
    try:
        cell = Cell.model_validate_json((folder / "cell.json").read_bytes())
    except (OSError, ValidationError):
        return None
    boot = find_boot(store, cell.boot)
    return (cell, boot[0]) if boot is not None else None


def keep_cell(store: Store, inputs: Mapping[str, object], cell: Cell, boot: Boot) -> bool:
    """Record a cell for later runs; False for one that proves nothing lasting."""
    if cell.outcome not in LASTING or boot.failure or not all(need.ok for need in boot.needs):
        return False

    def make(folder: Path) -> None:
        (folder / "cell.json").write_text(cell.model_dump_json(indent=1) + "\n", encoding="utf-8")

    before = store.find("cell", inputs)
    if before is not None:  # a fresh run replaces what an earlier one recorded
        store.remove(before.name)
    store.artifact("cell", inputs, make, subject=cell.name)
    return True


def keep_boot(store: Store, boot: Boot, workdir: Path) -> None:
    """Record a boot with its console and trace."""

    def make(folder: Path) -> None:
        for name in BOOT_FILES:
            if (workdir / name).is_file():
                shutil.copyfile(workdir / name, folder / name)
        (folder / "boot.json").write_text(boot.model_dump_json(indent=1) + "\n", encoding="utf-8")

    store.artifact("boot", {"id": boot.id}, make, subject=boot.id)


def find_boot(store: Store, boot: str) -> tuple[Boot, Path] | None:
    """A recorded boot and the folder of its files."""
    folder = store.find("boot", {"id": boot})
    if folder is None:
        return None
    try:
        return Boot.model_validate_json((folder / "boot.json").read_bytes()), folder
    except (OSError, ValidationError):
        return None
