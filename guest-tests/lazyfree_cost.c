// SPDX-License-Identifier: GPL-2.0
/*
 * lazyfree_cost: what MADV_FREE costs, and what is done to a range after it.
 *
 * No test and no selftest: the first and only program of a guest, so that
 * nothing else runs while instructions are counted (pipeline/cost). It reads
 * /jobs, a line a sample,
 *
 *	number operation folio_bytes range_bytes
 *
 * and makes each sample in a process of its own: a range of folios of that size,
 * every page written, then the operation between two marks (kpv_mark.h). Says
 * on the console, for each,
 *
 *	kpv-cost number order		what the folios were, measured
 *	kpv-cost number took ns		the operation, on this guest's clock
 *	kpv-cost number failed: why
 *	kpv-cost number done
 *
 * and powers the machine off.
 */
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "kpv_obs.h"

#ifndef MADV_HUGEPAGE
#define MADV_HUGEPAGE 14
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

#define JOBS		"/jobs"
#define CGROUP		"/sys/fs/cgroup"
#define BASE		0x100000000000UL	/* a multiple of every size of folio */
#define THP		"/sys/kernel/mm/transparent_hugepage"

struct sample {
	unsigned int number;
	char operation[32];
	size_t folio_bytes;
	size_t range_bytes;
};

static const struct sample *sample;
static char *range = (char *)BASE;

static __attribute__((format(printf, 1, 2), noreturn)) void fail(const char *fmt, ...)
{
	char why[200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	dprintf(STDOUT_FILENO, "kpv-cost %u failed: %s\n", sample ? sample->number : 0, why);
	_exit(1);
}

static int file_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), err = 0;

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		err = errno;
	close(fd);
	return err;
}

/* ---- the range ---- */

static void thp_enable(size_t folio_bytes, const char *value)
{
	char path[120];

	snprintf(path, sizeof(path), THP "/hugepages-%zukB/enabled", folio_bytes / 1024);
	if (file_write(path, value))
		fail("cannot write %s to %s: %s", value, path, strerror(errno));
}

/* Folios of one size only, where madvise asks for them. */
static void thp_select(size_t folio_bytes)
{
	int max = kpv_max_order(kpv.page_size), root = kpv_thp_dir();

	for (int order = 1; order <= max; order++) {
		size_t bytes = kpv.page_size << order;
		char name[64];

		/* Some sizes are there for files only. */
		snprintf(name, sizeof(name), "hugepages-%zukB/enabled", bytes / 1024);
		if (!faccessat(root, name, F_OK, 0))
			thp_enable(bytes, bytes == folio_bytes ? "madvise" : "never");
		else if (bytes == folio_bytes)
			fail("this kernel has no anonymous folios of %zu bytes", bytes);
	}
	close(root);
}

static void write_all(uint64_t word)
{
	for (size_t at = 0; at < sample->range_bytes; at += kpv.page_size)
		*(volatile uint64_t *)(range + at) = word + at;
}

static uint64_t read_all(void)
{
	uint64_t sum = 0;

	for (size_t at = 0; at < sample->range_bytes; at += kpv.page_size)
		sum += *(volatile uint64_t *)(range + at);
	return sum;
}

/* Pages per step of a look at the range. */
static size_t look_pages(size_t at)
{
	size_t left = (sample->range_bytes - at) / kpv.page_size;

	return left < KPV_MAX_PAGES ? left : KPV_MAX_PAGES;
}

static void look(int pagemap, size_t at, size_t nr)
{
	if (!kpv_read_pages(pagemap, range + at, nr))
		fail("cannot read /proc/self/pagemap and /proc/kpageflags");
}

/* The order of the folios; fails where they are not all of the size that was asked for. */
static int range_order(int pagemap)
{
	int order = __builtin_ctzl(sample->folio_bytes / kpv.page_size);

	for (size_t at = 0; at < sample->range_bytes; at += look_pages(at) * kpv.page_size) {
		size_t nr = look_pages(at);

		look(pagemap, at, nr);
		for (size_t i = 0; i < nr; i += 1UL << order) {
			int got = kpv_order_at(i, nr);

			if (got != order)
				fail("folios of order %d wanted, found order %d at page %zu", order,
				     got, at / kpv.page_size + i);
		}
	}
	return order;
}

static size_t pages_left(int pagemap)
{
	size_t left = 0;

	for (size_t at = 0; at < sample->range_bytes; at += look_pages(at) * kpv.page_size) {
		size_t nr = look_pages(at);

		look(pagemap, at, nr);
		for (size_t i = 0; i < nr; i++)
			left += !!(kpv.pagemap_buf[i] & KPV_PM_PRESENT);
	}
	return left;
}

/* ---- operations ---- */

static uint64_t began;

/* Of the machine that counts instructions by its clock this is their number. */
static uint64_t nanoseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

static inline __attribute__((always_inline)) void mark(enum kpv_mark_op op)
{
	kpv_mark(op, 0, BASE, sample->range_bytes, 0);
}

static void tell_clock(void)
{
	dprintf(STDOUT_FILENO, "kpv-cost %u took %llu\n", sample->number,
		(unsigned long long)(nanoseconds() - began));
}

static void begin(void)
{
	began = nanoseconds();
	mark(KPV_MARK_STEP_BEGIN);
}

static void end(void)
{
	mark(KPV_MARK_STEP_END);
	tell_clock();
}

static void free_range(void)
{
	if (madvise(range, sample->range_bytes, MADV_FREE))
		fail("madvise(MADV_FREE): %s", strerror(errno));
}

static void do_free(void)
{
	int ret, err;

	begin();
	ret = madvise(range, sample->range_bytes, MADV_FREE);
	err = errno;
	end();
	if (ret)
		fail("madvise(MADV_FREE): %s", strerror(err));
}

static void do_free_again(void)
{
	free_range();
	write_all(2);
	do_free();
}

static void do_write(void)
{
	free_range();
	begin();
	write_all(3);
	end();
}

static void do_read(void)
{
	free_range();
	begin();
	read_all();
	end();
}

static void do_reclaim(void)
{
	int fd = open(CGROUP "/kpv/memory.reclaim", O_WRONLY | O_CLOEXEC), pagemap, err = 0;
	char bytes[24];
	int len = snprintf(bytes, sizeof(bytes), "%zu", sample->range_bytes);
	size_t left;

	if (fd < 0)
		fail("memory.reclaim: %s", strerror(errno));
	free_range();
	begin();
	if (write(fd, bytes, len) != len)
		err = errno;
	end();
	pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	left = pages_left(pagemap);
	if (left)
		fail("reclaim left %zu pages of the range: %s", left, strerror(err));
}

/*
 * fork(), and the mark of its end before anything is written to the stack, which
 * is a fault then: that is the next operation's.
 */
static inline __attribute__((always_inline)) long raw_fork(void)
{
#if defined(__aarch64__)
	register long x0 __asm__("x0") = SIGCHLD;	/* flags of clone() */
	register long x1 __asm__("x1") = 0;
	register long x2 __asm__("x2") = 0;
	register long x3 __asm__("x3") = 0;
	register long x4 __asm__("x4") = 0;
	register long x8 __asm__("x8") = SYS_clone;

	__asm__ volatile("svc #0" : "+r" (x0) : "r" (x1), "r" (x2), "r" (x3), "r" (x4), "r" (x8)
			 : "memory");
	return x0;
#else
	long pid = fork();

	return pid < 0 ? -errno : pid;
#endif
}

/* The child shows its page tables and waits until the parent has been measured. */
static void do_fork(void)
{
	int to_child[2];
	long child;
	char c;

	if (pipe(to_child))
		fail("pipe: %s", strerror(errno));
	begin();
	child = raw_fork();
	if (!child) {
		kpv_mark(KPV_MARK_CHECKPOINT, 0, BASE, sample->range_bytes, KPV_MARK_CHILD);
		close(to_child[1]);
		_exit(read(to_child[0], &c, 1) != 0);
	}
	mark(KPV_MARK_STEP_END);
	tell_clock();
	if (child < 0)
		fail("fork: %s", strerror(-child));
	/* Let it come to its mark. */
	sched_yield();
	close(to_child[1]);
	if (waitpid(child, NULL, 0) != child)
		fail("waitpid: %s", strerror(errno));
}

/* The end is marked by who waits for this process. */
static void do_exit(void)
{
	begin();
	_exit(0);
}

static void do_free_fork(void)
{
	free_range();
	do_fork();
}

static void do_free_exit(void)
{
	free_range();
	do_exit();
}

static const struct {
	const char *name;
	void (*run)(void);
} operations[] = {
	{ "free", do_free },
	{ "free-again", do_free_again },
	{ "write-after-free", do_write },
	{ "read-after-free", do_read },
	{ "reclaim", do_reclaim },
	{ "fork", do_free_fork },
	{ "exit", do_free_exit },
	{ "dirty-fork", do_fork },
	{ "dirty-exit", do_exit },
};

static void measure(void)
{
	size_t pmd = kpv.page_size << kpv_max_order(kpv.page_size);
	void (*run)(void) = NULL;
	int pagemap;

	for (size_t i = 0; i < KPV_COUNT(operations); i++)
		if (!strcmp(operations[i].name, sample->operation))
			run = operations[i].run;
	if (!run)
		fail("no operation %s", sample->operation);
	if (sample->range_bytes % sample->folio_bytes || sample->folio_bytes % kpv.page_size)
		fail("a range of %zu bytes has no whole folios of %zu", sample->range_bytes,
		     sample->folio_bytes);
	if (file_write(CGROUP "/kpv/cgroup.procs", "0"))
		fail("cannot join the cgroup: %s", strerror(errno));
	thp_select(sample->folio_bytes);
	if (mmap(range, sample->range_bytes, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0) != range)
		fail("mmap: %s", strerror(errno));
	if (sample->folio_bytes > kpv.page_size && madvise(range, sample->range_bytes, MADV_HUGEPAGE))
		fail("madvise(MADV_HUGEPAGE): %s", strerror(errno));
	kpv_mark(KPV_MARK_TEST_BEGIN, sample->number, 0, 0, 0);
	write_all(1);
	/* While this size is enabled khugepaged collapses small pages of any process. */
	if (sample->folio_bytes == pmd)
		thp_enable(pmd, "never");
	pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	dprintf(STDOUT_FILENO, "kpv-cost %u %d\n", sample->number, range_order(pagemap));
	close(pagemap);
	run();
	_exit(0);
}

/* In a process of its own: whatever it maps is gone afterwards. */
static void measure_apart(void)
{
	pid_t pid = fork();
	int status;

	if (!pid)
		measure();
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		fail("fork: %s", strerror(errno));
	mark(KPV_MARK_STEP_END);
	kpv_mark(KPV_MARK_TEST_END, sample->number, 0, 0, 0);
	if (WIFSIGNALED(status))
		dprintf(STDOUT_FILENO, "kpv-cost %u failed: ended by signal %d\n", sample->number,
			WTERMSIG(status));
	dprintf(STDOUT_FILENO, "kpv-cost %u done\n", sample->number);
}

static void set_up(void)
{
	static const struct {
		const char *type, *at;
	} mounts[] = {
		{ "proc", "/proc" }, { "sysfs", "/sys" }, { "cgroup2", CGROUP },
	};

	for (size_t i = 0; i < KPV_COUNT(mounts); i++) {
		mkdir(mounts[i].at, 0755);
		if (mount(mounts[i].type, mounts[i].at, mounts[i].type, 0, NULL))
			fail("mount %s: %s", mounts[i].type, strerror(errno));
	}
	if (file_write(CGROUP "/cgroup.subtree_control", "+memory") || mkdir(CGROUP "/kpv", 0755))
		fail("memory cgroup: %s", strerror(errno));
	/* khugepaged looks once when it is started, and then not again. */
	if (file_write(THP "/khugepaged/scan_sleep_millisecs", "4294967295"))
		fail("khugepaged: %s", strerror(errno));
	kpv_open(0, KPV_MAX_PAGES);
}

int main(void)
{
	struct sample each;
	FILE *jobs;

	set_up();
	jobs = fopen(JOBS, "re");
	if (!jobs)
		fail(JOBS ": %s", strerror(errno));
	while (fscanf(jobs, "%u %31s %zu %zu", &each.number, each.operation, &each.folio_bytes,
		      &each.range_bytes) == 4) {
		sample = &each;
		measure_apart();
	}
	sync();
	reboot(RB_POWER_OFF);
	return 1;
}
