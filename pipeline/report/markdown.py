"""summary.md: what a CI job shows on its page, and GitHub as a step's summary.

What does not pass is in sight, what passes is folded away. Whatever a guest printed is escaped: it can make no markup.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from markupsafe import escape

from pipeline.errors import InfraError
from pipeline.judge.model import Decision, KernelJudgement, Verdict
from pipeline.report import tlb
from pipeline.report.words import (
    KIND,
    MARK,
    base_version,
    counts,
    explained,
    headline,
    is_expected,
    judgement_of,
    line,
    missed_failure,
    numbers,
    outcomes,
    plural,
    short,
)
from pipeline.run import KernelFact, Run

#: A step's summary of more than 1 MiB is refused whole (docs.github.com, workflow commands, step summaries).
LIMIT = 2**20
_ROW_CHARS = 600
#: Left for the heads of sections and for what is said of rows that do not fit.
_SPARE = 4096


def render(run: Run, *, limit: int = LIMIT) -> str:
    """The document as text, of at most ``limit`` bytes; rows that do not fit are counted, those that pass first."""
    head = _head(run)
    sections = [(kernel, *_rows(run, kernel)) for kernel in judgement_of(run).kernels]
    room = limit - _SPARE - sum(_size(entry) for entry in head)
    bad = _fitting([row for _, rows, _ in sections for row in rows], room)
    good = _fitting([row for _, _, rows in sections for row in rows], room - sum(map(_size, bad)))
    fits = {*bad, *good}
    lines = list(head)
    for kernel, shown, passing in sections:
        kept, folded = [row for row in shown if row in fits], [row for row in passing if row in fits]
        if shown or passing:
            lines += ["", f"### {escaped(kernel.kernel)}", ""]
        if shown:
            lines += ["| decision | verdict | evidence |", "|---|---|---|", *kept, *_left(len(shown) - len(kept))]
        if passing:
            lines += ["", f"<details><summary>{plural(len(passing), 'claim')} that hold{'s' * (len(passing) == 1)}"]
            lines[-1] += "</summary>"
            lines += ["", "| claim | evidence |", "|---|---|", *folded, *_left(len(passing) - len(folded))]
            lines += ["", "</details>"]
    return "\n".join(lines) + "\n"


def tell_github(run: Run, environ: Mapping[str, str]) -> None:
    """Append the summary to the file that ``$GITHUB_STEP_SUMMARY`` names, if it is set, within what GitHub takes.

    Raises InfraError where the file cannot be written.
    """
    if not (name := environ.get("GITHUB_STEP_SUMMARY")):
        return
    path = Path(name)
    try:
        used = path.stat().st_size if path.exists() else 0
        with path.open("a", encoding="utf-8") as file:
            file.write(render(run, limit=max(0, LIMIT - used)))
    except OSError as err:
        raise InfraError(
            f"{path}: cannot write the step's summary: {err.strerror}", hint="unset GITHUB_STEP_SUMMARY"
        ) from err


def _head(run: Run) -> list[str]:
    judgement = judgement_of(run)
    lines = [
        f"## {MARK[headline(judgement)]} {escaped(run.study.content.title)}",
        "",
        f"**{escaped(judgement.verdict)}** (exit code {judgement.exit_code}). "
        f"{escaped(base_version(run))}, {outcomes(run.cells)}.",
        "",
        "| kernel | verdict | expected | decisions | patches | config |",
        "|---|---|---|---|---|---|",
    ]
    made = {kernel.id: kernel for kernel in run.kernels}
    for kernel in judgement.kernels:
        differs = f"**not as expected**: {escaped(kernel.difference[:_ROW_CHARS])}"
        expected = "as expected" if kernel.as_expected else differs
        verdict = f"{MARK[kernel.verdict]} {kernel.verdict}"
        facts = _facts(made.get(kernel.kernel))
        lines.append(f"| {escaped(kernel.kernel)} | {verdict} | {expected} | {counts(kernel)} | {facts} |")
    if told := tlb.sentence(run):
        lines += ["", escaped(told)]
    if judgement.infra:
        lines += ["", "### Spoiled by the surroundings", "", *(f"- {escaped(text)}" for text in judgement.infra[:20])]
    return lines


def _facts(kernel: KernelFact | None) -> str:
    if kernel is None:
        return "|"
    subjects = "<br>".join(escaped(patch.subject) for patch in kernel.series[:10])
    more = len(kernel.series) - 10
    return f"{subjects}{f'<br>and {more} more' if more > 0 else ''} | `{short(kernel.config_sha256)}`"


def _rows(run: Run, kernel: KernelJudgement) -> tuple[list[str], list[str]]:
    """The rows of what does not hold, the worst first, and of the claims that hold."""
    bad = [d for d in kernel.decisions if d.verdict != Verdict.PASS or missed_failure(kernel, d)]
    bad.sort(key=lambda d: (d.verdict == Verdict.KNOWN, is_expected(kernel, d), d.verdict != Verdict.FAIL))
    good = [d for d in kernel.decisions if d not in bad and d.kind in ("function", "structure")]
    shown = []
    for decision in bad:
        told = f"{MARK[decision.verdict]} {decision.verdict}"
        told += ", as expected" * is_expected(kernel, decision)
        told += ", was expected to fail" * missed_failure(kernel, decision)
        evidence = explained(run, decision) or _numbers(decision)
        shown.append(f"| {_title(decision)} | {told} | {escaped(evidence[:_ROW_CHARS])} |")
    return shown, [f"| {_title(decision)} | {escaped(_numbers(decision)[:_ROW_CHARS])} |" for decision in good]


def _title(decision: Decision) -> str:
    return f"{escaped(decision.title)} (`{decision.id}`, {KIND[decision.kind].lower()})"


def _numbers(decision: Decision) -> str:
    return next((numbers(row) for row in decision.rows if row.values), "")


def _fitting(rows: list[str], room: int) -> list[str]:
    """The rows, in order, as long as they fit into ``room`` bytes."""
    kept = []
    for row in rows:
        room -= _size(row)
        if room < 0:
            break
        kept.append(row)
    return kept


def _size(row: str) -> int:
    return len(row.encode()) + 1


def _left(count: int) -> list[str]:
    return ["", f"and {plural(count, 'more decision')}: see report.html"] if count else []


def escaped(text: str) -> str:
    """Entities for what is HTML, backslashes for what is Markdown: no renderer reads either as markup."""
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", str(escape(line(text))).replace("&#34;", '"').replace("&#39;", "'"))
