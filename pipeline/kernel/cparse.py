"""C headers cut into definitions: macros, functions, preprocessor lines and the rest. No compiler, and no guess:
a text that cannot be cut for certain raises ``Unreadable``."""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

WORD = re.compile(r"[A-Za-z_]\w*")
_NOISE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|' + r"'(?:\\.|[^'\\\n])*'", re.DOTALL)
_DEFINE = re.compile(r"\s*#\s*define\s+(\w+)(\(([^)]*)\))?")
#: What stands beside a function's name with arguments of its own, and names no function.
_ATTRIBUTES = frozenset(
    {"__attribute__", "__printf", "__acquires", "__releases", "__must_hold", "__cond_acquires", "__alloc_size",
     "__aligned", "__section", "__nonnull", "__assume_aligned", "__malloc"}
)  # fmt: skip


class Unreadable(Exception):
    """A header is not written so that it can be cut, e.g. a brace is closed in another branch of an #if."""


@dataclass(frozen=True)
class Chunk:
    """A piece of a header. ``names``: what it defines; of a function with other words that have arguments before
    its body all of them, since any may be the function's. ``text``: without comments, blanks squeezed, strings
    replaced by their checksum. ``head``: the words before a function's body, ``words``: those of the rest."""

    kind: Literal["macro", "function", "directive", "other"]
    text: str
    names: frozenset[str] = frozenset()
    head: frozenset[str] = frozenset()
    words: frozenset[str] = field(default=frozenset())


def plain(text: str) -> str:
    """Text as after the first phases of translation: lines joined, no comments; strings become their checksum."""
    return _NOISE.sub(
        lambda found: f'"{zlib.crc32(found[0].encode())}"' if found[0][0] in "\"'" else " ", text.replace("\\\n", " ")
    )


def words_of(text: str) -> frozenset[str]:
    """Every identifier outside comments and strings."""
    return frozenset(WORD.findall(plain(text)))


def chunks(text: str) -> list[Chunk]:
    """The pieces of a header in order. Raises Unreadable."""
    return list(_cut(text))


def _cut(text: str) -> Iterator[Chunk]:
    lines: list[str] = []
    depth = 0
    for line in plain(text).split("\n"):
        if line.lstrip().startswith("#"):
            chunk = _directive(line)
            if depth == 0 or chunk.kind == "macro":
                yield chunk
            if depth > 0:  # it belongs to the function, or the type, that it stands in
                lines.append(line)
            continue
        lines.append(line)
        depth += line.count("{") - line.count("}")
        at_start = line.startswith("}")  # closes what is at the outermost level, in kernel style
        if depth < 0 or (at_start and depth != 0):
            raise Unreadable(f"unbalanced braces at: {line.strip()[:60]}")
        if depth == 0 and line.rstrip().endswith((";", "}")):
            yield _code(" ".join(lines))
            lines = []
    if depth != 0:
        raise Unreadable("unbalanced braces at the end")
    if "".join(lines).strip():
        yield _code(" ".join(lines))


def _directive(line: str) -> Chunk:
    squeezed = " ".join(line.split())
    found = _DEFINE.match(line)
    if found is None:
        return Chunk("directive", squeezed, words=frozenset(WORD.findall(line)))
    words = frozenset(WORD.findall(line[found.end() :]))
    return Chunk("macro", squeezed, names=frozenset({found[1]}), words=words)


def _code(text: str) -> Chunk:
    squeezed = " ".join(text.split())
    head, brace, body = text.partition("{")
    names = called(head)
    if brace and names and "=" not in head:
        words = frozenset(WORD.findall(body))
        return Chunk("function", squeezed, names=names, head=frozenset(WORD.findall(head)), words=words)
    return Chunk("other", squeezed, names=names, words=frozenset(WORD.findall(text)))


def called(head: str) -> frozenset[str]:
    """Identifiers with parentheses at the outermost level: of a prototype, or the head of a function, its name."""
    found, depth, last = set(), 0, ""
    for token in re.findall(r"\w+|[()]", head):
        if token == "(":
            if depth == 0 and WORD.fullmatch(last):
                found.add(last)
            depth += 1
        elif token == ")":
            depth -= 1
        last = token
    return frozenset(found) - _ATTRIBUTES


def pasted(chunk: Chunk) -> frozenset[str]:
    """Of a macro with ``##``: the words pasted that are none of its parameters."""
    if chunk.kind != "macro" or "##" not in chunk.text:
        return frozenset()
    found = _DEFINE.match(chunk.text)
    assert found is not None
    params = {each.strip().rstrip(".") for each in (found[3] or "").split(",")} | {"__VA_ARGS__", ""}
    parts = chunk.text[found.end() :].split("##")
    sides = {re.search(r"\w*$", left.rstrip())[0] for left in parts[:-1]}  # type: ignore[index]
    sides |= {re.match(r"\w*", right.lstrip())[0] for right in parts[1:]}  # type: ignore[index]
    return frozenset(sides - params)
