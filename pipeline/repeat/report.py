"""What differs between the passes of a suite: for a person, and as JSON."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.judge.model import Noun
from pipeline.repeat.record import Pass
from pipeline.report.words import line as one_line

COLUMNS = ("what", "where", "usually", "differs in", "why")
#: Said where a pass has no such cell or verdict at all.
ABSENT = "absent"


class Difference(Noun):
    """Something that is not the same in every pass.

    ``what``: "outcome", or the id of a check. ``where``: a cell, a boot or kernel, or "" for the check as a whole.
    ``usual``: what most passes say. ``others``: number of a pass -> what it says instead; ``reasons`` likewise.
    """

    what: str
    where: str
    usual: str
    others: dict[int, str]
    reasons: dict[int, str]


def differences(passes: Sequence[Pass]) -> list[Difference]:
    """Whatever is not the same in all passes, in the order of the first; an even split counts for the earlier."""
    facts = {each.number: each.facts() for each in passes}
    found = []
    for key in dict.fromkeys(key for each in facts.values() for key in each):
        said = {number: each.get(key, ABSENT) for number, each in facts.items()}
        (usual, count), *_ = Counter(said.values()).most_common(1)
        if count == len(passes):
            continue
        others = {number: what for number, what in said.items() if what != usual}
        reasons = {each.number: why for each in passes if each.number in others and (why := each.reason(*key))}
        found.append(Difference(what=key[0], where=key[1], usual=usual, others=others, reasons=reasons))
    return found


def rows(found: Sequence[Difference]) -> list[list[str]]:
    """The table of differences, see COLUMNS."""
    return [
        [
            each.what,
            each.where or "(all cells)",
            each.usual,
            ", ".join(f"{number}: {what}" for number, what in sorted(each.others.items())),
            one_line(next(iter(each.reasons.values()), "")),
        ]
        for each in found
    ]


def summary(kernel: str, passes: Sequence[Pass], found: Sequence[Difference]) -> str:
    """What the passes of one kernel add up to."""
    cells = len(passes[0].outcomes) if passes else 0
    verdicts = sum(len(where) for where in passes[0].verdicts.values()) if passes else 0
    seconds = sorted(each.seconds for each in passes)
    took = f", {seconds[0]:.0f} to {seconds[-1]:.0f} s each" if seconds else ""
    told = f"{len(found)} differ" if found else "the same each time"
    return f"{kernel}: {len(passes)} passes of {cells} cells and {verdicts} verdicts{took}: {told}"


def dumps(by_kernel: Mapping[str, Sequence[Pass]], *, command: str, wanted: int) -> str:
    """JSON: an object with ``command``, passes ``wanted``, and a list of kernels with passes and differences."""
    kernels: list[dict[str, Any]] = [
        {
            "kernel": kernel,
            "passes": [
                each.model_dump(mode="json", include={"number", "started", "seconds", "boots", "cached"})
                for each in passes
            ],
            "cells": len(passes[0].outcomes) if passes else 0,
            "differences": [each.model_dump(mode="json") for each in differences(passes)],
        }
        for kernel, passes in by_kernel.items()
    ]
    return json.dumps({"command": command, "wanted": wanted, "kernels": kernels}, ensure_ascii=False, indent=1) + "\n"
