"""The documents keep up with the code."""

from pathlib import Path

import pytest

from pipeline import study
from pipeline.cost import spec
from pipeline.mutate import record, score

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize(
    "table",
    [
        study.Study,
        study.Source,
        study.Kernel,
        study.Scenario,
        study.Invariant,
        study.Claim,
        study.Known,
        study.Probe,
        spec.Cost,
        spec.Published,
        spec.PublishedRow,
        spec.Bound,
    ],
)
def test_the_study_reference_names_every_key(table):
    text = (DOCS / "study.md").read_text(encoding="utf-8")
    keys = {field.alias or name for name, field in table.model_fields.items()} - {"path"}
    assert {
        key for key in keys if f"`{key}`" not in text and f"`[[{key}]]`" not in text and f"`[{key}]`" not in text
    } == set()


def test_the_page_on_mutants_names_every_key_and_outcome():
    text = (DOCS / "mutate.md").read_text(encoding="utf-8")
    keys = {*record.Result.model_fields, *record.Times.model_fields, *record.Commands.model_fields}
    keys |= {*score.Finding.model_fields, *score.Outcome}
    assert {key for key in keys if f"`{key}`" not in text} == set()
