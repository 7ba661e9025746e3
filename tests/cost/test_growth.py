"""How a cost grows."""

import math

import pytest

from pipeline.cost.growth import fit

#: Pages of 64 MiB to 1 GiB.
PAGES = [2**14, 2**15, 2**16, 2**17, 2**18]


def grown(law):
    return fit({pages: round(law(pages)) for pages in PAGES})


def test_a_linear_cost_has_its_price_a_page_and_its_fixed_part():
    growth = grown(lambda n: 37 * n + 5000)
    assert growth.per_unit == pytest.approx(37)
    assert growth.fixed == pytest.approx(5000, rel=1e-3)
    assert 0.98 < growth.exponent < 1
    assert not growth.faster_than_linear


def test_a_constant_cost_has_exponent_0():
    growth = grown(lambda n: 3)
    assert (growth.per_unit, growth.exponent) == (pytest.approx(0), pytest.approx(0))
    assert not growth.faster_than_linear


@pytest.mark.parametrize(
    "law",
    [
        pytest.param(lambda n: n * n, id="quadratic"),
        pytest.param(lambda n: n**1.2, id="n^1.2"),
        pytest.param(lambda n: n * math.log(n), id="n log n"),
        pytest.param(lambda n: 40 * n + n * n / 10_000, id="a small quadratic part"),
        pytest.param(lambda n: 40 * n if n < 2**18 else 50 * n, id="a step at the end"),
    ],
)
def test_a_cost_that_grows_faster_than_its_range_is_flagged(law):
    assert grown(law).faster_than_linear


def test_the_step_at_which_it_grows_fastest_is_told():
    growth = grown(lambda n: 40 * n if n < 2**17 else 50 * n)
    assert growth.where == (2**16, 2**17)
    assert growth.steepest == pytest.approx(1 + math.log2(50 / 40))


def test_a_few_events_more_are_no_growth_of_the_range():
    growth = fit(dict(zip(PAGES, [1, 1, 1, 3, 9], strict=True)))
    assert growth.exponent > 0.5
    assert growth.steepest is None
    assert not growth.faster_than_linear


def test_a_cost_that_only_long_ranges_have_is_flagged():
    growth = fit(dict(zip(PAGES, [0, 0, 0, 0, 2**18], strict=True)))
    assert growth.where == (2**17, 2**18)
    assert growth.faster_than_linear


def test_a_cost_a_folio_falls_with_the_folio_size():
    growth = fit({size: 2**18 // (size // 4096) for size in (2**14, 2**16, 2**18, 2**20)})
    assert growth.exponent == pytest.approx(-1)


def test_counts_of_0_have_no_exponent():
    growth = fit(dict.fromkeys(PAGES, 0))
    assert (growth.per_unit, growth.exponent, growth.steepest) == (0, None, None)
    assert not growth.faster_than_linear


def test_one_size_shows_no_growth():
    with pytest.raises(ValueError, match="two sizes or more"):
        fit({64: 1})
