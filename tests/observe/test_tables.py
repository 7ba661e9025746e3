"""What the recorded tables add to a test's own words."""

from pathlib import Path

import pytest

from pipeline.contpte.record import RecordError
from pipeline.guest.plugins import Plugin
from pipeline.observation import Outcome, Pages, Step
from pipeline.observe import tables
from pipeline.observe.records import Reading

RECORDING = Path(__file__).parents[1] / "contpte" / "recordings" / "max.bin"
TEST = "lazyfree.64k.full_cover_single"


@pytest.fixture
def plugin() -> Plugin:
    return Plugin("checkpoint", Path("checkpoint.so"), "0" * 64)


@pytest.fixture
def boot(tmp_path, plugin) -> Path:
    """The folder of a boot with the plugin's file."""
    (tmp_path / plugin.output).write_bytes(RECORDING.read_bytes())
    return tmp_path


def reading(**changes) -> Reading:
    known = {
        "params": {"pages_per_folio": 16},
        "steps": [Step(name="free"), Step(name="reclaim"), Step(name="free")],
        "pages": [Pages(at="before-free", region="range", states="A" * 16)],
    }
    return Reading(Outcome.PASSED, **known | changes)


def test_tables_counts_and_the_fold_are_put_into_the_reading(boot, plugin):
    one = reading()
    tables.add(one, tables.Recorded(boot, [plugin]).take(TEST))
    assert [(t.at, t.when) for t in one.tables[:3]] == [
        ("mapped", "checkpoint"),
        ("before-free", "checkpoint"),
        ("free", "step-begin"),
    ]
    free, reclaim, again = one.steps
    assert (free.pt["folded_before"], free.pt["folded_after"], free.pt["dirty_after"]) == (1, 1, 0)
    assert reclaim.pt["none_after"] == 16
    assert again.pt == {}  # the test had one such step only: nothing was observed of another
    (need,) = one.needs
    assert (need.what, need.ok, need.want, need.got) == ("folded_pages", True, "16", "16")


def test_a_test_that_left_no_marks_has_no_tables_and_no_counts(boot, plugin):
    one = reading()
    tables.add(one, tables.Recorded(boot, [plugin]).take("lazyfree.64k.another"))
    assert one.tables == [] and one.needs == [] and one.steps[0].pt == {}


def test_folios_smaller_than_a_block_need_no_fold(boot, plugin):
    one = reading(params={"pages_per_folio": 8})
    tables.add(one, tables.Recorded(boot, [plugin]).take(TEST))
    assert one.tables and one.needs == []


def test_nothing_is_recorded_without_the_plugin_or_before_qemu_started(boot, plugin, tmp_path):
    other = Plugin("other", Path("other.so"), "0" * 64)
    (tmp_path / "empty").mkdir()
    for nothing in (tables.Recorded(boot, [other]), tables.Recorded(tmp_path / "empty", [plugin])):
        assert nothing.take(TEST) == []


def test_what_qemu_still_writes_is_taken_as_it_becomes_whole(boot, plugin):
    whole = (boot / plugin.output).read_bytes()
    every = tables.Recorded(boot, [plugin]).take(TEST)
    recorded = tables.Recorded(boot, [plugin])
    taken = []
    for end in (10, 100, len(whole) // 2, len(whole) - 1, len(whole)):
        (boot / plugin.output).write_bytes(whole[:end])
        taken += recorded.take(TEST)
    assert taken == every != []


def test_a_damaged_file_is_told(boot, plugin):
    (boot / plugin.output).write_text("nonsense, and long enough to have a header")
    with pytest.raises(RecordError, match="expected page tables"):
        tables.Recorded(boot, [plugin]).take(TEST)
