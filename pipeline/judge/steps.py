"""Expressions over the steps of a cell: every step of a name must make one true."""

from dataclasses import dataclass

from pipeline.judge.expr import Truth, Undecided, conjunction, evaluate
from pipeline.observation import Cell


@dataclass(frozen=True)
class Reading:
    """An expression over the steps of a cell: its truth and the values it rests on."""

    truth: Truth
    values: str = ""

    @property
    def why(self) -> str:
        return self.truth.reason if isinstance(self.truth, Undecided) else ""


def read(text: str, step: str, cell: Cell) -> Reading:
    """An expression over every step of that name; undecided where the cell has none."""
    steps = [one for one in cell.steps if one.name == step]
    if not steps:
        return Reading(Undecided(f"no step {step!r} observed"))
    found = [evaluate(text, one, cell.params) for one in steps]
    truth = conjunction([one.truth for one in found])
    # The values shown are those of the step that decides.
    deciding = next((one for one in found if type(one.truth) is type(truth) and one.truth == truth), found[0])
    return Reading(truth, str(deciding))
