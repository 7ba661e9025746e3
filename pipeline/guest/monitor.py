"""Follows a growing console log in a thread, line by line, and lets others wait for lines.

QEMU writes the file itself, byte by byte, so it is whole whatever becomes of
this process; to poll it costs less than to be woken for each byte of a pipe.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.guest.deadline import Deadline

_POLL = 0.005


class Monitor:
    """Reads ``path`` while ``alive``, then to its end. ``closed``: all that was ever written is in ``lines``."""

    def __init__(self, path: Path, *, alive: Callable[[], bool]) -> None:
        self._path, self._alive = path, alive
        self._lines: list[str] = []
        self._partial = b""
        self._changed = threading.Condition()
        self._closed = False
        self._last = time.monotonic()
        self._thread = threading.Thread(target=self._follow, name="console", daemon=True)
        self._thread.start()

    @property
    def lines(self) -> list[str]:
        """The lines so far, the unfinished last one included."""
        with self._changed:
            return self._lines + ([_text(self._partial)] if self._partial else [])

    @property
    def count(self) -> int:
        """Number of whole lines so far: a position to slice ``lines`` by."""
        with self._changed:
            return len(self._lines)

    @property
    def closed(self) -> bool:
        with self._changed:
            return self._closed

    @property
    def silence(self) -> float:
        """Seconds since the last byte."""
        with self._changed:
            return time.monotonic() - self._last

    def wait(self, wanted: Callable[[str], bool], deadline: Deadline, *, start: int = 0) -> int | None:
        """The index of the first ``wanted`` line from ``start`` on; None when the console or the time ends."""
        at = start
        with self._changed:
            while True:
                while at < len(self._lines):
                    if wanted(self._lines[at]):
                        return at
                    at += 1
                if self._closed or deadline.expired:
                    return None
                self._changed.wait(min(deadline.remaining, 3600))

    def wait_closed(self, deadline: Deadline) -> bool:
        """Whether the console ended before the deadline."""
        with self._changed:
            return self._changed.wait_for(lambda: self._closed, deadline.remaining)

    def tail(self, count: int = 25) -> str:
        return "\n".join(self.lines[-count:])

    def close(self) -> None:
        """Wait for the reader, once ``alive`` is False."""
        self._thread.join(timeout=5)

    def _follow(self) -> None:
        try:
            with self._path.open("rb", buffering=0) as log:
                while True:
                    alive = self._alive()  # asked first: what is written after the last read is not lost
                    if chunk := log.read(1 << 20):
                        self._add(chunk)
                    elif alive:
                        time.sleep(_POLL)
                    else:
                        return
        finally:
            with self._changed:
                if self._partial:
                    self._lines.append(_text(self._partial))
                    self._partial = b""
                self._closed = True
                self._changed.notify_all()

    def _add(self, chunk: bytes) -> None:
        *whole, rest = (self._partial + chunk).split(b"\n")
        with self._changed:
            self._lines += [_text(line) for line in whole]
            self._partial = rest
            self._last = time.monotonic()
            self._changed.notify_all()


def _text(line: bytes) -> str:
    return line.rstrip(b"\r").decode("utf-8", errors="replace")
