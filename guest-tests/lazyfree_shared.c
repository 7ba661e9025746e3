// SPDX-License-Identifier: GPL-2.0
/*
 * MADV_FREE of folios that another process maps, or mapped, too: the other's
 * data survive any reclaim, and so do writes of either after the call.
 * Exclusive folios: lazyfree.c.
 *
 * Step records tell what the kernel did (splits, marks, conversions); checks
 * are what every correct kernel keeps, see lazyfree.h. A kernel may mark a
 * shared folio or skip it; it must go on to the next folio, which is told by
 * the counters only, since kernels before 6.10 gave up there.
 *
 * In the comments, [a, b) are fractions of a folio, Fn the n-th folio; the
 * parent is the test, and it is the one that calls MADV_FREE.
 */
#define _GNU_SOURCE
#include "../kselftest_harness.h"
#include "lazyfree_child.h"

/*
 * Whole folios that a child maps as well. The kernel may mark them (PG_dirty
 * is clear) since the child's dirty PTEs keep the data. Kills: clearing the
 * dirty bits of the other process too.
 */
TEST_F(lazyfree, shared_full_cover)
{
	REGION(2);
	CHILD_START();
	region_free(_metadata, &rg, 0, rg.pages, "free");
	child_show("after-free");
	RECLAIM();
	child_show("after-page-out");
	check_sharer(_metadata, 0, rg.pages, "after reclaim");
	shared_finish(_metadata, self);
}

/* F0 is shared and freed whole; F1 and F2 are exclusive and follow in the range. */
TEST_F(lazyfree, shared_first)
{
	REGION(3);
	FORK_FOLIOS(0, 1);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	RECLAIM();
	check_sharer(_metadata, 0, self->nr, "after reclaim");
	shared_finish(_metadata, self);
}

/*
 * Swapped out and read back without a write: PTE clean and, from a device
 * that skips the swap cache, PG_dirty clear and no slot left. Then fork. If
 * the parent's MADV_FREE marks the folio without a look at the map count,
 * nothing tells reclaim that the child needs it: the child reads zeroes.
 */
TEST_F(lazyfree, shared_swapin_clean)
{
	REGION(1);
	NEED_DONE("swapped_out", region_swap_out(&rg, 0, rg.pages));
	for (size_t i = 0; i < rg.pages; i++)
		page_touch_read(&rg, i);
	NEED("present", count_states(region_states(&rg), "aA") == rg.pages, rg.pages,
	     count_states(region_states(&rg), "aA"));
	CHILD_START();
	region_free(_metadata, &rg, 0, rg.pages, "free");
	RECLAIM();
	check_sharer(_metadata, 0, rg.pages, "after reclaim");
	shared_finish(_metadata, self);
}

/* Control of shared_swapin_clean: read back by writing, so the PTEs are dirty. */
TEST_F(lazyfree, shared_swapin_written)
{
	REGION(1);
	NEED_DONE("swapped_out", region_swap_out(&rg, 0, rg.pages));
	for (size_t i = 0; i < rg.pages; i++)
		page_touch_write(&rg, i);
	CHILD_START();
	region_free(_metadata, &rg, 0, rg.pages, "free");
	RECLAIM();
	check_sharer(_metadata, 0, rg.pages, "after reclaim");
	shared_finish(_metadata, self);
}

/* Control of shared_swapin_clean: no MADV_FREE. */
TEST_F(lazyfree, shared_swapin_not_freed)
{
	REGION(1);
	NEED_DONE("swapped_out", region_swap_out(&rg, 0, rg.pages));
	for (size_t i = 0; i < rg.pages; i++)
		page_touch_read(&rg, i);
	CHILD_START();
	RECLAIM();
	check_sharer(_metadata, 0, rg.pages, "after reclaim");
	shared_finish(_metadata, self);
}

/*
 * F0 [1/2, 1) of a shared folio, then F1 and F2, exclusive. No split of what
 * is shared; the walk goes on at F1. Kills: giving up, and a wrong next
 * address after the part of F0.
 */
TEST_F(lazyfree, shared_partial)
{
	NEED_PARTS();
	REGION(3);
	FORK_FOLIOS(0, 1);
	region_free(_metadata, &rg, self->nr / 2, 2 * self->nr + self->nr / 2, "free");
	check_outside_untouched(_metadata, &rg);
	RECLAIM();
	check_sharer(_metadata, 0, self->nr, "after reclaim");
	shared_finish(_metadata, self);
}

/* F0 exclusive, F1 [0, 1/2) shared ends the range; F1 [1/2, 1) and F2 are outside. */
TEST_F(lazyfree, shared_partial_last)
{
	NEED_PARTS();
	REGION(3);
	FORK_FOLIOS(1, 1);
	region_free(_metadata, &rg, 0, self->nr + self->nr / 2, "free");
	check_outside_untouched(_metadata, &rg);
	RECLAIM();
	check_sharer(_metadata, self->nr, self->nr, "after reclaim");
	shared_finish(_metadata, self);
}

/*
 * The last two pages of F0 were dropped and written anew after the fork: two
 * small exclusive folios within the place of a large shared one. F1 is
 * exclusive, F2 too and outside. The two small ones and F1 must become
 * lazyfree; stepping over the whole extent of F0 leaves the two out.
 */
TEST_F(lazyfree, dontneed_hole_shared)
{
	NEED_PARTS();
	REGION(3);
	FORK_FOLIOS(0, 1);
	region_hole(&rg, self->nr - 2, 2);
	page_write(&rg, self->nr - 2, 2);
	page_write(&rg, self->nr - 1, 2);
	NEED("small_folios", count_states(region_states(&rg), "a") == 2, 2,
	     count_states(region_states(&rg), "a"));
	region_free(_metadata, &rg, 0, 2 * self->nr, "free");
	check_outside_untouched(_metadata, &rg);
	RECLAIM();
	check_sharer(_metadata, 0, self->nr, "after reclaim");
	shared_finish(_metadata, self);
}

/*
 * A guess by the first page's map count says "exclusive", and the total is not
 * above the number of pages: the child keeps the last quarter only, the parent
 * has a hole of a quarter. The folio may be split; the child's data stay.
 */
TEST_F(lazyfree, shared_guess_exclusive)
{
	size_t quarter = self->nr / 4;

	NEED_PARTS();
	REGION(2);
	FORK_FOLIOS(0, 1);
	CHILD_DO(CHILD_UNMAP, 0, self->nr - quarter, 0);
	region_hole(&rg, quarter, quarter);
	child_show("before-free");
	region_free(_metadata, &rg, 0, rg.pages, "free");
	RECLAIM();
	check_sharer(_metadata, self->nr - quarter, quarter, "after reclaim");
	shared_finish(_metadata, self);
}

/* The child dropped the first page only: shared by total, not by the first page. */
TEST_F(lazyfree, shared_but_first)
{
	NEED_PARTS();
	REGION(2);
	FORK_FOLIOS(0, 1);
	CHILD_DO(CHILD_UNMAP, 0, 1, 0);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	RECLAIM();
	check_sharer(_metadata, 1, self->nr - 1, "after reclaim");
	shared_finish(_metadata, self);
}

/*
 * Exclusive again, the PTEs still write-protected: marked like any other, and
 * a write after the free survives.
 */
static void sole_owner(META *_metadata, FIX *self)
{
	size_t list[2] = { self->nr / 2, 2 * self->nr - 1 };

	region_free(_metadata, &rg, 0, rg.pages, "free");
	check_exactly_lazyfree(_metadata, &rg);
	check_clean(_metadata, &rg, "after free");
	region_free_write(_metadata, &rg, 0, rg.pages, list, 2, "free-write");
	RECLAIM();
	shared_finish(_metadata, self);
}

TEST_F(lazyfree, sole_owner_after_exit)
{
	REGION(2);
	CHILD_START();
	child_stop();
	sole_owner(_metadata, self);
}

TEST_F(lazyfree, sole_owner_after_unmap)
{
	REGION(2);
	CHILD_START();
	CHILD_DO(CHILD_UNMAP, 0, rg.pages, 0);
	sole_owner(_metadata, self);
}

/*
 * The child is gone and the parent wrote some pages: copies in holes of the
 * folio on 6.12, writable PTEs next to read-only ones from 6.15 on. Either way
 * all of it is marked, and permissions and data are right afterwards.
 */
TEST_F(lazyfree, sole_owner_mixed)
{
	NEED_PARTS();
	REGION(2);
	CHILD_START();
	child_stop();
	for (size_t f = 0; f < 2; f++) {
		page_write(&rg, f * self->nr + 1, 2);
		page_write(&rg, f * self->nr + self->nr / 2, 2);
	}
	kpv_param("small_folios", count_states(region_states(&rg), "a"));
	sole_owner(_metadata, self);
}

/*
 * Half of F0 is shared and read-only, the other half is the parent's alone and
 * writable: one VMA, one folio, two kinds of PTEs. Kills: setting all PTEs of a
 * batch from the first one, which lets the parent write into the child's pages.
 */
static void mixed_permissions(META *_metadata, FIX *self, size_t shared)
{
	size_t half = self->nr / 2, own = shared ? 0 : half;
	struct child_reply reply;

	ASSERT_EQ(0, madvise(rg.base + own * psize, half * psize, MADV_DONTFORK));
	ASSERT_EQ(0, madvise(rg.base + self->nr * psize, self->nr * psize, MADV_DONTFORK));
	CHILD_START();
	ASSERT_EQ(0, madvise(rg.base + own * psize, half * psize, MADV_DOFORK));
	ASSERT_EQ(0, madvise(rg.base + self->nr * psize, self->nr * psize, MADV_DOFORK));
	NEED("vmas", region_vmas(&rg) == 1, 1, region_vmas(&rg));

	region_free(_metadata, &rg, 0, rg.pages, "free");
	page_write(&rg, shared, 2);
	page_write(&rg, shared + half - 1, 3);
	page_write(&rg, own + 1, 2);
	reply = child_ask(CHILD_VERIFY, shared, half, 0);
	CHECK("permissions-unchanged", !reply.wrong,
	      "%zd pages of the child changed by the parent's write, first is page %zu",
	      (ssize_t)reply.wrong, reply.bad);
	RECLAIM();
	check_sharer(_metadata, shared, half, "after reclaim");
	shared_finish(_metadata, self);
}

TEST_F(lazyfree, mixed_ro_first)
{
	NEED_PARTS();
	REGION(2);
	mixed_permissions(_metadata, self, 0);
}

TEST_F(lazyfree, mixed_rw_first)
{
	NEED_PARTS();
	REGION(2);
	mixed_permissions(_metadata, self, self->nr / 2);
}

/*
 * A first child had the first half of each folio and is gone: that half is
 * read-only, the other writable, when all is shared with a second child. What the
 * parent writes then, in either half, does not reach it. Kills: a fork that
 * write-protects a batch by what its first entry is.
 */
TEST_F(lazyfree, forked_twice_mixed)
{
	size_t nr = self->nr, half = nr / 2;
	pid_t first;
	int status;

	NEED_PARTS();
	REGION(2);
	for (size_t f = 0; f < 2; f++)
		ASSERT_EQ(0, madvise(rg.base + (f * nr + half) * psize, half * psize, MADV_DONTFORK));
	first = fork();
	if (!first)
		_exit(0);
	ASSERT_EQ(first, waitpid(first, &status, 0));
	for (size_t f = 0; f < 2; f++)
		ASSERT_EQ(0, madvise(rg.base + (f * nr + half) * psize, half * psize, MADV_DOFORK));
	NEED("vmas", region_vmas(&rg) == 1, 1, region_vmas(&rg));
	CHILD_START();
	page_write(&rg, 0, 2);
	page_write(&rg, half, 2);
	page_write(&rg, nr - 1, 2);
	check_sharer(_metadata, 0, rg.pages, "after the parent's writes");
	region_free(_metadata, &rg, 0, rg.pages, "free");
	page_write(&rg, 1, 3);
	page_write(&rg, nr - 2, 3);
	page_write(&rg, nr + half + 1, 3);
	RECLAIM();
	check_sharer(_metadata, 0, rg.pages, "after reclaim");
	shared_finish(_metadata, self);
}

/*
 * PG_dirty and shared: to be skipped, for PG_dirty may be all that keeps the
 * child's data. Made so: the child does not map the first page, the only one
 * with a dirty PTE. The blocks are unfolded beforehand, or the dirty bit of one
 * PTE would spread over its block. Kills: clearing PG_dirty of a shared folio.
 */
TEST_F(lazyfree, pgdirty_shared)
{
	NEED_PARTS();
	REGION(2);
	for (size_t i = 1; i < rg.pages; i += self->nr < cont_ptes() ? self->nr : cont_ptes())
		ASSERT_TRUE(region_unfold(&rg, i));
	region_free(_metadata, &rg, 0, rg.pages, "free-first");
	for (size_t i = 0; i < rg.pages; i += self->nr)
		page_write(&rg, i, 2);
	if (!region_reclaim_lazyfree(self, &rg, "reclaim-dirty"))
		SKIP(return, "lazyfree pages were not reclaimed");
	/* All pages, or the written ones where the first free split the folio. */
	kpv_param("pg_dirty_before", region_pg_dirty(&rg));
	NEED("pg_dirty_pages", region_pg_dirty(&rg) >= 2, 2, region_pg_dirty(&rg));
	region_class(&rg, 0, rg.pages, PAGE_KEPT);
	region_note_discarded(&rg);
	CHILD_START();
	for (size_t i = 0; i < rg.pages; i += self->nr)
		CHILD_DO(CHILD_UNMAP, i, 1, 0);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	kpv_param("pg_dirty_after", region_pg_dirty(&rg));
	RECLAIM();
	for (size_t i = 0; i < rg.pages; i += self->nr)
		check_sharer_class(_metadata, i + 1, self->nr - 1, "after reclaim");
	shared_finish(_metadata, self);
}

/* Shared, freed, and written by the parent at once: copies, the child keeps its own. */
TEST_F(lazyfree, write_after_free_shared)
{
	size_t nr = self->nr;
	size_t at[2] = { nr / 2, 2 * nr - 1 };

	REGION(2);
	CHILD_START();
	region_free(_metadata, &rg, 0, rg.pages, "free");
	page_write(&rg, at[0], 2);
	page_write(&rg, at[1], 2);
	check_sharer(_metadata, 0, rg.pages, "after write");
	RECLAIM();
	check_sharer(_metadata, 0, rg.pages, "after reclaim");
	shared_finish(_metadata, self);
}

/*
 * Freed, then forked, then written by both. Kills: a fork that hands out
 * writable or clean entries (lost writes of either side).
 */
TEST_F(lazyfree, write_after_free_forked)
{
	size_t nr = self->nr;
	struct child_reply reply;

	REGION(4);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	CHILD_START();
	page_write(&rg, nr / 2, 2);
	page_write(&rg, 2 * nr - 1, 2);
	CHILD_DO(CHILD_WRITE, nr / 2, 1, 3);
	CHILD_DO(CHILD_WRITE, 2 * nr, 1, 3);
	CHILD_DO(CHILD_WRITE, 4 * nr - 1, 1, 3);
	RECLAIM();
	child_show("after-page-out");
	reply = child_ask(CHILD_VERIFY_CLASS, 0, rg.pages, 0);
	CHECK("no-lost-write", !reply.wrong, "child: %zd of %zu pages wrong, first is page %zu",
	      (ssize_t)reply.wrong, rg.pages, reply.bad);
	shared_finish(_metadata, self);
}

TEST_HARNESS_MAIN
