"""Which calls a run counts."""

from pathlib import Path

import pytest

from pipeline import plan, resources
from pipeline import study as studies
from pipeline.cost import spec
from pipeline.cost.model import load
from pipeline.cost.spec import Bound, Cost
from pipeline.cost.wanted import DEFAULT, narrow, without_absent
from pipeline.cost.words import OPERATIONS
from pipeline.errors import UserError
from pipeline.study import Study

STUDY = load(Path(__file__).parent / "data" / "made-up.json").study.content.model_copy(
    update={
        "cost": (
            Cost(operation="free", sizes=("4k", "64k"), ranges=("4m",)),
            Cost(operation="free", sizes=("64k",), ranges=("64m", "1g")),
            Cost(operation="exit", sizes=("64k",), ranges=("4m",)),
        ),
        "bound": (
            Bound(id="a", title="", operations=("free",), sizes=("64k",), holds="cost.splits == 0", failing=("v2",)),
            Bound(id="b", title="", operations=("exit",), holds="cost.splits == 0"),
        ),
    }
)


def points(of):
    return [str(point) for point in spec.points(of.cost)]


def test_all_that_the_study_counts_is_counted_unless_told_otherwise():
    assert narrow(STUDY) == STUDY
    assert points(STUDY) == ["free.4k.4m", "free.64k.4m", "free.64k.64m", "free.64k.1g", "exit.64k.4m"]


def test_a_study_that_does_not_say_has_every_operation_counted_and_growth():
    left = narrow(STUDY.model_copy(update={"cost": ()}))
    assert left.cost == DEFAULT
    assert {cost.operation for cost in left.cost} == set(OPERATIONS)


def test_a_choice_keeps_the_bounds_that_still_have_a_call_and_expects_them_to_hold():
    assert points(narrow(STUDY, sizes=("4k",))) == ["free.4k.4m"]
    assert narrow(STUDY, sizes=("4k",)).bound == ()
    left = narrow(STUDY, operations=("free",))
    assert [(bound.id, bound.failing) for bound in left.bound] == [("a", ())]


def test_a_narrowed_study_is_a_sound_study():
    """It is what the record of the run has, and is read again from there."""
    whole = studies.load(resources.folder("patches") / "madvise-free-mthp")
    for choice in ({"sizes": ("64k",)}, {"operations": ("free", "fork")}, {"ranges": ("8m",)}, {"sizes": ("2m",)}):
        left = narrow(whole, **choice)
        assert Study.model_validate(left.model_dump(by_alias=True)) == left
    (bound,) = [one for one in narrow(whole, sizes=("64k",)).bound if one.id == "cheaper-than-splitting"]
    assert bound.sizes == ("64k",)


@pytest.mark.parametrize(
    "choice",
    [
        {"operations": ("free",), "sizes": ("4k", "64k")},
        {"operations": ("reclaim", "fork")},
        {"sizes": ("2m",), "ranges": ("8m",)},
        {"operations": ("exit",), "ranges": ("1g", "64m")},
    ],
)
@pytest.mark.parametrize("kernels", [(), ("merged",), ("v2",), ("baseline",)])
def test_a_choice_of_the_shipped_study_is_a_study_again(choice, kernels):
    shipped = studies.load(resources.folder("patches") / "madvise-free-mthp")
    left = narrow(without_absent(plan.narrow(shipped, kernels=kernels)), **choice)
    assert Study.model_validate(left.model_dump(by_alias=True)).cost == left.cost


def test_a_bound_that_compares_ranges_needs_two():
    shipped = studies.load(resources.folder("patches") / "madvise-free-mthp")
    compares = {bound.id for bound in shipped.bound if "shortest." in bound.holds}
    assert compares
    assert not compares & {bound.id for bound in narrow(shipped, ranges=("4m",)).bound}
    assert compares <= {bound.id for bound in narrow(shipped, operations=("free",), ranges=("4m", "8m")).bound}


def test_bounds_are_of_kernels_that_are_there():
    left = without_absent(
        plan.narrow(studies.load(resources.folder("patches") / "madvise-free-mthp"), kernels=("merged",))
    )
    assert all(bound.kernels == ("merged",) and not bound.failing for bound in left.bound)
    assert "two-converts-a-block" not in [bound.id for bound in left.bound]


def test_other_ranges_take_the_place_of_the_study_s():
    assert points(narrow(STUDY, operations=("exit",), ranges=("8m", "16m"))) == ["exit.64k.8m", "exit.64k.16m"]


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"operations": ("fork",)}, "no operation 'fork'"),
        ({"sizes": ("2m",)}, "no folio size '2m'"),
        ({"ranges": ("64",)}, "a range of '64': expected a number with k, m or g"),
        ({"sizes": ("64k",), "ranges": ("100k",)}, "a range of 100k is no whole number of 64k folios"),
    ],
)
def test_what_is_not_counted_cannot_be_chosen(choice, said):
    with pytest.raises(UserError, match=said):
        narrow(STUDY, **choice)
