/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A machine without an operating system: translation tables, barriers and TLB
 * maintenance, each as one instruction, so that a case says exactly what it does.
 */
#ifndef BAREMETAL_MACHINE_H
#define BAREMETAL_MACHINE_H

#include <stdint.h>

#include "kpv_mark.h"

typedef uint64_t u64;

#define RAM		0x40000000UL
#define LINEAR		0xffff000000000000UL
#define PA(pointer)	((u64)(pointer) - LINEAR + RAM)
#define VA(pa)		((void *)((pa) - RAM + LINEAR))

#define PAGE		(1UL << PAGE_SHIFT)
#define STRIDE		(PAGE_SHIFT - 3)
#define ENTRIES		(1UL << STRIDE)
/* What an entry of level 2 maps. */
#define SECTION		(PAGE << STRIDE)
/* Entries of a contiguous block of pages: Arm ARM D8.7.1. */
#define N		(PAGE_SHIFT == 12 ? 16UL : PAGE_SHIFT == 14 ? 128UL : 32UL)
#define BLOCK		(N * PAGE)

#define VALID		(1UL << 0)
#define TABLE		(1UL << 1)
#define LEAF		(VALID | TABLE)		/* at level 3 */
#define ATTR(n)		((u64)(n) << 2)		/* 0 normal memory, 1 non-cacheable */
#define USER		(1UL << 6)
#define RO		(1UL << 7)
#define SH_INNER	(3UL << 8)
#define AF		(1UL << 10)
#define NG		(1UL << 11)
#define DBM		(1UL << 51)
#define CONT		(1UL << 52)
#define PXN		(1UL << 53)
#define UXN		(1UL << 54)

/* A page of data that a program writes to. */
#define DATA		(LEAF | USER | SH_INNER | AF | NG | PXN | UXN)

/* Where things are in each address space. */
#define USER_TEXT	SECTION
#define USER_DATA	(2 * SECTION)

/*
 * An address space: text at USER_TEXT, DATA_PAGES pages from USER_DATA on, in one
 * last-level table.
 */
#define DATA_PAGES	(4 * N)
struct space {
	u64 asid;
	u64 *root;
	u64 *section;	/* the level 2 table */
	u64 *page;	/* the last-level table of USER_DATA */
	u64 memory;	/* PA of the data: aligned to a section */
};

struct task {
	u64 unused;
};

extern u64 current[4];
extern struct task tasks[4];
extern char user_start[], user_end[], user_mark[], user_touch[];

u64 to_el0(struct task *task, u64 pc, u64 x0, u64 x1, u64 x2, u64 x3);
void leave(u64 status) __attribute__((noreturn));

struct space space_make(void);
void space_use(const struct space *space);
void space_map(const struct space *space, u64 prot);
/* Be another task from here on. */
void task_use(unsigned int nr);
/* To EL0 and back. */
void user_nothing(void);
void user_read(u64 start, u64 end, u64 stride, u64 rounds);
/* The other CPU has been at EL0 in this address space, and stays in it. */
void second_cpu(const struct space *space);
u64 bytes_alloc(u64 bytes, u64 align);

int cpu_has_ranges(void);
int cpu_has_hardware_dirty(void);

static inline u64 page_va(u64 i)
{
	return USER_DATA + i * PAGE;
}

/* One store of a descriptor, the way the name says. */
static inline void put(u64 *entry, u64 desc)
{
	asm volatile("str %0, [%1]" :: "r" (desc), "r" (entry) : "memory");
}

static inline void put_release(u64 *entry, u64 desc)
{
	asm volatile("stlr %0, [%1]" :: "r" (desc), "r" (entry) : "memory");
}

static inline void put_pair(u64 *entry, u64 first, u64 second)
{
	asm volatile("stp %0, %1, [%2]" :: "r" (first), "r" (second), "r" (entry) : "memory");
}

static inline u64 put_exclusive(u64 *entry, u64 desc)
{
	u64 old, failed;

	asm volatile("1: ldxr %0, [%2]\n	stlxr %w1, %3, [%2]\n	cbnz %w1, 1b"
		     : "=&r" (old), "=&r" (failed) : "r" (entry), "r" (desc) : "memory");
	return old;
}

static inline u64 put_swap(u64 *entry, u64 desc)
{
	u64 old;

	asm volatile(".arch armv8.1-a\n	swpal %2, %0, [%1]"
		     : "=&r" (old) : "r" (entry), "r" (desc) : "memory");
	return old;
}

static inline u64 put_compare(u64 *entry, u64 expected, u64 desc)
{
	asm volatile(".arch armv8.1-a\n	casal %0, %2, [%1]"
		     : "+r" (expected) : "r" (entry), "r" (desc) : "memory");
	return expected;
}

#define dsb(kind)	asm volatile("dsb " #kind ::: "memory")
#define isb()		asm volatile("isb" ::: "memory")
#define tlbi(op)	asm volatile("tlbi " #op ::: "memory")
#define tlbi_x(op, x)	asm volatile(".arch armv8.4-a\n	tlbi " #op ", %0" :: "r" (x) : "memory")

/* The operand of a TLBI by VA, without a hint of the level. */
static inline u64 by_va(const struct space *space, u64 va)
{
	return space->asid << 48 | (va >> 12 & 0xfffffffffffUL);
}

#define GRANULE		((u64)(PAGE_SHIFT / 2 - 5))

static inline u64 by_va_level(const struct space *space, u64 va, u64 granule, u64 level)
{
	return by_va(space, va) | granule << 46 | level << 44;
}

/* An even number of pages up to 64, or a multiple of 64: (NUM + 1) << (5 * SCALE + 1). */
static inline u64 by_range(const struct space *space, u64 va, u64 granule, u64 pages, u64 level)
{
	u64 scale = pages > 64, num = (pages >> (5 * scale + 1)) - 1;

	return space->asid << 48 | granule << 46 | scale << 44 | num << 39 | level << 37 |
	       (va >> PAGE_SHIFT & 0x1fffffffffUL);
}

/* A case runs in an address space that is mapped as "prot" says, in a task of its own. */
struct test {
	const char *name;
	void (*run)(const struct space *space);
	u64 prot;
	u64 needs;
};
#define NEEDS_RANGES	1	/* TLBI range instructions */
#define NEEDS_LSE	2
#define NEEDS_DIRTY	4	/* hardware management of access flag and dirty state */
#define NEEDS_NO_DIRTY	8

#define CASE_NEEDS(name_, prot_, needs_) \
	static void name_(const struct space *space); \
	static const struct test test_##name_ __attribute__((used, section(".cases"), aligned(8))) = { \
		.name = #name_, .run = name_, .prot = prot_, .needs = needs_ }; \
	static void name_(const struct space *space)
#define CASE(name_, prot_)	CASE_NEEDS(name_, prot_, 0)

#endif /* BAREMETAL_MACHINE_H */
