"""Passes a command of the guest, or a shell, through to the caller's streams, as ssh does."""

import os
import select
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

#: Bytes of one read.
_CHUNK = 1 << 16
#: Seconds between two looks at whether the VM is still there.
_LOOK = 0.25


class Channel(Protocol):
    """The part of paramiko.Channel that is used here; ``fileno`` is readable when there is something to receive."""

    def fileno(self) -> int: ...
    def recv(self, nbytes: int) -> bytes: ...
    def recv_ready(self) -> bool: ...
    def recv_stderr(self, nbytes: int) -> bytes: ...
    def recv_stderr_ready(self) -> bool: ...
    def sendall(self, s: bytes) -> object: ...
    def shutdown_write(self) -> object: ...
    def exit_status_ready(self) -> bool: ...
    def recv_exit_status(self) -> int: ...
    @property
    def eof_received(self) -> bool: ...


def on_terminal() -> bool:
    """Whether both ends of the caller are a terminal, so that the guest's command should have one too."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def size() -> tuple[int, int]:
    """Columns and lines of the caller's terminal."""
    return shutil.get_terminal_size()


@contextmanager
def raw(resized: Callable[[int, int], object]) -> Iterator[None]:
    """The caller's terminal without line editing, echo and signals, put right again whatever happens.

    ``resized`` is told columns and lines whenever they change.
    """
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    handler = signal.signal(signal.SIGWINCH, lambda *_: resized(*size()))
    try:
        tty.setraw(fd)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
        signal.signal(signal.SIGWINCH, handler)


def relay(
    channel: Channel, *, over: Callable[[], bool], stdin: int = 0, stdout: int = 1, stderr: int = 2
) -> int | None:
    """Copy between file descriptors and a channel until its command ends; returns the exit status.

    None where the VM ended first, as ``over`` tells. The end of ``stdin`` is passed on.
    """
    sources = [channel.fileno(), stdin]
    while True:
        ready, _, _ = select.select(sources, [], [], _LOOK)
        moved = _drain(channel, stdout, stderr)
        if stdin in ready:
            data = os.read(stdin, _CHUNK)
            if data:
                channel.sendall(data)
            else:
                sources.remove(stdin)
                channel.shutdown_write()
        if moved or (stdin in ready and stdin in sources):
            continue
        if channel.exit_status_ready() and channel.eof_received:
            _drain(channel, stdout, stderr)
            return channel.recv_exit_status()
        if over():
            _drain(channel, stdout, stderr)
            return channel.recv_exit_status() if channel.exit_status_ready() else None


def _drain(channel: Channel, stdout: int, stderr: int) -> bool:
    """Write out what has come; False where nothing had."""
    moved = False
    for ready, receive, to in (
        (channel.recv_ready, channel.recv, stdout),
        (channel.recv_stderr_ready, channel.recv_stderr, stderr),
    ):
        while ready():
            data = receive(_CHUNK)
            if not data:
                break
            _write(to, data)
            moved = True
    return moved


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
