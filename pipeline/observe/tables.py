"""Puts the page tables that the checkpoint plugin recorded into what a test said of itself."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pipeline.contpte import facts, read, record
from pipeline.contpte.read import Checkpoint
from pipeline.guest.plugins import Plugin
from pipeline.observation import Need
from pipeline.observe.records import Reading

PLUGIN = "checkpoint"


class Recorded:
    """The checkpoints of a boot's tests while it runs; none where the plugin is not loaded.

    ``folder``: of the boot. Methods raise RecordError.
    """

    def __init__(self, folder: Path, plugins: Sequence[Plugin]) -> None:
        outputs = [folder / plugin.output for plugin in plugins if plugin.name == PLUGIN]
        self._follower = record.Follower(outputs[0]) if outputs else None
        self._tests: dict[int, list[Checkpoint]] = {}

    def take(self, test: str) -> list[Checkpoint]:
        """Those of a test that has ended, ``fixture.variant.test``."""
        if self._follower is None:
            return []
        read.sort(self._follower.marks(), self._tests)
        return self._tests.pop(read.hash_name(test), [])


def add(reading: Reading, checkpoints: Sequence[Checkpoint]) -> None:
    """Complete a reading: tables, counts of each step, and whether what can be folded was."""
    names = {step.name for step in reading.steps} | {pages.at for pages in reading.pages} | {facts.MAPPED}
    reading.tables = read.tables_of(checkpoints, names)
    seen: Counter[str] = Counter()
    steps = []
    for step in reading.steps:
        counts = facts.step_counts(reading.tables, step.name, seen[step.name])
        steps.append(step.model_copy(update={"pt": dict(counts)}))
        seen[step.name] += 1
    reading.steps = steps
    if (folded := facts.foldable(reading.tables, reading.params)) is not None:
        want, got = folded
        reading.needs.append(Need(what="folded_pages", ok=got >= want, want=str(want), got=str(got)))
