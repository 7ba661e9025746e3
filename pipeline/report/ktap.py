"""report.ktap: decisions as KTAP (Documentation/dev-tools/ktap.rst), a subtest a kernel.

INCONCLUSIVE is ``not ok # ERROR``, never a SKIP, which counts as good. KNOWN is ``ok # XFAIL``.
"""

from pipeline.judge.model import Decision, KernelJudgement, Verdict
from pipeline.report.words import expectation, judgement_of, line
from pipeline.run import Run


def render(run: Run) -> str:
    """The document as text; a kernel is ``ok`` where it is judged as the study expects."""
    kernels = judgement_of(run).kernels
    lines = ["KTAP version 1", f"# {_plain(run.study.content.title)}", f"1..{len(kernels)}"]
    for number, kernel in enumerate(kernels, 1):
        lines += [f"  {entry}" for entry in _kernel(kernel)]
        word = "ok" if kernel.as_expected else "not ok"
        lines.append(f"{word} {number} {kernel.kernel}")
    return "\n".join(lines) + "\n"


def _kernel(kernel: KernelJudgement) -> list[str]:
    lines = ["KTAP version 1", f"# {kernel.kernel}: {kernel.verdict}, {_plain(expectation(kernel))}"]
    lines.append(f"1..{len(kernel.decisions)}")
    for number, decision in enumerate(kernel.decisions, 1):
        if decision.reason:
            lines.append(f"# {decision.id}: {_plain(decision.reason)}")
        lines.append(_result(number, decision))
    return lines


def _result(number: int, decision: Decision) -> str:
    reason = _plain(decision.reason)
    return {
        Verdict.PASS: f"ok {number} {decision.id}",
        Verdict.FAIL: f"not ok {number} {decision.id}",
        Verdict.INCONCLUSIVE: f"not ok {number} {decision.id} # ERROR {reason}",
        Verdict.KNOWN: f"ok {number} {decision.id} # XFAIL {reason}",
    }[decision.verdict]


def _plain(text: str) -> str:
    """One line in which no ``#`` starts a directive."""
    return line(text).replace("#", "\\#")
