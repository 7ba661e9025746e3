"""Places a study's kprobes and tracepoints in a booted guest.

Probes are kprobe events of the group ``kpv`` (Documentation/trace/
kprobetrace.rst); their hits are counted in ``kprobe_profile``. A probe that
this build refuses, or a tracepoint it does not have, is a recorded fact: what
needs it is INCONCLUSIVE.
"""

import shlex
from collections.abc import Iterable

from pipeline.study import Probe

TRACEFS = "/sys/kernel/tracing"
#: Ring buffer per CPU, KiB: a suite of cells leaves some MiB of events.
BUFFER_KIB = 16384


def script(probes: Iterable[Probe], tracepoints: Iterable[str]) -> str:
    """A shell script that places everything and prints ``<kind> <id> <error or nothing>`` a line.

    The kernel's own reason for a refusal is the last caret-free line of
    ``error_log``; the errno text of the write stands in where there is none.
    """
    lines = [
        f"cd {TRACEFS} || exit 1",
        f"echo {BUFFER_KIB} > buffer_size_kb",
        "echo 0 > tracing_on; : > trace",
        'place() { if err=$( (echo "$3" >> kprobe_events) 2>&1); then echo 1 > events/kpv/$2/enable; '
        'echo "$1 $2"; else why=$(grep error: error_log | tail -n 1); echo "$1 $2 ${why:-$err}"; fi; }',
        'enable() { if [ -e events/$2/enable ]; then echo 1 > events/$2/enable; echo "$1 $2"; '
        'else echo "$1 $2 no such tracepoint in this kernel"; fi; }',
    ]
    lines += [f"place probe {probe.id} {shlex.quote(f'p:kpv/{probe.id} {probe.symbol}')}" for probe in probes]
    lines += [f"enable tracepoint {shlex.quote(point.replace(':', '/'))}" for point in tracepoints]
    lines.append("echo 1 > tracing_on")
    return "\n".join(lines) + "\n"


def outcome(output: str, probes: Iterable[Probe], tracepoints: Iterable[str]) -> dict[str, str]:
    """Map each probe id and tracepoint to "" (in place) or the reason it is not."""
    asked = [*(p.id for p in probes), *tracepoints]
    said: dict[str, str] = {}
    for line in output.splitlines():
        kind, _, rest = line.partition(" ")
        if kind in ("probe", "tracepoint"):
            name, _, reason = rest.partition(" ")
            said[name.replace("/", ":") if kind == "tracepoint" else name] = reason.strip()
    return {name: said.get(name, "the guest did not answer") for name in asked}
