"""Reads kernel console text: findings (oops, BUG, WARNING...).

Pure functions over lines. The texts are those of the kernel: panic() in
kernel/panic.c, die() in arch/arm64/kernel/traps.c, die_kernel_fault() in
arch/arm64/mm/fault.c, bad_page() in mm/page_alloc.c, check_mm() in
kernel/fork.c, watchdog_timer_fn() in kernel/watchdog.c, check_hung_task() in
kernel/hung_task.c, print_other_cpu_stall() in kernel/rcu/tree_stall.h.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

READY = "kpv: ready"


class Kind(StrEnum):
    PANIC = "panic"
    OOPS = "oops"
    BUG = "bug"
    WARNING = "warning"
    BAD_PAGE = "bad-page"
    BAD_RSS = "bad-rss-counter"
    KASAN = "kasan"
    LOCKUP = "lockup"
    HUNG_TASK = "hung-task"
    RCU_STALL = "rcu-stall"


#: Findings after which the kernel is not to be trusted with another test.
FATAL = frozenset({Kind.PANIC, Kind.OOPS, Kind.KASAN, Kind.BAD_PAGE})


@dataclass(frozen=True)
class Finding:
    """``headline``: the line that tells, without time stamp. ``function``: where the kernel was, "" if it does not say.
    ``lines``: the report, headline included. ``at``: index of its first line."""

    kind: Kind
    headline: str
    function: str
    lines: tuple[str, ...]
    at: int


#: In order: the first pattern that matches a line names the finding's kind.
_HEADLINES: tuple[tuple[Kind, str], ...] = (
    (Kind.PANIC, r"Kernel panic - not syncing"),
    (Kind.KASAN, r"BUG: (KASAN|KFENCE|KMSAN|KCSAN): "),
    (Kind.BAD_PAGE, r"BUG: Bad page (state|map|cache)|Bad page (state|map) in process"),
    (Kind.BAD_RSS, r"BUG: Bad rss-counter state|BUG: non-zero pgtables_bytes"),
    (Kind.LOCKUP, r"watchdog: BUG: soft lockup|[Ww]atchdog detected hard LOCKUP|BUG: workqueue lockup"),
    (Kind.OOPS, r"Unable to handle kernel |Internal error: |Kernel BUG at |kernel BUG at |Insufficient stack space"),
    (Kind.HUNG_TASK, r"INFO: task .+ blocked for more than \d+ seconds"),
    (Kind.RCU_STALL, r"rcu: INFO: .*(self-detected|detected).* stall|rcu: INFO: .*detected stalls"),
    (Kind.BUG, r"\bBUG: |page_table_check: .*(BUG|failed)"),
    (Kind.WARNING, r"^WARNING: |^\S*WARNING: .* at "),
)
_PATTERNS = tuple((kind, re.compile(pattern)) for kind, pattern in _HEADLINES)
#: "[   12.345678] " with CONFIG_PRINTK_TIME, "[ T12] " or "[ C1] " with CONFIG_PRINTK_CALLER.
_STAMP = re.compile(r"^(?:<\d+>)?(?:\[\s*\d+\.\d+\])?(?:\[\s*[TC]\d+\])?\s?")
_MARKER = re.compile(r"kpv: (begin|end|ready)\b")
#: pc of the registers; WARNING's "at file:line func+0x..", KASAN's "in func+0x..".
_PC = re.compile(r"^pc : ([\w.]+)\+0x")
_AT = re.compile(r" at \S+:\d+ ([\w.]+)\+0x|^BUG: K\w+: .* in ([\w.]+)\+0x")
_FRAME = re.compile(r"^ ?([\w.]+)\+0x[0-9a-f]+/0x[0-9a-f]+(?: \(P\))?$")
_END = re.compile(r"---\[ end (trace|Kernel panic)")
#: Frames of the report itself, never the place the report is about.
_REPORTERS = frozenset(
    {"dump_backtrace", "show_stack", "dump_stack", "dump_stack_lvl", "panic", "vpanic", "bad_page", "die", "__die"}
)


def findings(lines: Sequence[str]) -> list[Finding]:
    """Every finding in console lines, in order. An OOM kill is none: a test may ask for it.

    An oops prints several headlines ("Unable to handle...", "Internal error:",
    then "Kernel panic" with oops=panic): one report, one finding of the first
    kind; the panic that an oops ends in is told by ``ended_by``.
    """
    clean = [_STAMP.sub("", line.rstrip("\r\n"), count=1) for line in lines]
    found: list[Finding] = []
    at = 0
    while at < len(clean):
        kind = _kind(clean[at])
        if kind is None:
            at += 1
            continue
        end = _end_of_report(clean, at, kind)
        body = tuple(clean[at:end])
        found.append(Finding(kind, clean[at].strip("\x07 "), _function(body), body, at))
        at = end
    return found


def ended_by(lines: Iterable[str]) -> str:
    """The panic line ("Kernel panic - not syncing: ..."), or "" where the kernel did not panic."""
    for line in lines:
        if "Kernel panic - not syncing" in line:
            return _STAMP.sub("", line.strip(), count=1)
    return ""


def _kind(line: str) -> Kind | None:
    if "kpv: " in line and _MARKER.search(line):
        return None
    return next((kind for kind, pattern in _PATTERNS if pattern.search(line)), None)


def _end_of_report(lines: Sequence[str], start: int, kind: Kind) -> int:
    """One past the last line of the report that starts at ``start``."""
    if kind is Kind.BAD_RSS:
        return start + 1
    seen_frames = False
    for at in range(start + 1, len(lines)):
        line = lines[at]
        if _END.search(line):
            # die() ends its trace, then panic() follows at once when oops=panic: one report.
            if kind is not Kind.PANIC and at + 1 < len(lines) and "Kernel panic" in lines[at + 1]:
                continue
            return at + 1
        if _MARKER.search(line):
            return at
        other = _kind(line)
        if other is not None and not _continues(kind, other):
            return at
        if _FRAME.match(line):
            seen_frames = True
        elif seen_frames and not _belongs(line):
            return at
    return len(lines)


def _continues(kind: Kind, other: Kind) -> bool:
    """Whether a headline of kind ``other`` goes on with a report of ``kind`` rather than starting one."""
    if other is Kind.PANIC:
        return kind in (Kind.OOPS, Kind.BUG, Kind.PANIC)
    return kind is other is Kind.OOPS or (kind is Kind.BUG and other is Kind.OOPS)


def _belongs(line: str) -> bool:
    """Lines that kernels print after the frames and before the end marker."""
    return bool(
        re.match(
            r"^(Code: |Modules linked in|Call trace:|Kernel panic|SMP: |Kernel Offset|CPU features|Memory Limit|"
            r"\s*$|Rebooting|Tainted|CPU: |Hardware name|pstate|pc : |lr : |sp : |x\d+ ?:|Internal error|Kernel )",
            line,
        )
    )


def _function(body: Sequence[str]) -> str:
    for pattern in (_AT, _PC):
        for line in body:
            if match := pattern.search(line):
                return next(group for group in match.groups() if group)
    for line in body:
        if (match := _FRAME.match(line)) and match[1] not in _REPORTERS:
            return match[1]
    return ""
