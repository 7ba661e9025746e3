"""junit.xml, report.ktap and summary.md: what GitLab, Jenkins, GitHub and the kernel's own parsers can rely on."""

import re
from collections import Counter
from xml.etree import ElementTree

import pytest

from pipeline.errors import InfraError
from pipeline.observation import Check
from pipeline.report import junit, ktap, markdown
from pipeline.report.words import expected_cells
from tests.judge.builders import a_study, all_cells, with_cell
from tests.report.builders import a_realistic_run, a_run
from tests.report.test_report import HOSTILE
from tests.report.test_text import BROKEN, CELL, changed

#: Children and attributes that Jenkins' junit-10.xsd allows (xunit-plugin, src/main/resources/.../xsd), of the
#: elements that are written here.
SCHEMA = {
    "testsuites": ({"testsuite"}, {"name", "time", "tests", "failures", "errors"}),
    "testsuite": (
        {"testsuite", "properties", "testcase", "system-out", "system-err"},
        {"name", "tests", "failures", "errors", "skipped", "time", "timestamp", "hostname", "id", "package", "file"},
    ),
    "properties": ({"property"}, set()),
    "property": (set(), {"name", "value"}),
    "testcase": ({"skipped", "error", "failure", "system-out", "system-err"}, {"name", "time", "classname", "group"}),
    "skipped": (set(), {"type", "message"}),
    "error": (set(), {"type", "message"}),
    "failure": (set(), {"type", "message"}),
    "system-out": (set(), set()),
}


@pytest.fixture(scope="module")
def realistic():
    return a_realistic_run(scenarios=("full", "twice", "hole", "zram-cow", "gup"))


@pytest.fixture(scope="module")
def hostile():
    cells = with_cell(
        all_cells(a_study()),
        CELL,
        outcome="failed",
        reason=HOSTILE,
        checks=[Check(name="no-lost-write", ok=False, detail=HOSTILE)],
        ktap=HOSTILE,
    )
    return a_run(a_study(title=HOSTILE), cells=cells)


def case_of(rendered: str, name: str) -> ElementTree.Element:
    return next(c for c in ElementTree.fromstring(rendered).iter("testcase") if c.get("name") == name)


def files_of(run):
    return {cell.name: [f"cells/{cell.name}/{log}.txt" for log in ("ktap", "console")] for cell in run.cells}


# junit.xml


def test_junit_keeps_to_the_schema_of_jenkins(realistic):
    failing = changed(checks=[BROKEN], outcome="failed")
    seen = set()
    documents = [ElementTree.fromstring(junit.render(run, files_of(run))) for run in (realistic, failing)]
    for element in (element for root in documents for element in root.iter()):
        children, attributes = SCHEMA[element.tag]
        assert {child.tag for child in element} <= children
        assert set(element.attrib) <= attributes
        seen.add(element.tag)
    assert seen >= {"properties", "testcase", "skipped", "failure", "system-out"}
    for suite in (suite for root in documents for suite in root.iter("testsuite")):
        assert {"name", "tests", "failures", "errors"} <= set(suite.attrib)
        # SUREFIRE_TIME of the schema.
        assert re.fullmatch(r"(([0-9]{0,3},)*[0-9]{3}|[0-9]{0,3})*(\.[0-9]*)?", suite.get("time"))


def test_junit_has_a_case_for_each_decision_and_each_cell_and_counts_them():
    run = a_run()
    root = ElementTree.fromstring(junit.render(run))
    decisions = sum(len(kernel.decisions) for kernel in run.judgement.kernels)
    assert len(list(root.iter("testcase"))) == decisions + len(run.cells)
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == (str(decisions + len(run.cells)), "0", "0")


def test_no_two_cases_have_one_name(realistic):
    names = Counter(c.get("name") for c in ElementTree.fromstring(junit.render(realistic)).iter("testcase"))
    assert names.most_common(1)[0][1] == 1


@pytest.mark.parametrize(
    ("changes", "tag", "word"),
    [
        ({"checks": [BROKEN], "outcome": "failed"}, "failure", "page 3 reads 0"),
        ({"outcome": "skipped", "reason": "no zram"}, "error", "no zram"),
        ({"outcome": "timeout", "reason": "30 s"}, "failure", "30 s"),
    ],
)
def test_what_does_not_pass_is_told_so_that_no_server_counts_it_as_good(changes, tag, word):
    case = case_of(junit.render(changed(**changes)), CELL)
    assert word in case.find(tag).get("message")
    assert case.find("skipped") is None


def test_known_is_skipped_with_its_explanation():
    study = a_study(
        known=[{"id": "k", "of": "no-lost-write", "scenarios": ["*"], "explanation": "zram skips the cache"}]
    )
    case = case_of(junit.render(changed(study=study, checks=[BROKEN], outcome="failed")), "v2: no-lost-write")
    assert "zram skips the cache" in case.find("skipped").get("message")


def expecting(*failing: str, verdict: str = "FAIL"):
    return a_study(
        kernel=[
            {"id": "base", "role": "baseline"},
            {"id": "v2", "expect": {"verdict": verdict, "failing": list(failing)}},
        ]
    )


def test_a_failure_that_the_study_expects_turns_no_ci_red():
    run = changed(study=expecting("no-lost-write"), checks=[BROKEN], outcome="failed")
    assert run.judgement.exit_code == 0
    rendered = junit.render(run)
    root = ElementTree.fromstring(rendered)
    assert (root.get("failures"), root.get("errors")) == ("0", "0")
    assert "expected to be FAIL" in case_of(rendered, "v2: no-lost-write").find("skipped").get("message")
    assert "page 3 reads 0" in case_of(rendered, CELL).find("skipped").get("message")
    assert "\n  ok 5 no-lost-write # XFAIL v2/max/full.64k: page 3 reads 0" in ktap.render(run).partition("# v2:")[2]
    assert "ok 2 v2" in ktap.render(run).splitlines()


def test_a_cell_that_also_fails_on_what_was_not_expected_is_a_failure():
    broken = [BROKEN, Check(name="data-old-or-zero", ok=False, detail="mixed")]
    invariants = [{"id": "no-lost-write", "title": "t"}, {"id": "data-old-or-zero", "title": "t"}]
    study = expecting("no-lost-write")
    study = study.model_copy(
        update={
            "invariant": tuple(type(study.invariant[0])(**entry) for entry in invariants),
            "scenario": tuple(
                s.model_copy(update={"checks": ("no-lost-write", "data-old-or-zero")}) for s in study.scenario
            ),
        }
    )
    run = changed(study=study, checks=broken, outcome="failed")
    assert CELL not in expected_cells(run)
    assert case_of(junit.render(run), CELL).find("failure") is not None


def test_what_was_expected_to_fail_and_does_not_is_a_failure():
    run = a_run(expecting("no-split"))
    assert run.judgement.exit_code == 1
    case = case_of(junit.render(run), "v2: no-split")
    assert "expected to fail, judged PASS" in case.find("failure").get("message")
    lines = ktap.render(run).splitlines()
    assert any(re.fullmatch(r"  not ok \d+ no-split # expected to fail, judged PASS", line) for line in lines)
    assert "not ok 2 v2" in lines


def test_artifacts_are_properties_of_the_suite_and_attachments_of_the_cell():
    run = changed(checks=[BROKEN], outcome="failed")
    root = ElementTree.fromstring(junit.render(run, files_of(run)))
    suite = next(s for s in root if s.get("name") == "v2/max: cells")
    artifacts = [p.get("value") for p in suite.iter("property") if p.get("name") == "artifact"]
    assert f"runs/{run.id}/cells/v2/max/" in artifacts
    said = case_of(junit.render(run, files_of(run)), CELL).findtext("system-out")
    assert said.splitlines()[0] == f"[[ATTACHMENT|runs/{run.id}/cells/{CELL}/console.txt]]"
    assert case_of(junit.render(run, files_of(run)), "base/max/full.64k").find("system-out") is None


def test_a_study_of_3000_cells_that_all_fail_stays_below_what_gitlab_reads():
    study = a_study()
    failing = next(c for c in all_cells(study) if c.name == CELL)
    long = "\n".join(f'# <line {n}> & "quotes"' for n in range(700))
    cells = [c for c in all_cells(study) if c.name != CELL]
    run = a_run(study, cells=[*cells, failing.model_copy(update={"checks": [BROKEN], "outcome": "failed"})])
    many = [
        failing.model_copy(update={"variant": f"64k_{n}", "ktap": long, "checks": [BROKEN], "outcome": "failed"})
        for n in range(3000)
    ]
    rendered = junit.render(run.model_copy(update={"cells": [*run.cells, *many]}))
    assert len(rendered.encode()) < 30_000_000
    assert rendered.count("lines left off]") == 3000


def test_junit_is_valid_xml_whatever_the_guest_printed(hostile):
    rendered = junit.render(hostile)
    ElementTree.fromstring(rendered.encode())
    assert not set(rendered) & {"\x00", "\x08", "\x1b", "\ufffe"}


# report.ktap


def parse_ktap(lines: list[str], depth: int = 0) -> list[tuple[bool, str, str]]:
    """Results of one level as (ok, name, what follows ``#``), by the rules of Documentation/dev-tools/ktap.rst.

    Consumes ``lines``. Plan, numbering and "a parent fails if a subtest does" are checked.
    """
    pad = "  " * depth
    assert lines.pop(0) == f"{pad}KTAP version 1"
    plan, results, below = None, [], None
    while lines and lines[0].startswith(pad):
        line = lines[0].removeprefix(pad)
        if line == "  KTAP version 1":
            below = parse_ktap(lines, depth + 1)
            continue
        if line.startswith("  "):
            raise AssertionError(f"indented line outside of a subtest: {line}")
        lines.pop(0)
        if match := re.fullmatch(r"1\.\.(\d+)", line):
            assert plan is None
            plan = int(match[1])
        elif match := re.fullmatch(r"(ok|not ok) (\d+) ([^#]*?)(?: # (.*))?", line):
            assert int(match[2]) == len(results) + 1
            directive = (match[4] or "").split(" ")[0]
            assert not (directive == "ERROR" and match[1] == "ok")
            if below is not None and not all(ok for ok, _, _ in below):
                assert match[1] == "not ok"
            below = None
            results.append((match[1] == "ok", match[3], match[4] or ""))
        else:
            assert line.startswith("# "), line
    assert plan == len(results)
    return results


@pytest.mark.parametrize("make", ["realistic", "hostile", "nothing", "expected"])
def test_ktap_is_what_the_kernel_documentation_says(make, realistic, hostile):
    run = {
        "realistic": lambda: realistic,
        "hostile": lambda: hostile,
        "nothing": lambda: a_run(cells=[], boots=[], kernels=()),
        "expected": lambda: changed(study=expecting("no-lost-write"), checks=[BROKEN], outcome="failed"),
    }[make]()
    lines = ktap.render(run).splitlines()
    top = parse_ktap(lines)
    assert lines == []
    assert [name for _, name, _ in top] == [kernel.kernel for kernel in run.judgement.kernels]


def test_ktap_never_skips_what_is_inconclusive():
    lines = ktap.render(changed(outcome="skipped", reason="no zram # SKIP")).splitlines()
    assert "ok 1 base" in lines
    assert "not ok 2 v2" in lines
    unsure = next(line for line in lines if re.match(r"  not ok \d+ no-lost-write # ERROR", line))
    assert " # SKIP" not in unsure


# summary.md


def test_markdown_lets_no_guest_make_markup(hostile):
    rendered = markdown.render(hostile)
    assert "<script" not in rendered
    rows = [line for line in rendered.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in rows} <= {3, 4, 7}
    assert "### Spoiled" not in rendered


def test_markdown_tells_each_kernel_and_the_numbers_of_its_claims():
    rendered = markdown.render(a_run())
    assert "| v2 | ✓ PASS | as expected | 6 PASS | mm/madvise: keep large folios | `111111111111` |" in rendered
    assert "mthp.split 4 -&gt; 0" in rendered


def test_markdown_shows_what_fails_and_folds_away_what_passes():
    rendered = markdown.render(changed(checks=[BROKEN], outcome="failed"))
    shown, _, folded = rendered.partition("<details><summary>1 claim that holds</summary>")
    assert "page 3 reads 0" in shown
    assert "`no-split`" in folded
    assert "`no-split`" not in shown.partition("### v2")[2]


def test_a_step_summary_is_appended_to_what_other_steps_said_and_only_where_there_is_one(tmp_path):
    file = tmp_path / "summary"
    file.write_text("before\n")
    markdown.tell_github(a_run(), {})
    assert file.read_text() == "before\n"
    markdown.tell_github(a_run(), {"GITHUB_STEP_SUMMARY": str(file)})
    assert file.read_text() == "before\n" + markdown.render(a_run())


@pytest.fixture(scope="module")
def endless():
    claims = [
        {"id": f"claim-{n}", "title": "long " * 60, "scenarios": ["*"], "step": "free", "candidate": f"ret == {n % 2}"}
        for n in range(1000)
    ]
    return a_run(a_study(claim=claims))


@pytest.mark.parametrize("limit", [2**18, 30_000, 8_000])
def test_a_step_summary_keeps_to_the_limit_and_counts_what_it_leaves_off(endless, limit):
    rendered = markdown.render(endless, limit=limit)
    assert len(rendered.encode()) <= limit
    assert "more decisions: see report.html" in rendered


def test_a_step_summary_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(InfraError, match="cannot write the step's summary"):
        markdown.tell_github(a_run(), {"GITHUB_STEP_SUMMARY": str(tmp_path / "none" / "file")})
