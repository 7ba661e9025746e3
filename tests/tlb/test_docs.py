"""The page on the TLB model keeps up with the code."""

from pathlib import Path

import pytest

from pipeline.guest.machine import Tlb
from pipeline.tlb.model import COUNTERS, RULES

PAGE = (Path(__file__).parents[2] / "docs" / "hardware-model.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [*RULES, *COUNTERS, *Tlb.model_fields])
def test_every_rule_counter_and_key_is_named(name):
    assert any(f"`{name}`" in line.split("|")[1] for line in PAGE.splitlines() if line.startswith("|"))
