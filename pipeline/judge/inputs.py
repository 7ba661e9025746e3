"""What a judged result depends on besides the kernels: for keeping one as long as nothing that matters changes."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline import contpte, judge, observation
from pipeline.study import Study


def of(
    study: Study,
    *,
    machines: Iterable[Mapping[str, Any]],
    qemu: Iterable[str],
    rootfs: str,
    programs: Mapping[str, str],
    code: Iterable[ModuleType] = (),
) -> dict[str, Any]:
    """Everything but the kernels that can change what is observed of a study's cells, or what the judge says of it.

    ``study``: of it only what runs or decides counts. ``machines``: their profiles; ``qemu``: see ``cells.qemu_of``;
    ``rootfs`` and ``programs``: sha256. ``code``: modules that decide, besides the judge's own.
    """
    return {
        "code": _digest(code),
        "machines": [dict(machine) for machine in machines],
        "qemu": list(qemu),
        "rootfs": rootfs,
        "programs": dict(programs),
        "scenarios": _dump(study.scenario),
        "invariants": [each.id if not each.holds else _dump([each], "title")[0] for each in study.invariant],
        "claims": _dump(study.claim, "title"),
        "known": _dump(study.known, "explanation", "kernels"),
        "probes": _dump(study.probe),
        "tracepoints": list(study.tracepoints),
        **({"selections": _dump(study.machine)} if study.machine else {}),
    }


def _dump(entries: Iterable[Any], *without: str) -> list[dict[str, Any]]:
    return [entry.model_dump(mode="json", exclude=set(without) or None) for entry in entries]


def _digest(modules: Iterable[ModuleType]) -> str:
    """Of the code that decides: another judge may decide otherwise."""
    files = [Path(module.__file__) for module in (*modules, observation) if module.__file__]
    for room in (judge, contpte):
        assert room.__file__ is not None
        files += sorted(Path(room.__file__).parent.glob("*.py"))
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()
