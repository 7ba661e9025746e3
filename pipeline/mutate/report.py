"""A campaign in words: a line and a table for a person, JSON for a program."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence

from pipeline.mutate.record import Result
from pipeline.mutate.score import BAD, Finding, Outcome
from pipeline.report.words import line as one_line
from pipeline.report.words import plural

COLUMNS = ("mutant", "kind", "outcome", "by", "where", "patch", "build", "run")


def dumps(results: Iterable[Result]) -> str:
    """The results as JSON: a list with one object a mutant."""
    return json.dumps([result.model_dump(mode="json") for result in results], ensure_ascii=False, indent=1) + "\n"


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
            why = _first(result.inconclusive) if result.inconclusive else result.reason
            return one_line(f"inconclusive: {why}")
    cells = ", ".join(f"{ran} cells on {machine}" for machine, ran in result.cells.items())
    return f"survived: {cells}{'; ' + result.reason if result.reason else ''}"


def summary(results: Sequence[Result]) -> list[str]:
    """What the campaign adds up to, and each mutant that is not as it should be."""
    lines = []
    for kind, good in (("bug", Outcome.KILLED), ("legal", Outcome.ACCEPTED)):
        some = [result for result in results if result.kind == kind]
        if some:
            counts = Counter(result.outcome for result in some)
            others = ", ".join(f"{counts[each]} {each}" for each in Outcome if each != good and counts[each])
            noun = plural(len(some), "bug" if kind == "bug" else "legal variant")
            lines.append(f"{noun}: {counts[good]} {good}{', ' + others if others else ''}")
    lines += [
        f"{result.name}: {line(result)}"
        for result in results
        if result.outcome in (*BAD, Outcome.INCONCLUSIVE, Outcome.NOT_BUILT, Outcome.NOT_APPLIED) or result.structure
    ]
    return lines


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
