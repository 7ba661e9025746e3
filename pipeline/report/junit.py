"""junit.xml: a test case for each decision on each kernel, and one for each cell.

FAIL is ``failure``. INCONCLUSIVE is ``error``, since CI counts skipped tests as good ones. KNOWN is
``skipped`` with its explanation.
"""

from xml.etree.ElementTree import Element, SubElement, indent, tostring

from pipeline.judge.model import Decision, KernelJudgement, Verdict
from pipeline.observation import Cell
from pipeline.report.words import cell_verdicts, clean, cut, explained, judgement_of, line, numbers
from pipeline.run import Run

_TAG = {Verdict.FAIL: "failure", Verdict.INCONCLUSIVE: "error", Verdict.KNOWN: "skipped"}


def render(run: Run) -> str:
    """The document as text, with control characters of the guest's output stripped."""
    root = Element("testsuites", name=line(run.study.content.title) or run.study.content.id)
    verdicts = cell_verdicts(run)
    for kernel in judgement_of(run).kernels:
        suite = SubElement(root, "testsuite", name=f"{kernel.kernel}: decisions", timestamp=line(run.started)[:19])
        for decision in kernel.decisions:
            _decision(suite, kernel, decision, explained(run, decision))
        cells = [cell for cell in run.cells if cell.kernel == kernel.kernel]
        if cells:
            cell_suite = SubElement(root, "testsuite", name=f"{kernel.kernel}: cells", timestamp=line(run.started)[:19])
            for cell in cells:
                _cell(cell_suite, cell, *verdicts[cell.name])
    for suite in root:
        _count(suite)
    _count(root)
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def _decision(suite: Element, kernel: KernelJudgement, decision: Decision, reason: str) -> None:
    case = SubElement(suite, "testcase", classname=f"kpv.{kernel.kernel}.{decision.kind}", name=decision.id, time="0")
    evidence = "\n".join(
        line(f"{row.verdict} {row.cell}: {row.reason or numbers(row) or row.text}")
        for row in decision.rows
        if row.verdict != Verdict.PASS
    )
    expected = " (as expected)" if decision.id in kernel.expected_failing and decision.verdict == Verdict.FAIL else ""
    _result(case, decision.verdict, f"{decision.title}{expected}: {reason}", evidence)


def _cell(suite: Element, cell: Cell, verdict: Verdict, reason: str) -> None:
    case = SubElement(
        suite,
        "testcase",
        classname=f"kpv.{cell.kernel}.{cell.machine}",
        name=f"{cell.scenario}.{cell.variant}",
        time=f"{cell.seconds:.3f}",
    )
    ktap, left = cut(cell.ktap, lines=80, chars=8000)
    _result(case, verdict, reason, f"[{left} lines left off]\n{ktap}" if left else ktap)


def _result(case: Element, verdict: Verdict, message: str, body: str) -> None:
    if verdict == Verdict.PASS:
        return
    child = SubElement(case, _TAG[verdict], message=line(message)[:1000])
    if verdict != Verdict.KNOWN:
        child.set("type", str(verdict))
    child.text = clean(body)


def _count(suite: Element) -> None:
    suite.set("tests", str(len(list(suite.iter("testcase")))))
    for tag, name in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        if suite.tag == "testsuite" or name != "skipped":  # the root has no `skipped`
            suite.set(name, str(len(list(suite.iter(tag)))))
