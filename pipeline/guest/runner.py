"""Runs many jobs in one SSH command, and reads their output back live.

The guest's side is data/run-jobs, which says how the output is framed.
"""

import contextlib
import re
import secrets
import shlex
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.errors import InfraError
from pipeline.guest import ends
from pipeline.guest.deadline import Deadline
from pipeline.guest.shell import Session, ShellLost
from pipeline.guest.vm import VM

#: Seconds for a job to be gone once it was killed; one that cannot be killed is a hang of the kernel.
GRACE = 10.0
#: Bytes kept of one job's output: a test that prints without end must not fill the host.
LIMIT = 8 << 20


@dataclass(frozen=True)
class GuestJob:
    """``id``: also the name in the markers of console and trace; ``marked``: whether to write them.
    ``timeout``: seconds on the host's clock."""

    id: str
    argv: tuple[str, ...]
    timeout: float = 30.0
    marked: bool = True


@dataclass(frozen=True)
class GuestResult:
    """How one job ended.

    ``exit_status``: 128 + N where a signal N ended it; None where the VM ended.
    ``seconds``: on the guest's clock; on the host's where the VM ended.
    ``output``: stdout and stderr as written, at most LIMIT bytes, then ``truncated``.
    ``end``: the VM's end, for the outcome "vm-ended".
    """

    job: GuestJob
    outcome: Literal["exited", "timeout", "vm-ended"]
    exit_status: int | None
    output: bytes
    seconds: float
    truncated: bool = False
    end: ends.VmEnded | None = None

    @property
    def text(self) -> str:
        return self.output.decode("utf-8", errors="replace")


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


def run(vm: VM, jobs: Iterable[GuestJob]) -> Iterator[GuestResult]:
    """Run the jobs one after the other; yields each result as soon as there is one.

    A job over its timeout is killed, and the following ones go on. When the VM
    ends in a job, its result says so and is the last: jobs without a result
    did not run. Raises VmEnded when the VM ends between two jobs.
    """
    waiting = list(jobs)
    if not waiting:
        return
    word = secrets.token_hex(8)
    lines = "".join(
        f"{number} {shlex.quote(job.id if job.marked else '')} {shlex.join(job.argv)}\n"
        for number, job in enumerate(waiting)
    )
    if lines.count("\n") != len(waiting):
        raise ValueError("a job's id and arguments hold no line break")
    with vm.doing(f"starting {waiting[0].id}"):
        session = vm.shell.open(f"exec setsid /kpv/run-jobs {word}", stdin=lines.encode(), deadline=Deadline(10))
    reader = _Reader(vm, waiting, session, Framing(word))
    try:
        yield from reader.results()
    except GeneratorExit:
        with contextlib.suppress(ShellLost):
            reader.give_up(Deadline(5))
        raise
    finally:
        session.close()


def fetch(vm: VM, paths: Sequence[str], *, deadline: Deadline) -> dict[str, bytes]:
    """Contents of the guest's files, of /proc and /sys too, in one round trip; a file that cannot be read is absent.

    Raises VmEnded.
    """
    jobs = [GuestJob(path, ("cat", path), timeout=deadline.remaining, marked=False) for path in paths]
    contents = {}
    for result in run(vm, jobs):
        if result.end is not None:
            raise result.end
        if result.truncated:
            raise InfraError(f"{result.job.id} of the guest is larger than {LIMIT >> 20} MiB")
        if result.exit_status == 0:
            contents[result.job.id] = result.output
    return contents


class _Reader:
    """State of one ``run``."""

    def __init__(self, vm: VM, jobs: Sequence[GuestJob], session: Session, framing: Framing) -> None:
        self._vm, self._jobs, self._session, self._framing = vm, jobs, session, framing
        self._done = 0
        self._start_of_console = vm.console.count
        self._next()

    def results(self) -> Iterator[GuestResult]:
        try:
            for chunk in self._session.chunks(Deadline(float("inf"))):
                for item in self._framing.feed(chunk):
                    if isinstance(item, Ended):
                        yield self._end(item)
                    else:
                        self._keep(item)
                if self._done < len(self._jobs):
                    self._watch()
            # Read to the end of the script: dropbear mistakes a channel closed under a
            # running command for the next one and refuses that one's command.
            if self._done == len(self._jobs):
                return
            raise ShellLost(f"the guest's runner ended after {self._done} of {len(self._jobs)} jobs")
        except ShellLost as err:
            failure = self._vm.failure()
            failure.detail = f"{err.message}\n{failure.detail}"
            if self._done == len(self._jobs) or not self._begun():
                raise failure from err
            yield self._result("vm-ended", None, time.monotonic() - self._since, end=failure)

    def end_jobs(self, deadline: Deadline) -> None:
        """Kill what runs of the current job; says on the console first where it was. Raises ShellLost."""
        self._vm.shell.run("exec /kpv/end-jobs", deadline=deadline)

    def give_up(self, deadline: Deadline) -> None:
        """Kill the current job and drop the rest. Raises ShellLost."""
        self._vm.shell.run("exec /kpv/end-jobs all", deadline=deadline)
        for _ in self._session.chunks(deadline):
            pass

    def _next(self) -> None:
        """A job begins as soon as the one before has ended."""
        self._since = time.monotonic()
        self._killed: Deadline | None = None
        self._output = bytearray()
        self._truncated = False
        if self._done < len(self._jobs):
            self._vm.phase = f"running {self._jobs[self._done].id}"
        else:
            self._vm.phase = f"after {self._jobs[-1].id}"

    def _end(self, ended: Ended) -> GuestResult:
        if ended.number != self._done:
            raise InfraError(f"the guest's runner told of job {ended.number} where job {self._done} was due")
        outcome = "timeout" if self._killed else "exited"
        result = self._result(outcome, ended.status, ended.ended - ended.began)
        self._done += 1
        self._next()
        return result

    def _begun(self) -> bool:
        """Whether the current job was started, by its marker on the console."""
        job = self._jobs[self._done]
        lines = self._vm.console.lines[self._start_of_console :]
        return not job.marked or any(line.endswith(f"kpv: begin {job.id}") for line in lines)

    def _watch(self) -> None:
        """Kill a job over its time. Raises ShellLost where that does not help."""
        if self._killed is None:
            if time.monotonic() - self._since > self._jobs[self._done].timeout:
                self._killed = Deadline(GRACE)
                self.end_jobs(self._killed)
        elif self._killed.expired:
            raise ShellLost(f"the job could not be killed within {GRACE:g} s")

    def _keep(self, data: bytes) -> None:
        room = LIMIT - len(self._output)
        self._output += data[:room]
        self._truncated = self._truncated or len(data) > room

    def _result(
        self,
        outcome: Literal["exited", "timeout", "vm-ended"],
        status: int | None,
        seconds: float,
        *,
        end: ends.VmEnded | None = None,
    ) -> GuestResult:
        return GuestResult(
            job=self._jobs[self._done],
            outcome=outcome,
            exit_status=status,
            output=bytes(self._output),
            seconds=seconds,
            truncated=self._truncated,
            end=end,
        )
