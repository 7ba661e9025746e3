"""Runs many jobs in few SSH commands, and reads their output back live.

Two programs of the guest run jobs: the script data/run-jobs runs any command,
and a test program that serves (guest-tests/kpv_serve.h) its own tests, each in a
fork of itself instead of a program started anew. Both read a list from standard
input and end each job with the same frame; the script writes to the SSH session,
a test program to the mailbox.
"""

import contextlib
import secrets
import shlex
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.errors import InfraError
from pipeline.guest import ends, mailbox
from pipeline.guest.deadline import Deadline
from pipeline.guest.framing import Ended, Framing
from pipeline.guest.shell import Session, ShellLost
from pipeline.guest.vm import VM

#: Seconds for a job to be gone once it was killed; one that cannot be killed is a hang of the kernel.
GRACE = 10.0
#: Bytes kept of one job's output: a test that prints without end must not fill the host.
LIMIT = 8 << 20
#: Seconds between two looks into the mailbox.
_TICK = 0.01


@dataclass(frozen=True)
class GuestJob:
    """``id``: also the name in the markers of console and trace; ``marked``: whether to write them.
    ``timeout``: seconds on the host's clock.
    ``serves``: the program is one that runs jobs itself; its arguments and the id have no blanks then.
    """

    id: str
    argv: tuple[str, ...]
    timeout: float = 30.0
    marked: bool = True
    serves: bool = False


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


def run(vm: VM, jobs: Iterable[GuestJob]) -> Iterator[GuestResult]:
    """Run the jobs one after the other; yields each result as soon as there is one.

    A job over its timeout is killed, and the following ones go on. Where the
    guest's runner ends in a job, its exit status is that job's, and another one
    runs the rest. When the VM ends in a job, its result says so and is the last:
    jobs without a result did not run. Raises VmEnded when the VM ends between
    two jobs.
    """
    waiting = list(jobs)
    for job in waiting:
        _check(job)
    while waiting:
        part = _together(waiting)
        reader = _Reader(vm, part)
        try:
            for result in reader.results():
                waiting.pop(0)
                yield result
                if result.end is not None:
                    return
        except GeneratorExit:
            with contextlib.suppress(ShellLost):
                reader.give_up(Deadline(5))
            raise
        finally:
            reader.close()


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


def _check(job: GuestJob) -> None:
    words = (job.id, *job.argv)
    if any("\n" in word for word in words):
        raise ValueError("a job's id and arguments hold no line break")
    if job.serves and (not job.marked or any(len(word.split()) != 1 for word in words)):
        raise ValueError("a job of a program that serves is marked, and its id and arguments hold no blank")


def _together(jobs: Sequence[GuestJob]) -> list[GuestJob]:
    """The first jobs that one runner can run."""

    def runner(job: GuestJob) -> str:
        return job.argv[0] if job.serves else ""

    count = next((at for at, job in enumerate(jobs) if runner(job) != runner(jobs[0])), len(jobs))
    return list(jobs[:count])


class _Reader:
    """State of one runner in the guest."""

    def __init__(self, vm: VM, jobs: Sequence[GuestJob]) -> None:
        self._vm, self._jobs = vm, jobs
        self._serves = jobs[0].serves
        self._done = 0
        self._start_of_console = vm.console.count
        word = secrets.token_hex(8)
        self._framing = Framing(word)
        if self._serves:
            vm.mailbox.take()  # what a runner before left
            command = f"{mailbox.VARIABLE}={mailbox.DEVICE} setsid {shlex.quote(jobs[0].argv[0])}"
            lines = [word, *(f"{at} {job.id} {' '.join(job.argv[1:])}" for at, job in enumerate(jobs))]
        else:
            command = f"setsid /kpv/run-jobs {word}"
            lines = [
                f"{at} {shlex.quote(job.id if job.marked else '')} {shlex.join(job.argv)}"
                for at, job in enumerate(jobs)
            ]
        listed = "".join(f"{line}\n" for line in lines).encode()
        with vm.doing(f"starting {jobs[0].id}"):
            # Not exec: the shell turns the death of the runner into an exit status.
            self._session: Session = vm.shell.open(f"{command}; exit $?", stdin=listed, deadline=Deadline(10))
        self._next()

    def results(self) -> Iterator[GuestResult]:
        try:
            while (chunk := self._session.poll(_TICK)) is not None:
                yield from self._take(chunk)
                if self._done < len(self._jobs):
                    self._watch()
            # Read to the end of the runner: dropbear mistakes a channel closed under a
            # running command for the next one and refuses that one's command.
            yield from self._take(b"")
            if self._done < len(self._jobs):
                status = self._session.exit_status(Deadline(5))
                self.end_jobs(Deadline(GRACE))  # what the runner left running
                yield self._end(status, time.monotonic() - self._since)
        except ShellLost as err:
            yield from self._take(b"")  # first: it may tell that the job under way has ended
            failure = self._vm.failure()
            failure.detail = f"{err.message}\n{failure.detail}"
            yield from self._take(b"")
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

    def close(self) -> None:
        self._session.close()

    def _take(self, chunk: bytes) -> Iterator[GuestResult]:
        """Results in ``chunk`` of the session, and in the mailbox where that has the frames."""
        if self._serves:
            self._keep(chunk)  # of the runner itself, where it fails
            chunk = self._vm.mailbox.take()
        for item in self._framing.feed(chunk):
            if not isinstance(item, Ended):
                self._keep(item)
            elif item.number != self._done:
                raise InfraError(f"the guest's runner told of job {item.number} where job {self._done} was due")
            else:
                yield self._end(item.status, item.ended - item.began)

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

    def _end(self, status: int, seconds: float) -> GuestResult:
        result = self._result("timeout" if self._killed else "exited", status, seconds)
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
