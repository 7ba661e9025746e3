"""report.txt: fits a reply on a mailing list, at most 71 columns and 59 lines of plain ASCII where the study allows."""

import textwrap

from pipeline.judge.model import Decision, KernelJudgement, Verdict
from pipeline.report.words import (
    base_version,
    counts,
    expectation,
    explained,
    judgement_of,
    line,
    numbers,
    outcomes,
    plural,
    short,
)
from pipeline.run import Run

WIDTH = 71
LINES = 59
_ORDER = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.KNOWN, Verdict.PASS)


def render(run: Run) -> str:
    """The text. Where there is more to tell than fits, the worst comes first and the rest is counted."""
    head, tail = _head(run), _tail(run)
    room = LINES - len(head) - len(tail)
    lines = [*head, *_decisions(run, room), *tail]
    return "\n".join(entry.rstrip() for entry in lines[:LINES]) + "\n"


def _wrap(text: str, *, first: str = "", rest: str = "", lines: int = 3) -> list[str]:
    return textwrap.wrap(
        line(text),
        WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        max_lines=lines,
        placeholder=" [...]",
        break_on_hyphens=False,
    )


def _head(run: Run) -> list[str]:
    study = run.study.content
    judgement = judgement_of(run)
    machines = ", ".join(study.machines)
    lines = _wrap(study.title, lines=2)
    lines += _wrap(
        f"Tested: {base_version(run)} under {run.host.qemu or 'QEMU'}, machines {machines}; {outcomes(run.cells)}.",
        rest="  ",
    )
    lines += ["", *_wrap(f"Verdict: {judgement.verdict}.")]
    width = max((len(kernel.kernel) for kernel in judgement.kernels), default=0)
    for kernel in judgement.kernels[:8]:
        name = f"  {kernel.kernel:{width}}  {kernel.verdict:12}  "
        lines += _wrap(f"{expectation(kernel)} ({counts(kernel)})", first=name[: WIDTH - 20], rest="      ", lines=2)
    if len(judgement.kernels) > 8:
        lines.append(f"  and {len(judgement.kernels) - 8} more kernels")
    return lines


def _decisions(run: Run, room: int) -> list[str]:
    """Each candidate's claims with their numbers, and whatever does not pass; the worst first."""
    entries: list[tuple[int, int, list[str]]] = []
    kernels = judgement_of(run).kernels
    for at, kernel in enumerate(kernels):
        shown = [d for d in kernel.decisions if d.verdict != Verdict.PASS or d.kind in ("function", "structure")]
        entries += [(_ORDER.index(decision.verdict), at, _decision(run, decision)) for decision in shown]
    # Choose by weight what fits, then print kernel by kernel.
    chosen: list[tuple[int, int, list[str]]] = []
    used = 1 + 2 * len({at for _, at, _ in entries})
    left = 0
    for entry in sorted(entries, key=lambda e: (e[0], e[1])):
        if used + len(entry[2]) > room:
            left += 1
            continue
        chosen.append(entry)
        used += len(entry[2])
    lines: list[str] = []
    for at, kernel in enumerate(kernels):
        mine = [entry for entry in chosen if entry[1] == at]
        if mine:
            lines += ["", *_wrap(_kernel_title(kernel), lines=1)]
            lines += [text for entry in mine for text in entry[2]]
    if left:
        lines.append(f"  and {plural(left, 'more decision')}: see report.html")
    return lines


def _kernel_title(kernel: KernelJudgement) -> str:
    return f"{kernel.kernel}: {kernel.title}" if kernel.title else f"{kernel.kernel}:"


def _decision(run: Run, decision: Decision) -> list[str]:
    first = _wrap(f"{decision.id}: {decision.title}", first=f"  {decision.verdict:12} ", rest=" " * 15, lines=2)
    told = explained(run, decision)
    row = next((row for row in decision.rows if row.verdict == decision.verdict and row.values), None)
    if row is not None and decision.verdict in (Verdict.PASS, Verdict.FAIL):
        same = sum(other.verdict == decision.verdict for other in decision.rows)
        told = f"{numbers(row)} ({_place(row.cell)}, {plural(same, 'cell')})"
    return first + (_wrap(told, first=" " * 15, rest=" " * 15, lines=3) if told else [])


def _place(cell: str) -> str:
    return cell.split("/", 1)[-1]


def _tail(run: Run) -> list[str]:
    judgement = judgement_of(run)
    lines = [""]
    if judgement.known_not_seen:
        fixed = [f"{entry.known} on {entry.kernel}" for entry in judgement.known_not_seen if entry.fixed]
        if fixed:
            lines += _wrap(f"Known findings that no longer occur: {', '.join(fixed)}.", rest="  ", lines=2)
    if judgement.infra:
        lines += _wrap(f"Spoiled by the surroundings: {'; '.join(judgement.infra)}.", rest="  ", lines=2)
    if judgement.control:
        lines += _wrap(f"Control: {judgement.control}.", rest="  ", lines=2)
    lines += _wrap(
        "Limits: emulation (TCG) ignores the contiguous bit and shows one interleaving; costs are counts, not time.",
        rest="  ",
    )
    lines += ["", f"Reproduce (kpv {line(run.kpv)[:20]}):"]
    words = list(run.command) or ["kpv", "validate", run.study.file]
    lines += _wrap(" ".join(["kpv", *words[1:]]), first="  ", rest="    ", lines=2)
    lines.append(f"  study sha256 {short(run.study.sha256, 16)}")
    for kernel in run.kernels[:6]:
        lines += _wrap(
            f"{kernel.id}: config {short(kernel.config_sha256)} image {short(kernel.image_sha256)}",
            first="  ",
            rest="    ",
            lines=1,
        )
    return lines
