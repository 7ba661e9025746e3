"""The matrix mutant x check as Markdown, for the documentation: which machine's checks fall for which mutant.

The same results give the same bytes: there is no time, date or count of cells in it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from pipeline.mutate.record import Result
from pipeline.mutate.report import line, summary
from pipeline.mutate.score import Outcome
from pipeline.report.words import line as one_line
from pipeline.study import BUILT_IN, Kernel, Study


def render(
    study: Study, kernel: Kernel, results: Sequence[Result], *, versions: Mapping[str, str], command: str, whole: bool
) -> str:
    """The document. ``whole``: the results are of all checks, not up to the first kill only."""
    titles = BUILT_IN | {entry.id: entry.title for entry in (*study.invariant, *study.claim)}
    fell = {check: [result for result in results if check in _broken(result)] for check in titles}
    checks = [check for check in titles if fell[check]]
    costs = {claim.id for claim in study.claim if claim.kind == "structure"}
    idle = [f"`{check}`" for check in titles if not fell[check] and check not in BUILT_IN]
    lines = [
        f"# Mutants of {_md(study.title)}",
        "",
        "<!-- Generated; the command below writes it anew. -->",
        "",
        f"Each mutant is applied to the kernel `{kernel.id}`{f' ({_md(kernel.title)})' if kernel.title else ''}"
        f" and runs on the machines {_listed([f'`{machine}`' for machine in study.machines])}.",
        "",
        *(f"- {name}: {_md(version)}" for name, version in versions.items()),
        f"- command: `{command}`",
        *(f"- {text}" for text in summary(results)[: len({result.kind for result in results})]),
        "",
        "## Mutants",
        "",
        *_table(
            ("mutant", "kind", "what it breaks, or why it is legal", "outcome"),
            ((f"`{each.name}`", each.kind, _md(each.about or each.title), _outcome(each)) for each in results),
        ),
        "",
        "## Checks that fall",
        "",
        *_table(
            ("", "check", "title", "mutants"),
            (
                (str(number), f"`{check}`{' (structure)' if check in costs else ''}", _md(titles[check]),
                 str(len(fell[check])))
                for number, check in enumerate(checks, 1)
            ),
        ),
        "",
        *([f"No mutant here breaks {_listed(idle)}.", ""] if idle else []),
        "## Mutant x check",
        "",
        "An entry names the machines on which the check of that number fails; ● stands for all of them.",
        *([] if whole else ["A mutant ended at its first certain kill: other checks may fall as well."]),
        "",
        *_table(
            ("", *(str(number) for number, _ in enumerate(checks, 1))),
            (
                (f"`{each.name}`", *(_mark(_broken(each).get(check, ()), study.machines) for check in checks))
                for each in results
            ),
        ),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _broken(result: Result) -> dict[str, list[str]]:
    """The machines on which each check fails, of those that a result rests on."""
    found: dict[str, list[str]] = {}
    for each in (*result.killed_by, *result.structure):
        found.setdefault(each.check, []).append(each.machine)
    return found


def _outcome(result: Result) -> str:
    """The outcome; with a reason where the matrix does not show it."""
    if result.outcome in (Outcome.KILLED, Outcome.REJECTED):
        return (
            f"{result.outcome}{' (by structure only)' if all(k.kind == 'structure' for k in result.killed_by) else ''}"
        )
    if result.outcome == Outcome.ACCEPTED:
        return "accepted; structure differs" if result.structure else "accepted"
    return "survived" if result.outcome == Outcome.SURVIVED else _md(line(result))


def _mark(machines: Sequence[str], every: Sequence[str]) -> str:
    if not machines:
        return ""
    return "●" if set(machines) >= set(every) else ", ".join(machine for machine in every if machine in machines)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cells) + " |" for cells in lines]


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + f" and {words[-1]}" if len(words) > 1 else "".join(words)


def _md(text: str) -> str:
    """Text on one line in which no Markdown renderer reads markup."""
    return re.sub(r"([\\`*_\[\]|#~<>])", r"\\\1", one_line(text).replace("&", "&amp;"))
