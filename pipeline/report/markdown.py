"""summary.md: what a CI job shows on its page."""

import re

from markupsafe import escape

from pipeline.judge.model import KernelJudgement, Verdict
from pipeline.report.words import (
    KIND,
    MARK,
    base_version,
    counts,
    explained,
    headline,
    judgement_of,
    line,
    numbers,
    outcomes,
)
from pipeline.run import Run


def render(run: Run) -> str:
    """The document as text. Whatever a guest printed is escaped: it can make no markup."""
    judgement = judgement_of(run)
    sign = headline(judgement)
    lines = [
        f"## {MARK[sign]} {_md(run.study.content.title)}",
        "",
        f"**{_md(judgement.verdict)}** (exit code {judgement.exit_code}). "
        f"{_md(base_version(run))}, {outcomes(run.cells)}.",
        "",
        "| kernel | verdict | expected | decisions |",
        "|---|---|---|---|",
    ]
    for kernel in judgement.kernels:
        expected = "as expected" if kernel.as_expected else f"**not as expected**: {_md(kernel.difference)}"
        verdict = f"{MARK[kernel.verdict]} {kernel.verdict}"
        lines.append(f"| {_md(kernel.kernel)} | {verdict} | {expected} | {counts(kernel)} |")
    for kernel in judgement.kernels:
        lines += _kernel(run, kernel)
    if judgement.infra:
        lines += ["", "### Spoiled by the surroundings", "", *(f"- {_md(text)}" for text in judgement.infra[:20])]
    return "\n".join(lines) + "\n"


def _kernel(run: Run, kernel: KernelJudgement) -> list[str]:
    shown = [d for d in kernel.decisions if d.verdict != Verdict.PASS or d.kind in ("function", "structure")]
    if not shown:
        return []
    lines = ["", f"### {_md(kernel.kernel)}", "", "| decision | verdict | evidence |", "|---|---|---|"]
    for decision in shown:
        evidence = explained(run, decision) or next((numbers(row) for row in decision.rows if row.values), "")
        title = f"{_md(decision.title)} (`{decision.id}`, {KIND[decision.kind].lower()})"
        lines.append(f"| {title} | {MARK[decision.verdict]} {decision.verdict} | {_md(evidence)[:600]} |")
    return lines


def _md(text: str) -> str:
    """Entities for what is HTML, backslashes for what is Markdown: no renderer reads either as markup."""
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", str(escape(line(text))).replace("&#34;", '"').replace("&#39;", "'"))
