"""Line plots on logarithmic axes."""

import itertools

import pytest

from pipeline.cost.plots import APART, BOTTOM, HEIGHT, TOP, decades, log_plot, short


def plotted(lines):
    return log_plot("Cost", lines, x_label="folio size", y_label="instructions a page")


def test_equal_ratios_are_equally_far_apart():
    plot = plotted({"a": [(4, 10), (16, 100), (64, 1000)]})
    (xs, ys) = zip(*[(x, y) for x, y, _ in plot.curves[0].points], strict=True)
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1])
    assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2])
    assert (ys[0], ys[2]) == (HEIGHT - BOTTOM, TOP)


def test_a_count_of_0_has_no_place_on_a_logarithmic_axis():
    plot = plotted({"a": [(4, 10), (16, 0), (64, 20)], "none": [(4, 0)]})
    assert [curve.name for curve in plot.curves] == ["a"]
    assert len(plot.curves[0].points) == 2


def test_a_line_keeps_its_colour_and_mark_when_another_is_empty():
    assert plotted({"none": [(4, 0)], "b": [(4, 1), (16, 2)]}).curves[0].number == 1


def test_fewer_than_two_places_make_no_plot():
    assert plotted({"a": [(4, 10)]}) is None
    assert plotted({}) is None


def test_names_at_the_ends_do_not_run_into_each_other():
    names = "abcde"
    plot = plotted({name: [(4, 1000), (64, 10 + at / 100)] for at, name in enumerate(names)})
    heights = sorted(curve.name_at[1] for curve in plot.curves)
    assert all(b - a >= APART - 1e-9 for a, b in itertools.pairwise(heights))
    assert heights[-1] <= HEIGHT - BOTTOM


def test_equal_values_everywhere_still_have_an_axis():
    plot = plotted({"a": [(4, 10), (16, 10)]})
    assert len(plot.y_ticks) >= 2


def test_the_words_tell_all_that_is_drawn():
    assert plotted({"a": [(4, 10), (16, 20)], "b": [(4, 1)]}).words == (
        "Cost. instructions a page by folio size: a: 4 10, 16 20; b: 4 1."
    )


@pytest.mark.parametrize(("value", "shown"), [(0.5, "0.5"), (10_000, "10,000"), (20_000_000, "20 M"), (1e9, "1,000 M")])
def test_the_numbers_of_ticks_have_room_beside_the_axis(value, shown):
    assert short(value) == shown


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1, 1000, [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]),
        (3, 40, [2, 5, 10, 20, 50]),
        (0.5, 0.5, [0.5, 1]),
        pytest.param(0.975, 282, [1, 2, 5, 10, 20, 50, 100, 200, 500], id="not a decade for a hair"),
        (2, 3_000_000, [10**n for n in range(8)]),
    ],
)
def test_ticks_are_round_and_hold_all_between_them(low, high, expected):
    assert decades(low, high) == pytest.approx(expected)
