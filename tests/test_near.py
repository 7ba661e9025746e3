"""What is proposed for a name that is not there."""

import pytest

from pipeline import near

NAMES = ["baseline", "v2", "merged", "full_cover", "full_cover_single", "no-split-when-covered"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("mergd", "merged"),
        ("Merged", "merged"),
        ("basleine", "baseline"),
        ("full_covr", "full_cover"),
        ("no-split", "no-split-when-covered"),
        ("full_cover_*", "full_cover"),
    ],
)
def test_a_slip_is_told_what_was_meant(typed: str, meant: str) -> None:
    assert near.near(typed, NAMES)[0] == meant
    assert near.hint(typed, NAMES, kind="name").startswith(f"did you mean: {meant}")


def test_where_nothing_comes_near_the_names_are_listed() -> None:
    assert near.hint("qqq", ["v2", "merged"], kind="kernel") == "kernels: v2, merged"
    assert near.hint("qqq", ["one"], kind="study") == "studies: one"
    assert near.hint("qqq", [], kind="run") == "runs: none"
    many = near.hint("qqq", [f"n{at}" for at in range(40)], kind="cell")
    assert many.endswith("n11, and 28 more")


def test_the_error_says_what_was_searched() -> None:
    error = near.unknown("kernel", "mergd", NAMES, where="the study")
    assert (error.message, error.hint) == ("the study has no kernel 'mergd'", "did you mean: merged?")
    assert near.unknown("list of", "x", []).message == "there is no list of 'x'"
