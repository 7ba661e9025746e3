"""The study file: what it takes, and how it tells a mistake."""

from pathlib import Path

import pytest

from pipeline import study
from pipeline.schema import line_of
from pipeline.study import StudyError

GOOD = """\
schema = 1
id = "demo"
title = "A demo"
fragments = ["base"]
machines = ["max"]

[source]
tree = "debian:linux-source-6.12"

[[kernel]]
id = "old"
role = "baseline"

[[kernel]]
id = "new"
series = ["new"]
expect = { verdict = "FAIL", failing = ["no-split"] }

[[scenario]]
id = "full_cover"
title = "Whole folios"
program = "lazyfree"
fixture = "lazyfree"
variants = ["32k", "64k"]

[[claim]]
id = "no-split"
title = "No split"
scenarios = ["full_cover.*"]
step = "free"
candidate = "mthp.split == 0"
"""


def write(tmp_path, text):
    path = tmp_path / "study.toml"
    path.write_text(text)
    return path


def test_a_good_study_loads_by_file_and_by_folder(tmp_path):
    path = write(tmp_path, GOOD)
    loaded = study.load(path)
    assert loaded == study.load(tmp_path)
    assert loaded.baseline is not None
    assert loaded.baseline.id == "old"
    assert loaded.folder == tmp_path
    assert [k.expect.verdict for k in loaded.kernel] == ["PASS", "FAIL"]


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ('role = "baseline"', 'role = "base"', 12, "kernel.0.role"),
        ('series = ["new"]', 'serie = ["new"]', 16, "unknown key"),
        ('title = "Whole folios"\n', "", 19, "required key is missing"),
        ('tree = "debian:linux-source-6.12"', 'tree = "ftp:x"', 8, "source.tree"),
        ('id = "new"', 'id = "old"', 1, "used 2 times"),
        ('scenarios = ["full_cover.*"]', 'scenarios = ["fullcover.*"]', 1, "matches no scenario"),
        ('failing = ["no-split"]', 'failing = ["no-splt"]', 1, "no claim or invariant"),
        ("schema = 1", "schema = 2", 1, "schema"),
        ("schema = 1", "schema = 1\ncompare = false", 1, "is a baseline"),
    ],
)
def test_a_mistake_is_told_with_file_and_line(tmp_path, old, new, line, words):
    path = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(StudyError) as err:
        study.load(path)
    assert err.value.message.startswith(f"{path}:{line}: ")
    assert words in err.value.message
    assert err.value.hint


def test_broken_toml_names_the_line(tmp_path):
    with pytest.raises(StudyError, match="line 3"):
        study.load(write(tmp_path, 'schema = 1\nid = "x"\ntitle = "no end\n'))


def test_a_missing_file_says_what_to_name(tmp_path):
    with pytest.raises(StudyError) as err:
        study.load(tmp_path / "nothing.toml")
    assert "cannot read" in err.value.message
    assert "study.toml" in err.value.hint


def test_text_that_is_not_utf8_is_told(tmp_path):
    path = tmp_path / "study.toml"
    path.write_bytes(b'id = "\xff"\n')
    with pytest.raises(StudyError, match="not UTF-8"):
        study.load(path)


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[1] / "patches").glob("*/*.toml")), ids=lambda p: p.name)
def test_each_shipped_study_is_sound(path):
    assert study.load(path).kernel


def test_costs_and_bounds_are_not_inherited_by_a_study_of_other_machines(tmp_path):
    counted = '[[cost]]\noperation = "free"\nsizes = ["64k"]\nranges = ["4m"]\nmachines = ["max"]\n'
    write(tmp_path, GOOD + counted)
    other = tmp_path / "other.toml"
    other.write_text('extends = "study.toml"\nid = "other"\nmachines = ["a57"]\n')
    assert study.load(tmp_path).cost
    loaded = study.load(other)
    assert (loaded.cost, loaded.bound, loaded.published) == ((), (), ())


def test_a_study_takes_from_the_one_it_extends_what_it_does_not_say(tmp_path):
    base = study.load(write(tmp_path, GOOD))
    other = tmp_path / "newest.toml"
    other.write_text('extends = "study.toml"\nid = "newest"\n[source]\ntree = "debian:linux-source-7.2@sid"\n')
    loaded = study.load(other)
    assert (loaded.id, loaded.source.tree) == ("newest", "debian:linux-source-7.2@sid")
    assert (loaded.claim, loaded.kernel, loaded.folder) == (base.claim, base.kernel, tmp_path)


@pytest.mark.parametrize(
    ("extends", "words"),
    [("3", "expected the path"), ('"nothing.toml"', "cannot read"), ('"newest.toml"', "extends another study itself")],
)
def test_a_study_that_cannot_be_extended_is_told(tmp_path, extends, words):
    other = tmp_path / "newest.toml"
    other.write_text(f"extends = {extends}\n")
    with pytest.raises(StudyError, match=words):
        study.load(other)


def test_a_mistake_in_the_extended_study_is_told_in_its_own_file(tmp_path):
    path = write(tmp_path, GOOD.replace('role = "baseline"', 'role = "base"'))
    other = tmp_path / "newest.toml"
    other.write_text('extends = "study.toml"\n')
    with pytest.raises(StudyError) as err:
        study.load(other)
    assert err.value.message.startswith(f"{path}:12: ")


def test_line_of_counts_array_tables_and_inline_keys():
    assert line_of(GOOD, ("kernel", 1, "expect", "verdict")) == 17
    assert line_of(GOOD, ("claim", 0, "candidate")) == 31
    assert line_of(GOOD, ("scenario", 0, "nowhere")) == 19


def test_globs_take_only_star_and_question_mark():
    assert study.matches("full_cover.64k", "full_*.64k")
    assert study.matches("a.16k", "a.?6k")
    assert not study.matches("full_cover.64k", "full_cover.6")
    assert not study.matches("axb", "a.b")


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ('[[machine]]\nid = "a57"\nscenarios = ["full_cover.*"]\n', "'a57' selects scenarios, but is not among"),
        ('[[machine]]\nid = "max"\nscenarios = ["none.*"]\n', "scenarios = 'none.*' matches no scenario"),
        ('[[invariant]]\nid = "i"\ntitle = "I"\nholds = "ret == 0"\n', "has both holds and step"),
        ('[[invariant]]\nid = "i"\ntitle = "I"\nholds = "ret == 0"\nstep = "free"\n', "names its scenarios"),
        ('[[invariant]]\nid = "i"\ntitle = "I"\nscenarios = ["full_cover.*"]\n', "has both holds and step"),
    ],
)
def test_selections_and_stated_invariants_are_checked(tmp_path, more, why):
    with pytest.raises(StudyError) as told:
        study.load(write(tmp_path, f"{GOOD}\n{more}"))
    assert why in told.value.message


def test_an_invariant_is_either_stated_or_checked(tmp_path):
    stated = '[[invariant]]\nid = "i"\ntitle = "I"\nholds = "ret == 0"\nstep = "free"\nscenarios = ["full_cover.*"]\n'
    assert study.load(write(tmp_path, f"{GOOD}\n{stated}")).invariant[0].holds == "ret == 0"
    both = GOOD.replace('variants = ["32k", "64k"]', 'variants = ["32k", "64k"]\nchecks = ["i"]')
    with pytest.raises(StudyError, match="'i' has an expression, but scenarios check it too"):
        study.load(write(tmp_path, f"{both}\n{stated}"))
