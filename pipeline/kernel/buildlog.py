"""What the output of kbuild says: steps done, warnings by object, and the first error."""

import json
import re
from collections.abc import Callable
from pathlib import Path

_STEP = re.compile(r"  ([A-Z][A-Z0-9_]*)(?: \[M\])? +(\S+)$")
_WARNING = re.compile(r"(\S+?):\d+:(?:\d+:)? warning: ")
_COMPILER = re.compile(r"(\S+?):(\d+):(?:\d+:)? (?:fatal )?[Ee]rror: ")
_LINKER = re.compile(
    r"undefined reference to|multiple definition of|\bld(\.bfd)?: .*(error|cannot)|relocation truncated"
)
_KCONFIG = re.compile(r"\S*Kconfig\S*:\d+: |recursive dependency detected")
_MAKE = re.compile(r"make(\[\d+\])?: \*\*\* ")
_KILLED = re.compile(
    r"Killed signal terminated program|fatal error: Killed|\*\*\* .*\] (Killed|Terminated|Segmentation fault)"
)


class Reader:
    """Follows the lines of one make that runs with ``-Otarget``, so that a step's output stands together.

    ``warnings``: object -> the lines with a warning about it, and their context;
    what a step says replaces what was known of its object.
    """

    def __init__(self, known: dict[str, list[str]], on_step: Callable[[int, str], None]) -> None:
        self.steps = 0
        self.warnings = dict(known)
        self._on_step = on_step
        self._object = ""

    def line(self, line: str) -> None:
        if step := _STEP.match(line):
            self.steps += 1
            self._object = step[2]
            self.warnings.pop(self._object, None)
            self._on_step(self.steps, line.strip())
        elif re.match(r"make(\[\d+\])?: ", line):
            self._object = ""
        elif self._object and (self._object in self.warnings or _is_start(line)):
            self.warnings.setdefault(self._object, []).append(tidy(line))

    def settled(self, objects: Path) -> dict[str, list[str]]:
        """The warnings of objects that exist."""
        return {
            name: lines for name, lines in sorted(self.warnings.items())
            if any("warning: " in line for line in lines) and (objects / name).exists()
        }  # fmt: skip


def _is_start(line: str) -> bool:
    return (
        "warning: " in line or re.match(r"(In file included from|\S+: In function|\S+: At top level)", line) is not None
    )


def tidy(line: str) -> str:
    """A line with the paths of the sources as they stand in the tree, not as the object folder sees them."""
    return re.sub(r"(^|[\s('\"])(?:\./)?\.\./(?=\w)", r"\1", line)


def load_warnings(path: Path) -> dict[str, list[str]]:
    """As ``Reader.warnings`` were saved; nothing where there is none."""
    try:
        found: dict[str, list[str]] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found


def warnings_in(text: str, files: frozenset[str]) -> tuple[str, ...]:
    """The warning lines of a warnings.txt that are about one of these files."""
    found = [line for line in text.splitlines() if (match := _WARNING.match(line)) and match[1] in files]
    return tuple(dict.fromkeys(found))


def was_killed(log: str) -> bool:
    """Whether a program of the build was ended by a signal, e.g. for want of memory."""
    return _KILLED.search(log) is not None


def disk_was_full(log: str) -> bool:
    return "No space left on device" in log or "Disk quota exceeded" in log


def first_error(log: str) -> tuple[str, str]:
    """The line that says what is wrong, and that line with its surroundings."""
    lines = [tidy(line) for line in log.splitlines()]
    for pattern in (_COMPILER, _LINKER, _KCONFIG, _MAKE):
        for at, line in enumerate(lines):
            if pattern.search(line):
                return line.strip(), "\n".join(lines[max(0, at - 3) : at + 25])
    return (lines[-1].strip() if lines else "make said nothing"), "\n".join(lines[-25:])
