"""What a study may say of costs, and how a mistake in it is told."""

import pytest

from pipeline import study
from pipeline.cost.spec import bytes_of
from pipeline.study import StudyError

HEAD = """\
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
id = "v2"

[[kernel]]
id = "new"

[[scenario]]
id = "full_cover"
title = "Whole folios"
program = "lazyfree"
fixture = "lazyfree"
variants = ["64k"]
"""

COSTS = """
[[cost]]
operation = "free"
title = "MADV_FREE of the range"
sizes = ["4k", "64k"]
ranges = ["64m"]

[[cost]]
operation = "free"
sizes = ["64k"]
ranges = ["256m", "1g"]

[[published]]
operation = "free"
source = "the commit message"
unit = "s"
range = "1g"
kernels = ["v2", "new"]

[[published.row]]
size = "4k"
old = 0.59
new = 0.59

[[published.row]]
size = "64k"
old = 2.457796
new = 0.052812
note = "Instructions, not time."

[[bound]]
id = "a-tenth"
title = "A tenth of the instructions"
operations = ["free"]
sizes = ["64k"]
kernels = ["v2", "new"]
holds = "10 * cost.instructions <= baseline.instructions"
failing = ["v2"]
"""


def load(tmp_path, costs: str) -> study.Study:
    path = tmp_path / "study.toml"
    path.write_text(HEAD + costs)
    return study.load(path)


def test_a_study_says_what_is_counted_what_was_published_and_what_must_hold(tmp_path):
    loaded = load(tmp_path, COSTS)
    assert [(cost.operation, cost.ranges) for cost in loaded.cost] == [("free", ("64m",)), ("free", ("256m", "1g"))]
    assert [row.size for row in loaded.published[0].row] == ["4k", "64k"]
    bound = loaded.bound[0]
    assert (bound.ranges, bound.failing) == ((), ("v2",))
    assert [bound.applies_to(kernel) for kernel in ("old", "v2", "new")] == [False, True, True]


def test_a_study_without_costs_has_none(tmp_path):
    loaded = load(tmp_path, "")
    assert (loaded.cost, loaded.published, loaded.bound) == ((), (), ())


@pytest.mark.parametrize(("size", "expected"), [("4k", 4096), ("64m", 2**26), ("1g", 2**30)])
def test_sizes_are_powers_of_two_units(size, expected):
    assert bytes_of(size) == expected


@pytest.mark.parametrize(
    ("found", "instead", "line", "message"),
    [
        ('sizes = ["4k", "64k"]', 'sizes = ["4kb"]', 'sizes = ["4kb"]', "cost.0.sizes.0: String should match"),
        ('ranges = ["64m"]', 'ranges = ["6k"]', 'ranges = ["6k"]', "cost.0.ranges: a range of 6k is no whole number"),
        (
            'ranges = ["64m"]',
            'ranges = ["64m"]\nmachines = ["n1"]',
            'machines = ["n1"]',
            "cost.0.machines: 'n1' is no machine of the study",
        ),
        ("old = 2.457796", "old = -1", "old = -1", "published.0.row.1.old: Input should be greater than 0"),
        (
            'kernels = ["v2", "new"]\n\n',
            'kernels = ["v3"]\n\n',
            'kernels = ["v3"]',
            "published.0.kernels: 'v3' matches no kernel of the study",
        ),
        (
            'operations = ["free"]',
            'operations = ["fee"]',
            'operations = ["fee"]',
            "bound.0.operations: 'fee' is no operation of a [[cost]]",
        ),
        (
            'sizes = ["64k"]\nkernels',
            'sizes = ["2m"]\nkernels',
            'sizes = ["2m"]',
            "bound.0.sizes: free is not counted at 2m",
        ),
        (
            'failing = ["v2"]',
            'failing = ["old"]',
            "failing",
            "bound.0.failing: 'old' is no kernel that the bound is for",
        ),
        (
            "10 * cost.instructions <=",
            "10 * cost.instructions >= vmstat.x <=",
            "holds",
            "bound.0.holds: column 27: 'vmstat.x' is not of the language",
        ),
        (
            "10 * cost.instructions <=",
            "10 * cost.instrs <=",
            "holds",
            "bound.0.holds: cost.instrs: expected cost.X with X one of instructions, splits",
        ),
        (
            "<= baseline.instructions",
            "<= param.bytes",
            "holds",
            "bound.0.holds: param.bytes: expected param.X with X one of range, size",
        ),
        (
            'operation = "free"\ntitle',
            'operation = "fee"\ntitle',
            'operation = "fee"',
            "cost.0.operation: 'fee': expected one of free,",
        ),
        ("holds =", "hold =", "[[bound]]", "bound.0.holds: required key is missing"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path, found, instead, line, message):
    assert COSTS.count(found) == 1
    with pytest.raises(StudyError) as err:
        load(tmp_path, COSTS.replace(found, instead))
    text = (HEAD + COSTS.replace(found, instead)).splitlines()
    (number,) = [at for at, one in enumerate(text, 1) if one.startswith(line)]
    assert f"study.toml:{number}: {message}" in err.value.message


def test_bounds_have_ids_of_their_own(tmp_path):
    again = COSTS[COSTS.index("[[bound]]") :]
    with pytest.raises(StudyError, match="bound id 'a-tenth' is used 2 times"):
        load(tmp_path, COSTS + again)


def test_a_study_with_kernels_of_its_own_takes_the_costs_of_the_one_it_extends_and_not_the_bounds(tmp_path):
    load(tmp_path, COSTS)
    other = tmp_path / "other.toml"
    other.write_text('extends = "study.toml"\nschema = 1\nid = "other"\n\n[[kernel]]\nid = "newest"\n')
    loaded = study.load(other)
    assert [cost.operation for cost in loaded.cost] == ["free", "free"]
    assert (loaded.bound, loaded.published) == ((), ())
    other.write_text('extends = "study.toml"\nschema = 1\nid = "other"\n')
    assert [bound.id for bound in study.load(other).bound] == ["a-tenth"]
