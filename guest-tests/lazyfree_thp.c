// SPDX-License-Identifier: GPL-2.0
/*
 * MADV_FREE of folios that one entry of the page middle directory maps (pmd_*),
 * of folios with many contiguous blocks, those of a PMD's size mapped by PTEs
 * among them (blocks_*), of folios across the border of two page tables
 * (straddle_*), and of zero pages.
 *
 * Step records tell what the kernel did (splits, marks, conversions); checks
 * are what every correct kernel keeps, see lazyfree.h.
 *
 * In the comments, [a, b) are fractions of a folio, Fn the n-th folio, Bn the
 * n-th contiguous block of a folio.
 */
#define _GNU_SOURCE
#include "../kselftest_harness.h"
#include <sys/uio.h>
#include "lazyfree_child.h"
#include "lazyfree_fault.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/* ---- what the tests need ---- */

static bool pmd_sized(const FIX *self)
{
	return self->order == kpv_max_order(psize);
}

/* KiB of the region that PMDs map. */
static int64_t pmd_mapped_kib(void)
{
	int64_t smaps[KPV_NR_SMAPS];

	kpv_read_smaps((uintptr_t)rg.base, rg.pages * psize, smaps);
	return smaps[KPV_SMAPS_ANONHUGEPAGES];
}

#define NEED_PMD_MAPPED(pages) do {						\
	int64_t want = (int64_t)((pages) * psize / 1024), got = pmd_mapped_kib();	\
										\
	NEED("pmd_mapped_kib", got == want, want, got);				\
} while (0)

/* A region of so many folios, each mapped by a PMD. */
#define PMD_REGION(folios) do {							\
	NEED("pmd_order", pmd_sized(self), kpv_max_order(psize), self->order);	\
	REGION(folios);								\
	NEED_PMD_MAPPED(rg.pages);						\
} while (0)

static int64_t probe_count(const int64_t *probes, const char *name)
{
	for (int i = 0; i < kpv.probes; i++)
		if (!strcmp(kpv.probe_name[i], name))
			return probes[i];
	return KPV_NULL;
}

static struct {
	int64_t before[KPV_PROBES];
} fold;

static void fold_begin(void)
{
	kpv_read_probes(fold.before);
}

/*
 * How many contiguous blocks were unfolded since fold_begin(), and not folded
 * again; KPV_NULL if nobody placed the probes. Each folding and each unfolding
 * is one conversion.
 */
static int64_t fold_unfolded(void)
{
	static const char * const names[] = { "contpte_unfold", "contpte_convert" };
	int64_t after[KPV_PROBES], count[2];

	kpv_read_probes(after);
	for (size_t i = 0; i < KPV_COUNT(names); i++) {
		int64_t from = probe_count(fold.before, names[i]);
		int64_t to = probe_count(after, names[i]);

		if (from == KPV_NULL || to == KPV_NULL)
			return KPV_NULL;
		count[i] = to - from;
	}
	return count[0] - (count[1] - count[0]);
}

/* The fold state that was asked for, where it can be seen. */
#define NEED_UNFOLDED(want) do {						\
	int64_t unfolded = fold_unfolded();					\
										\
	if (unfolded != KPV_NULL)						\
		NEED("unfolded_blocks", unfolded == (want), want, unfolded);	\
} while (0)

/*
 * Map a folio of a PMD's size by PTEs, all of its blocks folded: write-protect
 * a whole block and back. Smaller folios are mapped so from the start.
 */
static bool map_by_ptes(const FIX *self, size_t folio)
{
	char *block = rg.base + (folio * self->nr + cont_ptes()) * psize;
	size_t len = cont_ptes() * psize;

	return !pmd_sized(self) || (!mprotect(block, len, PROT_READ) &&
				    !mprotect(block, len, PROT_READ | PROT_WRITE));
}

/* A region of folios that have four contiguous blocks or more, mapped by PTEs. */
#define BLOCKS_REGION(folios) do {						\
	NEED("blocks", self->nr / cont_ptes() >= 4, 4, self->nr / cont_ptes());	\
	REGION(folios);								\
	fold_begin();								\
	for (size_t f = 0; f < (folios); f++)					\
		ASSERT_TRUE(map_by_ptes(self, f));				\
	NEED_UNFOLDED(0);							\
	NEED_PMD_MAPPED(0);							\
	NEED("vmas", region_vmas(&rg) == 1, 1, region_vmas(&rg));		\
} while (0)

/* ---- steps ---- */

/* region_free(), and check_counted(). For folios that are wholly mapped. */
static long free_counted(META *_metadata, size_t first, size_t nr, const char *name)
{
	int64_t lazyfree;
	long ret;

	kpv_drain();
	lazyfree = count_states(region_states(&rg), "lLdD");
	ret = region_free(_metadata, &rg, first, nr, name);
	lazyfree = (int64_t)count_states(region_states(&rg), "lLdD") - lazyfree;
	check_counted(_metadata, lazyfree, name);
	return ret;
}

/* Page out the pages around one: to page out folios of 2 MiB costs more than all the rest. */
static void page_out_near(size_t page)
{
	size_t first = page > 16 ? page - 16 : 0;
	size_t nr = rg.pages - first < 32 ? rg.pages - first : 32;

	kpv_step_begin(&step, "page-out", rg.base, rg.pages * psize);
	madvise(rg.base + first * psize, nr * psize, MADV_PAGEOUT);
	kpv_step_end(&step, 0, 0);
	region_show(&rg, "after-page-out");
}

#define RECLAIM_NEAR(page) do {							\
	if (!region_reclaim_lazyfree(self, &rg, "reclaim"))			\
		SKIP(return, "lazyfree pages were not reclaimed");		\
	page_out_near(page);							\
} while (0)

/* Exactly [first, first + nr) is lazyfree, the rest as it was; then reclaim. */
static void free_exactly(META *_metadata, FIX *self, size_t first, size_t nr)
{
	kpv_param("freed_pages", nr);
	free_counted(_metadata, first, nr, "free");
	check_exactly_lazyfree(_metadata, &rg);
	check_clean(_metadata, &rg, "after free");
	if (nr < rg.pages) {
		check_outside_untouched(_metadata, &rg);
		check_outside_dirty(_metadata, &rg);
	}
	RECLAIM_NEAR(first ? first : nr < rg.pages ? nr : 0);
	region_finish(_metadata, self, &rg);
}

/* Free all of a region of one folio and write one page at once; it survives. */
static void write_after_free_at(META *_metadata, FIX *self, size_t page)
{
	region_free_write(_metadata, &rg, 0, rg.pages, &page, 1, "free-write");
	check_write_cancels(_metadata, &rg);
	RECLAIM_NEAR(page);
	region_finish(_metadata, self, &rg);
}

/* ---- zero pages ---- */

/* Zero pages of the range are zero pages still, or nothing; never something of the caller's. */
static void check_zero_pages(META *_metadata, size_t first, size_t nr)
{
	const char *states = region_states(&rg);
	size_t other = 0, bad = 0;

	for (size_t i = first; i < first + nr; i++) {
		if (states[i] != 'z' && states[i] != '.') {
			other++;
			bad = i;
		}
	}
	CHECK("zero-page-untouched", states[0] && !other,
	      "%zu of %zu zero pages became something else, last is page %zu: %.128s", other, nr,
	      bad, states);
}

/*
 * F1 is zero pages: alone they give nothing to free; between F0 and F2 the walk
 * passes over them. Then one is written. Kills: marking or counting the zero
 * page, a write that goes into the zero page itself, a wrong step behind it.
 */
TEST_F(lazyfree, zero_page)
{
	size_t nr = self->nr;

	REGION(3);
	region_hole(&rg, nr, nr);
	for (size_t i = nr; i < 2 * nr; i++)
		page_touch_read(&rg, i);
	NEED("zero_page", count_states(region_states(&rg), "z") == nr, nr,
	     count_states(region_states(&rg), "z"));
	free_counted(_metadata, nr, nr, "free-zero");
	check_zero_pages(_metadata, nr, nr);
	free_counted(_metadata, 0, rg.pages, "free");
	check_zero_pages(_metadata, nr, nr);
	check_exactly_lazyfree(_metadata, &rg);
	page_write(&rg, nr + nr / 2, 2);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/* Whether all pages of a folio's place are zero pages that follow each other in memory. */
static bool is_huge_zero(size_t first, size_t nr)
{
	if (!kpv_read_pages(kpv.pagemap, rg.base + first * psize, nr))
		return false;
	for (size_t i = 0; i < nr; i++)
		if (!kpv_bit(kpv.flags_buf[i], KPV_KPF_ZERO_PAGE) ||
		    (kpv.pagemap_buf[i] & KPV_PM_PFN) != (kpv.pagemap_buf[0] & KPV_PM_PFN) + i)
			return false;
	return true;
}

/*
 * F0 is the huge zero page, freed in part, then with F1. Kills: splitting,
 * marking or cleaning the huge zero page, giving up behind it.
 */
TEST_F(lazyfree, huge_zero_page)
{
	size_t nr = self->nr;

	PMD_REGION(2);
	region_hole(&rg, 0, nr);
	NEED_DONE("thp_size", thp_select(self, self->order));
	page_touch_read(&rg, nr / 2);
	NEED_DONE("khugepaged_stopped", thp_stop_khugepaged(self));
	NEED_DONE("huge_zero_page", is_huge_zero(0, nr));
	free_counted(_metadata, nr / 4, nr / 2, "free-zero");
	check_zero_pages(_metadata, 0, nr);
	free_counted(_metadata, 0, rg.pages, "free");
	check_zero_pages(_metadata, 0, nr);
	check_exactly_lazyfree(_metadata, &rg);
	check_clean(_metadata, &rg, "after free");
	page_write(&rg, nr / 2, 2);
	RECLAIM_NEAR(nr / 2);
	region_finish(_metadata, self, &rg);
}

/* ---- mapped by a PMD ---- */

/*
 * First, middle and last folio of the range. Kills: a PMD left out, its dirty
 * or access bit left, a mark counted as one page, a PMD lost in reclaim.
 */
TEST_F(lazyfree, pmd_full_cover)
{
	PMD_REGION(3);
	free_exactly(_metadata, self, 0, rg.pages);
}

/* F1 [0, 1/2); F0 is outside. Kills: a PMD freed whole for a part of it. */
TEST_F(lazyfree, pmd_partial_head)
{
	PMD_REGION(2);
	free_exactly(_metadata, self, self->nr, self->nr / 2);
}

/* F0 [1/2, 1); F1 is outside. Kills: taking up the walk at a wrong place after the split. */
TEST_F(lazyfree, pmd_partial_tail)
{
	PMD_REGION(2);
	free_exactly(_metadata, self, self->nr / 2, self->nr / 2);
}

/*
 * About the middle half of a folio, from within one contiguous block to within
 * another. Kills: rounding the range to blocks.
 */
TEST_F(lazyfree, pmd_partial_inner)
{
	size_t first = self->nr / 4 + 3;

	PMD_REGION(1);
	free_exactly(_metadata, self, first, self->nr - self->nr / 4 - 5 - first);
}

TEST_F(lazyfree, pmd_partial_one_page)
{
	PMD_REGION(1);
	free_exactly(_metadata, self, self->nr / 2 + 1, 1);
}

/* F0 [1/2, 1), F1, F2 [0, 1/2): two are cut, one is whole. */
TEST_F(lazyfree, pmd_unaligned)
{
	PMD_REGION(3);
	free_exactly(_metadata, self, self->nr / 2, 2 * self->nr);
}

/* A part is freed, and the last page of it written at once. */
TEST_F(lazyfree, pmd_partial_written)
{
	size_t first = self->nr / 4, nr = self->nr / 2, last = first + nr - 1;

	PMD_REGION(1);
	region_free_write(_metadata, &rg, first, nr, &last, 1, "free-write");
	check_write_cancels(_metadata, &rg);
	RECLAIM_NEAR(last);
	region_finish(_metadata, self, &rg);
}

/*
 * A second free finds nothing; one after a read makes the PMD old again, one
 * after a write to any page clean again, also when only the dirty bit is set
 * (clear_refs takes the access flag away). Kills: deciding by one of the two
 * bits, or by the first transition only.
 */
TEST_F(lazyfree, pmd_rearm)
{
	static const char * const names[] = { "free-first", "free-inner", "free-last" };
	size_t at[] = { 0, self->nr / 2, self->nr - 1 };
	int64_t smaps[KPV_NR_SMAPS];

	PMD_REGION(1);
	free_counted(_metadata, 0, rg.pages, "free");
	check_old(_metadata, &rg, "after free");
	free_counted(_metadata, 0, rg.pages, "free-again");
	page_touch_read(&rg, self->nr / 2);
	free_counted(_metadata, 0, rg.pages, "free-read-inner");
	check_old(_metadata, &rg, "after free of a young PMD");
	for (size_t i = 0; i < KPV_COUNT(at); i++) {
		page_write(&rg, at[i], 2 + i);
		free_counted(_metadata, 0, rg.pages, names[i]);
		check_clean(_metadata, &rg, names[i]);
	}
	check_old(_metadata, &rg, "after free of a young dirty PMD");

	page_write(&rg, self->nr / 2, 6);
	NEED_DONE("clear_refs", file_write("/proc/self/clear_refs", "1"));
	kpv_read_smaps((uintptr_t)rg.base, rg.pages * psize, smaps);
	NEED("referenced_kib", smaps[KPV_SMAPS_REFERENCED] == 0, 0, smaps[KPV_SMAPS_REFERENCED]);
	NEED("dirty_kib", smaps[KPV_SMAPS_PRIVATE_DIRTY] > 0, 1, smaps[KPV_SMAPS_PRIVATE_DIRTY]);
	free_counted(_metadata, 0, rg.pages, "free-old-dirty");
	check_clean(_metadata, &rg, "after free of an old dirty PMD");
	check_exactly_lazyfree(_metadata, &rg);
	RECLAIM_NEAR(0);
	region_finish(_metadata, self, &rg);
}

/*
 * Written at once through a translation that was writable before the call.
 * Kills: no TLB flush of the PMD, or of one page only.
 */
TEST_F(lazyfree, pmd_write_after_free_first)
{
	PMD_REGION(1);
	write_after_free_at(_metadata, self, 0);
}

TEST_F(lazyfree, pmd_write_after_free_inner)
{
	PMD_REGION(1);
	write_after_free_at(_metadata, self, self->nr / 2 + 1);
}

TEST_F(lazyfree, pmd_write_after_free_last)
{
	PMD_REGION(1);
	write_after_free_at(_metadata, self, self->nr - 1);
}

/* Write a page through the kernel's own mapping: PG_dirty is set, the page table is not touched. */
static bool write_by_kernel(size_t page, unsigned int gen)
{
	char *buffer = malloc(psize);
	bool ok = false;
	int fd;

	fd = open("/proc/self/mem", O_WRONLY | O_CLOEXEC);
	if (buffer && fd >= 0) {
		words_store((uint64_t *)buffer, page, gen);
		ok = pwrite(fd, buffer, psize, (uintptr_t)rg.base + page * psize) ==
		     (ssize_t)psize;
	}
	close(fd);
	free(buffer);
	return ok;
}

/* Pages that are lazyfree, with PG_dirty, in the page tables of this process. */
static size_t region_pg_dirty_lazyfree(void)
{
	return count_states(region_states(&rg), "dD");
}

/*
 * After the free, the kernel writes a page on the process' behalf; the PMD
 * stays clean, PG_dirty alone keeps the data. Kills: a reclaim that looks at
 * the page table only.
 */
TEST_F(lazyfree, pmd_written_by_kernel)
{
	size_t page = self->nr / 2 + 1;

	PMD_REGION(1);
	free_counted(_metadata, 0, rg.pages, "free");
	check_exactly_lazyfree(_metadata, &rg);
	NEED_DONE("written_by_kernel", write_by_kernel(page, 2));
	rg.gen[page] = 2;
	rg.class[page] = PAGE_WRITTEN;
	RECLAIM_NEAR(page);
	region_finish(_metadata, self, &rg);
}

/*
 * PG_dirty on a folio that a PMD maps. Kills: PG_dirty left, so that reclaim
 * swaps out what it should discard.
 */
TEST_F(lazyfree, pmd_pgdirty)
{
	size_t page = self->nr / 2 + 1;

	PMD_REGION(1);
	NEED_DONE("written_by_kernel", write_by_kernel(page, 2));
	rg.gen[page] = 2;
	NEED("pg_dirty_pages", region_pg_dirty(&rg) > 0, 1, region_pg_dirty(&rg));
	NEED_PMD_MAPPED(rg.pages);
	free_exactly(_metadata, self, 0, rg.pages);
}

/*
 * F0 [1/2, 1) and F1 are freed while a pipe refers to a page of F0, which so
 * cannot be split: it stays as it is, and F1 is freed. Then nobody refers to it
 * any more, and the same call frees the half. Kills: freeing the whole of what
 * could not be split, going on at a wrong place, a lock or reference kept.
 */
TEST_F(lazyfree, pmd_split_fails)
{
	size_t nr = self->nr, half = nr / 2;
	struct iovec page;
	int fds[2];

	PMD_REGION(2);
	ASSERT_EQ(0, pipe2(fds, O_CLOEXEC));
	page = (struct iovec){ rg.base + (half + 1) * psize, psize };
	NEED_DONE("referenced", vmsplice(fds[1], &page, 1, 0) == (ssize_t)psize);
	kpv_param("freed_pages", nr);
	region_free(_metadata, &rg, half, nr + half, "free");
	check_outside_untouched(_metadata, &rg);
	check_outside_dirty(_metadata, &rg);
	if (!region_reclaim_lazyfree(self, &rg, "reclaim"))
		SKIP(return, "lazyfree pages were not reclaimed");
	region_note_discarded(&rg);
	check_data(_metadata, &rg);
	close(fds[0]);
	close(fds[1]);
	region_free(_metadata, &rg, half, nr + half, "free-again");
	check_exactly_lazyfree(_metadata, &rg);
	check_outside_untouched(_metadata, &rg);
	check_clean(_metadata, &rg, "after free-again");
	RECLAIM_NEAR(half);
	region_finish(_metadata, self, &rg);
}

/* Freed, moved to an aligned place, written. Kills: a move that loses or fakes the dirty bit. */
TEST_F(lazyfree, pmd_moved)
{
	size_t page = self->nr / 2 + 1;

	PMD_REGION(1);
	free_counted(_metadata, 0, rg.pages, "free");
	NEED_DONE("moved", region_move(&rg, 0));
	page_write(&rg, page, 2);
	check_write_cancels(_metadata, &rg);
	RECLAIM_NEAR(page);
	region_finish(_metadata, self, &rg);
}

/*
 * Moved by one contiguous block, so that each folio lies in two page tables and
 * is congruent with its place in memory at the level of blocks only.
 */
TEST_F(lazyfree, pmd_moved_by_block)
{
	PMD_REGION(2);
	NEED_DONE("moved", region_move(&rg, cont_ptes() * psize));
	free_exactly(_metadata, self, 0, self->nr);
}

/* Freed, write-protected and back, written. */
TEST_F(lazyfree, pmd_protected)
{
	size_t page = self->nr - 1;

	PMD_REGION(1);
	free_counted(_metadata, 0, rg.pages, "free");
	ASSERT_EQ(0, mprotect(rg.base, rg.pages * psize, PROT_READ));
	check_readonly(_metadata, &rg, page, 1);
	ASSERT_EQ(0, mprotect(rg.base, rg.pages * psize, PROT_READ | PROT_WRITE));
	NEED_PMD_MAPPED(rg.pages);
	page_write(&rg, page, 2);
	check_write_cancels(_metadata, &rg);
	RECLAIM_NEAR(page);
	region_finish(_metadata, self, &rg);
}

/* One call over two VMAs that share a folio: PTEs map it, and each VMA's walk sees half. */
TEST_F(lazyfree, pmd_two_vmas)
{
	size_t half = self->nr / 2;

	PMD_REGION(1);
	ASSERT_EQ(0, mprotect(rg.base + half * psize, half * psize, PROT_READ));
	NEED("vmas", region_vmas(&rg) == 2, 2, region_vmas(&rg));
	free_counted(_metadata, 0, rg.pages, "free");
	check_exactly_lazyfree(_metadata, &rg);
	check_clean(_metadata, &rg, "after free");
	check_readonly(_metadata, &rg, half, 2);
	RECLAIM_NEAR(half);
	region_finish(_metadata, self, &rg);
}

/*
 * Swapped out. [1/4, 3/4) is freed: its entries go, their neighbours stay. Then
 * the first quarter is written back in, and all of it freed. Kills: freeing
 * entries by the folio they came from, slots that leak, a wrong step at the
 * change from entries to pages.
 */
TEST_F(lazyfree, pmd_swapped)
{
	size_t quarter = self->nr / 4;

	PMD_REGION(1);
	NEED_DONE("swapped_out", region_swap_out(&rg, 0, rg.pages));
	region_class(&rg, quarter, 2 * quarter, PAGE_GONE);
	region_free(_metadata, &rg, quarter, 2 * quarter, "free");
	check_swap_gone(_metadata, &rg, 2 * quarter);
	for (size_t i = 0; i < quarter; i++)
		page_touch_write(&rg, i);
	CHECK("swap-neighbours-readable",
	      page_right(&rg, 0) && page_right(&rg, quarter - 1) &&
	      page_right(&rg, 3 * quarter) && page_right(&rg, rg.pages - 1),
	      "first %d, last before %d, first after %d, last %d", page_right(&rg, 0),
	      page_right(&rg, quarter - 1), page_right(&rg, 3 * quarter),
	      page_right(&rg, rg.pages - 1));
	NEED_DONE("swapped_out", region_swap_out(&rg, 3 * quarter, quarter));
	region_class(&rg, 3 * quarter, quarter, PAGE_GONE);
	region_free(_metadata, &rg, 0, rg.pages, "free-rest");
	check_swap_gone(_metadata, &rg, 0);
	check_exactly_lazyfree(_metadata, &rg);
	RECLAIM_NEAR(0);
	region_finish(_metadata, self, &rg);
}

/*
 * A part was freed and some of that written; then the folio is made whole again
 * and freed as a whole. Kills: collapsing that loses a write, takes discarded
 * pages for data, or leaves the new folio marked.
 */
TEST_F(lazyfree, pmd_collapsed)
{
	size_t quarter = self->nr / 4;
	long ret;

	PMD_REGION(1);
	free_counted(_metadata, quarter, 2 * quarter, "free");
	check_exactly_lazyfree(_metadata, &rg);
	page_write(&rg, quarter, 2);
	page_write(&rg, 2 * quarter + 1, 2);
	ret = madvise(rg.base, rg.pages * psize, MADV_COLLAPSE);
	NEED("collapsed", ret == 0, 0, ret ? errno : 0);
	NEED_PMD_MAPPED(rg.pages);
	check_data(_metadata, &rg);
	free_counted(_metadata, 0, rg.pages, "free-collapsed");
	check_exactly_lazyfree(_metadata, &rg);
	check_clean(_metadata, &rg, "after free-collapsed");
	RECLAIM_NEAR(quarter);
	region_finish(_metadata, self, &rg);
}

/* ---- PMDs that a child has too ---- */

/*
 * F0 is shared, F1 is not; both are freed. Kills: cleaning the child's PMD,
 * splitting what is shared, giving up at F0.
 */
TEST_F(lazyfree, pmd_shared)
{
	PMD_REGION(2);
	FORK_FOLIOS(0, 1);
	NEED_PMD_MAPPED(rg.pages);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	child_show("after-free");
	RECLAIM_NEAR(0);
	check_sharer(_metadata, 0, self->nr, "after reclaim");
	shared_finish(_metadata, self);
}

/* F0 [1/2, 1), shared, and F1 [0, 1/2), exclusive. */
TEST_F(lazyfree, pmd_shared_partial)
{
	size_t half = self->nr / 2;

	PMD_REGION(2);
	FORK_FOLIOS(0, 1);
	NEED_PMD_MAPPED(rg.pages);
	region_free(_metadata, &rg, half, self->nr, "free");
	check_outside_untouched(_metadata, &rg);
	RECLAIM_NEAR(half);
	check_sharer(_metadata, 0, self->nr, "after reclaim");
	shared_finish(_metadata, self);
}

/* The child maps it by PTEs, and not its first page: shared, though the first page is not. */
TEST_F(lazyfree, pmd_shared_child_ptes)
{
	PMD_REGION(1);
	CHILD_START();
	CHILD_DO(CHILD_UNMAP, 0, 1, 0);
	NEED_PMD_MAPPED(rg.pages);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	RECLAIM_NEAR(0);
	check_sharer(_metadata, 1, rg.pages - 1, "after reclaim");
	shared_finish(_metadata, self);
}

/* The parent maps it by PTEs, the child by a PMD: no page has a second PTE, yet all are shared. */
TEST_F(lazyfree, pmd_shared_parent_ptes)
{
	PMD_REGION(1);
	CHILD_START();
	ASSERT_TRUE(map_by_ptes(self, 0));
	NEED_PMD_MAPPED(0);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	child_show("after-free");
	RECLAIM_NEAR(0);
	check_sharer(_metadata, 0, rg.pages, "after reclaim");
	shared_finish(_metadata, self);
}

/* The child is gone, the PMD still write-protected: freed like any other, and a write survives. */
TEST_F(lazyfree, pmd_sole_owner)
{
	PMD_REGION(1);
	CHILD_START();
	child_stop();
	NEED_PMD_MAPPED(rg.pages);
	free_counted(_metadata, 0, rg.pages, "free");
	check_exactly_lazyfree(_metadata, &rg);
	check_clean(_metadata, &rg, "after free");
	write_after_free_at(_metadata, self, self->nr / 2 + 1);
}

/* Freed, then forked, then written by both. Kills: a fork that hands out writable or clean PMDs. */
TEST_F(lazyfree, pmd_forked)
{
	struct child_reply reply;

	PMD_REGION(1);
	free_counted(_metadata, 0, rg.pages, "free");
	CHILD_START();
	page_write(&rg, self->nr / 2, 2);
	CHILD_DO(CHILD_WRITE, self->nr / 2, 1, 3);
	CHILD_DO(CHILD_WRITE, self->nr - 1, 1, 3);
	RECLAIM_NEAR(self->nr / 2);
	reply = child_ask(CHILD_VERIFY_CLASS, 0, rg.pages, 0);
	CHECK("no-lost-write", !reply.wrong, "child: %zd of %zu pages wrong, first is page %zu",
	      (ssize_t)reply.wrong, rg.pages, reply.bad);
	shared_finish(_metadata, self);
}

/*
 * A page that the kernel wrote after a first free: its dirty bit is the folio's
 * alone. Then a child has the folio too, and the parent frees it again. What the
 * kernel wrote is the child's by now. Of any order. Kills: clearing PG_dirty
 * without a look at who else maps the folio.
 */
TEST_F(lazyfree, pgdirty_then_shared)
{
	size_t page = self->nr / 2;

	REGION(1);
	if (pmd_sized(self))
		NEED_PMD_MAPPED(rg.pages);
	free_counted(_metadata, 0, rg.pages, "free-first");
	NEED_DONE("written_by_kernel", write_by_kernel(page, 2));
	rg.gen[page] = 2;
	rg.class[page] = PAGE_WRITTEN;
	CHILD_START();
	NEED("pg_dirty_pages", region_pg_dirty_lazyfree() > 0, 1, region_pg_dirty_lazyfree());
	region_free(_metadata, &rg, 0, rg.pages, "free");
	RECLAIM_NEAR(page);
	check_sharer_class(_metadata, 0, rg.pages, "after reclaim");
	shared_finish(_metadata, self);
}

/* ---- many contiguous blocks ---- */

/* Kills: handling the first block only, or one descriptor of each. */
TEST_F(lazyfree, blocks_full_cover)
{
	BLOCKS_REGION(2);
	free_exactly(_metadata, self, 0, rg.pages);
}

/* B1 to the last but one: the range begins and ends at borders of blocks. */
TEST_F(lazyfree, blocks_partial_at_borders)
{
	BLOCKS_REGION(1);
	free_exactly(_metadata, self, cont_ptes(), self->nr - 2 * cont_ptes());
}

/*
 * From within B1 to within the last but one. Kills: widening what is freed to
 * whole blocks, whose other pages are outside.
 */
TEST_F(lazyfree, blocks_partial_off_borders)
{
	BLOCKS_REGION(1);
	free_exactly(_metadata, self, cont_ptes() + 3, self->nr - 2 * cont_ptes() - 8);
}

/*
 * One block in the middle is unfolded. Kills: taking the first block's fold
 * state for all, clearing bits of one descriptor where a block is folded.
 */
TEST_F(lazyfree, blocks_one_unfolded)
{
	BLOCKS_REGION(1);
	fold_begin();
	ASSERT_TRUE(region_unfold(&rg, self->nr / 2 + 1));
	NEED_UNFOLDED(1);
	NEED("vmas", region_vmas(&rg) == 1, 1, region_vmas(&rg));
	free_exactly(_metadata, self, 0, rg.pages);
}

/*
 * One page of each folio is written right after the call, at one place within
 * its block: in the first block of F0, an inner one of F1, the last one of F2.
 * One folio, and the block as the page, where folios are large. Kills: a
 * flush of part of the blocks, dirty bits gathered from part of them.
 */
static void blocks_written(META *_metadata, FIX *self, size_t block_of_one, size_t page)
{
	size_t last = self->nr / cont_ptes() - 1, blocks[] = { 0, last / 2, last };
	size_t folios = pmd_sized(self) ? 1 : 3, list[3];

	BLOCKS_REGION(folios);
	for (size_t f = 0; f < folios; f++) {
		size_t block = folios == 1 ? blocks[block_of_one] : blocks[f];

		list[f] = f * self->nr + block * cont_ptes() + page;
	}
	region_free_write(_metadata, &rg, 0, rg.pages, list, folios, "free-write");
	check_write_cancels(_metadata, &rg);
	RECLAIM_NEAR(list[0]);
	region_finish(_metadata, self, &rg);
}

TEST_F(lazyfree, blocks_write_after_free_first)
{
	blocks_written(_metadata, self, 0, 0);
}

TEST_F(lazyfree, blocks_write_after_free_inner)
{
	blocks_written(_metadata, self, 1, cont_ptes() / 2 + 1);
}

TEST_F(lazyfree, blocks_write_after_free_last)
{
	blocks_written(_metadata, self, 2, cont_ptes() - 1);
}

/*
 * One call over F0, which a PMD maps, and, where F1 was, folios of one contiguous
 * block each, which PTEs map; pages of F0 and of the small folios are written at
 * once, none of them the first of its folio. Kills: a flush in strides of the
 * largest mapping that the call met.
 */
TEST_F(lazyfree, pmd_before_folios)
{
	size_t nr = self->nr, small = cont_ptes(), order = 0;
	size_t list[] = { nr / 2 + 1, nr + 3, nr + small + small / 2, 2 * nr - 1 };
	int got;

	PMD_REGION(2);
	while ((1UL << order) < small)
		order++;
	ASSERT_EQ(0, madvise(rg.base + nr * psize, nr * psize, MADV_DONTNEED));
	NEED_DONE("thp_size", thp_select(self, order));
	for (size_t i = nr; i < 2 * nr; i++)
		page_store(&rg, i, 1);
	kpv_drain();
	ASSERT_TRUE(kpv_read_pages(kpv.pagemap, rg.base, rg.pages));
	got = kpv_order_at(nr, rg.pages);
	NEED("small_folio_order", got == (int)order, order, got);
	NEED_PMD_MAPPED(nr);
	region_free_write(_metadata, &rg, 0, rg.pages, list, KPV_COUNT(list), "free-write");
	check_write_cancels(_metadata, &rg);
	if (!region_reclaim_lazyfree(self, &rg, "reclaim"))
		SKIP(return, "lazyfree pages were not reclaimed");
	check_data(_metadata, &rg);
	region_finish(_metadata, self, &rg);
}

/* ---- across two page tables ---- */

/* The region moved so that the middle of F1 is where one page table ends and the next begins. */
#define STRADDLING_REGION() do {						\
	size_t table = psize << kpv_max_order(psize);				\
	size_t before = (self->nr + self->nr / 2) * psize;			\
										\
	NEED_PARTS();								\
	NEED("bytes_in_table", before < table, table, before);			\
	REGION(3);								\
	NEED_DONE("moved", region_move(&rg, table - before));			\
} while (0)

/* F0 and F1 freed, F2 not. Kills: a batch that runs beyond its page table, a wrong next address. */
TEST_F(lazyfree, straddle_full_cover)
{
	STRADDLING_REGION();
	free_exactly(_metadata, self, 0, 2 * self->nr);
}

/* From the border on: F1 [1/2, 1) and F2. */
TEST_F(lazyfree, straddle_from_border)
{
	STRADDLING_REGION();
	free_exactly(_metadata, self, self->nr + self->nr / 2, self->nr + self->nr / 2);
}

/* All freed; of F1 the last page before the border is written at once, of F0 and F2 an inner one. */
TEST_F(lazyfree, straddle_write_after_free)
{
	size_t nr = self->nr, list[] = { nr / 2, nr + nr / 2 - 1, 2 * nr + nr / 2 };

	STRADDLING_REGION();
	region_free_write(_metadata, &rg, 0, rg.pages, list, 3, "free-write");
	check_write_cancels(_metadata, &rg);
	RECLAIM_NEAR(list[1]);
	region_finish(_metadata, self, &rg);
}

TEST_HARNESS_MAIN
