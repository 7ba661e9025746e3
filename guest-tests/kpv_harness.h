/* SPDX-License-Identifier: GPL-2.0 */
/*
 * kpv_harness.h: a test of the kselftest harness, as its observer sees it.
 *
 * Include it after kselftest_harness.h. Each fixture calls kpv_test_begin()
 * first in its FIXTURE_SETUP, and kpv_test_end() last in its
 * FIXTURE_TEARDOWN_PARENT, which runs however the test ended.
 */
#ifndef KPV_HARNESS_H
#define KPV_HARNESS_H

#include "kpv_obs.h"

/* A program that includes this file can serve; elsewhere than with glibc stdout cannot be set. */
#ifdef __GLIBC__
#include "kpv_serve.h"

#undef TEST_HARNESS_MAIN
#define TEST_HARNESS_MAIN							\
	int main(int argc, char **argv)						\
	{									\
		if (getenv("KPV_SERVE"))					\
			return kpv_serve(argv[0], test_harness_run);		\
		return test_harness_run(argc, argv);				\
	}
#endif

/* Hash of "fixture.variant.test"; a fixture without variants has "fixture.test", as the harness prints it. */
static inline uint64_t kpv_test_hash(const struct __test_metadata *test, const void *variant)
{
	const struct __fixture_variant_metadata *v = test->fixture->variant;
	uint64_t hash = kpv_hash(test->fixture->name);

	while (v && v->data != variant)
		v = v->next;
	if (v && v->name[0])
		hash = kpv_hash_more(kpv_hash_more(hash, "."), v->name);
	return kpv_hash_more(kpv_hash_more(hash, "."), test->name);
}

static inline void kpv_test_begin(const struct __test_metadata *test, const void *variant)
{
	kpv_mark(KPV_MARK_TEST_BEGIN, kpv_test_hash(test, variant), 0, 0, 0);
}

static inline void kpv_test_end(const struct __test_metadata *test, const void *variant)
{
	kpv_mark(KPV_MARK_TEST_END, kpv_test_hash(test, variant), 0, 0, 0);
}

#endif /* KPV_HARNESS_H */
