"""What the documents tell a reader to type: found, not chosen, so that none is skipped without a word."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
PAGES = [
    CHECKOUT / "README.md",
    CHECKOUT / "guest-tests" / "README.md",
    *sorted((CHECKOUT / "docs").rglob("*.md")),
]

#: First words that make a line of an indented block a command. What else looks like one is told by ``doubtful``.
PROGRAMS = {
    "kpv", ".venv/bin/kpv", "make", "sh", "git", "mkdir", "cp", "cat", "echo", "for", "lazyfree", "sed", "pipx", "b4",
    "python3", "trace-cmd",
}  # fmt: skip


@dataclass(frozen=True)
class Command:
    """What is typed at once: a line of an indented block, or a whole ``sh`` fence.

    ``exits``: the code that the page says it ends with (``# exits 1: why``).
    """

    page: str
    line: int
    text: str
    exits: int = 0

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"


def of_page(page: Path) -> list[Command]:
    """The commands of a page, in order."""
    found = []
    for number, block, fence in _code(page):
        if fence == "sh":
            found.append(_command(page, number, block))
        elif fence == "":
            lines = enumerate(block.split("\n"), number)
            found += [_command(page, at, line) for at, line in lines if _program(line) in PROGRAMS]
    return found


def doubtful(page: Path) -> list[str]:
    """Lines of indented blocks that could be typed, but start with a program that ``PROGRAMS`` does not know."""
    return [
        f"{page.name}:{at}: {line}"
        for number, block, fence in _code(page)
        for at, line in enumerate(block.split("\n"), number)
        if fence == "" and (program := _program(line)) and program not in PROGRAMS
        if "=" not in line and shutil.which(program)
    ]


def _code(page: Path) -> Iterator[tuple[int, str, str]]:
    """(line, text, language) of each block of code; the language of an indented block is "", of a bare fence "text"."""
    lines = page.read_text(encoding="utf-8").splitlines()
    at = 0
    while at < len(lines):
        if match := re.match(r"```(\w*)", lines[at]):
            end = next(n for n in range(at + 1, len(lines)) if lines[n].startswith("```"))
            yield at + 2, "\n".join(lines[at + 1 : end]), match[1] or "text"
            at = end + 1
        elif lines[at].startswith("    ") and (at == 0 or not lines[at - 1].strip()):
            end = next((n for n in range(at, len(lines)) if not lines[n].startswith("    ")), len(lines))
            yield at + 1, "\n".join(line[4:] for line in lines[at:end]), ""
            at = end
        else:
            at += 1


def _command(page: Path, number: int, text: str) -> Command:
    exits = re.search(r"# exits (\d)", text)
    shown = re.sub(r"\s+# .*", "", text) if "\n" not in text else text
    return Command(str(page.relative_to(CHECKOUT)), number, shown.strip(), int(exits[1]) if exits else 0)


def _program(line: str) -> str:
    words = line.split()
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words = words[1:]
    return words[0] if words and not line.startswith("#") else ""
