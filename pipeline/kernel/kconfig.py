"""Config fragments: read, merged, and held against what the kernel's own Kconfig made of them."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError
from pipeline.kernel import kconfig_tree

_SET = re.compile(r"CONFIG_([A-Za-z0-9_]+)=(.+)")
_UNSET = re.compile(r"# CONFIG_([A-Za-z0-9_]+) is not set")
_VALUE = re.compile(r'[ymn]|-?\d+|0[xX][0-9a-fA-F]+|"(?:[^"\\]|\\.)*"')


class KconfigError(UserError):
    """A fragment is wrong, contradicts another, or asks for what this kernel does not give."""


@dataclass(frozen=True)
class Option:
    """One request: ``name`` without CONFIG_; ``value`` as in .config, "n" for "is not set"."""

    name: str
    value: str
    file: str
    line: int


@dataclass(frozen=True)
class Missing:
    """A request that did not land: ``got`` is "n" where the option is off or unknown."""

    option: str
    wanted: str
    got: str
    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return (
            f"{self.file}:{self.line}: CONFIG_{self.option}={self.wanted} did not land, it is {self.got}: {self.reason}"
        )


Requested = Mapping[str, Option]


def load(names: Iterable[str], *folders: Path) -> Requested:
    """The merged request of fragments ``<name>.config``, each from the first folder that has it.

    Raises KconfigError for a missing or unreadable fragment, and for a conflict.
    """
    merged: dict[str, Option] = {}
    for name in names:
        path = next((folder / f"{name}.config" for folder in folders if (folder / f"{name}.config").is_file()), None)
        if path is None:
            known = sorted({each.stem for folder in folders for each in folder.glob("*.config")})
            raise KconfigError(
                f"fragment {name!r}: no {name}.config in {', '.join(map(str, folders))}",
                hint=f"known fragments: {', '.join(known) or 'none'}",
            )
        merge(merged, parse(path.read_text(encoding="utf-8", errors="replace"), path.name))
    return merged


def parse(text: str, file: str) -> list[Option]:
    """The requests of one fragment, in order. Raises KconfigError with ``file:line``."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if match := _UNSET.fullmatch(line):
            found.append(Option(match[1], "n", file, number))
        elif not line or line.startswith("#"):
            continue
        elif (match := _SET.fullmatch(line)) and _VALUE.fullmatch(match[2]):
            found.append(Option(match[1], match[2], file, number))
        else:
            raise KconfigError(
                f'{file}:{number}: expected CONFIG_NAME=value or "# CONFIG_NAME is not set", found {line!r}',
                hint='values are y, n, m, a number or a "string"; comments stand on lines of their own',
            )
    return found


def merge(merged: dict[str, Option], options: Iterable[Option]) -> None:
    """Add requests to ``merged``. Raises KconfigError where two ask for different values."""
    for option in options:
        before = merged.setdefault(option.name, option)
        if before.value != option.value:
            raise KconfigError(
                f"{option.file}:{option.line}: CONFIG_{option.name}={option.value} contradicts "
                f"{before.file}:{before.line}, which asks for {before.value}",
                hint="keep one of the two, or do not use both fragments for one kernel",
            )


def text_of(requested: Requested) -> str:
    """One fragment with all requests, sorted: the same request gives the same text, whatever files it came from."""
    return "".join(
        f"# CONFIG_{name} is not set\n" if requested[name].value == "n" else f"CONFIG_{name}={requested[name].value}\n"
        for name in sorted(requested)
    )


def values(config_text: str) -> dict[str, str]:
    """Option -> value of a .config or /proc/config.gz text; what is not set is left out."""
    return {match[1]: match[2] for line in config_text.splitlines() if (match := _SET.fullmatch(line.strip()))}


def verify(requested: Requested, config_text: str, tree: Path | None) -> list[Missing]:
    """The requests that a final config does not meet, with the reason as far as the tree's Kconfig tells.

    ``tree``: the source, or None where only the config is at hand (a guest's /proc/config.gz).
    """
    final = values(config_text)
    bad = [each for each in requested.values() if not _equal(each.value, final.get(each.name, "n"))]
    symbols = kconfig_tree.read(tree) if bad and tree is not None else None
    return [
        Missing(
            each.name, each.value, final.get(each.name, "n"), each.file, each.line,
            "" if symbols is None else kconfig_tree.explain(each.name, each.value, final, symbols),
        )
        for each in bad
    ]  # fmt: skip


def require(requested: Requested, config_text: str, tree: Path | None, *, kernel: str) -> None:
    """Raises KconfigError that names fragment, line and unmet dependency, unless every request landed."""
    missing = verify(requested, config_text, tree)
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise KconfigError(
            f"kernel {kernel}: {missing[0]}{more}",
            hint="add what it depends on to a fragment, or take the option out",
            detail="\n".join(str(each) for each in missing),
        )


def _equal(wanted: str, got: str) -> bool:
    if re.match(r"0[xX]", wanted) and re.match(r"0[xX]", got):
        return int(wanted, 16) == int(got, 16)
    return wanted == got
