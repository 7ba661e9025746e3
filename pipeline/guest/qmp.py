"""QEMU's monitor protocol for synchronous callers: commands, and events as they come.

qemu.qmp speaks asyncio; its loop runs in a thread of its own, so events are
seen while the caller waits for something else.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path

from qemu.qmp import QMPClient, QMPError

from pipeline.errors import InfraError
from pipeline.guest.deadline import Deadline

# A QEMU that dies is told by its exit status, not by the library's log.
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)


class QmpError(InfraError):
    """A QMP command failed, or QEMU did not answer it."""


class Qmp:
    """Listens on ``path`` (at most 107 bytes, unix(7)); QEMU connects to it when it starts."""

    def __init__(self, path: Path) -> None:
        self.events: list[dict[str, object]] = []
        self.changed = threading.Condition()
        self._client = QMPClient("kpv")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="qmp", daemon=True)
        self._thread.start()
        self._listening: Future[None] | None = None
        try:
            self._call(self._client.start_server(str(path)), 5)
        except (QMPError, OSError) as err:
            raise InfraError(f"{path}: cannot listen for QEMU's monitor: {err}", hint="run again") from err

    def accept(self, deadline: Deadline, *, alive: Callable[[], bool]) -> bool:
        """Wait for QEMU's greeting; False if it did not come in time, or QEMU ended first."""
        future = asyncio.run_coroutine_threadsafe(self._client.accept(), self._loop)
        while alive() and not deadline.expired:
            try:
                future.result(min(0.02, deadline.remaining))
            except (FutureTimeout, TimeoutError):
                continue
            except (QMPError, EOFError, OSError):
                return False
            self._listening = asyncio.run_coroutine_threadsafe(self._listen(), self._loop)
            return True
        future.cancel()
        return False

    def command(self, name: str, *, timeout: float = 10.0, **arguments: object) -> object:
        """The return value of a QMP command. Raises QmpError."""
        try:
            return self._call(self._client.execute(name, arguments or None), timeout)
        except (FutureTimeout, TimeoutError) as err:
            raise QmpError(f"QEMU did not answer {name} within {timeout:g} s") from err
        except (QMPError, EOFError, OSError) as err:
            raise QmpError(f"QEMU refused {name}: {err}") from err

    def seen(self, name: str) -> dict[str, object] | None:
        """The first event of this name so far."""
        with self.changed:
            return next((event for event in self.events if event.get("event") == name), None)

    def close(self) -> None:
        """End the connection and the thread."""
        with contextlib.suppress(Exception):  # the other side is usually gone by now
            self._call(self._client.disconnect(), 2)
        if self._listening is not None:
            self._listening.cancel()
            with contextlib.suppress(Exception, CancelledError):
                self._call(asyncio.sleep(0), 1)  # lets the loop see the cancellation
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)
        if not self._thread.is_alive():
            self._loop.close()

    async def _listen(self) -> None:
        with contextlib.suppress(asyncio.CancelledError, QMPError, EOFError):
            while True:
                event = dict(await self._client.events.get())
                with self.changed:
                    self.events.append(event)
                    self.changed.notify_all()

    def _call(self, coroutine, timeout: float):  # type: ignore[no-untyped-def]
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result(timeout)
        except BaseException:
            future.cancel()
            raise
