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
    """A test of a kselftest-harness program in ``guest-tests/``. One kernel, machine, scenario and variant make a cell.

    Scenarios live in a scenario file beside their program, ``guest-tests/<program>.toml``, so that every study can
    take them; a study may have some of its own as well. An id may come twice, with other variants and other checks.
    """

    id: Id
    """Name of the test: ``TEST_F(fixture, id)``."""
    title: str
    """One line."""
    program: Id
    """``guest-tests/<program>.c``; left out in a scenario file."""
    fixture: Id
    """The test's fixture; may be left out in a scenario file that names one at its top."""
    variants: Annotated[tuple[str, ...], Field(min_length=1)]
    """The fixture's variants; here folio sizes."""
    properties: tuple[str, ...] = ()
    """Numbers of the properties it decides."""
    checks: tuple[Id, ...] = ()
    """Ids of the invariants that each cell of it decides; a cell that ran without one of these checks makes that
    invariant INCONCLUSIVE."""
    cpus: Annotated[int, Field(ge=1, le=8)] = 1
    """CPUs that must be online. A guest boots with one, and the others join before the cells that want them."""
    machines: tuple[Id, ...] = ()
    """Machines it runs on; all if left out."""
    timeout: Annotated[int, Field(gt=0, le=3600)] = 30
    """Seconds for one cell."""


class Suite(Table):
    """One scenario file, ``guest-tests/<program>.toml``."""

    fixture: Id
    """Of the scenarios that name none."""
    scenario: Annotated[tuple[Scenario, ...], Field(min_length=1)]
    """The scenarios; their entries need neither ``program`` nor ``fixture``."""


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
