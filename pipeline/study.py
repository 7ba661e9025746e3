"""The study file: one TOML file, typed and validated.

A study names kernels (source + series + config fragments), machines,
scenarios, and what is claimed of them. Every mistake in the file is told with
the file, the line and the fix.
"""

import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.errors import UserError

Id = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=64)]
Glob = str


class StudyError(UserError):
    """The study file cannot be used; the message starts with file:line."""


class Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(Table):
    """Where the kernel tree comes from: ``debian:PACKAGE``, ``git:PATH@REV``, ``tar:PATH`` or ``dir:PATH``."""

    tree: Annotated[str, Field(pattern=r"^(debian|git|tar|dir):.+")]


class Expect(Table):
    """The verdict a study expects of a kernel, and on what: ids of claims and invariants that fail."""

    verdict: Literal["PASS", "FAIL", "INCONCLUSIVE"]
    failing: tuple[Id, ...] = ()


class Kernel(Table):
    """A kernel of the study: the common source and fragments plus its own series.

    ``series``: patch files, mboxes, or folders with a quilt ``series`` file,
    relative to the study file, applied in order.
    """

    id: Id
    title: str = ""
    role: Literal["baseline", "candidate"] = "candidate"
    series: tuple[str, ...] = ()
    fragments: tuple[str, ...] = ()
    expect: Expect = Expect(verdict="PASS")


class Scenario(Table):
    """A guest test, ``fixture.<variant>.<id>`` of ``guest-tests/<program>.c``, per variant.

    ``properties``: the numbered properties it decides. ``timeout``: seconds for one cell.
    """

    id: Id
    title: str
    program: Id
    fixture: Id
    variants: Annotated[tuple[str, ...], Field(min_length=1)]
    properties: tuple[str, ...] = ()
    machines: tuple[Id, ...] = ()
    timeout: Annotated[int, Field(gt=0, le=3600)] = 30


class Invariant(Table):
    """Holds for every correct kernel. Decided by the guest's checks of this name in the matching scenarios."""

    id: Id
    title: str
    scenarios: Annotated[tuple[Glob, ...], Field(min_length=1)]


class Claim(Table):
    """What the series says it changes, as expressions over one step of a cell.

    ``candidate`` must be true on a candidate; ``baseline``, when given, must be
    true on the baseline, or the claim does not discriminate. See
    ``pipeline.judge.expr`` for the language: ``mthp.split == param.folios``.
    ``scenarios`` are globs over ``<scenario>.<variant>``.
    """

    id: Id
    title: str
    scenarios: Annotated[tuple[Glob, ...], Field(min_length=1)]
    step: str
    candidate: str
    baseline: str = ""
    machines: tuple[Id, ...] = ()
    #: "function": a failure is a defect. "structure": a cost, its own verdict class.
    kind: Literal["function", "structure"] = "function"


class Known(Table):
    """A failure that is understood: shown, counted, never hidden.

    Matches a violated invariant or claim ``of`` on kernels, machines and
    ``<scenario>.<variant>`` globs.
    """

    id: Id
    of: Id
    scenarios: Annotated[tuple[Glob, ...], Field(min_length=1)]
    kernels: tuple[Glob, ...] = ("*",)
    machines: tuple[Glob, ...] = ("*",)
    explanation: str


class Probe(Table):
    """A kprobe event of the study: ``symbol`` becomes the counter ``probe.<id>``."""

    id: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*$")]
    symbol: str


class Study(Table):
    """One study file, whole. ``path`` is where it was read from."""

    schema_version: Literal[1] = Field(alias="schema")
    id: Id
    title: str
    links: tuple[str, ...] = ()
    source: Source
    fragments: Annotated[tuple[str, ...], Field(min_length=1)]
    machines: Annotated[tuple[Id, ...], Field(min_length=1)]
    tracepoints: tuple[str, ...] = ()
    kernel: Annotated[tuple[Kernel, ...], Field(min_length=1)]
    scenario: Annotated[tuple[Scenario, ...], Field(min_length=1)]
    invariant: tuple[Invariant, ...] = ()
    claim: tuple[Claim, ...] = ()
    known: tuple[Known, ...] = ()
    probe: tuple[Probe, ...] = ()
    #: What the emulator cannot show of this study, for the report.
    limits: tuple[str, ...] = ()
    path: Path = Path()

    @property
    def folder(self) -> Path:
        return self.path.parent

    @property
    def baseline(self) -> Kernel | None:
        return next((k for k in self.kernel if k.role == "baseline"), None)

    @model_validator(mode="after")
    def _references(self) -> "Study":
        for kind in ("kernel", "scenario", "known", "probe"):
            _unique(kind, [entry.id for entry in getattr(self, kind)])
        _unique("claim or invariant", [e.id for e in (*self.claim, *self.invariant)])
        if sum(k.role == "baseline" for k in self.kernel) > 1:
            raise ValueError('more than one kernel has role = "baseline"; keep one')
        judged = {e.id for e in (*self.claim, *self.invariant)} | set(BUILT_IN)
        for kernel in self.kernel:
            for name in kernel.expect.failing:
                if name not in judged:
                    raise ValueError(f"kernel {kernel.id}: expect.failing names {name!r}, no claim or invariant")
        for known in self.known:
            if known.of not in judged:
                raise ValueError(f"known {known.id}: of = {known.of!r} is no claim or invariant")
        for scenario in self.scenario:
            for machine in scenario.machines:
                if machine not in self.machines:
                    raise ValueError(f"scenario {scenario.id}: machine {machine!r} is not among the study's machines")
        names = [f"{s.id}.{v}" for s in self.scenario for v in s.variants]
        for entry in (*self.claim, *self.invariant, *self.known):
            for glob in entry.scenarios:
                if not any(matches(name, glob) for name in names):
                    raise ValueError(f"{entry.id}: scenarios = {glob!r} matches no scenario of the study")
        return self


#: Invariants that every kernel is judged by, whatever the study says.
BUILT_IN = {
    "builds": "The kernel builds",
    "boots": "The kernel boots and answers over SSH",
    "console-clean": "No oops, BUG, WARNING or bad page state on the console",
    "completes": "Each scenario ends within its limit and the guest stays alive",
}


def matches(name: str, glob: Glob) -> bool:
    """Whether ``<scenario>.<variant>`` matches a glob, in which only ``*`` and ``?`` are special."""
    pattern = re.escape(glob).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(pattern, name) is not None


def load(path: Path) -> Study:
    """Read and validate a study file.

    Raises StudyError with ``file:line: what is wrong`` and a hint.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except IsADirectoryError:
        return load(path / "study.toml")
    except OSError as err:
        raise StudyError(
            f"{path}: cannot read the study file: {err.strerror}",
            hint="name a study.toml, or a folder that holds one",
        ) from err
    except UnicodeDecodeError as err:
        raise StudyError(f"{path}: not UTF-8 text (byte {err.start})", hint="save the file as UTF-8") from err
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as err:
        raise StudyError(f"{path}: not valid TOML: {err}", hint="mend the line that the message names") from err
    try:
        return Study.model_validate({**data, "path": path.resolve()})
    except ValidationError as err:
        raise _explain(path, text, err) from err


def _unique(kind: str, ids: list[str]) -> None:
    for name in ids:
        if ids.count(name) > 1:
            raise ValueError(f"{kind} id {name!r} is used {ids.count(name)} times; ids are unique")


def _explain(path: Path, text: str, err: ValidationError) -> StudyError:
    lines = problems(path, text, err, whole="study")
    return StudyError(
        first_of(lines),
        hint="see the study reference in docs/study.md, or patches/madvise-free-mthp/study.toml",
        detail="\n".join(lines[1:]),
    )


def problems(path: Path, text: str, err: ValidationError, *, whole: str) -> list[str]:
    """Each mistake in a TOML file as ``file:line: key: what is wrong``; ``whole`` names a mistake of no one key."""
    lines = []
    for problem in err.errors():
        loc = tuple(part for part in problem["loc"] if isinstance(part, (str, int)))
        where = ".".join(str(part) for part in loc) or whole
        message = {"extra_forbidden": "unknown key", "missing": "required key is missing"}.get(
            problem["type"], problem["msg"].removeprefix("Value error, ")
        )
        found = problem.get("input")
        shown = f", found {found!r}" if isinstance(found, (str, int, float, bool)) else ""
        lines.append(f"{path}:{line_of(text, loc)}: {where}: {message}{shown}")
    return lines


def first_of(lines: list[str]) -> str:
    """The first of some mistakes, and how many more there are."""
    return lines[0] + (f" (and {len(lines) - 1} more)" if len(lines) > 1 else "")


def line_of(text: str, loc: tuple[str | int, ...]) -> int:
    """The 1-based line of a key path such as ``("kernel", 1, "role")``.

    Follows ``[table]`` and ``[[array]]`` headers; where the key is missing, the
    line of the table that should hold it; 1 where nothing matches.
    """
    current: tuple[str | int, ...] = ()
    counts: dict[str, int] = {}
    best, best_len = 1, 0
    for number, line in enumerate(text.splitlines(), 1):
        if array := re.match(r"\s*\[\[\s*([\w.-]+)\s*\]\]", line):
            name = array[1]
            counts[name] = counts.get(name, -1) + 1
            current = (*_indexed(name, counts), counts[name])
        elif table := re.match(r"\s*\[\s*([\w.-]+)\s*\]", line):
            current = _indexed(table[1], counts, last=True)
        elif key := re.match(r"\s*([\w-]+(?:\.[\w-]+)*)\s*=", line):
            candidate = (*current, *key[1].split("."))
            if candidate == loc[: len(candidate)] and len(candidate) > best_len:
                best, best_len = number, len(candidate)
            continue
        else:
            continue
        if current == loc[: len(current)] and len(current) > best_len:
            best, best_len = number, len(current)
    return best


def _indexed(name: str, counts: dict[str, int], *, last: bool = False) -> tuple[str | int, ...]:
    parts: list[str | int] = []
    pieces = name.split(".")
    for at, piece in enumerate(pieces):
        parts.append(piece)
        prefix = ".".join(pieces[: at + 1])
        if prefix in counts and (last or at < len(pieces) - 1):
            parts.append(counts[prefix])
    return tuple(parts)
