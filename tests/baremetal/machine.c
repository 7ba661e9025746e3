// SPDX-License-Identifier: GPL-2.0
#include "machine.h"

u64 current[4];
struct task tasks[4];
/* What the second CPU is asked to use; it answers by clearing this. */
static const struct space *second_space;

/* Two CPUs share these. */
static u64 high_root[ENTRIES] __attribute__((aligned(65536)));
static u64 high_next[2][ENTRIES] __attribute__((aligned(65536)));
static u64 low_root[ENTRIES] __attribute__((aligned(65536)));
static u64 low_next[2][ENTRIES] __attribute__((aligned(65536)));
static u64 empty[ENTRIES] __attribute__((aligned(65536)));

extern char pool[];
static u64 pool_used;

extern const struct test cases_start[], cases_end[];

#define VA_BITS		48
#define START_LEVEL	(PAGE_SHIFT == 16 ? 1 : 0)
#define SHIFT(level)	(PAGE_SHIFT + (3 - (level)) * STRIDE)
#define ROOT_ENTRIES	(1UL << (VA_BITS - SHIFT(START_LEVEL)))
/* The lowest level of blocks in each granule's map of RAM: 1G, 32M, 512M. */
#define RAM_LEVEL	(PAGE_SHIFT == 12 ? 1 : 2)
#define RAM_BYTES	(256UL << 20)

/* Map RAM at va; runs at physical addresses, with the MMU off. */
static void map_ram(u64 va, u64 *root, u64 (*next)[ENTRIES])
{
	u64 *table = root;

	for (int level = START_LEVEL; level < RAM_LEVEL; level++, next++) {
		table[va >> SHIFT(level) & (ENTRIES - 1)] = (u64)*next | VALID | TABLE;
		table = *next;
	}
	for (u64 at = 0; at < RAM_BYTES; at += 1UL << SHIFT(RAM_LEVEL))
		table[(va + at) >> SHIFT(RAM_LEVEL) & (ENTRIES - 1)] =
			(RAM + at) | VALID | SH_INNER | AF;
}

void early_tables(void)
{
	map_ram(RAM, low_root, low_next);
	map_ram(LINEAR & ((1UL << VA_BITS) - 1), high_root, high_next);
}

void early_registers(void)
{
	u64 mmfr1, sctlr, tcr, tg0 = PAGE_SHIFT == 12 ? 0 : PAGE_SHIFT == 14 ? 2 : 1;
	u64 tg1 = PAGE_SHIFT == 12 ? 2 : PAGE_SHIFT == 14 ? 1 : 3;

	asm volatile("mrs %0, id_aa64mmfr1_el1" : "=r" (mmfr1));
	tcr = (64 - VA_BITS) | (64UL - VA_BITS) << 16 | tg0 << 14 | tg1 << 30 |
	      0x3500 | 0x35000000 |	/* walks: inner shareable, write-back */
	      1UL << 22 |		/* A1: the ASID is in TTBR1, as in Linux */
	      2UL << 32 |		/* 40-bit PAs */
	      1UL << 36;		/* 16-bit ASIDs */
	if ((mmfr1 & 15) >= 2)
		tcr |= 3UL << 39;	/* HA, HD */
	asm volatile("msr mair_el1, %0" :: "r" (0x44ffUL));	/* 0 write-back, 1 non-cacheable */
	asm volatile("msr tcr_el1, %0" :: "r" (tcr));
	asm volatile("msr ttbr0_el1, %0" :: "r" (low_root));
	asm volatile("msr ttbr1_el1, %0" :: "r" (high_root));
	asm volatile("isb; tlbi vmalle1; dsb nsh; isb");
	asm volatile("mrs %0, sctlr_el1" : "=r" (sctlr));
	asm volatile("msr sctlr_el1, %0; isb" :: "r" (sctlr | 1 | 1 << 2 | 1 << 12));
}

u64 bytes_alloc(u64 bytes, u64 align)
{
	u64 at = (PA(pool) + pool_used + align - 1) & -align;

	pool_used = at + bytes - PA(pool);
	if (at + bytes > RAM + RAM_BYTES)
		leave(2);
	return at;
}

static u64 *table_alloc(void)
{
	return VA(bytes_alloc(PAGE, PAGE));
}

struct space space_make(void)
{
	static u64 text, memory, asid = 1;
	struct space space = { .asid = asid++ };
	u64 *table, *next;

	if (!text) {
		text = bytes_alloc(PAGE, PAGE);
		/*
		 * All spaces map the same memory: nothing is written to it. Twice what is mapped,
		 * for cases that map more.
		 */
		memory = bytes_alloc(2 * DATA_PAGES * PAGE, DATA_PAGES * PAGE);
		for (char *from = user_start, *to = VA(text); from < user_end;)
			*to++ = *from++;
		asm volatile("dsb ish; ic iallu; dsb ish; isb");
	}
	space.memory = memory;
	space.root = table = table_alloc();
	for (int level = START_LEVEL; level < 2; level++) {
		next = table_alloc();
		table[0] = PA(next) | VALID | TABLE;
		table = next;
	}
	space.section = table;
	space.page = table_alloc();
	table[USER_DATA / SECTION] = PA(space.page) | VALID | TABLE;
	next = table_alloc();
	next[0] = text | LEAF | USER | RO | SH_INNER | AF | NG | PXN;
	table[USER_TEXT / SECTION] = PA(next) | VALID | TABLE;
	return space;
}

/*
 * As cpu_do_switch_mm() of Linux: the ASID first, with no tables; the case's first
 * stores are seen thereafter.
 */
void space_use(const struct space *space)
{
	asm volatile("msr ttbr0_el1, %0; isb" :: "r" (PA(empty)));
	asm volatile("msr ttbr1_el1, %0" :: "r" (PA(high_root) | space->asid << 48));
	asm volatile("msr ttbr0_el1, %0; isb" :: "r" (PA(space->root)));
}

void space_map(const struct space *space, u64 prot)
{
	for (u64 i = 0; i < DATA_PAGES; i++)
		space->page[i] = prot ? (space->memory + i * PAGE) | prot : 0;
	dsb(ishst);
}

void task_use(unsigned int nr)
{
	u64 cpu;

	asm volatile("mrs %0, mpidr_el1" : "=r" (cpu));
	current[cpu & 255] = (u64)&tasks[nr];
	asm volatile("msr sp_el0, %0" :: "r" (&tasks[nr]));
}

static u64 user(char *function, u64 x0, u64 x1, u64 x2, u64 x3)
{
	return to_el0(0, USER_TEXT + (function - user_start), x0, x1, x2, x3);
}

static void mark(enum kpv_mark_op op, u64 hash)
{
	user(user_mark, KPV_MARK_MAGIC | op, hash, USER_DATA, DATA_PAGES * PAGE);
}

void user_nothing(void)
{
	user(user_mark, 0, 0, 0, 0);
}

void user_read(u64 start, u64 end, u64 stride, u64 rounds)
{
	user(user_touch, start, end, stride, rounds);
}

static u64 id_field(u64 value, int lsb)
{
	return value >> lsb & 15;
}

int cpu_has_ranges(void)
{
	u64 isar0;

	asm volatile("mrs %0, id_aa64isar0_el1" : "=r" (isar0));
	return id_field(isar0, 56) >= 2;
}

static int cpu_has_lse(void)
{
	u64 isar0;

	asm volatile("mrs %0, id_aa64isar0_el1" : "=r" (isar0));
	return id_field(isar0, 20) >= 2;
}

int cpu_has_hardware_dirty(void)
{
	u64 mmfr1;

	asm volatile("mrs %0, id_aa64mmfr1_el1" : "=r" (mmfr1));
	return id_field(mmfr1, 0) >= 2;
}

static int can_run(const struct test *test)
{
	return !(test->needs & NEEDS_RANGES && !cpu_has_ranges()) &&
	       !(test->needs & NEEDS_LSE && !cpu_has_lse()) &&
	       !(test->needs & NEEDS_DIRTY && !cpu_has_hardware_dirty()) &&
	       !(test->needs & NEEDS_NO_DIRTY && cpu_has_hardware_dirty());
}

static void wait_until(const struct space *value)
{
	while (__atomic_load_n(&second_space, __ATOMIC_ACQUIRE) != value)
		;
}

void second_cpu(const struct space *space)
{
	static int started;
	extern char entry[];
	register u64 x0 asm("x0") = 0xc4000003;	/* PSCI CPU_ON */
	register u64 x1 asm("x1") = 1;
	register u64 x2 asm("x2") = PA(entry);
	register u64 x3 asm("x3") = 0;

	__atomic_store_n(&second_space, space, __ATOMIC_RELEASE);
	if (!started) {
		started = 1;
		asm volatile("hvc #0" : "+r" (x0) : "r" (x1), "r" (x2), "r" (x3) : "memory");
		if (x0)
			leave(3);
	}
	wait_until(0);
}

static void second_main(void)
{
	const struct space *space;

	task_use(3);
	for (;;) {
		do
			space = __atomic_load_n(&second_space, __ATOMIC_ACQUIRE);
		while (!space);
		space_use(space);
		user_nothing();
		__atomic_store_n(&second_space, 0, __ATOMIC_RELEASE);
	}
}

void kmain(u64 cpu)
{
	if (cpu)
		second_main();
	task_use(0);
	for (const struct test *test = cases_start; test < cases_end; test++) {
		u64 hash = kpv_hash(test->name);
		struct space space;

		if (!can_run(test))
			continue;
		space = space_make();
		space_map(&space, test->prot);
		space_use(&space);
		/*
		 * The model is armed by the first of these, and reads the tables at the next return
		 * to EL0.
		 */
		mark(KPV_MARK_TEST_BEGIN, hash);
		user_nothing();
		/*
		 * A store that is right whatever the case is about: of a test without any, the
		 * self-test says so.
		 */
		put(&space.page[DATA_PAGES], (space.memory + DATA_PAGES * PAGE) | DATA);
		mark(KPV_MARK_STEP_BEGIN, hash);
		task_use(1);
		test->run(&space);
		user_nothing();
		mark(KPV_MARK_STEP_END, hash);
		task_use(0);
		user_nothing();
		mark(KPV_MARK_TEST_END, hash);
	}
	leave(0);
}
