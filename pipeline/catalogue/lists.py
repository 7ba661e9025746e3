"""Everything of a kind, one row each."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline import locate, resources
from pipeline import study as studies
from pipeline.errors import KpvError
from pipeline.guest import machine as machines
from pipeline.history.index import Entry
from pipeline.stages import as_seen
from pipeline.study import Study


@dataclass(frozen=True)
class Listing:
    """A table: ``rows`` have a cell for each of ``columns``."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def as_dicts(self) -> list[dict[str, str]]:
        """One object a row, by column."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def all_studies(here: Path) -> Listing:
    """The study of a folder, if it has one, and those that come with kpv; one that is wrong says so."""
    found = {"(here)": here / locate.STUDY} if (here / locate.STUDY).is_file() else {}
    rows = []
    for name, path in {**found, **locate.shipped()}.items():
        try:
            study = studies.load(path)
            told = (study.title, ", ".join(kernel.id for kernel in study.kernel))
        except KpvError as err:
            told = (f"cannot be read: {err.message}", "")
        rows.append((name, *told, as_seen(path)))
    return Listing("studies", ("name", "title", "kernels", "file"), tuple(rows))


def all_kernels(study: Study) -> Listing:
    rows = (
        (k.id, k.role, ", ".join(k.series) or "no patch", _expected(k.expect.verdict, k.expect.failing), k.title)
        for k in study.kernel
    )
    return Listing(f"kernels of {study.id}", ("name", "role", "series", "expected", "title"), tuple(rows))


def all_machines(study: Study) -> Listing:
    """Every machine profile there is, and whether the study has it."""
    folder = resources.folder("qemu")
    rows = []
    for name in machines.names(folder):
        machine = machines.load(folder, name)
        dirty = "by hardware" if machine.hardware_dbm else "by software"
        used = "yes" if name in study.machines else "no"
        rows.append((name, machine.cpu, str(machine.smp), str(machine.memory_mib), dirty, used, machine.title))
    columns = ("name", "CPU", "CPUs", "MiB", "dirty state", f"in {study.id}", "title")
    return Listing("machines", columns, tuple(rows))


def all_scenarios(study: Study) -> Listing:
    rows = (
        (s.id, " ".join(s.variants), s.program, " ".join(s.machines) or "all", " ".join(s.properties), s.title)
        for s in study.scenario
    )
    columns = ("name", "variants", "program", "machines", "properties", "title")
    return Listing(f"scenarios of {study.id}", columns, tuple(rows))


def all_claims(study: Study) -> Listing:
    rows = ((c.id, c.kind, c.step, c.candidate, c.title) for c in study.claim)
    return Listing(f"claims of {study.id}", ("name", "kind", "step", "candidate", "title"), tuple(rows))


def all_invariants(study: Study) -> Listing:
    """Those that every kernel is judged by, then the study's."""
    rows = [(name, "every kernel", title) for name, title in studies.BUILT_IN.items()]
    rows += [(i.id, f"{sum(i.id in s.checks for s in study.scenario)} scenarios", i.title) for i in study.invariant]
    return Listing(f"invariants of {study.id}", ("name", "checked by", "title"), tuple(rows))


def all_runs(entries: list[Entry], root: Path) -> Listing:
    """The runs of the index, the newest first, and those below ``root`` that it does not know."""
    rows = [
        (
            entry.id,
            entry.study,
            entry.started.replace("T", " ").rstrip("Z"),
            str(entry.exit_code),
            str(entry.cells),
            "a part" if entry.narrowed else "the study",
            as_seen(entry.folder) if entry.folder.is_dir() else f"gone: {as_seen(entry.folder)}",
        )
        for entry in reversed(entries)
    ]
    known = {entry.folder for entry in entries}
    rows += [
        (folder.name, "?", "?", "?", "?", "not in the history", as_seen(folder.absolute()))
        for folder in reversed(locate.run_folders(root))
        if folder.absolute() not in known
    ]
    return Listing("runs", ("name", "study", "started (UTC)", "exit code", "cells", "of", "folder"), tuple(rows))


#: Kinds that a study has, by their word on the command line.
OF_STUDY: dict[str, Callable[[Study], Listing]] = {
    "kernels": all_kernels,
    "machines": all_machines,
    "scenarios": all_scenarios,
    "claims": all_claims,
    "invariants": all_invariants,
}


def _expected(verdict: str, failing: tuple[str, ...]) -> str:
    return f"{verdict} ({', '.join(failing)})" if failing else verdict
