"""What the TLB model saw of one test: part of a cell's observation.

Only the model: reading it is for ``read``, symbols are for ``symbols``.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

#: What is wrong on hardware that caches a contiguous block as one entry (A), as one for each page (B), or on both.
Hardware = Literal["A", "B", "AB"]


class Finding(BaseModel):
    """One store, or one return to EL0, that some hardware which the architecture allows would not take.

    ``rule``: see RULES. ``va``, ``asid``, ``level``: of the translation. ``old``:
    the descriptor that may still be cached; of a contiguous block its first
    entry. ``new``: what the table has. ``function``: where in the kernel the
    store was made, ``name+0xoffset``; ``tlbi``: likewise a TLBI that was not
    enough, "" if there was none; ``taken``: where the old descriptor was replaced, ""
    if by this very store. ``missing``: the instruction that should have
    come between. ``step``: name of the step that was under way, "" if none was,
    its hash if the test did not tell of it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: str
    hardware: Hardware
    va: int
    asid: int
    level: int
    old: int
    new: int
    pc: int
    cpu: int
    detail: str
    missing: str
    step: str = ""
    function: str = ""
    tlbi: str = ""
    taken: str = ""


class Kind(BaseModel):
    """How often a rule was broken by one store instruction; findings of the same kind are cut short."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: str
    function: str
    count: int


class Observation(BaseModel):
    """``invalid``: why the absence of findings means nothing, "" if it means something.

    ``total``: findings of the test, of which ``findings`` has some of each kind.
    ``counters``: of the whole test, by all processes (COUNTERS). ``page_size``: bytes
    of the granule. ``core``: geometry of the TLBs that count, in words.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    invalid: str = ""
    total: int = 0
    findings: list[Finding] = Field(default_factory=list)
    kinds: list[Kind] = Field(default_factory=list)
    counters: dict[str, int] = Field(default_factory=dict)
    page_size: int = 0
    core: str = ""


#: ``invalid`` of a test whose last line is not there: it did not end, or the plugin did not run.
NO_LINE = "the model's line of this test is missing"

#: Rules by id, and what they ask for; docs/hardware-model.md has the sections of the Arm ARM.
RULES = {
    "break-before-make": "between two translations that conflict there is an invalid descriptor and a completed TLBI",
    "overlap": "no translation of another size may be cached where a new one becomes valid",
    "unflushed": "what a task takes away is flushed when it returns to EL0",
    "tlbi-before-store": "a DSB makes a store visible to table walkers before the TLBI",
    "tlbi-not-completed": "a DSB completes a TLBI before the task returns to EL0",
    "misprogrammed-block": "all entries of a contiguous block are valid, consecutive, aligned and alike",
    "fold-permissions": "a fold leaves each page the permissions and attributes that it had",
    "partial-update": "where software keeps access flag and dirty state, all entries of a block have the same",
    "asid-reuse": "an ASID is flushed on a CPU before another address space uses it there",
}

#: What is counted, of each step by its process and in its region, of a test by everybody.
COUNTERS = {
    "tlbi": "TLBI instructions",
    "tlbi_va": "of which by VA",
    "tlbi_range": "of which by a range of VAs",
    "tlbi_asid": "of which by ASID",
    "tlbi_all": "of which of all entries",
    "tlbi_local": "of which for this CPU only",
    "dsb": "DSB instructions, of all CPUs and for whatever purpose",
    "isb": "ISB instructions, likewise",
    "pte_stores": "stores to page tables that are in use",
    "tightened": "of which took something of a translation away",
    "folds": "contiguous blocks made of single entries",
    "unfolds": "contiguous blocks made into single entries",
    "audits": "contiguous blocks that were audited",
    "accesses": "data accesses of EL0 to the region that the test's marks name",
    "hits_a": "of which hit the first level of TLB A, which has one entry for a contiguous block",
    "hits_l2_a": "of which hit the second level of TLB A",
    "walks_a": "of which missed TLB A: table walks",
    "hits_b": "accesses that hit the first level of TLB B, which has one entry for each page",
    "hits_l2_b": "accesses that hit the second level of TLB B",
    "walks_b": "accesses that missed TLB B: table walks",
}
