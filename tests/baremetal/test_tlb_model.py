"""What the TLB model says of each case of cases.c: each violation by its rule, of its legal twin nothing."""

from dataclasses import dataclass

import pytest

from tests.baremetal.conftest import Ran, case_names

pytestmark = pytest.mark.system

#: Granule and CPU. On "max" hardware keeps access flag and dirty state, on "a57" software does.
RUNS = (("4k", "max"), ("4k", "a57"), ("16k", "max"), ("64k", "max"), ("64k", "a57"))

TLBI = "TLBI of this address"
DSB_AFTER = "DSB ISH after the TLBI"
DSB_BEFORE = "DSB ISHST between the store and the TLBI"
BREAK = "an invalid descriptor"
HINT = "hints at the entry's own level and granule"


@dataclass(frozen=True)
class Want:
    """``blocks`` and ``more``: how many findings, in blocks' entries and beside them. ``on``: the CPU it is for."""

    rule: str
    hardware: str
    missing: str
    blocks: int = 0
    more: int = 0
    detail: str = ""
    on: str = ""


def one(rule: str, hardware: str, missing: str, detail: str = "", on: str = "") -> Want:
    return Want(rule, hardware, missing, more=1, detail=detail, on=on)


WANTED = {
    "zap_no_tlbi": one("unflushed", "AB", TLBI, "no longer mapped"),
    "zap_no_dsb_after": one("tlbi-not-completed", "AB", DSB_AFTER),
    "zap_dsb_of_stores_after": one("tlbi-not-completed", "AB", DSB_AFTER),
    "zap_dsb_nonshareable_after": one("tlbi-not-completed", "AB", DSB_AFTER),
    "zap_no_dsb_before": one("tlbi-before-store", "AB", DSB_BEFORE),
    "zap_tlbi_before_store": one("unflushed", "AB", TLBI),
    "zap_wrong_page": one("unflushed", "AB", TLBI),
    "zap_wrong_asid": one("unflushed", "AB", TLBI),
    "zap_wrong_level_hint": one("unflushed", "AB", HINT),
    "zap_global_by_asid": one("unflushed", "AB", TLBI),
    "zap_pair_no_tlbi": Want("unflushed", "AB", TLBI, more=2),
    "zap_release_no_tlbi": one("unflushed", "AB", TLBI),
    "zap_exclusive_no_tlbi": one("unflushed", "AB", TLBI),
    "zap_swap_no_tlbi": one("unflushed", "AB", TLBI),
    "zap_compare_no_tlbi": one("unflushed", "AB", TLBI),
    "protect_no_tlbi": one("unflushed", "AB", TLBI, "no longer writable"),
    "protect_from_el0_no_tlbi": one("unflushed", "AB", TLBI, "no longer for EL0"),
    "protect_exec_no_tlbi": one("unflushed", "AB", TLBI, "no longer executable"),
    "clean_no_tlbi": one("unflushed", "AB", TLBI, "no longer writable"),
    "clean_again_no_tlbi": one("unflushed", "AB", TLBI, "no longer writable"),
    "move_at_once": one("break-before-make", "AB", BREAK, "another output address"),
    "move_no_tlbi": one("break-before-make", "AB", TLBI, "another output address"),
    "move_no_dsb": one("break-before-make", "AB", DSB_AFTER, "another output address"),
    "memory_type_at_once": one("break-before-make", "AB", BREAK, "another memory type"),
    "move_old_at_once": one("break-before-make", "AB", BREAK, "another output address"),
    "fold_makes_executable": one("fold-permissions", "AB", "the same permissions", "folding gave the page"),
    "fold_at_once": Want("break-before-make", "A", BREAK, blocks=1),
    "fold_no_tlbi": Want("break-before-make", "A", TLBI, blocks=1),
    "fold_no_dsb_after": Want("break-before-make", "A", DSB_AFTER, blocks=1),
    "fold_no_dsb_before": Want("break-before-make", "A", DSB_BEFORE, blocks=1),
    "fold_tlbi_before_store": Want("break-before-make", "A", TLBI, blocks=1),
    "fold_one_page_flushed": Want("overlap", "A", TLBI, blocks=1, more=-1),
    "unfold_no_tlbi": Want("break-before-make", "A", TLBI, blocks=1),
    "unfold_first_page_no_tlbi": one("break-before-make", "A", TLBI),
    "zap_block_one_page_flushed": Want("unflushed", "B", TLBI, blocks=1, more=-1),
    "protect_block_one_page_flushed": Want("unflushed", "B", TLBI, blocks=1, more=-1),
    "zap_block_range_two_short": Want("unflushed", "B", TLBI, more=2),
    "zap_block_range_late": one("unflushed", "B", TLBI),
    "zap_block_range_wrong_granule": Want("unflushed", "AB", HINT, blocks=1),
    "zap_block_range_wrong_level": Want("unflushed", "AB", HINT, blocks=1),
    "zap_block_range_outer_dsb_inner": Want("tlbi-not-completed", "AB", DSB_AFTER, blocks=1),
    "block_hole": one("misprogrammed-block", "A", "unfold", "a hole"),
    "block_of_fewer": one("misprogrammed-block", "A", "unfold", "a hole"),
    "block_one_entry_without_bit": one("misprogrammed-block", "A", "unfold", "no contiguous bit"),
    "block_permissions_differ": one("misprogrammed-block", "A", "unfold", "permissions or attributes"),
    "block_memory_type_differs": one("misprogrammed-block", "A", "unfold", "permissions or attributes"),
    "block_not_aligned": one("misprogrammed-block", "A", "unfold", "not aligned"),
    "block_not_consecutive": one("misprogrammed-block", "A", "unfold", "not consecutive"),
    "block_access_flags_differ": one("partial-update", "A", "every entry", "access flag", on="a57"),
    "block_one_entry_made_young": one("partial-update", "A", "every entry", "access flag", on="a57"),
    "block_one_entry_made_dirty": one("partial-update", "A", "every entry", "AP[2]", on="a57"),
    # Four blocks, and a page that the program maps beside what a case is about.
    "table_gone_no_tlbi": Want("unflushed", "AB", TLBI, blocks=4, more=1),
    "collapse_no_tlbi": one("overlap", "AB", TLBI),
    "split_no_tlbi": one("overlap", "AB", TLBI),
    "other_thread_returns_first": one("unflushed", "AB", TLBI),
    "asid_reuse_flushed_in_use": one("asid-reuse", "AB", "TLBI by ASID"),
    "asid_reuse": one("asid-reuse", "AB", "TLBI by ASID"),
    "two_cpus_local": one("unflushed", "AB", "inner shareable domain"),
}
#: Cases about what is counted, and about the self-test.
OTHERS = {"read_folded", "read_single", "read_flush_read", "store_unseen"}
#: By what a CPU has: TLBI of ranges and FEAT_LSE, hardware management of the access flag and the dirty state.
ONLY_MAX = {"zap_swap_no_tlbi", "zap_compare_no_tlbi", "compare_that_fails_ok", "clean_again_no_tlbi"} | {
    name for name in case_names() if "_range_" in name or name in ("mkold_exclusive_ok", "move_old_at_once")
}
ONLY_A57 = {"move_old_at_once_ok"}


def absent(cpu: str) -> set[str]:
    return ONLY_A57 if cpu == "max" else ONLY_MAX


def test_every_case_is_either_legal_or_has_its_rule():
    assert {name for name in case_names() if not name.endswith("_ok")} == WANTED.keys() | OTHERS
    assert len(case_names()) == len(set(case_names()))


@pytest.fixture(params=RUNS, ids="-".join)
def ran(request: pytest.FixtureRequest, run) -> Ran:
    return run(*request.param)


def test_the_machine_is_as_asked(ran: Ran):
    assert ran.start["page_size"] == int(ran.granule[:-1]) << 10
    assert ran.start["hardware_dirty"] is ran.start["hardware_af"] is (ran.cpu == "max")
    assert ran.cases.keys() == set(case_names()) - absent(ran.cpu)


@pytest.mark.parametrize("name", case_names())
def test_case(name: str, ran: Ran):
    if name in absent(ran.cpu):
        assert name not in ran.cases
        return
    seen = ran.cases[name].observation()
    assert bool(seen.invalid) == (name == "store_unseen"), seen.invalid
    want = WANTED.get(name)
    if want is None or want.on not in ("", ran.cpu):
        assert seen.findings == []
        assert seen.total == 0
        return
    assert {(one.rule, one.hardware) for one in seen.findings} == {(want.rule, want.hardware)}
    assert all(want.missing in one.missing and want.detail in one.detail for one in seen.findings)
    assert seen.total == want.blocks * ran.block + want.more


def test_a_missed_store_makes_the_model_distrust_itself(ran: Ran):
    assert "stores to tables were missed" in ran.cases["store_unseen"].observation().invalid


def counters(ran: Ran, name: str, *names: str) -> list[int]:
    found = ran.cases[name].step_counters(name, 0)
    return [found[one] for one in names]


def test_folds_and_unfolds_are_counted(ran: Ran):
    assert counters(ran, "fold_ok", "folds", "unfolds") == [1, 0]
    assert counters(ran, "unfold_ok", "folds", "unfolds") == [0, 1]
    assert counters(ran, "unfold_and_fold_ok", "folds", "unfolds") == [1, 1]
    # A block that was not there before is no fold, one that goes no unfold.
    assert counters(ran, "block_new_ok", "folds", "unfolds") == [0, 0]
    assert counters(ran, "zap_block_ok", "folds", "unfolds") == [0, 0]


def test_stores_and_invalidations_are_counted(ran: Ran):
    n = ran.block
    names = ("pte_stores", "tightened", "tlbi", "tlbi_va", "dsb")
    assert counters(ran, "zap_ok", *names) == [1, 1, 1, 1, 2]
    assert counters(ran, "fold_ok", *names) == [2 * n, n, n, n, 2]
    assert counters(ran, "zap_by_asid_ok", "tlbi", "tlbi_asid", "tlbi_va") == [1, 1, 0]
    assert counters(ran, "zap_by_all_ok", "tlbi", "tlbi_all") == [1, 1]
    assert counters(ran, "two_cpus_local", "tlbi", "tlbi_local") == [1, 1]
    # Of another address space.
    assert counters(ran, "zap_wrong_asid", "tlbi") == [0]
    if ran.cpu == "max":
        assert counters(ran, "zap_block_range_ok", "tlbi", "tlbi_range") == [1, 1]


def test_one_entry_reaches_a_whole_block(ran: Ran):
    """Two rounds over two blocks, a read in each page: 16 entries of 4K, or 32 of 64K, are fewer than 48."""
    n = ran.block
    reads, names = 4 * n, ("accesses", "walks_a", "walks_b")
    assert counters(ran, "read_folded", *names) == [reads, 2, 2 * n]
    assert counters(ran, "read_single", *names) == [reads, 2 * n, 2 * n]
    # A TLBI of a page takes the block's one entry from A, the page's from B.
    assert counters(ran, "read_flush_read", *names) == [reads, 3, 2 * n + 1]
    for case in ("read_folded", "read_single", "read_flush_read"):
        for hardware in "ab":
            found = counters(ran, case, f"hits_{hardware}", f"hits_l2_{hardware}", f"walks_{hardware}")
            assert sum(found) == reads


def test_small_tlbs_lose_what_large_ones_keep(run):
    """Eight entries in all: a round over 32 pages leaves nothing of the first that a second could hit."""
    small = run("4k", "max", ",core=4+4")
    assert small.start["core"]["levels"] == [{"entries": 4, "ways": 4}, {"entries": 4, "ways": 4}]
    assert counters(small, "read_single", "walks_a", "walks_b") == [64, 64]
    assert counters(small, "read_folded", "walks_a", "walks_b") == [2, 64]


def test_hardware_that_changes_block_sizes_by_itself_has_no_conflict_of_size(run):
    """FEAT_BBM level 2: folding at once is allowed; another output address, or an unflushed page, is not."""
    bbm = run("4k", "max", ",bbm=2")
    for name in ("fold_at_once", "fold_no_tlbi", "unfold_no_tlbi", "fold_one_page_flushed"):
        assert "break-before-make" not in {one.rule for one in bbm.cases[name].observation().findings}
        assert "overlap" not in {one.rule for one in bbm.cases[name].observation().findings}
    for name in ("move_at_once", "move_no_tlbi", "zap_no_tlbi"):
        assert bbm.cases[name].observation().total == 1
