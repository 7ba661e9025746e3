"""The two roots of everything that can go wrong, and the exit code each maps to.

A ``UserError`` is the caller's to fix (a bad study file, a patch that does not
apply); an ``InfraError`` is the surroundings' (a missing tool, a full disk, a
QEMU killed from outside). Neither is ever a verdict on a series.
"""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every ``kpv`` command."""

    PASS = 0
    FAIL = 1
    USAGE = 2
    INFRA = 3
    INCONCLUSIVE = 4
    INTERRUPTED = 130


class KpvError(Exception):
    """Base of both roots.

    ``message`` is one line that says what was expected and what was found;
    ``hint`` is the next thing to do, a command where there is one; ``detail``
    may run over many lines (a compiler's words, the last console lines).
    """

    exit_code = Exit.INFRA

    def __init__(self, message: str, *, hint: str = "", detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.detail = detail


class UserError(KpvError):
    """The input is wrong; the caller can mend it."""

    exit_code = Exit.USAGE


class InfraError(KpvError):
    """The surroundings failed; trying again on a sound machine may work."""

    exit_code = Exit.INFRA
