"""The record of a run, run.json: everything that a judgement and a report need, and nothing that a machine holds.

Read again by ``kpv judge`` and ``kpv report``, possibly years later: a version number
guards the meaning, and reading never guesses.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator

from pipeline.errors import InfraError, UserError
from pipeline.judge.model import BuildFact, Judgement
from pipeline.judge.verdict import judge
from pipeline.observation import Boot, Cell
from pipeline.store import write_atomic
from pipeline.study import Study

SCHEMA = 1


class RunError(UserError):
    """A run.json that cannot be used."""


class Fact(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PatchFact(Fact):
    """A patch as applied. ``file``: relative to the study's folder, with ``#n`` in an mbox.

    ``sha256``: of the diff as pipeline.kernel.series reads it, so no hash of the file.
    """

    file: str
    subject: str
    sha256: str


class StudyFact(Fact):
    """The study as it was used. ``file``: as the user named it; ``sha256``: of the file's bytes."""

    file: str
    sha256: str
    content: Study


class HostFact(Fact):
    """What made the run: versions as the tools tell them, "" where one is not there."""

    os: str = ""
    qemu: str = ""
    gcc: str = ""
    ccache: str = ""
    python: str = ""
    #: Commit of the kpv checkout, with ``-dirty`` where it had local changes.
    kpv_git: str = ""


class KernelFact(Fact):
    """One kernel of the study, as built. Hashes are hex, ``build_seconds`` is wall time (0 where cached)."""

    id: str
    title: str = ""
    role: Literal["baseline", "candidate"]
    source: str = ""
    version: str = ""
    series: tuple[PatchFact, ...] = ()
    fragments: tuple[str, ...] = ()
    config_sha256: str = ""
    build_id: str = ""
    image_sha256: str = ""
    toolchain: str = ""
    build_seconds: float = 0.0
    cached: bool = False
    warnings: tuple[str, ...] = ()
    #: None while the kernel was not tried yet.
    build: BuildFact | None = None


class Run(BaseModel):
    """One run. Times are ISO 8601 in UTC. ``machines`` maps machine ids to their profiles."""

    model_config = ConfigDict(extra="forbid", validate_by_name=True)

    schema_version: Literal[1] = Field(default=1, alias="schema")
    id: str
    kpv: str
    started: str
    finished: str = ""
    command: tuple[str, ...] = ()
    study: StudyFact
    host: HostFact = HostFact()
    kernels: tuple[KernelFact, ...] = ()
    machines: dict[str, dict[str, JsonValue]] = Field(default_factory=dict)
    boots: list[Boot] = Field(default_factory=list)
    cells: list[Cell] = Field(default_factory=list)
    judgement: Judgement | None = None

    @field_validator("boots")
    @classmethod
    def _sorted_boots(cls, boots: Iterable[Boot]) -> list[Boot]:
        return sorted(boots, key=lambda boot: boot.id)

    @field_validator("cells")
    @classmethod
    def _sorted_cells(cls, cells: Iterable[Cell]) -> list[Cell]:
        return sorted(cells, key=lambda cell: (cell.name, cell.boot))

    def builds(self) -> dict[str, BuildFact]:
        """What the judge needs of the builds: kernels that were tried, by id."""
        return {kernel.id: kernel.build for kernel in self.kernels if kernel.build is not None}

    def judged(self) -> "Run":
        """The same run with the judgement made anew from its recorded observations."""
        judgement = judge(self.study.content, self.cells, self.boots, self.builds())
        return self.model_copy(update={"judgement": judgement})


def dumps(run: Run) -> str:
    """run.json as text, one line a cell; the same run gives the same bytes."""
    try:
        text = run.model_dump_json(by_alias=True)
    except ValueError:  # PydanticSerializationError: lone surrogates, see write_text()
        text = json.dumps(run.model_dump(mode="json", by_alias=True), ensure_ascii=False, separators=(",", ":"))
    # Within a string the quotation mark would be escaped.
    return text.replace('{"schema_version":', '\n{"schema_version":') + "\n"


def save(run: Run, path: Path) -> None:
    """Write run.json whole or not at all. Raises InfraError where the disk refuses."""
    write_text(path, dumps(run))


def load(path: Path) -> Run:
    """Read a run.json, or the one in a run's folder. Raises RunError."""
    if path.is_dir():
        path = path / "run.json"
    try:
        data = json.loads(path.read_bytes())
    except OSError as err:
        raise RunError(f"{path}: cannot read the run: {err.strerror}", hint="name a folder under runs/") from err
    except ValueError as err:  # JSON and UTF-8 errors alike
        raise RunError(f"{path}: not a run.json: {err}", hint="name a folder under runs/") from err
    return parse(data, where=str(path))


def parse(data: Any, *, where: str = "run.json") -> Run:
    """A Run of decoded JSON. Raises RunError for another version, or for what is not a run."""
    version = data.get("schema") if isinstance(data, Mapping) else None
    if version != SCHEMA:
        found = "none" if version is None else repr(version)
        raise RunError(
            f"{where}: expected a run of schema {SCHEMA}, found {found}",
            hint="read it with the kpv that wrote it (its `kpv` key names the version), or run the study again",
        )
    try:
        return Run.model_validate(data)
    except ValidationError as err:
        first = err.errors()[0]
        at = ".".join(str(part) for part in first["loc"])
        raise RunError(
            f"{where}: {at}: {first['msg']} (and {err.error_count() - 1} more)"
            if err.error_count() > 1
            else f"{where}: {at}: {first['msg']}",
            hint="the file was edited or cut short; run the study again",
        ) from err


def json_schema() -> dict[str, Any]:
    """JSON Schema of run.json, for those who read it with other tools."""
    return Run.model_json_schema(by_alias=True, mode="serialization")


def write_text(path: Path, text: str, *, executable: bool = False) -> None:
    """Write a file for anyone to read, whole or not at all. Raises InfraError where that fails.

    A console may hold bytes that are no UTF-8, read as lone surrogates: they are written as ``\\udcXX``,
    which in JSON reads back as what it was.
    """
    try:
        write_atomic(path, text.encode("utf-8", "backslashreplace").decode("utf-8"))
        path.chmod(0o755 if executable else 0o644)
    except OSError as err:
        hint = "free the name, or choose another folder for the run"
        raise InfraError(f"{path}: cannot write: {err.strerror}", hint=hint) from err
