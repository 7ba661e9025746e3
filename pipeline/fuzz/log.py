"""Reads what ``lazyfree_fuzz`` says of a sequence that failed.

Besides its records it prints, as KTAP diagnostics::

    # found: KPV_OPS="..."      the sequence as it was generated
    # shrunk: KPV_OPS="..."     the shorter one
    # | <C>                     a program that replays the shorter one, line by line

and, where it is asked to, on the console ``kpv: sequence <n> of seed <seed>``
before each sequence, for a kernel that dies of one.
"""

import re
from dataclasses import dataclass

from pipeline.judge import tlb
from pipeline.observation import Cell, Outcome

_OPS = re.compile(r'^# (found|shrunk): KPV_OPS="([^"]*)"$', re.MULTILINE)
_C = re.compile(r"^# \|(?: (.*))?$", re.MULTILINE)
_BEGAN = re.compile(r"kpv: sequence (\d+) of seed (-?\d+)")


@dataclass(frozen=True)
class Failure:
    """One sequence that failed.

    ``what``: the invariant's id, or how the guest ended. ``sequence``: its number among those of
    the cell's seed, None where that is not known. ``found`` and ``shrunk``: operations, "" where
    there are none; ``test``: a C program that replays the shrunk ones, "" likewise.
    """

    what: str
    detail: str
    sequence: int | None
    found: str = ""
    shrunk: str = ""
    test: str = ""


def doubt(cell: Cell) -> str:
    """Why a cell that passed shows nothing, "" if it shows something: a TLB model that does not vouch for itself."""
    return tlb.look(cell).doubt if cell.tlb is not None and cell.outcome is Outcome.PASSED else ""


def failure(cell: Cell) -> Failure | None:
    """What failed in a cell; None where nothing did, or where nothing was tried."""
    if cell.tlb is not None and (found := tlb.look(cell).broken):
        return Failure(tlb.INVARIANT, found[0], None)
    if cell.outcome in (Outcome.PASSED, Outcome.SKIPPED, Outcome.NOT_RUN, Outcome.LOST):
        return None
    broken = next((check for check in cell.checks if not check.ok), None)
    if broken is None:
        began = _BEGAN.findall(cell.console)
        return Failure(cell.outcome, cell.reason, int(began[-1][0]) if began else None)
    ops = dict(_OPS.findall(cell.ktap))
    test = "".join(f"{line}\n" for line in _C.findall(cell.ktap))
    return Failure(
        what=broken.name,
        detail=broken.detail,
        sequence=cell.params.get("failed_sequence"),
        found=ops.get("found", ""),
        shrunk=ops.get("shrunk", ""),
        test=test,
    )
