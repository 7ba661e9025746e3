"""report.ktap: decisions as KTAP (Documentation/dev-tools/ktap.rst), a subtest a kernel.

INCONCLUSIVE is ``not ok # ERROR``, never a SKIP, which counts as good. KNOWN, and what the study
expects to fail, is ``ok # XFAIL``. A parent fails if one of its subtests does.
"""

from pipeline.judge.model import Decision, KernelJudgement, Verdict
from pipeline.report.words import expectation, is_expected, judgement_of, line, missed_failure
from pipeline.run import Run


def render(run: Run) -> str:
    """The document as text; a kernel is ``ok`` where it is judged as the study expects."""
    kernels = judgement_of(run).kernels
    lines = ["KTAP version 1", f"# {_plain(run.study.content.title)}", f"1..{len(kernels)}"]
    for number, kernel in enumerate(kernels, 1):
        results = [_result(at, kernel, decision) for at, decision in enumerate(kernel.decisions, 1)]
        lines += [f"  {entry}" for entry in _kernel(kernel, results)]
        good = kernel.as_expected and not any(result.startswith("not ok") for result in results)
        lines.append(f"{'ok' if good else 'not ok'} {number} {kernel.kernel}")
    return "\n".join(lines) + "\n"


def _kernel(kernel: KernelJudgement, results: list[str]) -> list[str]:
    lines = ["KTAP version 1", f"1..{len(results)}"]
    lines.append(f"# {kernel.kernel}: {kernel.verdict}, {_plain(expectation(kernel))}")
    for decision, result in zip(kernel.decisions, results, strict=True):
        if decision.reason:
            lines.append(f"# {decision.id}: {_plain(decision.reason)}")
        lines.append(result)
    return lines


def _result(number: int, kernel: KernelJudgement, decision: Decision) -> str:
    name, reason = f"{number} {decision.id}", _plain(decision.reason)
    if missed_failure(kernel, decision):
        return f"not ok {name} # expected to fail, judged {decision.verdict}"
    if decision.verdict == Verdict.KNOWN or is_expected(kernel, decision):
        return f"ok {name} # XFAIL {reason}"
    return {
        Verdict.PASS: f"ok {name}",
        Verdict.FAIL: f"not ok {name}",
        Verdict.INCONCLUSIVE: f"not ok {name} # ERROR {reason}",
    }[decision.verdict]


def _plain(text: str) -> str:
    """One line in which no ``#`` starts a directive."""
    return line(text).replace("#", "\\#")
