"""SSH to the guest: one connection a VM, commands as channels on it."""

import io
import logging
import os
import shlex
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import paramiko

from pipeline.errors import InfraError
from pipeline.guest.deadline import Deadline
from pipeline.guest.keys import RunKeys

# Its thread logs a connection that breaks; who uses the connection is told by an exception, and tells it once.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

#: Seconds between two looks at whether the VM is still there.
_TICK = 0.05


class ShellLost(InfraError):
    """The connection broke, or did not answer in time. ``VM`` turns it into the end it comes from."""


@dataclass(frozen=True)
class Completed:
    """``exit_status``: of the remote shell. ``output``: both its streams, merged by the guest."""

    exit_status: int
    output: bytes

    @property
    def text(self) -> str:
        return self.output.decode("utf-8", errors="replace")


class Shell:
    """``over`` tells whether the VM has ended: a paused or dead guest leaves a connection open."""

    def __init__(self, transport: paramiko.Transport, over: Callable[[], bool]) -> None:
        self._transport = transport
        self._over = over

    def run(self, command: str, *, deadline: Deadline, stdin: bytes = b"") -> Completed:
        """Run a command of the guest's shell to its end. Raises ShellLost."""
        session = self.open(command, stdin=stdin, deadline=deadline)
        try:
            output = b"".join(chunk for chunk in session.chunks(deadline) if chunk)
            return Completed(session.exit_status(deadline), output)
        finally:
            session.close()

    def put(self, data: bytes, path: str, *, deadline: Deadline, mode: int = 0o644) -> None:
        """Write a file of the guest. Raises ShellLost, or InfraError where the guest could not write it."""
        quoted = shlex.quote(path)
        done = self.run(f"cat > {quoted} && chmod {mode:o} {quoted}", stdin=data, deadline=deadline)
        if done.exit_status != 0:
            raise InfraError(f"the guest could not write {path}", detail=done.text)

    def open(self, command: str, *, deadline: Deadline, stdin: bytes = b"") -> "Session":
        """Start a command, both its streams merged, and send it ``stdin``. Raises ShellLost."""
        try:
            channel = self._transport.open_session(timeout=max(0.1, deadline.remaining))
            channel.set_combine_stderr(True)
            channel.exec_command(command)
            session = Session(channel, self._over)
            session.send(stdin, deadline)
            return session
        except (paramiko.SSHException, OSError, EOFError) as err:
            raise ShellLost(f"the guest did not take a command: {err or type(err).__name__}") from err

    def channel(self, command: str, *, pty: tuple[int, int] | None) -> paramiko.Channel:
        """Start a command for a person, its streams apart; with a terminal of ``pty`` columns and lines, if given.

        Raises paramiko.SSHException.
        """
        channel = self._transport.open_session()
        if pty is not None:
            channel.get_pty(os.environ.get("TERM", "vt100"), *pty)
        channel.exec_command(command)
        return channel

    def close(self) -> None:
        self._transport.close()


class Session:
    """One running command."""

    def __init__(self, channel: paramiko.Channel, over: Callable[[], bool]) -> None:
        self._channel = channel
        self._over = over

    def chunks(self, deadline: Deadline) -> Iterator[bytes]:
        """Output as it comes; b"" now and then while there is none. Ends with the command's output.

        Raises ShellLost: VM over, connection broken, deadline passed.
        """
        while (chunk := self.poll(_TICK)) is not None:
            if not chunk and deadline.expired:
                raise ShellLost(f"a command did not end within {deadline.seconds:g} s")
            yield chunk

    def poll(self, seconds: float) -> bytes | None:
        """Output that comes within ``seconds``, b"" where none does, None once the command ended and all was read.

        Raises ShellLost: VM over, connection broken.
        """
        self._channel.settimeout(seconds)
        try:
            chunk = self._channel.recv(1 << 20)
        except TimeoutError:
            if self._over():
                raise ShellLost("the VM ended while a command ran") from None
            return b""
        if chunk:
            return chunk
        if not self._channel.exit_status_ready() and not self._channel.closed:
            if not self._transport_alive():
                raise ShellLost("the connection to the guest broke")
            # The end of the output; its exit status is a packet of its own.
            if not self._channel.status_event.wait(5.0):
                raise ShellLost("a command closed its output and did not end")
        return None

    def exit_status(self, deadline: Deadline) -> int:
        """Raises ShellLost where the connection ended without one."""
        if not self._channel.status_event.wait(deadline.remaining) or self._channel.exit_status < 0:
            raise ShellLost("the connection ended without the command's exit status")
        return self._channel.exit_status

    def send(self, data: bytes, deadline: Deadline) -> None:
        self._channel.settimeout(max(0.1, deadline.remaining))
        self._channel.sendall(data)
        self._channel.shutdown_write()

    def close(self) -> None:
        self._channel.close()

    def _transport_alive(self) -> bool:
        transport = self._channel.get_transport()
        return transport is not None and transport.is_active()


def connect(port: int, keys: RunKeys, *, deadline: Deadline, over: Callable[[], bool]) -> Shell:
    """Log in as root at the forwarded port. Raises ShellLost; InfraError for a host key that is not the run's.

    The cheapest algorithms under emulation of those both sides know.
    """
    try:
        peer = socket.create_connection(("127.0.0.1", port), timeout=max(0.1, deadline.remaining))
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport = paramiko.Transport(peer)
    except OSError as err:
        raise ShellLost(f"cannot connect to the guest's port {port}: {err}") from err
    try:
        options = transport.get_security_options()
        options.kex = ("curve25519-sha256@libssh.org",)
        options.ciphers = ("aes128-ctr",)
        options.digests = ("hmac-sha1", "hmac-sha2-256")
        options.key_types = ("ssh-ed25519",)
        transport.start_client(timeout=max(0.1, deadline.remaining))
        if transport.get_remote_server_key().asbytes() != keys.host_public:
            raise InfraError(
                f"port {port} answers with another host key than this run's guest has",
                hint="another program took the port; run again",
            )
        transport.auth_timeout = max(0.1, deadline.remaining)
        transport.auth_publickey("root", paramiko.Ed25519Key.from_private_key(io.StringIO(keys.private)))
        return Shell(transport, over)
    except (paramiko.SSHException, OSError, EOFError) as err:
        transport.close()
        raise ShellLost(f"no SSH session with the guest: {err or type(err).__name__}") from err
    except BaseException:
        transport.close()
        raise


def wait_connect(port: int, keys: RunKeys, *, deadline: Deadline, over: Callable[[], bool]) -> Shell:
    """``connect``, tried again while there is time: the first packets may be lost in a busy guest."""
    while True:
        try:
            return connect(port, keys, deadline=deadline.within(5), over=over)
        except ShellLost:
            if over() or deadline.remaining < 0.2:
                raise
            time.sleep(0.1)
