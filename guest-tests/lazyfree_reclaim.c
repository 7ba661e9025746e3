// SPDX-License-Identifier: GPL-2.0
/*
 * What reclaim does to freed folios: discards what was not written since and
 * swaps none of it, keeps what was, under either LRU, on demand and under
 * pressure, and counts it where the memory is charged.
 *
 * Checks are what every correct kernel keeps, see lazyfree.h. In the comments,
 * [a, b) are fractions of a folio, Fn the n-th folio.
 */
#define _GNU_SOURCE
#include "../kselftest_harness.h"
#include "lazyfree_child.h"

#ifndef MADV_COLD
#define MADV_COLD 20
#endif

#define CGROUP_EVENTS_PENDING	128	/* on each CPU: see memcg_event() */

/* Swapping to a disk, and reclaim by the multi-generation LRU. */
FIXTURE_VARIANT_ADD(lazyfree, 64k_disk) { .bytes = 65536, .swap = KPV_SWAP_DISK };
FIXTURE_VARIANT_ADD(lazyfree, 4k_gen) { .bytes = 4096, .lru_gen = true };
FIXTURE_VARIANT_ADD(lazyfree, 32k_gen) { .bytes = 32768, .lru_gen = true };
FIXTURE_VARIANT_ADD(lazyfree, 64k_gen) { .bytes = 65536, .lru_gen = true };
FIXTURE_VARIANT_ADD(lazyfree, 128k_gen) { .bytes = 131072, .lru_gen = true };

/* Four folios, but one where a folio is large: filling them is what a test costs. */
#define FOLIOS() (self->nr > 64 ? 1 : 4)

/*
 * The last step wrote nothing of the freed pages to swap, and it left no swap
 * entry among them. It may have written the other pages, folio by folio.
 */
static void check_not_swapped(META *_metadata, const struct region *r, const char *when)
{
	int64_t out = step_event("pswpout") + step_event("swpout_zero");
	const char *states = region_states(r);
	size_t swapped = 0, others = 0;

	for (size_t i = 0; i < r->pages; i++) {
		if (r->class[i] != PAGE_FREED)
			others++;
		else
			swapped += states[i] == 's';
	}
	CHECK("never-swapped", !swapped && out <= (int64_t)others,
	      "%s: %zu freed pages have swap entries, %lld pages were swapped, %zu may be: %.128s",
	      when, swapped, (long long)out, others, states);
}

/*
 * Reclaim takes all freed pages away and swaps none of them. No page of the
 * region may have been written since, unless it is of a folio that was written
 * as a whole.
 */
static void check_discarded(META *_metadata, const FIX *self, struct region *r, const char *name)
{
	size_t freed = 0, kept = 0;
	int64_t discarded;
	const char *states;

	region_reclaim(self, r, name);
	discarded = step_event("pglazyfreed");
	states = region_states(r);
	for (size_t i = 0; i < r->pages; i++) {
		if (r->class[i] != PAGE_FREED)
			continue;
		freed++;
		kept += states[i] != '.';
	}
	CHECK("discarded", !kept && discarded >= (int64_t)freed,
	      "%s: %zu of %zu freed pages are still there, pglazyfreed %lld: %.128s", name, kept,
	      freed, (long long)discarded, states);
	/* Every page that was discarded was reclaimed, and is counted as such. */
	CHECK("discarded",
	      step_event("pgsteal_anon") + step_event("pgsteal_file") >= discarded,
	      "%s: pglazyfreed %lld, pgsteal_anon %lld, pgsteal_file %lld", name,
	      (long long)discarded, (long long)step_event("pgsteal_anon"),
	      (long long)step_event("pgsteal_file"));
	check_not_swapped(_metadata, r, name);
}

/*
 * Freed, reclaimed: gone, and nothing was written to swap. Kills: a dirty bit
 * or PG_dirty left behind, or a folio that stays on the anonymous LRU, which
 * is then swapped out instead of discarded.
 */
TEST_F(lazyfree, discard_whole)
{
	REGION(FOLIOS());
	region_free(_metadata, &rg, 0, rg.pages, "free");
	check_exactly_lazyfree(_metadata, &rg);
	check_clean(_metadata, &rg, "after free");
	check_discarded(_metadata, self, &rg, "reclaim");
	region_finish(_metadata, self, &rg);
}

/*
 * Freed by halves, each by a call of its own, and reclaimed: as if by one.
 * Kills: the second half of a split folio left out, or swapped.
 */
TEST_F(lazyfree, discard_by_halves)
{
	size_t half = self->nr / 2;

	NEED_PARTS();
	REGION(FOLIOS());
	for (size_t i = half; i < rg.pages; i += self->nr)
		region_free(_metadata, &rg, i, half, "free-half");
	region_free(_metadata, &rg, 0, rg.pages, "free");
	check_exactly_lazyfree(_metadata, &rg);
	check_clean(_metadata, &rg, "after free");
	check_discarded(_metadata, self, &rg, "reclaim");
	region_finish(_metadata, self, &rg);
}

/* Another pattern of written pages in each folio; the last of several has none. */
static bool rewritten(const FIX *self, size_t page)
{
	size_t at = page % self->nr;

	switch (page / self->nr) {
	case 0:
		return at == 0;
	case 1:
		return at == self->nr / 2;
	case 2:
		return at % 2 || self->nr == 1;
	default:
		return false;
	}
}

/* Written pages count as swap-backed once reclaim has met them. */
static bool check_swapbacked_again(META *_metadata, const struct region *r)
{
	const char *states = region_states(r);
	size_t wrong = 0, bad = 0;

	for (size_t i = 0; i < r->pages; i++) {
		if (r->class[i] == PAGE_WRITTEN && !strchr("aAs", states[i])) {
			wrong++;
			bad = i;
		}
	}
	CHECK("swapbacked-again", !wrong, "%zu written pages are not, last is page %zu: %.128s",
	      wrong, bad, states);
	return !wrong;
}

/*
 * Some pages written after the free: they are dirty at once, swap-backed again
 * once reclaim met them, and keep their data through being swapped out and in;
 * what was not written is old or gone. Kills: a write that reclaim does not
 * see, a folio that is remapped but stays lazyfree, pages of a folio discarded
 * on behalf of their neighbours.
 */
TEST_F(lazyfree, rewritten_in_part)
{
	size_t written = 0;

	REGION(FOLIOS());
	region_free(_metadata, &rg, 0, rg.pages, "free");
	kpv_step_begin(&step, "write", rg.base, rg.pages * psize);
	for (size_t i = 0; i < rg.pages; i++)
		if (rewritten(self, i)) {
			page_write(&rg, i, 2);
			written++;
		}
	kpv_step_end(&step, 0, 0);
	kpv_param("written_pages", written);
	check_write_cancels(_metadata, &rg);
	region_reclaim(self, &rg, "reclaim-first");
	if (!check_swapbacked_again(_metadata, &rg))
		return;
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/*
 * All pages written after the free, then half of each folio freed again. Kills:
 * a dirty bit or a mark of the first round that outlives the second.
 */
TEST_F(lazyfree, rewritten_then_freed_in_part)
{
	size_t half = self->nr / 2;

	NEED_PARTS();
	REGION(2);
	region_free(_metadata, &rg, 0, rg.pages, "free-first");
	for (size_t i = 0; i < rg.pages; i++) {
		page_write(&rg, i, 2);
		rg.class[i] = PAGE_KEPT;
	}
	region_reclaim(self, &rg, "reclaim-first");
	for (size_t i = 0; i < rg.pages; i++)
		page_touch_read(&rg, i);
	region_free(_metadata, &rg, half, self->nr, "free");
	check_exactly_lazyfree(_metadata, &rg);
	check_discarded(_metadata, self, &rg, "reclaim");
	region_page_out(self, &rg);
	region_finish(_metadata, self, &rg);
}

/*
 * Freed, then shared by a fork, written by nobody: both may lose it, and read
 * old data or zeroes. Kills: the discard of one process' entry leaving the
 * other's behind, wrong counts of the folio's maps.
 */
TEST_F(lazyfree, forked_after_free)
{
	struct child_reply reply;

	REGION(4);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	CHILD_START();
	RECLAIM();
	child_show("after-page-out");
	reply = child_ask(CHILD_VERIFY_CLASS, 0, rg.pages, 0);
	CHECK("old-or-zero", !reply.wrong, "child: %zd of %zu pages wrong, first is page %zu",
	      (ssize_t)reply.wrong, rg.pages, reply.bad);
	shared_finish(_metadata, self);
}

/*
 * Shared by a fork, freed, reclaimed: the other process keeps its data, as in
 * shared_full_cover of lazyfree_shared.c; here for both LRUs. A part of the
 * last folio is the parent's own.
 */
TEST_F(lazyfree, forked_before_free)
{
	REGION(4);
	CHILD_START();
	page_write(&rg, rg.pages - 1, 2);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	page_write(&rg, self->nr, 3);
	RECLAIM();
	check_sharer(_metadata, 0, rg.pages, "after reclaim");
	shared_finish(_metadata, self);
}

/*
 * MADV_PAGEOUT of freed folios, the first two as they are, the others written:
 * what was not written does not go to swap. Kills: MADV_PAGEOUT taking a
 * lazyfree folio for an anonymous one.
 */
TEST_F(lazyfree, pageout_after_free)
{
	long ret;

	REGION(4);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	for (size_t i = 2 * self->nr; i < rg.pages; i++)
		page_write(&rg, i, 2);
	kpv_step_begin(&step, "pageout-freed", rg.base, rg.pages * psize);
	ret = madvise(rg.base, rg.pages * psize, MADV_PAGEOUT);
	kpv_step_end(&step, ret, errno);
	region_show(&rg, "after-pageout-freed");
	CHECK("return-value", ret == 0, "pageout-freed: madvise = %ld, errno %d", ret,
	      ret ? errno : 0);
	check_not_swapped(_metadata, &rg, "pageout-freed");
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/*
 * MADV_COLD before or after: freed folios are discarded all the same. Kills: a
 * deactivation that moves a lazyfree folio to the anonymous LRU.
 */
static void with_cold(META *_metadata, FIX *self, bool before)
{
	long ret = 0;

	if (before)
		ret = madvise(rg.base, rg.pages * psize, MADV_COLD);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	check_exactly_lazyfree(_metadata, &rg);
	check_clean(_metadata, &rg, "after free");
	if (!before)
		ret = madvise(rg.base, rg.pages * psize, MADV_COLD);
	ASSERT_EQ(0, ret);
	check_discarded(_metadata, self, &rg, "reclaim");
	region_finish(_metadata, self, &rg);
}

TEST_F(lazyfree, cold_before_free)
{
	REGION(4);
	with_cold(_metadata, self, true);
}

TEST_F(lazyfree, cold_after_free)
{
	REGION(4);
	with_cold(_metadata, self, false);
}

/* ---- memory cgroups ---- */

/* A second cgroup, empty; the harness removes it. */
static bool cgroup_make(FIX *self)
{
	file_write(CGROUP_ROOT "/cgroup.subtree_control", "+memory");
	snprintf(self->cgroup_more, sizeof(self->cgroup_more), CGROUP_ROOT "/kpv-lazyfree-more-%d",
		 getpid());
	if (mkdir(self->cgroup_more, 0755)) {
		self->cgroup_more[0] = '\0';
		return false;
	}
	return true;
}

static bool cgroup_write(const char *cgroup, const char *file, const char *text)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/%s", cgroup, file);
	return file_write(path, text);
}

/* The number after a key at the start of a line, or the whole file's; KPV_NULL if there is none. */
static int64_t cgroup_read(const char *cgroup, const char *file, const char *key)
{
	size_t len = strlen(key);
	char path[160];
	char *s;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", cgroup, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	kpv_slurp(fd);
	if (fd < 0)
		return KPV_NULL;
	close(fd);
	for (s = kpv.text; s && *s; s = kpv_next_line(s))
		if (!strncmp(s, key, len) && (!len || s[len] == ' '))
			return kpv_number(s + len);
	return KPV_NULL;
}

/*
 * An event of memory.stat; where it is not what is wanted, read once more. Each
 * CPU adds up some before it hands them on (64 times the CPUs,
 * MEMCG_CHARGE_BATCH): memory that comes and goes in the cgroup makes it, and on
 * some kernels reading cpu.stat does. Leaves this process in the cgroup.
 */
static int64_t memcg_event(const char *cgroup, const char *name, int64_t wanted)
{
	size_t pages = CGROUP_EVENTS_PENDING * sysconf(_SC_NPROCESSORS_ONLN);
	int64_t got;
	char *churn;

	cgroup_read(cgroup, "cpu.stat", "");
	got = cgroup_read(cgroup, "memory.stat", name);
	if (got == wanted)
		return got;
	cgroup_write(cgroup, "cgroup.procs", "0");
	churn = mmap(NULL, pages * psize, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (churn != MAP_FAILED)
		munmap(churn, pages * psize);
	return cgroup_read(cgroup, "memory.stat", name);
}

/*
 * The events belong to the cgroup that the folio is charged to, not to that of
 * the task that frees it: fill in one, move, free in the other. Kills: events
 * counted for the wrong cgroup, or not at all, or per folio instead of per page.
 */
TEST_F(lazyfree, counted_where_charged)
{
	int64_t marked, discarded, before[2], other;
	size_t lazy;

	NEED("cgroup_more", cgroup_make(self), 1, 0);
	REGION(4);
	before[0] = memcg_event(self->cgroup_joined, "pglazyfree", KPV_NULL);
	before[1] = memcg_event(self->cgroup_joined, "pglazyfreed", KPV_NULL);
	NEED("memory_stat", before[0] != KPV_NULL && before[1] != KPV_NULL, 0, before[0]);
	NEED("moved", cgroup_write(self->cgroup_more, "cgroup.procs", "0"), 1, 0);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	check_exactly_lazyfree(_metadata, &rg);
	lazy = count_states(region_states(&rg), "lL");
	kpv_drain();
	marked = memcg_event(self->cgroup_joined, "pglazyfree", before[0] + lazy) - before[0];
	region_reclaim(self, &rg, "reclaim");
	lazy -= count_states(region_states(&rg), "lL");
	discarded = memcg_event(self->cgroup_joined, "pglazyfreed", before[1] + lazy) - before[1];
	other = memcg_event(self->cgroup_more, "pglazyfree", KPV_NULL) +
		memcg_event(self->cgroup_more, "pglazyfreed", KPV_NULL);
	kpv_param("memcg_pglazyfree", marked);
	kpv_param("memcg_pglazyfreed", discarded);
	CHECK("counted-where-charged", marked == (int64_t)rg.pages && discarded == (int64_t)lazy &&
	      other == 0,
	      "%zu pages freed, pglazyfree %lld; %zu gone, pglazyfreed %lld; the task's: %lld",
	      rg.pages, (long long)marked, lazy, (long long)discarded, (long long)other);
	region_finish(_metadata, self, &rg);
}

/*
 * Reclaimed by way of the root cgroup, which is above the one that is charged: the
 * event is the latter's all the same. Kills: events counted for the target of a
 * reclaim.
 */
TEST_F(lazyfree, counted_below_target)
{
	int64_t discarded, before;
	size_t lazy, left;
	int root;

	REGION(4);
	root = open(CGROUP_ROOT "/memory.reclaim", O_WRONLY | O_CLOEXEC);
	NEED("cgroup_reclaim_root", root >= 0, 1, 0);
	before = memcg_event(self->cgroup_joined, "pglazyfreed", KPV_NULL);
	NEED("memory_stat", before != KPV_NULL, 0, before);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	lazy = count_states(region_states(&rg), "lL");
	close(self->reclaim_fd);
	self->reclaim_fd = root;
	left = region_reclaim(self, &rg, "reclaim");
	lazy -= left;
	NEED("discarded_pages", lazy, 1, lazy);
	discarded = memcg_event(self->cgroup_joined, "pglazyfreed", before + lazy) - before;
	CHECK("counted-where-charged", discarded == (int64_t)lazy,
	      "%zu pages gone, pglazyfreed of their cgroup %lld", lazy, (long long)discarded);
	region_finish(_metadata, self, &rg);
}

#define LIMIT_BYTES	(4UL << 20)

/* Bits of the exit status of limited_child(). */
enum {
	LIMITED_SETUP = 1,
	LIMITED_FREED_WRONG = 2,
	LIMITED_WRITTEN_WRONG = 4,
};

/* A word of each page that depends on its place, and is not zero. */
static void words_fill(char *at, size_t len, uint64_t gen)
{
	for (size_t i = 0; i < len; i += psize)
		*(volatile uint64_t *)(at + i) = pattern(i / psize, gen) | 1;
}

static size_t words_wrong(const char *at, size_t len, uint64_t gen, bool may_be_zero)
{
	size_t wrong = 0;

	for (size_t i = 0; i < len; i += psize) {
		uint64_t word = *(const volatile uint64_t *)(at + i);

		wrong += word != (pattern(i / psize, gen) | 1) && !(may_be_zero && !word);
	}
	return wrong;
}

static char *map_folios(size_t len)
{
	char *at = region_reserve(len, 0);

	if (at)
		words_fill(at, len, 1);
	return at;
}

/* Fill most of the limit, free it, and then need as much again. */
static void limited_child(const char *cgroup, pid_t parent)
{
	size_t len = LIMIT_BYTES * 3 / 4;
	char *freed, *more;
	int status = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent || !cgroup_write(cgroup, "cgroup.procs", "0"))
		_exit(LIMITED_SETUP);
	freed = map_folios(len);
	if (!freed || madvise(freed, len, MADV_FREE))
		_exit(LIMITED_SETUP);
	more = map_folios(len);
	if (!more)
		_exit(LIMITED_SETUP);
	if (words_wrong(freed, len, 1, true))
		status |= LIMITED_FREED_WRONG;
	if (words_wrong(more, len, 1, false))
		status |= LIMITED_WRITTEN_WRONG;
	_exit(status);
}

/*
 * A limit without swap, most of it filled with freed pages: they make room for
 * new ones. The region, which is charged elsewhere, has no part in it. Kills:
 * freed folios that reclaim cannot take, which ends in the OOM killer.
 */
TEST_F(lazyfree, limit_without_oom)
{
	pid_t parent = getpid(), pid;
	int64_t killed, lazy, reached;
	char text[32];
	bool limited;
	int status;

	REGION(1);
	snprintf(text, sizeof(text), "%lu", LIMIT_BYTES);
	limited = cgroup_make(self) && cgroup_write(self->cgroup_more, "memory.max", text);
	NEED("cgroup_more", limited, 1, limited);
	NEED("no_swap", cgroup_write(self->cgroup_more, "memory.swap.max", "0"), 1, 0);
	kpv_step_begin(&step, "fill-twice", rg.base, rg.pages * psize);
	pid = fork();
	if (!pid)
		limited_child(self->cgroup_more, parent);
	ASSERT_LT(0, pid);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	kpv_step_end(&step, 0, 0);
	killed = cgroup_read(self->cgroup_more, "memory.events", "oom_kill");
	lazy = step_event("pglazyfreed");
	reached = cgroup_read(self->cgroup_more, "memory.events", "max");
	NEED("child_set_up", !WIFEXITED(status) || !(WEXITSTATUS(status) & LIMITED_SETUP), 0,
	     status);
	NEED("limit_reached", killed > 0 || reached > 0, 1, reached);
	kpv_param("discarded_pages", lazy);
	CHECK("no-oom", WIFEXITED(status) && killed == 0,
	      "oom_kill %lld, the process ended with status 0x%x, pglazyfreed %lld",
	      (long long)killed, status, (long long)lazy);
	if (!WIFEXITED(status))
		return;
	CHECK("old-or-zero", !(WEXITSTATUS(status) & LIMITED_FREED_WRONG),
	      "a freed page reads neither old data nor zero");
	CHECK("no-lost-write", !(WEXITSTATUS(status) & LIMITED_WRITTEN_WRONG),
	      "a page of the second filling lost its data");
	region_finish(_metadata, self, &rg);
}

/*
 * Real pressure: a limit just above what is used, and then three times that
 * room is needed. F0 is freed, F1 freed and written, F2 freed and written in
 * one page, F3 kept; swap is on. Direct reclaim (memory.max) or that on the way
 * back to user space (memory.high) finds them all at once, with the hog's pages
 * around. Kills: what on-demand reclaim hides, which never scans hard.
 */
static void under_pressure(META *_metadata, FIX *self, const char *limit)
{
	size_t len = LIMIT_BYTES, wrong;
	int64_t used, scanned;
	char text[32];
	char *hog;

	NEED("cgroup_more", cgroup_make(self) &&
	     cgroup_write(self->cgroup_more, "cgroup.procs", "0"), 1, 0);
	REGION(4);
	region_free(_metadata, &rg, 0, 3 * self->nr, "free");
	for (size_t i = self->nr; i < 2 * self->nr; i++)
		page_write(&rg, i, 2);
	page_write(&rg, 2 * self->nr + self->nr / 2, 3);
	used = cgroup_read(self->cgroup_more, "memory.current", "");
	snprintf(text, sizeof(text), "%lld", (long long)used + (long long)len / 4);
	NEED("limit", used > 0 && cgroup_write(self->cgroup_more, limit, text), 1, used);
	kpv_step_begin(&step, "pressure", rg.base, rg.pages * psize);
	hog = map_folios(len);
	kpv_step_end(&step, hog ? 0 : -1, errno);
	ASSERT_TRUE(hog);
	region_show(&rg, "after-pressure");
	cgroup_write(self->cgroup_more, limit, "max");
	/* The events of direct reclaim are not counted for a cgroup's limit. */
	scanned = step_event("pgscan_anon") + step_event("pgscan_file");
	NEED("pages_scanned", scanned > 0, 1, scanned);
	wrong = words_wrong(hog, len, 1, false);
	CHECK("no-lost-write", !wrong, "%zu of %zu pages of the one who needed memory wrong", wrong,
	      len / psize);
	munmap(hog, len);
	region_finish(_metadata, self, &rg);
}

TEST_F(lazyfree, pressure_max)
{
	under_pressure(_metadata, self, "memory.max");
}

TEST_F(lazyfree, pressure_high)
{
	under_pressure(_metadata, self, "memory.high");
}

TEST_HARNESS_MAIN
