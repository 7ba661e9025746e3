"""What every form of the report says: the same facts in the same words. Strings here are plain, not escaped."""

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath

from pipeline.judge.model import Decision, Judgement, KernelJudgement, Row, Verdict, worst
from pipeline.observation import Cell, Outcome
from pipeline.run import KernelFact, Run

#: Verdicts are told by shape as well as by word and colour.
MARK = {Verdict.PASS: "✓", Verdict.FAIL: "✗", Verdict.INCONCLUSIVE: "?", Verdict.KNOWN: "≈"}
KIND = {
    "built-in": "Every kernel",
    "invariant": "Invariants",
    "function": "Claims on function",
    "structure": "Claims on structure (cost)",
}

#: What holds of every run under emulation, whatever the study.
EMULATOR = (
    "QEMU's TCG never looks at the contiguous bit: a misprogrammed contiguous block, or a missing "
    "break-before-make, boots and passes every functional test. Page tables are held against the architecture's "
    "rules at the steps of each test; between two of them only a machine with a TLB model watches.",
    "A missing TLB invalidation does show, as a stale entry that lets a write pass unnoticed.",
    "No time is measured. Costs are counts: splits, marks, conversions, TLB invalidations.",
    "One interleaving of the CPUs was seen, that of the emulator. A race that did not show is not a race excluded.",
)

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
#: What XML 1.0 cannot hold (https://www.w3.org/TR/xml/#charsets), and C1 controls, which terminals obey.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def clean(text: str) -> str:
    """Text of a guest without terminal sequences and control characters; tabs and newlines stay."""
    return _CONTROL.sub("", _ANSI.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))


def line(text: str) -> str:
    """Clean text on one line."""
    return " ".join(clean(text).split())


def cut(text: str, *, lines: int, chars: int) -> tuple[str, int]:
    """The last ``lines`` lines and ``chars`` characters of a clean text, and how many lines were left off.

    The end is kept: that is where a guest tells what went wrong.
    """
    every = clean(text).rstrip("\n").split("\n")
    kept = every[-lines:]
    while len(kept) > 1 and sum(map(len, kept)) + len(kept) > chars:
        kept = kept[1:]
    return "\n".join(kept)[-chars:], len(every) - len(kept)


def plural(count: int, word: str) -> str:
    return f"{count} {word}{'s' * (count != 1)}"


def short(digest: str, length: int = 12) -> str:
    """The start of a hash; "unknown" for none."""
    return digest[:length] or "unknown"


def judgement_of(run: Run) -> Judgement:
    """The run's judgement; a report is made of judged runs only."""
    if run.judgement is None:
        raise ValueError("the run has no judgement; use Run.judged()")
    return run.judgement


def headline(judgement: Judgement) -> Verdict:
    """The run as one sign: PASS where each kernel is judged as expected, FAIL where one definitely is not."""
    return {0: Verdict.PASS, 1: Verdict.FAIL}.get(judgement.exit_code, Verdict.INCONCLUSIVE)


def expectation(kernel: KernelJudgement) -> str:
    """``as expected``, or how it differs."""
    return "as expected" if kernel.as_expected else f"NOT as expected: {kernel.difference}"


def counts(kernel: KernelJudgement) -> str:
    """``12 PASS, 1 KNOWN``, the worst first."""
    order = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.KNOWN, Verdict.PASS)
    return ", ".join(f"{kernel.count(verdict)} {verdict}" for verdict in order if kernel.count(verdict))


def is_expected(kernel: KernelJudgement, decision: Decision) -> bool:
    """Whether a decision that does not hold is what the study expects of this kernel: no CI turns red for it."""
    if decision.verdict == Verdict.FAIL and kernel.expected == Verdict.FAIL:
        return not kernel.expected_failing or decision.id in kernel.expected_failing
    return decision.verdict == Verdict.INCONCLUSIVE == kernel.expected


def missed_failure(kernel: KernelJudgement, decision: Decision) -> bool:
    """Whether a decision was expected to fail on this kernel, and does not: as bad as a failure not expected."""
    return decision.id in kernel.expected_failing and decision.verdict != Verdict.FAIL


def expected_cells(run: Run) -> set[str]:
    """Cells of which everything that does not hold is expected of their kernel."""
    expected: set[str] = set()
    others: set[str] = set()
    for kernel in judgement_of(run).kernels:
        for decision in kernel.decisions:
            bad = {row.cell for row in decision.rows if row.verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE)}
            (expected if is_expected(kernel, decision) else others).update(bad)
    return expected - others


def numbers(row: Row) -> str:
    """``mthp.split 4 -> 0``: counters of the baseline and of the candidate; without a baseline, the candidate's alone.

    Params are the test's own input and the same on both sides, so they are left out.
    """
    ours, base = _values(row.values), _values(row.baseline_values)
    both = [f"{name} {base[name]} -> {value}" for name, value in ours.items() if name in base]
    alone = [f"{name} = {value}" for name, value in ours.items() if name not in base]
    theirs = [f"baseline {name} = {value}" for name, value in base.items() if name not in ours]
    return ", ".join(both + alone + theirs)


def _values(text: str) -> dict[str, str]:
    pairs = (part.split(" = ", 1) for part in text.split(", ") if " = " in part)
    return {name: value for name, value in pairs if not name.startswith("param.")}


def explained(run: Run, decision: Decision) -> str:
    """The reason of a decision, with what the study says of the known findings in it."""
    known = {entry.id: entry.explanation for entry in run.study.content.known}
    told = [f"{name}: {known[name]}" for name in decision.known if name in known]
    return ". ".join([decision.reason, *told]) if told else decision.reason


def cell_verdicts(run: Run) -> dict[str, tuple[Verdict, str]]:
    """Each cell's share in the verdict: the worst of the rows decided on it, with the first reason of that kind."""
    rows: dict[str, list[tuple[Decision, Row]]] = {}
    for kernel in judgement_of(run).kernels:
        for decision in kernel.decisions:
            for row in decision.rows:
                rows.setdefault(row.cell, []).append((decision, row))
    found = {}
    for cell in run.cells:
        of_cell = rows.get(cell.name, [])
        if not of_cell:
            found[cell.name] = (Verdict.INCONCLUSIVE, "the study does not ask for this cell")
            continue
        verdict = worst(row.verdict for _, row in of_cell)
        decision, row = next((d, r) for d, r in of_cell if r.verdict == verdict)
        reason = "" if verdict == Verdict.PASS else f"{decision.id}: {row.reason or row.text}"
        found[cell.name] = (verdict, reason)
    return found


def outcomes(cells: Iterable[Cell]) -> str:
    """``118 passed, 2 skipped``, in the order of Outcome."""
    tally = [cell.outcome for cell in cells]
    return ", ".join(f"{tally.count(outcome)} {outcome}" for outcome in Outcome if outcome in tally) or "no cells"


def base_version(run: Run) -> str:
    """Version and source of the common tree: ``6.12.117 (Debian linux-source-6.12 6.12.117-1)``, ``6.12.0 (git v6.12
    (adc218676eef))``. Of a folder only the name: its path is nobody else's business."""
    versions = dict.fromkeys(kernel.version for kernel in run.kernels if kernel.version)
    sources = dict.fromkeys(kernel.source for kernel in run.kernels if kernel.source)
    shown = [f"folder {PurePath(s[7:]).name}" if s.startswith("folder ") else s for s in sources]
    return f"{', '.join(versions) or 'unknown version'} ({', '.join(shown) or run.study.content.source.tree})"


def watched(run: Run) -> list[str]:
    """Ids of the run's machines that had a TLB model."""
    return [name for name, profile in run.machines.items() if profile.get("tlb")]


def fact(run: Run, kernel: str) -> KernelFact | None:
    return next((fact for fact in run.kernels if fact.id == kernel), None)


def machine_line(profile: Mapping[str, object]) -> str:
    """A machine profile in one line: what matters to a reader first, then the rest in order."""
    rest = {key: value for key, value in profile.items() if key not in ("id", "title") and value not in ([], "", None)}
    return ", ".join(f"{key} {_plain(value)}" for key, value in rest.items())


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value)
