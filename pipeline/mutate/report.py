"""A campaign in words: a line and a table for a person, JSON for a program, the matrix for the documentation."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from pipeline.mutate.record import Result
from pipeline.mutate.score import BAD, Finding, Outcome
from pipeline.report.words import line as one_line
from pipeline.report.words import plural
from pipeline.run import write_text
from pipeline.study import BUILT_IN, Kernel, Study


class Told(Protocol):
    """What is needed of a campaign."""

    study: Study
    kernel: Kernel
    versions: dict[str, str]
    command: str
    all_checks: bool
    folder: Path
    results: tuple[Result, ...]


COLUMNS = ("mutant", "kind", "outcome", "by", "where", "patch", "build", "run")


def dumps(results: Iterable[Result]) -> str:
    """The results as JSON: a list with one object a mutant."""
    return json.dumps([result.model_dump(mode="json") for result in results], ensure_ascii=False, indent=1) + "\n"


def write(campaign: Told, *, json_file: Path | None = None, matrix_file: Path | None = None) -> None:
    """Write what of the campaign is done into its folder, and to the files asked for. Raises InfraError."""
    write_text(campaign.folder / "mutants.json", dumps(campaign.results))
    write_text(campaign.folder / "mutants.md", matrix(campaign))
    if json_file is not None:
        write_text(json_file, dumps(campaign.results))
    if matrix_file is not None:
        write_text(matrix_file, matrix(campaign))


def row(result: Result) -> list[str]:
    """One line of the table on the terminal."""
    times = [f"{seconds:.1f} s" for seconds in (result.times.patch, result.times.build, result.times.run)]
    if result.cached:
        times = ["", "", "recorded"]
    return [result.name, result.kind, result.outcome, ", ".join(_checks(result)), _where(result), *times]


def line(result: Result) -> str:
    """A result in one line: the outcome, what it rests on, and the first words of evidence."""
    match result.outcome:
        case Outcome.NOT_APPLIED | Outcome.NOT_BUILT:
            what = "does not build" if result.outcome == Outcome.NOT_BUILT else "does not apply"
            return one_line(f"{what}: {result.reason}")
        case Outcome.KILLED:
            return one_line(f"killed by {_first(result.killed_by)}")
        case Outcome.REJECTED:
            return one_line(f"legal but rejected by {_first(result.killed_by)}")
        case Outcome.ACCEPTED:
            differs = ", ".join(dict.fromkeys(finding.check for finding in result.structure))
            return "legal and accepted" + (f"; structure differs: {differs}" if differs else "")
        case Outcome.INCONCLUSIVE:
            return one_line(f"inconclusive: {_first(result.inconclusive)}")
    return f"survived all of {', '.join(f'{ran} cells on {machine}' for machine, ran in result.cells.items())}"


def summary(campaign: Told) -> list[str]:
    """What the campaign adds up to, and each mutant that is not as it should be."""
    lines = []
    for kind, good in (("bug", Outcome.KILLED), ("legal", Outcome.ACCEPTED)):
        some = [result for result in campaign.results if result.kind == kind]
        if some:
            counts = Counter(result.outcome for result in some)
            others = ", ".join(f"{counts[each]} {each}" for each in Outcome if each != good and counts[each])
            noun = plural(len(some), "bug" if kind == "bug" else "legal variant")
            lines.append(f"{noun}: {counts[good]} {good}{', ' + others if others else ''}")
    lines += [
        f"{result.name}: {line(result)}"
        for result in campaign.results
        if result.outcome in (*BAD, Outcome.INCONCLUSIVE, Outcome.NOT_BUILT, Outcome.NOT_APPLIED) or result.structure
    ]
    return lines


def matrix(campaign: Told) -> str:
    """The matrix mutant x check as Markdown: which machine's checks fall for which mutant.

    The same results give the same bytes: no time, no date, no count.
    """
    study, results = campaign.study, campaign.results
    checks = [*BUILT_IN, *(invariant.id for invariant in study.invariant), *(claim.id for claim in study.claim)]
    hit = {finding.check for result in results for finding in (*result.killed_by, *result.structure)}
    columns = [check for check in checks if check in hit]
    number = {check: at for at, check in enumerate(columns, 1)}
    structure = {claim.id for claim in study.claim if claim.kind == "structure"}
    lines = [
        f"# Mutants of {_md(study.title)}",
        "",
        "<!-- Generated; the command below writes it anew. -->",
        "",
        f"Each mutant is applied to the kernel `{campaign.kernel.id}`"
        + (f" ({_md(campaign.kernel.title)})" if campaign.kernel.title else "")
        + f" and runs on the machines {_listed([f'`{machine}`' for machine in study.machines])}.",
        "",
        *(f"- {name}: {_md(version)}" for name, version in campaign.versions.items()),
        f"- command: `{campaign.command}`",
        "",
        *(
            []
            if campaign.all_checks
            else ["A mutant ended at its first certain kill: other checks may fall as well.", ""]
        ),
        *(f"- {text}" for text in summary(campaign)[: len({result.kind for result in results})]),
        "",
        "## Mutants",
        "",
        "| mutant | kind | what it breaks, or why it is legal | outcome |",
        "|---|---|---|---|",
        *(
            f"| `{result.name}` | {result.kind} | {_md(result.about or result.title)} | {_outcome(result)} |"
            for result in results
        ),
        "",
        "## Mutant x check",
        "",
        "An entry names the machines on which the check fails; ● stands for all of them "
        f"({', '.join(study.machines)}).",
        "Checks of structure (costs) are marked with \\*; they reject no legal variant.",
        "",
        "| | " + " | ".join(str(number[check]) for check in columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    for result in results:
        found = (*result.killed_by, *result.structure)
        marks = [_mark([each.machine for each in found if each.check == check], study.machines) for check in columns]
        lines.append(f"| `{result.name}` | " + " | ".join(marks) + " |")
    lines += ["", "| | check | title | mutants |", "|---|---|---|---|"]
    titles = BUILT_IN | {entry.id: entry.title for entry in (*study.invariant, *study.claim)}
    for check in columns:
        count = sum(any(each.check == check for each in (*r.killed_by, *r.structure)) for r in results)
        star = "\\*" if check in structure else ""
        lines.append(f"| {number[check]} | `{check}`{star} | {_md(titles[check])} | {count} |")
    idle = [check for check in checks if check not in hit]
    if idle:
        lines += ["", f"No mutant here breaks {_listed([f'`{check}`' for check in idle])}."]
    return "\n".join(lines) + "\n"


def _outcome(result: Result) -> str:
    """The outcome in the matrix: with a reason where it is not as it should be, or rests on a cost alone."""
    if result.outcome in (Outcome.KILLED, Outcome.REJECTED):
        only = " (by structure only)" if all(each.kind == "structure" for each in result.killed_by) else ""
        return f"{result.outcome}{only}"
    if result.outcome == Outcome.ACCEPTED:
        return "accepted" + ("; structure differs" if result.structure else "")
    return _md(line(result))


def _checks(result: Result) -> list[str]:
    """The checks a result rests on, once each; those of structure say so."""
    found = result.killed_by or (result.inconclusive if result.outcome == Outcome.INCONCLUSIVE else result.structure)
    names = dict.fromkeys(f"{each.check}{' (structure)' if each.kind == 'structure' else ''}" for each in found)
    shown = list(names)[:3]
    return [*shown, f"{len(names) - 3} more"] if len(names) > 3 else shown


def _where(result: Result) -> str:
    found = result.killed_by or (result.inconclusive if result.outcome == Outcome.INCONCLUSIVE else result.structure)
    places = dict.fromkeys(_place(each) for each in found)
    more = f" and {len(places) - 1} more" if len(places) > 1 else ""
    return next(iter(places), "") + more


def _place(finding: Finding) -> str:
    return f"{finding.machine}/{finding.cell}" if finding.cell else finding.machine


def _first(found: Sequence[Finding]) -> str:
    """The first finding in full, and how many more checks there are."""
    first = found[0]
    kind = " (structure)" if first.kind == "structure" else ""
    more = len({each.check for each in found}) - 1
    others = f" (and {plural(more, 'other check')})" if more else ""
    return f"{first.check}{kind} on {first.machine}{' in ' + first.cell if first.cell else ''}{others}: {first.message}"


def _mark(machines: Sequence[str], all_machines: Sequence[str]) -> str:
    if not machines:
        return ""
    return "●" if set(machines) >= set(all_machines) else ", ".join(m for m in all_machines if m in machines)


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + f" and {words[-1]}" if len(words) > 1 else "".join(words)


def _md(text: str) -> str:
    """Text on one line in which no Markdown renderer reads markup."""
    return re.sub(r"([\\`*_\[\]|#~<>])", r"\\\1", one_line(text).replace("&", "&amp;"))
