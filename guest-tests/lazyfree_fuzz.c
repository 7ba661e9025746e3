// SPDX-License-Identifier: GPL-2.0
/*
 * Random sequences of what a process can do to memory around MADV_FREE,
 * against a model that knows for every page of every process what it may read
 * as (lazyfree_fuzz.h), and with looks at page flags and counters where only
 * one answer is right (lazyfree_fuzz_run.h).
 *
 * The sequences follow from a seed. One that fails is made shorter, and printed
 * as a line to replay it and as a C test. From the environment:
 *
 *	KPV_SEED=n		another seed (1)
 *	KPV_FIRST=n		the first sequence of it (0)
 *	KPV_SEQUENCES=n		how many
 *	KPV_LOG=1		say on the console which sequence begins
 *	KPV_OPS="map:0.0:0+16 write:0.0:0+16 ..."	this one and no other
 *	KPV_KNOWN=1		with the operations that stock 6.12 is known to fail on,
 *				with swap on zram, see fz_swapin_clean_shared(); left out otherwise
 */
#define _GNU_SOURCE
#include "../kselftest_harness.h"
#include "lazyfree_fuzz_shrink.h"
#include "lazyfree_fuzz_gen.h"

#define SEQUENCES	36
#define SEED		1
#define TIMEOUT		60	/* seconds: a failure is shrunk for 8 */

/* Swap that goes through the swap cache, and another reclaim. */
FIXTURE_VARIANT_ADD(lazyfree, 64k_disk) { .bytes = 65536, .swap = KPV_SWAP_DISK };
FIXTURE_VARIANT_ADD(lazyfree, 64k_gen) { .bytes = 65536, .lru_gen = true };

static int64_t env_number(const char *name, int64_t otherwise)
{
	const char *text = getenv(name);

	return text && *text ? strtoll(text, NULL, 0) : otherwise;
}

static void say_replay(const char *name, const struct fz_list *list, char *ops, size_t size)
{
	fz_put_list(list, ops, size);
	/* In order with the records, which go their own way. */
	kpv_flush();
	printf("# %s: KPV_OPS=\"%s\"\n", name, ops);
	fflush(stdout);
}

/* On the console, where it is read even if the kernel dies of the sequence. */
static void say_begins(int kmsg, int64_t seed, int64_t n)
{
	if (kmsg >= 0)
		dprintf(kmsg, "<6>kpv: sequence %lld of seed %lld", (long long)n, (long long)seed);
}

/* What failed is told first, as it was found; the rest helps to understand it. */
static void failed(META *_metadata, const struct fz_list *list, const struct fz_failure *failure,
		   bool mixed)
{
	static char ops[FZ_OPS * 40];
	struct fz_shrink shrink = {};

	CHECK(fz_invariants[failure->invariant], false, "operation %zu of %zu: %s", failure->at,
	      list->nr, failure->detail);
	say_replay("found", list, ops, sizeof(ops));
	if (!fz_shrink(&shrink, list, failure)) {
		printf("# shrunk: not, for it did not fail again in %d tries\n", FZ_REPRODUCE_TRIES);
		fflush(stdout);
		return;
	}
	kpv_param("shrunk_ops", shrink.list.nr);
	kpv_param("shrink_tries", shrink.tries);
	kpv_flush();
	printf("# shrunk: %s: %s\n", fz_invariants[shrink.failure.invariant], shrink.failure.detail);
	say_replay("shrunk", &shrink.list, ops, sizeof(ops));
	fz_print_test(&shrink.list, &shrink.failure, ops, mixed);
}

static void say_decided(META *_metadata, const struct fz_result *result)
{
	for (size_t i = 0; i < FZ_NR_INVARIANTS; i++)
		if (result->decided[i])
			CHECK(fz_invariants[i], true, "%u times", result->decided[i]);
}

/* Slots that are free, or that this process' own pages have: its stack and heap are reclaimed, too. */
static int64_t swap_not_own_kib(void)
{
	return meminfo_kib("SwapFree:") + file_kib("/proc/self/smaps_rollup", "\nSwap:");
}

static void sequences(META *_metadata, FIX *self, bool mixed)
{
	static struct fz_generator generator;
	static struct fz_result result;
	static struct fz_list list;
	const char *ops = getenv("KPV_OPS");
	int64_t seed = env_number("KPV_SEED", SEED), first = env_number("KPV_FIRST", 0);
	int64_t nr = ops ? 1 : env_number("KPV_SEQUENCES", SEQUENCES), n;
	int64_t swap_before, swap_after, slack;
	int kmsg = -1;

	if (self->why[0])
		SKIP(return, "%s", self->why);
	kpv_param("seed", seed);
	kpv_param("first", first);
	/* What is read back from a disk keeps its slot: nothing is known to fail there. */
	fz.with_known = env_number("KPV_KNOWN", kpv_swaps_read().kinds == KPV_SWAP_DISK);
	kpv_param("with_known", fz.with_known);
	NEED("prepared", fz_prepare(self), 1, 0);
	if (mixed)
		NEED("smaller_sizes", thp_select_smaller(self), 1, 0);
	if (ops)
		NEED("ops_understood", fz_get_list(ops, &list), 1, 0);
	if (env_number("KPV_LOG", 0))
		kmsg = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	grow_emulated_tlb();
	swap_before = swap_not_own_kib();
	for (n = 0; n < nr && !result.failure.set; n++) {
		if (!ops)
			fz_generate(&generator, seed, first + n, psize, self->nr, &list);
		say_begins(kmsg, seed, first + n);
		fz_run(&list, &result);
	}
	kpv_param("sequences", n);
	kpv_param("ops", result.done);
	kpv_param("ops_left_out", result.skipped);
	kpv_param("ops_known", result.forbidden);
	kpv_param("debugfs_split", fz.can_split);
	if (result.failure.set) {
		kpv_param("failed_sequence", first + n - 1);
		failed(_metadata, &list, &result.failure, mixed);
		return;
	}
	say_decided(_metadata, &result);
	/* Each CPU keeps up to 64 freed slots to itself (SWAP_SLOTS_CACHE_SIZE), twice. */
	slack = 2 * 64 * sysconf(_SC_NPROCESSORS_ONLN) * psize / 1024;
	swap_after = swap_not_own_kib();
	CHECK("accounting", swap_before - swap_after <= slack,
	      "SwapFree, without what this process itself has there, %lld -> %lld KiB",
	      (long long)swap_before, (long long)swap_after);
}

/* Folios of one size. */
TEST_F_TIMEOUT(lazyfree, random, TIMEOUT)
{
	sequences(_metadata, self, false);
}

/* All sizes up to the variant's, by what fits where it is touched. */
TEST_F_TIMEOUT(lazyfree, random_mixed, TIMEOUT)
{
	sequences(_metadata, self, true);
}

TEST_HARNESS_MAIN
