"""Records of costs: what they say of themselves, and what they refuse."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.cost import model

MADE_UP = Path(__file__).parent / "data" / "made-up.json"


def sample(**changes: object) -> model.Sample:
    fields = {
        "kernel": "merged",
        "machine": "max",
        "operation": "free",
        "folio_bytes": 65536,
        "range_bytes": 4 << 20,
        "counts": {"instructions": 1000},
    }
    return model.Sample.model_validate({**fields, **changes})


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    run = model.load(MADE_UP)
    model.save(run, tmp_path / "cost.json")
    assert model.load(tmp_path) == run


def test_samples_come_by_operation_then_size() -> None:
    run = model.load(MADE_UP)
    mixed = model.CostRun.model_validate({**run.model_dump(by_alias=True), "samples": run.samples[::-1]})
    assert mixed.samples == run.samples
    sizes = [s.folio_bytes for s in run.samples if s.name.startswith("v2/max/reclaim")]
    assert sizes == sorted(sizes)


def test_a_sample_knows_its_pages_and_folios() -> None:
    assert (sample().pages, sample().folios, sample().name) == (1024, 64, "merged/max/free.64k.4096k")


def test_folded_stacks_are_lines_of_frames_and_a_number() -> None:
    profile = model.Profile(functions={}, stacks={"a;b": 3, "a": 2, "a;c": 0})
    assert profile.folded() == "a 2\na;b 3\n"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"operation": "mumble"}, "operation 'mumble': expected one of free"),
        ({"counts": {"instructions": 1, "seconds": 2}}, "counts: seconds: expected of instructions"),
        ({"counts": {}}, "has its instructions counted"),
        ({"counts": {"instructions": -1}}, "greater than or equal to 0"),
        ({"outcome": "inconclusive", "counts": {}}, "has a reason and no counts"),
        ({"outcome": "inconclusive", "reason": "no folios"}, "has a reason and no counts"),
        ({"wall_seconds": 1}, "Extra inputs"),
    ],
)
def test_what_is_no_sample_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        sample(**changes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "not a cost.json"),
        ('{"schema": 99}', "expected costs of schema 1, found 99"),
        ('{"schema": 1, "id": "x"}', "Field required"),
    ],
)
def test_what_are_no_costs_is_told(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "cost.json").write_text(text)
    with pytest.raises(model.CostError, match=said):
        model.load(tmp_path)


def test_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(model.CostError, match="cannot read the costs"):
        model.load(tmp_path / "none")


def test_the_schema_is_a_number_under_its_own_name() -> None:
    assert json.loads(model.dumps(model.load(MADE_UP)))["schema"] == model.SCHEMA
