// SPDX-License-Identifier: GPL-2.0
/*
 * MADV_FREE where swap comes in: of swap entries, of folios in the swap cache,
 * and of folios that were swapped in, on zram and on a disk.
 *
 * A folio that is paged out to a disk stays in the swap cache until reclaim
 * meets it again, and one that is read back stays there with its slot, clean;
 * on zram it does so only while another process needs the slot as well.
 *
 * Checks are what every correct kernel keeps, see lazyfree.h. In the comments,
 * [a, b) are fractions of a folio, Fn the n-th folio.
 */
#define _GNU_SOURCE
#include "../kselftest_harness.h"
#include "lazyfree_child.h"

/* SWAP_SLOTS_CACHE_SIZE: slots that a CPU keeps to itself, as many to give out as were given back. */
#define SWAP_SLOTS_KEPT 64

FIXTURE_VARIANT_ADD(lazyfree, 4k_disk) { .bytes = 4096, .swap = KPV_SWAP_DISK };
FIXTURE_VARIANT_ADD(lazyfree, 32k_disk) { .bytes = 32768, .swap = KPV_SWAP_DISK };
FIXTURE_VARIANT_ADD(lazyfree, 64k_disk) { .bytes = 65536, .swap = KPV_SWAP_DISK };
FIXTURE_VARIANT_ADD(lazyfree, 128k_disk) { .bytes = 131072, .swap = KPV_SWAP_DISK };

/* ---- getting there ---- */

/* Nothing of the region is on its way to the disk any more. */
static bool written_back(const struct region *r)
{
	for (int try = 0; try < 200; try++) {
		if (!region_flags(r, KPV_KPF_WRITEBACK, KPV_KPF_WRITEBACK))
			return true;
		usleep(1000);
	}
	return false;
}

/* Pages that are present or, which mincore() tells of swap entries, in the swap cache. */
static size_t in_memory(const struct region *r)
{
	static unsigned char in[MAX_PAGES];
	size_t nr = 0;

	if (mincore(r->base, r->pages * psize, in))
		return r->pages;
	for (size_t i = 0; i < r->pages; i++)
		nr += in[i] & 1;
	return nr;
}

/* Reclaim until the swap cache has nothing of the region: it is then read back from the device. */
static bool evicted(const FIX *self, const struct region *r)
{
	for (int try = 0; try < 200; try++) {
		if (!in_memory(r))
			return true;
		if (try)
			usleep(1000);
		reclaim_write(self, r->pages * psize, "");
	}
	return false;
}

/* Read back what is swapped out; all of it is present then, and nothing under writeback. */
static bool swap_in(const struct region *r, size_t first, size_t nr)
{
	const char *states;

	for (size_t i = first; i < first + nr; i++)
		page_touch_read(r, i);
	states = kpv_states_of(kpv.pagemap, r->base + first * psize, nr);
	return count_states(states, "aA") == nr && written_back(r);
}

#define SWAP_OUT(first, nr) NEED("swapped_out", region_swap_out(&rg, first, nr), 1, 0)
#define EVICT() NEED("evicted", evicted(self, &rg), 0, in_memory(&rg))
#define SWAP_IN(first, nr) NEED("present", swap_in(&rg, first, nr), 1, 0)

static size_t in_swap_cache(const struct region *r)
{
	return region_flags(r, KPV_KPF_SWAPCACHE, KPV_KPF_ANON);
}

/* ---- what must hold ---- */

/* All but so many pages of the region have no swap entry any more. */
static void check_entries(META *_metadata, const struct region *r, size_t kept)
{
	size_t left = count_states(region_states(r), "s");
	int64_t smaps[KPV_NR_SMAPS];

	kpv_read_smaps((uintptr_t)r->base, r->pages * psize, smaps);
	CHECK("swap-entries-freed",
	      left == kept && smaps[KPV_SMAPS_SWAP] == (int64_t)(kept * psize / 1024),
	      "%zu swap entries, smaps Swap %lld KiB, expected %zu pages: %.128s", left,
	      (long long)smaps[KPV_SMAPS_SWAP], kept, region_states(r));
}

/*
 * A lazyfree folio is never in the swap cache: what reclaim discards has no
 * slot to come back from, and what has one is written and not discarded.
 */
static void check_no_lazy_slot(META *_metadata, const struct region *r)
{
	size_t both = 0, bad = 0;

	kpv_read_pages(kpv.pagemap, r->base, r->pages);
	for (size_t i = 0; i < r->pages; i++) {
		uint64_t flags = kpv.flags_buf[i];

		if (kpv_bit(flags, KPV_KPF_ANON) && !kpv_bit(flags, KPV_KPF_SWAPBACKED) &&
		    kpv_bit(flags, KPV_KPF_SWAPCACHE)) {
			both++;
			bad = i;
		}
	}
	CHECK("lazyfree-has-no-slot", !both,
	      "%zu lazyfree pages are in the swap cache, last is page %zu: %.128s", both, bad,
	      region_states(r));
}

/* Read the pages outside the freed range, which may be swap entries. */
static void check_neighbours(META *_metadata, const struct region *r)
{
	size_t bad = 0, wrong = 0;

	for (size_t i = 0; i < r->pages; i++) {
		if (r->class[i] == PAGE_KEPT && !page_right(r, i)) {
			wrong++;
			bad = i;
		}
	}
	CHECK("swap-neighbours-readable", !wrong, "%zu pages wrong, last is page %zu", wrong, bad);
}

/* ---- swap entries ---- */

/*
 * Swapped out and freed. The folios may still be in the swap cache, which must
 * not give them back. Kills: entries left or read back, a cached folio found
 * by the next fault.
 */
TEST_F(lazyfree, entries)
{
	REGION(4);
	SWAP_OUT(0, rg.pages);
	region_class(&rg, 0, rg.pages, PAGE_GONE);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	check_entries(_metadata, &rg, 0);
	region_finish(_metadata, self, &rg);
}

/*
 * F0 [1/2, 1), F1, F2 [0, 1/2) of swap entries, once with the folios in the
 * swap cache and once without. Kills: freeing the slots of a whole folio where
 * a part of its entries goes.
 */
static void entries_partial(META *_metadata, FIX *self)
{
	size_t first = self->nr / 2, nr = 2 * self->nr;

	region_class(&rg, first, nr, PAGE_GONE);
	region_free(_metadata, &rg, first, nr, "free");
	check_entries(_metadata, &rg, rg.pages - nr);
	check_neighbours(_metadata, &rg);
	region_finish(_metadata, self, &rg);
}

TEST_F(lazyfree, entries_partial_cached)
{
	NEED_PARTS();
	REGION(3);
	SWAP_OUT(0, rg.pages);
	entries_partial(_metadata, self);
}

TEST_F(lazyfree, entries_partial_evicted)
{
	NEED_PARTS();
	REGION(3);
	SWAP_OUT(0, rg.pages);
	EVICT();
	entries_partial(_metadata, self);
}

/*
 * Within F0 and F1, page by page: a swap entry, a small folio, nothing, the
 * zero page; F2 is whole, F3 swapped out and not freed. Kills: a wrong step
 * after any of them, a batch of entries that runs over a gap.
 */
TEST_F(lazyfree, entries_mixed)
{
	size_t nr = self->nr, swapped, small, zero;

	NEED_PARTS();
	REGION(4);
	region_hole(&rg, 0, 2 * nr);
	ASSERT_EQ(0, madvise(rg.base, 2 * nr * psize, MADV_NOHUGEPAGE));
	for (size_t i = 0; i < 2 * nr; i += 4)
		page_store(&rg, i, 1);
	SWAP_OUT(3 * nr, nr);
	for (size_t i = 0; i < 2 * nr; i += 4) {
		SWAP_OUT(i, 1);
		page_store(&rg, i + 1, 1);
		page_touch_read(&rg, i + 3);
		rg.class[i] = PAGE_GONE;
		rg.class[i + 1] = PAGE_KEPT;
	}
	ASSERT_EQ(0, madvise(rg.base, 2 * nr * psize, MADV_HUGEPAGE));
	NEED("vmas", region_vmas(&rg) == 1, 1, region_vmas(&rg));
	swapped = count_states(region_states(&rg), "s");
	small = count_states(region_states(&rg), "a");
	zero = count_states(region_states(&rg), "z");
	NEED("swap_entries", swapped == nr / 2 + nr, nr / 2 + nr, swapped);
	NEED("small_folios", small == nr / 2, nr / 2, small);
	NEED("zero_page", zero == nr / 2, nr / 2, zero);
	kpv_param("freed_pages", nr / 2 + nr);
	region_free(_metadata, &rg, 0, 3 * nr, "free");
	check_entries(_metadata, &rg, nr);
	check_exactly_lazyfree(_metadata, &rg);
	check_neighbours(_metadata, &rg);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/*
 * Directly behind a folio's entries a page that is not there, and behind that one
 * pages that are: F0 swapped out, of F1 the first page empty; F2 swapped out, of
 * F3 the first page the zero page. Kills: a step over the hole that is as long as
 * the batch of entries before it.
 */
TEST_F(lazyfree, entries_before_hole)
{
	size_t nr = self->nr, swapped;

	NEED_PARTS();
	REGION(4);
	region_hole(&rg, nr, 1);
	region_hole(&rg, 3 * nr, 1);
	page_touch_read(&rg, 3 * nr);
	SWAP_OUT(0, nr);
	SWAP_OUT(2 * nr, nr);
	swapped = count_states(region_states(&rg), "s");
	NEED("swap_entries", swapped == 2 * nr, 2 * nr, swapped);
	NEED("zero_page", count_states(region_states(&rg), "z") == 1, 1,
	     count_states(region_states(&rg), "z"));
	region_class(&rg, 0, nr, PAGE_GONE);
	region_class(&rg, 2 * nr, nr, PAGE_GONE);
	kpv_param("freed_pages", 2 * nr - 2);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	check_entries(_metadata, &rg, 0);
	check_exactly_lazyfree(_metadata, &rg);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/*
 * F0 present, F1 swapped out; freed are F0 and F1 [0, 1/2): the other half of
 * the entries stays, with its data. Kills: how far a batch of entries may go
 * reckoned once, where the walk begins, and not where the batch does.
 */
TEST_F(lazyfree, entries_run_on)
{
	size_t nr = self->nr, half = nr / 2, swapped;

	NEED_PARTS();
	REGION(2);
	SWAP_OUT(nr, nr);
	swapped = count_states(region_states(&rg), "s");
	NEED("swap_entries", swapped == nr, nr, swapped);
	region_class(&rg, nr, half, PAGE_GONE);
	region_free(_metadata, &rg, 0, nr + half, "free");
	check_entries(_metadata, &rg, half);
	check_exactly_lazyfree(_metadata, &rg);
	check_neighbours(_metadata, &rg);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/*
 * The entries are shared with a child, which keeps its own: its data come back.
 * Kills: slots freed for all who have an entry.
 */
TEST_F(lazyfree, entries_shared)
{
	REGION(2);
	SWAP_OUT(0, rg.pages);
	CHILD_START();
	region_class(&rg, 0, rg.pages, PAGE_GONE);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	check_entries(_metadata, &rg, 0);
	check_sharer(_metadata, 0, rg.pages, "after free");
	shared_finish(_metadata, self);
}

/* KiB of a line of /proc/self/status. */
static int64_t status_kib(const char *name)
{
	char text[2048];
	char *s;

	if (!file_read("/proc/self/status", text, sizeof(text)))
		return 0;
	s = strstr(text, name);
	return s ? kpv_number(s + strlen(name)) : 0;
}

static int64_t distance(int64_t a, int64_t b)
{
	return a < b ? b - a : a - b;
}

/*
 * Half of each folio swapped out, all freed, reclaimed, written anew; so often
 * that a count which is wrong by one batch a round cannot hide in what each CPU
 * may keep to itself (slots, and 32 pages of each resident set counter). Kills:
 * entries, slots or pages that are not counted down, or twice.
 */
TEST_F(lazyfree, counts_return)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	int64_t slots = 2 * SWAP_SLOTS_KEPT * cpus * psize / 1024, rss = 64 * cpus * psize / 1024;
	int64_t anon, vmswap, used;
	size_t half = (self->nr + 1) / 2, rounds;

	REGION(4);
	/* What a round swaps out, half of the region. */
	rounds = 1 + slots * 1024 / (rg.pages / 2 * psize);
	if (rounds > 64)
		rounds = 64;
	kpv_param("rounds", rounds);
	NEED("swapped_kib", (int64_t)(rounds * rg.pages / 2 * psize / 1024) > slots, slots,
	     rounds * rg.pages / 2 * psize / 1024);
	region_hole(&rg, 0, rg.pages);
	anon = status_kib("RssAnon:");
	vmswap = status_kib("VmSwap:");
	used = kpv_swaps_read().used_kib;
	for (size_t round = 0; round < rounds; round++) {
		for (size_t i = 0; i < rg.pages; i++)
			page_store(&rg, i, 1);
		for (size_t i = 0; i < rg.pages; i += self->nr)
			SWAP_OUT(i, half);
		ASSERT_EQ(0, madvise(rg.base, rg.pages * psize, MADV_FREE));
	}
	region_hole(&rg, 0, rg.pages);
	/* Folios that were on their way out keep their slots until reclaim meets them. */
	for (int try = 0; try < 200 && kpv_swaps_read().used_kib - used > slots; try++) {
		usleep(1000);
		reclaim_write(self, rg.pages * psize, "");
	}
	CHECK("accounting", distance(status_kib("VmSwap:"), vmswap) <= rss &&
	      distance(status_kib("RssAnon:"), anon) <= rss &&
	      kpv_swaps_read().used_kib - used <= slots,
	      "%zu rounds: RssAnon %lld -> %lld, VmSwap %lld -> %lld, swap used %lld -> %lld KiB",
	      rounds, (long long)anon, (long long)status_kib("RssAnon:"), (long long)vmswap,
	      (long long)status_kib("VmSwap:"), (long long)used,
	      (long long)kpv_swaps_read().used_kib);
	region_finish(_metadata, self, &rg);
}

/* ---- folios in the swap cache, of one process ---- */

/*
 * Read back, and with its slot: the slot goes and the folio is marked. Dirty:
 * written after that, with other data than the slot has; it stays in the swap
 * cache where the entry was exclusive. Kills: a mark on a folio that keeps its
 * slot, PG_dirty (which is set as the slot goes) left on it, so that it is
 * swapped out again, older data back from the slot.
 */
static void cached(META *_metadata, FIX *self, bool dirty)
{
	SWAP_OUT(0, rg.pages);
	SWAP_IN(0, rg.pages);
	for (size_t i = 0; dirty && i < rg.pages; i++) {
		page_write(&rg, i, 2);
		rg.class[i] = PAGE_KEPT;
	}
	NEED("swap_cache_pages", in_swap_cache(&rg) == rg.pages, rg.pages, in_swap_cache(&rg));
	region_free(_metadata, &rg, 0, rg.pages, "free");
	kpv_param("swap_cache_pages_after", in_swap_cache(&rg));
	check_exactly_lazyfree(_metadata, &rg);
	check_no_lazy_slot(_metadata, &rg);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

TEST_F(lazyfree, cached_clean)
{
	REGION(2);
	cached(_metadata, self, false);
}

TEST_F(lazyfree, cached_dirty)
{
	REGION(2);
	cached(_metadata, self, true);
}

/*
 * F0 [1/2, 1) and F1 [0, 1/2) of folios in the swap cache; the rest keeps its
 * data, from memory or from its slots. Then writes, to both sides. Kills: slots
 * freed for the part that is not freed, a split that forgets which page has
 * which slot.
 */
TEST_F(lazyfree, cached_partial)
{
	size_t nr = self->nr;

	NEED_PARTS();
	REGION(2);
	SWAP_OUT(0, rg.pages);
	SWAP_IN(0, rg.pages);
	NEED("swap_cache_pages", in_swap_cache(&rg) == rg.pages, rg.pages, in_swap_cache(&rg));
	region_free(_metadata, &rg, nr / 2, nr, "free");
	check_exactly_lazyfree(_metadata, &rg);
	check_outside_untouched(_metadata, &rg);
	check_no_lazy_slot(_metadata, &rg);
	page_write(&rg, nr / 2 - 1, 2);
	page_write(&rg, nr, 2);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/*
 * One folio in the swap cache, of which the process maps the second page, has
 * entries for the others and nothing for the last quarter. Kills: taking the
 * folio for wholly mapped, freeing slots that entries still name.
 */
TEST_F(lazyfree, cached_mixed)
{
	size_t nr = self->nr, quarter = nr / 4;

	NEED_PARTS();
	REGION(2);
	SWAP_OUT(0, nr);
	region_hole(&rg, nr - quarter, quarter);
	page_touch_read(&rg, 1);
	NEED("written_back", written_back(&rg), 1, 0);
	NEED("swap_cache_pages", in_swap_cache(&rg) == 1, 1, in_swap_cache(&rg));
	region_class(&rg, 0, nr - quarter, PAGE_GONE);
	rg.class[1] = PAGE_FREED;
	region_free(_metadata, &rg, 0, nr, "free");
	check_entries(_metadata, &rg, 0);
	check_exactly_lazyfree(_metadata, &rg);
	check_no_lazy_slot(_metadata, &rg);
	check_outside_untouched(_metadata, &rg);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/* ---- folios in the swap cache, of two processes ---- */

/*
 * Read back, then shared by a fork: to be skipped, or at least the child's data
 * stay. Kills: freeing slot and PG_dirty of a folio that another maps.
 */
TEST_F(lazyfree, cached_shared)
{
	REGION(2);
	SWAP_OUT(0, rg.pages);
	SWAP_IN(0, rg.pages);
	NEED("swap_cache_pages", in_swap_cache(&rg) == rg.pages, rg.pages, in_swap_cache(&rg));
	CHILD_START();
	region_free(_metadata, &rg, 0, rg.pages, "free");
	kpv_param("swap_cache_pages_after", in_swap_cache(&rg));
	check_no_lazy_slot(_metadata, &rg);
	RECLAIM();
	check_sharer(_metadata, 0, rg.pages, "after reclaim");
	shared_finish(_metadata, self);
}

/*
 * Read back, not written, while mlocked, so that the slots are given up at once:
 * from then on PG_dirty is all that says that a page has data. Unlocked, shared
 * by a fork, freed. Kills: a slot given up without PG_dirty, with which the
 * child's only copy looks clean.
 */
TEST_F(lazyfree, slot_gone_shared)
{
	size_t cached;

	REGION(2);
	SWAP_OUT(0, rg.pages);
	EVICT();
	NEED_DONE("mlocked", !mlock2(rg.base, rg.pages * psize, MLOCK_ONFAULT));
	SWAP_IN(0, rg.pages);
	NEED_DONE("munlocked", !munlock(rg.base, rg.pages * psize));
	cached = in_swap_cache(&rg);
	NEED("swap_cache_pages", !cached, 0, cached);
	kpv_param("pg_dirty_pages", region_pg_dirty(&rg));
	CHILD_START();
	region_free(_metadata, &rg, 0, rg.pages, "free");
	RECLAIM();
	check_sharer(_metadata, 0, rg.pages, "after reclaim");
	shared_finish(_metadata, self);
}

/*
 * The child has swap entries, the parent read its own back: the folio is mapped
 * once, but its slots are needed. Kills: a look at the map count alone, and a
 * mark on a folio whose slots could not be freed.
 */
TEST_F(lazyfree, cached_slot_shared)
{
	REGION(2);
	SWAP_OUT(0, rg.pages);
	CHILD_START();
	SWAP_IN(0, rg.pages);
	NEED("swap_cache_pages", in_swap_cache(&rg) == rg.pages, rg.pages, in_swap_cache(&rg));
	region_free(_metadata, &rg, 0, rg.pages, "free");
	check_no_lazy_slot(_metadata, &rg);
	RECLAIM();
	check_sharer(_metadata, 0, rg.pages, "after reclaim");
	shared_finish(_metadata, self);
}

/*
 * As before, and the parent writes a page of each folio, which must not reach
 * the child, before it frees them. Kills: writing to a folio whose slots
 * another needs.
 */
TEST_F(lazyfree, cached_slot_shared_written)
{
	REGION(2);
	SWAP_OUT(0, rg.pages);
	CHILD_START();
	SWAP_IN(0, rg.pages);
	for (size_t i = self->nr / 2; i < rg.pages; i += self->nr)
		page_store(&rg, i, 2);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	for (size_t i = self->nr / 2; i < rg.pages; i += self->nr)
		page_write(&rg, i, 3);
	check_no_lazy_slot(_metadata, &rg);
	RECLAIM();
	check_sharer(_metadata, 0, rg.pages, "after reclaim");
	shared_finish(_metadata, self);
}

/* ---- swapped in and then shared: what zram loses, see lazyfree_shared.c ---- */

enum swapin { SWAPIN_READ, SWAPIN_WRITTEN, SWAPIN_NOT_FREED };

/*
 * Read back from the device, clean or dirty, then shared and freed by one. The
 * swap cache keeps the slot, so what is lost on zram (PTE clean, PG_dirty clear,
 * no slot) is not lost here.
 */
static void swapin_then_shared(META *_metadata, FIX *self, enum swapin how)
{
	SWAP_OUT(0, rg.pages);
	EVICT();
	SWAP_IN(0, rg.pages);
	for (size_t i = 0; how == SWAPIN_WRITTEN && i < rg.pages; i++)
		page_touch_write(&rg, i);
	CHILD_START();
	if (how != SWAPIN_NOT_FREED)
		region_free(_metadata, &rg, 0, rg.pages, "free");
	check_no_lazy_slot(_metadata, &rg);
	RECLAIM();
	check_sharer(_metadata, 0, rg.pages, "after reclaim");
	shared_finish(_metadata, self);
}

TEST_F(lazyfree, swapin_shared_clean)
{
	REGION(1);
	swapin_then_shared(_metadata, self, SWAPIN_READ);
}

TEST_F(lazyfree, swapin_shared_written)
{
	REGION(1);
	swapin_then_shared(_metadata, self, SWAPIN_WRITTEN);
}

TEST_F(lazyfree, swapin_shared_not_freed)
{
	REGION(1);
	swapin_then_shared(_metadata, self, SWAPIN_NOT_FREED);
}

/*
 * Read back from the device and freed, by one process: as any other folio.
 * Then written in part, and out and in again. Kills: a write that does not
 * outlive the device's older copy of the page.
 */
TEST_F(lazyfree, swapin_freed_written)
{
	REGION(2);
	SWAP_OUT(0, rg.pages);
	EVICT();
	SWAP_IN(0, rg.pages);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	check_exactly_lazyfree(_metadata, &rg);
	check_no_lazy_slot(_metadata, &rg);
	for (size_t i = self->nr / 2; i < rg.pages; i += self->nr)
		page_write(&rg, i, 2);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

TEST_HARNESS_MAIN
