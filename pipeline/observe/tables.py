"""Puts the page tables that the checkpoint plugin recorded into what a test said of itself."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.contpte import facts, read
from pipeline.contpte.read import Checkpoint
from pipeline.guest.plugins import Plugin
from pipeline.observation import Need
from pipeline.observe.records import Reading

PLUGIN = "checkpoint"


def recorded(folder: Path, plugins: Sequence[Plugin]) -> Mapping[int, list[Checkpoint]]:
    """The checkpoints of a boot's tests, by hash; none where the plugin was not loaded or QEMU never started.

    Raises RecordError.
    """
    for plugin in plugins:
        if plugin.name == PLUGIN and (folder / plugin.output).is_file():
            return read.read_checkpoints(folder / plugin.output)
    return {}


def add(reading: Reading, recorded: Mapping[int, list[Checkpoint]], test: str) -> None:
    """Complete a reading: tables, counts of each step, and whether what can be folded was.

    ``test``: ``fixture.variant.test``.
    """
    names = {step.name for step in reading.steps} | {pages.at for pages in reading.pages} | {facts.MAPPED}
    reading.tables = read.tables_of(recorded.get(read.hash_name(test), []), names)
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
