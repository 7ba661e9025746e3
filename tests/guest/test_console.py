"""Every text in tests/consoles says in its head what must be found in it."""

import re
from pathlib import Path

import pytest

from pipeline.guest import console
from pipeline.guest.console import Kind

CORPUS = sorted((Path(__file__).parents[1] / "consoles").glob("*.txt"))


def read(path: Path) -> tuple[list[tuple[str, str, str]], str, list[str]]:
    head, _, body = path.read_text().partition("# --\n")
    finds = [tuple(m[1].split(" | ")) for m in re.finditer(r"^# finds: (.*)$", head, re.MULTILINE)]
    ended = re.search(r"^# ended-by: (.*)$", head, re.MULTILINE)
    return finds, ended[1] if ended else "", body.splitlines()


def test_the_corpus_is_there():
    assert len(CORPUS) >= 12


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_finds_what_the_head_of_the_text_says_and_nothing_else(path):
    finds, ended, lines = read(path)
    found = [(f.kind.value, f.function, f.headline) for f in console.findings(lines)]
    assert found == finds
    assert console.ended_by(lines) == ended


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_finds_the_same_under_time_stamps(path):
    finds, ended, lines = read(path)
    bare = [re.sub(r"^\[ *[\d.]+\](\[ *T\d+\])? ", "", line) for line in lines]
    stamped = [f"[{n / 1000:12.6f}] {line}" for n, line in enumerate(bare)]
    assert [(f.kind.value, f.function, f.headline) for f in console.findings(stamped)] == finds
    assert console.ended_by(stamped) == ended


def test_a_report_ends_with_its_trace_and_the_cell_s_marker_is_not_part_of_it():
    lines = read(next(p for p in CORPUS if p.stem == "bug-then-warning"))[2]
    oops, warning = console.findings(lines)
    assert oops.lines[-1].startswith("---[ end trace")
    assert not any("kpv:" in line for line in (*oops.lines, *warning.lines))
    assert lines[oops.at] == oops.headline


def test_an_oops_that_ends_in_a_panic_is_one_finding_with_the_panic_line_in_it():
    lines = read(next(p for p in CORPUS if p.stem == "oops-null-panic"))[2]
    (oops,) = console.findings(lines)
    assert oops.kind is Kind.OOPS
    assert any("Kernel panic" in line for line in oops.lines)


def test_no_text_makes_the_parser_fail():
    assert console.findings([]) == []
    assert console.findings(["Kernel panic - not syncing"])[0].function == ""
