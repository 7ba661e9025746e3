"""Machine profiles: ``qemu/<id>.toml``, one file a machine, typed and validated."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer, model_validator

from pipeline import near
from pipeline.errors import UserError
from pipeline.schema import Id, Table, first_of, line_of, problems

#: Bytes of a page by the granule's name (Arm ARM, "Translation granule").
PAGE_SIZES = {"4k": 4096, "16k": 16384, "64k": 65536}


class MachineError(UserError):
    """A machine profile is missing or wrong; the message starts with file:line where there is one."""


class Tlb(Table):
    """The TLBs of a machine with a model of them, see [hardware-model.md](hardware-model.md)."""

    core: Annotated[str, Field(pattern=r"^([a-z][a-z0-9-]*|\d+(/\d+)?\+\d+(/\d+)?)$")]
    """Geometry of the TLBs that count hits and walks: a preset (``a35``, ``a53``, ``a57``, ``a76``), or two levels as
    ``ENTRIES[/WAYS]+ENTRIES[/WAYS]``. No rule depends on it."""
    bbm: Annotated[int, Field(ge=0, le=2)] = 0
    """ID_AA64MMFR2_EL1.BBM of the hardware: from 1 on a change of size alone needs no break-before-make."""


class Machine(Table):
    """What QEMU is told to be: ``qemu/<id>.toml``."""

    id: Id
    """As the file is named."""
    title: str = ""
    """One line."""
    cpu: Annotated[str, Field(pattern=r"^[a-z0-9._-]+(,[a-z0-9._-]+=[a-z0-9._-]+)*$")]
    """QEMU's ``-cpu``, a model with its properties."""
    smp: Annotated[int, Field(ge=1, le=8)] = 2
    """CPUs; a guest boots with one, the others join when a scenario wants them."""
    memory_mib: Annotated[int, Field(ge=256, le=65536)] = 1024
    """Memory in MiB."""
    granule: Literal["4k", "16k", "64k"] = "4k"
    """Page size that its kernels must be built for."""
    hardware_dbm: bool
    """Whether the CPU manages access flag and dirty state (FEAT_HAFDBS), which is verified in the guest."""
    accel: Literal["tcg"] = "tcg"
    """QEMU's accelerator."""
    thread: Literal["single", "multi"] = "multi"
    """TCG's threading: ``"multi"`` for one host thread a virtual CPU."""
    append: tuple[str, ...] = ()
    """Words added to the kernel's command line."""
    extra: tuple[str, ...] = ()
    """Words added to QEMU's command line."""
    tlb: Tlb | None = None
    """A model of its TLBs that watches the guest, none if left out: see hardware-model.md."""

    @model_validator(mode="after")
    def _threads(self) -> "Machine":
        if self.tlb is not None and self.smp > 1 and self.thread == "single":
            raise ValueError('a TLB model of several CPUs needs thread = "multi": QEMU tells it the wrong CPU else')
        return self

    @model_serializer(mode="wrap")
    def _without_nothing(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A machine without a model is dumped, and so recorded, as before there were models."""
        fields: dict[str, Any] = dump(self)
        if self.tlb is None:
            del fields["tlb"]
        return fields

    @property
    def page_size(self) -> int:
        """Bytes of the page this machine's kernels are built for."""
        return PAGE_SIZES[self.granule]


def load(folder: Path, name: str) -> Machine:
    """The machine ``name`` of the profiles in ``folder``. Raises MachineError."""
    path = folder / f"{name}.toml"
    if not path.is_file():
        raise MachineError(
            f"machine {name!r}: expected a profile at {path}, found none",
            hint=near.hint(name, names(folder), kind="machine"),
        )
    return read(path)


def names(folder: Path) -> list[str]:
    """Ids of the profiles in ``folder``."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def read(path: Path) -> Machine:
    """Read and validate one profile. Raises MachineError with ``file:line: what is wrong``."""
    text, data = _parse(path)
    if "extends" in data:
        data = _extended(path, text, data)
    try:
        machine = Machine.model_validate(data)
    except ValidationError as err:
        lines = problems(path, text, err, whole="machine")
        raise MachineError(
            first_of(lines), hint="qemu/max.toml is a whole profile to compare with", detail="\n".join(lines[1:])
        ) from err
    if machine.id != path.stem:
        raise MachineError(
            f"{path}:{line_of(text, ('id',))}: id: expected {path.stem!r}, as the file is named, found {machine.id!r}"
        )
    return machine


def _parse(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
        return text, tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as err:
        raise MachineError(f"{path}: cannot read the machine profile: {err}") from err
    except tomllib.TOMLDecodeError as err:
        raise MachineError(f"{path}: not valid TOML: {err}", hint="mend the line that the message names") from err


def _extended(path: Path, text: str, data: dict[str, Any]) -> dict[str, Any]:
    """A profile that says only what differs from the one that it names: a whole one, beside it."""
    base = data.pop("extends")
    where = f"{path}:{line_of(text, ('extends',))}: extends"
    if base not in names(path.parent) or base == path.stem:
        known = ", ".join(name for name in names(path.parent) if name != path.stem)
        raise MachineError(f"{where}: expected the id of another machine, found {base!r}", hint=f"machines: {known}")
    _, whole = _parse(path.parent / f"{base}.toml")
    if "extends" in whole:
        raise MachineError(f"{where}: {base} extends another machine itself", hint="name the one that extends none")
    return {**whole, **data}
