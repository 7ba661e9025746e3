// SPDX-License-Identifier: GPL-2.0
/*
 * Cases: each does one thing to the tables of an address space that is in use,
 * and returns to EL0. Those that end in _ok are right, the others lack what their
 * name says. What the model must say of each is in test_tlb_model.py.
 *
 * The address space has four contiguous blocks of data, [0, 4N) pages, and page
 * 4N, which is mapped whatever the case asks for.
 */
#include "machine.h"

/* ---- what a kernel's code is made of ---- */

static u64 desc(const struct space *space, u64 i, u64 prot)
{
	return (space->memory + i * PAGE) | prot;
}

static void clear(const struct space *space, u64 i, u64 nr)
{
	for (; nr--; i++)
		put(&space->page[i], 0);
}

static void set(const struct space *space, u64 i, u64 nr, u64 prot)
{
	for (; nr--; i++)
		put(&space->page[i], desc(space, i, prot));
}

static void flush(const struct space *space, u64 i, u64 nr)
{
	for (; nr--; i++)
		tlbi_x(vale1is, by_va(space, page_va(i)));
}

static void flush_sync(const struct space *space, u64 i, u64 nr)
{
	dsb(ishst);
	flush(space, i, nr);
	dsb(ish);
}

/* ---- one page goes ---- */

CASE(zap_ok, DATA)
{
	clear(space, 3, 1);
	flush_sync(space, 3, 1);
}

CASE(zap_no_tlbi, DATA)
{
	clear(space, 3, 1);
	dsb(ishst);
	dsb(ish);
}

CASE(zap_no_dsb_after, DATA)
{
	clear(space, 3, 1);
	dsb(ishst);
	flush(space, 3, 1);
}

CASE(zap_dsb_of_stores_after, DATA)
{
	clear(space, 3, 1);
	dsb(ishst);
	flush(space, 3, 1);
	dsb(ishst);
}

CASE(zap_dsb_nonshareable_after, DATA)
{
	clear(space, 3, 1);
	dsb(ishst);
	flush(space, 3, 1);
	dsb(nsh);
}

CASE(zap_no_dsb_before, DATA)
{
	clear(space, 3, 1);
	flush(space, 3, 1);
	dsb(ish);
}

CASE(zap_tlbi_before_store, DATA)
{
	flush_sync(space, 3, 1);
	clear(space, 3, 1);
}

CASE(zap_wrong_page, DATA)
{
	clear(space, 3, 1);
	flush_sync(space, 4, 1);
}

CASE(zap_wrong_asid, DATA)
{
	struct space other = *space;

	other.asid ^= 0x100;
	clear(space, 3, 1);
	flush_sync(&other, 3, 1);
}

CASE(zap_by_asid_ok, DATA)
{
	clear(space, 3, 1);
	dsb(ishst);
	tlbi_x(aside1is, space->asid << 48);
	dsb(ish);
}

CASE(zap_by_all_ok, DATA)
{
	clear(space, 3, 1);
	dsb(ishst);
	tlbi(vmalle1is);
	dsb(ish);
}

CASE(zap_by_any_asid_ok, DATA)
{
	clear(space, 3, 1);
	dsb(ishst);
	tlbi_x(vaale1is, by_va(space, page_va(3)));
	dsb(sy);
}

CASE(zap_not_last_level_ok, DATA)
{
	clear(space, 3, 1);
	dsb(ishst);
	tlbi_x(vae1is, by_va(space, page_va(3)));
	dsb(ish);
}

CASE(zap_local_one_cpu_ok, DATA)
{
	clear(space, 3, 1);
	dsb(nshst);
	tlbi_x(vale1, by_va(space, page_va(3)));
	dsb(nsh);
}

CASE(zap_level_hint_ok, DATA)
{
	clear(space, 3, 1);
	dsb(ishst);
	tlbi_x(vale1is, by_va_level(space, page_va(3), GRANULE, 3));
	dsb(ish);
}

CASE(zap_wrong_level_hint, DATA)
{
	clear(space, 3, 1);
	dsb(ishst);
	tlbi_x(vale1is, by_va_level(space, page_va(3), GRANULE, 2));
	dsb(ish);
}

/* A page that is global: its entries have no ASID. */
CASE(zap_global_by_asid, DATA & ~NG)
{
	clear(space, 3, 1);
	dsb(ishst);
	tlbi_x(aside1is, space->asid << 48);
	dsb(ish);
}

CASE(zap_global_by_va_ok, DATA & ~NG)
{
	clear(space, 3, 1);
	flush_sync(space, 3, 1);
}

/* ---- stores of every kind are seen ---- */

CASE(zap_pair_no_tlbi, DATA)
{
	put_pair(&space->page[4], 0, 0);
}

CASE(zap_release_no_tlbi, DATA)
{
	put_release(&space->page[4], 0);
}

CASE(zap_exclusive_no_tlbi, DATA)
{
	put_exclusive(&space->page[4], 0);
}

CASE_NEEDS(zap_swap_no_tlbi, DATA, NEEDS_LSE)
{
	put_swap(&space->page[4], 0);
}

CASE_NEEDS(zap_compare_no_tlbi, DATA, NEEDS_LSE)
{
	put_compare(&space->page[4], desc(space, 4, DATA), 0);
}

CASE_NEEDS(compare_that_fails_ok, DATA, NEEDS_LSE)
{
	put_compare(&space->page[4], desc(space, 5, DATA), 0);
}

/* ---- permissions ---- */

CASE(protect_ok, DATA)
{
	set(space, 3, 1, DATA | RO);
	flush_sync(space, 3, 1);
}

CASE(protect_no_tlbi, DATA)
{
	set(space, 3, 1, DATA | RO);
	dsb(ish);
}

CASE(protect_from_el0_no_tlbi, DATA)
{
	set(space, 3, 1, DATA & ~USER);
}

CASE(protect_exec_no_tlbi, DATA & ~UXN)
{
	set(space, 3, 1, DATA);
}

CASE(relax_ok, DATA | RO)
{
	set(space, 3, 1, DATA);
}

CASE(mkold_ok, DATA)
{
	set(space, 3, 1, DATA & ~AF);
}

/* As ptep_get_and_clear() and set_pte_at() of the same page. */
CASE(clear_and_restore_ok, DATA)
{
	clear(space, 3, 1);
	set(space, 3, 1, DATA & ~AF);
}

CASE(clean_ok, DATA | DBM)
{
	set(space, 3, 1, DATA | DBM | RO);
	flush_sync(space, 3, 1);
}

CASE(clean_no_tlbi, DATA | DBM)
{
	set(space, 3, 1, DATA | DBM | RO);
}

/* Hardware may have marked it dirty before this plain store. */
CASE_NEEDS(clean_again_no_tlbi, DATA | DBM | RO, NEEDS_DIRTY)
{
	set(space, 3, 1, (DATA | DBM | RO) & ~AF);
}

/*
 * An atomic update knows what it replaces: a page that was not dirty, and that
 * hardware checks again before it is.
 */
CASE_NEEDS(mkold_exclusive_ok, DATA | DBM | RO, NEEDS_DIRTY)
{
	put_exclusive(&space->page[3], desc(space, 3, (DATA | DBM | RO) & ~AF));
}

/* ---- break before make ---- */

CASE(move_ok, DATA)
{
	clear(space, 3, 1);
	flush_sync(space, 3, 1);
	put(&space->page[3], desc(space, 7, DATA));
}

CASE(move_at_once, DATA)
{
	put(&space->page[3], desc(space, 7, DATA));
	flush_sync(space, 3, 1);
}

CASE(move_no_tlbi, DATA)
{
	clear(space, 3, 1);
	dsb(ish);
	put(&space->page[3], desc(space, 7, DATA));
	flush_sync(space, 3, 1);
}

CASE(move_no_dsb, DATA)
{
	clear(space, 3, 1);
	dsb(ishst);
	flush(space, 3, 1);
	put(&space->page[3], desc(space, 7, DATA));
	dsb(ish);
}

CASE(memory_type_at_once, DATA)
{
	set(space, 3, 1, DATA | ATTR(1));
	flush_sync(space, 3, 1);
}

/* Without hardware management an entry with AF 0 faults, and is not cached. */
CASE_NEEDS(move_old_at_once_ok, DATA & ~AF, NEEDS_NO_DIRTY)
{
	put(&space->page[3], desc(space, 7, DATA));
}

CASE_NEEDS(move_old_at_once, DATA & ~AF, NEEDS_DIRTY)
{
	put(&space->page[3], desc(space, 7, DATA));
	flush_sync(space, 3, 1);
}

/* ---- contiguous blocks: fold and unfold, as contpte_convert() of Linux ---- */

CASE(fold_ok, DATA)
{
	clear(space, N, N);
	flush_sync(space, N, N);
	set(space, N, N, DATA | CONT);
}

CASE(fold_makes_executable, DATA)
{
	clear(space, N, N);
	flush_sync(space, N, N);
	set(space, N, N, (DATA & ~UXN) | CONT);
}

CASE(fold_at_once, DATA)
{
	set(space, N, N, DATA | CONT);
	flush_sync(space, N, N);
}

CASE(fold_no_tlbi, DATA)
{
	clear(space, N, N);
	dsb(ish);
	set(space, N, N, DATA | CONT);
	flush_sync(space, N, N);
}

CASE(fold_no_dsb_after, DATA)
{
	clear(space, N, N);
	dsb(ishst);
	flush(space, N, N);
	set(space, N, N, DATA | CONT);
	dsb(ish);
}

CASE(fold_no_dsb_before, DATA)
{
	clear(space, N, N);
	flush(space, N, N);
	dsb(ish);
	set(space, N, N, DATA | CONT);
	flush_sync(space, N, N);
}

CASE(fold_tlbi_before_store, DATA)
{
	flush_sync(space, N, N);
	clear(space, N, N);
	set(space, N, N, DATA | CONT);
	flush_sync(space, N, N);
}

CASE(fold_one_page_flushed, DATA)
{
	clear(space, N, N);
	flush_sync(space, N, 1);
	set(space, N, N, DATA | CONT);
	flush_sync(space, N, N);
}

CASE(unfold_ok, DATA | CONT)
{
	clear(space, N, N);
	flush_sync(space, N, N);
	set(space, N, N, DATA);
}

CASE(unfold_no_tlbi, DATA | CONT)
{
	clear(space, N, N);
	dsb(ish);
	set(space, N, N, DATA);
	flush_sync(space, N, N);
}

CASE(unfold_and_fold_ok, DATA | CONT)
{
	unfold_ok(space);
	fold_ok(space);
}

/*
 * Once no entry has the bit, a TLBI of one page takes what covers the whole block;
 * the new page overlaps nothing.
 */
CASE(unfold_first_page_ok, DATA | CONT)
{
	clear(space, N, N);
	flush_sync(space, N, 1);
	set(space, N, 1, DATA);
	flush_sync(space, N, N);
}

CASE(unfold_first_page_no_tlbi, DATA | CONT)
{
	clear(space, N, N);
	set(space, 0, 1, DATA | CONT);
	dsb(ish);
	put(&space->page[N], desc(space, N, DATA));
	flush_sync(space, N, N);
}

/* ---- contiguous blocks: zap and protect ---- */

CASE(zap_block_ok, DATA | CONT)
{
	clear(space, N, N);
	flush_sync(space, N, N);
}

CASE(zap_block_one_page_flushed, DATA | CONT)
{
	clear(space, N, N);
	flush_sync(space, N, 1);
}

CASE(protect_block_one_page_flushed, DATA | CONT)
{
	set(space, N, N, DATA | CONT | RO);
	flush_sync(space, N + 3, 1);
}

CASE(mkold_block_ok, DATA | CONT)
{
	set(space, N, N, (DATA | CONT) & ~AF);
}

CASE_NEEDS(zap_block_range_ok, DATA | CONT, NEEDS_RANGES)
{
	clear(space, N, N);
	dsb(ishst);
	tlbi_x(rvale1is, by_range(space, page_va(N), GRANULE, N, 3));
	dsb(ish);
}

CASE_NEEDS(zap_block_range_two_short, DATA | CONT, NEEDS_RANGES)
{
	clear(space, N, N);
	dsb(ishst);
	/* N - 2 pages cannot be named by one instruction where N is 128. */
	if (N > 64)
		tlbi_x(rvale1is, by_range(space, page_va(N), GRANULE, 64, 3));
	tlbi_x(rvale1is, by_range(space, page_va(2 * N - 2 - (N - 2) % 64), GRANULE, (N - 2) % 64,
				  3));
	dsb(ish);
}

CASE_NEEDS(zap_block_range_late, DATA | CONT, NEEDS_RANGES)
{
	clear(space, N, N);
	dsb(ishst);
	tlbi_x(rvale1is, by_range(space, page_va(N + 1), GRANULE, N, 3));
	dsb(ish);
}

CASE_NEEDS(zap_block_range_wrong_granule, DATA | CONT, NEEDS_RANGES)
{
	clear(space, N, N);
	dsb(ishst);
	tlbi_x(rvale1is, by_range(space, page_va(N), GRANULE == 3 ? 1 : 3, N, 3));
	dsb(ish);
}

CASE_NEEDS(zap_block_range_wrong_level, DATA | CONT, NEEDS_RANGES)
{
	clear(space, N, N);
	dsb(ishst);
	tlbi_x(rvale1is, by_range(space, page_va(N), GRANULE, N, 2));
	dsb(ish);
}

CASE_NEEDS(zap_block_range_any_asid_ok, DATA | CONT, NEEDS_RANGES)
{
	clear(space, N, N);
	dsb(ishst);
	tlbi_x(rvaae1is, by_range(space, page_va(N), GRANULE, N, 0));
	dsb(ish);
}

CASE_NEEDS(zap_block_range_outer_ok, DATA | CONT, NEEDS_RANGES)
{
	clear(space, N, N);
	dsb(ishst);
	tlbi_x(rvae1os, by_range(space, page_va(N), GRANULE, N, 0));
	dsb(osh);
}

CASE_NEEDS(zap_block_range_outer_dsb_inner, DATA | CONT, NEEDS_RANGES)
{
	clear(space, N, N);
	dsb(ishst);
	tlbi_x(rvae1os, by_range(space, page_va(N), GRANULE, N, 0));
	dsb(ish);
}

/* ---- misprogrammed blocks ---- */

CASE(block_new_ok, 0)
{
	set(space, N, N, DATA | CONT);
}

CASE(block_hole, DATA | CONT)
{
	clear(space, N + 5, 1);
	flush_sync(space, N, N);
}

CASE(block_of_fewer, 0)
{
	set(space, N, N - 1, DATA | CONT);
}

CASE(block_one_entry_without_bit, 0)
{
	set(space, N, N, DATA | CONT);
	clear(space, N + 5, 1);
	flush_sync(space, N, N);
	set(space, N + 5, 1, DATA);
}

CASE(block_permissions_differ, DATA | CONT)
{
	set(space, N + 5, 1, DATA | CONT | RO);
	flush_sync(space, N, N);
}

CASE(block_memory_type_differs, 0)
{
	set(space, N, N - 1, DATA | CONT);
	set(space, 2 * N - 1, 1, DATA | CONT | ATTR(1));
}

CASE(block_not_aligned, 0)
{
	for (u64 i = 0; i < N; i++)
		put(&space->page[N + i], desc(space, N + i + 1, DATA | CONT));
}

CASE(block_not_consecutive, 0)
{
	set(space, N, N - 1, DATA | CONT);
	put(&space->page[2 * N - 1], desc(space, 3, DATA | CONT));
}

CASE(block_access_flags_differ, DATA | CONT)
{
	set(space, N + 5, 1, (DATA | CONT) & ~AF);
}

/* As a fault handler that makes the faulting entry young, and only that. */
CASE(block_one_entry_made_young, (DATA | CONT) & ~AF)
{
	set(space, N + 5, 1, DATA | CONT);
}

CASE(block_all_entries_made_young_ok, (DATA | CONT) & ~AF)
{
	set(space, N, N, DATA | CONT);
}

CASE(block_one_entry_made_dirty, DATA | CONT | DBM | RO)
{
	set(space, N + 5, 1, DATA | CONT | DBM);
}

/* ---- tables and blocks of level 2 ---- */

static u64 *section_entry(const struct space *space)
{
	return &space->section[USER_DATA / SECTION];
}

/* The section's own memory: aligned, and as large as nothing else here. */
static u64 section_desc(void)
{
	return RAM | VALID | USER | RO | SH_INNER | AF | NG | PXN | UXN;
}

CASE(table_gone_ok, DATA)
{
	put(section_entry(space), 0);
	dsb(ishst);
	tlbi_x(aside1is, space->asid << 48);
	dsb(ish);
}

CASE(table_gone_no_tlbi, DATA)
{
	put(section_entry(space), 0);
	dsb(ish);
}

CASE(collapse_ok, DATA)
{
	put(section_entry(space), 0);
	dsb(ishst);
	for (u64 i = 0; i <= DATA_PAGES; i++)
		tlbi_x(vae1is, by_va(space, page_va(i)));
	dsb(ish);
	put(section_entry(space), section_desc());
}

CASE(collapse_no_tlbi, DATA)
{
	put(section_entry(space), 0);
	dsb(ish);
	put(section_entry(space), section_desc());
	dsb(ishst);
	tlbi_x(aside1is, space->asid << 48);
	dsb(ish);
}

/* Map the section by one descriptor, in place of a table that maps nothing any more. */
static u64 section_map(const struct space *space)
{
	u64 table = *section_entry(space);

	clear(space, DATA_PAGES, 1);
	flush_sync(space, DATA_PAGES, 1);
	put(section_entry(space), section_desc());
	return table;
}

CASE(split_ok, 0)
{
	u64 table = section_map(space);

	user_nothing();
	put(section_entry(space), 0);
	dsb(ishst);
	tlbi_x(vae1is, by_va(space, USER_DATA));
	dsb(ish);
	set(space, 0, N, DATA);
	put(section_entry(space), table);
}

CASE(split_no_tlbi, 0)
{
	u64 table = section_map(space);

	user_nothing();
	put(section_entry(space), 0);
	dsb(ish);
	put(section_entry(space), table);
	set(space, 0, 1, DATA);
	dsb(ishst);
	tlbi_x(aside1is, space->asid << 48);
	dsb(ish);
}

/* ---- tasks and CPUs ---- */

/* Another thread returns to EL0 in the middle: that is no promise of the one that flushes. */
CASE(other_thread_returns_ok, DATA)
{
	clear(space, 3, 1);
	task_use(2);
	user_nothing();
	task_use(1);
	flush_sync(space, 3, 1);
}

CASE(other_thread_returns_first, DATA)
{
	clear(space, 3, 1);
	task_use(2);
	user_nothing();
	task_use(1);
	user_nothing();
	flush_sync(space, 3, 1);
}

/* The address space is emptied, and its ASID not used again. */
CASE(exit_ok, DATA)
{
	struct space other = space_make();

	clear(space, 0, DATA_PAGES);
	put(&space->root[0], 0);
	space_use(&other);
	user_nothing();
}

CASE(asid_reuse_ok, DATA)
{
	struct space between = space_make(), other = space_make();

	space_use(&between);
	user_nothing();
	tlbi_x(aside1is, space->asid << 48);
	dsb(ish);
	other.asid = space->asid;
	space_use(&other);
	user_nothing();
}

/*
 * A CPU that is in the old address space goes on to fill its TLB under the ASID that
 * was flushed.
 */
CASE(asid_reuse_flushed_in_use, DATA)
{
	struct space other = space_make();

	tlbi_x(aside1is, space->asid << 48);
	dsb(ish);
	other.asid = space->asid;
	space_use(&other);
	user_nothing();
}

CASE(asid_reuse, DATA)
{
	struct space other = space_make();

	other.asid = space->asid;
	space_use(&other);
	user_nothing();
}

/* ---- reach: reads of known number ---- */

/* Two rounds over two blocks, a read in each page. */
CASE(read_folded, DATA | CONT)
{
	user_read(page_va(0), page_va(2 * N), PAGE, 2);
	(void)space;
}

CASE(read_single, DATA)
{
	user_read(page_va(0), page_va(2 * N), PAGE, 2);
	(void)space;
}

CASE(read_flush_read, DATA | CONT)
{
	user_read(page_va(0), page_va(2 * N), PAGE, 1);
	flush_sync(space, 0, 1);
	user_read(page_va(0), page_va(2 * N), PAGE, 1);
}

/* ---- the self-test ---- */

/* No callback tells of DC ZVA. */
CASE(store_unseen, 0)
{
	set(space, 0, 8, DATA);
	user_nothing();
	asm volatile("dc zva, %0" :: "r" (&space->page[0]) : "memory");
	flush_sync(space, 0, 8);
}

/* ---- two CPUs ---- */

CASE(two_cpus_inner_ok, DATA)
{
	second_cpu(space);
	clear(space, 3, 1);
	flush_sync(space, 3, 1);
}

CASE(two_cpus_local, DATA)
{
	second_cpu(space);
	clear(space, 3, 1);
	dsb(ishst);
	tlbi_x(vale1, by_va(space, page_va(3)));
	dsb(ish);
}
