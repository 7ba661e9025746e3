"""What the documents tell a reader to type: found, not chosen, so that none is skipped without a word."""

import re
import shutil
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
    """One command of a page. ``exits``: the code that the page says it ends with (``# exits 1: why``)."""

    page: str
    line: int
    text: str
    exits: int = 0

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"


def of_page(page: Path) -> list[Command]:
    """The commands of a page, in order: lines of ``sh`` fences and of indented blocks that start with a program."""
    return [
        command
        for number, line, fence in _code(page)
        if (command := _command(page, number, line)) is not None
        and (fence == "sh" or (fence == "" and _program(command.text) in PROGRAMS))
    ]


def doubtful(page: Path) -> list[str]:
    """Lines of indented blocks that could be typed, but start with a program that ``PROGRAMS`` does not know."""
    found = []
    for number, line, fence in _code(page):
        words = line.split()
        if fence == "" and words and words[0] not in PROGRAMS and "=" not in line and shutil.which(words[0]):
            found.append(f"{page.name}:{number}: {line.strip()}")
    return found


def _code(page: Path) -> list[tuple[int, str, str]]:
    """(number, text, language) of each line of code; "" for an indented block, after a blank line or another of it."""
    found, fence, inside, before = [], "", False, ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if match := re.match(r"```(\w*)", line):
            inside, fence = not inside, match[1] or "text"
        elif inside:
            found.append((number, line, fence))
        elif line.startswith("    ") and (not before.strip() or before.startswith("    ")):
            found.append((number, line[4:], ""))
        before = line
    return found


def _command(page: Path, number: int, line: str) -> Command | None:
    text, _, comment = line.partition("  # ") if "  # " in line else (line, "", "")
    if not text.strip() or text.lstrip().startswith("#"):
        return None
    exits = re.match(r"\s*exits (\d)", comment)
    return Command(str(page.relative_to(CHECKOUT)), number, text.strip(), int(exits[1]) if exits else 0)


def _program(text: str) -> str:
    words = text.split()
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words = words[1:]
    return words[0] if words else ""
