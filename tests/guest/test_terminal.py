"""Passing a guest's command through: bytes both ways, ends of streams, exit status, and a terminal put right again."""

import os
import select
import signal
import socket
import termios
import threading
from collections.abc import Callable

import pytest

from pipeline.guest import terminal


class FakeChannel:
    """A channel over a socket pair; ``there`` is the guest's end of it, the exit status comes with ``finish``."""

    def __init__(self) -> None:
        self.here, self.there = socket.socketpair()
        self.stderr, self.stderr_there = socket.socketpair()
        self.status: int | None = None

    def finish(self, status: int) -> None:
        self.status = status
        self.there.shutdown(socket.SHUT_WR)

    def fileno(self) -> int:
        return self.here.fileno()

    def recv(self, size: int) -> bytes:
        return self.here.recv(size)

    def recv_stderr(self, size: int) -> bytes:
        return self.stderr.recv(size)

    def recv_ready(self) -> bool:
        return _readable(self.here)

    def recv_stderr_ready(self) -> bool:
        return _readable(self.stderr)

    def sendall(self, data: bytes) -> None:
        self.here.sendall(data)

    def shutdown_write(self) -> None:
        self.here.shutdown(socket.SHUT_WR)

    def exit_status_ready(self) -> bool:
        return self.status is not None

    def recv_exit_status(self) -> int:
        assert self.status is not None
        return self.status

    @property
    def eof_received(self) -> bool:
        return self.status is not None


def _readable(end: socket.socket) -> bool:
    return bool(select.select([end], [], [], 0)[0]) and bool(end.recv(1, socket.MSG_PEEK))


class Streams:
    """Pipes as the caller's streams."""

    def __init__(self) -> None:
        self.stdin, self.typed = os.pipe()
        self.shown, self.stdout = os.pipe()
        self.complained, self.stderr = os.pipe()

    def output(self) -> tuple[bytes, bytes]:
        os.close(self.stdout)
        os.close(self.stderr)
        return os.read(self.shown, 1 << 16), os.read(self.complained, 1 << 16)


def relayed(channel: FakeChannel, streams: Streams, *, over: Callable[[], bool] = lambda: False) -> int | None:
    return terminal.relay(channel, over=over, stdin=streams.stdin, stdout=streams.stdout, stderr=streams.stderr)


def in_guest(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_both_streams_and_the_exit_status_come_back_apart():
    channel, streams = FakeChannel(), Streams()
    channel.there.sendall(b"out")
    channel.stderr_there.sendall(b"err")
    channel.finish(7)
    assert relayed(channel, streams) == 7
    assert streams.output() == (b"out", b"err")


def test_what_is_piped_in_reaches_the_command_and_so_does_its_end():
    channel, streams = FakeChannel(), Streams()

    def cat() -> None:
        while data := channel.there.recv(100):
            channel.there.sendall(data)
        channel.finish(0)

    guest = in_guest(cat)
    os.write(streams.typed, b"one\ntwo\n")
    os.close(streams.typed)
    assert relayed(channel, streams) == 0
    guest.join()
    assert streams.output()[0] == b"one\ntwo\n"


def test_output_that_is_larger_than_a_pipe_comes_whole():
    channel, streams = FakeChannel(), Streams()
    size, got = 1 << 20, bytearray()

    def shout() -> None:
        channel.there.sendall(b"x" * size)
        channel.finish(0)

    def read() -> None:
        while len(got) < size:
            got.extend(os.read(streams.shown, 1 << 16))

    threads = in_guest(shout), in_guest(read)
    assert relayed(channel, streams) == 0
    for thread in threads:
        thread.join(20)
    assert len(got) == size


def test_a_vm_that_ends_is_told_by_no_status_after_its_last_words():
    channel, streams = FakeChannel(), Streams()
    channel.there.sendall(b"last words")
    assert relayed(channel, streams, over=lambda: True) is None
    assert streams.output()[0] == b"last words"


def test_the_terminal_is_raw_inside_and_put_right_again_whatever_happens(monkeypatch: pytest.MonkeyPatch):
    ours, theirs = os.openpty()
    stdin = os.fdopen(theirs, "rb", buffering=0)
    monkeypatch.setattr("sys.stdin", stdin)
    before, handler = termios.tcgetattr(theirs), signal.getsignal(signal.SIGWINCH)
    sizes: list[tuple[int, int]] = []
    with pytest.raises(RuntimeError), terminal.raw(lambda columns, lines: sizes.append((columns, lines))):  # noqa: PT012
        assert not termios.tcgetattr(theirs)[3] & (termios.ECHO | termios.ICANON | termios.ISIG)
        monkeypatch.setenv("COLUMNS", "123")
        monkeypatch.setenv("LINES", "45")
        os.kill(os.getpid(), signal.SIGWINCH)
        raise RuntimeError
    assert termios.tcgetattr(theirs) == before
    assert signal.getsignal(signal.SIGWINCH) == handler
    assert sizes == [(123, 45)]
    os.close(ours)
