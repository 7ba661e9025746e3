"""The page on page tables keeps up with the code."""

from pathlib import Path

import pytest

from pipeline.contpte.rules import RULES
from pipeline.contpte.summary import COUNTS

PAGE = Path(__file__).parents[2] / "docs" / "page-tables.md"


@pytest.mark.parametrize("name", [*RULES, *COUNTS])
def test_every_rule_and_count_is_named(name):
    text = PAGE.read_text(encoding="utf-8")
    assert f"| `{name}`" in text or f", `{name}` |" in text
