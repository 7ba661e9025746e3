"""Kernel addresses to functions, by System.map."""

import bisect
import functools
from pathlib import Path

from pipeline.errors import InfraError


class SymbolError(InfraError):
    """No System.map that can be read."""


class Symbols:
    """Functions of a kernel, each up to where the next symbol begins."""

    def __init__(self, text: str) -> None:
        """``text``: of a System.map, lines of ``address type name``. Raises ValueError where it is none."""
        found: dict[int, str] = {}
        self._by_name: dict[str, list[int]] = {}
        for line in text.splitlines():
            address, kind, name = line.split()
            # Several names at an address: the first is the function, others are markers of the linker.
            if kind in "tTwW":
                found.setdefault(int(address, 16), name)
                self._by_name.setdefault(name, []).append(int(address, 16))
        self._addresses = sorted(found)
        self._names = [found[address] for address in self._addresses]

    @property
    def addresses(self) -> list[int]:
        """Where functions begin, ascending. An index of this list is that of ``names``."""
        return self._addresses

    @property
    def names(self) -> list[str]:
        return self._names

    def address_of(self, name: str) -> int | None:
        """Of the one function of this name; None where there is none, or several."""
        found = self._by_name.get(name, [])
        return found[0] if len(found) == 1 else None

    def name(self, address: int) -> str:
        """``function+0xoffset``; the bare address where no function is."""
        at = bisect.bisect_right(self._addresses, address) - 1
        if at < 0:
            return f"{address:#x}"
        return f"{self._names[at]}+{address - self._addresses[at]:#x}"


def read(path: Path) -> Symbols:
    """Of a System.map, remembered per file. Raises SymbolError."""
    try:
        info = path.stat()
        return _read(path, info.st_size, info.st_mtime_ns)
    except (OSError, ValueError) as err:
        raise SymbolError(f"{path}: expected a kernel's System.map: {err}", hint="build the kernel again") from err


@functools.lru_cache(maxsize=8)
def _read(path: Path, size: int, mtime_ns: int) -> Symbols:
    return Symbols(path.read_text(encoding="ascii"))
