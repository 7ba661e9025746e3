"""What the TLB model's lines add to a test's own words."""

import json
from pathlib import Path

import pytest

from pipeline.contpte.read import hash_name
from pipeline.guest.plugins import Plugin
from pipeline.observation import Outcome, Step
from pipeline.observe import tlb
from pipeline.observe.records import Reading
from pipeline.tlb.model import NO_LINE
from pipeline.tlb.read import ModelError

NAME = "lazyfree.64k.full_cover"
TEST, FREE = f"{hash_name(NAME):016x}", f"{hash_name('free'):016x}"
PLUGIN = Plugin("contpte-tlb", Path("contpte-tlb.so"), "0" * 64, suffix="jsonl")
CORE = {"name": "a76", "source": "TRM", "levels": [{"entries": 48, "ways": 48}, {"entries": 1280, "ways": 5}]}


def boot(folder: Path, *lines: dict) -> tlb.Modelled:
    """The model's lines of a boot with that folder."""
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / PLUGIN.output).write_text(text)
    (folder / "System.map").write_text("ffff800080010000 t contpte_convert\n")
    return tlb.Modelled(folder, [PLUGIN], folder / "System.map")


def start() -> dict:
    return {"type": "start", "version": 2, "page_size": 4096, "core": CORE}


def step(tlbi: int) -> dict:
    return {"type": "step", "test": TEST, "step": FREE, "counters": {"tlbi": tlbi}}


def end(**changes) -> dict:
    kinds = [{"rule": "overlap", "pc": "0xffff800080010114", "count": 3}]
    line = {"type": "test", "test": TEST, "valid": True, "reason": "", "findings": 3, "kinds": kinds}
    return line | {"counters": {"folds": 2}} | changes


def read(model: tlb.Modelled, test: str = NAME) -> Reading:
    reading = Reading(Outcome.PASSED, steps=[Step(name="free"), Step(name="reclaim"), Step(name="free")])
    tlb.add(reading, model.take(test, [one.name for one in reading.steps]))
    return reading


def test_findings_counters_and_the_machine_are_put_into_the_reading(tmp_path):
    reading = read(boot(tmp_path, start(), step(1), step(2), end()))
    assert [one.tlb for one in reading.steps] == [{"tlbi": 1}, {}, {"tlbi": 2}]
    seen = reading.tlb
    assert seen is not None and seen.invalid == ""
    assert [(one.rule, one.function, one.count) for one in seen.kinds] == [("overlap", "contpte_convert+0x114", 3)]
    assert (seen.counters, seen.page_size) == ({"folds": 2}, 4096)
    assert seen.core == "a76: 48 entries, then 1280 in 5 ways (TRM)"


def test_a_test_without_a_last_line_says_so(tmp_path):
    assert read(boot(tmp_path, start(), step(1))).tlb.invalid == NO_LINE
    assert read(boot(tmp_path, start(), end()), "lazyfree.64k.another").tlb.invalid == NO_LINE


def test_nothing_is_said_where_there_is_no_model(tmp_path):
    boot(tmp_path, start(), end())
    reading = read(tlb.Modelled(tmp_path, [Plugin("checkpoint", Path("checkpoint.so"), "0" * 64)]))
    assert reading.tlb is None and reading.steps[0].tlb == {}


def test_what_is_no_line_of_the_model_is_an_error(tmp_path):
    with pytest.raises(ModelError, match="not a line of the TLB model"):
        read(boot(tmp_path, {"type": "nonsense"}))
