"""Scenario files: ``guest-tests/<program>.toml`` says what each test of ``<program>.c`` is and must decide."""

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from pipeline import near
from pipeline.errors import UserError
from pipeline.schema import Id, Table, first_of, problems


class SuiteError(UserError):
    """A scenario file is missing or wrong; the message starts with file:line where there is one."""


class Scenario(Table):
    """A guest test, ``fixture.<variant>.<id>`` of ``guest-tests/<program>.c``, per variant.

    ``properties``: the numbered properties it decides. ``checks``: the invariants that every
    cell of it decides; one that ran without is inconclusive. ``cpus``: how many must be online.
    ``machines``: ids it is kept to, none for all. ``timeout``: seconds for one cell.
    """

    id: Id
    title: str
    program: Id
    fixture: Id
    variants: Annotated[tuple[str, ...], Field(min_length=1)]
    properties: tuple[str, ...] = ()
    checks: tuple[Id, ...] = ()
    cpus: Annotated[int, Field(ge=1, le=8)] = 1
    machines: tuple[Id, ...] = ()
    timeout: Annotated[int, Field(gt=0, le=3600)] = 30


class Suite(Table):
    """One scenario file. ``fixture``: of the scenarios that name none."""

    fixture: Id
    scenario: Annotated[tuple[Scenario, ...], Field(min_length=1)]


def load(folder: Path, program: str, *, wanted_by: Path) -> tuple[Scenario, ...]:
    """The scenarios of one program, in the file's order.

    ``wanted_by``: the study that names it, for the message. Raises SuiteError with ``file:line: what is wrong``.
    """
    path = folder / f"{program}.toml"
    if not path.is_file():
        known = sorted(found.stem for found in folder.glob("*.toml"))
        raise SuiteError(
            f"{wanted_by}: programs names {program!r}: expected its scenarios in {path}, found no such file",
            hint=near.hint(program, known, kind="program"),
        )
    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as err:
        raise SuiteError(f"{path}: cannot read the scenario file: {err}") from err
    except tomllib.TOMLDecodeError as err:
        raise SuiteError(f"{path}: not valid TOML: {err}", hint="mend the line that the message names") from err
    common = {"program": program, "fixture": data.get("fixture")}
    if isinstance(entries := data.get("scenario"), list):
        data["scenario"] = [{**common, **entry} if isinstance(entry, dict) else entry for entry in entries]
    try:
        return Suite.model_validate(data).scenario
    except ValidationError as err:
        lines = problems(path, text, err, whole="scenarios")
        raise SuiteError(
            first_of(lines),
            hint="guest-tests/lazyfree.toml is a whole file to compare with",
            detail="\n".join(lines[1:]),
        ) from err
