"""A point in time by which something must have happened, handed down through every wait."""

import time


class Deadline:
    """``seconds`` from now, on the monotonic clock."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._began = time.monotonic()

    @property
    def remaining(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self.seconds - self.elapsed)

    @property
    def elapsed(self) -> float:
        """Seconds since it was set."""
        return time.monotonic() - self._began

    @property
    def expired(self) -> bool:
        return self.remaining == 0.0

    def within(self, seconds: float) -> "Deadline":
        """A deadline of at most ``seconds`` that does not outlive this one."""
        return Deadline(min(seconds, self.remaining))
