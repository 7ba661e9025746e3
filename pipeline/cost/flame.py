"""Where the instructions of a call went: stacks as a flame graph, functions as a list."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from zlib import crc32

from pipeline.cost.model import Profile

#: Of the whole; narrower frames cannot be seen or pointed at.
NARROWEST = 0.002
#: Colours in the style sheet.
COLOURS = 6
#: How many functions a list has.
TOP = 15


@dataclass(frozen=True)
class Frame:
    """A function in one stack of callers. ``left``, ``share``: of the width, 0 to 1. ``depth``: 0 is the entry.

    ``instructions``: its own and its callees'.
    """

    name: str
    depth: int
    left: float
    share: float
    instructions: int

    @property
    def colour(self) -> int:
        """The same for a function wherever it stands."""
        return crc32(self.name.encode()) % COLOURS


@dataclass(frozen=True)
class Flame:
    """A flame graph. ``hidden``: instructions in frames too narrow to draw that stand on ones drawn."""

    frames: tuple[Frame, ...]
    total: int
    hidden: int

    @property
    def depth(self) -> int:
        return 1 + max((frame.depth for frame in self.frames), default=-1)


@dataclass
class _Node:
    instructions: int = 0
    children: dict[str, "_Node"] = field(default_factory=dict)


def flame(stacks: Mapping[str, int], *, narrowest: float = NARROWEST) -> Flame:
    """The frames of folded stacks, callers before callees, siblings by name, as flamegraph tools order them."""
    root = _Node()
    for stack, count in stacks.items():
        node = root
        node.instructions += count
        for name in stack.split(";"):
            node = node.children.setdefault(name, _Node())
            node.instructions += count
    frames: list[Frame] = []
    hidden = 0

    def place(node: _Node, depth: int, left: int) -> None:
        nonlocal hidden
        for name, child in sorted(node.children.items()):
            if child.instructions >= narrowest * root.instructions:
                share = child.instructions / root.instructions
                frames.append(Frame(name, depth, left / root.instructions, share, child.instructions))
                place(child, depth + 1, left)
            else:
                hidden += child.instructions
            left += child.instructions

    if root.instructions:
        place(root, 0, 0)
    return Flame(tuple(frames), root.instructions, hidden)


@dataclass(frozen=True)
class FunctionLine:
    """A function's own instructions and calls in each of some profiles, 0 where it is not in one."""

    name: str
    instructions: tuple[int, ...]
    calls: tuple[int, ...]


def functions(profiles: Sequence[Profile], *, top: int = TOP) -> list[FunctionLine]:
    """The functions with the most instructions of their own in any of the profiles, the costliest first."""
    largest: dict[str, int] = {}
    for profile in profiles:
        for name, one in profile.functions.items():
            largest[name] = max(largest.get(name, 0), one.instructions)
    chosen = sorted((name for name in largest if largest[name]), key=lambda name: (-largest[name], name))[:top]
    return [
        FunctionLine(
            name,
            tuple(p.functions[name].instructions if name in p.functions else 0 for p in profiles),
            tuple(p.functions[name].calls if name in p.functions else 0 for p in profiles),
        )
        for name in chosen
    ]
