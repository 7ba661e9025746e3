"""Cuts what a guest's runner writes into the output of jobs and the frames between them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Ended:
    """A frame: job ``number`` ended; ``began`` and ``ended`` are seconds on the guest's clock."""

    number: int
    began: float
    ended: float
    status: int


class Framing:
    """Cuts the stream into frames and output. A job cannot forge a frame: it does not know ``word``."""

    def __init__(self, word: str) -> None:
        self._mark = b"\x1e" + word.encode() + b" end "
        self._pattern = re.compile(re.escape(self._mark) + rb"(\d+) ([\d.]+) ([\d.]+) (\d+)\n")
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterator[Ended | bytes]:
        """Frames and output in order; bytes that may be the start of a frame wait for the next chunk."""
        data = self._rest + chunk
        at = 0
        for match in self._pattern.finditer(data):
            if match.start() > at:
                yield data[at : match.start()]
            at = match.end()
            yield Ended(int(match[1]), float(match[2]), float(match[3]), int(match[4]))
        keep = self._frame_start(data, at)
        if keep > at:
            yield data[at:keep]
        self._rest = data[keep:]

    def _frame_start(self, data: bytes, at: int) -> int:
        found = data.find(self._mark, at)
        if found >= 0 and len(data) - found < 100:
            return found
        for size in range(min(len(self._mark) - 1, len(data) - at), 0, -1):
            if self._mark.startswith(data[len(data) - size :]):
                return len(data) - size
        return len(data)
