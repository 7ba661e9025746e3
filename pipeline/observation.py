"""What one cell yielded: the only thing that judge and report ever see.

A guest test prints one record a line, as a KTAP diagnostic::

    # kpv {"rec": "step", "name": "free", "ret": 0, ...}

so the same binary is an ordinary kselftest where nobody listens. ``Cell``
gathers the records of one run of one test together with what the host saw.
Units: counters are events or pages as the kernel counts them, times seconds.
"""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from pipeline.contpte.tables import Tables
from pipeline.tlb.model import Observation as Modelled

#: Part of every cell's key: raise it when the meaning of a record changes.
SCHEMA = 1


class Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Outcome(StrEnum):
    """How the run of a cell ended; only ``PASSED`` and ``FAILED`` were judged by the guest."""

    PASSED = "passed"  # KTAP ok
    FAILED = "failed"  # KTAP not ok: a check did not hold
    SKIPPED = "skipped"  # a precondition was not met; see needs and skip_reason
    TIMEOUT = "timeout"  # the test did not end within its limit
    CRASHED = "crashed"  # the test process died of a signal or printed no KTAP result
    PANIC = "panic"  # the guest kernel panicked or stopped on an oops
    HANG = "hang"  # the guest stopped answering while the cell ran
    LOST = "lost"  # QEMU or the connection went away: infrastructure, no result
    NOT_RUN = "not-run"  # never started, e.g. the kernel did not build or boot


class Check(Record):
    """One invariant tried once: ``name`` is the invariant's id in the study."""

    name: str
    ok: bool
    detail: str = ""


class Need(Record):
    """A precondition, measured: ``folio_order`` wanted "4", got "0"."""

    what: str
    ok: bool
    want: str = ""
    got: str = ""


class Step(Record):
    """Deltas over one operation of the test, e.g. the ``madvise`` call itself.

    A counter that this kernel does not have, or a probe that could not be
    placed, is None: what needs it is INCONCLUSIVE, never 0.
    ``mthp`` sums hugepages-<N>kB/stats/* over all N; ``smaps`` is in KiB.
    """

    name: str
    ret: int = 0
    errno: int = 0
    vmstat: dict[str, int | None] = Field(default_factory=dict)
    mthp: dict[str, int | None] = Field(default_factory=dict)
    probe: dict[str, int | None] = Field(default_factory=dict)
    smaps: dict[str, int | None] = Field(default_factory=dict)
    #: Of the page tables at both ends of the step, e.g. ``folded_before`` (pipeline.contpte.summary.COUNTS).
    pt: dict[str, int | None] = Field(default_factory=dict)
    #: What the TLB model counted in the step, of its process and region (pipeline.tlb.model.COUNTERS).
    tlb: dict[str, int | None] = Field(default_factory=dict)


class Pages(Record):
    """State of each page of a region at a checkpoint, one letter a page.

    ``.`` none, ``s`` swap entry, ``z`` zero page, ``a`` anonymous swap-backed,
    ``l`` lazyfree, ``d`` lazyfree by flags but PG_dirty; upper case: the page
    belongs to a large folio.
    """

    at: str
    region: str
    states: str


class Cell(BaseModel):
    """The observation of one kernel x machine x scenario x variant."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int = SCHEMA
    kernel: str
    machine: str
    scenario: str
    variant: str
    outcome: Outcome
    reason: str = ""
    seconds: float = 0.0
    params: dict[str, int] = Field(default_factory=dict)
    needs: list[Need] = Field(default_factory=list)
    steps: list[Step] = Field(default_factory=list)
    pages: list[Pages] = Field(default_factory=list)
    #: Page tables of the test's processes, as read from outside the guest at its checkpoints and steps.
    tables: list[Tables] = Field(default_factory=list)
    #: What a TLB would have made of it, None where the machine has no model of one.
    tlb: Modelled | None = None
    checks: list[Check] = Field(default_factory=list)
    #: Kernel messages that are findings by themselves (oops, WARNING, Bad page...).
    console_findings: list[str] = Field(default_factory=list)
    #: Lines of the guest test that were meant as records but could not be read.
    malformed: list[str] = Field(default_factory=list)
    #: The KTAP text as printed.
    ktap: str = ""
    #: Kernel console between the cell's begin and end markers.
    console: str = ""
    #: Trace events between the cell's markers, as ``trace-cmd report`` prints them.
    trace: str = ""
    #: Id of the boot (one QEMU life) in which the cell ran.
    boot: str = ""

    @property
    def job(self) -> str:
        """The cell's name inside one boot."""
        return f"{self.scenario}.{self.variant}"

    @property
    def name(self) -> str:
        return f"{self.kernel}/{self.machine}/{self.job}"


class Boot(BaseModel):
    """One life of one VM: facts measured in the guest, and how it ended."""

    model_config = ConfigDict(extra="forbid")

    id: str
    kernel: str
    machine: str
    #: The exact command line of QEMU, one element an argument.
    qemu: list[str] = Field(default_factory=list)
    #: Names of the plugins that QEMU loaded.
    plugins: list[str] = Field(default_factory=list)
    seconds_to_ssh: float = 0.0
    #: "poweroff", or the end that the VM monitor named (panic, hang, lost...).
    end: str = ""
    #: Preconditions measured once a boot: build-id, config, page size, CPU features, swap...
    needs: list[Need] = Field(default_factory=list)
    #: Probes asked for, and whether the kernel took them ("" or the reason it refused).
    probes: dict[str, str] = Field(default_factory=dict)
    #: Set when the boot failed before any cell could run.
    failure: str = ""
