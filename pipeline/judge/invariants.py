"""Invariants: what holds for every correct kernel, from the guest's checks and from how cells and boots ended."""

import re
from collections.abc import Callable
from functools import partial

from pipeline.judge import blocks, steps, tlb
from pipeline.judge.evidence import CLEAN_END, INFRA_ENDS, Evidence, Spot, unmet
from pipeline.judge.model import Decision, Kind, Row, Verdict, worst
from pipeline.observation import Boot, Cell, Outcome
from pipeline.study import BUILT_IN, Invariant, Kernel, matches

PRE_EXISTING = "pre-existing"
#: Ends of a boot (pipeline.guest.ends) that are the kernel's doing.
DEATHS = frozenset({"panic", "oops", "hang", "watchdog", "exited-early"})
#: A cell that ended so says itself what became of the guest.
_TELLING = frozenset({Outcome.PANIC, Outcome.HANG, Outcome.TIMEOUT, Outcome.LOST})


def decide(evidence: Evidence, kernel: Kernel) -> list[Decision]:
    """The built-in invariants, then the study's, on one kernel."""
    built_in = {
        "builds": _builds,
        "boots": _boots,
        "console-clean": _console_clean,
        "completes": _completes,
        blocks.INVARIANT: _block_attributes,
        tlb.INVARIANT: _tlb_rules,
    }
    decisions = [
        _decision(name, title, "built-in", rows)
        for name, title in BUILT_IN.items()
        # Where no folio could be folded there is nothing to say of blocks, nor of TLBs where no machine has a model.
        if (rows := built_in[name](evidence, kernel)) or name not in (blocks.INVARIANT, tlb.INVARIANT)
    ]
    for invariant in evidence.study.invariant:
        rows = (_stated if invariant.holds else _checked)(evidence, kernel, invariant)
        decisions.append(_decision(invariant.id, invariant.title, "invariant", rows))
    return decisions


def summarize(rows: list[Row], *, none: str = "no cell matches") -> tuple[Verdict, str]:
    """The verdict of a decision and its reason in one line, from its rows."""
    verdict = worst(row.verdict for row in rows)
    deciding = [row for row in rows if row.verdict == verdict]
    if verdict == Verdict.PASS:
        return verdict, ""
    if not deciding:
        return verdict, none
    first = deciding[0]
    reason = f"{first.cell}: {first.reason}" if first.reason else first.cell
    return verdict, reason if len(deciding) == 1 else f"{reason} (and {len(deciding) - 1} more)"


def excuse(evidence: Evidence, of: str, spot: Spot) -> str:
    """Id of the study's known finding that a violation matches, "" if none does; the first listed wins."""
    for known in evidence.study.known:
        if (
            known.of == of
            and any(matches(spot.kernel, glob) for glob in known.kernels)
            and any(matches(spot.machine, glob) for glob in known.machines)
            and any(matches(spot.scenario, glob) for glob in known.scenarios)
        ):
            return known.id
    return ""


def _decision(id_: str, title: str, kind: Kind, rows: list[Row]) -> Decision:
    verdict, reason = summarize(rows)
    return Decision(id=id_, title=title, kind=kind, verdict=verdict, reason=reason, rows=tuple(rows))


def _violated(evidence: Evidence, of: str, spot: Spot, text: str, *, on_baseline: bool) -> Row:
    """A FAIL, or KNOWN where the study explains it or the baseline shows it as well."""
    known = excuse(evidence, of, spot)
    if known:
        reason = f"{text}; known: {known}"
        return Row(cell=str(spot), verdict=Verdict.KNOWN, text=text, reason=reason, known=known)
    if on_baseline:
        reason = f"{text}; {PRE_EXISTING}: the baseline shows it too"
        return Row(cell=str(spot), verdict=Verdict.KNOWN, text=text, reason=reason, known=PRE_EXISTING)
    return Row(cell=str(spot), verdict=Verdict.FAIL, text=text, reason=text)


def _shown_by_baseline(evidence: Evidence, kernel: Kernel, spot: Spot, shows: Callable[[Cell], object]) -> bool:
    """Whether ``shows`` holds of a cell of the baseline at the same machine and scenario, booted as it should be."""
    baseline = evidence.study.baseline
    if baseline is None or kernel.role == "baseline":
        return False
    return any(not evidence.unfit_boot(cell) and shows(cell) for cell in evidence.at(spot.on(baseline.id)))


def _stated(evidence: Evidence, kernel: Kernel, invariant: Invariant) -> list[Row]:
    """One row a cell, by the invariant's expression."""
    rows = []
    for spot in evidence.matching(kernel.id, invariant.scenarios, invariant.machines):
        cells = evidence.at(spot)
        if not cells:
            rows.append(Row(cell=str(spot), verdict=Verdict.INCONCLUSIVE, reason=evidence.why_absent(spot)))
        for cell in cells:
            read = steps.read(invariant.holds, invariant.step, cell)
            shown = {"expression": invariant.holds, "values": read.values}
            if reason := evidence.hindrance(cell):
                row = Row(cell=str(spot), verdict=Verdict.INCONCLUSIVE, reason=reason)
            elif read.truth is False:
                also = _shown_by_baseline(
                    evidence,
                    kernel,
                    spot,
                    lambda base: steps.read(invariant.holds, invariant.step, base).truth is False,
                )
                text = f"{invariant.holds}: {read.values}"
                row = _violated(evidence, invariant.id, spot, text, on_baseline=also)
            elif read.truth is True:
                row = Row(cell=str(spot), verdict=Verdict.PASS, text=read.values)
            else:
                row = Row(cell=str(spot), verdict=Verdict.INCONCLUSIVE, reason=read.why)
            rows.append(row.model_copy(update=shown))
    return rows


def _checked(evidence: Evidence, kernel: Kernel, invariant: Invariant) -> list[Row]:
    listed = set(evidence.checking(kernel.id, invariant.id))
    rows = []
    for spot in evidence.planned(kernel.id):
        cells = evidence.at(spot)
        if spot in listed and not cells:
            rows.append(Row(cell=str(spot), verdict=Verdict.INCONCLUSIVE, reason=evidence.why_absent(spot)))
        # A check that fails where the study did not list it is a violation all the same.
        rows += [
            _by_checks(evidence, kernel, invariant.id, spot, cell)
            for cell in cells
            if spot in listed or _broken(cell, invariant.id)
        ]
    return rows


def _broken(cell: Cell, name: str) -> list[str]:
    return [
        check.detail or f"check {name} does not hold" for check in cell.checks if check.name == name and not check.ok
    ]


def _by_checks(evidence: Evidence, kernel: Kernel, name: str, spot: Spot, cell: Cell) -> Row:
    if reason := evidence.unfit_boot(cell):
        return Row(cell=str(spot), verdict=Verdict.INCONCLUSIVE, reason=reason)
    if broken := _broken(cell, name):
        same = _shown_by_baseline(evidence, kernel, spot, lambda base: _broken(base, name))
        return _violated(evidence, name, spot, _listed(broken), on_baseline=same)
    if reason := evidence.hindrance(cell):
        return Row(cell=str(spot), verdict=Verdict.INCONCLUSIVE, reason=reason)
    held = [check for check in cell.checks if check.name == name]
    if not held:
        return Row(cell=str(spot), verdict=Verdict.INCONCLUSIVE, reason="no check observed")
    return Row(cell=str(spot), verdict=Verdict.PASS, text=f"held {len(held)} time{'s' * (len(held) != 1)}")


def _listed(words: list[str]) -> str:
    if len(words) <= 1:
        return "".join(words)
    return f"{words[0]} (and {len(words) - 1} more)"


def _builds(evidence: Evidence, kernel: Kernel) -> list[Row]:
    build = evidence.builds.get(kernel.id)
    spot = Spot(kernel.id, "*", "*")
    if build is None:
        return [Row(cell=kernel.id, verdict=Verdict.INCONCLUSIVE, reason="no build is on record")]
    if build.ok:
        return [Row(cell=kernel.id, verdict=Verdict.PASS, text="built")]
    if build.infra:
        return [Row(cell=kernel.id, verdict=Verdict.INCONCLUSIVE, reason=f"infrastructure: {build.failure}")]
    baseline = evidence.study.baseline
    base = evidence.builds.get(baseline.id) if baseline is not None and kernel.role == "candidate" else None
    also = base is not None and not base.ok and not base.infra
    row = _violated(evidence, "builds", spot, build.failure or "the build failed", on_baseline=also)
    return [row.model_copy(update={"cell": kernel.id})]


def _boots(evidence: Evidence, kernel: Kernel) -> list[Row]:
    rows = []
    for machine in evidence.machines(kernel.id):
        row = _boots_on(evidence, kernel, machine)
        rows.append(row.model_copy(update={"cell": f"{kernel.id}/{machine}"}))
    return rows


def _boots_on(evidence: Evidence, kernel: Kernel, machine: str) -> Row:
    spot = Spot(kernel.id, machine, "*")
    boots = evidence.boots(kernel.id, machine)
    if unfit := next((reason for boot in boots if not boot.failure and (reason := unmet(boot))), ""):
        return Row(cell="", verdict=Verdict.INCONCLUSIVE, reason=unfit)
    if died := next((boot for boot in boots if _kernel_failed(boot)), None):
        baseline = evidence.study.baseline
        also = (
            baseline is not None
            and kernel.role == "candidate"
            and any(_kernel_failed(boot) for boot in evidence.boots(baseline.id, machine))
        )
        return _violated(evidence, "boots", spot, died.failure, on_baseline=also)
    good = [boot for boot in boots if not boot.failure]
    if good:
        return Row(cell="", verdict=Verdict.PASS, text=f"answered over SSH after {good[0].seconds_to_ssh:.1f} s")
    if boots:
        return Row(cell="", verdict=Verdict.INCONCLUSIVE, reason=f"infrastructure: {boots[0].failure}")
    return Row(cell="", verdict=Verdict.INCONCLUSIVE, reason=evidence.why_absent(spot))


def _kernel_failed(boot: Boot) -> bool:
    return bool(boot.failure) and boot.end not in INFRA_ENDS


def _each_cell(
    evidence: Evidence,
    kernel: Kernel,
    name: str,
    violation: Callable[[Cell], str],
    same: Callable[[Cell, Cell], bool],
    passed: str,
) -> list[Row]:
    """One row a planned cell.

    ``violation(cell)`` tells what is wrong, "" if nothing is; ``same(cell, base)`` whether the
    baseline's cell shows it too.
    """
    rows = []
    for spot in evidence.planned(kernel.id):
        cells = evidence.at(spot)
        if not cells:
            rows.append(Row(cell=str(spot), verdict=Verdict.INCONCLUSIVE, reason=evidence.why_absent(spot)))
        for cell in cells:
            if reason := evidence.unfit_boot(cell):
                rows.append(Row(cell=str(spot), verdict=Verdict.INCONCLUSIVE, reason=reason))
            elif text := violation(cell):
                also = _shown_by_baseline(evidence, kernel, spot, partial(same, cell))
                rows.append(_violated(evidence, name, spot, text, on_baseline=also))
            elif reason := evidence.hindrance(cell):
                rows.append(Row(cell=str(spot), verdict=Verdict.INCONCLUSIVE, reason=reason))
            else:
                rows.append(Row(cell=str(spot), verdict=Verdict.PASS, text=passed))
    return rows


def _console_clean(evidence: Evidence, kernel: Kernel) -> list[Row]:
    def same(cell: Cell, base: Cell) -> bool:
        # Another oops at the same place is not the old one.
        return _kinds(cell) <= _kinds(base)

    def finding(cell: Cell) -> str:
        return _listed([line or "a line without text" for line in cell.console_findings])

    return _each_cell(evidence, kernel, "console-clean", finding, same, "nothing found")


def _kinds(cell: Cell) -> set[str]:
    """Console findings without what differs from run to run: times, addresses, numbers."""
    return {re.sub(r"0x[0-9a-f]+|\b[0-9a-f]{8,}\b|[\d.]+", "#", finding) for finding in cell.console_findings}


def _completes(evidence: Evidence, kernel: Kernel) -> list[Row]:
    def same(cell: Cell, base: Cell) -> bool:
        return base.outcome == cell.outcome

    rows = _each_cell(evidence, kernel, "completes", _how_it_broke, same, "ended by itself")
    for machine in evidence.machines(kernel.id):
        for boot in evidence.boots(kernel.id, machine):
            rows.extend(_how_it_ended(evidence, kernel, boot))
    return rows


def _block_attributes(evidence: Evidence, kernel: Kernel) -> list[Row]:
    """One row a cell in which there was a contiguous block, or of which that is not known."""
    rows = []
    for spot in evidence.planned(kernel.id):
        for cell in evidence.at(spot):
            if blocks.PLUGIN not in evidence.plugins(cell):
                continue
            seen = blocks.look(cell)
            if reason := evidence.unfit_boot(cell):
                rows.append(Row(cell=str(spot), verdict=Verdict.INCONCLUSIVE, reason=reason))
            elif seen.broken:
                also = _shown_by_baseline(
                    evidence, kernel, spot, lambda base, rules=seen.rules: rules <= blocks.look(base).rules
                )
                text = _listed(list(seen.broken))
                rows.append(_violated(evidence, blocks.INVARIANT, spot, text, on_baseline=also))
            elif reason := evidence.hindrance(cell) or seen.doubt:
                rows.append(Row(cell=str(spot), verdict=Verdict.INCONCLUSIVE, reason=reason))
            elif seen.blocks:
                rows.append(Row(cell=str(spot), verdict=Verdict.PASS, text=blocks.words(seen)))
    return rows


def _tlb_rules(evidence: Evidence, kernel: Kernel) -> list[Row]:
    """One row a cell that the TLB model watched, or should have."""
    rows = []
    for spot in evidence.planned(kernel.id):
        for cell in evidence.at(spot):
            if tlb.PLUGIN not in evidence.plugins(cell):
                continue
            seen = tlb.look(cell)
            if reason := evidence.unfit_boot(cell):
                rows.append(Row(cell=str(spot), verdict=Verdict.INCONCLUSIVE, reason=reason))
            elif seen.broken:
                also = _shown_by_baseline(
                    evidence, kernel, spot, lambda base, kinds=seen.kinds: kinds <= tlb.look(base).kinds
                )
                rows.append(_violated(evidence, tlb.INVARIANT, spot, _listed(list(seen.broken)), on_baseline=also))
            elif reason := seen.doubt or evidence.hindrance(cell):
                rows.append(Row(cell=str(spot), verdict=Verdict.INCONCLUSIVE, reason=reason))
            else:
                rows.append(Row(cell=str(spot), verdict=Verdict.PASS, text=tlb.words(cell)))
    return rows


def _how_it_broke(cell: Cell) -> str:
    """What became of a cell, if that may be the kernel's fault.

    A test killed by a signal is: SIGSEGV or SIGBUS may come from a wrong PTE. No result and no
    signal (a missing program, say) is not.
    """
    how = f"{cell.outcome}: {cell.reason}" if cell.reason else str(cell.outcome)
    if cell.outcome in (Outcome.TIMEOUT, Outcome.HANG, Outcome.PANIC):
        return how
    if cell.outcome == Outcome.CRASHED and re.search(r"\bsignal \d+|\bSIG[A-Z]{3,}", cell.reason):
        return how
    return ""


def _how_it_ended(evidence: Evidence, kernel: Kernel, boot: Boot) -> list[Row]:
    """A row for a boot that ended badly outside any cell, e.g. a panic between two cells."""
    if boot.failure or boot.end == CLEAN_END or unmet(boot):
        return []
    if boot.end in INFRA_ENDS:  # tells nothing of the kernel; the cells that it cost are lost or not run
        return []
    spots = evidence.planned(kernel.id)
    if any(cell.boot == boot.id and cell.outcome in _TELLING for spot in spots for cell in evidence.at(spot)):
        return []
    name = f"{kernel.id}/{boot.machine}"
    if boot.end in DEATHS:
        text = f"boot {boot.id} ended outside any cell: {boot.end}"
        row = _violated(evidence, "completes", Spot(kernel.id, boot.machine, "*"), text, on_baseline=False)
        return [row.model_copy(update={"cell": name})]
    reason = f"boot {boot.id} ended outside any cell: {boot.end or 'how is not on record'}"
    return [Row(cell=name, verdict=Verdict.INCONCLUSIVE, reason=reason)]
