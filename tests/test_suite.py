"""Scenario files beside the guest tests, and how a study takes them."""

import re

import pytest

from pipeline import resources, study, suite
from pipeline.errors import UserError

GOOD = """\
fixture = "lazyfree"

[[scenario]]
id = "full_cover"
title = "Whole folios"
variants = ["4k", "64k"]
checks = ["no-lost-write"]

[[scenario]]
id = "other_cpu"
title = "From another CPU"
fixture = "threads"
variants = ["64k"]
cpus = 2
"""

STUDY = """\
schema = 1
id = "demo"
title = "A demo"
fragments = ["base"]
machines = ["max"]
programs = ["lazyfree"]

[source]
tree = "debian:linux-source-6.12"

[[kernel]]
id = "new"

[[invariant]]
id = "return-value"
title = "madvise returns 0"
"""


def load(tmp_path, text):
    (tmp_path / "lazyfree.toml").write_text(text)
    return suite.load(tmp_path, "lazyfree", wanted_by=tmp_path / "study.toml")


def test_the_program_and_the_fixture_of_the_file_are_those_of_its_scenarios(tmp_path):
    first, second = load(tmp_path, GOOD)
    assert (first.program, first.fixture, first.cpus) == ("lazyfree", "lazyfree", 1)
    assert (second.program, second.fixture, second.cpus) == ("lazyfree", "threads", 2)


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ('title = "Whole folios"\n', "", 3, "required key is missing"),
        ("cpus = 2", "cpus = 0", 14, "cpus"),
        ("checks =", "check =", 7, "unknown key"),
        ('fixture = "lazyfree"\n', "", 1, "fixture"),
        ('variants = ["64k"]', "variants = []", 13, "variants"),
    ],
)
def test_a_mistake_is_told_with_file_and_line(tmp_path, old, new, line, words):
    with pytest.raises(suite.SuiteError) as err:
        load(tmp_path, GOOD.replace(old, new, 1))
    assert err.value.message.startswith(f"{tmp_path / 'lazyfree.toml'}:{line}: ")
    assert words in err.value.message


def test_a_program_without_a_scenario_file_is_told_with_those_there_are(tmp_path):
    (tmp_path / "other.toml").write_text(GOOD)
    with pytest.raises(suite.SuiteError, match=r"study\.toml: programs names 'lazyfree'") as err:
        suite.load(tmp_path, "lazyfree", wanted_by=tmp_path / "study.toml")
    assert "other" in err.value.hint


def test_a_study_takes_the_scenarios_of_its_programs(tmp_path):
    wanted = sorted(
        {name for s in suite.load(resources.folder("guest-tests"), "lazyfree", wanted_by=tmp_path) for name in s.checks}
    )
    invariants = "".join(f'\n[[invariant]]\nid = "{n}"\ntitle = "t"\n' for n in wanted if n != "return-value")
    path = tmp_path / "study.toml"
    path.write_text(STUDY + invariants)
    assert {scenario.program for scenario in study.load(path).scenario} == {"lazyfree"}


def test_a_check_that_is_no_invariant_of_the_study_is_told(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    with pytest.raises(UserError, match="no invariant of the study"):
        study.load(path)


def test_every_scenario_file_names_a_program_that_is_there_and_tests_that_it_has():
    folder = resources.folder("guest-tests")
    files = sorted(folder.glob("*.toml"))
    assert files
    for path in files:
        source = path.with_suffix(".c").read_text(encoding="utf-8")
        for scenario in suite.load(folder, path.stem, wanted_by=path):
            test = rf"TEST_F(_TIMEOUT)?\({scenario.fixture}, {scenario.id}[,)]"
            assert re.search(test, source), f"{path.name}: {scenario.id}"
