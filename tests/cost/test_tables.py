"""Old against new, beside what was published."""

import pytest

from pipeline.cost.measured import Measured
from pipeline.cost.spec import Cost, Published, PublishedRow
from pipeline.cost.tables import folio_growth, range_growth, ratios, tables, telling
from tests.cost import made

PUBLISHED = Published(
    operation="free",
    source="the commit message",
    unit="s",
    range="1g",
    row=(PublishedRow(size="64k", old=2.4, new=0.05, note="Instructions, not time."),),
)
ALL_SIZES = Cost(operation="free", sizes=("4k", "16k", "64k", "256k", "1m", "2m"), ranges=("64m",))


def only(run):
    (table,) = tables(Measured(run))
    return table


def line(table, size: str, count: str = "instructions"):
    return next(one for one in table.of(count) if one.size == size)


def test_an_operation_has_a_table_at_its_first_range_with_a_line_a_folio_size():
    table = only(made.run())
    assert (table.operation, table.range, table.title) == ("free", 64 << 20, "MADV_FREE of the range")
    assert [one.size for one in table.of("instructions")] == ["4k", "64k", "2m"]
    assert table.kernels == ("baseline", "v2", "merged")


def test_counts_are_told_in_total_per_page_and_against_the_baseline():
    merged = line(only(made.run()), "64k").of("merged")
    assert merged.total == 40 * 16384 + 5000
    assert merged.per_page == pytest.approx(40 + 5000 / 16384)
    assert merged.change == pytest.approx(660360 / 13112200 - 1)
    assert line(only(made.run()), "64k").of("baseline").change is None


def test_a_change_from_0_has_no_percentage():
    assert line(only(made.run()), "64k", "converts").of("v2").change is None
    assert line(only(made.run()), "64k", "splits").of("merged").change == -1


def test_the_published_rows_stand_beside_their_sizes():
    ((table, rows),) = only(made.run(published=[PUBLISHED])).published
    assert table == PUBLISHED
    assert rows[65536].note == "Instructions, not time."


def test_what_was_not_counted_is_missing_not_0():
    table = only(made.run(spoil=lambda s: "no folios" if (s.kernel, s.folio_bytes) == ("v2", 65536) else ""))
    v2 = line(table, "64k").of("v2")
    assert (v2.total, v2.per_page, v2.change, v2.reason) == (None, None, None, "no folios")


def test_events_that_are_0_everywhere_are_told_apart_from_those_that_were_not_counted():
    table = only(made.run(law=lambda kernel, sample: {**made.plain(kernel, sample), "dsb": 0, "isb": None}))
    assert table.events == ["splits", "converts", "tlbi_range"]
    assert table.zero == ["dsb"]


def test_growth_over_ranges_has_the_price_of_a_page():
    found = {one.kernel: one.growth for one in range_growth(Measured(made.run()))}
    assert found["baseline"].per_unit == pytest.approx(800)
    assert found["merged"].per_unit == pytest.approx(40)
    assert found["merged"].exponent == pytest.approx(1, abs=0.01)


def test_growth_over_folio_sizes_tells_the_price_of_a_folio_from_that_of_a_page():
    def law(kernel, sample):
        return {"instructions": 900 * sample.folios + 30 * sample.pages if kernel == "v2" else 30 * sample.pages}

    measured = Measured(made.run(costs=[ALL_SIZES], law=law))
    found = {one.kernel: one for one in folio_growth(measured, tables(measured)[0])}
    assert found["v2"].per_folio == pytest.approx(900)
    assert found["v2"].per_page == pytest.approx(30)
    assert found["v2"].exponent < -0.2
    assert found["merged"].exponent == pytest.approx(0)


def test_the_ratio_over_longer_ranges_shows_whether_a_short_one_is_enough():
    measured = Measured(made.run())
    found = {kernel: values for _, _, kernel, values in ratios(measured, "max")}
    assert [at for at, _ in found["merged"]] == [64 << 20, 256 << 20, 1 << 30]
    assert found["merged"][0][1] == pytest.approx(19.86, abs=0.01)
    assert "baseline" not in found


def test_the_size_that_tells_most_is_the_one_where_all_kernels_are_far_apart():
    assert telling(only(made.run())) == 65536


def test_of_one_kernel_the_costliest_size_tells_most_and_of_nothing_none():
    alone = made.run()
    kernel = alone.study.content.model_copy(update={"kernel": alone.study.content.kernel[:1]})
    alone = alone.model_copy(update={"study": alone.study.model_copy(update={"content": kernel})})
    assert telling(only(alone)) == 65536
    assert telling(only(made.run(spoil=lambda sample: "no folios"))) is None
