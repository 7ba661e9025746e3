"""report.html: what of a run is in the page, and what is one click away."""

import re

import pytest

from pipeline import report
from pipeline.observation import Check, Pages
from pipeline.report import cells, evidence, html, jobs
from pipeline.report.words import cell_verdicts
from tests.judge.builders import a_cell, a_claim, a_study, all_cells, names, with_cell
from tests.report.builders import a_realistic_run, a_run
from tests.report.tables import folio, tables

BROKEN = Check(name="no-lost-write", ok=False, detail="page 3 reads 0, wrote 7")
WHERE = "max/full.64k"


@pytest.fixture(scope="module")
def realistic():
    return a_realistic_run(scenarios=("full", "twice", "hole", "zram-cow", "gup"))


def scenarios(run, files=None):
    found, left = cells.scenarios(run, cell_verdicts(run), files or {})
    return {scenario.id: scenario for scenario in found}, left


def topic(run, name, *, files=None, read=lambda _: ""):
    shown, _ = cells.scenarios(run, cell_verdicts(run), files or {})
    return next(one for one in evidence.topics(run, shown, files or {}, read) if one.id == name)


# What has details


def test_what_passes_and_decides_no_claim_has_a_line_and_its_files_only():
    run = a_run()
    shown, _ = scenarios(run)
    assert shown["fork"].jobs == ()
    page = html.render(run, {"v2/max/fork.64k": ["cells/v2/max/fork.64k/ktap.txt", "boots/b/trace.dat"]})
    row = re.search(r"<tr><th scope=row>64k</th>.*?</tr>", page[page.index('id="s-fork"') :])
    assert row and '✓ PASS <a href="./cells/v2/max/fork.64k/ktap.txt">max</a> a57' in row[0]


def test_what_decides_a_claim_has_details_once_for_machines_that_are_alike():
    shown, _ = scenarios(a_run())
    assert [(job.name, job.machines) for job in shown["full"].jobs] == [
        ("full.64k", ("max", "a57")),
        ("full.128k", ("max", "a57")),
    ]


def test_what_fails_on_one_machine_is_apart_from_the_other():
    run = a_run(cells=with_cell(all_cells(a_study()), "v2/max/fork.64k", checks=[BROKEN], outcome="failed"))
    shown, _ = scenarios(run)
    assert [job.machines for job in shown["fork"].jobs] == [("max",), ("a57",)]


def test_counters_of_machines_that_differ_stand_side_by_side():
    steps = [{"name": "free", "mthp": {"split": 0}, "vmstat": {"pgfault": 7}}]
    run = a_run(cells=with_cell(all_cells(a_study()), "v2/a57/full.64k", steps=steps))
    shown, _ = scenarios(run)
    (row,) = [row for row in shown["full"].jobs[0].counters if row.counter == "vmstat.pgfault"]
    assert [value.text for value in row.values] == ["–", "– | 7"]


def test_page_states_that_a_picture_shows_are_not_told_twice(realistic):
    shown, _ = scenarios(realistic)
    job = next(job for job in shown["full"].jobs if job.name == "full.64k")
    assert [picture.step for picture in job.pictures] == ["free"]
    assert [row.at for row in job.pages] == ["after-rewrite", "after-reclaim"]


@pytest.mark.parametrize(("page_size", "block"), [(4096, 16), (16384, 128), (65536, 32)])
def test_page_states_are_in_rows_of_a_contiguous_block_of_the_granule(page_size, block):
    states = [Pages(at="end", region="range", states="a" * 256)]
    study = a_study()
    made = [a_cell(name, pages=states, params={"folios": 4, "page_size": page_size}) for name in names(study)]
    page = html.render(a_run(study, cells=made), {})
    drawn = re.search(r"<span class=pages role=img[^>]*>(.*?)</span>", page)
    assert re.findall(r"<i class=pa>(a+)</i>", drawn[1]) == ["a" * block] * (256 // block)


def test_more_jobs_than_a_page_holds_are_counted(monkeypatch):
    monkeypatch.setattr(jobs, "MAX_JOBS", 1)
    run = a_run()
    shown, left = scenarios(run)
    assert ([len(one.jobs) for one in shown.values()], left) == ([1, 0], 1)
    assert "1 job more fail, differ or decide a claim" in html.render(run, {})


def test_where_room_is_short_what_fails_comes_before_what_only_decides(monkeypatch):
    monkeypatch.setattr(jobs, "MAX_JOBS", 2)
    run = a_run(cells=with_cell(all_cells(a_study()), "v2/max/fork.64k", checks=[BROKEN], outcome="failed"))
    shown, left = scenarios(run)
    assert ([job.name for one in shown.values() for job in one.jobs], left) == (["full.64k", "fork.64k"], 2)


def test_every_cell_leads_somewhere(realistic):
    shown, _ = cells.scenarios(realistic, cell_verdicts(realistic), {})
    there = cells.anchors(shown)
    assert set(there) == {cell.name for cell in realistic.cells}
    assert there["v2/a57/full.64k"] == there["baseline/max/full.64k"]


def test_files_of_a_boot_are_linked_with_the_boot_and_not_with_each_cell():
    run = a_run()
    name = f"v2/{WHERE}"
    page = html.render(run, {name: [f"cells/{name}/ktap.txt", "boots/v2-max/trace.dat"]})
    assert page.count("./boots/v2-max/trace.dat") == 1
    assert page.index("./boots/v2-max/trace.dat") > page.index('id="preconditions"')


# Pictures


def test_kernels_that_begin_alike_are_drawn_once_before_the_call_and_each_after_it(realistic):
    shown, _ = scenarios(realistic)
    (picture,) = next(job for job in shown["full"].jobs if job.name == "full.64k").pictures
    assert [(who, [when for when, _ in ends]) for who, ends in picture.columns] == [
        ("Every kernel", ["before"]),
        ("baseline", ["after"]),
        ("v2", ["after"]),
        ("merged", ["after"]),
    ]
    assert [ends[-1][1].blocks[0].folded for _, ends in picture.columns] == [True, False, True, True]


def test_kernels_that_begin_otherwise_are_drawn_before_and_after():
    def cell(name, flags):
        both = [tables(folio(0x400, 16, flags)), tables(folio(0x400, 16, "w"), when="step-end")]
        return a_cell(name, tables=both, pages=[Pages(at="before-free", region="range", states="A" * 16)])

    study = a_study()
    run = a_run(study, cells=[cell(name, "cydw" if name[0] == "v" else "ydw") for name in names(study)])
    shown, _ = scenarios(run)
    (picture,) = shown["full"].jobs[0].pictures
    assert [(who, len(ends)) for who, ends in picture.columns] == [("base", 2), ("v2", 2)]


# Evidence


def test_a_claim_has_its_numbers_with_the_kernels_side_by_side():
    place = topic(a_run(), "no-split").places[0]
    assert (place.job, place.machines, place.given) == ("full.64k", ("max", "a57"), "param.folios = 4")
    (row,) = place.numbers
    assert (row.counter, [value.text for value in row.values]) == ("mthp.split", ["4", "0"])
    assert [(said.shows, said.verdict) for said in place.said] == [("yes", None), ("", "PASS")]


def test_a_claim_that_fails_shows_the_place_that_was_folded_and_the_trace_from_its_file(realistic):
    claim = realistic.study.content.claim[1]
    files = {cell.name: [f"cells/{cell.name}/trace.txt"] for cell in realistic.cells}
    run = realistic.model_copy(update={"cells": [cell.model_copy(update={"trace": ""}) for cell in realistic.cells]})
    found = topic(run, claim.id, files=files, read=lambda path: f"contpte_convert in {path}\n" * 50)
    assert (found.example.name, found.step) == ("full.64k", "free")
    (trace,) = found.excerpts
    assert trace.text.splitlines()[0] == "contpte_convert in cells/v2/max/full.64k/trace.txt"
    assert (trace.name, trace.left, trace.end) == ("Trace on v2", 10, "behind")


def test_an_invariant_lists_what_does_not_hold_and_leads_to_the_scenarios_that_do():
    run = a_run(cells=with_cell(all_cells(a_study()), "v2/max/fork.64k", checks=[BROKEN], outcome="failed"))
    found = topic(run, "no-lost-write")
    (place,) = found.places
    assert (place.job, place.machines) == ("fork.64k", ("max",))
    assert [said.verdict for said in place.said] == ["PASS", "FAIL"]
    assert found.held == (("base", 6), ("v2", 5))
    assert found.scenarios == (("full", "s-full"), ("fork", "s-fork"))


def test_a_run_that_fails_everywhere_tells_some_places_and_counts_the_rest(monkeypatch):
    monkeypatch.setattr(evidence, "MAX_PLACES", 2)
    study = a_study()
    run = a_run(study, cells=[a_cell(name, checks=[BROKEN], outcome="failed") for name in names(study)])
    found = topic(run, "no-lost-write")
    assert (len(found.places), found.more) == (2, 1)
    assert "And 1 place more; junit.xml has every one." in html.render(run, {})


def test_a_counter_that_the_judge_did_not_read_on_the_baseline_is_taken_from_its_cell():
    claim = a_claim(candidate="mthp.split == 0", baseline="vmstat.pgfault == 3")
    study = a_study(claim=[claim])
    steps = {"base": {"split": 4}, "v2": {"split": 0}}
    run = a_run(
        study,
        cells=[
            a_cell(name, steps=[{"name": "free", "mthp": steps[name.split("/")[0]], "vmstat": {"pgfault": 3}}])
            for name in names(study)
        ],
    )
    rows = {row.counter: [value.text for value in row.values] for row in topic(run, "no-split").places[0].numbers}
    assert rows == {"mthp.split": ["4", "0"], "vmstat.pgfault": ["3", "3"]}


# What the guest printed


def test_of_a_long_console_the_finding_is_shown_with_what_led_to_it():
    lines = [f"[ {n}.0] line-{n}." for n in range(1000)]
    lines[500] = "[ 500.0] BUG: Bad page state in process free"
    changes = {"console": "\n".join(lines), "console_findings": ["bad-page: BUG: Bad page state in process free"]}
    page = html.render(a_run(cells=with_cell(all_cells(a_study()), f"v2/{WHERE}", **changes)), {})
    log = re.search(r"<summary>(Console[^<]*)</summary><pre[^>]*>(.*?)</pre>", page, re.S)
    assert log[1] == "Console around the finding (880 lines around this left off)"
    assert "line-470." in log[2] and "BUG: Bad page state" in log[2] and "line-589." in log[2]
    assert "line-469." not in log[2] and "line-999." not in log[2]


def test_records_of_a_test_are_not_repeated_as_text():
    changes = {
        "ktap": 'TAP version 13\n# kpv {"rec": "check", "name": "x"}\n# why it failed\nnot ok 1 a\n',
        "outcome": "failed",
    }
    page = html.render(a_run(cells=with_cell(all_cells(a_study()), f"v2/{WHERE}", checks=[BROKEN], **changes)), {})
    assert "TAP version 13\n# why it failed\nnot ok 1 a</pre>" in page


# As a whole


def test_the_trace_of_the_example_is_read_from_the_run_folder(tmp_path, realistic):
    quiet = realistic.model_copy(update={"cells": [c.model_copy(update={"trace": ""}) for c in realistic.cells]})
    path = "cells/v2/max/full.64k/trace.txt"
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_bytes(b"contpte_convert: (ffff8000)\xff\n" * 4000)
    report.write_all(quiet, tmp_path, {"v2/max/full.64k": [path], "v2/a57/full.64k": ["gone/trace.txt"]})
    page = (tmp_path / "report.html").read_text()
    assert "contpte_convert: (ffff8000)\ufffd" in page
