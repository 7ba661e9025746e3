"""A simple reader of a kernel's Kconfig files: enough to say why an option did not land.

It knows config, menuconfig, choice, menu, if, "depends on", prompts and
select; it reads every Kconfig file but those of other architectures, and does
not follow conditions around ``source``.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

ARCH = "arm64"

_TOKEN = re.compile(r'\s*(\|\||&&|!=|<=|>=|[()!=<>]|"(?:[^"\\]|\\.)*"|[A-Za-z0-9_./-]*[A-Za-z0-9_])')
_RANK = {"n": 0, "m": 1, "y": 2}


@dataclass
class Symbol:
    """``depends``: expressions that must all hold. ``prompt``: a person may set it. ``files``: where it is defined."""

    depends: list[list[str]] = field(default_factory=list)  # one list a definition
    prompt: bool = False
    choice: bool = False
    files: list[str] = field(default_factory=list)


@dataclass
class Symbols:
    defined: dict[str, Symbol] = field(default_factory=dict)
    selected_by: dict[str, list[str]] = field(default_factory=dict)


def read(tree: Path) -> Symbols:
    """Every option of the tree, by name without CONFIG_."""
    found = Symbols()
    for here, dirs, files in os.walk(tree):
        at = os.path.relpath(here, tree)
        if at == ".":
            dirs[:] = [d for d in dirs if d not in ("o", ".git", "Documentation", "tools", "scripts", "debian")]
        elif at == "arch":
            dirs[:] = [d for d in dirs if d == ARCH]
        for name in files:
            if name.startswith("Kconfig"):
                path = Path(here, name)
                _read_file(path.read_text(encoding="utf-8", errors="replace"), str(path.relative_to(tree)), found)
    return found


def _read_file(text: str, file: str, found: Symbols) -> None:
    blocks: list[tuple[str, list[str]]] = []  # enclosing if, menu and choice, each with its conditions
    current: Symbol | None = None
    name = ""
    depends: list[str] | None = None
    help_indent: int | None = None
    for line in re.sub(r"\\\n", " ", text).split("\n"):
        indent = len(line.expandtabs()) - len(line.expandtabs().lstrip())
        if help_indent is not None:
            if not line.strip() or indent >= help_indent > 0:
                continue
            if help_indent == 0 and indent > 0:
                help_indent = indent
                continue
            help_indent = None
        words = re.sub(r"(^|\s)#.*$", "", line).split()
        if not words:
            continue
        word, rest = words[0], " ".join(words[1:])
        if word in ("config", "menuconfig"):
            name = rest
            current = found.defined.setdefault(name, Symbol())
            current.files.append(file)
            current.choice = current.choice or any(kind == "choice" for kind, _ in blocks)
            depends = [each for _, conditions in blocks for each in conditions]
            current.depends.append(depends)
        elif word in ("if", "menu", "choice"):
            current, depends = None, [rest] if word == "if" else []
            blocks.append((word, depends))
        elif word in ("endif", "endmenu", "endchoice"):
            current = depends = None
            if blocks:
                blocks.pop()
        elif word in ("comment", "source", "mainmenu"):
            current = depends = None
        elif word == "depends" and depends is not None:
            depends.append(rest.removeprefix("on").strip())
        elif word in ("help", "---help---"):
            help_indent = 0
        elif current is None:
            continue
        elif word in ("bool", "tristate", "int", "hex", "string", "prompt") and rest:
            current.prompt = True
            if match := re.search(r'["\'] if (.+)$', rest):
                assert depends is not None
                depends.append(match[1])
        elif word in ("select", "imply") and rest:
            found.selected_by.setdefault(rest.split()[0], []).append(name)


def explain(name: str, wanted: str, final: dict[str, str], symbols: Symbols) -> str:
    """Why ``name`` is not ``wanted`` in the final config (option -> value), in one line."""
    symbol = symbols.defined.get(name)
    if symbol is None:
        return "no such option in this kernel"
    selecting = [each for each in symbols.selected_by.get(name, []) if final.get(each, "n") != "n"]
    if wanted == "n" and selecting:
        return f"selected by {', '.join(sorted(set(selecting))[:4])}"
    if not symbol.prompt:
        by = sorted(set(symbols.selected_by.get(name, [])))
        return "it cannot be set by hand" + (f", only selected by {', '.join(by[:6])}" if by else "")
    unmet = [[each for each in depends if evaluate(each, final) == 0] for depends in symbol.depends]
    if unmet and all(unmet):
        return "; ".join(f"depends on {each}, {_shown(each, final)}" for each in min(unmet, key=len))
    if symbol.choice:
        return f"it is one of a choice ({symbol.files[0]}), and another one is set"
    return f"its dependencies hold in {symbol.files[0]}; look there for a range, another type or an enclosing condition"


def _shown(expression: str, final: dict[str, str]) -> str:
    names = dict.fromkeys(t for t in _TOKEN.findall(expression) if re.fullmatch(r"[A-Z0-9_]*[A-Z_][A-Z0-9_]*", t))
    return " and ".join(f"{name} is {final.get(name, 'n')}" for name in names) or "which does not hold"


def evaluate(expression: str, final: dict[str, str]) -> int:
    """0, 1 or 2 for n, m or y (Documentation/kbuild/kconfig-language.rst); 2 where it cannot be read."""
    tokens = _TOKEN.findall(expression)
    if "$" in expression:  # a macro, e.g. $(cc-option,...): unknown here
        return 2
    try:
        value, rest = _or(tokens, final)
    except (IndexError, ValueError):
        return 2
    return value if not rest else 2


def _or(tokens: list[str], final: dict[str, str]) -> tuple[int, list[str]]:
    value, rest = _and(tokens, final)
    while rest and rest[0] == "||":
        other, rest = _and(rest[1:], final)
        value = max(value, other)
    return value, rest


def _and(tokens: list[str], final: dict[str, str]) -> tuple[int, list[str]]:
    value, rest = _not(tokens, final)
    while rest and rest[0] == "&&":
        other, rest = _not(rest[1:], final)
        value = min(value, other)
    return value, rest


def _not(tokens: list[str], final: dict[str, str]) -> tuple[int, list[str]]:
    head, rest = tokens[0], tokens[1:]
    if head == "!":
        value, rest = _not(rest, final)
        return 2 - value, rest
    if head == "(":
        value, rest = _or(rest, final)
        if rest[0] != ")":
            raise ValueError(rest[0])
        return value, rest[1:]
    if rest and rest[0] in ("=", "!=", "<", ">", "<=", ">="):
        left, right = _atom(head, final), _atom(rest[1], final)
        return (2 if _compare(left, rest[0], right) else 0), rest[2:]
    return _RANK.get(_atom(head, final), 0), rest


def _atom(token: str, final: dict[str, str]) -> str:
    if token.startswith('"'):
        return token.strip('"')
    if token in _RANK or re.fullmatch(r"0[xX][0-9a-fA-F]+|\d+", token):
        return token
    return final.get(token, "n").strip('"')


def _compare(left: str, operator: str, right: str) -> bool:
    if operator in ("=", "!="):
        return (left == right) == (operator == "=")
    a, b = (
        int(each, 0) if re.fullmatch(r"0[xX][0-9a-fA-F]+|\d+", each) else _RANK.get(each, 0) for each in (left, right)
    )
    return {"<": a < b, ">": a > b, "<=": a <= b, ">=": a >= b}[operator]
