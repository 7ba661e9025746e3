"""What the plugin qemu/cost wrote, as counts and profiles: its functions get their names here.

``qemu/cost/report.h`` describes the file.
"""

import re
import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from pipeline.cost.model import Function, HeldOff, Profile, Record
from pipeline.errors import InfraError
from pipeline.tlb.symbols import Symbols

#: Counts of a sample that are calls of a function: the first of these names that the kernel has.
CALLS: Mapping[str, tuple[str, ...]] = {
    "splits": ("__folio_split", "split_huge_page_to_list_to_order", "split_huge_page_to_list"),
    "lazyfree_marks": ("folio_mark_lazyfree", "mark_page_lazyfree"),
    "converts": ("contpte_convert",),
    "page_table_locks": ("__pte_offset_map_lock",),
    "folio_locks": ("folio_unlock",),
}
#: Counts of calls of the first, from the second.
CALLS_FROM: Mapping[str, tuple[str, str]] = {
    "folds": ("contpte_convert", "__contpte_try_fold"),
    "unfolds": ("contpte_convert", "__contpte_try_unfold"),
}
#: The function that runs other tasks.
SCHEDULER = "__schedule"
#: What VBAR_EL1 holds (arch/arm64/kernel/head.S).
VECTORS = "vectors"
#: In the order of enum event in qemu/cost/count.h.
EVENTS = ("tlbi_va", "tlbi_range", "tlbi_asid", "tlbi_all", "dsb", "isb", "atomics")

_UNKNOWN = "[unknown]"
#: What GCC appends to the name of a copy of a function that is called in its place (-fipa-cp, -fipa-sra).
_COPY = re.compile(r"\.(?:constprop|isra)\.?\d*.*$")


class CountedError(InfraError):
    """What the plugin left cannot be used, or the kernel lacks what it needs to know."""


class Counted(Record):
    """One line of the file, see qemu/cost/report.h. ``nodes``: (parent, function, calls, instructions)."""

    test: int
    broken: str
    instructions: int
    exceptions: int
    pte_stores: int
    tables: int
    strayed: int
    events: tuple[int, ...]
    held_off: HeldOff
    nodes: tuple[tuple[int, int, int, int], ...]


def write_functions(symbols: Symbols, path: Path) -> dict[str, str]:
    """Write the file of functions that the plugin reads; returns its options. Raises CountedError."""
    scheduler, vectors = symbols.address_of(SCHEDULER), symbols.address_of(VECTORS)
    if scheduler is None or vectors is None:
        raise CountedError(
            f"the kernel has {'no' if scheduler is None else 'a'} function {SCHEDULER} and "
            f"{'no' if vectors is None else 'a'} symbol {VECTORS}: expected one of each",
            hint="this kernel is organised as kpv does not know it: look for the names that replaced them",
        )
    path.write_bytes(struct.pack(f"<{len(symbols.addresses)}Q", *symbols.addresses))
    return {
        "functions": str(path),
        "scheduler": str(symbols.addresses.index(scheduler)),
        "vectors": f"{vectors:#x}",
    }


def read(path: Path) -> dict[int, Counted]:
    """What was counted, by number of the sample. Raises CountedError."""
    found = {}
    try:
        for number, line in enumerate(path.read_text(encoding="ascii").splitlines(), 1):
            counted = Counted.model_validate_json(line)
            if len(counted.events) != len(EVENTS):
                raise CountedError(f"{path}:{number}: expected {len(EVENTS)} events, found {len(counted.events)}")
            found[counted.test] = counted
    except (OSError, UnicodeDecodeError) as err:
        raise CountedError(f"{path}: expected what the plugin counted: {err}") from err
    except ValidationError as err:
        raise CountedError(f"{path}:{number}: not a sample of the plugin: {err.errors()[0]['msg']}") from err
    return found


def counts(counted: Counted, symbols: Symbols) -> dict[str, int | None]:
    """The counts of a sample; None for a function that this kernel does not have, or that GCC inlined everywhere."""
    names = [_COPY.sub("", name) for name in symbols.names]
    known = set(names)
    calls: dict[str, int] = defaultdict(int)
    from_calls: dict[tuple[str, str], int] = defaultdict(int)
    for parent, function, count, _ in counted.nodes[1:]:
        caller = counted.nodes[parent][1]
        calls[_name(names, function)] += count
        from_calls[_name(names, function), _name(names, caller)] += count
    result: dict[str, int | None] = {
        "instructions": counted.instructions,
        "exceptions": counted.exceptions,
        "pte_stores": counted.pte_stores,
        **dict(zip(EVENTS, counted.events, strict=True)),
    }
    for count, candidates in CALLS.items():
        name = next((name for name in candidates if name in known), None)
        result[count] = None if name is None else calls[name]
    for count, (name, caller) in CALLS_FROM.items():
        result[count] = from_calls[name, caller] if {name, caller} <= known else None
    return result


def profile(counted: Counted, symbols: Symbols) -> Profile:
    """Where the instructions went. Functions and stacks without any are left out, but for calls."""
    functions: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    stacks: dict[str, int] = defaultdict(int)
    for at, (_, function, calls, instructions) in enumerate(counted.nodes):
        if at and (calls or instructions):
            entry = functions[_name(symbols.names, function)]
            entry[0] += calls
            entry[1] += instructions
        if instructions:
            stacks[";".join(_frames(counted, symbols, at))] += instructions
    return Profile(
        functions={name: Function(calls=c, instructions=i) for name, (c, i) in sorted(functions.items())},
        stacks=dict(sorted(stacks.items())),
    )


def _frames(counted: Counted, symbols: Symbols, at: int) -> Sequence[str]:
    def up(at: int) -> Iterator[str]:
        while at:
            parent, function, _, _ = counted.nodes[at]
            yield _name(symbols.names, function)
            at = parent

    return list(up(at))[::-1]


def _name(names: Sequence[str], function: int) -> str:
    return names[function] if 0 <= function < len(names) else _UNKNOWN
