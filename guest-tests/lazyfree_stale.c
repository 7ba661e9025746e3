// SPDX-License-Identifier: GPL-2.0
/*
 * Translations that outlive what they translated: a thread on another CPU, or
 * this one, read a freed page, and then the page goes elsewhere (moved, taken by
 * reclaim, copied by a write). What is read through the address afterwards is
 * what the page tables say, on each CPU.
 *
 * The other CPU spins in user space meanwhile: nothing but an invalidation that
 * is sent to it takes its translation away.
 */
#define _GNU_SOURCE
#include "../kselftest_harness.h"
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>
#include "lazyfree_child.h"
#include "lazyfree_fault.h"

#define LISTED 4

FIXTURE_VARIANT_ADD(lazyfree, 64k_gen) { .bytes = 65536, .lru_gen = true };

/* Read only, in user space alone, until it is told to go on. */
static struct {
	int ready, go, done;
	size_t list[LISTED];
	uint64_t words[LISTED][2];	/* first and last of each page, after go */
	int signals[2];			/* of a read and a write of the first listed page */
	bool faults;			/* try that instead of reading */
	bool pinned;
} other;

static bool spin_until(const int *flag)
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
	struct region at = rg;	/* as it is now, wherever it goes */

	other.pinned = setup_pin(1);
	grow_emulated_tlb();
	for (size_t i = 0; i < LISTED; i++)
		page_touch_read(&at, other.list[i]);
	__atomic_store_n(&other.ready, 1, __ATOMIC_RELEASE);
	if (!spin_until(&other.go))
		return NULL;
	for (size_t i = 0; i < LISTED && !other.faults; i++) {
		const volatile uint64_t *words = page_words(&at, other.list[i]);

		other.words[i][0] = words[0];
		other.words[i][1] = words[psize / sizeof(*words) - 1];
	}
	if (other.faults) {
		other.signals[0] = access_signal(&at, other.list[0], false);
		other.signals[1] = access_signal(&at, other.list[0], true);
	}
	__atomic_store_n(&other.done, 1, __ATOMIC_RELEASE);
	return NULL;
}

/* One page of each folio, at another place in each. */
static void other_listed(const FIX *self)
{
	for (size_t i = 0; i < LISTED; i++)
		other.list[i] = i * self->nr + self->nr * i / LISTED;
}

#define OTHER_START(thread) do {						\
	long _cpus = sysconf(_SC_NPROCESSORS_ONLN);				\
										\
	NEED("cpus", _cpus >= 2, 2, _cpus);					\
	ASSERT_EQ(0, pthread_create(thread, NULL, other_thread, NULL));		\
	ASSERT_TRUE(spin_until(&other.ready));					\
} while (0)

#define OTHER_GO(thread) do {							\
	__atomic_store_n(&other.go, 1, __ATOMIC_RELEASE);			\
	EXPECT_TRUE(spin_until(&other.done));					\
	ASSERT_EQ(0, pthread_join(thread, NULL));				\
	NEED("other_cpu_pinned", other.pinned, 1, other.pinned);		\
} while (0)

/*
 * Freed, so that all is clean, and read, so that both CPUs have translations;
 * then moved away: nobody reaches the pages by the old address, and the new one
 * has them, to be written and kept. Kills: a move that flushes for dirty entries
 * only, or on this CPU only.
 */
TEST_F(lazyfree, moved_from_under_reader)
{
	struct region old;
	pthread_t thread;
	int own[2];

	REGION(4);
	other_listed(self);
	other.faults = true;
	region_free(_metadata, &rg, 0, rg.pages, "free");
	grow_emulated_tlb();
	OTHER_START(&thread);
	for (size_t i = 0; i < rg.pages; i++)
		page_touch_read(&rg, i);
	old = rg;
	NEED_DONE("moved", region_move(&rg, 0));
	own[0] = access_signal(&old, other.list[1], false);
	own[1] = access_signal(&old, other.list[1], true);
	OTHER_GO(thread);
	CHECK("no-stale-translation",
	      own[0] == SIGSEGV && own[1] == SIGSEGV && other.signals[0] == SIGSEGV &&
	      other.signals[1] == SIGSEGV,
	      "old address: signals %d to a read and %d to a write on this CPU, %d and %d on the other",
	      own[0], own[1], other.signals[0], other.signals[1]);
	for (size_t i = 0; i < LISTED; i++)
		page_write(&rg, other.list[i], 2);
	check_write_cancels(_metadata, &rg);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/*
 * Freed and read on both CPUs, aged (clear_refs takes the access flag and flushes
 * nothing), and taken by reclaim: then each CPU reads zeroes, not what it read
 * before. Kills: a discard that invalidates on this CPU only, or only what the
 * access flag says was used.
 */
TEST_F(lazyfree, discarded_under_reader)
{
	size_t stale = 0, bad = 0, left;
	pthread_t thread;

	REGION(4);
	other_listed(self);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	OTHER_START(&thread);
	NEED_DONE("clear_refs", file_write("/proc/self/clear_refs", "1"));
	left = region_reclaim(self, &rg, "reclaim");
	OTHER_GO(thread);
	NEED("lazyfree_left", !left, 0, left);
	for (size_t i = 0; i < LISTED; i++) {
		if ((other.words[i][0] || other.words[i][1]) && !stale++)
			bad = other.list[i];
	}
	CHECK("no-stale-translation", !stale,
	      "%zu of %d discarded pages read as before on the other CPU, first is page %zu", stale,
	      LISTED, bad);
	region_finish(_metadata, self, &rg);
}

/*
 * Freed, shared by a fork, read on the other CPU; then a write on this one copies
 * the page: the other CPU sees the copy, and the child what was there. Kills: a
 * copy that invalidates on this CPU only.
 */
TEST_F(lazyfree, copied_under_reader)
{
	size_t stale = 0, bad = 0;
	pthread_t thread;

	REGION(4);
	other_listed(self);
	CHILD_START();
	region_free(_metadata, &rg, 0, rg.pages, "free");
	OTHER_START(&thread);
	for (size_t i = 0; i < LISTED; i++)
		page_write(&rg, other.list[i], 2);
	OTHER_GO(thread);
	for (size_t i = 0; i < LISTED; i++) {
		const uint64_t *now = page_words(&rg, other.list[i]);

		if ((other.words[i][0] != now[0] ||
		     other.words[i][1] != now[psize / sizeof(*now) - 1]) && !stale++)
			bad = other.list[i];
	}
	CHECK("no-stale-translation", !stale,
	      "%zu of %d written pages read as before on the other CPU, first is page %zu", stale,
	      LISTED, bad);
	check_sharer(_metadata, 0, rg.pages, "after the writes");
	RECLAIM();
	check_sharer(_metadata, 0, rg.pages, "after reclaim");
	shared_finish(_metadata, self);
}

/* ---- to another node ---- */

/* All pages of the region to a node; false if any is not there then. */
static bool to_node(int node)
{
	static void *pages[MAX_PAGES];
	static int nodes[MAX_PAGES], status[MAX_PAGES];
	bool there = true;

	for (size_t i = 0; i < rg.pages; i++) {
		pages[i] = rg.base + i * psize;
		nodes[i] = node;
	}
	/* The first page of a folio takes it along: of the others it says that they are busy. */
	if (syscall(SYS_move_pages, 0, rg.pages, pages, nodes, status, 1 << 1 /* MPOL_MF_MOVE */) < 0)
		return false;
	memset(status, -1, sizeof(status));
	if (syscall(SYS_move_pages, 0, rg.pages, pages, NULL, status, 0))
		return false;
	for (size_t i = 0; i < rg.pages; i++)
		there &= status[i] == node;
	return there;
}

/*
 * Freed, a page of F0 written, and all moved to the other node and back: the write
 * is dirty still, what was freed is no more than lazyfree, and folios are counted
 * once, whether they could be moved whole or had to be split. Kills: a dirty bit that does not come along, a folio counted twice.
 */
TEST_F(lazyfree, moved_to_node)
{
	NEED_DONE("nodes", !access("/sys/devices/system/node/node1", F_OK));
	REGION(2);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	page_write(&rg, self->nr / 2, 2);
	for (int node = 1; node >= 0; node--) {
		NEED_DONE("moved", to_node(node));
		check_write_cancels(_metadata, &rg);
	}
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

TEST_HARNESS_MAIN
