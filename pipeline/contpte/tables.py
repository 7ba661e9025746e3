"""What was read of a process's tables at one point of a test: part of a cell's observation.

Only the model: reading and judging it is for ``read``, ``summary`` and ``findings``.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

When = Literal["checkpoint", "step-begin", "step-end"]


class Tables(BaseModel):
    """The entries that translate [base, base + bytes) and their whole contiguous blocks.

    ``at``: name of the checkpoint (that of a ``pages`` record) or of the step.
    ``view``: whose tables, the test's own or its child's. ``hardware_af``,
    ``hardware_dirty``: whether the CPU updates access flag and dirty state
    itself. ``others``: CPUs that ran meanwhile; ``steady``: the entries were
    read alike twice, or nobody could change them. ``failure``: why nothing was
    read, "" if it was. ``counts``: see summary.COUNTS. ``entries``: see
    summary.encode().
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    at: str
    when: When
    view: Literal["own", "child"] = "own"
    base: int
    bytes: int
    granule: str = ""
    asid: int = 0
    hardware_af: bool = False
    hardware_dirty: bool = False
    others: int = 0
    steady: bool = True
    failure: str = ""
    counts: dict[str, int] = Field(default_factory=dict)
    entries: list[str] = Field(default_factory=list)

    @property
    def alone(self) -> bool:
        """Whether nobody could change the tables while they were read."""
        return self.steady and not self.others
