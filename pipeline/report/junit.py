"""junit.xml: a test case for each decision on each kernel, and one for each cell.

FAIL is ``failure``. INCONCLUSIVE is ``error``, since CI counts skipped tests as good ones. KNOWN is
``skipped`` with its explanation, and so is what the study expects to fail. What was expected to fail
and does not is a ``failure``.

Only what Jenkins' schema (junit-10.xsd of its xUnit plugin) allows is used: properties are a suite's,
never a case's. GitLab reads no file over 30 MB, and of cases with one name only the first, so each name
occurs once. It links the first ``[[ATTACHMENT|path]]`` of a case, Jenkins all.
"""

from collections.abc import Iterable, Mapping, Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from pipeline.judge.model import Decision, KernelJudgement, Verdict
from pipeline.observation import Cell
from pipeline.report import tlb
from pipeline.report.reproduce import runs_folder
from pipeline.report.words import (
    base_version,
    cell_verdicts,
    clean,
    cut,
    expected_cells,
    explained,
    fact,
    is_expected,
    judgement_of,
    line,
    machine_line,
    missed_failure,
    numbers,
)
from pipeline.run import Run

_TAG = {Verdict.FAIL: "failure", Verdict.INCONCLUSIVE: "error", Verdict.KNOWN: "skipped"}
#: Of one case's text, and of all together: GitLab's limit is 30 MB a file, and escaping makes text longer.
BODY_CHARS, ALL_CHARS = 8000, 12_000_000
_MESSAGE_CHARS = 1000


def render(run: Run, files: Mapping[str, Sequence[str]] | None = None) -> str:
    """The document as text, with control characters of the guest's output stripped.

    ``files`` maps cell names to paths of their records, relative to the run's folder.
    """
    root = Element("testsuites", name=line(run.study.content.title) or run.study.content.id)
    verdicts, expected = cell_verdicts(run), expected_cells(run)
    told = sum(verdicts[cell.name][0] != Verdict.PASS for cell in run.cells)
    room = min(BODY_CHARS, ALL_CHARS // max(1, told))
    for kernel in judgement_of(run).kernels:
        suite = _suite(root, run, f"{kernel.kernel}: decisions", _kernel_properties(run, kernel))
        for decision in kernel.decisions:
            _decision(suite, kernel, decision, explained(run, decision))
        for machine in dict.fromkeys(cell.machine for cell in run.cells if cell.kernel == kernel.kernel):
            cells = [cell for cell in run.cells if (cell.kernel, cell.machine) == (kernel.kernel, machine)]
            suite = _suite(root, run, f"{kernel.kernel}/{machine}: cells", _machine_properties(run, cells))
            for cell in cells:
                verdict, reason = verdicts[cell.name]
                paths = (files or {}).get(cell.name, ())
                _cell(suite, cell, verdict, reason, cell.name in expected, [_path(run, path) for path in paths], room)
    for suite in root:
        _count(suite)
    _count(root)
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def _suite(root: Element, run: Run, name: str, properties: Iterable[tuple[str, str]]) -> Element:
    suite = SubElement(root, "testsuite", name=name, timestamp=line(run.started)[:19])
    box = SubElement(suite, "properties")
    for key, value in properties:
        SubElement(box, "property", name=key, value=line(value))
    return suite


def _kernel_properties(run: Run, kernel: KernelJudgement) -> Iterable[tuple[str, str]]:
    yield "verdict", kernel.verdict
    yield "expected", kernel.expected
    yield "base", base_version(run)
    if (made := fact(run, kernel.kernel)) is not None:
        for patch in made.series:
            yield "patch", f"{patch.subject} (sha256 {patch.sha256})"
        yield "config_sha256", made.config_sha256
        yield "image_sha256", made.image_sha256
        yield "build_id", made.build_id
        yield "toolchain", made.toolchain
    for name in ("report.html", "report.txt", "run.json", "reproduce.sh"):
        yield "artifact", _path(run, name)
    yield "artifact", _path(run, f"kernels/{kernel.kernel}/")


def _machine_properties(run: Run, cells: Sequence[Cell]) -> Iterable[tuple[str, str]]:
    first = cells[0]
    yield "machine", machine_line(run.machines.get(first.machine, {}))
    yield "artifact", _path(run, f"cells/{first.kernel}/{first.machine}/")
    for boot in dict.fromkeys(cell.boot for cell in cells if cell.boot):
        yield "artifact", _path(run, f"boots/{boot}/")
    for name, count in tlb.counts(run, first.kernel, first.machine):
        yield f"tlb.{name}", str(count)


def _path(run: Run, name: str) -> str:
    """A file of the run as seen from where kpv was called, which in a CI job is the checkout."""
    return f"{runs_folder(run)}/{run.id}/{name}"


def _decision(suite: Element, kernel: KernelJudgement, decision: Decision, reason: str) -> None:
    name = f"{kernel.kernel}: {decision.id}"
    case = SubElement(suite, "testcase", classname=f"kpv.{kernel.kernel}.{decision.kind}", name=name, time="0")
    evidence = "\n".join(
        line(f"{row.verdict} {row.cell}: {row.reason or numbers(row) or row.text}")
        for row in decision.rows
        if row.verdict != Verdict.PASS
    )
    if missed_failure(kernel, decision):
        child = SubElement(case, "failure", type="expected to fail")
        child.set("message", line(f"{decision.title}: expected to fail, judged {decision.verdict}")[:_MESSAGE_CHARS])
        child.text = clean(evidence)
        return
    told = f"{decision.title}: {reason}"
    _result(case, decision.verdict, told, evidence[:BODY_CHARS], expected=is_expected(kernel, decision))


def _cell(
    suite: Element, cell: Cell, verdict: Verdict, reason: str, expected: bool, files: Sequence[str], room: int
) -> None:
    classname = f"kpv.{cell.kernel}.{cell.machine}"
    case = SubElement(suite, "testcase", classname=classname, name=cell.name, time=f"{cell.seconds:.3f}")
    if verdict == Verdict.PASS:
        return
    ktap, left = cut(cell.ktap, lines=80, chars=room)
    _result(case, verdict, reason, f"[{left} lines left off]\n{ktap}" if left else ktap, expected=expected)
    if files:
        # The console first, since GitLab links one file a case, and KTAP is in the case already.
        ordered = sorted(files, key=lambda path: not path.endswith("console.txt"))
        SubElement(case, "system-out").text = "\n".join(f"[[ATTACHMENT|{line(path)}]]" for path in ordered)


def _result(case: Element, verdict: Verdict, message: str, body: str, *, expected: bool) -> None:
    if verdict == Verdict.PASS:
        return
    told = line(f"expected to be {verdict}: {message}" if expected else message)[:_MESSAGE_CHARS]
    child = SubElement(case, "skipped" if expected else _TAG[verdict], message=told)
    if child.tag != "skipped":
        child.set("type", str(verdict))
    child.text = clean(body)


def _count(suite: Element) -> None:
    cases = list(suite.iter("testcase"))
    suite.set("tests", str(len(cases)))
    for tag, name in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        if suite.tag == "testsuite" or name != "skipped":  # the root has no `skipped`
            suite.set(name, str(len(list(suite.iter(tag)))))
    suite.set("time", f"{sum(float(case.get('time', 0)) for case in cases):.3f}")
