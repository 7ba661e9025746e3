"""Puts what the TLB model saw of a test into what the test said of itself."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.guest.plugins import Plugin
from pipeline.observe.records import Reading
from pipeline.tlb import symbols
from pipeline.tlb.model import Observation
from pipeline.tlb.read import Follower, Seen

PLUGIN = "contpte-tlb"


@dataclass(frozen=True)
class Test:
    """What the model saw of one test."""

    seen: Seen
    observation: Observation


class Modelled:
    """The model's lines of a boot's tests while it runs; none where the plugin is not loaded.

    ``folder``: of the boot. ``system_map``: of its kernel, None to leave addresses
    without names. Methods raise ModelError, and SymbolError.
    """

    def __init__(self, folder: Path, plugins: Sequence[Plugin], system_map: Path | None = None) -> None:
        outputs = [folder / plugin.output for plugin in plugins if plugin.name == PLUGIN]
        self._follower = Follower(outputs[0]) if outputs else None
        self._system_map = system_map

    def take(self, test: str, steps: Iterable[str]) -> Test | None:
        """Of a test that has ended, ``fixture.variant.test``, and the steps that it told of; None without a model."""
        if self._follower is None:
            return None
        seen = self._follower.take(test)
        names = symbols.read(self._system_map) if self._system_map is not None else None
        return Test(seen, seen.observation(names, steps, self._follower.start))


def add(reading: Reading, test: Test | None) -> None:
    """Complete a reading: what the model says, and its counters of each step."""
    if test is None:
        return
    reading.tlb = test.observation
    occurrences: Counter[str] = Counter()
    steps = []
    for step in reading.steps:
        counters = test.seen.step_counters(step.name, occurrences[step.name])
        steps.append(step.model_copy(update={"tlb": dict(counters)}))
        occurrences[step.name] += 1
    reading.steps = steps
