"""docs/study-reference.md, made of the models that read the files: ``python -m pipeline.reference > FILE``."""

import re
from collections.abc import Mapping
from typing import Any

from pipeline.cost import spec
from pipeline.guest.machine import Machine, Tlb
from pipeline.schema import Table
from pipeline.study import (
    BUILT_IN,
    Claim,
    Expect,
    Invariant,
    Kernel,
    Known,
    Probe,
    Scenario,
    Selection,
    Source,
    Study,
)
from pipeline.suite import Suite

#: Tables by heading, in the order of the page.
_STUDY: dict[str, type[Table]] = {
    "Top level": Study,
    "`[source]`": Source,
    "`[[kernel]]`": Kernel,
    "`expect` of a kernel": Expect,
    "`[[scenario]]`": Scenario,
    "`[[machine]]`": Selection,
    "`[[invariant]]`": Invariant,
    "`[[claim]]`": Claim,
    "`[[known]]`": Known,
    "`[[probe]]`": Probe,
    "`[[cost]]`": spec.Cost,
    "`[[published]]`": spec.Published,
    "`[[published.row]]`": spec.PublishedRow,
    "`[[bound]]`": spec.Bound,
}
#: Set by the program, not by who writes the file.
_INTERNAL = {"path"}

_HEAD = """\
# Study file: reference

Every key of a study file, a scenario file and a machine profile. This page is
made from the program's own models (`make reference`); [study.md](study.md)
says what the parts are for, and `patches/madvise-free-mthp/study.toml` is a
whole study. Paths in a study are relative to its file. An unknown key is a
mistake, told with file and line.
"""

_EXTENDS = (
    "| `extends` | string | nothing | Path of another study: whatever this file does not say is taken from there, "
    "key by key (a `[[kernel]]` here replaces all kernels there, and leaves `[[bound]]` and `[[published]]`, which "
    "name those, behind; `machines` here leaves `[[cost]]` and these two behind). The other study extends none itself |"
)

_EXTENDS_MACHINE = (
    "| `extends` | string | nothing | Id of another machine: whatever this file does not say is taken from there. "
    "The other machine extends none itself |"
)


def render() -> str:
    """The page, as Markdown."""
    parts = [_HEAD]
    for heading, table in _STUDY.items():
        parts.append(_section(f"## {heading}", table, extra=[_EXTENDS] if table is Study else []))
        if table is Invariant:
            parts.append(_built_in())
    parts.append(_section("## Scenario file: `guest-tests/<program>.toml`", Suite))
    parts.append(_section("## Machine profile: `qemu/<id>.toml`", Machine, extra=[_EXTENDS_MACHINE]))
    parts.append(_section("### `[tlb]` of a machine", Tlb))
    return "\n".join(parts)


def _section(heading: str, table: type[Table], *, extra: list[str] | None = None) -> str:
    schema = table.model_json_schema(by_alias=True)
    required = set(schema.get("required", ()))
    rows = []
    for name, field in schema["properties"].items():
        if name in _INTERNAL:
            continue
        if "description" not in field:
            raise ValueError(f"{table.__name__}.{name} has no docstring")
        default = "required" if name in required else _default(field, schema)
        rows.append(f"| `{name}` | {_kind(field, schema)} | {default} | {_prose(field['description'])} |")
    lines = [heading, "", _prose(table.__doc__ or "", keep_paragraphs=True), ""]
    lines += ["| key | type | if left out | meaning |", "|---|---|---|---|", *rows, *(extra or []), ""]
    return "\n".join(lines)


def _built_in() -> str:
    rows = [f"| `{name}` | {title} |" for name, title in BUILT_IN.items()]
    return "\n".join(["Every kernel is judged by these as well:", "", "| id | what holds |", "|---|---|", *rows, ""])


def _kind(field: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """The type as somebody who writes TOML would say it."""
    field = _resolved(field, schema)
    if "const" in field:
        return _literal(field["const"])
    if "enum" in field:
        return ", ".join(_literal(value) for value in field["enum"])
    match field.get("type"):
        case "array":
            item = _kind(field["items"], schema)
            return f"list of {item}s{', at least one' if field.get('minItems') else ''}"
        case "object":
            return "table"
        case "integer" | "number":
            return _range("whole number" if field["type"] == "integer" else "number", field)
        case "boolean":
            return "true, false"
        case "string":
            return "string"
    raise ValueError(f"no word for {field}")


def _range(word: str, field: Mapping[str, Any]) -> str:
    low = field.get("minimum", field.get("exclusiveMinimum"))
    high = field.get("maximum")
    above = "above" if "exclusiveMinimum" in field else "from"
    return word + (f" {above} {low}" if low is not None else "") + (f" to {high}" if high is not None else "")


def _default(field: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    value = field.get("default")
    if value in (None, "", [], ()):
        return "none" if _kind(field, schema).startswith("list") else "empty"
    if isinstance(value, dict):
        return "`{ " + ", ".join(f"{k} = {_literal(v).strip('`')}" for k, v in value.items() if v) + " }`"
    return _literal(value)


def _literal(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return f"`[{', '.join(_literal(each).strip('`') for each in value)}]`"
    return f'`"{value}"`' if isinstance(value, str) else f"{value}"


def _resolved(field: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in field or "anyOf" in field:
        if "anyOf" in field:  # a table that may be left out
            (field,) = (each for each in field["anyOf"] if each.get("type") != "null")
        else:
            field = schema["$defs"][field["$ref"].rsplit("/", 1)[1]]
    return field


def _prose(text: str, *, keep_paragraphs: bool = False) -> str:
    """A docstring as Markdown on one line a paragraph; single backticks, no pipe that would end a table's cell."""
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text.strip())]
    joined = ("\n\n" if keep_paragraphs else " ").join(paragraphs).replace("``", "`")
    return joined if keep_paragraphs else joined.removesuffix(".").replace("|", "\\|")


if __name__ == "__main__":
    import sys

    sys.stdout.write(render())
