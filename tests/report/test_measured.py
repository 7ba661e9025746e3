"""What a run was made under, in the page."""

import pytest

from pipeline.observation import Need
from pipeline.report import html, measured
from tests.judge.builders import a_boot, a_study, all_boots, all_cells, with_cell
from tests.report.builders import a_run

CELL = "v2/max/full.64k"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), ()),
        (("-k", "v2", "--fresh"), ("-k v2",)),
        (("--machine=max", "-s", "full.*"), ("--machine=max", "-s 'full.*'")),
        (("-kv2", "--scenario", "a b"), ("-kv2", "--scenario 'a b'")),
        (("--runs", "-k"), ()),
    ],
)
def test_how_a_run_was_narrowed_is_told_as_it_was_given(options, told):
    run = a_run(command=("kpv", "validate", "study.toml", *options))
    assert measured.narrowed(run) == told
    page = html.render(run, {})
    assert ("A part of the study only" in page) == bool(told)


def test_a_precondition_that_reads_alike_everywhere_has_one_line():
    found = measured.of_boots(a_run())
    assert [(one.what, one.where) for one in found] == [
        ("build_id", "every boot"),
        ("page_size", "every boot"),
        ("config", "every boot"),
    ]


def test_one_that_differs_is_told_with_the_kernel_the_machine_or_the_boot():
    def boots(*odd):
        needs = (Need(what="page_size", ok=False, want="4096", got="16384"),)
        return [a_boot(f"{b.kernel}/{b.machine}", needs=needs) if b.id in odd else b for b in all_boots(a_study())]

    def where(*odd):
        return [one.where for one in measured.of_boots(a_run(boots=boots(*odd))) if not one.ok]

    assert where("v2-max", "v2-a57") == ["kernel v2"]
    assert where("v2-max", "base-max") == ["machine max"]
    assert where("v2-max") == ["v2-max"]


def test_preconditions_of_tests_are_counted_and_the_unmet_ones_marked():
    needs = [Need(what="folio_order", ok=False, want="4", got="0")]
    run = a_run(cells=with_cell(all_cells(a_study()), CELL, needs=needs, outcome="skipped"))
    (tally,) = measured.of_cells(run)
    assert (tally.what, tally.met, tally.unmet) == ("folio_order", 0, 1)
    page = html.render(run, {})
    assert '<span class="odd"><code>folio_order</code> 0 of 1</span>' in page
    assert "Precondition not met: folio_order: wanted 4, got 0" in page


def test_seeds_of_qemu_and_of_tests_are_told():
    boots = [a_boot(f"{b.kernel}/{b.machine}", qemu=["qemu", "-seed", "1"]) for b in all_boots(a_study())]
    run = a_run(boots=boots, cells=with_cell(all_cells(a_study()), CELL, params={"folios": 4, "seed": 7}))
    assert measured.seeds(run) == [("QEMU", "1"), ("tests that draw", "7")]
    assert measured.seeds(a_run()) == []
