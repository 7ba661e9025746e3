// SPDX-License-Identifier: GPL-2.0
/*
 * What happens to page table entries around MADV_FREE, entry by entry: ranges
 * that miss a folio by one page, entries that were aged, protected, dropped or
 * shared for a part of a contiguous block, writes beside a range and while the
 * call runs.
 *
 * Checks are what every correct kernel keeps, see lazyfree.h. A contiguous
 * block is a matter between Linux and the hardware: none of them may be told
 * from any other memory by what it reads, what may be written and what is
 * remembered of its use.
 *
 * In the comments, [a, b) are fractions of a folio, Fn the n-th folio.
 */
#define _GNU_SOURCE
#include "../kselftest_harness.h"
#include <pthread.h>
#include <sys/mman.h>
#include <time.h>
#include "lazyfree_child.h"
#include "lazyfree_fault.h"

/* Pages of a contiguous block, or of a folio that is smaller. */
static size_t block_pages(const FIX *self)
{
	return self->nr < cont_ptes() ? self->nr : cont_ptes();
}

/* Write-protect pages and back. Whole blocks are folded again by it. */
static bool protect_and_back(const struct region *r, size_t first, size_t nr)
{
	char *at = r->base + first * psize;

	return !mprotect(at, nr * psize, PROT_READ) &&
	       !mprotect(at, nr * psize, PROT_READ | PROT_WRITE);
}

/* ---- ranges ---- */

static void one_page_short(META *_metadata, FIX *self, size_t first)
{
	kpv_param("freed_pages", self->nr - 1);
	region_free(_metadata, &rg, first, self->nr - 1, "free");
	check_exactly_lazyfree(_metadata, &rg);
	check_outside_untouched(_metadata, &rg);
	check_clean(_metadata, &rg, "after free");
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/* F1 but for its last page. Kills: a range, or a batch, that ends one page too late. */
TEST_F(lazyfree, all_but_last_page)
{
	NEED_PARTS();
	REGION(3);
	one_page_short(_metadata, self, self->nr);
}

/* F1 but for its first page: what is left of the folio in the range is taken for all of it. */
TEST_F(lazyfree, all_but_first_page)
{
	NEED_PARTS();
	REGION(3);
	one_page_short(_metadata, self, self->nr + 1);
}

/*
 * Freed as a whole, then one page of F0 once more, which may split it. Nothing
 * was written, so all of it stays free. Kills: a split that makes pages dirty,
 * or swap-backed, again.
 */
TEST_F(lazyfree, freed_again_in_part)
{
	NEED_PARTS();
	REGION(2);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	region_free(_metadata, &rg, self->nr / 2, 1, "free-again");
	check_exactly_lazyfree(_metadata, &rg);
	check_clean(_metadata, &rg, "after free-again");
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/*
 * All is freed, F1 and F3 are written, F0 and F2 freed again: their neighbours'
 * writes are none of that call's business. Kills: clearing dirty bits beyond the
 * end of the range.
 */
TEST_F(lazyfree, freed_beside_written)
{
	REGION(4);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	for (size_t i = 0; i < rg.pages; i++)
		page_write(&rg, i, 2);
	region_free(_metadata, &rg, 0, self->nr, "free-first");
	region_free(_metadata, &rg, 2 * self->nr, self->nr, "free-third");
	check_write_cancels(_metadata, &rg);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/* ---- what a translation may still hold ---- */

/*
 * Written, aged through clear_refs, which flushes nothing, freed and written at
 * once. A CPU that caches an entry knows nothing of its access flag. Kills: a
 * flush for young entries only.
 */
TEST_F(lazyfree, aged_then_written)
{
	size_t list[2] = { self->nr / 2, 2 * self->nr - 1 };
	bool aged;
	long ret;

	REGION(3);
	region_show(&rg, "before-free-write");
	grow_emulated_tlb();
	kpv_step_begin(&step, "free-write", rg.base, rg.pages * psize);
	page_touch_write(&rg, list[0]);
	page_touch_write(&rg, list[1]);
	aged = file_write("/proc/self/clear_refs", "1");
	ret = madvise(rg.base, rg.pages * psize, MADV_FREE);
	page_store(&rg, list[0], 2);
	page_store(&rg, list[1], 2);
	kpv_step_end(&step, ret, errno);
	region_show(&rg, "after-free-write");
	NEED("clear_refs", aged, 1, aged);
	CHECK("return-value", ret == 0, "madvise = %ld, errno %d", ret, ret ? errno : 0);
	region_mark_freed(&rg, 0, rg.pages);
	for (size_t i = 0; i < KPV_COUNT(list); i++) {
		rg.gen[list[i]] = 2;
		rg.class[list[i]] = PAGE_WRITTEN;
	}
	check_write_cancels(_metadata, &rg);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

static struct {
	int ready, last;
	size_t list[2];
	bool pinned;
} busy;

static bool wait_for(int *flag)
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

/* Writes what is there all the time, and something new when it is told that the calls are over. */
static void *busy_thread(void *arg KPV_UNUSED)
{
	busy.pinned = setup_pin(1);
	grow_emulated_tlb();
	while (!__atomic_load_n(&busy.last, __ATOMIC_ACQUIRE)) {
		page_touch_write(&rg, busy.list[0]);
		page_touch_write(&rg, busy.list[1]);
		__atomic_store_n(&busy.ready, 1, __ATOMIC_RELEASE);
	}
	page_store(&rg, busy.list[0], 2);
	page_store(&rg, busy.list[1], 2);
	return NULL;
}

/*
 * A thread on CPU 1 writes two pages without a pause while CPU 0 frees them,
 * many times, and once more when the last call returned. Kills: a flush before
 * the dirty bits are cleared, for the other CPU caches them again in between.
 */
TEST_F(lazyfree, written_meanwhile)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	pthread_t thread;
	long ret = 0;

	NEED("cpus", cpus >= 2, 2, cpus);
	REGION(1);
	memset(&busy, 0, sizeof(busy));
	busy.list[0] = self->nr / 2;
	busy.list[1] = self->nr - 1;
	region_show(&rg, "before-free-write");
	ASSERT_EQ(0, pthread_create(&thread, NULL, busy_thread, NULL));
	EXPECT_TRUE(wait_for(&busy.ready));
	kpv_step_begin(&step, "free-write", rg.base, rg.pages * psize);
	for (int round = 0; round < 200 && !ret; round++)
		ret = madvise(rg.base, rg.pages * psize, MADV_FREE);
	kpv_step_end(&step, ret, errno);
	__atomic_store_n(&busy.last, 1, __ATOMIC_RELEASE);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	NEED("other_cpu_pinned", busy.pinned, 1, busy.pinned);
	CHECK("return-value", ret == 0, "madvise = %ld", ret);
	region_mark_freed(&rg, 0, rg.pages);
	for (size_t i = 0; i < KPV_COUNT(busy.list); i++) {
		rg.gen[busy.list[i]] = 2;
		rg.class[busy.list[i]] = PAGE_WRITTEN;
	}
	region_show(&rg, "after-free-write");
	check_write_cancels(_metadata, &rg);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/* ---- written after the free, then changed ---- */

/* Freed, and an inner page of each folio written. */
static void free_and_write(META *_metadata, FIX *self)
{
	region_free(_metadata, &rg, 0, rg.pages, "free");
	for (size_t i = self->nr / 2; i < rg.pages; i += self->nr)
		page_write(&rg, i, 2);
}

/* Write-protected and back after the write. Kills: a dirty bit lost in the change. */
TEST_F(lazyfree, written_then_protected)
{
	REGION(2);
	free_and_write(_metadata, self);
	ASSERT_TRUE(protect_and_back(&rg, 0, rg.pages));
	check_write_cancels(_metadata, &rg);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/*
 * Another page of the block is write-protected and back, which unfolds it.
 * Kills: taking the dirty bit of that page for the block's.
 */
TEST_F(lazyfree, written_then_unfolded)
{
	NEED_PARTS();
	REGION(2);
	free_and_write(_metadata, self);
	for (size_t i = 0; i < rg.pages; i += block_pages(self))
		ASSERT_TRUE(region_unfold(&rg, i + 1));
	check_write_cancels(_metadata, &rg);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/*
 * Forked after the write; then either writes a neighbour of the written page,
 * in a block that is dirty elsewhere. Kills: a dirty bit lost in
 * write-protecting, on either side; a fault that takes its entry for changed as
 * long as another of the block is dirty, and starts over for ever.
 */
TEST_F(lazyfree, written_then_forked)
{
	struct child_reply reply;

	REGION(2);
	free_and_write(_metadata, self);
	CHILD_START();
	for (size_t i = self->nr / 2 + 1; self->nr >= 4 && i < rg.pages; i += self->nr) {
		page_write(&rg, i, 3);
		CHILD_DO(CHILD_WRITE, i - 2, 1, 4);
	}
	RECLAIM();
	reply = child_ask(CHILD_VERIFY_CLASS, 0, rg.pages, 0);
	CHECK("no-lost-write", !reply.wrong, "child: %zd of %zu pages wrong, first is page %zu",
	      (ssize_t)reply.wrong, rg.pages, reply.bad);
	shared_finish(_metadata, self);
}

/*
 * As before, but the parent drops its pages, so that the child's entries alone
 * tell of the write. Kills: clean entries for a child, or those of a folio's
 * first page for all.
 */
TEST_F(lazyfree, written_then_left_to_child)
{
	struct child_reply reply;

	REGION(2);
	free_and_write(_metadata, self);
	CHILD_START();
	region_hole(&rg, 0, rg.pages);
	child_show("before-reclaim");
	RECLAIM();
	NEED("child_lazyfree_left", !region_count(&rg, "lL"), 0, region_count(&rg, "lL"));
	reply = child_ask(CHILD_VERIFY_CLASS, 0, rg.pages, 0);
	CHECK("no-lost-write", !reply.wrong, "child: %zd of %zu pages wrong, first is page %zu",
	      (ssize_t)reply.wrong, rg.pages, reply.bad);
	shared_finish(_metadata, self);
}

/* ---- parts of a block ---- */

/*
 * Read-only as a whole, then the last half block of F0 may be written, and no
 * other page. Kills: folding a block whose entries have different permissions.
 */
TEST_F(lazyfree, writable_in_part)
{
	size_t part = block_pages(self) / 2, first = self->nr - part;

	NEED_PARTS();
	REGION(2);
	ASSERT_EQ(0, mprotect(rg.base, rg.pages * psize, PROT_READ));
	ASSERT_EQ(0, mprotect(rg.base + first * psize, part * psize, PROT_READ | PROT_WRITE));
	check_readonly(_metadata, &rg, 0, first);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	check_exactly_lazyfree(_metadata, &rg);
	check_readonly(_metadata, &rg, 0, first);
	check_readonly(_metadata, &rg, self->nr, self->nr);
	page_write(&rg, first, 2);
	page_write(&rg, self->nr - 1, 2);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/*
 * F0 is dropped but for its last half block; then a page there is write-protected
 * and back, and read. What was dropped stays away. Kills: a block that is taken
 * apart without being unfolded, and put together again with what is gone.
 */
TEST_F(lazyfree, dropped_into_last_block)
{
	size_t left = block_pages(self) / 2;

	NEED_PARTS();
	REGION(2);
	region_hole(&rg, 0, self->nr - left);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	page_touch_read(&rg, self->nr - 1);
	ASSERT_TRUE(region_unfold(&rg, self->nr - 2));
	page_touch_read(&rg, 1);
	check_data(_metadata, &rg);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/*
 * Two pages of F0's last block are dropped, then all from inside of its first
 * block on. Kills: a batch that begins inside a block and takes in entries of
 * the next without looking.
 */
TEST_F(lazyfree, dropped_from_inside_block)
{
	NEED_PARTS();
	REGION(2);
	region_hole(&rg, self->nr - block_pages(self) + 1, 2);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	region_hole(&rg, block_pages(self) / 4, self->nr - block_pages(self) / 4);
	check_data(_metadata, &rg);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/*
 * The child gets [first, first + nr) of F0, a part of a block, and no other
 * page; the block is unfolded through a page of the parent's own. Kills: a block
 * that is write-protected for a part of it as it is, and becomes writable again
 * as a whole.
 */
static void forked_in_part(META *_metadata, FIX *self, size_t first, size_t nr, size_t own)
{
	size_t tail = first + nr;
	struct child_reply reply;

	ASSERT_EQ(0, madvise(rg.base, first * psize, MADV_DONTFORK));
	ASSERT_EQ(0, madvise(rg.base + tail * psize, (rg.pages - tail) * psize, MADV_DONTFORK));
	CHILD_START();
	ASSERT_EQ(0, madvise(rg.base, first * psize, MADV_DOFORK));
	ASSERT_EQ(0, madvise(rg.base + tail * psize, (rg.pages - tail) * psize, MADV_DOFORK));
	NEED("vmas", region_vmas(&rg) == 1, 1, region_vmas(&rg));
	ASSERT_TRUE(region_unfold(&rg, own));
	page_write(&rg, first, 2);
	page_write(&rg, own, 2);
	reply = child_ask(CHILD_VERIFY, first, nr, 0);
	CHECK("permissions-unchanged", !reply.wrong,
	      "%zd pages of the child changed by the parent's write, first is page %zu",
	      (ssize_t)reply.wrong, reply.bad);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	RECLAIM();
	check_sharer(_metadata, first, nr, "after reclaim");
	shared_finish(_metadata, self);
}

TEST_F(lazyfree, forked_half_block)
{
	size_t half = block_pages(self) / 2;

	NEED_PARTS();
	REGION(2);
	forked_in_part(_metadata, self, half, half, 1);
}

TEST_F(lazyfree, forked_one_page)
{
	size_t half = block_pages(self) / 2;

	NEED_PARTS();
	REGION(2);
	forked_in_part(_metadata, self, half, 1, half + 1);
}

/*
 * Moved by one page, then forked; the child writes a page of each quarter. The
 * other pages are the same as ever, for both. Kills: folding by the virtual
 * address alone, so that unfolding maps other pages.
 */
TEST_F(lazyfree, forked_where_shifted)
{
	NEED_PARTS();
	REGION(2);
	NEED("moved", region_move(&rg, psize), 1, 0);
	CHILD_START();
	for (size_t i = self->nr / 8; i < rg.pages; i += self->nr / 4)
		CHILD_DO(CHILD_WRITE, i, 1, 2);
	check_sharer_class(_metadata, 0, rg.pages, "after write");
	region_free(_metadata, &rg, 0, rg.pages, "free");
	RECLAIM();
	check_sharer_class(_metadata, 0, rg.pages, "after reclaim");
	shared_finish(_metadata, self);
}

/* ---- what is remembered of their use ---- */

/*
 * Freed, so that all is old; one page of each folio is read, then another page
 * of its block write-protected and back. Kills: taking the access flag of that
 * page for the block's.
 */
TEST_F(lazyfree, read_then_unfolded)
{
	int64_t smaps[KPV_NR_SMAPS];
	size_t nr = 0;

	NEED_PARTS();
	REGION(2);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	for (size_t i = self->nr / 2; i < rg.pages; i += self->nr, nr++)
		page_touch_read(&rg, i);
	for (size_t i = 0; i < rg.pages; i += block_pages(self))
		ASSERT_TRUE(region_unfold(&rg, i + 1));
	kpv_read_smaps((uintptr_t)rg.base, rg.pages * psize, smaps);
	CHECK("use-is-remembered", smaps[KPV_SMAPS_REFERENCED] >= (int64_t)(nr * psize / 1024),
	      "%zu pages read, smaps Referenced %lld KiB", nr,
	      (long long)smaps[KPV_SMAPS_REFERENCED]);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

#define KPF_ACTIVE 6	/* Documentation/admin-guide/mm/pagemap.rst */

static size_t region_active(const struct region *r)
{
	size_t nr = 0;

	if (!kpv_read_pages(kpv.pagemap, r->base, r->pages))
		return 0;
	for (size_t i = 0; i < r->pages; i++)
		nr += kpv_bit(kpv.flags_buf[i], KPF_ACTIVE);
	return nr;
}

/*
 * Active folios, which the kernel itself looked at twice, are freed: they are
 * the first to go, not among the last. Kills: leaving them on the active list.
 */
TEST_F(lazyfree, active_folios)
{
	int mem = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	char byte;

	REGION(2);
	ASSERT_GE(mem, 0);
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < rg.pages; i++)
			ASSERT_EQ(1, pread(mem, &byte, 1, (uintptr_t)rg.base + i * psize));
		kpv_drain();
	}
	close(mem);
	NEED("active_pages", region_active(&rg) == rg.pages, rg.pages, region_active(&rg));
	region_free(_metadata, &rg, 0, rg.pages, "free");
	CHECK("becomes-inactive", !region_active(&rg), "%zu of %zu freed pages are active",
	      region_active(&rg), rg.pages);
	check_exactly_lazyfree(_metadata, &rg);
	check_clean(_metadata, &rg, "after free");
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

TEST_HARNESS_MAIN
