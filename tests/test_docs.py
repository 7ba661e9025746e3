"""The documents keep up with the code."""

from pathlib import Path

import pytest

from pipeline import study

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize(
    "table",
    [study.Study, study.Source, study.Kernel, study.Scenario, study.Invariant, study.Claim, study.Known, study.Probe],
)
def test_the_study_reference_names_every_key(table):
    text = (DOCS / "study.md").read_text(encoding="utf-8")
    keys = {field.alias or name for name, field in table.model_fields.items()} - {"path"}
    assert {
        key for key in keys if f"`{key}`" not in text and f"`[[{key}]]`" not in text and f"`[{key}]`" not in text
    } == set()
