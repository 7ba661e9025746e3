"""The study file: one TOML file, typed and validated.

A study names kernels (source + series + config fragments), machines,
scenarios, and what is claimed of them. Every mistake in the file is told with
the file, the line and the fix.
"""

import functools
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from pipeline import resources, suite
from pipeline.cost import spec
from pipeline.cost.spec import Bound, Cost, Published
from pipeline.errors import UserError
from pipeline.schema import Id, Table, first_of, line_of, problems
from pipeline.suite import Scenario

Glob = str


class StudyError(UserError):
    """The study file cannot be used; the message starts with file:line."""


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


class Invariant(Table):
    """Holds for every correct kernel. Decided by the guest's checks of this name, see ``Scenario.checks``."""

    id: Id
    title: str


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
    #: Guest programs whose scenario files (``guest-tests/<program>.toml``) the study takes.
    programs: tuple[Id, ...] = ()
    kernel: Annotated[tuple[Kernel, ...], Field(min_length=1)]
    scenario: Annotated[tuple[Scenario, ...], Field(min_length=1)]
    invariant: tuple[Invariant, ...] = ()
    claim: tuple[Claim, ...] = ()
    known: tuple[Known, ...] = ()
    probe: tuple[Probe, ...] = ()
    #: What ``kpv cost`` counts, what was published of it, and the bounds it must keep.
    cost: tuple[Cost, ...] = ()
    published: tuple[Published, ...] = ()
    bound: tuple[Bound, ...] = ()
    #: Whether claims are compared with a baseline. A study without one may say false: what
    #: `candidate` says is then all there is, and another study shows that it discriminates.
    compare: bool = True
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
        for kind in ("kernel", "known", "probe", "bound"):
            _unique(kind, [entry.id for entry in getattr(self, kind)])
        names = [f"{s.id}.{v}" for s in self.scenario for v in s.variants]
        _unique("scenario", names)
        _unique("claim or invariant", [e.id for e in (*self.claim, *self.invariant)])
        if sum(k.role == "baseline" for k in self.kernel) > 1:
            raise ValueError('more than one kernel has role = "baseline"; keep one')
        if not self.compare and self.baseline is not None:
            raise ValueError(f"compare = false, but kernel {self.baseline.id} is a baseline; leave one of them out")
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
        self._checks()
        spec.check(self.cost, self.published, self.bound, [kernel.id for kernel in self.kernel])
        for entry in (*self.claim, *self.known):
            for glob in entry.scenarios:
                if not any(matches(name, glob) for name in names):
                    raise ValueError(f"{entry.id}: scenarios = {glob!r} matches no scenario of the study")
        return self

    def _checks(self) -> None:
        """What scenarios check and what the study judges by fit together."""
        invariants = {invariant.id for invariant in self.invariant}
        for scenario in self.scenario:
            for name in scenario.checks:
                if name not in invariants:
                    raise ValueError(f"scenario {scenario.id}: checks {name!r}, no invariant of the study")
        for name in invariants - {name for scenario in self.scenario for name in scenario.checks}:
            raise ValueError(f"invariant {name!r} is checked by no scenario of the study")


#: Invariants that every kernel is judged by, whatever the study says.
BUILT_IN = {
    "builds": "The kernel builds",
    "boots": "The kernel boots and answers over SSH",
    "console-clean": "No oops, BUG, WARNING or bad page state on the console",
    "completes": "Each scenario ends within its limit and the guest stays alive",
    "block-attributes": "Every contiguous block is as the architecture wants it",
}


def matches(name: str, glob: Glob) -> bool:
    """Whether ``<scenario>.<variant>`` matches a glob, in which only ``*`` and ``?`` are special."""
    return _pattern(glob).fullmatch(name) is not None


@functools.cache
def _pattern(glob: Glob) -> re.Pattern[str]:
    return re.compile(re.escape(glob).replace(r"\*", ".*").replace(r"\?", "."))


def load(path: Path) -> Study:
    """Read and validate a study file, or ``study.toml`` of a folder.

    Raises StudyError with ``file:line: what is wrong`` and a hint.
    """
    if path.is_dir():
        path /= "study.toml"
    text, data = _read(path)
    if (base := data.pop("extends", None)) is not None:
        data = {**_extended(path, text, base), **data}
    # The file's own scenarios come first: a mistake in one is then told with its place in the file.
    own, programs = data.get("scenario", []), data.get("programs", [])
    if isinstance(own, list) and isinstance(programs, list):
        folder = resources.folder("guest-tests")
        taken = [scenario for program in programs for scenario in suite.load(folder, str(program), wanted_by=path)]
        data["scenario"] = [*own, *taken]
    try:
        return Study.model_validate({**data, "path": path.resolve()})
    except ValidationError as err:
        raise _explain(path, text, err) from err


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as err:
        raise StudyError(
            f"{path}: cannot read the study file: {err.strerror}",
            hint="name a study.toml, or a folder that holds one",
        ) from err
    except UnicodeDecodeError as err:
        raise StudyError(f"{path}: not UTF-8 text (byte {err.start})", hint="save the file as UTF-8") from err
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as err:
        raise StudyError(f"{path}: not valid TOML: {err}", hint="mend the line that the message names") from err


def _extended(path: Path, text: str, base: object) -> dict[str, Any]:
    """The keys of the study that one extends: a sound study that extends none itself."""
    where = f"{path}:{line_of(text, ('extends',))}: extends"
    if not isinstance(base, str):
        raise StudyError(f"{where}: expected the path of a study file, found {base!r}")
    other = path.parent / base
    _, data = _read(other)
    if "extends" in data:
        raise StudyError(f"{where}: {other} extends another study itself", hint="name the study that extends none")
    load(other)
    return data


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
