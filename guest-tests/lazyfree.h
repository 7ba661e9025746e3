/* SPDX-License-Identifier: GPL-2.0 */
/*
 * lazyfree.h: fixture and helpers shared by the MADV_FREE tests.
 *
 * A test maps a region of whole folios of one order, well away from any other
 * mapping, and keeps for each page what it must read as at the end:
 *
 *	PAGE_KEPT	never freed: its data, and not lazyfree
 *	PAGE_FREED	freed, not written since: its old data or zeroes, page by page
 *	PAGE_WRITTEN	written after the free returned: exactly what was written
 *	PAGE_GONE	a swap entry in the freed range: zeroes
 *	PAGE_HOLE	a hole, a zero page or a page seen discarded: zeroes
 *
 * These hold on every correct kernel, whatever it decided about splitting or
 * skipping. What a kernel decided is told in step records and judged by the
 * reader, not here.
 */
#ifndef LAZYFREE_H
#define LAZYFREE_H

#include <sched.h>
#include <sys/stat.h>

#include "kpv_harness.h"
#include "kpv_swap.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

#define MAX_PAGES	2048
#define REGION_FOLIOS	4	/* at most, in any test */
#define REGION_BASE	0x100000000000UL	/* 1 GiB apart: the VMAs never merge */
#define REGION_SLOT	0x40000000UL
#define REGION_ALIGN	0x200000UL
#define CGROUP_ROOT	"/sys/fs/cgroup"
#define CGROUP_READY	CGROUP_ROOT "/kpv"
#define CGROUP_LEFT	(4 << 20)

enum page_class {
	PAGE_KEPT,
	PAGE_FREED,
	PAGE_WRITTEN,
	PAGE_GONE,
	PAGE_HOLE,
};

struct region {
	char *base;
	size_t pages;
	uint8_t class[MAX_PAGES];
	uint8_t gen[MAX_PAGES];		/* of the data written last, see pattern() */
};

static struct region rg;
static struct kpv_step step;

static size_t psize;

/* /proc/PID/pagemap of another process that maps the region, -1 if there is none. */
static int sharer_pagemap = -1;

FIXTURE(lazyfree)
{
	int order;
	size_t nr;		/* pages per folio */
	int reclaim_fd;
	char cgroup[96];	/* made by this test, removed when it ended */
	char cgroup_more[96];	/* likewise, see cgroup_make() */
	char cgroup_joined[96];
	char lru_gen_saved[16];
	char thp_saved[KPV_ORDERS][16];
	int64_t anon_before, partial_before;
	char why[128];		/* set: a precondition is not met, skip */
	struct kpv_out out;	/* here, for the harness shares it with us */
};

FIXTURE_VARIANT(lazyfree)
{
	size_t bytes;
	int swap;		/* enum kpv_swap_kind: the device to swap to */
	bool lru_gen;		/* with the multi-generation LRU, whatever was on */
};

FIXTURE_VARIANT_ADD(lazyfree, 4k) { .bytes = 4096 };
FIXTURE_VARIANT_ADD(lazyfree, 16k) { .bytes = 16384 };
FIXTURE_VARIANT_ADD(lazyfree, 32k) { .bytes = 32768 };
FIXTURE_VARIANT_ADD(lazyfree, 64k) { .bytes = 65536 };
FIXTURE_VARIANT_ADD(lazyfree, 128k) { .bytes = 131072 };
FIXTURE_VARIANT_ADD(lazyfree, 512k) { .bytes = 524288 };
FIXTURE_VARIANT_ADD(lazyfree, 1m) { .bytes = 1048576 };
FIXTURE_VARIANT_ADD(lazyfree, 2m) { .bytes = 2097152 };

#define FIX FIXTURE_DATA(lazyfree)
#define META struct __test_metadata

/* One invariant, tried once: told to the observer and to the harness. */
#define CHECK(name, cond, fmt, ...) \
	EXPECT_TRUE(kpv_check(name, cond, fmt, ##__VA_ARGS__))

/* Skip the test unless a precondition, which is told either way, is met. */
#define NEED(what, cond, want, got) do {					\
	if (!kpv_need(what, cond, want, got))					\
		SKIP(return, "%s: wanted %lld, got %lld", what, (long long)(want), \
		     (long long)(got));						\
} while (0)

/* As NEED(), for what is either done or not. */
#define NEED_DONE(what, cond) do {						\
	bool done = cond;							\
										\
	NEED(what, done, 1, done);						\
} while (0)

/* Parts of a folio and holes in it need some pages. */
#define NEED_PARTS() NEED("pages_per_folio", self->nr >= 4, 4, self->nr)

/* First line of each test: a region of so many folios, or SKIP with the reason. */
#define REGION(folios) do {							\
	if (!region_map(self, &rg, folios))					\
		SKIP(return, "%s", self->why);					\
} while (0)

/* ---- small files ---- */

static inline bool file_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t len = strlen(text);
	bool ok;

	if (fd < 0)
		return false;
	ok = write(fd, text, len) == len;
	close(fd);
	return ok;
}

static inline bool file_read(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len;

	text[0] = '\0';
	if (fd < 0)
		return false;
	len = read(fd, text, size - 1);
	close(fd);
	if (len < 0)
		return false;
	text[len] = '\0';
	return true;
}

/* KiB of a line of /proc/meminfo, 0 if there is none. */
/* KiB behind a name that begins a line, 0 if there is none. */
static inline int64_t file_kib(const char *path, const char *name)
{
	char text[2048];
	char *s;

	if (!file_read(path, text, sizeof(text)))
		return 0;
	s = strstr(text, name);
	return s ? kpv_number(s + strlen(name)) : 0;
}

static inline int64_t meminfo_kib(const char *name)
{
	return file_kib("/proc/meminfo", name);
}

/* ---- folio sizes ---- */

/* hugepages-<N>kB/enabled, to read and write; -1 if there is no such size or no right. */
static inline int thp_open(int root, int order)
{
	char path[64];

	snprintf(path, sizeof(path), "hugepages-%zukB/enabled", (psize << order) / 1024);
	return openat(root, path, O_RDWR | O_CLOEXEC);
}

static inline bool thp_write(int fd, const char *value)
{
	return write(fd, value, strlen(value)) == (ssize_t)strlen(value);
}

/* "always [madvise] never" -> "madvise" */
static inline void thp_selected(const char *text, char *out, size_t size)
{
	const char *from = strchr(text, '[');
	size_t len;

	out[0] = '\0';
	if (!from)
		return;
	len = strcspn(++from, "]");
	if (len < size) {
		memcpy(out, from, len);
		out[len] = '\0';
	}
}

/* Let madvise'd regions have folios of one order only (0: none); remember what was changed. */
static inline bool thp_select(FIX *self, int wanted)
{
	bool found = !wanted, ok = true;
	int root = kpv_thp_dir();
	char text[64], now[16];
	ssize_t len;

	for (int order = 1; order <= kpv_max_order(psize); order++) {
		const char *value = order == wanted ? "madvise" : "never";
		int fd = thp_open(root, order);

		if (fd < 0)
			continue;
		len = pread(fd, text, sizeof(text) - 1, 0);
		text[len < 0 ? 0 : len] = '\0';
		thp_selected(text, now, sizeof(now));
		if (strcmp(value, now)) {
			if (!self->thp_saved[order][0])
				memcpy(self->thp_saved[order], now, sizeof(now));
			ok &= thp_write(fd, value);
		}
		found |= order == wanted;
		close(fd);
	}
	close(root);
	return found && ok;
}

/*
 * While folios of a PMD's size are enabled, khugepaged looks at a new process at
 * once and makes such folios of small ones, lazyfree or not. Disable them when
 * the region has its own; thp_restore() puts back what was there.
 */
static inline bool thp_stop_khugepaged(FIX *self)
{
	int order = kpv_max_order(psize), root, fd;
	bool ok;

	if (self->order != order)
		return true;
	root = kpv_thp_dir();
	fd = thp_open(root, order);
	ok = fd >= 0 && thp_write(fd, "never");
	close(fd);
	close(root);
	if (!self->thp_saved[order][0])
		strcpy(self->thp_saved[order], "madvise");
	return kpv_need("khugepaged_stopped", ok, 1, ok);
}

static inline void thp_restore(const FIX *self)
{
	int root = -1;

	for (int order = 1; order < KPV_ORDERS; order++) {
		int fd;

		if (!self->thp_saved[order][0])
			continue;
		if (root < 0)
			root = kpv_thp_dir();
		fd = thp_open(root, order);
		if (fd >= 0)
			thp_write(fd, self->thp_saved[order]);
		close(fd);
	}
	close(root);
}

/* ---- which LRU reclaims ---- */

#define LRU_GEN_ENABLED "/sys/kernel/mm/lru_gen/enabled"

/* Turn the multi-generation LRU on, and remember what was; false if there is none. */
static inline bool lru_gen_select(FIX *self)
{
	char now[sizeof(self->lru_gen_saved)];

	/* A bit mask, of which bit 0 is the LRU itself. */
	if (!file_read(LRU_GEN_ENABLED, now, sizeof(now)))
		return false;
	if (!(strtoul(now, NULL, 0) & 1)) {
		memcpy(self->lru_gen_saved, now, sizeof(now));
		if (!file_write(LRU_GEN_ENABLED, "y"))
			return false;
	}
	return file_read(LRU_GEN_ENABLED, now, sizeof(now)) && (strtoul(now, NULL, 0) & 1);
}

static inline void lru_gen_restore(const FIX *self)
{
	if (self->lru_gen_saved[0])
		file_write(LRU_GEN_ENABLED, self->lru_gen_saved);
}

/* ---- data: every word of a page depends on page, generation and place ---- */

static inline uint64_t pattern(size_t page, unsigned int gen)
{
	return (page + 1) * 0x9e3779b97f4a7c15ULL ^ (gen + 1) * 0xc2b2ae3d27d4eb4fULL;
}

/* Word i of a page is (seed + i * PATTERN_STEP) | 1: never zero. */
#define PATTERN_STEP 0xd6e8feb86659fd93ULL

static inline uint64_t *page_words(const struct region *r, size_t page)
{
	return (uint64_t *)(r->base + page * psize);
}

/* What page_store() puts into the page, put into a buffer. */
static inline void words_store(uint64_t *words, size_t page, unsigned int gen)
{
	uint64_t word = pattern(page, gen);

	for (size_t i = 0; i < psize / sizeof(*words); i += 4) {
		words[i] = word | 1;
		words[i + 1] = (word + PATTERN_STEP) | 1;
		words[i + 2] = (word + 2 * PATTERN_STEP) | 1;
		words[i + 3] = (word + 3 * PATTERN_STEP) | 1;
		word += 4 * PATTERN_STEP;
	}
}

static inline void page_store(struct region *r, size_t page, unsigned int gen)
{
	words_store(page_words(r, page), page, gen);
}

/* Write a page and remember that it must read so from now on. */
static inline void page_write(struct region *r, size_t page, unsigned int gen)
{
	page_store(r, page, gen);
	r->gen[page] = gen;
	r->class[page] = PAGE_WRITTEN;
}

enum page_content {
	CONTENT_DATA,
	CONTENT_ZERO,
	CONTENT_OTHER,
};

static inline enum page_content page_content(const struct region *r, size_t page)
{
	const uint64_t *words = page_words(r, page);
	uint64_t word = pattern(page, r->gen[page]), any = 0, differs = 0;

	/* Somebody else may have changed it: read it anew, but freely within the page. */
	__asm__ volatile("" ::: "memory");
	for (size_t i = 0; i < psize / sizeof(*words); i += 4) {
		uint64_t a = words[i], b = words[i + 1], c = words[i + 2], d = words[i + 3];

		any |= a | b | c | d;
		differs |= (a ^ (word | 1)) | (b ^ ((word + PATTERN_STEP) | 1)) |
			   (c ^ ((word + 2 * PATTERN_STEP) | 1)) |
			   (d ^ ((word + 3 * PATTERN_STEP) | 1));
		word += 4 * PATTERN_STEP;
	}
	if (!differs)
		return CONTENT_DATA;
	return any ? CONTENT_OTHER : CONTENT_ZERO;
}

static inline bool page_right(const struct region *r, size_t page)
{
	enum page_content content = page_content(r, page);

	switch (r->class[page]) {
	case PAGE_FREED:
		return content != CONTENT_OTHER;
	case PAGE_GONE:
	case PAGE_HOLE:
		return content == CONTENT_ZERO;
	default:
		return content == CONTENT_DATA;
	}
}

/* Read one byte of a page. */
static inline void page_touch_read(const struct region *r, size_t page)
{
	(void)*(volatile char *)(r->base + page * psize);
}

/* Write a page's own first word: dirty, and a writable translation is cached. */
static inline void page_touch_write(const struct region *r, size_t page)
{
	volatile uint64_t *word = page_words(r, page);

	*word = *word;
}

/* ---- regions ---- */

static inline char *region_reserve(size_t len, size_t shift)
{
	static unsigned int slot;
	char *want = (char *)(REGION_BASE + slot++ * REGION_SLOT + shift);
	char *got = mmap(want, len, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (got != want)
		return NULL;
	return madvise(got, len, MADV_HUGEPAGE) ? NULL : got;
}

static inline bool region_orders(const FIX *self, const struct region *r, int *got)
{
	if (!kpv_read_pages(kpv.pagemap, r->base, r->pages))
		return false;
	for (size_t i = 0; i < r->pages; i += self->nr) {
		uint64_t pfn = kpv.pagemap_buf[i] & KPV_PM_PFN;

		*got = kpv_order_at(i, r->pages);
		if (*got != self->order)
			return false;
		/* Natural alignment in memory as in the address space: can be folded. */
		if (pfn & (self->nr - 1)) {
			*got = -2;
			return false;
		}
	}
	return true;
}

static inline void region_fill(struct region *r)
{
	for (size_t i = 0; i < r->pages; i++) {
		r->class[i] = PAGE_KEPT;
		r->gen[i] = 1;
		page_store(r, i, 1);
	}
}

/* Fill the region so that it has whole folios of the variant's order; false: see self->why. */
static inline bool region_populate(FIX *self, struct region *r)
{
	bool ok = false;
	int got = -1;

	for (int try = 0; try < 4 && !ok; try++) {
		if (try) {
			madvise(r->base, r->pages * psize, MADV_DONTNEED);
			file_write("/proc/sys/vm/compact_memory", "1");
		}
		region_fill(r);
		kpv_drain();
		ok = region_orders(self, r, &got);
	}
	if (!kpv_need("folio_order", ok, self->order, ok ? self->order : got)) {
		snprintf(self->why, sizeof(self->why), "wanted folios of order %d, got %d",
			 self->order, got);
		return false;
	}
	if (!thp_stop_khugepaged(self)) {
		snprintf(self->why, sizeof(self->why), "khugepaged may make large folios anew");
		return false;
	}
	return true;
}

/*
 * Whole folios of the variant's order, written through, that begin so many bytes
 * past an address that is aligned as any folio is; false: see self->why.
 */
static inline bool region_map_at(FIX *self, struct region *r, size_t folios, size_t shift)
{
	if (self->why[0])
		return false;
	r->pages = folios * self->nr;
	if (folios > REGION_FOLIOS || r->pages > MAX_PAGES)
		abort();
	kpv_param("folios", folios);
	kpv_param("pages", r->pages);
	r->base = region_reserve(r->pages * psize, shift);
	if (!kpv_need("region", r->base, 1, !!r->base)) {
		snprintf(self->why, sizeof(self->why), "no place for the region");
		return false;
	}
	if (!region_populate(self, r))
		return false;
	/* What can be folded is folded now; a test may unfold it before it shows the region. */
	kpv_mark(KPV_MARK_CHECKPOINT, kpv_hash("mapped"), (uintptr_t)r->base, r->pages * psize,
		 KPV_MARK_OWN);
	return true;
}

static inline bool region_map(FIX *self, struct region *r, size_t folios)
{
	return region_map_at(self, r, folios, 0);
}

/*
 * Move the region to another place, which lies so many bytes past an address
 * that is aligned as any folio is.
 */
static inline bool region_move(struct region *r, size_t shift)
{
	char *to = region_reserve(r->pages * psize, shift);

	if (!to || munmap(to, r->pages * psize))
		return false;
	to = mremap(r->base, r->pages * psize, r->pages * psize, MREMAP_MAYMOVE | MREMAP_FIXED,
		    to);
	if (to == MAP_FAILED)
		return false;
	r->base = to;
	return true;
}

static inline const char *region_states(const struct region *r)
{
	return kpv_states_of(kpv.pagemap, r->base, r->pages);
}

static inline void region_show(const struct region *r, const char *at)
{
	kpv_pages(at, KPV_MARK_OWN, r->base, r->pages * psize, region_states(r));
}

/* ---- the call under test ---- */

static inline void region_class(struct region *r, size_t first, size_t nr, enum page_class class)
{
	for (size_t i = first; i < first + nr; i++)
		r->class[i] = class;
}

static inline void region_mark_freed(struct region *r, size_t first, size_t nr)
{
	for (size_t i = first; i < first + nr; i++)
		if (r->class[i] != PAGE_GONE && r->class[i] != PAGE_HOLE)
			r->class[i] = PAGE_FREED;
}

static inline void region_hole(struct region *r, size_t first, size_t nr)
{
	madvise(r->base + first * psize, nr * psize, MADV_DONTNEED);
	region_class(r, first, nr, PAGE_HOLE);
}

/* MADV_FREE of nr pages from first, as a step of its own, with pictures around it. */
static inline long region_free(META *_metadata, struct region *r, size_t first, size_t nr,
			       const char *name)
{
	char at[48];
	long ret;

	snprintf(at, sizeof(at), "before-%s", name);
	region_show(r, at);
	kpv_step_begin(&step, name, r->base, r->pages * psize);
	ret = madvise(r->base + first * psize, nr * psize, MADV_FREE);
	kpv_step_end(&step, ret, errno);
	snprintf(at, sizeof(at), "after-%s", name);
	region_show(r, at);
	CHECK("return-value", ret == 0, "%s: madvise = %ld, errno %d", name, ret, ret ? errno : 0);
	if (!ret)
		region_mark_freed(r, first, nr);
	return ret;
}

/*
 * QEMU sizes its TLB by use, at each full flush, and turns the TLBI of a page
 * into a full flush while it has 128 entries or fewer: a kernel that flushes
 * one page where it should flush eight then looks right. Let it grow: read
 * many pages and take them away, which flushes all, three times. Elsewhere
 * this does nothing.
 */
static inline void grow_emulated_tlb(void)
{
	size_t pages = 512;
	char *map = mmap(NULL, pages * psize, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
			 -1, 0);

	if (map == MAP_FAILED)
		return;
	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < pages; i++)
			(void)*(volatile char *)(map + i * psize);
		mprotect(map, pages * psize, PROT_NONE);
		mprotect(map, pages * psize, PROT_READ);
	}
	munmap(map, pages * psize);
}

/*
 * MADV_FREE of [first, first + nr), then at once new data into the listed
 * pages. Each is written just before the call as well, so that this CPU holds
 * a writable translation; nothing in between leaves this address space. A
 * kernel that does not flush lets the store through without a fault and
 * without a dirty bit, and reclaim then drops it.
 */
static inline long region_free_write(META *_metadata, struct region *r, size_t first, size_t nr,
				     const size_t *list, size_t listed, const char *name)
{
	char at[48];
	long ret;

	snprintf(at, sizeof(at), "before-%s", name);
	region_show(r, at);
	grow_emulated_tlb();
	kpv_step_begin(&step, name, r->base, r->pages * psize);
	for (size_t i = 0; i < listed; i++)
		page_touch_write(r, list[i]);
	ret = madvise(r->base + first * psize, nr * psize, MADV_FREE);
	for (size_t i = 0; i < listed; i++)
		page_store(r, list[i], 2);
	kpv_step_end(&step, ret, errno);
	snprintf(at, sizeof(at), "after-%s", name);
	region_show(r, at);
	CHECK("return-value", ret == 0, "%s: madvise = %ld, errno %d", name, ret, ret ? errno : 0);
	if (!ret)
		region_mark_freed(r, first, nr);
	for (size_t i = 0; i < listed; i++) {
		r->gen[list[i]] = 2;
		r->class[list[i]] = PAGE_WRITTEN;
	}
	return ret;
}

/* ---- reclaim ---- */

/* What the last step did to an event of vmstat. */
static inline int64_t step_event(const char *name)
{
	int i = kpv_index(kpv_vmstat_names, KPV_NR_VMSTAT, name, strlen(name));

	if (step.before.vmstat[i] == KPV_NULL || step.after.vmstat[i] == KPV_NULL)
		return 0;
	return step.after.vmstat[i] - step.before.vmstat[i];
}

static inline size_t count_states(const char *states, const char *letters)
{
	size_t nr = 0;

	for (; *states; states++)
		nr += !!strchr(letters, *states);
	return nr;
}

static inline bool reclaim_write(const FIX *self, size_t bytes, const char *option)
{
	char text[64];
	ssize_t len = snprintf(text, sizeof(text), "%zu%s", bytes, option);

	/* EAGAIN: it did what it could and did not find that much. */
	return write(self->reclaim_fd, text, len) == len || errno == EAGAIN;
}

/*
 * Pages of the region in these states, here and in the other process, which may
 * map what this one no longer does.
 */
static inline size_t region_count(const struct region *r, const char *letters)
{
	size_t nr = 0;

	if (sharer_pagemap >= 0)
		nr = count_states(kpv_states_of(sharer_pagemap, r->base, r->pages), letters);
	return nr + count_states(region_states(r), letters);
}

/*
 * Reclaim what can be had without swapping (lazyfree folios are on the file
 * LRU) until no lazyfree page is left in the region; returns how many are. No
 * more is asked for than there is: the kernel tries seventeen times over to
 * find the rest, and then waits for all CPUs to drain their batches.
 */
static inline size_t region_reclaim(const FIX *self, struct region *r, const char *name)
{
	char at[48];
	size_t left;

	kpv_step_begin(&step, name, r->base, r->pages * psize);
	left = region_count(r, "lLdD");
	for (int try = 0; try < 8 && left; try++) {
		if (!reclaim_write(self, left * psize, " swappiness=0"))
			reclaim_write(self, left * psize, "");
		left = region_count(r, "lLdD");
	}
	kpv_step_end(&step, 0, 0);
	left = count_states(region_states(r), "lLdD");
	snprintf(at, sizeof(at), "after-%s", name);
	region_show(r, at);
	return left;
}

/* That none is left is a precondition of what is said about data afterwards. */
static inline bool region_reclaim_lazyfree(const FIX *self, struct region *r, const char *name)
{
	size_t left = region_reclaim(self, r, name);

	return kpv_need("lazyfree_left", !left, 0, left);
}

/* Whether anything of the region is present in either process or may be in the swap cache. */
static inline bool region_left(const struct region *r)
{
	return region_count(r, "aAlLdD?") ||
	       (region_count(r, "s") && meminfo_kib("SwapCached:") > 0);
}

/*
 * Page out all that this process maps alone, then whatever the cgroup's LRUs
 * yield, if anything of the region is left.
 */
static inline void region_page_out(const FIX *self, struct region *r)
{
	kpv_step_begin(&step, "page-out", r->base, r->pages * psize);
	madvise(r->base, r->pages * psize, MADV_PAGEOUT);
	if (region_left(r))
		reclaim_write(self, r->pages * psize, "");
	kpv_step_end(&step, 0, 0);
	region_show(r, "after-page-out");
}

/* Page out a part of the region; false if any of it stayed. */
static inline bool region_swap_out(const struct region *r, size_t first, size_t nr)
{
	const char *states;

	for (int try = 0; try < 4; try++) {
		madvise(r->base + first * psize, nr * psize, MADV_PAGEOUT);
		states = kpv_states_of(kpv.pagemap, r->base + first * psize, nr);
		if (count_states(states, "s") == nr)
			return true;
	}
	return false;
}

/* Pages that are present and whose folio has both flags, KPV_KPF_* of kpageflags. */
static inline size_t region_flags(const struct region *r, int flag, int other)
{
	size_t nr = 0;

	if (!kpv_read_pages(kpv.pagemap, r->base, r->pages))
		return 0;
	for (size_t i = 0; i < r->pages; i++)
		nr += kpv_bit(kpv.flags_buf[i], flag) && kpv_bit(kpv.flags_buf[i], other);
	return nr;
}

/* Pages whose folio has PG_dirty and is swap-backed. */
static inline size_t region_pg_dirty(const struct region *r)
{
	return region_flags(r, KPV_KPF_DIRTY, KPV_KPF_SWAPBACKED);
}

/* Pages that reclaim discarded: they read as zeroes from now on. */
static inline void region_note_discarded(struct region *r)
{
	const char *states = region_states(r);

	for (size_t i = 0; i < r->pages; i++)
		if (states[i] == '.')
			r->class[i] = PAGE_HOLE;
}

/* How many VMAs the region consists of. */
static inline size_t region_vmas(const struct region *r)
{
	uintptr_t base = (uintptr_t)r->base;
	size_t nr = 0;
	char *s, *end;
	int fd;

	fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	kpv_slurp(fd);
	close(fd);
	for (s = kpv.text; s && *s; s = kpv_next_line(s)) {
		uintptr_t start = strtoull(s, &end, 16);

		nr += end != s && *end == '-' && start >= base && start < base + r->pages * psize;
	}
	return nr;
}

/*
 * Unfold the contiguous block of a page: write-protect the page and back. The
 * block folds again only when its last entry is written, so not the last page.
 */
static inline bool region_unfold(const struct region *r, size_t page)
{
	char *at = r->base + page * psize;

	return !mprotect(at, psize, PROT_READ) && !mprotect(at, psize, PROT_READ | PROT_WRITE);
}

/* Entries of an arm64 contiguous block, arch/arm64/include/asm/pgtable-hwdef.h. */
static inline size_t cont_ptes(void)
{
	return psize == 16384 ? 128 : psize == 65536 ? 32 : 16;
}

#define RECLAIM() do {								\
	if (!region_reclaim_lazyfree(self, &rg, "reclaim"))			\
		SKIP(return, "lazyfree pages were not reclaimed");		\
	region_page_out(self, &rg);						\
} while (0)

/* ---- what must hold ---- */

/* Exactly the freed pages are lazyfree; for exclusive folios only. */
static inline void check_exactly_lazyfree(META *_metadata, const struct region *r)
{
	const char *states = region_states(r);
	size_t missing = 0, extra = 0, bad = 0;

	for (size_t i = 0; i < r->pages; i++) {
		bool lazy = strchr("lL", states[i]);
		bool want = r->class[i] == PAGE_FREED;

		if (lazy == want)
			continue;
		missing += want;
		extra += !want;
		bad = i;
	}
	CHECK("exactly-range-lazyfree", !missing && !extra,
	      "%zu pages of the range not lazyfree, %zu others lazyfree, last at page %zu: %.128s",
	      missing, extra, bad, states);
}

/* No page outside the freed range may be marked; whatever became of the range. */
static inline void check_outside_untouched(META *_metadata, const struct region *r)
{
	const char *states = region_states(r);
	size_t extra = 0, bad = 0;

	for (size_t i = 0; i < r->pages; i++) {
		if (r->class[i] == PAGE_KEPT && !strchr("aA", states[i])) {
			extra++;
			bad = i;
		}
	}
	CHECK("outside-range-untouched", !extra,
	      "%zu pages outside the range changed state, last is page %zu: %.128s", extra, bad,
	      states);
}

/*
 * Pages outside the freed range, all of them written and nobody else's, are
 * still dirty, in the page table or on the folio: one that is neither is as
 * good as lost once it has a slot in swap.
 */
static inline void check_outside_dirty(META *_metadata, const struct region *r)
{
	int64_t smaps[KPV_NR_SMAPS], kept = 0;

	for (size_t i = 0; i < r->pages; i++)
		kept += r->class[i] == PAGE_KEPT;
	kpv_read_smaps((uintptr_t)r->base, r->pages * psize, smaps);
	CHECK("outside-range-untouched",
	      smaps[KPV_SMAPS_PRIVATE_DIRTY] >= kept * (int64_t)psize / 1024,
	      "%lld KiB outside the range, smaps Private_Dirty %lld",
	      (long long)kept * (long long)psize / 1024,
	      (long long)smaps[KPV_SMAPS_PRIVATE_DIRTY]);
}

/*
 * After a MADV_FREE of freed pages of exclusive folios, no dirty bit is left on
 * them, in the page table or on the folio: smaps counts them all as LazyFree.
 */
static inline void check_clean(META *_metadata, const struct region *r, const char *when)
{
	int64_t smaps[KPV_NR_SMAPS];
	int64_t freed = 0, kept = 0;

	for (size_t i = 0; i < r->pages; i++) {
		freed += r->class[i] == PAGE_FREED;
		kept += r->class[i] == PAGE_KEPT || r->class[i] == PAGE_WRITTEN;
	}
	kpv_read_smaps((uintptr_t)r->base, r->pages * psize, smaps);
	CHECK("becomes-clean",
	      smaps[KPV_SMAPS_LAZYFREE] == freed * (int64_t)psize / 1024 &&
	      smaps[KPV_SMAPS_PRIVATE_DIRTY] <= kept * (int64_t)psize / 1024,
	      "%s: %lld KiB freed, smaps LazyFree %lld, Private_Dirty %lld", when,
	      (long long)freed * (long long)psize / 1024, (long long)smaps[KPV_SMAPS_LAZYFREE],
	      (long long)smaps[KPV_SMAPS_PRIVATE_DIRTY]);
}

/* No access flag is left on a page of the region. */
static inline void check_old(META *_metadata, const struct region *r, const char *when)
{
	int64_t smaps[KPV_NR_SMAPS];

	kpv_read_smaps((uintptr_t)r->base, r->pages * psize, smaps);
	CHECK("becomes-old", smaps[KPV_SMAPS_REFERENCED] == 0, "%s: smaps Referenced %lld KiB",
	      when, (long long)smaps[KPV_SMAPS_REFERENCED]);
}

/* So many swap entries are left in the region, by the page tables and by smaps. */
static inline void check_swap_gone(META *_metadata, const struct region *r, size_t kept)
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
 * Of the last step: each page that became lazyfree is counted once, and none is
 * deactivated. Not decided where the kernel counts no events.
 */
static inline void check_counted(META *_metadata, int64_t became_lazyfree, const char *name)
{
	int64_t counted = kpv_vmstat_delta(&step, "pglazyfree");
	int64_t deactivated = kpv_vmstat_delta(&step, "pgdeactivate");

	if (counted == KPV_NULL || deactivated == KPV_NULL)
		return;
	CHECK("lazyfree-counted", counted == became_lazyfree && deactivated == 0,
	      "%s: %lld pages became lazyfree, pglazyfree %lld, pgdeactivate %lld", name,
	      (long long)became_lazyfree, (long long)counted, (long long)deactivated);
}

/*
 * The dirty bit of each page written after the free is in the page table: as
 * many KiB at least are no longer LazyFree (a contiguous block counts whole).
 */
static inline void check_write_cancels(META *_metadata, const struct region *r)
{
	int64_t smaps[KPV_NR_SMAPS];
	int64_t freed = 0;

	for (size_t i = 0; i < r->pages; i++)
		freed += r->class[i] == PAGE_FREED;
	kpv_read_smaps((uintptr_t)r->base, r->pages * psize, smaps);
	CHECK("write-cancels-lazyfree",
	      smaps[KPV_SMAPS_LAZYFREE] != KPV_NULL &&
	      smaps[KPV_SMAPS_LAZYFREE] <= freed * (int64_t)psize / 1024,
	      "%lld KiB freed and not written since, smaps LazyFree %lld",
	      (long long)freed * (long long)psize / 1024, (long long)smaps[KPV_SMAPS_LAZYFREE]);
}

/* Read every byte of the region and check each class of pages that it has. */
static inline void check_data(META *_metadata, const struct region *r)
{
	static const char * const names[] = {
		[PAGE_KEPT] = "outside-range-untouched",
		[PAGE_FREED] = "old-or-zero",
		[PAGE_WRITTEN] = "no-lost-write",
		[PAGE_GONE] = "swap-entries-freed",
		[PAGE_HOLE] = "hole-reads-zero",
	};
	size_t nr[KPV_COUNT(names)] = {}, wrong[KPV_COUNT(names)] = {};
	size_t bad[KPV_COUNT(names)] = {};

	for (size_t i = 0; i < r->pages; i++) {
		nr[r->class[i]]++;
		if (!page_right(r, i)) {
			if (!wrong[r->class[i]]++)
				bad[r->class[i]] = i;
		}
	}
	for (size_t c = 0; c < KPV_COUNT(names); c++) {
		if (nr[c])
			CHECK(names[c], !wrong[c], "data: %zu of %zu pages wrong, first is page %zu",
			      wrong[c], nr[c], bad[c]);
	}
}

/*
 * The region is gone: so are its large folios, in every counter that is exact.
 * A folio that was on its way to a disk when its last entry went stays in the
 * swap cache until reclaim meets it.
 */
static inline void check_accounting(META *_metadata, const FIX *self, struct region *r)
{
	int64_t mthp[KPV_NR_MTHP];
	int anon = KPV_MTHP_NR_ANON, partial = KPV_MTHP_NR_ANON_PARTIALLY_MAPPED;

	munmap(r->base, r->pages * psize);
	kpv_drain();
	kpv_read_mthp(mthp);
	for (int try = 0; try < 100 && mthp[anon] > self->anon_before &&
	     meminfo_kib("SwapCached:") > 0; try++) {
		if (try)
			usleep(1000);
		reclaim_write(self, r->pages * psize, "");
		kpv_read_mthp(mthp);
	}
	if (mthp[anon] == KPV_NULL || self->anon_before == KPV_NULL)
		return;
	CHECK("accounting",
	      mthp[anon] == self->anon_before && mthp[partial] == self->partial_before,
	      "nr_anon %lld -> %lld, nr_anon_partially_mapped %lld -> %lld",
	      (long long)self->anon_before, (long long)mthp[anon],
	      (long long)self->partial_before, (long long)mthp[partial]);
}

/* Last lines of each test. */
static inline void region_finish(META *_metadata, const FIX *self, struct region *r)
{
	check_data(_metadata, r);
	region_show(r, "end");
	check_accounting(_metadata, self, r);
}

/* ---- fixture ---- */

static inline void setup_unmet(FIX *self, const char *why)
{
	if (!self->why[0])
		snprintf(self->why, sizeof(self->why), "%s", why);
}

static inline bool setup_pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return !sched_setaffinity(0, sizeof(set), &set);
}

/*
 * Whether nobody is in the cgroup that the guest's init made for us, and what
 * earlier tests left there (page tables, batches of CPUs) is little.
 */
static inline bool setup_cgroup_usable(const char *cgroup)
{
	char path[128], text[64];

	snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup);
	if (!file_read(path, text, sizeof(text)) || text[0])
		return false;
	snprintf(path, sizeof(path), "%s/memory.current", cgroup);
	return file_read(path, text, sizeof(text)) && kpv_number(text) <= CGROUP_LEFT;
}

static inline bool setup_cgroup_join(FIX *self, const char *cgroup)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/memory.reclaim", cgroup);
	self->reclaim_fd = open(path, O_WRONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup);
	snprintf(self->cgroup_joined, sizeof(self->cgroup_joined), "%s", cgroup);
	return self->reclaim_fd >= 0 && file_write(path, "0");
}

/*
 * A memory cgroup of our own: memory.reclaim then reaches our pages and no
 * others. One that the guest made beforehand is used, and left where it is.
 */
static inline bool setup_cgroup(FIX *self)
{
	if (setup_cgroup_usable(CGROUP_READY) && setup_cgroup_join(self, CGROUP_READY))
		return true;
	file_write(CGROUP_ROOT "/cgroup.subtree_control", "+memory");
	snprintf(self->cgroup, sizeof(self->cgroup), CGROUP_ROOT "/kpv-lazyfree-%d", getpid());
	if (mkdir(self->cgroup, 0755)) {
		self->cgroup[0] = '\0';
		return false;
	}
	return setup_cgroup_join(self, self->cgroup);
}

/* Unmet preconditions are told here, and skip the test in REGION(). */
FIXTURE_SETUP(lazyfree)
{
	bool lru_gen = false;
	struct kpv_swaps swaps;
	int64_t swap_kib;

	kpv_test_begin(_metadata, variant);
	memset(self, 0, sizeof(*self));
	kpv_out = &self->out;
	psize = sysconf(_SC_PAGESIZE);
	self->nr = variant->bytes / psize;
	while ((1UL << self->order) < self->nr)
		self->order++;
	kpv_param("page_size", psize);
	kpv_param("order", self->order);
	kpv_param("pages_per_folio", self->nr);

	if (!kpv_need("whole_pages", self->nr && (psize << self->order) == variant->bytes,
		      psize, variant->bytes)) {
		setup_unmet(self, "the page size is larger than this folio size");
		return;
	}
	if (!kpv_need("cpu_pinned", setup_pin(0), 0, sched_getcpu()))
		setup_unmet(self, "cannot run on CPU 0 alone");
	if (variant->lru_gen)
		lru_gen = lru_gen_select(self);
	if (variant->lru_gen && !kpv_need("lru_gen", lru_gen, 1, lru_gen))
		setup_unmet(self, "no multi-generation LRU that can be turned on");
	if (!kpv_need("thp_size", thp_select(self, self->order), self->order, self->order))
		setup_unmet(self, "no such folio size, or no right to enable it");
	kpv_open(self->order, REGION_FOLIOS * self->nr);
	if (!kpv_need("page_flags_readable", kpv.pagemap >= 0 && kpv.kpageflags >= 0, 1,
		      kpv.pagemap >= 0 && kpv.kpageflags >= 0))
		setup_unmet(self, "/proc/kpageflags or pagemap cannot be read");
	swaps = kpv_swap_select(variant->swap);
	if (!kpv_need("swap_device", kpv_swap_ok(swaps.kinds, variant->swap), variant->swap,
		      swaps.kinds))
		setup_unmet(self, "not the swap device that is wanted");
	swap_kib = swaps.size_kib - swaps.used_kib;
	if (!kpv_need("swap_kib", swap_kib >= 65536, 65536, swap_kib))
		setup_unmet(self, "less than 64 MiB of swap free");

	/* Touch what a snapshot touches before this process counts in the cgroup. */
	memset(&rg, 0, sizeof(rg));
	kpv_step_rehearse(&step, kpv.drain, psize);
	self->anon_before = step.before.mthp[KPV_MTHP_NR_ANON];
	self->partial_before = step.before.mthp[KPV_MTHP_NR_ANON_PARTIALLY_MAPPED];
	if (!kpv_need("cgroup_reclaim", setup_cgroup(self), 1, self->reclaim_fd > 0))
		setup_unmet(self, "no cgroup v2 with memory.reclaim");
}

static inline void cgroup_remove(const char *cgroup)
{
	/* A killed child may still be on its way out. */
	for (int try = 0; cgroup[0] && rmdir(cgroup) && errno == EBUSY && try < 200; try++)
		usleep(1000);
}

/* Runs in the harness, after the test process ended in whatever way. */
FIXTURE_TEARDOWN_PARENT(lazyfree)
{
	/* The test process set these for itself. */
	psize = sysconf(_SC_PAGESIZE);
	kpv_out = &self->out;
	kpv_flush();
	thp_restore(self);
	lru_gen_restore(self);
	cgroup_remove(self->cgroup_more);
	cgroup_remove(self->cgroup);
	kpv_test_end(_metadata, variant);
}

#endif /* LAZYFREE_H */
