"""run.json: what is written is what is read, and nothing is guessed."""

import json

import pytest

from pipeline.errors import UserError
from pipeline.run import Run, dumps, json_schema, load, parse, save
from tests.judge.builders import a_study, all_boots, all_cells, with_cell
from tests.report.builders import a_realistic_run, a_run

CELL = "v2/max/full.64k"


def test_a_run_survives_the_file_and_gives_the_same_bytes_again(tmp_path):
    run = a_realistic_run(scenarios=("full", "twice", "hole", "zram-cow", "gup"))
    save(run, tmp_path / "run.json")
    again = load(tmp_path)
    assert again == run
    assert dumps(again) == dumps(run)


def test_control_characters_of_a_console_survive_the_file(tmp_path):
    console = "\x00\x1b[31m\x85\u2028\ufffe é"
    save(a_run(cells=with_cell(all_cells(a_study()), CELL, console=console)), tmp_path / "run.json")
    assert next(c for c in load(tmp_path).cells if c.name == CELL).console == console


def test_bytes_of_a_console_that_are_no_text_survive_the_file(tmp_path):
    save(a_run(cells=with_cell(all_cells(a_study()), CELL, console='\udcff"é')), tmp_path / "run.json")
    assert next(c for c in load(tmp_path).cells if c.name == CELL).console == '\udcff"é'


def test_the_file_has_a_line_for_each_cell():
    run = a_run(cells=with_cell(all_cells(a_study()), CELL, console='{"schema_version":1}'))
    lines = dumps(run).splitlines()
    assert len(lines) == len(run.cells) + 1
    assert sum(f'"scenario":"{cell.scenario}"' in line for cell, line in zip(run.cells, lines[1:], strict=True)) == len(
        run.cells
    )


def test_an_old_run_is_judged_again_from_its_observations_alone():
    run = a_realistic_run(scenarios=("full", "twice", "hole", "zram-cow", "gup"))
    read = parse(json.loads(dumps(run)) | {"judgement": None})
    assert read.judged().judgement == run.judgement


def test_the_order_in_which_cells_and_boots_came_does_not_show():
    study = a_study()
    shuffled = a_run(study, cells=all_cells(study)[::-1], boots=all_boots(study)[::-1])
    assert dumps(shuffled) == dumps(a_run(study))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 2}, "expected a run of schema 1, found 2"),
        ({"schema": None}, "found none"),
        ({"surprise": 1}, "surprise"),
        ({"cells": [{"kernel": "v2"}]}, "cells.0."),
    ],
)
def test_another_version_or_an_edited_file_is_told(tmp_path, change, words):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(json.loads(dumps(a_run())) | change))
    with pytest.raises(UserError, match=str(path)) as caught:
        load(path)
    assert words in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("content", "words"), [(b"{", "not a run.json"), (b"\xff", "not a run.json"), (b"[]", "found none")]
)
def test_what_is_no_run_is_told(tmp_path, content, words):
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(UserError, match=words):
        load(tmp_path)


def test_a_missing_run_is_told(tmp_path):
    with pytest.raises(UserError, match="cannot read the run"):
        load(tmp_path)


def test_the_json_schema_names_the_keys_of_the_file():
    schema = json_schema()
    assert set(json.loads(dumps(a_run()))) == set(schema["properties"])
    assert schema["properties"]["schema"]["const"] == 1


def test_a_run_is_not_lenient():
    with pytest.raises(ValueError, match="kpv"):
        Run.model_validate({"schema": 1, "id": "x"})
