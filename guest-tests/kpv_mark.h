/* SPDX-License-Identifier: GPL-2.0 */
/*
 * kpv_mark.h: words from a test to who watches its instructions.
 *
 * A mark is one hint instruction that no architecture extension uses, a NOP on
 * every arm64 CPU (Arm ARM, "HINT"). A QEMU plugin that meets it reads
 * KPV_MARK_MAGIC | op from x0 and the arguments from x1 to x4. It is executed
 * at EL0, by the process whose page tables are meant. Elsewhere than on arm64
 * nothing is executed.
 *
 * The guest tests and the plugins share this file.
 */
#ifndef KPV_MARK_H
#define KPV_MARK_H

#include <stdint.h>

#define KPV_MARK_MAGIC		0x6b70760000000000ULL
#define KPV_MARK_OP_MASK	0xffffULL
#define KPV_MARK_INSN		0xd5032b7fU	/* hint #0x5b */

enum kpv_mark_op {
	KPV_MARK_TEST_BEGIN = 1,	/* a: hash of "fixture.variant.test" */
	KPV_MARK_TEST_END = 2,		/* a: the same; may come from another process of the test */
	KPV_MARK_STEP_BEGIN = 3,	/* a: hash of the step's name, b: base, c: bytes */
	KPV_MARK_STEP_END = 4,		/* the same */
	/* a: hash of the "at" of a pages record, b: base, c: bytes, d: enum kpv_mark_view */
	KPV_MARK_CHECKPOINT = 5,
};

enum kpv_mark_view {
	KPV_MARK_OWN,		/* the test's own tables: region "range" of the pages record */
	KPV_MARK_CHILD,		/* those of the process it forked: region "child" */
};

/* FNV-1a, 64 bits: start with KPV_HASH_INIT; the hash of two strings is that of both put together. */
#define KPV_HASH_INIT		0xcbf29ce484222325ULL
#define KPV_HASH_PRIME		0x00000100000001b3ULL

static inline uint64_t kpv_hash_more(uint64_t hash, const char *s)
{
	while (*s)
		hash = (hash ^ (unsigned char)*s++) * KPV_HASH_PRIME;
	return hash;
}

static inline uint64_t kpv_hash(const char *s)
{
	return kpv_hash_more(KPV_HASH_INIT, s);
}

static inline void kpv_mark(enum kpv_mark_op op, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
#if defined(__aarch64__)
	register uint64_t x0 __asm__("x0") = KPV_MARK_MAGIC | op;
	register uint64_t x1 __asm__("x1") = a;
	register uint64_t x2 __asm__("x2") = b;
	register uint64_t x3 __asm__("x3") = c;
	register uint64_t x4 __asm__("x4") = d;

	__asm__ volatile("hint #0x5b"
			 :: "r" (x0), "r" (x1), "r" (x2), "r" (x3), "r" (x4) : "memory");
#else
	(void)op, (void)a, (void)b, (void)c, (void)d;
#endif
}

#endif /* KPV_MARK_H */
