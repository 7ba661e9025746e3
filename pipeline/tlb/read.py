"""Reads the JSON lines of the TLB model: one object a line, of the types start, finding, step, test and end.

``qemu/contpte-tlb/report.c`` writes them; a change of their form is a new version.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.contpte.read import hash_name
from pipeline.errors import InfraError
from pipeline.tlb.model import NO_LINE, Finding, Kind, Observation
from pipeline.tlb.symbols import Symbols

VERSION = 2


class ModelError(InfraError):
    """Not what the plugin writes."""


@dataclass
class Seen:
    """The lines of one test: ``steps`` has each step's hash and counters in order, ``last`` is None before the end."""

    findings: list[Mapping[str, Any]] = field(default_factory=list)
    steps: list[tuple[int, dict[str, int]]] = field(default_factory=list)
    last: Mapping[str, Any] | None = None

    def observation(
        self, symbols: Symbols | None = None, steps: Iterable[str] = (), start: Mapping[str, Any] | None = None
    ) -> Observation:
        """``steps``: names that the test told of. ``start``: the file's first line, which tells of the machine."""
        names = {hash_name(name): name for name in steps} | {0: ""}
        found = [_finding(line, symbols, names) for line in self.findings]
        machine = {"page_size": start["page_size"], "core": _core(start["core"])} if start else {}
        if self.last is None:
            # Of what was found until then some may not have been written out.
            told = Counter((one.rule, one.function) for one in found)
            kinds = [Kind(rule=rule, function=function, count=count) for (rule, function), count in told.items()]
            return Observation(invalid=NO_LINE, total=len(found), findings=found, kinds=kinds, **machine)
        return Observation(
            **machine,
            invalid="" if self.last["valid"] else self.last["reason"],
            total=self.last["findings"],
            findings=found,
            kinds=[
                Kind(rule=kind["rule"], function=_symbol(kind["pc"], symbols), count=kind["count"])
                for kind in self.last["kinds"]
            ],
            counters=self.last["counters"],
        )

    def step_counters(self, name: str, occurrence: int) -> dict[str, int]:
        """Of the step of that name, the first being occurrence 0; empty where the model has none."""
        wanted = hash_name(name)
        of_name = [counters for step, counters in self.steps if step == wanted]
        return of_name[occurrence] if occurrence < len(of_name) else {}


class Follower:
    """Reads a file that QEMU still writes to, and sorts its lines by test. Methods raise ModelError."""

    def __init__(self, path: Path) -> None:
        self._path, self._at = path, 0
        self._tests: defaultdict[int, Seen] = defaultdict(Seen)
        #: What the first line says of the machine; empty before the first test.
        self.start: Mapping[str, Any] = {}

    def take(self, test: str) -> Seen:
        """The lines of a test that has ended, ``fixture.variant.test``, since it was last asked for."""
        self._read()
        return self._tests.pop(hash_name(test), Seen())

    def rest(self) -> dict[int, Seen]:
        """By hash, of the tests that were not taken."""
        self._read()
        return dict(self._tests)

    def _read(self) -> None:
        if not self._path.is_file():  # QEMU has not come that far
            return
        with self._path.open("rb") as file:
            file.seek(self._at)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._at += len(whole)
        for line in whole.splitlines():
            try:
                self._sort(json.loads(line))
            except (ValueError, KeyError, TypeError) as err:
                raise ModelError(f"{self._path}: not a line of the TLB model: {line[:200]!r}: {err}") from err

    def _sort(self, line: Mapping[str, Any]) -> None:
        match line["type"]:
            case "start":
                if line["version"] != VERSION:
                    raise ValueError(f"version {line['version']}, this program reads version {VERSION}")
                self.start = line
            case "finding":
                self._tests[int(line["test"], 16)].findings.append(line)
            case "step":
                self._tests[int(line["test"], 16)].steps.append((int(line["step"], 16), line["counters"]))
            case "test":
                self._tests[int(line["test"], 16)].last = line
            case "end":
                pass
            case other:
                raise ValueError(f"type {other!r}")


def read_model(path: Path, symbols: Symbols | None = None) -> dict[int, Observation]:
    """A whole file: by hash of the test (``hash_name("fixture.variant.test")``). Raises ModelError."""
    return {test: seen.observation(symbols) for test, seen in Follower(path).rest().items()}


def _finding(line: Mapping[str, Any], symbols: Symbols | None, steps: Mapping[int, str]) -> Finding:
    step = int(line["step"], 16)
    return Finding(
        rule=line["rule"],
        hardware=line["hardware"],
        va=int(line["va"], 16),
        asid=line["asid"],
        level=line["level"],
        old=int(line["old"], 16),
        new=int(line["new"], 16),
        pc=int(line["pc"], 16),
        cpu=line["cpu"],
        detail=line["detail"],
        missing=line["missing"],
        step=steps.get(step, line["step"]),
        function=_symbol(line["pc"], symbols),
        tlbi=_symbol(line["tlbi_pc"], symbols) if int(line["tlbi_pc"], 16) else "",
        taken=_symbol(line["taken_pc"], symbols) if int(line["taken_pc"], 16) else "",
    )


def _core(core: Mapping[str, Any]) -> str:
    """A core's geometry for a person: ``a76: 48 entries, then 1280 in 5 ways (Cortex-A76 TRM (100798), A5.2)``."""
    first, *others = (
        f"{level['entries']}" + ("" if level["ways"] == level["entries"] else f" in {level['ways']} ways")
        for level in core["levels"]
    )
    return f"{core['name']}: {', then '.join([f'{first} entries', *others])} ({core['source']})"


def _symbol(address: str, symbols: Symbols | None) -> str:
    return symbols.name(int(address, 16)) if symbols is not None else address
