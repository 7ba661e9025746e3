"""Flame graphs and lists of functions."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cost.flame import flame, functions
from pipeline.cost.model import Function, Profile

STACKS = {"entry": 10, "entry;madvise": 30, "entry;madvise;split": 50, "entry;madvise;mark": 10}


def test_a_frame_is_as_wide_as_what_it_and_its_callees_execute():
    drawn = {frame.name: frame for frame in flame(STACKS).frames}
    assert {name: frame.instructions for name, frame in drawn.items()} == {
        "entry": 100,
        "madvise": 90,
        "mark": 10,
        "split": 50,
    }
    assert drawn["split"].share == pytest.approx(0.5)
    assert drawn["split"].left == pytest.approx(0.1)  # behind its sibling
    assert [drawn[name].depth for name in ("entry", "madvise", "split")] == [0, 1, 2]
    assert (flame(STACKS).depth, flame(STACKS).total) == (3, 100)


def test_frames_too_narrow_to_see_are_counted_and_leave_their_place_empty():
    drawn = flame({"a": 1, "b": 999}, narrowest=0.01)
    assert [(frame.name, frame.left) for frame in drawn.frames] == [("b", 0.001)]
    assert drawn.hidden == 1


def test_no_stacks_draw_nothing():
    assert (flame({}).frames, flame({}).depth, flame({"a": 0}).total) == ((), 0, 0)


@given(
    st.dictionaries(
        st.lists(st.sampled_from("abcd"), min_size=1, max_size=5).map(";".join), st.integers(1, 1000), max_size=12
    )
)
def test_frames_lie_within_their_caller_and_never_over_a_sibling(stacks):
    drawn = flame(stacks, narrowest=0)
    slack = 1e-9
    for depth in range(drawn.depth):
        row = sorted((frame for frame in drawn.frames if frame.depth == depth), key=lambda frame: frame.left)
        for one, other in itertools.pairwise(row):
            assert one.left + one.share <= other.left + slack
        if depth:
            above = [frame for frame in drawn.frames if frame.depth == depth - 1]
            for one in row:
                assert any(
                    up.left - slack <= one.left and one.left + one.share <= up.left + up.share + slack for up in above
                )
    assert sum(frame.instructions for frame in drawn.frames if frame.depth == 0) == sum(stacks.values())


def test_functions_are_those_that_cost_most_in_any_kernel_by_their_own_instructions():
    old = Profile(
        functions={"split": Function(calls=4, instructions=500), "small": Function(calls=1, instructions=1)}, stacks={}
    )
    new = Profile(
        functions={"mark": Function(calls=4, instructions=90), "small": Function(calls=1, instructions=2)}, stacks={}
    )
    listed = functions([old, new], top=2)
    assert [(line.name, line.instructions, line.calls) for line in listed] == [
        ("split", (500, 0), (4, 0)),
        ("mark", (0, 90), (0, 4)),
    ]
