"""Cuts a boot's trace into cells, at the markers that the runner wrote."""

import re
from collections.abc import Iterable

_BEGIN = re.compile(r"kpv: begin (\S+)")
_END = re.compile(r"kpv: end (\S+)")


def by_cell(lines: Iterable[str]) -> dict[str, str]:
    """Map ``<scenario>.<variant>`` to the lines between its begin and end markers.

    A cell whose end marker is missing (the guest died in it) runs to the end or
    to the next begin marker. Works on ``trace-cmd report`` text and on console
    text alike.
    """
    cells: dict[str, list[str]] = {}
    current: str | None = None
    for line in lines:
        if begin := _BEGIN.search(line):
            current = begin[1]
            cells[current] = []
        elif _END.search(line):
            current = None
        elif current is not None:
            cells[current].append(line.rstrip("\n"))
    return {name: "\n".join(body) for name, body in cells.items()}
