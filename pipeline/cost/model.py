"""The record of a measurement of costs, cost.json: what `kpv cost` yields, and all that who judges or shows costs sees.

A sample is one operation on one range, measured once. Nothing in it is time: QEMU's clock means nothing, its counts
are exact. Instructions are those that the guest's kernel executed for the task that made the call, between its entry
and its return; what an interrupt or another task executed meanwhile is counted apart (``held_off``).
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator, model_validator

from pipeline.cost.words import COUNTS, OPERATIONS
from pipeline.errors import UserError
from pipeline.judge.model import Judgement
from pipeline.run import HostFact, KernelFact, StudyFact, write_text

SCHEMA = 1

Count = Annotated[int, Field(ge=0)]


class CostError(UserError):
    """A cost.json that cannot be used."""


class Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Function(Record):
    """A function in a call. ``instructions``: its own, without those of its callees. ``calls``: how often entered."""

    calls: Count
    instructions: Count


class Profile(Record):
    """Where the instructions of a call went; both attribute every one of ``counts["instructions"]``.

    ``functions``: by symbol of vmlinux. ``stacks``: folded, as flame graph tools read them: symbols from the entry of
    the kernel to the innermost function, joined by ``;``, to instructions executed with exactly this stack.
    """

    functions: dict[str, Function]
    stacks: dict[str, Count]

    def folded(self) -> str:
        """The stacks as text, a line each: ``a;b;c 123``."""
        return "".join(f"{stack} {count}\n" for stack, count in sorted(self.stacks.items()) if count)


class HeldOff(Record):
    """What happened during a call and is not in its counts.

    ``interrupts``: taken; ``switches``: to another task and back; ``instructions``: executed at EL1 by both.
    """

    interrupts: Count = 0
    switches: Count = 0
    instructions: Count = 0


class Sample(Record):
    """One operation on one range, measured once in one boot.

    ``repeat``: 0 for the first time in this boot, with these arguments. ``order``: of the folios (a folio is 2**order
    pages), measured in the guest over the whole range; None where they were not all of one order. A sample that is
    inconclusive has a reason and no counts.
    """

    kernel: str
    machine: str
    operation: str
    folio_bytes: Annotated[int, Field(gt=0)]
    range_bytes: Annotated[int, Field(gt=0)]
    repeat: Count = 0
    boot: str = ""
    page_bytes: Annotated[int, Field(gt=0)] = 4096
    order: Count | None = None
    outcome: Literal["measured", "inconclusive"] = "measured"
    reason: str = ""
    counts: dict[str, Count | None] = Field(default_factory=dict)
    held_off: HeldOff = HeldOff()
    #: None where only counts were asked for, and of the method "icount".
    profile: Profile | None = None

    @model_validator(mode="after")
    def _says_why(self) -> "Sample":
        if self.operation not in OPERATIONS:
            raise ValueError(f"operation {self.operation!r}: expected one of {', '.join(OPERATIONS)}")
        if unknown := self.counts.keys() - COUNTS.keys():
            raise ValueError(f"counts: {', '.join(sorted(unknown))}: expected of {', '.join(COUNTS)}")
        if self.outcome == "inconclusive" and (not self.reason or self.counts):
            raise ValueError("an inconclusive sample has a reason and no counts")
        if self.outcome == "measured" and self.counts.get("instructions") is None:
            raise ValueError("a measured sample has its instructions counted")
        return self

    @property
    def pages(self) -> int:
        """Pages of the range."""
        return self.range_bytes // self.page_bytes

    @property
    def folios(self) -> int:
        """Folios of the range."""
        return self.range_bytes // self.folio_bytes

    @property
    def name(self) -> str:
        """``kernel/machine/operation.folio.range``, sizes in KiB."""
        return f"{self.kernel}/{self.machine}/{self.operation}.{self.folio_bytes >> 10}k.{self.range_bytes >> 10}k" + (
            f"#{self.repeat}" if self.repeat else ""
        )


class CostBoot(Record):
    """One life of one VM. ``qemu``: its command line, an element an argument. ``append``: the kernel's.

    ``failure``: "" or why it did not end as it should; the samples it owes are inconclusive.
    """

    id: str
    kernel: str
    machine: str
    qemu: tuple[str, ...] = ()
    seconds: float = 0.0
    end: str = ""
    failure: str = ""
    cached: bool = False


class CostRun(BaseModel):
    """A run of `kpv cost`. Times are ISO 8601 in UTC. ``machines``: id to the profile as it was used.

    ``method``: "plugin", counted by the TCG plugin qemu/cost; "icount", by the guest's clock, which is QEMU's count
    of instructions. ``seed``: QEMU's -seed. ``fragments`` of a kernel are those it was built with, without what the
    study asks for to find bugs.
    """

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
    method: Literal["plugin", "icount"] = "plugin"
    seed: int = 1
    #: Bytes of the range that every operation and size of folio was measured on, and of those that show growth.
    range_bytes: int
    growth_bytes: tuple[int, ...] = ()
    boots: list[CostBoot] = Field(default_factory=list)
    samples: list[Sample] = Field(default_factory=list)
    #: By the study's bounds, see pipeline.cost.bounds.
    judgement: Judgement | None = None

    @field_validator("samples")
    @classmethod
    def _sorted(cls, samples: list[Sample]) -> list[Sample]:
        order = list(OPERATIONS)
        return sorted(
            samples,
            key=lambda s: (
                s.kernel,
                s.machine,
                order.index(s.operation),
                s.folio_bytes,
                s.range_bytes,
                s.repeat,
                s.boot,
            ),
        )


def dumps(run: CostRun) -> str:
    """cost.json as text; the same run gives the same bytes."""
    return json.dumps(run.model_dump(mode="json", by_alias=True), ensure_ascii=False, indent=1) + "\n"


def save(run: CostRun, path: Path) -> None:
    """Write cost.json whole or not at all. Raises InfraError where the disk refuses."""
    write_text(path, dumps(run))


def load(path: Path) -> CostRun:
    """Read a cost.json, or the one in a run's folder. Raises CostError."""
    path = path / "cost.json" if path.is_dir() else path
    try:
        data: Any = json.loads(path.read_bytes())
    except OSError as err:
        raise CostError(
            f"{path}: cannot read the costs: {err.strerror}", hint="name a folder that kpv cost made"
        ) from err
    except ValueError as err:
        raise CostError(f"{path}: not a cost.json: {err}", hint="name a folder that kpv cost made") from err
    version = data.get("schema") if isinstance(data, dict) else None
    if version != SCHEMA:
        raise CostError(
            f"{path}: expected costs of schema {SCHEMA}, found {version!r}",
            hint="read it with the kpv that wrote it, or run kpv cost again",
        )
    try:
        return CostRun.model_validate(data)
    except ValidationError as err:
        first = err.errors()[0]
        at = ".".join(str(part) for part in first["loc"])
        raise CostError(
            f"{path}: {at}: {first['msg']}", hint="the file was edited or cut short; run kpv cost again"
        ) from err
