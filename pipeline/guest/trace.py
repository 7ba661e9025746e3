"""Fetches the guest's trace as a trace.dat, which trace-cmd and KernelShark open.

trace-cmd in the guest makes it: the file needs the running kernel's event
formats and symbols besides the ring buffer.
"""

from pipeline.errors import InfraError
from pipeline.guest.deadline import Deadline
from pipeline.guest.vm import VM

_FILE = "/tmp/kpv-trace.dat"


class TraceLost(InfraError):
    """The guest could not make the file, e.g. because its kernel breaks trace-cmd."""


def fetch(vm: VM, *, deadline: Deadline) -> bytes:
    """The whole ring buffer of this boot; stops tracing and empties the buffer. Raises VmEnded, TraceLost."""
    done = vm.run(
        # extract resets the filter of each subsystem and waits for a grace period each
        # time: 2 s in all, unless grace periods are expedited.
        "echo 1 > /sys/kernel/rcu_expedited; cd /tmp; "
        f'said=$(trace-cmd extract -o {_FILE} 2>&1) && exec cat {_FILE}; echo "$said"; exit 1',
        deadline=deadline,
        phase="fetching the trace",
    )
    if done.exit_status:
        raise TraceLost("trace-cmd extract failed in the guest", detail=done.text[-2000:])
    return done.output
