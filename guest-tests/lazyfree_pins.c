// SPDX-License-Identifier: GPL-2.0
/*
 * MADV_FREE of folios that somebody holds a reference on: a folio that can
 * therefore not be split is left as it is, and the walk goes on; a page that is
 * held is not discarded, and what a device writes to it is seen.
 *
 * Checks are what every correct kernel keeps, see lazyfree.h. That the walk
 * goes on behind a folio that cannot be split is told by the counters only. In
 * the comments, [a, b) are fractions of a folio, Fn the n-th folio.
 */
#define _GNU_SOURCE
#include "../kselftest_harness.h"
#include "kpv_pin.h"
#include "lazyfree_child.h"

static struct kpv_pin pins[2];

static void drop_pins(void)
{
	for (size_t p = 0; p < KPV_COUNT(pins); p++)
		if (pins[p].len)
			kpv_pin_drop(&pins[p]);
}

/*
 * NEED() while something is held: what a ring holds is let go some time after
 * the process has ended, unless it is told to before.
 */
#define NEED_HELD(what, cond) do {						\
	bool met = cond;							\
										\
	if (!kpv_need(what, met, 1, met)) {					\
		drop_pins();							\
		SKIP(return, "%s", what);					\
	}									\
} while (0)

/* Hold so many pages of the region. */
#define HOLD(pin, kind, first, nr)						\
	NEED_HELD("held", kpv_pin_hold(pin, kind, rg.base + (first) * psize, (nr) * psize))

/* ---- folios that cannot be split ---- */

/*
 * Pages [first, first + nr) belong to a folio that could not be split: of one
 * that is large as before, none is lazyfree.
 */
static void check_unsplit(META *_metadata, const struct region *r, size_t first, size_t nr)
{
	const char *states = region_states(r);
	size_t large = 0;

	for (size_t i = first; i < first + nr; i++)
		large += states[i] == 'A';
	CHECK("unsplit-untouched", large == nr,
	      "%zu of %zu pages of the folio at page %zu are as they were: %.128s", large, nr,
	      first, states);
}

/* No page of the region is lazyfree that was not freed. */
static void check_none_beyond(META *_metadata, const struct region *r)
{
	const char *states = region_states(r);
	size_t extra = 0, bad = 0;

	for (size_t i = 0; i < r->pages; i++) {
		if (r->class[i] != PAGE_FREED && strchr("lLdD", states[i])) {
			extra++;
			bad = i;
		}
	}
	CHECK("outside-range-untouched", !extra,
	      "%zu pages are lazyfree that were not freed, last is page %zu: %.128s", extra, bad,
	      states);
}

/*
 * Free [first, first + nr), in which the two folios at the given pages cannot
 * be split (the second may be absent: SIZE_MAX). Reclaim while they are held and
 * after, then read all. Kills: taking the addresses and the entries of the walk
 * apart after a failed split, so that pages are marked that lie elsewhere;
 * marking a folio whose other part was not freed.
 */
static void free_unsplittable(META *_metadata, FIX *self, size_t first, size_t nr, size_t held,
			      size_t other)
{
	size_t expected = 0;

	region_free(_metadata, &rg, first, nr, "free");
	for (size_t i = 0; i < rg.pages; i++) {
		size_t folio = i - i % self->nr;

		/* A page of a held folio is free of it where it was written anew. */
		if ((folio == held || folio == other) && rg.gen[i] == 1)
			rg.class[i] = PAGE_KEPT;
		expected += rg.class[i] == PAGE_FREED;
	}
	kpv_param("splittable_pages", expected);
	for (size_t h = 0; h < 2; h++) {
		size_t at = h ? other : held, whole = 0;

		if (at == SIZE_MAX)
			continue;
		while (whole < self->nr && rg.gen[at + whole] == 1)
			whole++;
		check_unsplit(_metadata, &rg, at, whole);
	}
	check_none_beyond(_metadata, &rg);
	if (!region_reclaim_lazyfree(self, &rg, "reclaim-held")) {
		drop_pins();
		SKIP(return, "lazyfree pages were not reclaimed");
	}
	drop_pins();
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/* F0 [1/2, 1) cannot be split, F1 is whole, F2 is not freed. */
static void unsplittable_first(META *_metadata, FIX *self, enum kpv_pin_kind kind)
{
	size_t nr = self->nr;

	HOLD(&pins[0], kind, nr / 4, 1);
	free_unsplittable(_metadata, self, nr / 2, nr / 2 + nr, 0, SIZE_MAX);
}

TEST_F(lazyfree, unsplittable_first)
{
	NEED_PARTS();
	REGION(3);
	unsplittable_first(_metadata, self, PIN_PIPE);
}

TEST_F(lazyfree, unsplittable_first_longterm)
{
	NEED_PARTS();
	REGION(3);
	unsplittable_first(_metadata, self, PIN_TEST);
}

TEST_F(lazyfree, unsplittable_first_registered)
{
	NEED_PARTS();
	REGION(3);
	unsplittable_first(_metadata, self, PIN_URING);
}

/* The page that is held is within the range. */
TEST_F(lazyfree, unsplittable_first_inside)
{
	NEED_PARTS();
	REGION(3);
	HOLD(&pins[0], PIN_PIPE, self->nr - 1, 1);
	free_unsplittable(_metadata, self, self->nr / 2, self->nr / 2 + self->nr, 0, SIZE_MAX);
}

/*
 * As unsplittable_first, but F0 is the last folio of its page table, and F1 in
 * the next one. Kills: a failure that ends the walk where the table ends.
 */
TEST_F(lazyfree, unsplittable_ends_table)
{
	size_t table = psize << kpv_max_order(psize), folio = self->nr * psize;

	NEED_PARTS();
	NEED("bytes_in_table", folio < table, table, folio);
	if (!region_map_at(self, &rg, 3, table - folio))
		SKIP(return, "%s", self->why);
	unsplittable_first(_metadata, self, PIN_PIPE);
}

/* F0 whole, F1 [0, 1/2) cannot be split and ends the range; F2 is not freed. */
TEST_F(lazyfree, unsplittable_last)
{
	NEED_PARTS();
	REGION(3);
	HOLD(&pins[0], PIN_PIPE, self->nr + self->nr / 2, 1);
	free_unsplittable(_metadata, self, 0, self->nr + self->nr / 2, self->nr, SIZE_MAX);
}

/*
 * F0 whole; F1 is in the range, but its last two pages were dropped and written
 * anew, so it needs to be split and cannot; then the two small folios and F2,
 * whole. F3 is not freed.
 */
TEST_F(lazyfree, unsplittable_between)
{
	size_t nr = self->nr;

	NEED_PARTS();
	REGION(4);
	region_hole(&rg, 2 * nr - 2, 2);
	page_write(&rg, 2 * nr - 2, 2);
	page_write(&rg, 2 * nr - 1, 2);
	HOLD(&pins[0], PIN_PIPE, nr, 1);
	NEED_HELD("small_folios", count_states(region_states(&rg), "a") == 2);
	free_unsplittable(_metadata, self, 0, 3 * nr, nr, SIZE_MAX);
}

/* F0 [1/2, 1) and F1, with a hole that was filled, both cannot be split; F2 is whole. */
TEST_F(lazyfree, unsplittable_two)
{
	size_t nr = self->nr;

	NEED_PARTS();
	REGION(4);
	region_hole(&rg, 2 * nr - 2, 2);
	page_write(&rg, 2 * nr - 2, 2);
	page_write(&rg, 2 * nr - 1, 2);
	HOLD(&pins[0], PIN_PIPE, nr / 2, 1);
	HOLD(&pins[1], PIN_PIPE, nr + 1, 1);
	free_unsplittable(_metadata, self, nr / 2, 2 * nr + nr / 2, 0, nr);
}

/* ---- pages that are held ---- */

static uint64_t page_pfn(const struct region *r, size_t page)
{
	uint64_t entry = 0;

	if (pread(kpv.pagemap, &entry, 8, (uintptr_t)(r->base + page * psize) / psize * 8) != 8)
		return 0;
	return entry & KPV_PM_PRESENT ? entry & KPV_PM_PFN : 0;
}

static bool pages_scanned(void)
{
	return step_event("pgscan_anon") + step_event("pgscan_file") > 0;
}

/*
 * Reclaim as far as it goes without swapping; with it, where nothing became
 * lazyfree. True if it looked at something.
 */
static bool reclaim_held(const FIX *self)
{
	region_reclaim(self, &rg, "reclaim-held");
	if (pages_scanned())
		return true;
	kpv_step_begin(&step, "reclaim-held-all", rg.base, rg.pages * psize);
	reclaim_write(self, rg.pages * psize, "");
	kpv_step_end(&step, 0, 0);
	region_show(&rg, "after-reclaim-held-all");
	return pages_scanned();
}

#define RECLAIM_HELD() NEED_HELD("pages_scanned", reclaim_held(self))

/*
 * The same page is there still, for whoever holds it would not see a new one;
 * or it is in the swap cache, where a read finds it.
 */
static void check_held(META *_metadata, size_t page, uint64_t pfn)
{
	uint64_t now;

	if (region_states(&rg)[page] == 's')
		page_touch_read(&rg, page);
	now = page_pfn(&rg, page);

	CHECK("held-not-discarded", now == pfn, "page %zu: PFN 0x%llx, now 0x%llx: %.128s", page,
	      (unsigned long long)pfn, (unsigned long long)now, region_states(&rg));
}

/* What is held reads as the page did when it was written last. */
static void check_reference(META *_metadata, struct kpv_pin *pin, size_t page, const char *when)
{
	static struct region copy;
	static char buf[65536] __attribute__((aligned(65536)));
	bool read, right;

	copy.base = buf - page * psize;
	copy.gen[page] = rg.gen[page];
	memset(buf, 0, psize);
	read = kpv_pin_read(pin, buf);
	right = page_content(&copy, page) == CONTENT_DATA;
	CHECK("reference-sees-data", read && right, "%s: page %zu, read %d, right %d", when, page,
	      read, right);
}

/*
 * Two folios, one page of F0 in a pipe: freed and reclaimed, the pipe has what
 * was there. Kills: a discard that does not look at references, which also
 * frees a page under its holder.
 */
TEST_F(lazyfree, held_in_pipe)
{
	size_t page = self->nr / 2;
	uint64_t pfn;

	REGION(2);
	HOLD(&pins[0], PIN_PIPE, page, 1);
	pfn = page_pfn(&rg, page);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	RECLAIM_HELD();
	check_held(_metadata, page, pfn);
	check_reference(_metadata, &pins[0], page, "after reclaim");
	kpv_pin_drop(&pins[0]);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/*
 * As before, with a long-term pin; and what the process writes after reclaim is
 * seen through it. Kills: a page replaced under a pin.
 */
TEST_F(lazyfree, held_longterm)
{
	size_t page = self->nr / 2;
	uint64_t pfn;

	REGION(2);
	HOLD(&pins[0], PIN_TEST, page, 1);
	pfn = page_pfn(&rg, page);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	RECLAIM_HELD();
	check_held(_metadata, page, pfn);
	check_reference(_metadata, &pins[0], page, "after reclaim");
	page_write(&rg, page, 2);
	check_reference(_metadata, &pins[0], page, "after a write");
	kpv_pin_drop(&pins[0]);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/* ---- a device writes ---- */

static struct {
	int fd;
	off_t from;
} scratch = { .fd = -1 };

/* Put data of a generation for all pages of the region on the device. */
static bool device_fill(unsigned int gen)
{
	size_t len = rg.pages * psize;
	static struct region copy;
	bool ok;

	if (scratch.fd < 0)
		scratch.fd = kpv_scratch_open(psize, &scratch.from);
	copy.base = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (scratch.fd < 0 || copy.base == MAP_FAILED)
		return false;
	for (size_t i = 0; i < rg.pages; i++)
		page_store(&copy, i, gen);
	ok = pwrite(scratch.fd, copy.base, len, scratch.from) == (ssize_t)len;
	munmap(copy.base, len);
	return ok;
}

/* Read a page's data from the device into it, by way of the pin or, without one, of the call. */
static bool device_read(struct kpv_pin *pin, size_t page, unsigned int gen)
{
	off_t from = scratch.from + page * psize;
	void *at = rg.base + page * psize;

	rg.gen[page] = gen;
	rg.class[page] = PAGE_WRITTEN;
	return pin ? kpv_pin_device_read(pin, scratch.fd, from, at, psize)
		   : pread(scratch.fd, at, psize, from) == (ssize_t)psize;
}

static void check_device_data(META *_metadata, const size_t *list, size_t nr, const char *when)
{
	size_t wrong = 0, bad = 0;

	for (size_t i = 0; i < nr; i++) {
		if (page_content(&rg, list[i]) != CONTENT_DATA) {
			wrong++;
			bad = list[i];
		}
	}
	CHECK("device-data-visible", !wrong, "%s: %zu of %zu pages wrong, last is page %zu", when,
	      wrong, nr, bad);
}

/*
 * A buffer of whole folios is registered and then freed; the device writes to
 * one page of each folio, before and after reclaim. While it is registered the
 * data are seen; afterwards nobody but the page table knows of the writes, so
 * they may be discarded like what was there when it was freed. Kills: a page
 * discarded, and replaced, under a device.
 */
TEST_F(lazyfree, device_writes_registered)
{
	size_t nr = self->nr, list[2] = { nr / 2, 2 * nr - 1 };
	uint64_t pfn[2];

	REGION(2);
	NEED("scratch_device", device_fill(2), 1, 0);
	HOLD(&pins[0], PIN_URING, 0, rg.pages);
	for (size_t i = 0; i < 2; i++)
		pfn[i] = page_pfn(&rg, list[i]);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	for (size_t i = 0; i < 2; i++)
		NEED_HELD("device_read", device_read(&pins[0], list[i], 2));
	check_device_data(_metadata, list, 2, "before reclaim");
	RECLAIM_HELD();
	for (size_t i = 0; i < 2; i++)
		check_held(_metadata, list[i], pfn[i]);
	check_device_data(_metadata, list, 2, "after reclaim");
	NEED_HELD("scratch_device", device_fill(3));
	for (size_t i = 0; i < 2; i++)
		NEED_HELD("device_read", device_read(&pins[0], list[i], 3));
	check_device_data(_metadata, list, 2, "written after reclaim");
	kpv_pin_drop(&pins[0]);
	region_class(&rg, list[0], 1, PAGE_FREED);
	region_class(&rg, list[1], 1, PAGE_FREED);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/*
 * A registered buffer, then a fork: the child gets copies of what is pinned.
 * The parent frees, the device writes: the child's data stay, the parent sees
 * the device's. Kills: a mark on pages that are shared after all, copies given
 * to the wrong side.
 */
TEST_F(lazyfree, device_writes_forked)
{
	size_t list[1] = { self->nr / 2 };
	uint64_t pfn;

	REGION(2);
	NEED("scratch_device", device_fill(2), 1, 0);
	HOLD(&pins[0], PIN_URING, 0, self->nr);
	CHILD_START();
	pfn = page_pfn(&rg, list[0]);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	NEED_HELD("device_read", device_read(&pins[0], list[0], 2));
	check_device_data(_metadata, list, 1, "before reclaim");
	check_sharer(_metadata, 0, rg.pages, "after the device's write");
	RECLAIM_HELD();
	check_held(_metadata, list[0], pfn);
	check_device_data(_metadata, list, 1, "after reclaim");
	kpv_pin_drop(&pins[0]);
	region_class(&rg, list[0], 1, PAGE_FREED);
	RECLAIM();
	check_sharer(_metadata, 0, rg.pages, "after reclaim");
	shared_finish(_metadata, self);
}

/*
 * Freed, then read into with O_DIRECT: a write like any other, which marks the
 * folio dirty although no dirty bit of a page table tells. One page of each
 * folio. Kills: a discard that does not look at PG_dirty.
 */
TEST_F(lazyfree, direct_read_after_free)
{
	size_t list[4];

	REGION(4);
	NEED("scratch_device", device_fill(2), 1, 0);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	for (size_t f = 0; f < 4; f++) {
		list[f] = f * self->nr + self->nr * f / 4;
		NEED("device_read", device_read(NULL, list[f], 2), 1, 0);
	}
	check_device_data(_metadata, list, 4, "before reclaim");
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/*
 * Read into with O_DIRECT, and then freed, again: PG_dirty goes, and all of it
 * is lazyfree. Kills: PG_dirty left on a freed folio, which is then kept or
 * swapped out.
 */
TEST_F(lazyfree, direct_read_before_free)
{
	REGION(2);
	NEED("scratch_device", device_fill(2), 1, 0);
	region_free(_metadata, &rg, 0, rg.pages, "free-first");
	for (size_t i = self->nr / 2; i < rg.pages; i += self->nr)
		NEED("device_read", device_read(NULL, i, 2), 1, 0);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	check_exactly_lazyfree(_metadata, &rg);
	check_clean(_metadata, &rg, "after free");
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

TEST_HARNESS_MAIN
