/* SPDX-License-Identifier: GPL-2.0 */
/*
 * lazyfree_replay.h: self-describing pages, and several processes that take
 * turns. What lazyfree_fuzz does things with, and all that a test which it
 * prints needs besides lazyfree.h.
 *
 * Word i of a page written with key k is k + i * PATTERN_STEP. Keys differ from
 * page to page and from write to write and are never zero, so a page tells
 * whose data it holds. A mark is stored in the last word and leaves the others.
 */
#ifndef LAZYFREE_REPLAY_H
#define LAZYFREE_REPLAY_H

#include <limits.h>
#include <linux/futex.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "lazyfree.h"

#ifndef MADV_COLD
#define MADV_COLD 20
#endif

#define REPLAY_PROCS	3
/* Keys of neighbouring pages, written by one call, differ by this. */
#define KEY_STEP	2
/* The upper half of a marked word: no key has it. */
#define MARK_TAG	0xa5a5000000000000ULL

/* What a page holds: data of this key, or zeroes (0); with this mark, or without (0). */
struct page_data {
	uint64_t key;
	uint32_t mark;
	bool whole;		/* false: neither, the words disagree */
	bool fault;		/* the access was refused */
};

static sigjmp_buf access_env;

static inline void access_refused(int sig KPV_UNUSED)
{
	siglongjmp(access_env, 1);
}

/* Accesses by the functions below survive a refusal from now on, in children too. */
static inline bool access_prepare(void)
{
	struct sigaction action = { .sa_handler = access_refused, .sa_flags = SA_NODEFER };

	return !sigaction(SIGSEGV, &action, NULL) && !sigaction(SIGBUS, &action, NULL);
}

/* Fill nr pages with the keys key, key + KEY_STEP...; how many were refused. */
static inline size_t pages_write(char *addr, size_t nr, uint64_t key)
{
	size_t words = psize / sizeof(uint64_t);
	volatile size_t refused = 0;

	for (volatile size_t p = 0; p < nr; p++) {
		uint64_t *at = (uint64_t *)(addr + p * psize);
		uint64_t word = key + p * KEY_STEP;

		if (sigsetjmp(access_env, 0)) {
			refused++;
			continue;
		}
		for (size_t i = 0; i < words; i += 4, word += 4 * PATTERN_STEP) {
			at[i] = word;
			at[i + 1] = word + PATTERN_STEP;
			at[i + 2] = word + 2 * PATTERN_STEP;
			at[i + 3] = word + 3 * PATTERN_STEP;
		}
	}
	return refused;
}

/* Store into the last word of nr pages; how many were refused. */
static inline size_t pages_mark(char *addr, size_t nr, uint32_t mark)
{
	volatile size_t refused = 0;

	for (volatile size_t p = 0; p < nr; p++) {
		volatile uint64_t *last = (uint64_t *)(addr + (p + 1) * psize) - 1;

		if (sigsetjmp(access_env, 0))
			refused++;
		else
			*last = MARK_TAG | mark;
	}
	return refused;
}

static inline struct page_data page_read(const char *addr)
{
	const volatile uint64_t *at = (const volatile uint64_t *)addr;
	size_t words = psize / sizeof(uint64_t);
	struct page_data data = { .whole = true };
	uint64_t step, word, last, differs = 0;

	if (sigsetjmp(access_env, 0)) {
		data.fault = true;
		return data;
	}
	data.key = at[0];
	last = at[words - 1];
	step = data.key ? PATTERN_STEP : 0;
	word = data.key;
	/* All but the last four, and the last but one, two, three. */
	for (size_t i = 0; i < words - 4; i += 4, word += 4 * step)
		differs |= (at[i] ^ word) | (at[i + 1] ^ (word + step)) |
			   (at[i + 2] ^ (word + 2 * step)) | (at[i + 3] ^ (word + 3 * step));
	differs |= (at[words - 4] ^ word) | (at[words - 3] ^ (word + step)) |
		   (at[words - 2] ^ (word + 2 * step));
	if (last != word + 3 * step) {
		data.mark = (uint32_t)last;
		if (last != (MARK_TAG | data.mark) || !data.mark)
			data.whole = false;
	}
	if (differs)
		data.whole = false;
	return data;
}

/* Read nr pages and forget them. */
static inline void pages_read(const char *addr, size_t nr)
{
	for (size_t p = 0; p < nr; p++)
		page_read(addr + p * psize);
}

/* Take write permission of nr pages away and give it back, or the other way round. */
static inline int pages_cycle(char *addr, size_t nr, int prot)
{
	int ret = mprotect(addr, nr * psize, prot ^ PROT_WRITE);

	return ret ? ret : mprotect(addr, nr * psize, prot);
}

/* Map nr pages of their own, so that they may become large folios. */
static inline bool pages_map(char *addr, size_t nr)
{
	return mmap(addr, nr * psize, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == addr &&
	       !madvise(addr, nr * psize, MADV_HUGEPAGE);
}

/*
 * Move nr pages to where nothing is mapped. One mremap() moves within one
 * mapping only, and neighbours need not have merged: page by page if refused.
 */
static inline bool pages_move(char *from, size_t nr, char *to)
{
	int flags = MREMAP_MAYMOVE | MREMAP_FIXED;

	if (mremap(from, nr * psize, nr * psize, flags, to) == to)
		return true;
	for (size_t p = 0; p < nr; p++)
		if (mremap(from + p * psize, psize, psize, flags, to + p * psize) !=
		    to + p * psize)
			return false;
	return true;
}

/* Split the large folios of a range, as much as the kernel can; true if it was asked. */
static inline bool pages_split(pid_t pid, const char *addr, size_t nr)
{
	char text[80];

	snprintf(text, sizeof(text), "%d,0x%lx,0x%lx,0", pid, (unsigned long)addr,
		 (unsigned long)addr + nr * psize);
	return file_write("/sys/kernel/debug/split_huge_pages", text);
}

/* ---- taking turns: all processes run the same lines, each does its own ---- */

struct turns_shared {
	int done;			/* how many turns are over */
	long ret;			/* of the call in question */
	struct page_data told;		/* by whoever read the page in question */
};

static struct {
	struct turns_shared *shared;
	int me;
	pid_t pid[REPLAY_PROCS];
} turns;

static inline bool turns_prepare(void)
{
	turns.shared = mmap(NULL, psize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	turns.pid[0] = getpid();
	return turns.shared != MAP_FAILED && access_prepare();
}

/* Turn n is process p's: wait for those before it. Others pass. */
static inline bool turn_begin(int n, int p)
{
	int *done = &turns.shared->done, now;

	if (turns.me != p)
		return false;
	while ((now = __atomic_load_n(done, __ATOMIC_ACQUIRE)) < n - 1)
		syscall(SYS_futex, done, FUTEX_WAIT, now, NULL, NULL, 0);
	return true;
}

static inline bool turn_end(int n)
{
	__atomic_store_n(&turns.shared->done, n, __ATOMIC_RELEASE);
	syscall(SYS_futex, &turns.shared->done, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	return false;
}

#define TURN(n, p)	for (bool _on = turn_begin(n, p); _on; _on = turn_end(n))

static inline bool told(uint64_t key, uint32_t mark)
{
	const struct page_data *told = &turns.shared->told;

	return told->whole && !told->fault && told->key == key && told->mark == mark;
}

/* Turn n: process 0 forks process c, which goes on with the same lines. */
static inline bool turn_fork(int n, int c)
{
	pid_t parent = getpid();

	if (!turn_begin(n, 0))
		return true;
	kpv_flush();
	turns.pid[c] = fork();
	if (!turns.pid[c]) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		turns.me = c;
		return true;
	}
	turn_end(n);
	return turns.pid[c] > 0;
}

/* Turn n: process c is gone, with its page tables, when this returns. */
static inline void turn_exit(int n, int c)
{
	if (!turn_begin(n, 0))
		return;
	if (turns.pid[c] > 0) {
		kill(turns.pid[c], SIGKILL);
		waitpid(turns.pid[c], NULL, 0);
	}
	turns.pid[c] = 0;
	turn_end(n);
}

/* All n turns are over, and this is process 0: the others end here. */
static inline void turns_finish(int n)
{
	while (turns.me)
		pause();
	turn_begin(n + 1, 0);
}

static inline void turns_stop(int n)
{
	for (int c = 1; c < REPLAY_PROCS; c++)
		if (turns.pid[c] > 0)
			turn_exit(n + 1, c);
}

/* ---- what process 0 sees of any of them ---- */

static inline int proc_open(int proc, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", turns.pid[proc], name);
	return open(path, O_RDONLY | O_CLOEXEC);
}

/* A page's letter, see kpv_state(). */
static inline char page_state(int proc, const char *addr)
{
	int fd = proc_open(proc, "pagemap");
	char state;

	kpv_drain();
	state = *kpv_states_of(fd, addr, 1);
	close(fd);
	return state ? state : '?';
}

/* KiB that are lazyfree and clean in a whole process, from its smaps_rollup. */
static inline int64_t lazyfree_kib_of(int fd)
{
	char *line;

	kpv_drain();
	if (!kpv_slurp(fd))
		return KPV_NULL;
	line = strstr(kpv.text, "LazyFree:");
	return line ? kpv_number(line + strlen("LazyFree:")) : KPV_NULL;
}

static inline int64_t lazyfree_kib(int proc)
{
	int fd = proc_open(proc, "smaps_rollup");
	int64_t kib = lazyfree_kib_of(fd);

	close(fd);
	return kib;
}

/* One line of smaps over nr pages of process 0. */
static inline int64_t region_kib(const char *addr, size_t nr, enum kpv_smaps_index which)
{
	int64_t smaps[KPV_NR_SMAPS];

	kpv_drain();
	kpv_read_smaps((uintptr_t)addr, nr * psize, smaps);
	return smaps[which];
}

/*
 * Unmap the first slots of REGION_SLOT each; whether no large folio is left of
 * them. One that was on its way to a disk is, until it is there, and in the
 * swap cache until reclaim meets it.
 */
static inline bool accounting_kept(const FIX *self, size_t slots, char *why, size_t size)
{
	int64_t mthp[KPV_NR_MTHP];
	int anon = KPV_MTHP_NR_ANON, partial = KPV_MTHP_NR_ANON_PARTIALLY_MAPPED;

	munmap((char *)REGION_BASE, slots * REGION_SLOT);
	kpv_drain();
	kpv_read_mthp(mthp);
	for (int try = 0; try < 100 && mthp[anon] > self->anon_before; try++) {
		if (try)
			usleep(1000);
		if (meminfo_kib("SwapCached:") > 0)
			reclaim_write(self, MAX_PAGES * psize, "");
		kpv_read_mthp(mthp);
	}
	snprintf(why, size, "nr_anon %lld -> %lld, nr_anon_partially_mapped %lld -> %lld",
		 (long long)self->anon_before, (long long)mthp[anon],
		 (long long)self->partial_before, (long long)mthp[partial]);
	return mthp[anon] == self->anon_before &&
	       (mthp[partial] == KPV_NULL || mthp[partial] == self->partial_before);
}

/* Folios of all sizes up to the variant's, by what fits; the fixture restores what was. */
static inline bool thp_select_smaller(FIX *self)
{
	int root = kpv_thp_dir();
	bool ok = true;

	for (int order = 1; order < self->order; order++) {
		int fd = thp_open(root, order);

		if (fd < 0)
			continue;
		if (!self->thp_saved[order][0])
			strcpy(self->thp_saved[order], "never");
		ok &= thp_write(fd, "madvise");
		close(fd);
	}
	close(root);
	return ok;
}

#endif /* LAZYFREE_REPLAY_H */
