"""The rules in C against a second model of the same hardware, written as sets of what may be cached."""

import ctypes
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.contpte import rules
from pipeline.contpte.descriptor import GRANULES

VALID, RO, AF, NG, DBM, CONT, PXN, UXN = 3, 1 << 7, 1 << 10, 1 << 11, 1 << 51, 1 << 52, 1 << 53, 1 << 54
USER, SH = 1 << 6, 3 << 8
DATA = VALID | USER | SH | AF | NG | PXN | UXN
OA = 0xFFFF_FFFF_F000
ASID = 1

TLBI_VALE1IS, TLBI_ASIDE1IS, TLBI_VMALLE1IS = 0xD50883A0, 0xD5088340, 0xD508831F
DSB_ISH, DSB_ISHST = 0xD5033B9F, 0xD5033A9F

TG = {"4k": 0, "16k": 2, "64k": 1}
PAGES = {"4k": 12, "16k": 14, "64k": 16}


def tcr(granule: str = "4k", *, af: bool = True, dirty: bool = True) -> int:
    """48-bit addresses on both sides, the ASID in TTBR1, 16 bits of it."""
    return 16 | 16 << 16 | TG[granule] << 14 | 1 << 22 | 1 << 36 | af << 39 | (af and dirty) << 40


@dataclass
class Entry:
    """``now``: what the table has. ``seen``: what walkers may read. ``cached``: leaves that some TLB may hold.
    ``kept``: likewise once the TLBI under way is complete, None where there is none."""

    now: int = 0
    seen: set[int] = field(default_factory=lambda: {0})
    cached: set[int] = field(default_factory=set)
    kept: set[int] | None = None
    stores: int = 0


class Hardware:
    """All TLBs that the architecture allows at once: whatever may be cached is."""

    def __init__(self, nr: int, *, af: bool) -> None:
        self.entries = [Entry() for _ in range(nr)]
        self.af = af
        self.wrong = False

    def cacheable(self, desc: int) -> bool:
        return bool(desc & 1) and (self.af or bool(desc & AF))

    def walk(self, entry: Entry) -> None:
        leaves = {desc for desc in entry.seen if self.cacheable(desc)}
        entry.cached |= leaves
        if entry.kept is not None:
            entry.kept |= leaves

    def store(self, index: int, desc: int) -> None:
        entry = self.entries[index]
        if desc & 1:
            self.wrong |= any(conflict(old, desc) for old in entry.cached)
        entry.now = desc
        entry.seen.add(desc)
        entry.stores += 1
        self.walk(entry)

    def tlbi(self, indices: range) -> None:
        for index in indices:
            entry = self.entries[index]
            entry.kept = {desc for desc in entry.seen if self.cacheable(desc)}

    def dsb(self, *, full: bool) -> None:
        for entry in self.entries:
            entry.seen = {entry.now}
            if full and entry.kept is not None:
                entry.cached, entry.kept = entry.kept, None

    def eret(self) -> None:
        for entry in self.entries:
            self.wrong |= any(conflict(old, entry.now) or loses(old, entry.now) for old in entry.cached)
            entry.seen = {entry.now}  # that much time has passed


def conflict(old: int, new: int) -> bool:
    return bool(new & 1) and bool((old ^ new) & OA)


def loses(old: int, new: int) -> bool:
    return not new & 1 or bool(new & ~old & (RO | UXN)) or bool(old & ~new & USER)


NR = 3
descriptors = st.sampled_from(
    [0, *(kind | page << 12 for kind in (DATA, DATA | RO, DATA & ~AF, DATA & ~UXN, DATA & ~USER) for page in (64, 80))]
)
operations = st.one_of(
    st.tuples(st.just("store"), st.integers(0, NR - 1), descriptors),
    st.tuples(st.just("tlbi"), st.integers(0, NR - 1)),
    st.tuples(st.just("flush"), st.sampled_from([TLBI_ASIDE1IS, TLBI_VMALLE1IS])),
    st.tuples(st.just("other"), st.integers(0, NR - 1)),
    st.tuples(st.just("dsb"), st.booleans()),
    st.tuples(st.just("eret")),
)


def run(core, sequence, *, af: bool) -> tuple[int, Hardware]:
    """Both models, up to the first operation that either takes for wrong; returns how many were done."""
    core.shim_setup(tcr(af=af, dirty=False))
    hardware = Hardware(NR, af=af)
    for done, (name, *arguments) in enumerate(sequence, 1):
        match name, *arguments:
            case "store", index, desc:
                core.shim_store(index, desc, False)
                hardware.store(index, desc)
            case "tlbi", index:
                core.shim_tlbi(TLBI_VALE1IS, ASID << 48 | index, 0)
                hardware.tlbi(range(index, index + 1))
            case "flush", insn:
                core.shim_tlbi(insn, ASID << 48, 0)
                hardware.tlbi(range(NR))
            case "other", index:  # another address space's
                core.shim_tlbi(TLBI_VALE1IS, 77 << 48 | index, 0)
            case "dsb", full:
                core.shim_dsb(DSB_ISH if full else DSB_ISHST, 0)
                hardware.dsb(full=full)
            case ("eret",):
                core.shim_eret()
                hardware.eret()
        if core.shim_findings() or hardware.wrong:
            return done, hardware
    return len(sequence), hardware


def test_an_old_entry_that_is_unmapped_is_flushed_for_what_it_was_when_young(core):
    """Its access flag was cleared without a flush, as a scan for references may."""
    aged = [("store", 0, DATA | 64 << 12), ("store", 0, DATA & ~AF | 64 << 12), ("eret",)]
    for flush, wrong in (((), True), ((("tlbi", 0), ("dsb", True)), False)):
        _, hardware = run(core, [*aged, ("store", 0, 0), *flush, ("eret",)], af=False)
        assert hardware.wrong == wrong
        assert bool(core.shim_findings()) == wrong


@settings(max_examples=3000, deadline=None)
@given(sequence=st.lists(operations, max_size=24), af=st.booleans())
def test_any_sequence_is_wrong_to_both_models_or_to_none(core, sequence, af):
    done, hardware = run(core, sequence, af=af)
    assert bool(core.shim_findings()) == hardware.wrong, (sequence[:done], core.shim_rule())
    assert core.shim_missed() == 0


@settings(max_examples=300, deadline=None)
@given(stores=st.lists(st.tuples(st.integers(0, NR - 1), descriptors), max_size=8), af=st.booleans())
def test_what_is_flushed_after_each_store_is_never_wrong(core, stores, af):
    """As a kernel does it: nothing, DSB, TLBI, DSB, and then the new descriptor."""
    sequence = []
    for index, desc in stores:
        sequence += [("store", index, 0), ("dsb", False), ("tlbi", index), ("dsb", True)]
        sequence += [("store", index, desc), ("eret",)]
    run(core, sequence, af=af)
    assert core.shim_findings() == 0
    assert core.shim_pending() == 0


#: What may differ between the entries of a block, and what each does to a descriptor.
FLAWS = {
    "none": lambda desc, bytes_: desc,
    "hole": lambda desc, bytes_: 0,
    "without bit": lambda desc, bytes_: desc & ~CONT,
    "elsewhere": lambda desc, bytes_: desc + bytes_,
    "read-only": lambda desc, bytes_: desc ^ RO,
    "old": lambda desc, bytes_: desc ^ AF,
    "executable": lambda desc, bytes_: desc & ~UXN,
    "for the kernel": lambda desc, bytes_: desc & ~USER,
    "other memory": lambda desc, bytes_: desc | 1 << 2,
    "global": lambda desc, bytes_: desc & ~NG,
    "no DBM": lambda desc, bytes_: desc & ~DBM,
}
#: What the two implementations call the same thing.
NAMES = {
    "block-valid": "misprogrammed-block",
    "block-whole": "misprogrammed-block",
    "block-aligned": "misprogrammed-block",
    "block-consecutive": "misprogrammed-block",
    "block-attributes": "misprogrammed-block",
    "block-permissions": "misprogrammed-block",
    "access-flag-alone": "partial-update",
    "dirty-state-alone": "partial-update",
}


@settings(max_examples=600, deadline=None)
@given(
    granule=st.sampled_from(sorted(TG)),
    flaw=st.sampled_from(sorted(FLAWS)),
    where=st.sets(st.integers(0, 127), min_size=1, max_size=5),
    base=st.sampled_from([DATA | CONT, DATA | CONT | DBM, DATA | CONT | DBM | RO, (DATA | CONT) & ~AF]),
    shifted=st.booleans(),
    af=st.booleans(),
    dirty=st.booleans(),
)
def test_blocks_are_misprogrammed_to_both_implementations(core, granule, flaw, where, base, shifted, af, dirty):
    """The reader of recorded tables, in Python, has the same rules by itself."""
    dirty = dirty and af
    n = core.shim_setup(tcr(granule, af=af, dirty=dirty))
    bytes_ = 1 << PAGES[granule]
    entries = [(base | (n + i + shifted) * bytes_) for i in range(n)]
    for index in where:
        entries[index % n] = FLAWS[flaw](entries[index % n], bytes_)
    for i, desc in enumerate(entries):
        core.shim_store(i, desc, False)
    core.shim_eret()
    found = rules.check(
        np.array(entries, dtype=np.uint64),
        va=0,
        level=3,
        granule=GRANULES[granule],
        hardware_af=af,
        hardware_dirty=dirty,
    )
    theirs = {NAMES[one.rule] for one in found if one.rule in NAMES}
    assert bool(core.shim_findings()) == bool(theirs), (theirs, core.shim_rule())
    if theirs:
        assert core.shim_rule().decode() in theirs
        assert core.shim_hardware_of() == b"A"


@pytest.mark.parametrize("granule", sorted(TG))
def test_the_walker_finds_what_was_stored(core, granule):
    core.shim_setup(tcr(granule))
    desc, level = ctypes.c_uint64(), ctypes.c_uint()
    bytes_ = 1 << PAGES[granule]
    core.shim_store(5, DATA | 9 * bytes_, False)
    for va, want in ((5 * bytes_, DATA | 9 * bytes_), (5 * bytes_ + 8, DATA | 9 * bytes_), (6 * bytes_, 0)):
        assert core.shim_walk(va, ctypes.byref(desc), ctypes.byref(level))
        assert (desc.value, level.value) == (want, 3)
    assert core.shim_walk(1 << 47, ctypes.byref(desc), ctypes.byref(level))
    assert desc.value == 0 and level.value < 3


def test_what_hardware_writes_is_no_missed_store(core):
    core.shim_setup(tcr())
    core.shim_store(1, (DATA | DBM | RO | 7 << 12) & ~AF, False)
    core.shim_hardware(1, DATA | DBM | 7 << 12)
    assert core.shim_missed() == 0
    core.shim_hardware(1, DATA | DBM | 8 << 12)
    assert core.shim_missed() == 1


def test_what_hardware_made_dirty_is_lost_by_a_plain_store_and_known_to_an_atomic_one(core):
    clean = DATA | DBM | RO | 7 << 12
    for exact, dirtied, findings in ((False, False, 1), (True, False, 0), (True, True, 1)):
        core.shim_setup(tcr())
        core.shim_store(1, clean, False)
        core.shim_eret()
        if dirtied:
            core.shim_hardware(1, clean & ~RO)
        core.shim_store(1, clean & ~AF, exact)
        core.shim_eret()
        assert core.shim_findings() == findings


@pytest.mark.parametrize(
    "value", [tcr() | 1 << 59, tcr() | 1 << 7, tcr() & ~63 | 12, tcr() | 3 << 14], ids=["DS", "EPD0", "52-bit", "TG0"]
)
def test_what_is_not_modelled_is_refused(core, value):
    assert core.shim_setup(value) == 0


#: (who, what) after CPU 0 has unmapped a page that both CPUs use, and whether CPU 0 may then return to EL0.
BY_TWO = {
    "each flushes, the one that unmapped waits": (["tlbi 0", "tlbi 1", "dsb 0"], True),
    "each flushes, the other waits": (["tlbi 0", "tlbi 1", "dsb 1"], True),
    "one flushes, the other waits": (["tlbi 0", "dsb 1"], False),
    "the other flushes, the one that unmapped waits": (["tlbi 1", "dsb 0"], False),
    "the other flushes and waits": (["tlbi 1", "dsb 1"], True),
    "nobody waits": (["tlbi 0", "tlbi 1"], False),
}


@pytest.mark.parametrize(("sequence", "legal"), BY_TWO.values(), ids=list(BY_TWO))
def test_a_cpu_completes_what_it_has_issued_itself_whoever_else_flushes(core, sequence, legal):
    core.shim_setup(tcr())
    core.shim_store(1, DATA | 64 << 12, False)
    core.shim_eret()
    core.shim_second_cpu()
    core.shim_store(1, 0, False)
    core.shim_dsb(DSB_ISHST, 0)
    for operation in sequence:
        name, cpu = operation.split()
        if name == "tlbi":
            core.shim_tlbi(TLBI_VALE1IS, ASID << 48 | 1, int(cpu))
        else:
            core.shim_dsb(DSB_ISH, int(cpu))
    core.shim_eret()
    assert core.shim_findings() == (0 if legal else 1)
    if not legal:
        assert core.shim_rule() == b"tlbi-not-completed"


@pytest.mark.parametrize("stores", [True, False], ids=["who stored over it", "a bystander"])
def test_the_dsb_of_who_stored_over_an_entry_shows_what_others_stored_before(core, stores):
    """CPU 0 made a page old and read-only and did not come to flush it; CPU 1 moves the page, and flushes."""
    core.shim_setup(tcr(af=False))
    core.shim_store(1, DATA | 64 << 12, False)
    core.shim_second_cpu()
    core.shim_store(1, (DATA | RO | 64 << 12) & ~AF, False)
    if stores:
        core.shim_store_by(1, 1, 0, True)
    core.shim_dsb(DSB_ISHST, 1)
    core.shim_tlbi(TLBI_VALE1IS, ASID << 48 | 1, 1)
    core.shim_dsb(DSB_ISH, 1)
    core.shim_store_by(1, 1, DATA | 80 << 12, True)
    assert core.shim_findings() == (0 if stores else 1)


@pytest.mark.parametrize(
    ("flaw", "found"),
    [
        ("none", False),
        ("no DBM", True),
        ("executable", True),
        ("old", False),
        ("read-only", False),
        ("elsewhere", False),
    ],
)
@pytest.mark.parametrize("returned", [False, True], ids=["at once", "after a return to EL0"])
def test_a_fold_leaves_each_page_its_permissions(core, flaw, found, returned):
    """Broken and made as it should be, so that no other rule minds; access flag and dirty state are gathered."""
    n = core.shim_setup(tcr())
    single = [DATA | DBM | (n + i) << 12 for i in range(n)]
    single[3] = FLAWS[flaw](single[3], 1 << 16)
    for i, desc in enumerate(single):
        core.shim_store(i, desc, False)
    core.shim_eret()
    for i in range(n):
        core.shim_store(i, 0, True)
    core.shim_dsb(DSB_ISHST, 0)
    core.shim_tlbi(TLBI_ASIDE1IS, ASID << 48, 0)
    core.shim_dsb(DSB_ISH, 0)
    if returned:
        core.shim_eret()
    for i in range(n):
        core.shim_store(i, DATA | DBM | CONT | (n + i) << 12, False)
    core.shim_eret()
    assert core.shim_findings() == (found and not returned)
    if core.shim_findings():
        assert core.shim_rule() == b"fold-permissions"


@pytest.mark.parametrize("shifted", [False, True])
def test_what_a_fork_filled_is_audited_before_the_child_runs(core, shifted):
    """Its stores were to memory that nobody knew for a table: told is the last of them."""
    n = core.shim_setup(tcr())
    entries = [(DATA | RO | CONT) | (2 * n + i + shifted) << 12 for i in range(n)]
    core.shim_fork((ctypes.c_uint64 * n)(*entries), n)
    assert core.shim_findings() == shifted
    if shifted:
        assert (core.shim_rule(), core.shim_pc()) == (b"misprogrammed-block", 0x4000 + n - 1)
