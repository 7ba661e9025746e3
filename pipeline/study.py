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
    """``debian:linux-source-6.12`` (an installed Debian source package), ``debian:linux-source-7.2@sid`` (one of
    another suite, fetched once and not installed), ``git:PATH@REV``, ``tar:PATH`` or ``dir:PATH``. It is never
    written to."""


class Expect(Table):
    """The verdict a study expects of a kernel, and on what: ids of claims and invariants that fail."""

    verdict: Literal["PASS", "FAIL", "INCONCLUSIVE"]
    """Of the kernel as a whole."""
    failing: tuple[Id, ...] = ()
    """Ids of exactly the claims and invariants that it fails."""


class Kernel(Table):
    """A kernel of the study: the common source and fragments plus its own series."""

    id: Id
    """Its name in commands, files and reports."""
    title: str = ""
    """One line."""
    role: Literal["baseline", "candidate"] = "candidate"
    """``"baseline"`` for one kernel at most."""
    series: tuple[str, ...] = ()
    """Patch files, mboxes, or folders with a quilt ``series`` file, relative to the study file, applied in order,
    without fuzz."""
    fragments: tuple[str, ...] = ()
    """More config fragments, for this kernel alone."""
    expect: Expect = Expect(verdict="PASS")
    """What it is expected to be judged as: ``{ verdict = "FAIL", failing = ["fold-kept"] }``."""


class Invariant(Table):
    """Holds for every correct kernel. The guest tests print checks by name; an invariant is decided by the checks of
    its id in the scenarios that name it in ``checks``. A check that fails anywhere else is a violation all the same.

    One with ``holds`` is decided by that expression instead, on every kernel.
    """

    id: Id
    """The name of the check."""
    title: str
    """What holds, as a statement."""
    holds: str = ""
    """Expression over a step that must be true, in the language of claims."""
    step: str = ""
    """Name of the step."""
    scenarios: tuple[Glob, ...] = ()
    """Globs over ``<scenario>.<variant>``: where it is decided."""
    machines: tuple[Id, ...] = ()
    """Machines it is decided on; all if left out."""

    @model_validator(mode="after")
    def _whole(self) -> "Invariant":
        if any((self.holds, self.step, self.scenarios, self.machines)) and not (self.holds and self.step):
            raise ValueError("an invariant of an expression has both holds and step")
        if self.holds and not self.scenarios:
            raise ValueError("an invariant of an expression names its scenarios")
        return self


class Selection(Table):
    """Keeps one of the study's machines to some scenarios; without an entry it runs all."""

    id: Id
    """One of ``machines``."""
    scenarios: Annotated[tuple[Glob, ...], Field(min_length=1)]
    """Globs over ``<scenario>.<variant>``."""


class Claim(Table):
    """What the series says it changes, as expressions over the counters of one step of a cell. See the language of
    claims in [study.md](study.md#the-language-of-claims)."""

    id: Id
    """Its name in commands and reports."""
    title: str
    """What is claimed, as a statement."""
    scenarios: Annotated[tuple[Glob, ...], Field(min_length=1)]
    """Globs over ``<scenario>.<variant>``."""
    step: str
    """Name of a step that the guest test records, e.g. ``free``."""
    candidate: str
    """Expression that must be true on a candidate."""
    baseline: str = ""
    """Expression that must be true on the baseline, so that the claim discriminates; may be left out."""
    machines: tuple[Id, ...] = ()
    """Machines it is decided on; all if left out."""
    kind: Literal["function", "structure"] = "function"
    """``"function"``: a failure is a defect. ``"structure"``: a cost, whose failure is told as such."""


class Known(Table):
    """A failure that is understood: shown and counted as KNOWN, never hidden."""

    id: Id
    """Its name in reports."""
    of: Id
    """The claim or invariant that fails."""
    scenarios: Annotated[tuple[Glob, ...], Field(min_length=1)]
    """Globs over ``<scenario>.<variant>``: where it fails."""
    kernels: tuple[Glob, ...] = ("*",)
    """Globs: on which kernels."""
    machines: tuple[Glob, ...] = ("*",)
    """Globs: on which machines."""
    explanation: str
    """Why, for the report."""


class Probe(Table):
    """A kprobe event of the study, counted over each step."""

    id: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*$")]
    """The counter is ``probe.<id>``."""
    symbol: str
    """Kernel function to place the kprobe on. Where this build has it not, what needs it is INCONCLUSIVE."""


class Study(Table):
    """One study file, whole."""

    schema_version: Literal[1] = Field(alias="schema")
    """The version of this format."""
    id: Id
    """Short name: lower case letters, digits, ``.``, ``_``, ``-``."""
    title: str
    """One line."""
    links: tuple[str, ...] = ()
    """Where the series was discussed."""
    source: Source
    """The tree that every kernel is built from."""
    fragments: Annotated[tuple[str, ...], Field(min_length=1)]
    """Config fragments of every kernel, from the study's folder or ``kernel-configs/``, merged over ``allnoconfig``."""
    machines: Annotated[tuple[Id, ...], Field(min_length=1)]
    """Machine profiles, ``qemu/<id>.toml``."""
    machine: tuple[Selection, ...] = ()
    """Machines that do not run every scenario."""
    tracepoints: tuple[str, ...] = ()
    """``system:event``, recorded into each boot's trace.dat."""
    programs: tuple[Id, ...] = ()
    """Guest tests whose scenarios the study takes, each from ``guest-tests/<program>.toml``."""
    kernel: Annotated[tuple[Kernel, ...], Field(min_length=1)]
    """The kernels that are compared."""
    scenario: Annotated[tuple[Scenario, ...], Field(min_length=1)]
    """Scenarios of the study's own, besides those of ``programs``, which count for "at least one"."""
    invariant: tuple[Invariant, ...] = ()
    """What every correct kernel keeps."""
    claim: tuple[Claim, ...] = ()
    """What the series says it changes."""
    known: tuple[Known, ...] = ()
    """Failures that are understood."""
    probe: tuple[Probe, ...] = ()
    """Kernel functions whose calls are counted."""
    cost: tuple[Cost, ...] = ()
    """Operations that ``kpv cost`` counts."""
    published: tuple[Published, ...] = ()
    """Published tables to set beside the counts."""
    bound: tuple[Bound, ...] = ()
    """What a cost must keep."""
    compare: bool = True
    """False in a study without a baseline, whose claims another study shows to discriminate: ``candidate`` alone
    decides them."""
    limits: tuple[str, ...] = ()
    """What the emulator cannot show of this study; printed in every report."""
    path: Path = Path()
    """Where the study was read from; not a key of the file."""

    @property
    def folder(self) -> Path:
        return self.path.parent

    @property
    def baseline(self) -> Kernel | None:
        return next((k for k in self.kernel if k.role == "baseline"), None)

    def runs(self, scenario: Scenario, variant: str) -> tuple[str, ...]:
        """The machines that run a scenario's variant, in the study's order."""
        name = f"{scenario.id}.{variant}"
        selected = {entry.id: entry.scenarios for entry in self.machine}
        return tuple(
            machine
            for machine in (scenario.machines or self.machines)
            if machine not in selected or any(matches(name, glob) for glob in selected[machine])
        )

    @model_validator(mode="after")
    def _references(self) -> "Study":
        for kind in ("kernel", "known", "probe", "machine", "bound"):
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
        spec.check(
            self.cost,
            self.published,
            self.bound,
            kernels=[kernel.id for kernel in self.kernel],
            machines=self.machines,
        )
        for entry in self.machine:
            if entry.id not in self.machines:
                raise ValueError(f"machine {entry.id!r} selects scenarios, but is not among the study's machines")
        for entry in (*self.machine, *self.claim, *self.known, *self.invariant):
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
        checked = {name for scenario in self.scenario for name in scenario.checks}
        for name in checked & {invariant.id for invariant in self.invariant if invariant.holds}:
            raise ValueError(f"invariant {name!r} has an expression, but scenarios check it too")
        for name in {invariant.id for invariant in self.invariant if not invariant.holds} - checked:
            raise ValueError(f"invariant {name!r} is checked by no scenario of the study")


#: Invariants that every kernel is judged by, whatever the study says.
BUILT_IN = {
    "builds": "The kernel builds",
    "boots": "The kernel boots and answers over SSH",
    "console-clean": "No oops, BUG, WARNING or bad page state on the console",
    "completes": "Each scenario ends within its limit and the guest stays alive",
    "block-attributes": "Every contiguous block is as the architecture wants it",
    "tlb-rules": "No TLB that the architecture allows is left with what the tables no longer say",
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
        inherited = _extended(path, text, base)
        data = {**{key: value for key, value in inherited.items() if key not in _foreign(data)}, **data}
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


def _foreign(data: dict[str, Any]) -> set[str]:
    """Keys that a study does not inherit: they speak by name of kernels or machines that it replaces by its own."""
    kernels = {"bound", "published"} if "kernel" in data else set()
    return kernels | ({"cost", "bound", "published"} if "machines" in data else set())


def _unique(kind: str, ids: list[str]) -> None:
    for name in ids:
        if ids.count(name) > 1:
            raise ValueError(f"{kind} id {name!r} is used {ids.count(name)} times; ids are unique")


def _explain(path: Path, text: str, err: ValidationError) -> StudyError:
    lines = problems(path, text, err, whole="study")
    return StudyError(
        first_of(lines),
        hint="see docs/study-reference.md, or patches/madvise-free-mthp/study.toml",
        detail="\n".join(lines[1:]),
    )
