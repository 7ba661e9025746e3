"""A run's folder: every form of the report, the stacks, the plots."""

import json
from pathlib import Path

from pipeline import events
from pipeline.cost import spec
from pipeline.cost.model import CostRun, Profile, dumps, load
from pipeline.cost.report import drawings, html, markdown, reproduce, text
from pipeline.cost.report.view import View
from pipeline.events import Emit
from pipeline.run import write_text

RECORD = "cost.json"
#: Kernel, machine, operation and folio size of a profile.
Key = tuple[str, str, str, str]


def write_all(run: CostRun, folder: Path) -> View:
    """Write every file of a report into ``folder``: each whole or not at all. Raises InfraError where the disk is full.

    ``cost.json`` is the record with the judgement; all others are made from it.
    """
    view = View(run)
    stacks = {key: profile.folded() for key, profile in _profiles(view).items()}
    folded = {key: f"profiles/{'-'.join(key)}.folded" for key in stacks}
    texts = {
        RECORD: dumps(view.judged),
        "tables.json": tables(view),
        "cost.html": html.render(view, folded),
        "cost.md": markdown.render(view),
        "cost.txt": text.render(view),
        "reproduce.sh": reproduce.render(view),
        **{folded[key]: stack for key, stack in stacks.items()},
        **{f"plots/{name}": drawn for name, drawn in drawings.files(view).items()},
    }
    for name in ("profiles", "plots"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name, content in texts.items():
        write_text(folder / name, content, executable=name.endswith(".sh"))
    return view


def is_record(path: Path) -> bool:
    """Whether a path is a cost.json, or a folder that holds one."""
    return path.name == RECORD or (path / RECORD).is_file()


def rejudge(path: Path, emit: Emit) -> View:
    """Judge recorded costs anew and write every file again, with no VM. Raises CostError."""
    run = load(path)
    with events.stage(emit, "judge", run.id):
        return write_all(run, path if path.is_dir() else path.parent)


def _profiles(view: View) -> dict[Key, Profile]:
    """The profile of each call at the range of its operation's table."""
    found: dict[Key, Profile] = {}
    for table in view.tables:
        for point in view.measured.points:
            if (point.operation, point.range) != (table.operation, table.range):
                continue
            for kernel in table.kernels:
                sample = view.measured.one(kernel, table.machine, point)
                if sample is not None and sample.profile is not None:
                    found[kernel, table.machine, table.operation, spec.size_of(point.folio)] = sample.profile
    return found


def tables(view: View) -> str:
    """tables.json: one object a kernel, call and count, for programs that draw or compare.

    ``change``: against the baseline, as a share of it; null where there is none. ``published``: [old, new].
    """
    rows = []
    for table in view.tables:
        for line in table.lines:
            beside = [by_size[line.folio] for _, by_size in table.published if line.folio in by_size]
            for entry in line.entries:
                row = {
                    "kernel": entry.kernel,
                    "machine": table.machine,
                    "operation": table.operation,
                    "folio_bytes": line.folio,
                    "range_bytes": table.range,
                    "count": line.count,
                    "total": entry.total,
                    "per_page": entry.per_page,
                    "change": entry.change,
                }
                if beside and line.count == "instructions":
                    row["published"] = [beside[0].old, beside[0].new]
                rows.append(row)
    return json.dumps(rows, indent=1) + "\n"
