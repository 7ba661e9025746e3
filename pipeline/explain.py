"""What a word of a report means, where it comes from, and where to look next."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline import near, resources
from pipeline.catalogue.pages import Page, Section
from pipeline.contpte.rules import RULES
from pipeline.errors import Exit, UserError
from pipeline.guest.ends import End
from pipeline.judge.invariants import PRE_EXISTING
from pipeline.judge.model import Verdict
from pipeline.observation import Outcome
from pipeline.stages import as_seen
from pipeline.study import BUILT_IN, Claim, Invariant, Study
from pipeline.tlb import model as tlb

#: How many scenarios a line names.
SOME = 8


@dataclass(frozen=True)
class Topic:
    """One meaning of a word. ``source``: where the rule is written. ``look``: what to do or read next."""

    word: str
    kind: str
    meaning: str
    source: str = ""
    look: str = ""


VERDICTS = {
    Verdict.PASS: (
        "It holds, by a positive observation: the cells ran, what they need was there, and every one of them shows it.",
        "Claims have to discriminate as well: the baseline shows the old behaviour.",
    ),
    Verdict.FAIL: (
        "At least one cell shows that it does not hold, and no known finding of the study explains that.",
        "kpv show cell KERNEL/MACHINE/SCENARIO.VARIANT --run RUN has what was observed.",
    ),
    Verdict.INCONCLUSIVE: (
        "It was not shown and not refuted: a precondition was not met, a probe or counter is missing, a cell did not "
        "run, or a claim does not discriminate. Never counted as a pass.",
        "The reason beside it names what was missing.",
    ),
    Verdict.KNOWN: (
        "It does not hold, and that is understood: a known finding of the study, or there on the baseline as well "
        f"({PRE_EXISTING}). Shown and counted; it makes no kernel fail.",
        "kpv explain ID, with the id of the known finding.",
    ),
}

EXITS = {
    Exit.PASS: ("Every kernel is judged as the study expects.", ""),
    Exit.FAIL: (
        "A kernel is definitely not judged as the study expects. Of kpv compare: a verdict changed. Of kpv mutate: "
        "a seeded bug survived, or a legal variant was rejected.",
        "kpv report RUN --format text",
    ),
    Exit.USAGE: ("The input is wrong: an option, a study file, a patch.", "The message names file, line and hunk."),
    Exit.INFRA: (
        "The surroundings failed: a missing tool, a full disk, a QEMU that was killed. No word on any kernel.",
        "kpv doctor",
    ),
    Exit.INCONCLUSIVE: (
        "Nothing is definitely wrong, but something that the study asks for could not be decided.",
        "kpv explain INCONCLUSIVE",
    ),
    Exit.INTERRUPTED: (
        "Ctrl-C. VMs and compilers were ended; what was finished is kept, the same command goes on from there.",
        "",
    ),
}

OUTCOMES = {
    Outcome.PASSED: "The test ran to its end and every check held (KTAP ok).",
    Outcome.FAILED: "The test ran to its end and a check did not hold (KTAP not ok).",
    Outcome.SKIPPED: "A precondition of the test was not met, so it proves nothing.",
    Outcome.TIMEOUT: "The test did not end within its limit and was killed; the guest went on.",
    Outcome.CRASHED: "The test process died of a signal, or printed no result.",
    Outcome.PANIC: "The guest's kernel panicked, or stopped on an oops, while the cell ran.",
    Outcome.HANG: "The guest stopped answering while the cell ran, though QEMU had its share of the CPU.",
    Outcome.LOST: "QEMU or the connection went away: the surroundings' fault, no result.",
    Outcome.NOT_RUN: "The cell never started, e.g. since the kernel did not build or boot.",
}

ENDS = {
    End.POWEROFF: "kpv powered the guest off when all was done: how a boot should end.",
    End.PANIC: "The kernel panicked.",
    End.OOPS: "The kernel reported an oops without a panic, and the guest went on.",
    End.HANG: "QEMU runs, had its share of the CPU, and the guest says nothing.",
    End.WATCHDOG: "The guest's user space was not scheduled for 30 s.",
    End.EXITED_EARLY: "The guest powered off or reset without being asked.",
    End.LOST: "QEMU died or was killed, or never started.",
    End.TIMEOUT: "Not done in time, on a host that was too busy to blame the guest.",
}

#: Preconditions that the host measures; those of the guest tests are found in their source.
NEEDS = {
    "build_id": ("The booted kernel is the one that was built.", "/sys/kernel/notes of the guest against vmlinux"),
    "config": (
        "Every option that the fragments ask for is in the running kernel's configuration.",
        "/proc/config.gz of the guest against kernel-configs/",
    ),
    "page_size": ("The page size is the machine's granule.", "AT_PAGESZ in /proc/self/auxv"),
    "swap": ("Swap is zram, and only that.", "/proc/swaps"),
    "swap_disk": ("The disk that tests swap to is there.", "/sys/block/*/serial and size"),
    "hardware_dirty_bit": (
        "The kernel uses hardware management of access flag and dirty state on a CPU that has it, and only there.",
        "the kernel's log, arch/arm64/kernel/cpufeature.c",
    ),
    "cpus_online": ("As many CPUs are online as the scenario wants.", "/sys/devices/system/cpu/online"),
    "folded_pages": (
        "Folios as large as a contiguous block were mapped as contiguous blocks before the call under test.",
        "the page tables, as read at the test's first checkpoint (docs/page-tables.md)",
    ),
}

COUNTERS = {
    "vmstat": ("/proc/vmstat: differences over a step, in events or pages.", "the kernel, mm/vmstat.c"),
    "mthp": (
        "hugepages-*kB/stats/*, summed over the sizes: differences over a step.",
        "Documentation/admin-guide/mm/transhuge.rst",
    ),
    "probe": ("Hits of the study's kprobes over a step.", "Documentation/trace/kprobetrace.rst"),
    "smaps": ("/proc/PID/smaps of the region, in KiB: differences over a step.", "Documentation/filesystems/proc.rst"),
    "pt": ("Counts of the page tables before and after a step, read from outside the guest.", "docs/page-tables.md"),
    "param": ("What the test says of itself: pages, folios, the seed of a random one.", "guest-tests/README.md"),
}


def explain(word: str, study: Study) -> list[Topic]:
    """Every meaning of a word; a study's names are those of ``study``. Raises UserError, with what comes near."""
    wanted = word.strip().lower()
    every = list(topics(study))
    found = [topic for topic in every if topic.word.lower() == wanted]
    found = found or [topic for topic in every if wanted in (f"exit {topic.word}", f"exit code {topic.word}".lower())]
    if not found and wanted.partition(".")[0] in COUNTERS:
        found = [topic for topic in every if topic.kind == "counter" and topic.word == wanted.partition(".")[0]]
    if not found and wanted.startswith("config "):
        found = [topic for topic in every if topic.word == "config"]
    found = found or list(_guest_need(wanted))
    if not found:
        raise UserError(
            f"nothing to explain about {word!r}",
            hint=near.hint(word, list(dict.fromkeys(topic.word for topic in every)), kind="word"),
        )
    return found


def page(topic: Topic) -> Page:
    """For a person."""
    told = (("means", " ".join(topic.meaning.split())), ("source", topic.source), ("look", topic.look))
    return Page(f"{topic.word} ({topic.kind})", (Section("", tuple(row for row in told if row[1])),))


def topics(study: Study) -> Iterator[Topic]:
    """Everything there is to explain, but what only a guest test's source tells."""
    for verdict, (meaning, look) in VERDICTS.items():
        yield Topic(str(verdict), "verdict", meaning, "pipeline/judge/verdict.py", look)
    for code, (meaning, look) in EXITS.items():
        yield Topic(str(int(code)), "exit code", meaning, "pipeline/errors.py", look)
    for outcome, meaning in OUTCOMES.items():
        yield Topic(str(outcome), "outcome of a cell", meaning, "pipeline/observation.py")
    for end, meaning in ENDS.items():
        yield Topic(str(end), "end of a boot", meaning, "pipeline/guest/ends.py", "boots/ID/console.log of the run")
    for need, (meaning, source) in NEEDS.items():
        yield Topic(need, "precondition", meaning, source, "kpv show cell CELL --run RUN has what was wanted and found")
    for counter, (meaning, source) in COUNTERS.items():
        yield Topic(counter, "counter", meaning, source, "a claim's expressions name them, e.g. vmstat.pglazyfree")
    for rule in RULES.values():
        yield Topic(rule.id, "rule on page tables", f"Must hold: {rule.title}.", rule.source, "docs/page-tables.md")
    for name, title in tlb.RULES.items():
        yield Topic(name, "rule of the TLB model", f"Must hold: {title}.", "qemu/contpte-tlb", "docs/hardware-model.md")
    for name, words in tlb.COUNTERS.items():
        yield Topic(f"tlb.{name}", "counter", f"{words[0].upper()}{words[1:]}.", "qemu/contpte-tlb/report.c")
    for name, title in BUILT_IN.items():
        yield Topic(
            name,
            "invariant of every kernel",
            f"{title}.",
            "pipeline/judge/invariants.py",
            "kpv report RUN --format text",
        )
    yield from _of_study(study)


def _of_study(study: Study) -> Iterator[Topic]:
    file = as_seen(study.path)
    for invariant in study.invariant:
        yield Topic(invariant.id, "invariant", *_invariant(invariant, study), file)
    for claim in study.claim:
        yield Topic(claim.id, "claim", _claim(claim), file, f"cells: {_some(claim.scenarios)}")
    for known in study.known:
        where = f"{', '.join(known.scenarios)} on {', '.join(known.kernels)}"
        yield Topic(known.id, f"known finding ({known.of})", known.explanation.strip(), file, f"where: {where}")
    for probe in study.probe:
        yield Topic(probe.id, "probe", f"Hits of {probe.symbol}(), as probe.{probe.id}.", file)
    properties: dict[str, list[str]] = {}
    for scenario in study.scenario:
        for name in scenario.properties:
            properties.setdefault(name, []).append(scenario.id)
    for name, scenarios in properties.items():
        yield Topic(name, "property", f"Decided by: {_some(scenarios)}.", "guest-tests/README.md")


def _invariant(invariant: Invariant, study: Study) -> tuple[str, str]:
    """Its meaning, with the row of the guest tests' table on checks, and its source."""
    if invariant.holds:
        return f"{invariant.title}. Holds when: {invariant.holds}.", f"step {invariant.step}"
    told = _row(resources.folder("guest-tests") / "README.md", invariant.id)
    scenarios = [s.id for s in study.scenario if invariant.id in s.checks]
    meaning = f"{invariant.title}." + (f" Holds when: {told}." if told else "")
    return meaning, f"guest-tests/README.md; checked by {_some(scenarios)}"


def _claim(claim: Claim) -> str:
    cost = " A cost: its failure is told as one, not as a defect." if claim.kind == "structure" else ""
    base = f" On the baseline: {claim.baseline}." if claim.baseline else ""
    return f"{claim.title}. In step {claim.step!r}: {claim.candidate}.{base}{cost}"


def _some(names: Iterable[str]) -> str:
    """The first few names, without repeats, and how many more."""
    names = list(dict.fromkeys(names))
    return ", ".join(names[:SOME]) + (f" and {len(names) - SOME} more" if len(names) > SOME else "")


def _row(path: Path, word: str) -> str:
    """The second column of the first row about ``word`` in a Markdown file's tables."""
    found = re.search(rf"^\| `{re.escape(word)}` \| (.*?) \|", path.read_text(encoding="utf-8"), re.M)
    return found[1] if found else ""


def _guest_need(word: str) -> Iterator[Topic]:
    """A precondition that a guest test measures: where its source names it."""
    root = resources.folder("guest-tests")
    for path in sorted([*root.glob("*.h"), *root.glob("*.c")]):
        text = path.read_text(encoding="utf-8")
        if found := re.search(rf'(?i:need)\w*\s*\([^;]*?"{re.escape(word)}"', text):
            line = text.count("\n", 0, found.end()) + 1
            yield Topic(
                word,
                "precondition",
                "A guest test measures it before it goes on; unmet, its cell is skipped and proves nothing.",
                f"guest-tests/{path.name}:{line}: {text.splitlines()[line - 1].strip()}",
                "kpv show cell CELL --run RUN has what was wanted and found",
            )
            return
