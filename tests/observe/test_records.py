"""A guest test's output, as printed by the kselftest harness, read back."""

import json

import pytest

from pipeline.observation import Outcome
from pipeline.observe import records

HEAD = "TAP version 13\n1..1\n# Starting 1 tests from 1 test cases.\n#  RUN           lazyfree.64k.full_cover ...\n"


def output(*lines: str) -> str:
    return HEAD + "\n".join(lines) + "\n"


def kpv(**data: object) -> str:
    return f"# kpv {json.dumps(data)}"


def test_a_passing_test_yields_every_record_in_order():
    text = output(
        kpv(rec="param", folios=4, pages=64),
        kpv(rec="need", what="folio_order", ok=True, want="4", got="4"),
        kpv(rec="step", name="free", ret=0, errno=0, vmstat={"pglazyfree": 64}, probe={"contpte_convert": None}),
        kpv(rec="pages", at="after", region="range", states="LLLL"),
        kpv(rec="check", name="no-lost-write", ok=True, detail=""),
        kpv(rec="param", order=4),
        "#            OK  lazyfree.64k.full_cover",
        "ok 1 lazyfree.64k.full_cover",
    )
    reading = records.read(text, exit_status=0)
    assert reading.outcome is Outcome.PASSED
    assert reading.params == {"folios": 4, "pages": 64, "order": 4}
    assert reading.steps[0].vmstat == {"pglazyfree": 64}
    assert reading.steps[0].probe == {"contpte_convert": None}
    assert [check.name for check in reading.checks] == ["no-lost-write"]
    assert reading.pages[0].states == "LLLL"
    assert reading.malformed == []


def test_a_skip_carries_its_reason():
    reading = records.read(output("ok 1 lazyfree.2m.full_cover # SKIP folio order 9 not obtained"), exit_status=4)
    assert reading.outcome is Outcome.SKIPPED
    assert reading.reason == "folio order 9 not obtained"


def test_a_failure_names_the_expectation_that_did_not_hold():
    text = output("# lazyfree.c:120:full_cover:Expected 0 (0) == lost (1)", "not ok 1 lazyfree.64k.full_cover")
    reading = records.read(text, exit_status=1)
    assert reading.outcome is Outcome.FAILED
    assert reading.reason == "lazyfree.c:120:full_cover:Expected 0 (0) == lost (1)"


@pytest.mark.parametrize(
    ("lines", "status", "outcome", "words"),
    [
        (["# x: Test terminated unexpectedly by signal 7", "not ok 1 x"], 1, Outcome.CRASHED, "signal 7"),
        (["# x: Test terminated by timeout", "not ok 1 x"], 1, Outcome.TIMEOUT, "limit"),
        ([], 139, Outcome.CRASHED, "signal 11"),
        ([], 0, Outcome.CRASHED, "no KTAP result"),
        (["ok 1 x", "ok 2 y"], 0, Outcome.CRASHED, "2 results"),
        (["ok 1 x # XFAIL known"], 0, Outcome.CRASHED, "XFAIL"),
    ],
)
def test_an_end_that_is_no_result_is_told_apart(lines, status, outcome, words):
    reading = records.read(output(*lines), exit_status=status)
    assert reading.outcome is outcome
    assert words in reading.reason


def test_a_name_that_matches_no_test_is_not_run_and_never_passes():
    reading = records.read("TAP version 13\n1..0\n# PASSED: 0 / 0 tests passed.\n", exit_status=0)
    assert reading.outcome is Outcome.NOT_RUN


@pytest.mark.parametrize(
    "line",
    [
        "# kpv {not json",
        '# kpv ["a", "list"]',
        '# kpv {"name": "no rec"}',
        '# kpv {"rec": "surprise"}',
        '# kpv {"rec": "param", "folios": "four"}',
        '# kpv {"rec": "param", "folios": true}',
        '# kpv {"rec": "check", "name": "x"}',
        '# kpv {"rec": "check", "name": "x", "ok": true, "extra": 1}',
    ],
)
def test_a_record_that_cannot_be_read_is_kept_as_malformed(line):
    reading = records.read(output(line, "ok 1 x"), exit_status=0)
    assert len(reading.malformed) == 1
    assert reading.malformed[0].startswith(line)
