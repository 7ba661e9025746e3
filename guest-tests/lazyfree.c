// SPDX-License-Identifier: GPL-2.0
/*
 * MADV_FREE of folios that no other process maps: which pages are marked, what
 * may be discarded, and what must survive. Shared folios: lazyfree_shared.c.
 *
 * Step records tell what the kernel did (splits, marks, conversions); checks
 * are what every correct kernel keeps, see lazyfree.h.
 *
 * In the comments, [a, b) are fractions of a folio, Fn the n-th folio.
 */
#define _GNU_SOURCE
#include "../kselftest_harness.h"
#include <pthread.h>
#include <time.h>
#include "lazyfree_fault.h"

/*
 * Whole folios, nothing else; then reclaim. Kills: a folio of the range left
 * out, its dirty bits left, a split that loses a page, pages discarded to swap.
 */
TEST_F(lazyfree, full_cover)
{
	REGION(4);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	check_exactly_lazyfree(_metadata, &rg);
	check_clean(_metadata, &rg, "after free");
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/* One folio is both the first and the last of the range. */
TEST_F(lazyfree, full_cover_single)
{
	REGION(1);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	check_exactly_lazyfree(_metadata, &rg);
	check_clean(_metadata, &rg, "after free");
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/* The second call finds nothing to do, and undoes nothing. */
TEST_F(lazyfree, full_cover_twice)
{
	REGION(4);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	region_free(_metadata, &rg, 0, rg.pages, "free-again");
	check_exactly_lazyfree(_metadata, &rg);
	check_clean(_metadata, &rg, "after free-again");
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/*
 * Read after a free: young again. Another free makes it old again; first
 * with one inner page of each folio read, then with all. Kills: deciding by the first PTE,
 * or not gathering young (any_young).
 */
TEST_F(lazyfree, rearm_after_read)
{
	REGION(4);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	check_old(_metadata, &rg, "after free");
	for (size_t i = self->nr / 2; i < rg.pages; i += self->nr)
		page_touch_read(&rg, i);
	region_free(_metadata, &rg, 0, rg.pages, "free-read-inner");
	check_old(_metadata, &rg, "after free of inner young pages");
	for (size_t i = 0; i < rg.pages; i++)
		page_touch_read(&rg, i);
	region_free(_metadata, &rg, 0, rg.pages, "free-read-all");
	check_old(_metadata, &rg, "after free of all young pages");
	check_exactly_lazyfree(_metadata, &rg);
	check_clean(_metadata, &rg, "after free-read-all");
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/*
 * Write one page of each folio after a free, free again: all clean again. The
 * second round takes the young bits away first (clear_refs), so that the one
 * PTE is old and dirty and all others are old and clean. A kernel that decides
 * for a whole folio by its first PTE, or that does not gather dirty
 * (any_dirty), leaves the dirty bit: seen at 32k, where no contiguous block
 * gathers for it, and in the smaps of all sizes otherwise.
 */
static void rearm_after_write(META *_metadata, FIX *self, size_t page)
{
	int64_t smaps[KPV_NR_SMAPS];

	region_free(_metadata, &rg, 0, rg.pages, "free");
	for (size_t i = page; i < rg.pages; i += self->nr)
		page_write(&rg, i, 2);
	region_free(_metadata, &rg, 0, rg.pages, "free-again");
	check_clean(_metadata, &rg, "after free of young dirty pages");
	check_old(_metadata, &rg, "after free of young dirty pages");

	for (size_t i = page; i < rg.pages; i += self->nr)
		page_write(&rg, i, 3);
	if (!kpv_need("clear_refs", file_write("/proc/self/clear_refs", "1"), 1, 1))
		SKIP(return, "/proc/self/clear_refs cannot be written");
	kpv_read_smaps((uintptr_t)rg.base, rg.pages * psize, smaps);
	NEED("referenced_kib", smaps[KPV_SMAPS_REFERENCED] == 0, 0, smaps[KPV_SMAPS_REFERENCED]);
	NEED("dirty_kib", smaps[KPV_SMAPS_PRIVATE_DIRTY] > 0, 1, smaps[KPV_SMAPS_PRIVATE_DIRTY]);
	region_free(_metadata, &rg, 0, rg.pages, "free-old-dirty");
	check_clean(_metadata, &rg, "after free of old dirty pages");
	check_exactly_lazyfree(_metadata, &rg);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

TEST_F(lazyfree, rearm_after_write_first)
{
	REGION(4);
	rearm_after_write(_metadata, self, 0);
}

TEST_F(lazyfree, rearm_after_write_inner)
{
	NEED_PARTS();
	REGION(4);
	rearm_after_write(_metadata, self, self->nr / 2);
}

TEST_F(lazyfree, rearm_after_write_last)
{
	NEED_PARTS();
	REGION(4);
	rearm_after_write(_metadata, self, self->nr - 1);
}

/* Free [first, first + nr) pages of three folios; what is outside stays. */
static void partial(META *_metadata, FIX *self, size_t first, size_t nr)
{
	kpv_param("freed_pages", nr);
	region_free(_metadata, &rg, first, nr, "free");
	check_exactly_lazyfree(_metadata, &rg);
	check_outside_untouched(_metadata, &rg);
	check_outside_dirty(_metadata, &rg);
	check_clean(_metadata, &rg, "after free");
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/* F1 [1/4, 3/4), with F0 and F2 as neighbours that must not change. */
TEST_F(lazyfree, partial_inner)
{
	NEED_PARTS();
	REGION(3);
	partial(_metadata, self, self->nr + self->nr / 4, self->nr / 2);
}

/* F1 [0, 1/4): the range starts where the folio does and ends too early. */
TEST_F(lazyfree, partial_head)
{
	NEED_PARTS();
	REGION(3);
	partial(_metadata, self, self->nr, self->nr / 4);
}

/* F1 [3/4, 1): the walk meets the folio in its middle. */
TEST_F(lazyfree, partial_tail)
{
	NEED_PARTS();
	REGION(3);
	partial(_metadata, self, self->nr + self->nr - self->nr / 4, self->nr / 4);
}

/* F1, one page that is neither the first nor the last. */
TEST_F(lazyfree, partial_one_page)
{
	NEED_PARTS();
	REGION(3);
	partial(_metadata, self, self->nr + self->nr / 2, 1);
}

/*
 * F0 [1/2, 1), F1 whole, F2 [0, 1/2), F3 not. Kills: a wrong next address
 * after a split, which skips or repeats part of F1.
 */
TEST_F(lazyfree, unaligned)
{
	NEED_PARTS();
	REGION(4);
	partial(_metadata, self, self->nr / 2, self->nr * 2);
}

/*
 * The last two pages of F0 were dropped and written anew: two small folios in
 * the place of a large one's pages. F0 and F1 are freed, F2 is not. Kills:
 * stepping over the folio's whole extent where the batch was shorter.
 */
TEST_F(lazyfree, dontneed_hole_rewritten)
{
	NEED_PARTS();
	REGION(3);
	region_hole(&rg, self->nr - 2, 2);
	page_write(&rg, self->nr - 2, 2);
	page_write(&rg, self->nr - 1, 2);
	NEED("small_folios", count_states(region_states(&rg), "a") == 2, 2,
	     count_states(region_states(&rg), "a"));
	partial(_metadata, self, 0, self->nr * 2);
}

/* As before, but one page of the hole stays empty, the other is the zero page. */
TEST_F(lazyfree, dontneed_hole_empty)
{
	NEED_PARTS();
	REGION(3);
	region_hole(&rg, self->nr - 2, 2);
	page_touch_read(&rg, self->nr - 1);
	NEED("zero_page", count_states(region_states(&rg), "z") == 1, 1,
	     count_states(region_states(&rg), "z"));
	partial(_metadata, self, 0, self->nr * 2);
}

/*
 * What is kept of F1, of which [0, 1/2) is freed, is zero but for one word: the
 * first, the last, one in the middle, or none. A split may map a page that is all
 * zero to the zero page, and no other. Kills: a look at a part of a page only.
 */
TEST_F(lazyfree, partial_sparse)
{
	size_t nr = self->nr, first = nr + nr / 2, words = psize / sizeof(uint64_t), lost = 0, bad = 0;
	size_t at[] = { 0, words - 1, words / 2, words };

	NEED_PARTS();
	REGION(2);
	for (size_t i = first; i < rg.pages; i++) {
		memset(page_words(&rg, i), 0, psize);
		if (at[i % 4] < words)
			page_words(&rg, i)[at[i % 4]] = pattern(i, 1) | 1;
	}
	region_free(_metadata, &rg, nr, nr / 2, "free");
	for (int round = 0; round < 2; round++) {
		for (size_t i = first; i < rg.pages; i++) {
			for (size_t w = 0; w < words; w++) {
				uint64_t want = w == at[i % 4] ? pattern(i, 1) | 1 : 0;

				if (page_words(&rg, i)[w] != want && !lost++)
					bad = i;
			}
		}
		if (!round && !region_reclaim_lazyfree(self, &rg, "reclaim"))
			SKIP(return, "lazyfree pages were not reclaimed");
		if (!round)
			region_page_out(self, &rg);
	}
	CHECK("outside-range-untouched", !lost, "%zu words of sparse pages lost, first in page %zu",
	      lost, bad);
	for (size_t i = first; i < rg.pages; i++)
		page_write(&rg, i, 2);
	region_finish(_metadata, self, &rg);
}

/*
 * Directly behind a whole folio a page that is not there: F0, and of F1 the first
 * page empty; F2, and of F3 the first page the zero page. Kills: a step over the
 * hole that is as long as the batch before it.
 */
TEST_F(lazyfree, hole_behind_folio)
{
	size_t nr = self->nr;

	NEED_PARTS();
	REGION(4);
	region_hole(&rg, nr, 1);
	region_hole(&rg, 3 * nr, 1);
	page_touch_read(&rg, 3 * nr);
	NEED("zero_page", count_states(region_states(&rg), "z") == 1, 1,
	     count_states(region_states(&rg), "z"));
	partial(_metadata, self, 0, rg.pages);
}

/*
 * Write right after the free through a translation that was writable before
 * it, one page in each folio: at[n] in Fn. One page only, since in a
 * contiguous block the dirty bit of one keeps all. Kills: no TLB flush, and, on
 * a CPU without range TLBI, a flush of one page of each batch or block.
 */
static void write_after_free(META *_metadata, FIX *self, const size_t *at)
{
	size_t list[4];

	for (size_t f = 0; f < 4; f++)
		list[f] = f * self->nr + at[f];
	region_free_write(_metadata, &rg, 0, rg.pages, list, 4, "free-write");
	check_write_cancels(_metadata, &rg);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

TEST_F(lazyfree, write_after_free_first)
{
	size_t at[4] = { 0, 0, 0, 0 };

	REGION(4);
	write_after_free(_metadata, self, at);
}

TEST_F(lazyfree, write_after_free_inner)
{
	size_t nr = self->nr, at[4] = { nr / 2, nr / 2, nr / 2, nr / 2 };

	NEED_PARTS();
	REGION(4);
	write_after_free(_metadata, self, at);
}

TEST_F(lazyfree, write_after_free_last)
{
	size_t nr = self->nr, at[4] = { nr - 1, nr - 1, nr - 1, nr - 1 };

	NEED_PARTS();
	REGION(4);
	write_after_free(_metadata, self, at);
}

/* Another place in each folio: second page, around the middle, last but one. */
TEST_F(lazyfree, write_after_free_spread)
{
	size_t nr = self->nr, at[4] = { 1, nr / 2 - 1, nr / 2 + 1, nr - 2 };

	NEED_PARTS();
	REGION(4);
	write_after_free(_metadata, self, at);
}

/*
 * One page of a range of one folio. QEMU flushes everything for a TLBI of a
 * longer range, so several folios hide a flush that is too short; one does
 * not. Two places, for a page of the program may share the emulator's TLB slot.
 */
static void write_after_free_one(META *_metadata, FIX *self, size_t page)
{
	region_free_write(_metadata, &rg, 0, rg.pages, &page, 1, "free-write");
	check_write_cancels(_metadata, &rg);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

TEST_F(lazyfree, write_after_free_single)
{
	REGION(1);
	write_after_free_one(_metadata, self, self->nr - 1);
}

TEST_F(lazyfree, write_after_free_single_inner)
{
	NEED_PARTS();
	REGION(1);
	write_after_free_one(_metadata, self, self->nr / 2);
}

/* The range cuts F1, which is split; the last page inside is written. */
TEST_F(lazyfree, write_after_free_partial)
{
	size_t nr = self->nr;
	size_t first = nr + nr / 4;
	size_t list[1] = { first + nr / 2 - 1 };

	NEED_PARTS();
	REGION(3);
	region_free_write(_metadata, &rg, first, nr / 2, list, 1, "free-write");
	check_write_cancels(_metadata, &rg);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

static struct {
	int ready, go, done;
	size_t list[4];
	bool pinned;
} other;

static bool spin_until(int *flag)
{
	struct timespec now, start;

	clock_gettime(CLOCK_MONOTONIC, &start);
	while (!__atomic_load_n(flag, __ATOMIC_ACQUIRE)) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec - start.tv_sec > 5)
			return false;
	}
	return true;
}

static void *other_thread(void *arg KPV_UNUSED)
{
	other.pinned = setup_pin(1);
	grow_emulated_tlb();
	for (int i = 0; i < 4; i++)
		page_touch_write(&rg, other.list[i]);
	__atomic_store_n(&other.ready, 1, __ATOMIC_RELEASE);
	if (!spin_until(&other.go))
		return NULL;
	for (int i = 0; i < 4; i++)
		page_store(&rg, other.list[i], 2);
	__atomic_store_n(&other.done, 1, __ATOMIC_RELEASE);
	return NULL;
}

/*
 * A thread on CPU 1 holds writable translations, spins in user space, and
 * writes once it sees that the free returned on CPU 0. Kills: a flush that is
 * local to the CPU of the call, or that comes after its return.
 */
TEST_F(lazyfree, write_after_free_other_cpu)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	pthread_t thread;
	long ret;
	int err;

	NEED("cpus", cpus >= 2, 2, cpus);
	REGION(4);
	for (int i = 0; i < 4; i++)
		other.list[i] = i * self->nr + self->nr * i / 4;
	region_show(&rg, "before-free-write");
	ASSERT_EQ(0, pthread_create(&thread, NULL, other_thread, NULL));
	ASSERT_TRUE(spin_until(&other.ready));
	kpv_step_begin(&step, "free-write", rg.base, rg.pages * psize);
	ret = madvise(rg.base, rg.pages * psize, MADV_FREE);
	err = errno;
	__atomic_store_n(&other.go, 1, __ATOMIC_RELEASE);
	EXPECT_TRUE(spin_until(&other.done));
	kpv_step_end(&step, ret, err);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	NEED("other_cpu_pinned", other.pinned, 1, other.pinned);
	CHECK("return-value", ret == 0, "madvise = %ld, errno %d", ret, ret ? err : 0);
	region_mark_freed(&rg, 0, rg.pages);
	for (int i = 0; i < 4; i++) {
		rg.gen[other.list[i]] = 2;
		rg.class[other.list[i]] = PAGE_WRITTEN;
	}
	region_show(&rg, "after-free-write");
	check_write_cancels(_metadata, &rg);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/* Free, move, then write. Kills: a move that loses or fakes dirty bits. */
static void write_after_free_moved(META *_metadata, FIX *self, bool shifted)
{
	region_free(_metadata, &rg, 0, rg.pages, "free");
	NEED_DONE("moved", region_move(&rg, shifted ? psize : 0));
	for (size_t f = 0; f < 4; f++)
		page_write(&rg, f * self->nr + self->nr * f / 4, 2);
	check_write_cancels(_metadata, &rg);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

TEST_F(lazyfree, write_after_free_moved)
{
	REGION(4);
	write_after_free_moved(_metadata, self, false);
}

TEST_F(lazyfree, write_after_free_moved_shifted)
{
	REGION(4);
	write_after_free_moved(_metadata, self, true);
}

/*
 * Move, then free folios whose place in the address space is (not) congruent
 * with their place in memory, then write and free at once. Kills: address
 * alignment taken for folio alignment, which splits or steps too far.
 */
static void moved_full_cover(META *_metadata, FIX *self, size_t shift)
{
	size_t list[3];

	NEED_DONE("moved", region_move(&rg, shift));
	/* F3 is not freed: a step too far would show on it. */
	region_free(_metadata, &rg, 0, 3 * self->nr, "free");
	check_exactly_lazyfree(_metadata, &rg);
	check_outside_untouched(_metadata, &rg);
	check_clean(_metadata, &rg, "after free");
	for (size_t f = 0; f < 3; f++)
		list[f] = f * self->nr + self->nr * (f + 1) / 4;
	region_free_write(_metadata, &rg, 0, 3 * self->nr, list, 3, "free-write");
	check_write_cancels(_metadata, &rg);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

TEST_F(lazyfree, moved_full_cover)
{
	REGION(4);
	moved_full_cover(_metadata, self, 0);
}

TEST_F(lazyfree, moved_shifted_full_cover)
{
	REGION(4);
	moved_full_cover(_metadata, self, psize);
}

/* By one contiguous block: each block is congruent, and may be folded, the folio is not. */
TEST_F(lazyfree, moved_block_full_cover)
{
	NEED("blocks", self->nr / cont_ptes() >= 2, 2, self->nr / cont_ptes());
	REGION(4);
	moved_full_cover(_metadata, self, cont_ptes() * psize);
}

/* Free, write-protect and back, write. Kills: dirty tracking lost on the way. */
TEST_F(lazyfree, write_after_free_protect)
{
	REGION(4);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	ASSERT_EQ(0, mprotect(rg.base, rg.pages * psize, PROT_READ));
	ASSERT_EQ(0, mprotect(rg.base, rg.pages * psize, PROT_READ | PROT_WRITE));
	for (size_t f = 0; f < 4; f++)
		page_write(&rg, f * self->nr + self->nr * f / 4, 2);
	check_write_cancels(_metadata, &rg);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/* Free a read-only mapping: allowed, and it stays read-only. */
TEST_F(lazyfree, readonly_full_cover)
{
	REGION(2);
	ASSERT_EQ(0, mprotect(rg.base, rg.pages * psize, PROT_READ));
	region_free(_metadata, &rg, 0, rg.pages, "free");
	check_exactly_lazyfree(_metadata, &rg);
	check_clean(_metadata, &rg, "after free");
	check_readonly(_metadata, &rg, 0, rg.pages);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/*
 * The second half of F0 is read-only and so another VMA; F0 and F1 are freed
 * by one call, F2 is not. Each VMA is walked on its own: F0 is cut.
 */
TEST_F(lazyfree, two_vmas)
{
	NEED_PARTS();
	REGION(3);
	ASSERT_EQ(0, mprotect(rg.base + self->nr / 2 * psize, self->nr / 2 * psize, PROT_READ));
	NEED("vmas", region_vmas(&rg) == 3, 3, region_vmas(&rg));
	region_free(_metadata, &rg, 0, 2 * self->nr, "free");
	check_exactly_lazyfree(_metadata, &rg);
	check_outside_untouched(_metadata, &rg);
	check_clean(_metadata, &rg, "after free");
	check_readonly(_metadata, &rg, self->nr / 2, self->nr / 2);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/*
 * One contiguous block of F0 is unfolded, any others are not. Linux 6.12 and 7.3
 * split such a folio of several blocks, for PTE_CONT leaks into the batch.
 */
TEST_F(lazyfree, unfolded_block)
{
	NEED_PARTS();
	REGION(2);
	ASSERT_TRUE(region_unfold(&rg, 1));
	NEED("vmas", region_vmas(&rg) == 1, 1, region_vmas(&rg));
	region_free(_metadata, &rg, 0, rg.pages, "free");
	check_exactly_lazyfree(_metadata, &rg);
	check_clean(_metadata, &rg, "after free");
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/*
 * A folio that reclaim met dirty: swap-backed again, with PG_dirty. Freed anew,
 * PG_dirty must go too, or the folio is swapped out instead of discarded.
 */
TEST_F(lazyfree, pgdirty_exclusive)
{
	REGION(2);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	for (size_t i = 0; i < rg.pages; i += self->nr)
		page_write(&rg, i, 2);
	if (!region_reclaim_lazyfree(self, &rg, "reclaim-dirty"))
		SKIP(return, "lazyfree pages were not reclaimed");
	/* All pages, or the written ones where the first free split the folio. */
	kpv_param("pg_dirty_pages", region_pg_dirty(&rg));
	NEED("pg_dirty_pages", region_pg_dirty(&rg) >= 2, 2, region_pg_dirty(&rg));
	region_note_discarded(&rg);
	region_free(_metadata, &rg, 0, rg.pages, "free-dirty");
	check_exactly_lazyfree(_metadata, &rg);
	check_clean(_metadata, &rg, "after free-dirty");
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/* All of it is swapped out: the entries go, nothing is read back. */
TEST_F(lazyfree, swapped_out)
{
	REGION(4);
	NEED_DONE("swapped_out", region_swap_out(&rg, 0, rg.pages));
	region_class(&rg, 0, rg.pages, PAGE_GONE);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	check_swap_gone(_metadata, &rg, 0);
	region_finish(_metadata, self, &rg);
}

/*
 * Swap out and free again and again: the slots must come back. Each CPU keeps
 * up to 64 freed slots to itself (SWAP_SLOTS_CACHE_SIZE), so only the loss of
 * many shows.
 */
TEST_F(lazyfree, swapped_out_repeat)
{
	int64_t slack = 2 * 64 * sysconf(_SC_NPROCESSORS_ONLN) * psize / 1024;
	int64_t before, after;
	size_t rounds, round;
	long ret = 0;

	REGION(4);
	rounds = 1 + 4 * slack * 1024 / (rg.pages * psize);
	if (rounds > 64)
		rounds = 64;
	kpv_param("rounds", rounds);
	NEED("freed_kib", (int64_t)(rounds * rg.pages * psize / 1024) > 2 * slack, 2 * slack,
	     rounds * rg.pages * psize / 1024);
	before = meminfo_kib("SwapFree:");
	for (round = 0; round < rounds && !ret; round++) {
		for (size_t p = 0; p < rg.pages; p++)
			page_touch_write(&rg, p);
		NEED_DONE("swapped_out", region_swap_out(&rg, 0, rg.pages));
		ret = madvise(rg.base, rg.pages * psize, MADV_FREE);
	}
	CHECK("return-value", ret == 0, "round %zu of %zu: madvise = %ld, errno %d", round, rounds,
	      ret, ret ? errno : 0);
	if (ret)
		return;
	after = meminfo_kib("SwapFree:");
	region_class(&rg, 0, rg.pages, PAGE_GONE);
	CHECK("swap-entries-freed", before - after <= slack,
	      "SwapFree %lld -> %lld KiB over %zu rounds of %zu pages", (long long)before,
	      (long long)after, rounds, rg.pages);
	region_finish(_metadata, self, &rg);
}

/*
 * F0 [1/2, 1), F1, F2 [0, 1/2) of swap entries; the others can still be read.
 * Kills: freeing a batch of entries by the folio they came from.
 */
TEST_F(lazyfree, swapped_partial)
{
	size_t first = self->nr / 2, nr = 2 * self->nr, bad = 0, wrong = 0;

	REGION(3);
	NEED_DONE("swapped_out", region_swap_out(&rg, 0, rg.pages));
	region_class(&rg, first, nr, PAGE_GONE);
	region_free(_metadata, &rg, first, nr, "free");
	check_swap_gone(_metadata, &rg, rg.pages - nr);
	for (size_t i = 0; i < rg.pages; i++) {
		if (rg.class[i] == PAGE_KEPT && !page_right(&rg, i)) {
			wrong++;
			bad = i;
		}
	}
	CHECK("swap-neighbours-readable", !wrong, "%zu pages wrong, last is page %zu", wrong, bad);
	region_finish(_metadata, self, &rg);
}

/*
 * Present pages of a large folio, swap entries and holes within one folio's
 * place: at the end of F0 and at the start of F1. F2 is whole, F3 not freed.
 * Kills: a wrong step after a batch of swap entries.
 */
TEST_F(lazyfree, swapped_mixed)
{
	size_t nr = self->nr, part = nr / 4, half = (nr / 4 + 1) / 2;
	size_t at[2] = { nr - part, nr };

	NEED_PARTS();
	REGION(4);
	for (size_t h = 0; h < 2; h++) {
		region_hole(&rg, at[h], part);
		for (size_t i = at[h]; i < at[h] + half; i++)
			page_store(&rg, i, 2);
		NEED_DONE("swapped_out", region_swap_out(&rg, at[h], half));
		region_class(&rg, at[h], half, PAGE_GONE);
	}
	kpv_param("swap_entries", 2 * half);
	kpv_param("freed_pages", 3 * nr - 2 * part);
	region_free(_metadata, &rg, 0, 3 * nr, "free");
	check_swap_gone(_metadata, &rg, 0);
	check_exactly_lazyfree(_metadata, &rg);
	check_outside_untouched(_metadata, &rg);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

TEST_HARNESS_MAIN
