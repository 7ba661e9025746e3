"""The language of claims: a Boolean expression over one step of one cell.

    mthp.split == param.folios and vmstat.pglazyfree == 16 * param.folios

Names: ``vmstat.X``, ``mthp.X``, ``probe.X``, ``smaps.X`` (deltas over the step), ``pt.X``
(counts of the page tables at its ends, ``X_before`` and ``X_after``), ``tlb.X`` (counts of the
TLB model), ``param.X`` (of the cell), ``ret``, ``errno``. Integers, ``+ - * //``, comparisons
(they chain), ``and``, ``or``, ``not``, parentheses. Nothing else, so a study file can never run
code.

Logic has three values (Kleene): a counter that was not observed makes what rests
on it undecided, never 0; ``False and undecided`` is still False.

Other rooms use the same grammar over names of their own, see ``Language``.
"""

import ast
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from pipeline.errors import UserError
from pipeline.observation import Step

GROUPS = ("vmstat", "mthp", "probe", "smaps", "pt", "tlb", "param")
#: Bounds keep a hostile study from exhausting the parser's or our own recursion.
MAX_LENGTH = 500
MAX_DEPTH = 40

_ARITHMETIC: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}
_COMPARE: dict[type[ast.cmpop], Callable[[int, int], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


@dataclass(frozen=True)
class Language:
    """The names an expression may use: ``group.X`` and ``scalars``.

    ``noun``: what an expression of it is called. ``where``: its place in the docs. The group
    ``param`` is what a test was asked for, every other one an observation.
    """

    groups: tuple[str, ...]
    scalars: tuple[str, ...] = ()
    noun: str = "a claim"
    where: str = "see the language of claims in docs/study.md"

    @property
    def allowed(self) -> str:
        names = ", ".join([" ".join(f"{group}.X" for group in self.groups), *self.scalars])
        return f"{names}, integers, + - * //, == != < <= > >=, and, or, not, parentheses"


CLAIM = Language(groups=GROUPS, scalars=("ret", "errno"))


class ExprError(UserError, ValueError):
    """The expression is not of the language; also a ValueError, so that pydantic tells it with its key."""


@dataclass(frozen=True)
class Undecided:
    """Neither true nor false; ``reason`` names the counter that is missing."""

    reason: str

    def __bool__(self) -> bool:
        raise TypeError("Undecided is neither true nor false; compare with `is True` or `is False`")


Truth = bool | Undecided


@dataclass(frozen=True)
class Broken:
    """A comparison that does not hold, as it stands in the expression, with the numbers on both sides."""

    text: str
    left: int
    right: int


@dataclass(frozen=True)
class Evaluation:
    """``values``: each name of the expression with its value, None where it was not observed.

    ``broken``: the comparisons that do not hold, whatever that means for the whole.
    """

    truth: Truth
    values: tuple[tuple[str, int | None], ...]
    broken: tuple[Broken, ...] = ()

    def __str__(self) -> str:
        return ", ".join(f"{name} = {'not observed' if value is None else value}" for name, value in self.values)


def check_syntax(text: str, language: Language = CLAIM) -> None:
    """Raise ExprError, telling the column and what is allowed, unless ``text`` is an expression of the language.

    It must be Boolean and must name at least one observation (``param`` alone is the
    test's own input, and a constant would pass on nothing).
    """
    _parse(text, language)


def names_in(text: str, language: Language = CLAIM) -> list[str]:
    """The names of an expression, ``group.X`` or a scalar, in its order. Raises ExprError as check_syntax does."""
    return list(dict.fromkeys(name for node in _in_order(_parse(text, language)) if (name := _name(node, language))))


def evaluate(text: str, step: Step, params: Mapping[str, int]) -> Evaluation:
    """The truth of a claim over one step, with the values it used. Raises ExprError as check_syntax does."""
    return evaluate_with(text, CLAIM, lambda name: _lookup(name, step, params))


def evaluate_with(text: str, language: Language, lookup: Callable[[str], int | None]) -> Evaluation:
    """The truth of ``text``; ``lookup`` gives the value of a name, None where it was not observed.

    Raises ExprError as check_syntax does.
    """
    tree = _parse(text, language)
    names = {name: lookup(name) for name in names_in(text, language)}
    return Evaluation(_truth(tree, names), tuple(names.items()), tuple(_broken(tree, names)))


def conjunction(truths: list[Truth]) -> Truth:
    """Three-valued ``and``: False if any is False, else undecided if any is, else True."""
    if any(truth is False for truth in truths):
        return False
    return next((truth for truth in truths if isinstance(truth, Undecided)), True)


@lru_cache(maxsize=1024)
def _parse(text: str, language: Language) -> ast.expr:
    if len(text) > MAX_LENGTH:
        raise ExprError(f"expression has {len(text)} characters, at most {MAX_LENGTH} are allowed", hint="make it two")
    if not text.isascii():
        column = next(at for at, char in enumerate(text, 1) if not char.isascii())
        raise _error(language, text, column, f"unexpected character {text[column - 1]!r}")
    if single := re.search(r"(?<![=!<>])=(?!=)", text):
        raise _error(language, text, single.start() + 1, "write == to compare")
    flat = re.sub(r"\s", " ", text)  # TOML's multi-line strings; the columns stay
    lead = len(flat) - len(flat.lstrip())
    if "\0" in flat:  # Pythons differ in what they call it, and where
        raise _error(language, text, flat.index("\0") + 1, "unexpected null character")
    try:
        tree = ast.parse(flat[lead:], mode="eval").body
    except SyntaxError as err:
        # Python tells column 0 where the text ends too early.
        raise _error(language, text, lead + err.offset if err.offset else len(text) + 1, err.msg) from err
    except (ValueError, RecursionError, MemoryError) as err:
        raise _error(language, text, 1, str(err) or type(err).__name__) from err
    kind = _check(tree, language, text, lead, 0)
    if kind != "truth":
        raise _error(language, text, lead + 1, f"{language.noun} is a comparison, this is a number")
    names = [_name(node, language) for node in ast.walk(tree)]
    if not any(name and not name.startswith("param.") for name in names):
        raise _error(language, text, lead + 1, "the expression names no observation")
    return tree


def _error(language: Language, text: str, column: int, what: str) -> ExprError:
    line = re.sub(r"\s", " ", text)
    return ExprError(
        f"column {column}: {what}; allowed are {language.allowed}",
        hint=language.where,
        detail=f"{line}\n{' ' * (column - 1)}^",
    )


def _check(node: ast.AST, language: Language, text: str, lead: int, depth: int) -> str:
    """The kind of a node, ``truth`` or ``number``; raises ExprError where it is not of the language."""
    column = lead + getattr(node, "col_offset", 0) + 1
    if depth > MAX_DEPTH:
        raise _error(language, text, column, f"nested more than {MAX_DEPTH} deep")

    def want(child: ast.AST, kind: str) -> None:
        if _check(child, language, text, lead, depth + 1) != kind:
            at = lead + getattr(child, "col_offset", 0) + 1
            word = {"truth": "a comparison", "number": "a number"}
            raise _error(language, text, at, f"expected {word[kind]} here")

    if _name(node, language) is not None or (isinstance(node, ast.Constant) and type(node.value) is int):
        return "number"
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        want(node.left, "number")
        want(node.right, "number")
        return "number"
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not)):
        kind = "truth" if isinstance(node.op, ast.Not) else "number"
        want(node.operand, kind)
        return kind
    if isinstance(node, ast.Compare) and all(type(op) in _COMPARE for op in node.ops):
        for child in (node.left, *node.comparators):
            want(child, "number")
        return "truth"
    if isinstance(node, ast.BoolOp):
        for child in node.values:
            want(child, "truth")
        return "truth"
    shown = (ast.get_source_segment(re.sub(r"\s", " ", text)[lead:], node) or type(node).__name__)[:40]
    raise _error(language, text, column, f"{shown!r} is not of the language")


def _name(node: ast.AST, language: Language) -> str | None:
    """``group.counter`` or a scalar such as ``ret``, if the node is one."""
    if isinstance(node, ast.Name) and node.id in language.scalars:
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in language.groups:
        return f"{node.value.id}.{node.attr}"
    return None


def _in_order(node: ast.AST) -> list[ast.AST]:
    """Nodes in the order of the text, so that the evidence reads like the expression."""
    nodes = [n for n in ast.walk(node) if hasattr(n, "col_offset")]
    return sorted(nodes, key=lambda n: n.col_offset)


def _lookup(name: str, step: Step, params: Mapping[str, int]) -> int | None:
    if name in CLAIM.scalars:
        return getattr(step, name)
    group, counter = name.split(".", 1)
    return params.get(counter) if group == "param" else getattr(step, group).get(counter)


def _truth(node: ast.AST, names: Mapping[str, int | None]) -> Truth:
    if isinstance(node, ast.BoolOp):
        truths = [_truth(child, names) for child in node.values]
        if isinstance(node.op, ast.And):
            return conjunction(truths)
        return _negate(conjunction([_negate(truth) for truth in truths]))
    if isinstance(node, ast.UnaryOp):
        return _negate(_truth(node.operand, names))
    assert isinstance(node, ast.Compare)
    numbers = [_number(child, names) for child in (node.left, *node.comparators)]
    return conjunction([_compare(op, a, b) for op, a, b in zip(node.ops, numbers, numbers[1:], strict=False)])


def _broken(tree: ast.expr, names: Mapping[str, int | None]) -> Iterator[Broken]:
    for node in _in_order(tree):
        if not isinstance(node, ast.Compare):
            continue
        sides = [node.left, *node.comparators]
        for op, left, right in zip(node.ops, sides, sides[1:], strict=False):
            a, b = _number(left, names), _number(right, names)
            if isinstance(a, int) and isinstance(b, int) and _compare(op, a, b) is False:
                yield Broken(ast.unparse(ast.Compare(left, [op], [right])), a, b)


def _negate(truth: Truth) -> Truth:
    return truth if isinstance(truth, Undecided) else not truth


def _compare(op: ast.cmpop, left: int | Undecided, right: int | Undecided) -> Truth:
    if isinstance(left, Undecided):
        return left
    if isinstance(right, Undecided):
        return right
    return _COMPARE[type(op)](left, right)


def _number(node: ast.AST, names: Mapping[str, int | None]) -> int | Undecided:
    if isinstance(node, (ast.Name, ast.Attribute)):
        value = names[name := ast.unparse(node)]
        return Undecided(f"{name} was not observed") if value is None else value
    if isinstance(node, ast.Constant):
        assert isinstance(node.value, int)  # _check let nothing else through
        return node.value
    if isinstance(node, ast.UnaryOp):
        operand = _number(node.operand, names)
        return operand if isinstance(operand, Undecided) else -operand
    assert isinstance(node, ast.BinOp)
    left, right = _number(node.left, names), _number(node.right, names)
    if isinstance(left, Undecided):
        return left
    if isinstance(right, Undecided):
        return right
    if isinstance(node.op, ast.FloorDiv) and right == 0:
        return Undecided("division by zero")
    return _ARITHMETIC[type(node.op)](left, right)
