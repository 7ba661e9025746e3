"""report.txt: fits a reply on a mailing list, at most 71 columns and 59 lines of plain ASCII where the study allows.

What was tested, the verdict of each kernel, each claim with its numbers and whatever does not hold,
what the emulator cannot show, how to repeat it. Trailers only where somebody asks for one.
"""

import textwrap

from pipeline.errors import UserError
from pipeline.judge.model import Decision, Judgement, KernelJudgement, Verdict
from pipeline.report import tlb
from pipeline.report.reproduce import STDIN, reads_stdin
from pipeline.report.words import (
    base_version,
    counts,
    expectation,
    fact,
    judgement_of,
    line,
    missed_failure,
    numbers,
    outcomes,
    plural,
    short,
    watched,
)
from pipeline.run import Run

WIDTH = 71
LINES = 59
_ORDER = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.KNOWN, Verdict.PASS)
_INDENT = " " * 9
_DOTS = " ..."
#: From so many failures of one kernel on, each has one line of evidence instead of two.
_MANY = 6


def render(run: Run, *, tested_by: str = "") -> str:
    """The text. Where there is more to tell than fits, the worst comes first and the rest is counted.

    ``tested_by``: ``Name <address>`` for a Tested-by trailer at the end. Raises UserError where the run gives no
    ground for one.
    """
    head, tail = _head(run), [*_tail(run), *_trailer(run, tested_by)]
    room = LINES - len(head) - len(tail)
    lines = [*head, *_decisions(run, room), *tail]
    return "\n".join(entry.rstrip() for entry in lines[:LINES]) + "\n"


def wrap(text: str, *, first: str = "", rest: str = "", lines: int = 3) -> list[str]:
    """A text as lines of at most ``WIDTH`` columns, ``lines`` of them; what is left off shows as dots."""
    return textwrap.wrap(
        line(text),
        WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        max_lines=lines,
        placeholder=_DOTS,
        break_on_hyphens=False,
    )


def _head(run: Run) -> list[str]:
    study = run.study.content
    judgement = judgement_of(run)
    host = run.host.qemu.partition(" (")[0].replace("emulator version ", "") or "QEMU"
    lines = wrap(study.title, lines=2)
    facts = [("Base", base_version(run), 2)]
    for kernel in [k for k in run.kernels if k.role == "candidate"][:3]:
        subjects = [patch.subject for patch in kernel.series]
        more = f"; and {len(subjects) - 2} more" if len(subjects) > 2 else ""
        told = "; ".join(subjects[:2]) + more if subjects else "the base as it is"
        facts.append(("Tested", f"{kernel.id}: {told}", 2))
    if fragments := dict.fromkeys(name for kernel in run.kernels for name in kernel.fragments):
        facts.append(("Config", f"allnoconfig + {' + '.join(fragments)}", 2))
    facts.append(("Machines", f"{', '.join(study.machines)}; {host}, emulated", 2))
    facts.append(("Cells", f"{len(run.cells)}: {outcomes(run.cells)}", 1))
    lines.append("")
    for name, told, most in facts:
        lines += wrap(told, first=f"{name + ':':10}", rest=" " * 10, lines=most)
    lines += ["", *wrap(f"Verdict: {judgement.verdict}.")]
    width = max((len(kernel.kernel) for kernel in judgement.kernels), default=0)
    for kernel in judgement.kernels[:6]:
        name = f"  {kernel.kernel:{width}}  {kernel.verdict:12}  "
        lines += wrap(f"{expectation(kernel)} ({counts(kernel)})", first=name[: WIDTH - 20], rest="      ", lines=2)
    if len(judgement.kernels) > 6:
        lines.append(f"  and {len(judgement.kernels) - 6} more kernels")
    return lines


def _decisions(run: Run, room: int) -> list[str]:
    """Each candidate's claims with their numbers, and whatever does not hold.

    Chosen by weight: what fails first, then by turns one of each kernel; printed kernel by kernel.
    """
    kernels = judgement_of(run).kernels
    queue: list[tuple[tuple[int, ...], int, int, list[str]]] = []
    for at, kernel in enumerate(kernels):
        shown = [
            d
            for d in kernel.decisions
            if d.verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE)
            or missed_failure(kernel, d)
            or (d.verdict == Verdict.PASS and d.kind in ("function", "structure"))
        ]
        shown.sort(key=lambda d: _weight(kernel, d))
        lines = 2 if sum(d.verdict != Verdict.PASS for d in shown) < _MANY else 1
        for place, decision in enumerate(shown):
            weight = _weight(kernel, decision)
            if weight == _ORDER.index(Verdict.PASS):  # one of each kernel by turns, those that pass first
                turn = (weight, place, _ORDER.index(kernel.verdict) != weight, at)
            else:
                turn = (weight, at, place, 0)
            queue.append((turn, at, place, _decision(kernel, decision, lines=lines)))
    chosen: dict[int, list[tuple[int, list[str]]]] = {}
    used, left = 1, 0
    for _, at, place, entry in sorted(queue, key=lambda item: item[0]):
        cost = len(entry) + (0 if at in chosen else 2)
        if used + cost > room:
            left += 1
            continue
        chosen.setdefault(at, []).append((place, entry))
        used += cost
    lines: list[str] = []
    for at in sorted(chosen):
        lines += ["", *wrap(_kernel_title(kernels[at]), lines=1)]
        lines += [text for _, entry in sorted(chosen[at]) for text in entry]
    if left:
        lines.append(f"  and {plural(left, 'more claim')}: see report.html")
    return lines


def _weight(kernel: KernelJudgement, decision: Decision) -> int:
    return 0 if missed_failure(kernel, decision) else _ORDER.index(decision.verdict)


def _kernel_title(kernel: KernelJudgement) -> str:
    return f"{kernel.kernel}: {kernel.title}" if kernel.title else f"{kernel.kernel}:"


def _decision(kernel: KernelJudgement, decision: Decision, *, lines: int) -> list[str]:
    """One line for what holds; a title and ``lines`` with the numbers, or the reason, for what does not hold."""
    row = next((row for row in decision.rows if row.verdict == decision.verdict and row.values), None)
    told = numbers(row) if row is not None else ""
    first = f"  {decision.verdict:6} "
    if missed_failure(kernel, decision):
        return wrap(f"{decision.id} was expected to fail: {told}", first=first, rest=_INDENT, lines=2)
    if decision.verdict == Verdict.PASS:
        return wrap(f"{decision.id}: {told or decision.title}", first=first, rest=_INDENT, lines=1)
    variants = [decision.reason.removeprefix(f"{kernel.kernel}/")]
    if row is not None and decision.verdict == Verdict.FAIL:
        same = sum(other.verdict == decision.verdict for other in decision.rows)
        share = f"{told} in {same} of {plural(len(decision.rows), 'cell')}"
        variants = [f"{share}, {_place(row.cell)}", share, told]
    evidence = _fits(variants, _INDENT, lines) if any(variants) else []
    titles = [f"{decision.title} ({decision.id})", decision.title, f"{decision.id}: {decision.title}"]
    return _fits(titles, first, 1) + evidence


def _fits(variants: list[str], first: str, lines: int) -> list[str]:
    """The first of the variants that needs no more lines, else the last, cut."""
    for text in variants:
        whole = wrap(text, first=first, rest=_INDENT, lines=99)
        if len(whole) <= lines:
            return whole
    return wrap(variants[-1], first=first, rest=_INDENT, lines=lines)


def _place(cell: str) -> str:
    return cell.split("/", 1)[-1]


def _tail(run: Run) -> list[str]:
    judgement = judgement_of(run)
    lines = ["", *_known(judgement)]
    if judgement.known_not_seen:
        fixed = [f"{entry.known} on {entry.kernel}" for entry in judgement.known_not_seen if entry.fixed]
        if fixed:
            lines += wrap(f"Known findings that no longer occur: {', '.join(fixed)}.", rest="  ", lines=2)
    if judgement.infra:
        lines += wrap(f"Spoiled by the surroundings: {'; '.join(judgement.infra)}.", rest="  ", lines=2)
    lines += wrap(tlb.sentence(run), rest="  ", lines=4)
    if judgement.control:
        lines += wrap(f"Control: {judgement.control}.", rest="  ", lines=2)
    model = f"a TLB model watched on {', '.join(watched(run))}" if watched(run) else "no TLB model watched"
    lines += wrap(
        f"Limits: emulation (TCG) ignores the contiguous bit, {model}; one interleaving; costs are counts, not time.",
        rest="  ",
    )
    lines += ["", f"Reproduce (kpv {line(run.kpv)[:20]}{f' at {run.host.kpv_git}' if run.host.kpv_git else ''}):"]
    words = list(run.command) or ["kpv", "validate", run.study.file]
    stdin = f" < {STDIN}" if reads_stdin(run) else ""
    lines += wrap(" ".join(["kpv", *words[1:]]) + stdin, first="  ", rest="    ", lines=2)
    lines.append(f"  study sha256 {short(run.study.sha256, 16)}")
    for kernel in run.kernels[:6]:
        lines += wrap(
            f"{kernel.id}: config {short(kernel.config_sha256)} image {short(kernel.image_sha256)}",
            first="  ",
            rest="    ",
            lines=1,
        )
    return lines


def _known(judgement: Judgement) -> list[str]:
    """What does not hold and is understood, by finding, with the kernels that show it."""
    seen: dict[str, list[str]] = {}
    for kernel in judgement.kernels:
        for decision in kernel.decisions:
            if decision.verdict == Verdict.KNOWN:
                for name in decision.known:
                    seen.setdefault(name if name != "pre-existing" else f"{decision.id}, pre-existing", []).append(
                        kernel.kernel
                    )
    told = "; ".join(f"{name} ({', '.join(dict.fromkeys(kernels))})" for name, kernels in seen.items())
    return wrap(f"Known, see report.html: {told}.", rest="  ", lines=3) if told else []


def _trailer(run: Run, tested_by: str) -> list[str]:
    if not tested_by:
        return []
    name, _, address = line(tested_by).partition(" <")
    if not name or not address.endswith(">") or "@" not in address:
        raise UserError(
            f"a trailer wants 'Name <address>', found {tested_by!r}", hint="e.g. 'Jane Doe <jane@example.org>'"
        )
    candidates = [kernel for kernel in judgement_of(run).kernels if kernel.role == "candidate"]
    odd = [f"{kernel.kernel} is judged {kernel.verdict}" for kernel in candidates if kernel.verdict != Verdict.PASS]
    if odd or not candidates:
        raise UserError(
            f"no Tested-by from this run: {', '.join(odd) or 'it has no candidate'}",
            hint="run the study with the kernel that passes alone, e.g. kpv validate STUDY -k NAME",
        )
    made = fact(run, candidates[-1].kernel)
    where = f" # {made.version}, arm64 under QEMU TCG" if made and made.version else ""
    return ["", f"Tested-by: {name} <{address}{where}"]
