// SPDX-License-Identifier: GPL-2.0
/*
 * MADV_FREE and mappings: ranges over several VMAs, gaps and arguments, what is
 * refused, permissions, mlock, userfaultfd, other advice, fork, stacks.
 *
 * A call that fails has freed what came before the reason, in 6.12; how far a
 * kernel gets is told by the counters. What it refuses must stay whole, and
 * all the rest is old or zero.
 *
 * In the comments, [a, b) are fractions of a folio, Fn the n-th folio.
 */
#define _GNU_SOURCE
#include "../kselftest_harness.h"
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include "lazyfree_child.h"
#include "lazyfree_fault.h"

#ifndef MADV_COLD
#define MADV_COLD 20
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT 1
#endif
#ifndef __NR_mseal
#define __NR_mseal 462
#endif

/* MADV_FREE of any range, as a step; it must end with this errno, 0 for success. */
static void free_range(META *_metadata, const void *from, size_t bytes, int want, const char *name)
{
	char at[48];
	long ret;
	int err;

	snprintf(at, sizeof(at), "before-%s", name);
	region_show(&rg, at);
	kpv_step_begin(&step, name, rg.base, rg.pages * psize);
	ret = madvise((void *)from, bytes, MADV_FREE);
	err = ret ? errno : 0;
	kpv_step_end(&step, ret, err);
	snprintf(at, sizeof(at), "after-%s", name);
	region_show(&rg, at);
	CHECK("return-value", err == want, "%s: madvise = %ld, errno %d, expected %d", name, ret,
	      err, want);
}

static void protect(META *_metadata, size_t first, size_t nr, int prot)
{
	ASSERT_EQ(0, mprotect(rg.base + first * psize, nr * psize, prot));
}

/* ---- several VMAs, and none ---- */

/* [first, first + nr) is mapped again, empty. */
static void fill_gap(META *_metadata, size_t first, size_t nr)
{
	char *at = rg.base + first * psize;

	ASSERT_EQ(at, mmap(at, nr * psize, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	region_class(&rg, first, nr, PAGE_HOLE);
}

/*
 * F1 [1/2, 1) is not mapped. ENOMEM, and the rest is freed. Kills: stopping at
 * the gap, a batch that counts pages that are not mapped any more.
 */
TEST_F(lazyfree, gap_middle)
{
	size_t nr = self->nr, gap = nr + nr / 2;

	NEED_PARTS();
	REGION(3);
	ASSERT_EQ(0, munmap(rg.base + gap * psize, (2 * nr - gap) * psize));
	region_class(&rg, 0, rg.pages, PAGE_FREED);
	region_class(&rg, gap, 2 * nr - gap, PAGE_HOLE);
	free_range(_metadata, rg.base, rg.pages * psize, ENOMEM, "free");
	check_exactly_lazyfree(_metadata, &rg);
	check_clean(_metadata, &rg, "after free");
	fill_gap(_metadata, gap, 2 * nr - gap);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/* The range begins and ends where nothing is mapped; then there is nothing at all. */
TEST_F(lazyfree, gap_ends)
{
	size_t nr = self->nr;

	REGION(3);
	ASSERT_EQ(0, munmap(rg.base, nr * psize));
	ASSERT_EQ(0, munmap(rg.base + 2 * nr * psize, nr * psize));
	region_class(&rg, 0, rg.pages, PAGE_HOLE);
	region_class(&rg, nr, nr, PAGE_FREED);
	free_range(_metadata, rg.base, rg.pages * psize, ENOMEM, "free");
	check_exactly_lazyfree(_metadata, &rg);
	check_clean(_metadata, &rg, "after free");
	free_range(_metadata, rg.base, nr * psize, ENOMEM, "free-nothing");
	check_exactly_lazyfree(_metadata, &rg);
	fill_gap(_metadata, 0, nr);
	fill_gap(_metadata, 2 * nr, nr);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/*
 * F0 [1/4, 1/2) is read-only: three VMAs in one folio, and F1 in the last of
 * them. Kills: taking the call's range for the VMA's, which frees what another
 * walk has to.
 */
TEST_F(lazyfree, vmas_in_folio)
{
	size_t part = self->nr / 4;

	NEED_PARTS();
	REGION(2);
	protect(_metadata, part, part, PROT_READ);
	NEED("vmas", region_vmas(&rg) == 3, 3, region_vmas(&rg));
	free_range(_metadata, rg.base, rg.pages * psize, 0, "free");
	region_mark_freed(&rg, 0, rg.pages);
	check_exactly_lazyfree(_metadata, &rg);
	check_clean(_metadata, &rg, "after free");
	check_readonly(_metadata, &rg, part, part);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/* Every second page is read-only: as many VMAs as pages; the last two are outside. */
TEST_F(lazyfree, vma_per_page)
{
	NEED_PARTS();
	REGION(1);
	for (size_t i = 0; i < rg.pages; i += 2)
		protect(_metadata, i, 1, PROT_READ);
	NEED("vmas", region_vmas(&rg) == rg.pages, rg.pages, region_vmas(&rg));
	free_range(_metadata, rg.base, (rg.pages - 2) * psize, 0, "free");
	region_mark_freed(&rg, 0, rg.pages - 2);
	check_exactly_lazyfree(_metadata, &rg);
	check_outside_untouched(_metadata, &rg);
	check_outside_dirty(_metadata, &rg);
	check_clean(_metadata, &rg, "after free");
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/* F0 is read-only, F1 and F2 are not; from the middle of F0 to the middle of F1. */
TEST_F(lazyfree, range_ends_in_vma)
{
	size_t nr = self->nr;

	NEED_PARTS();
	REGION(3);
	protect(_metadata, 0, nr, PROT_READ);
	NEED("vmas", region_vmas(&rg) == 2, 2, region_vmas(&rg));
	free_range(_metadata, rg.base + nr / 2 * psize, nr * psize, 0, "free");
	region_mark_freed(&rg, nr / 2, nr);
	check_exactly_lazyfree(_metadata, &rg);
	check_outside_untouched(_metadata, &rg);
	check_outside_dirty(_metadata, &rg);
	check_clean(_metadata, &rg, "after free");
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/*
 * F0 read-only, F1 write-only, F2 no access, F3 both: all are freed, and keep
 * their permissions. Kills: giving a PTE the permissions of another, leaving
 * out PTEs that are present but not valid.
 */
TEST_F(lazyfree, permissions)
{
	size_t nr = self->nr;
	int wrong = 0;

	REGION(4);
	protect(_metadata, 0, nr, PROT_READ);
	protect(_metadata, nr, nr, PROT_WRITE);
	protect(_metadata, 2 * nr, nr, PROT_NONE);
	NEED("vmas", region_vmas(&rg) == 4, 4, region_vmas(&rg));
	free_range(_metadata, rg.base, rg.pages * psize, 0, "free");
	region_mark_freed(&rg, 0, rg.pages);
	check_exactly_lazyfree(_metadata, &rg);
	check_clean(_metadata, &rg, "after free");
	for (size_t i = 0; i < nr; i++) {
		wrong += access_signal(&rg, i, true) != SIGSEGV;
		wrong += access_signal(&rg, 2 * nr + i, false) != SIGSEGV;
		wrong += access_signal(&rg, 2 * nr + i, true) != SIGSEGV;
	}
	wrong += access_signal(&rg, nr + nr / 2, true) != 0;
	wrong += access_signal(&rg, 3 * nr + nr / 2, true) != 0;
	CHECK("permissions-unchanged", !wrong, "%d accesses went as they should not", wrong);
	page_write(&rg, nr + nr / 2, 2);
	page_write(&rg, 3 * nr + nr / 2, 2);
	RECLAIM();
	protect(_metadata, 0, rg.pages, PROT_READ | PROT_WRITE);
	region_finish(_metadata, self, &rg);
}

/* Freed while nobody may touch it, then written. Kills: a PTE that stays clean and writable. */
TEST_F(lazyfree, no_access_then_written)
{
	size_t nr = self->nr;

	REGION(2);
	protect(_metadata, 0, rg.pages, PROT_NONE);
	free_range(_metadata, rg.base, rg.pages * psize, 0, "free");
	region_mark_freed(&rg, 0, rg.pages);
	check_exactly_lazyfree(_metadata, &rg);
	check_clean(_metadata, &rg, "after free");
	protect(_metadata, 0, rg.pages, PROT_READ | PROT_WRITE);
	page_write(&rg, nr / 2, 2);
	page_write(&rg, 2 * nr - 1, 2);
	check_write_cancels(_metadata, &rg);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/*
 * No length, an address within a page, lengths that wrap: nothing is freed. Then
 * a length that is no multiple of a page: F0 to its end, and not a page more.
 */
TEST_F(lazyfree, arguments)
{
	size_t len = self->nr * psize;

	REGION(2);
	free_range(_metadata, rg.base, 0, 0, "free-empty");
	free_range(_metadata, rg.base + 1, len, EINVAL, "free-unaligned");
	free_range(_metadata, rg.base, SIZE_MAX, EINVAL, "free-rounded-to-none");
	free_range(_metadata, rg.base, SIZE_MAX - 2 * psize, EINVAL, "free-wrapped");
	check_exactly_lazyfree(_metadata, &rg);
	check_outside_untouched(_metadata, &rg);
	free_range(_metadata, rg.base, len - psize + 1, 0, "free");
	region_mark_freed(&rg, 0, self->nr);
	check_exactly_lazyfree(_metadata, &rg);
	check_outside_untouched(_metadata, &rg);
	check_clean(_metadata, &rg, "after free");
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/* ---- mappings that are refused ---- */

/*
 * A second mapping right behind the region, of a kind that MADV_FREE refuses;
 * filled with words that tell their place.
 */
static struct {
	char *base;
	size_t bytes;
	bool filled;
} refused;

#define REFUSED_PAGES 8

static size_t refused_wrong(void)
{
	const uint64_t *words = (const uint64_t *)refused.base;
	size_t wrong = 0;

	for (size_t i = 0; i < refused.bytes / sizeof(*words); i++)
		wrong += words[i] != i + 1;
	return wrong;
}

static bool refused_map(size_t bytes, int flags, int fd, off_t offset, bool fill)
{
	char *want = rg.base + rg.pages * psize;

	refused.bytes = bytes;
	refused.filled = fill;
	refused.base = mmap(want, bytes, PROT_READ | PROT_WRITE, flags | MAP_FIXED_NOREPLACE, fd,
			    offset);
	for (size_t i = 0; refused.base == want && fill && i < bytes / 8; i++)
		((uint64_t *)want)[i] = i + 1;
	return refused.base == want;
}

/*
 * Freed with the region before it, and alone: refused both times. The region is
 * old or zero afterwards, the other mapping whole, by what it reads and by what
 * is on the LRU lists.
 */
static void check_refused(META *_metadata, FIX *self, int want)
{
	char *end = refused.base + refused.bytes;

	kpv_param("freed_pages", rg.pages);
	free_range(_metadata, rg.base, end - rg.base, want, "free");
	region_mark_freed(&rg, 0, rg.pages);
	free_range(_metadata, refused.base, refused.bytes, want, "free-refused");
	check_counted(_metadata, 0, "free-refused");
	RECLAIM();
	if (refused.bytes <= REFUSED_PAGES * psize)
		reclaim_write(self, refused.bytes, "");
	if (refused.filled)
		CHECK("refused-kept", !refused_wrong(), "%zu of %zu words wrong", refused_wrong(),
		      refused.bytes / 8);
	munmap(refused.base, refused.bytes);
	region_finish(_metadata, self, &rg);
}

TEST_F(lazyfree, refused_shared)
{
	REGION(1);
	NEED_DONE("mapped", refused_map(REFUSED_PAGES * psize, MAP_SHARED | MAP_ANONYMOUS, -1, 0, true));
	check_refused(_metadata, self, EINVAL);
}

/* Private pages of a file mapping: anonymous, but not an anonymous mapping. */
TEST_F(lazyfree, refused_file)
{
	int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	REGION(1);
	NEED_DONE("file", fd >= 0 && !ftruncate(fd, REFUSED_PAGES * psize));
	NEED_DONE("mapped", refused_map(REFUSED_PAGES * psize, MAP_PRIVATE, fd, 0, true));
	close(fd);
	check_refused(_metadata, self, EINVAL);
}

/* Physical address of the first page of a device that /dev/mem gives, 0 if there is none. */
static off_t device_page(int fd)
{
	char text[16384], *s = text, *end;

	if (!file_read("/proc/iomem", text, sizeof(text)))
		return 0;
	for (; s && *s; s = kpv_next_line(s)) {
		off_t start = strtoull(s, &end, 16);
		void *map;

		if (*s == ' ' || *end != '-' || !start || start % psize ||
		    !strncmp(end + strcspn(end, ":"), ": System RAM", 12))
			continue;
		map = mmap(NULL, psize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, start);
		if (map == MAP_FAILED)
			continue;
		munmap(map, psize);
		return start;
	}
	return 0;
}

/* Page frames of a device: there is no folio behind the PTE. Never read or written here. */
TEST_F(lazyfree, refused_pfnmap)
{
	int fd = open("/dev/mem", O_RDWR | O_SYNC | O_CLOEXEC);
	off_t page;

	REGION(1);
	NEED_DONE("dev_mem", fd >= 0);
	page = device_page(fd);
	NEED("device_page", page, 1, page);
	NEED_DONE("mapped", refused_map(psize, MAP_SHARED, fd, page, false));
	close(fd);
	check_refused(_metadata, self, EINVAL);
}

TEST_F(lazyfree, refused_hugetlb)
{
	static const char path[] = "/proc/sys/vm/nr_hugepages";
	size_t bytes = meminfo_kib("Hugepagesize:") * 1024;
	char before[32], more[32];
	bool mapped, page;

	REGION(1);
	NEED("huge_page_bytes", bytes && file_read(path, before, sizeof(before)), psize, bytes);
	/* A mapping of huge pages begins where one may: the region must end there. */
	NEED_DONE("moved", region_move(&rg, bytes - rg.pages * psize));
	snprintf(more, sizeof(more), "%lld", (long long)kpv_number(before) + 1);
	file_write("/proc/sys/vm/compact_memory", "1");
	file_write(path, more);
	page = meminfo_kib("HugePages_Free:") > 0;
	mapped = refused_map(bytes, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0, page);
	/* The one in use goes when it is unmapped. */
	file_write(path, before);
	NEED("huge_page", page, 1, page);
	NEED("mapped", mapped, 1, mapped);
	check_refused(_metadata, self, EINVAL);
}

/* Sealed and read-only: to discard its pages would be to change it. */
TEST_F(lazyfree, refused_sealed)
{
	REGION(1);
	NEED_DONE("mapped", refused_map(REFUSED_PAGES * psize, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, true));
	NEED_DONE("protected", !mprotect(refused.base, refused.bytes, PROT_READ));
	NEED_DONE("sealed", !syscall(__NR_mseal, refused.base, refused.bytes, 0));
	check_refused(_metadata, self, EPERM);
}

/* ---- mlock ---- */

/*
 * [first, first + nr) is mlocked; all is freed: refused there. Nothing of it is
 * lost. Once it is munlocked, it is freed like any other. Kills: freeing
 * mlocked pages, alone or with the part of their folio that is not mlocked.
 */
static void mlocked(META *_metadata, FIX *self, size_t first, size_t nr)
{
	size_t end = first + nr;

	ASSERT_EQ(0, mlock(rg.base + first * psize, nr * psize));
	NEED("vmas", region_vmas(&rg) == 3, 3, region_vmas(&rg));
	kpv_param("freed_pages", first);
	free_range(_metadata, rg.base, rg.pages * psize, EINVAL, "free");
	/* What lies behind may have been freed or not. */
	region_mark_freed(&rg, 0, first);
	region_mark_freed(&rg, end, rg.pages - end);
	check_outside_untouched(_metadata, &rg);
	check_outside_dirty(_metadata, &rg);
	RECLAIM();
	check_outside_untouched(_metadata, &rg);
	check_data(_metadata, &rg);

	ASSERT_EQ(0, munlock(rg.base + first * psize, nr * psize));
	region_free(_metadata, &rg, first, nr, "free-munlocked");
	CHECK("exactly-range-lazyfree",
	      count_states(kpv_states_of(kpv.pagemap, rg.base + first * psize, nr), "lL") == nr,
	      "munlocked and freed: %.128s", kpv.states);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

TEST_F(lazyfree, mlocked)
{
	REGION(3);
	mlocked(_metadata, self, self->nr, self->nr);
}

/* F1 [1/2, 1): its other half is in the VMA before. */
TEST_F(lazyfree, mlocked_half)
{
	NEED_PARTS();
	REGION(3);
	mlocked(_metadata, self, self->nr + self->nr / 2, self->nr / 2);
}

static enum page_content noted[MAX_PAGES];

static void content_note(size_t first, size_t nr)
{
	for (size_t i = first; i < first + nr; i++)
		noted[i] = page_content(&rg, i);
}

/* These are in one of the states, and read as when they were noted. */
static void check_content_stays(META *_metadata, size_t first, size_t nr, const char *states,
				const char *after)
{
	size_t gone, changed = 0, bad = 0;

	gone = nr - count_states(kpv_states_of(kpv.pagemap, rg.base + first * psize, nr), states);
	for (size_t i = first; i < first + nr; i++) {
		if (page_content(&rg, i) != noted[i] && !changed++)
			bad = i;
	}
	CHECK("content-stays", !gone && !changed,
	      "%s: of %zu pages %zu are gone, %zu read otherwise, first is page %zu", after, nr,
	      gone, changed, bad);
}

/* Reclaim, hard, until nothing is left of a control that is lazyfree like the rest was. */
static bool reclaim_control(const FIX *self, size_t first, size_t nr)
{
	size_t left = nr;

	kpv_step_begin(&step, "reclaim", rg.base, rg.pages * psize);
	for (int try = 0; try < 8 && left; try++) {
		reclaim_write(self, rg.pages * psize, try % 2 ? "" : " swappiness=0");
		left = count_states(kpv_states_of(kpv.pagemap, rg.base + first * psize, nr),
				    "lLdD");
	}
	kpv_step_end(&step, 0, 0);
	region_show(&rg, "after-reclaim");
	return kpv_need("lazyfree_left", !left, 0, left);
}

/*
 * Freed, then mlocked: F0 at once, F1 on fault, where all is present. What is
 * resident then stays, whatever it reads. F2 is the control. Kills: a reclaim
 * that discards lazyfree pages without a look at the VMA.
 */
TEST_F(lazyfree, mlock_after_free)
{
	size_t nr = self->nr;

	REGION(3);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	page_write(&rg, nr / 2, 2);
	ASSERT_EQ(0, mlock(rg.base, nr * psize));
	ASSERT_EQ(0, mlock2(rg.base + nr * psize, nr * psize, MLOCK_ONFAULT));
	content_note(0, 2 * nr);
	if (!reclaim_control(self, 2 * nr, nr))
		SKIP(return, "lazyfree pages were not reclaimed");
	check_content_stays(_metadata, 0, 2 * nr, "aAlLdD", "mlocked");
	region_finish(_metadata, self, &rg);
}

/*
 * Freed, then F0 [1/2, 1) mlocked: the folio is in two VMAs, and its locked half
 * stays, whatever it reads and whatever becomes of the other. F1 is the control.
 * Kills: a discard that looks at the first page's VMA only, or at the folio's
 * flag, which a part does not set.
 */
TEST_F(lazyfree, mlock_part_after_free)
{
	size_t nr = self->nr, half = nr / 2;

	NEED_PARTS();
	REGION(2);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	ASSERT_EQ(0, mlock2(rg.base + half * psize, half * psize, MLOCK_ONFAULT));
	content_note(half, half);
	if (!reclaim_control(self, nr, nr))
		SKIP(return, "lazyfree pages were not reclaimed");
	check_content_stays(_metadata, half, half, "aAlLdD", "mlocked in part");
	region_finish(_metadata, self, &rg);
}

/* ---- other advice after MADV_FREE ---- */

/*
 * As if each page had been written: what F0 and F1 [0, 1/2) read afterwards,
 * old or zero, they read from then on. F2 is the control. Kills: populating
 * that leaves clean PTEs as they are, so that reclaim discards.
 */
TEST_F(lazyfree, then_populate_write)
{
	size_t nr = self->nr, populated = nr + nr / 2;

	NEED_PARTS();
	REGION(3);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	page_write(&rg, nr / 2, 2);
	NEED_DONE("populated", !madvise(rg.base, populated * psize, MADV_POPULATE_WRITE));
	content_note(0, populated);
	if (!reclaim_control(self, 2 * nr, nr))
		SKIP(return, "lazyfree pages were not reclaimed");
	check_content_stays(_metadata, 0, populated, "aAs", "populated");
	region_finish(_metadata, self, &rg);
}

/*
 * Freed, one page written, the advice for F0 and F1, another page written. No
 * advice may undo a write or bring back lazyfree what was written.
 */
static void then_advice(META *_metadata, FIX *self, int advice)
{
	size_t nr = self->nr;

	region_free(_metadata, &rg, 0, rg.pages, "free");
	page_write(&rg, nr / 2, 2);
	ASSERT_EQ(0, madvise(rg.base, 2 * nr * psize, advice));
	page_write(&rg, nr + nr / 2, 2);
	check_write_cancels(_metadata, &rg);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

TEST_F(lazyfree, then_willneed)
{
	REGION(3);
	then_advice(_metadata, self, MADV_WILLNEED);
}

/* Kills: MADV_COLD that takes the dirty bit with the access flag. */
TEST_F(lazyfree, then_cold)
{
	REGION(3);
	then_advice(_metadata, self, MADV_COLD);
}

/*
 * Paged out: F1 and F2 are discarded, not swapped out, for they are clean; of F0
 * the half with a written page is swapped out and comes back.
 */
TEST_F(lazyfree, then_pageout)
{
	size_t nr = self->nr;

	NEED_PARTS();
	REGION(3);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	page_write(&rg, 1, 2);
	page_write(&rg, nr / 2 + 1, 2);
	kpv_step_begin(&step, "page-out-freed", rg.base, rg.pages * psize);
	madvise(rg.base + nr * psize, 2 * nr * psize, MADV_PAGEOUT);
	kpv_step_end(&step, 0, 0);
	CHECK("never-swapped", !count_states(region_states(&rg), "s") &&
	      (kpv_vmstat_delta(&step, "pswpout") == KPV_NULL ||
	       kpv_vmstat_delta(&step, "pswpout") == 0),
	      "%lld pages swapped out: %.128s", (long long)kpv_vmstat_delta(&step, "pswpout"),
	      region_states(&rg));
	madvise(rg.base + nr / 2 * psize, nr / 2 * psize, MADV_PAGEOUT);
	region_show(&rg, "after-page-out-half");
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/* Dropped from the middle of F0 to the middle of F1, one of the pages written anew. */
TEST_F(lazyfree, then_dontneed)
{
	size_t nr = self->nr;

	NEED_PARTS();
	REGION(3);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	page_write(&rg, nr / 2 - 1, 2);
	page_write(&rg, nr + nr / 2, 2);
	region_hole(&rg, nr / 2, nr);
	page_write(&rg, nr, 3);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/* ---- userfaultfd ---- */

static int uffd_open(uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static bool uffd_register(int fd, uint64_t mode)
{
	struct uffdio_register reg = {
		.range = { (uintptr_t)rg.base, rg.pages * psize },
		.mode = mode,
	};

	return !ioctl(fd, UFFDIO_REGISTER, &reg);
}

static bool uffd_protect(int fd, size_t first, size_t nr, bool on)
{
	struct uffdio_writeprotect wp = {
		.range = { (uintptr_t)rg.base + first * psize, nr * psize },
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return !ioctl(fd, UFFDIO_WRITEPROTECT, &wp);
}

/* Pages whose entry says otherwise than that just [first, first + nr) are protected. */
static size_t uffd_wp_wrong_but(size_t first, size_t nr)
{
	size_t wrong = 0;

	if (!kpv_read_pages(kpv.pagemap, rg.base, rg.pages))
		return SIZE_MAX;
	for (size_t i = 0; i < rg.pages; i++)
		wrong += (kpv.pagemap_buf[i] >> 57 & 1) != (i >= first && i < first + nr);
	return wrong;
}

static size_t uffd_wp_wrong(size_t armed)
{
	return uffd_wp_wrong_but(0, armed);
}

/* The protection is just [first, first + nr)'s, and a write there is told. */
static void check_uffd_wp(META *_metadata, size_t first, size_t nr, const char *when)
{
	size_t wrong = uffd_wp_wrong_but(first, nr);
	int begin = access_signal(&rg, first, true), end = access_signal(&rg, first + nr - 1, true);

	CHECK("uffd-wp-kept", !wrong && begin == SIGBUS && end == SIGBUS,
	      "%s: %zu pages wrong, a write to the first of the protected gives signal %d, to the last %d",
	      when, wrong, begin, end);
}

/* The region is registered, and [first, first + nr) protected. */
#define UFFD_PROTECTED(fd, first, nr) do {				\
	fd = uffd_open(UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_SIGBUS); \
	NEED_DONE("userfaultfd_wp", fd >= 0);					\
	NEED_DONE("registered", uffd_register(fd, UFFDIO_REGISTER_MODE_WP));	\
	NEED_DONE("protected", uffd_protect(fd, first, nr, true));		\
	NEED("armed_pages", !uffd_wp_wrong_but(first, nr), 0, uffd_wp_wrong_but(first, nr)); \
} while (0)

/*
 * F0, F1 and F2 [0, 1/2) are write-protected by userfaultfd; all is freed. Each
 * page keeps that, or its absence, and a write is told (by SIGBUS); what was
 * unprotected in good order can be written, and that survives. Kills: one PTE's
 * bits given to a whole batch, protection lost in a split.
 */
TEST_F(lazyfree, uffd_wp)
{
	size_t nr = self->nr, armed = 2 * nr + nr / 2;
	int fd, first, last, beyond;

	NEED_PARTS();
	REGION(3);
	fd = uffd_open(UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_SIGBUS);
	NEED_DONE("userfaultfd_wp", fd >= 0);
	NEED_DONE("registered", uffd_register(fd, UFFDIO_REGISTER_MODE_WP));
	NEED_DONE("protected", uffd_protect(fd, 0, armed, true));
	NEED("armed_pages", !uffd_wp_wrong(armed), 0, uffd_wp_wrong(armed));
	region_free(_metadata, &rg, 0, rg.pages, "free");
	check_exactly_lazyfree(_metadata, &rg);
	check_clean(_metadata, &rg, "after free");
	first = access_signal(&rg, 0, true);
	last = access_signal(&rg, armed - 1, true);
	beyond = access_signal(&rg, armed, true);
	CHECK("uffd-wp-kept",
	      !uffd_wp_wrong(armed) && first == SIGBUS && last == SIGBUS && !beyond,
	      "%zu pages wrong, a write to the first gives signal %d, to the last %d, beyond %d",
	      uffd_wp_wrong(armed), first, last, beyond);
	ASSERT_TRUE(uffd_protect(fd, 0, nr, false));
	page_write(&rg, nr / 2, 2);
	page_write(&rg, armed, 2);
	check_write_cancels(_metadata, &rg);
	RECLAIM();
	close(fd);
	region_finish(_metadata, self, &rg);
}

/*
 * One page of each contiguous block is protected, so that the block is unfolded;
 * freed; then mprotect makes all entries read-only, and writable again: the block
 * may be folded only if its entries agree. Kills: folding that does not look at
 * the bit, and gives one entry's to all.
 */
static void uffd_wp_one_page(META *_metadata, FIX *self, size_t page)
{
	int fd;

	UFFD_PROTECTED(fd, page, 1);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	ASSERT_EQ(0, mprotect(rg.base, rg.pages * psize, PROT_READ));
	ASSERT_EQ(0, mprotect(rg.base, rg.pages * psize, PROT_READ | PROT_WRITE));
	check_uffd_wp(_metadata, page, 1, "after mprotect and back");
	region_free(_metadata, &rg, 0, rg.pages, "free-again");
	check_uffd_wp(_metadata, page, 1, "after another free");
	for (size_t i = page - 1; i < page + 2; i += 2)
		if (i < rg.pages)
			page_write(&rg, i, 2);
	check_write_cancels(_metadata, &rg);
	RECLAIM();
	close(fd);
	region_finish(_metadata, self, &rg);
}

TEST_F(lazyfree, uffd_wp_inner_page)
{
	NEED_PARTS();
	REGION(2);
	uffd_wp_one_page(_metadata, self, 3);
}

/* The last entry of a block is the one whose writing tries to fold. */
TEST_F(lazyfree, uffd_wp_last_page)
{
	NEED_PARTS();
	REGION(2);
	uffd_wp_one_page(_metadata, self, self->nr - 1);
}

/*
 * F0, mapped by a PMD or by PTEs, is protected whole and freed in part, so it is
 * split: every page of it stays protected, and F1 is not. Kills: protection lost
 * where a PMD is split, or a folio.
 */
TEST_F(lazyfree, uffd_wp_split)
{
	size_t nr = self->nr;
	int fd;

	NEED_PARTS();
	REGION(2);
	UFFD_PROTECTED(fd, 0, nr);
	region_free(_metadata, &rg, nr / 4, nr / 2, "free");
	check_exactly_lazyfree(_metadata, &rg);
	check_uffd_wp(_metadata, 0, nr, "after the split");
	ASSERT_TRUE(uffd_protect(fd, 0, nr, false));
	page_write(&rg, nr / 2, 2);
	RECLAIM();
	close(fd);
	region_finish(_metadata, self, &rg);
}

/*
 * As before, but half of what is kept is zero, which a split may map to the zero
 * page: it is protected as before all the same. Kills: the bit lost with the page.
 */
TEST_F(lazyfree, uffd_wp_split_zero)
{
	size_t nr = self->nr, zero = nr / 2 + nr / 4;
	int fd;

	NEED_PARTS();
	REGION(2);
	memset(rg.base + zero * psize, 0, (nr - zero) * psize);
	region_class(&rg, zero, nr - zero, PAGE_HOLE);
	UFFD_PROTECTED(fd, 0, nr);
	region_free(_metadata, &rg, 0, nr / 2, "free");
	check_uffd_wp(_metadata, 0, nr, "after the split");
	ASSERT_TRUE(uffd_protect(fd, 0, nr, false));
	for (size_t i = zero; i < nr; i++)
		page_write(&rg, i, 2);
	RECLAIM();
	close(fd);
	region_finish(_metadata, self, &rg);
}

static struct {
	int fd, stop[2];
	int events;
	struct uffd_msg msg;
} listener;

/* Takes events until it is told to stop. */
static void *uffd_listen(void *arg KPV_UNUSED)
{
	struct pollfd pfds[] = {
		{ .fd = listener.fd, .events = POLLIN },
		{ .fd = listener.stop[0], .events = POLLIN },
	};
	struct uffd_msg msg;

	while (poll(pfds, 2, 5000) > 0) {
		if (pfds[0].revents && read(listener.fd, &msg, sizeof(msg)) == sizeof(msg) &&
		    !listener.events++)
			listener.msg = msg;
		else if (pfds[1].revents)
			break;
	}
	return NULL;
}

/*
 * Who asked for it hears of the range, once, and the call goes on when it was
 * heard. Kills: a range that is told wrong, a walk that is not taken up again
 * after the lock was dropped.
 */
TEST_F(lazyfree, uffd_remove_event)
{
	size_t first = self->nr / 2, nr = self->nr;
	char *from;
	pthread_t thread;

	NEED_PARTS();
	REGION(2);
	from = rg.base + first * psize;
	listener.fd = uffd_open(UFFD_FEATURE_EVENT_REMOVE);
	NEED_DONE("userfaultfd_events", listener.fd >= 0);
	NEED_DONE("registered", uffd_register(listener.fd, UFFDIO_REGISTER_MODE_MISSING));
	ASSERT_EQ(0, pipe2(listener.stop, O_CLOEXEC));
	ASSERT_EQ(0, pthread_create(&thread, NULL, uffd_listen, NULL));
	region_free(_metadata, &rg, first, nr, "free");
	close(listener.stop[1]);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	CHECK("remove-event",
	      listener.events == 1 && listener.msg.event == UFFD_EVENT_REMOVE &&
	      listener.msg.arg.remove.start == (uintptr_t)from &&
	      listener.msg.arg.remove.end == (uintptr_t)from + nr * psize,
	      "%d events, the first is %#x, %#llx to %#llx, expected %p and %zu bytes",
	      listener.events, listener.msg.event,
	      (unsigned long long)listener.msg.arg.remove.start,
	      (unsigned long long)listener.msg.arg.remove.end, from, nr * psize);
	check_exactly_lazyfree(_metadata, &rg);
	check_outside_untouched(_metadata, &rg);
	check_clean(_metadata, &rg, "after free");
	/* From here on nobody answers. */
	close(listener.fd);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/* ---- fork ---- */

/* The parent's pages read as they were, all of them. */
static void check_parent(META *_metadata, const char *when)
{
	size_t wrong = 0, bad = 0;

	for (size_t i = 0; i < rg.pages; i++) {
		if (rg.class[i] == PAGE_KEPT && page_content(&rg, i) != CONTENT_DATA && !wrong++)
			bad = i;
	}
	CHECK("sharer-data-kept", !wrong, "%s: %zu of %zu pages wrong, first is page %zu", when,
	      wrong, rg.pages, bad);
}

/* The child's pages are right for what it did to them itself. */
static void check_child(META *_metadata, const char *when)
{
	struct child_reply reply = child_ask(CHILD_VERIFY_CLASS, 0, rg.pages, 0);

	CHECK("no-lost-write", !reply.wrong, "%s, child: %zd of %zu pages wrong, first is page %zu",
	      when, (ssize_t)reply.wrong, rg.pages, reply.bad);
}

/*
 * The child frees what it inherited: F0 [1/2, 1) and F1, and writes a page. The
 * parent never asked for anything. Kills: taking the call for one by the owner
 * of the folio, COW that is skipped after a free.
 */
TEST_F(lazyfree, child_frees)
{
	size_t nr = self->nr, first = nr / 2;

	NEED_PARTS();
	REGION(2);
	CHILD_START();
	kpv_step_begin(&step, "free", rg.base, rg.pages * psize);
	CHILD_DO(CHILD_FREE, first, rg.pages - first, 0);
	kpv_step_end(&step, 0, 0);
	child_show("after-free");
	CHILD_DO(CHILD_WRITE, nr + nr / 2, 1, 3);
	RECLAIM();
	child_show("after-page-out");
	check_parent(_metadata, "after reclaim");
	check_child(_metadata, "after reclaim");
	shared_finish(_metadata, self);
}

/* Both free, each writes one page: now there is nobody for whom the rest is kept. */
TEST_F(lazyfree, both_free)
{
	size_t nr = self->nr;

	REGION(2);
	CHILD_START();
	region_free(_metadata, &rg, 0, rg.pages, "free");
	CHILD_DO(CHILD_FREE, 0, rg.pages, 0);
	child_show("after-free");
	page_write(&rg, nr / 2, 2);
	CHILD_DO(CHILD_WRITE, 2 * nr - 1, 1, 3);
	RECLAIM();
	child_show("after-page-out");
	check_child(_metadata, "after reclaim");
	shared_finish(_metadata, self);
}

/*
 * F1 is wiped on fork, F2 not inherited: three VMAs, freed by one call, then
 * forked. The child has F0, old or zero, and zeroes for F1. Kills: a walk that
 * takes VMAs for one another, marks that follow a page into the child.
 */
TEST_F(lazyfree, wiped_on_fork)
{
	size_t nr = self->nr;
	struct child_reply reply;

	REGION(3);
	ASSERT_EQ(0, madvise(rg.base + nr * psize, nr * psize, MADV_WIPEONFORK));
	ASSERT_EQ(0, madvise(rg.base + 2 * nr * psize, nr * psize, MADV_DONTFORK));
	NEED("vmas", region_vmas(&rg) == 3, 3, region_vmas(&rg));
	region_free(_metadata, &rg, 0, rg.pages, "free");
	check_exactly_lazyfree(_metadata, &rg);
	check_clean(_metadata, &rg, "after free");
	region_class(&rg, nr, nr, PAGE_HOLE);
	CHILD_START();
	region_class(&rg, nr, nr, PAGE_FREED);
	page_write(&rg, nr / 2, 2);
	page_write(&rg, nr + nr / 2, 2);
	page_write(&rg, 3 * nr - 1, 2);
	RECLAIM();
	reply = child_ask(CHILD_VERIFY_CLASS, 0, 2 * nr, 0);
	CHECK("sharer-data-kept", !reply.wrong, "%zd of %zu pages wrong, first is page %zu",
	      (ssize_t)reply.wrong, 2 * nr, reply.bad);
	shared_finish(_metadata, self);
}

/* ---- a stack ---- */

/*
 * A mapping that grows downwards. A range that begins below it: ENOMEM, the rest
 * is freed. Then it grows by a write, and is freed with the page it grew by.
 */
TEST_F(lazyfree, stack)
{
	volatile char *below;
	size_t nr = self->nr;

	REGION(2);
	below = rg.base - psize;
	ASSERT_EQ(0, munmap(rg.base, rg.pages * psize));
	ASSERT_EQ(rg.base, mmap(rg.base, rg.pages * psize, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN, -1, 0));
	ASSERT_EQ(0, madvise(rg.base, rg.pages * psize, MADV_HUGEPAGE));
	if (!region_populate(self, &rg))
		SKIP(return, "%s", self->why);
	free_range(_metadata, rg.base - 2 * psize, (rg.pages + 2) * psize, ENOMEM, "free");
	region_mark_freed(&rg, 0, rg.pages);
	check_exactly_lazyfree(_metadata, &rg);
	check_clean(_metadata, &rg, "after free");
	page_write(&rg, nr / 2, 2);
	check_write_cancels(_metadata, &rg);
	*below = 1;
	free_range(_metadata, (char *)below, (rg.pages + 1) * psize, 0, "free-grown");
	region_mark_freed(&rg, 0, rg.pages);
	*below = 2;
	page_write(&rg, 2 * nr - 1, 3);
	RECLAIM();
	CHECK("no-lost-write", *below == 2, "the page that it grew by reads %d", *below);
	munmap((char *)below, psize);
	region_finish(_metadata, self, &rg);
}

TEST_HARNESS_MAIN
