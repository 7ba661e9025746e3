"""A campaign in words, in JSON, and as the matrix of the documentation."""

import json
from pathlib import Path

import pytest

from pipeline.errors import InfraError
from pipeline.mutate import report
from pipeline.mutate.campaign import Campaign
from pipeline.mutate.record import Commands, Result, Times
from pipeline.mutate.score import Finding
from pipeline.study import Kernel
from tests.judge.builders import a_claim, a_study

GOLDEN = Path(__file__).parent / "matrix.md"


def a_finding(check="no-lost-write", **changes) -> Finding:
    data = {"check": check, "kind": "invariant", "machine": "max", "cell": "full.64k", "message": "page 3 | lost"}
    return Finding(**data | changes)


def a_result(name="m", **changes) -> Result:
    data = {
        "file": f"mutants/{name}.patch",
        "name": name,
        "title": f"mm: {name}",
        "about": "P1: a page *stays* dirty",
        "kind": "bug",
        "kernel": "merged",
        "outcome": "killed",
        "cells": {"max": "3 of 3", "a57": "3 of 3"},
        "times": Times(patch=0.01, build=7.25, run=3.5),
    }
    return Result(**data | changes)


KILLED = a_result("killed", killed_by=(a_finding(), a_finding(machine="a57"), a_finding("boots", kind="built-in")))
COST = a_finding("cheap", kind="structure", machine="a57", message="mthp.cost == 0: mthp.cost = 4")
RESULTS = (
    KILLED,
    a_result("by-cost", killed_by=(COST,)),
    a_result("lives", outcome="survived"),
    a_result("legal", kind="legal", outcome="accepted"),
    a_result("legal-costs", kind="legal", outcome="accepted", structure=(COST,)),
    a_result("too-strict", kind="legal", outcome="rejected", killed_by=(a_finding("no-split", kind="function"),)),
    a_result("open", outcome="inconclusive", inconclusive=(a_finding(message="lost: QEMU was killed"),)),
    a_result("stale", outcome="not-applied", reason="stale.patch: does not apply to Linux 6.12.99: hunk #1"),
    a_result("broken", outcome="not-built", reason="mm/madvise.c:3:1: error: no", cells={}),
)


def a_campaign(tmp_path: Path, *results: Result, **changes) -> Campaign:
    study = a_study(
        claim=[a_claim(), a_claim(id="cheap", title="It is cheap", kind="structure", candidate="mthp.cost == 0")]
    )
    data = {
        "study": study,
        "kernel": Kernel(id="merged", title="as it was merged"),
        "versions": {"kernel": "Linux 6.12.99, a tree", "QEMU": "QEMU 10", "compiler": "gcc 12"},
        "command": "kpv mutate study.toml --mutants mutants --matrix docs/mutants.md",
        "all_checks": True,
        "folder": tmp_path,
        "results": results or RESULTS,
    }
    return Campaign(**data | changes)


@pytest.mark.parametrize(
    ("at", "said"),
    [
        (0, "killed by no-lost-write on max in full.64k (and 1 other check): page 3 | lost"),
        (1, "killed by cheap (structure) on a57 in full.64k: mthp.cost == 0: mthp.cost = 4"),
        (2, "survived: 3 of 3 cells on max, 3 of 3 cells on a57"),
        (3, "legal and accepted"),
        (4, "legal and accepted; structure differs: cheap"),
        (5, "legal but rejected by no-split on max in full.64k: page 3 | lost"),
        (6, "inconclusive: no-lost-write on max in full.64k: lost: QEMU was killed"),
        (7, "does not apply: stale.patch: does not apply to Linux 6.12.99: hunk #1"),
        (8, "does not build: mm/madvise.c:3:1: error: no"),
    ],
)
def test_a_result_in_one_line(at, said):
    assert report.line(RESULTS[at]) == said


def test_the_table_has_what_kills_where_and_the_times():
    assert len(report.row(KILLED)) == len(report.COLUMNS)
    assert report.row(KILLED) == [
        "killed", "bug", "killed", "no-lost-write, boots", "max/full.64k and 1 more", "0.0 s", "7.2 s", "3.5 s",
    ]  # fmt: skip
    assert report.row(KILLED.model_copy(update={"cached": True}))[-3:] == ["", "", "recorded"]
    assert report.row(RESULTS[1])[3] == "cheap (structure)"


def test_the_summary_counts_and_names_what_is_not_as_it_should_be():
    lines = report.summary(RESULTS)
    assert lines[:2] == [
        "6 bugs: 2 killed, 1 survived, 1 inconclusive, 1 not-built, 1 not-applied",
        "3 legal variants: 2 accepted, 1 rejected",
    ]
    assert [line.partition(":")[0] for line in lines[2:]] == [
        "lives", "legal-costs", "too-strict", "open", "stale", "broken",
    ]  # fmt: skip


def test_a_sound_suite_has_a_short_summary():
    assert report.summary([KILLED]) == ["1 bug: 1 killed"]


def test_json_is_a_list_with_one_object_a_mutant():
    data = json.loads(report.dumps([KILLED.model_copy(update={"commands": Commands(make="make Image", qemu=("q",))})]))
    assert data == [
        {
            "file": "mutants/killed.patch",
            "name": "killed",
            "title": "mm: killed",
            "about": "P1: a page *stays* dirty",
            "kind": "bug",
            "kernel": "merged",
            "outcome": "killed",
            "killed_by": [
                {
                    "check": check,
                    "kind": kind,
                    "machine": machine,
                    "cell": "full.64k",
                    "message": "page 3 | lost",
                    "properties": [],
                }
                for check, kind, machine in (
                    ("no-lost-write", "invariant", "max"),
                    ("no-lost-write", "invariant", "a57"),
                    ("boots", "built-in", "max"),
                )
            ],
            "structure": [],
            "inconclusive": [],
            "reason": "",
            "all_checks": False,
            "cells": {"max": "3 of 3", "a57": "3 of 3"},
            "times": {"patch": 0.01, "build": 7.25, "run": 3.5},
            "image_sha256": "",
            "commands": {"make": "make Image", "qemu": ["q"]},
            "cached": False,
        }
    ]


def test_the_matrix_is_the_recorded_one(tmp_path):
    assert a_campaign(tmp_path).matrix() == GOLDEN.read_text(encoding="utf-8")


def test_the_matrix_holds_no_time_and_not_whether_a_result_was_recorded(tmp_path):
    again = tuple(r.model_copy(update={"cached": True, "times": Times(build=99.0)}) for r in RESULTS)
    assert a_campaign(tmp_path, *again).matrix() == GOLDEN.read_text(encoding="utf-8")


def test_a_matrix_of_first_kills_says_so(tmp_path):
    assert "ended at its first certain kill" in a_campaign(tmp_path, all_checks=False).matrix()
    assert "ended at its first certain kill" not in a_campaign(tmp_path).matrix()


def test_an_empty_campaign_has_a_matrix_too(tmp_path):
    text = a_campaign(tmp_path, results=()).matrix()
    assert "| mutant |" in text


def test_files_are_written_where_asked(tmp_path):
    made = a_campaign(tmp_path / "run", KILLED)
    made.write(json_file=tmp_path / "new" / "m.json", matrix_file=tmp_path / "m.md")
    assert json.loads((tmp_path / "new" / "m.json").read_text())[0]["outcome"] == "killed"
    assert (tmp_path / "m.md").read_text() == (tmp_path / "run" / "mutants.md").read_text() == made.matrix()
    (tmp_path / "blocked").write_text("")
    with pytest.raises(InfraError, match="cannot write"):
        made.write(json_file=tmp_path / "blocked" / "m.json")
