// SPDX-License-Identifier: GPL-2.0
/*
 * MADV_FREE on CPU 0 while CPU 1 does something else to the same pages.
 *
 * Who wins a race is left open; what is checked is ordered by a handshake:
 *
 *	a write that comes after the call returned is there after any reclaim
 *	a page that was freed holds its old data or zeroes, never some of both
 *	a page outside the range keeps its data, and so does another process
 *	a write that races with the call: of each word the new, the old or zero
 *
 * The other side works in one of two ways. In step: it takes part in each
 * round, from before the call until after its return. In the background: it
 * goes on and on, and rounds pass meanwhile.
 *
 * Time is bounded: rounds until KPV_RACE_MS (120) have passed and at least
 * MIN_ROUNDS are done. How long each side waits before it starts follows from
 * KPV_SEED (1).
 */
#define _GNU_SOURCE
#include "../kselftest_harness.h"
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>
#include "kpv_pin.h"
#include "lazyfree_child.h"

#define MIN_ROUNDS	8
#define MIN_DISTURBED	3
#define ROUND_MS	120
#define GIVE_UP_MS	20000		/* for MIN_ROUNDS, on whatever machine */
#define ANSWER_MS	10000		/* for the other side to answer */
#define MAX_LIST	8
#define DELAY		4000		/* turns of an empty loop, at most */
#define RACED_STAMP	0x5a5a000000000000ULL

/* ---- both sides ---- */

struct race;

/* One iteration in the background, or all of a round in step. */
typedef void race_work(struct race *race);

/* In memory that a forked child shares. */
struct race_flags {
	int round;		/* that the other side may start with */
	int freed;		/* the round whose call has returned */
	int done;		/* the round that the other side is through with */
	int reclaimed;		/* the round whose pages were reclaimed */
	int pause, paused, quit;
	int wrong;		/* children that found pages wrong, or died */
	int status;		/* of the first of them */
	size_t bad;		/* the first page that it found wrong, */
	uint64_t word[2];	/* with its first and its last word */
};

static struct race {
	const FIX *self;
	struct race_flags *flags;
	race_work *work;
	bool in_step;
	bool late;		/* the other side frees too: write when it is through */
	bool shared;		/* another process maps the region, too */
	bool moves;		/* parts may be elsewhere when the call comes: ENOMEM */
	size_t first, nr;	/* of the call */
	size_t own[MAX_LIST], owned;		/* pages that CPU 0 writes after the call */
	size_t others[MAX_LIST], othered;	/* pages that CPU 1 writes after the call */
	size_t hole, holes;	/* pages that CPU 1 drops after the call, unless it writes them */
	size_t raced;		/* page that CPU 1 writes all the time, or NO_PAGE */
	size_t raced_from;	/* first word of it that was written after the call */
	uint64_t raced_stamp;
	uint64_t random[2];	/* of either side */
	char *away;		/* where parts may be moved to */
	int nodes;
	int trigger;		/* file whose write disturbs */
	const char *event;	/* of /proc/vmstat, that shows that it does */
	int64_t events;		/* of these, or what else is counted: at first, then since */
	int min_rounds;
	bool restless;		/* pages change hands at any time: no look at their flags */
	int64_t disturbed;
	bool pinned;
	pthread_t thread;
} race;

#define NO_PAGE SIZE_MAX

/* Odd while the region is filled anew. A child's copy is of the moment of its fork. */
static int phase;

static int64_t env_number(const char *name, int64_t otherwise)
{
	const char *text = getenv(name);

	return text && *text ? strtoll(text, NULL, 0) : otherwise;
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static uint64_t next_random(int side)
{
	uint64_t z = race.random[side] += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

static void delay(int side)
{
	for (uint64_t turns = next_random(side) % DELAY; turns; turns--)
		__asm__ volatile("");
}

static int get(const int *flag)
{
	return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

static void set(int *flag, int value)
{
	__atomic_store_n(flag, value, __ATOMIC_RELEASE);
}

/* Each side has a CPU to itself: spin, but not for ever. */
static bool spin_for(const int *flag, int value)
{
	int64_t since = now_ms();

	while (get(flag) != value)
		if (get(&race.flags->quit) || now_ms() - since > ANSWER_MS)
			return false;
	return true;
}

static bool call_returned(void)
{
	return get(&race.flags->freed) == get(&race.flags->round);
}

/* ---- the other side ---- */

static void write_others(void)
{
	for (size_t i = 0; i < race.othered; i++)
		page_store(&rg, race.others[i], 2);
}

static void *in_step_thread(void *arg KPV_UNUSED)
{
	race.pinned = setup_pin(1);
	grow_emulated_tlb();
	for (int round = 1; spin_for(&race.flags->round, round); round++) {
		for (size_t i = 0; i < race.othered; i++)
			page_touch_write(&rg, race.others[i]);
		delay(1);
		race.work(&race);
		write_others();
		set(&race.flags->done, round);
	}
	return NULL;
}

static void *background_thread(void *arg KPV_UNUSED)
{
	race.pinned = setup_pin(1);
	while (!get(&race.flags->quit)) {
		if (get(&race.flags->pause)) {
			set(&race.flags->paused, 1);
			while (get(&race.flags->pause) && !get(&race.flags->quit))
				;
			set(&race.flags->paused, 0);
		}
		delay(1);
		race.work(&race);
		__atomic_fetch_add(&race.disturbed, 1, __ATOMIC_RELAXED);
	}
	set(&race.flags->paused, 1);
	return NULL;
}

/* Whether the background stands still from now on. */
static bool background_pause(void)
{
	set(&race.flags->pause, 1);
	return race.in_step || spin_for(&race.flags->paused, 1);
}

static bool background_go_on(void)
{
	set(&race.flags->pause, 0);
	return race.in_step || spin_for(&race.flags->paused, 0);
}

/* ---- a round ---- */

struct tally {
	size_t tried, wrong, bad;
};

enum { KEPT, FREED, WRITTEN, HOLE, RACED, FLAGS, RETURN, TALLIES };

static struct {
	struct tally tally[TALLIES];
	int rounds;
	int64_t skipped;		/* pages that the call left alone */
	long ret;
	int err;
	bool stuck;
} seen;

static void tally(int what, bool right, size_t page)
{
	struct tally *t = &seen.tally[what];

	t->tried++;
	if (!right && !t->wrong++)
		t->bad = page;
}

/* New folios with new data, and nothing freed. */
static void refill(void)
{
	set(&phase, phase + 1);
	madvise(rg.base, rg.pages * psize, MADV_DONTNEED);
	for (size_t i = 0; i < rg.pages; i++) {
		rg.class[i] = PAGE_KEPT;
		rg.gen[i] = 1;
		page_store(&rg, i, 1);
	}
	set(&phase, phase + 1);
}

static void written(const size_t *list, size_t nr)
{
	for (size_t i = 0; i < nr; i++) {
		rg.gen[list[i]] = 2;
		rg.class[list[i]] = PAGE_WRITTEN;
	}
}

/* A page that was written all along: from raced_from on what was written last. */
static bool raced_right(size_t page)
{
	const uint64_t *words = page_words(&rg, page);
	uint64_t old = pattern(page, rg.gen[page]);

	__asm__ volatile("" ::: "memory");
	for (size_t i = 0; i < psize / sizeof(*words); i++) {
		uint64_t word = words[i];

		if (word == race.raced_stamp)
			continue;
		if (i >= race.raced_from)
			return false;
		if (word && (word & 0xffff000000000000ULL) != RACED_STAMP &&
		    word != ((old + i * PATTERN_STEP) | 1))
			return false;
	}
	return true;
}

/*
 * A freed page may be taken while it is being read, old data up to there and
 * zeroes from there on. What was taken stays so: then it reads zeroes when it is
 * read again.
 */
static bool page_right_at_last(size_t page)
{
	return page_right(&rg, page) || (rg.class[page] == PAGE_FREED && page_right(&rg, page));
}

static void verify(void)
{
	static const int of_class[] = {
		[PAGE_KEPT] = KEPT, [PAGE_FREED] = FREED, [PAGE_WRITTEN] = WRITTEN,
		[PAGE_GONE] = HOLE, [PAGE_HOLE] = HOLE,
	};

	for (size_t i = 0; i < rg.pages; i++) {
		if (i == race.raced)
			tally(RACED, raced_right(i), i);
		else
			tally(of_class[rg.class[i]], page_right_at_last(i), i);
	}
}

/* Page flags, while nothing moves: outside the range nothing is lazyfree. */
static void verify_flags(void)
{
	const char *states;

	if (race.restless)
		return;
	kpv_drain();
	states = region_states(&rg);
	for (size_t i = 0; i < rg.pages && states[0]; i++) {
		if (rg.class[i] == PAGE_KEPT)
			tally(FLAGS, strchr("aAs", states[i]), i);
		else if (rg.class[i] == PAGE_FREED)
			seen.skipped += states[i] == 'a' || states[i] == 'A';
	}
}

/*
 * Have taken what may be taken. Paging out discards lazyfree folios as reclaim
 * does, and costs less; it leaves alone what others map.
 */
static void reclaim_some(void)
{
	size_t left = count_states(region_states(&rg), "lLdD");

	if (!race.shared && next_random(0) % 4) {
		madvise(rg.base + race.first * psize, race.nr * psize, MADV_PAGEOUT);
		return;
	}
	if (left && !reclaim_write(race.self, left * psize, " swappiness=0"))
		reclaim_write(race.self, left * psize, "");
	if (next_random(0) % 4 == 0)
		madvise(rg.base, rg.pages * psize, MADV_PAGEOUT);
}

static void one_round(int round)
{
	refill();
	for (size_t i = 0; i < race.owned; i++)
		page_touch_write(&rg, race.own[i]);
	set(&race.flags->round, round);
	delay(0);
	seen.ret = madvise(rg.base + race.first * psize, race.nr * psize, MADV_FREE);
	seen.err = seen.ret ? errno : 0;
	set(&race.flags->freed, round);
	if (race.late)
		seen.stuck = !spin_for(&race.flags->done, round);
	for (size_t i = 0; i < race.owned; i++)
		page_store(&rg, race.own[i], 2);
	if (race.in_step && !seen.stuck)
		seen.stuck = !spin_for(&race.flags->done, round);
	tally(RETURN, !seen.ret || (race.moves && seen.err == ENOMEM), round);
	if (seen.stuck || seen.tally[RETURN].wrong)
		return;
	region_mark_freed(&rg, race.first, race.nr);
	region_class(&rg, race.hole, race.holes, PAGE_HOLE);
	written(race.own, race.owned);
	if (race.in_step)
		written(race.others, race.othered);
	if (!background_pause()) {
		seen.stuck = true;
		return;
	}
	verify_flags();
	seen.stuck = !background_go_on();
	reclaim_some();
	verify();
}

static bool any_wrong(void)
{
	for (int i = 0; i < TALLIES; i++)
		if (seen.tally[i].wrong)
			return true;
	return seen.stuck || race.flags->wrong;
}

/* Whether the other side has done something, too. */
static bool enough_done(void)
{
	return seen.rounds >= race.min_rounds &&
	       (race.in_step || __atomic_load_n(&race.disturbed, __ATOMIC_RELAXED) >= MIN_DISTURBED);
}

static void rounds(void (*one)(int round))
{
	int64_t start = now_ms(), enough = env_number("KPV_RACE_MS", ROUND_MS);

	while (!any_wrong() &&
	       now_ms() - start < (enough_done() ? enough : GIVE_UP_MS))
		one(++seen.rounds);
	kpv_param("rounds", seen.rounds);
	kpv_param("skipped_pages", seen.skipped);
}

/* Of /proc/vmstat; -1: not there. */
static int64_t vm_events(const char *name)
{
	size_t len = strlen(name);

	kpv_slurp(kpv.vmstat);
	for (char *s = kpv.text; s && *s; s = kpv_next_line(s))
		if (!strncmp(s, name, len) && s[len] == ' ')
			return kpv_number(s + len);
	return -1;
}

static bool race_prepare(FIX *self)
{
	int64_t seed = env_number("KPV_SEED", 1);

	kpv_param("seed", seed);
	race.self = self;
	race.random[0] = seed;
	race.random[1] = ~seed;
	race.raced = NO_PAGE;
	race.min_rounds = MIN_ROUNDS;
	race.flags = mmap(NULL, psize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return race.flags != MAP_FAILED;
}

static bool race_start(race_work *work, bool in_step)
{
	race.work = work;
	race.in_step = in_step;
	if (race.event)
		race.events = vm_events(race.event);
	grow_emulated_tlb();
	return !pthread_create(&race.thread, NULL, in_step ? in_step_thread : background_thread,
			       NULL);
}

static void race_stop(void)
{
	set(&race.flags->quit, 1);
	pthread_join(race.thread, NULL);
	if (!race.in_step)
		kpv_param("disturbed", race.disturbed);
	if (race.event)
		race.events = vm_events(race.event) - race.events;
}

static void race_judge(META *_metadata)
{
	static const struct {
		int what;
		const char *check;
	} told[] = {
		{ RETURN, "return-value" }, { KEPT, "outside-range-untouched" },
		{ FLAGS, "outside-range-untouched" }, { FREED, "old-or-zero" },
		{ WRITTEN, "no-lost-write" }, { RACED, "no-lost-write" },
		{ HOLE, "hole-reads-zero" },
	};

	for (size_t i = 0; i < KPV_COUNT(told); i++) {
		const struct tally *t = &seen.tally[told[i].what];

		if (t->tried)
			CHECK(told[i].check, !t->wrong,
			      "%zu of %zu in %d rounds wrong, first is %s %zu, madvise = %ld, errno %d",
			      t->wrong, t->tried, seen.rounds,
			      told[i].what == RETURN ? "round" : "page", t->bad, seen.ret, seen.err);
	}
}

/* No folio may be left; somebody in the background may still hold one for a moment. */
static void race_accounting(META *_metadata, FIX *self)
{
	int64_t mthp[KPV_NR_MTHP];

	munmap(rg.base, rg.pages * psize);
	for (int try = 0; try < 200; try++) {
		kpv_drain();
		kpv_read_mthp(mthp);
		if (mthp[KPV_MTHP_NR_ANON] == self->anon_before)
			break;
		usleep(1000);
	}
	check_accounting(_metadata, self, &rg);
}

/* From the middle of F0 to the middle of F2: two cut, one whole. F3 is outside. */
static void race_on_parts(const FIX *self)
{
	size_t nr = self->nr;

	race.first = nr / 2;
	race.nr = 2 * nr;
	race.owned = 3;
	race.own[0] = nr - 1;
	race.own[1] = nr + nr / 2;
	race.own[2] = 2 * nr + nr / 2 - 1;
}

/* F0 to F2. */
static void race_on_wholes(const FIX *self)
{
	size_t nr = self->nr;

	race.first = 0;
	race.nr = 3 * nr;
	race.owned = 3;
	race.own[0] = 0;
	race.own[1] = nr + nr / 2;
	race.own[2] = 3 * nr - 1;
}

/* The inner half of F0, the only one. */
static void race_on_inner_half(const FIX *self)
{
	race.first = self->nr / 4;
	race.nr = self->nr / 2;
	race.own[0] = self->nr / 4;
	race.own[1] = self->nr / 2;
	race.owned = 2;
}

/* First lines of each test. */
#define RACE_REGION(folios) do {						\
	long _cpus = sysconf(_SC_NPROCESSORS_ONLN);				\
	NEED("cpus", _cpus >= 2, 2, _cpus);					\
	REGION(folios);								\
	ASSERT_TRUE(race_prepare(self));					\
} while (0)

/* What was seen; then whether it was enough to say anything. */
#define RACE_JUDGE() do {							\
	NEED("other_side_answers", !seen.stuck, 0, seen.stuck);			\
	race_judge(_metadata);							\
	NEED("rounds", any_wrong() || enough_done(), race.min_rounds, seen.rounds); \
} while (0)

#define RACE(work, in_step) do {						\
	ASSERT_TRUE(race_start(work, in_step));					\
	rounds(one_round);							\
	race_stop();								\
	NEED("other_cpu_pinned", race.pinned, 1, race.pinned);			\
	RACE_JUDGE();								\
	if (race.event)								\
		NEED(race.event, any_wrong() || race.events > 0, 1, race.events); \
} while (0)

#define IN_STEP true
#define IN_BACKGROUND false

/* ---- in step ---- */

/* Reads everything, and writes one page over and over. */
static void fault(struct race *r)
{
	uint64_t *words = page_words(&rg, r->raced);
	size_t nr = psize / sizeof(*words);
	bool last = false;

	r->raced_stamp = RACED_STAMP;
	while (!last) {
		r->raced_stamp++;
		r->raced_from = nr;
		for (size_t i = 0; i < nr; i++) {
			if (!last && call_returned()) {
				last = true;
				r->raced_from = i;
			}
			__atomic_store_n(&words[i], r->raced_stamp, __ATOMIC_RELAXED);
		}
		for (size_t i = r->first; i < r->first + r->nr; i += 1 + r->nr / 8)
			page_touch_read(&rg, i);
	}
}

TEST_F(lazyfree, race_fault)
{
	size_t nr = self->nr;

	RACE_REGION(4);
	race_on_wholes(self);
	/*
	 * Nothing else of F1 is written: the dirty bit of another page would save
	 * it. Late in the folio, for the longer a call is at its entries, the sooner
	 * the write comes in between.
	 */
	race.raced = 2 * nr - 1 - nr / 8;
	race.owned = 2;
	race.own[1] = 3 * nr - 1;
	race.others[0] = nr / 2;
	race.others[1] = 2 * nr;
	race.othered = 2;
	RACE(fault, IN_STEP);
	race_accounting(_metadata, self);
}

/* Drops pages of F1 and writes them anew, other folios in its place; ends with either. */
static void drop(struct race *r)
{
	size_t first = r->self->nr + r->self->nr / 4, nr = r->self->nr / 4;
	bool last;

	do {
		last = call_returned();
		madvise(rg.base + first * psize, nr * psize, MADV_DONTNEED);
		for (size_t i = 0; i < nr; i += 2)
			page_touch_write(&rg, first + i);
	} while (!last);
	madvise(rg.base + first * psize, nr * psize, MADV_DONTNEED);
	r->hole = first;
	r->holes = nr;
	r->othered = next_random(1) % (nr + 1);
	for (size_t i = 0; i < nr; i++)
		r->others[i] = first + i;
}

TEST_F(lazyfree, race_drop)
{
	NEED_PARTS();
	NEED("pages_per_folio", self->nr / 4 <= MAX_LIST, 4 * MAX_LIST, self->nr);
	RACE_REGION(4);
	race_on_wholes(self);
	race.own[1] = 2 * self->nr - 1;
	RACE(drop, IN_STEP);
	race_accounting(_metadata, self);
}

/* Takes write permission of an inner page of each folio away and gives it back. */
static void protect(struct race *r)
{
	bool last;

	do {
		last = call_returned();
		for (size_t f = 0; f < 3; f++) {
			char *at = rg.base + (f * r->self->nr + 1) * psize;

			mprotect(at, psize, PROT_READ);
			mprotect(at, psize, PROT_READ | PROT_WRITE);
		}
	} while (!last);
}

TEST_F(lazyfree, race_protect)
{
	size_t nr = self->nr;

	NEED_PARTS();
	RACE_REGION(4);
	race_on_wholes(self);
	race.others[0] = 1;
	race.others[1] = nr + 1;
	race.others[2] = nr + 2;
	race.othered = 3;
	RACE(protect, IN_STEP);
	race_accounting(_metadata, self);
}

/* Moves F2 away and back. */
static void move(struct race *r)
{
	char *home = rg.base + 2 * r->self->nr * psize;
	size_t len = r->self->nr * psize;
	int flags = MREMAP_MAYMOVE | MREMAP_FIXED;
	bool last;

	do {
		last = call_returned();
		if (mremap(home, len, len, flags, r->away) != r->away ||
		    mremap(r->away, len, len, flags, home) != home)
			abort();
	} while (!last);
}

TEST_F(lazyfree, race_move)
{
	size_t nr = self->nr;

	NEED_PARTS();
	RACE_REGION(4);
	race_on_wholes(self);
	race.moves = true;
	race.owned = 2;
	race.others[0] = 2 * nr + 1;
	race.others[1] = 3 * nr - 1;
	race.othered = 2;
	race.away = region_reserve(nr * psize, psize);
	NEED("away", race.away && !munmap(race.away, nr * psize), 1, 0);
	RACE(move, IN_STEP);
	race_accounting(_metadata, self);
}

/* Frees from the middle of F0 to the middle of F2, while CPU 0 frees F0 to F2. */
static void free_too(struct race *r)
{
	size_t nr = r->self->nr;
	bool last;

	do {
		last = call_returned();
		madvise(rg.base + nr / 2 * psize, 2 * nr * psize, MADV_FREE);
	} while (!last);
}

TEST_F(lazyfree, race_free)
{
	NEED_PARTS();
	RACE_REGION(4);
	race_on_wholes(self);
	race.late = true;
	race.others[0] = self->nr / 2;
	race.others[1] = 2 * self->nr;
	race.othered = 2;
	RACE(free_too, IN_STEP);
	race_accounting(_metadata, self);
}

static void trigger(struct race *r, const char *text)
{
	/* What it returns does not matter: it has done what it could. */
	if (write(r->trigger, text, strlen(text)) < 0)
		return;
}

/*
 * Splits what is in its way, with the folio locked meanwhile: the call meets
 * folios that it cannot lock, in all places of its range, and must go on with
 * the right page behind them.
 */
static void split(struct race *r)
{
	char text[80];

	snprintf(text, sizeof(text), "%d,0x%lx,0x%lx,0", getpid(), (unsigned long)rg.base,
		 (unsigned long)rg.base + rg.pages * psize);
	do
		trigger(r, text);
	while (!call_returned());
}

TEST_F(lazyfree, race_split)
{
	NEED_PARTS();
	race.trigger = open("/sys/kernel/debug/split_huge_pages", O_WRONLY | O_CLOEXEC);
	NEED("split_huge_pages", race.trigger >= 0, 1, 0);
	RACE_REGION(4);
	race_on_parts(self);
	RACE(split, IN_STEP);
	race_accounting(_metadata, self);
}

/* Every other page to the next node, and on; each move takes its folio. */
static void migrate(struct race *r)
{
	static int node;
	void *pages[MAX_PAGES];
	int nodes[MAX_PAGES], status[MAX_PAGES];
	size_t nr = 0;

	for (size_t i = 0; i < rg.pages; i += 2)
		pages[nr++] = rg.base + i * psize;
	do {
		node = (node + 1) % r->nodes;
		for (size_t i = 0; i < nr; i++)
			nodes[i] = node;
		syscall(SYS_move_pages, 0, nr, pages, nodes, status, 1 << 1 /* MPOL_MF_MOVE */);
	} while (!call_returned());
}

static int count_nodes(void)
{
	char path[64];
	int nr = 0;

	do
		snprintf(path, sizeof(path), "/sys/devices/system/node/node%d", nr);
	while (!access(path, F_OK) && ++nr < 64);
	return nr ? nr : 1;
}

TEST_F(lazyfree, race_migrate)
{
	race.nodes = count_nodes();
	NEED("nodes", race.nodes > 1, 2, race.nodes);
	race.event = "pgmigrate_success";
	RACE_REGION(4);
	race_on_parts(self);
	RACE(migrate, IN_STEP);
	race_accounting(_metadata, self);
}

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/* Makes one large folio of all again, which need not be lazyfree any more. */
static void collapse(struct race *r KPV_UNUSED)
{
	bool last;

	do {
		last = call_returned();
		madvise(rg.base, rg.pages * psize, MADV_COLLAPSE);
	} while (!last);
}

TEST_F(lazyfree, race_collapse)
{
	RACE_REGION(1);
	race_on_inner_half(self);
	race.event = "thp_collapse_alloc";
	RACE(collapse, IN_STEP);
	race_accounting(_metadata, self);
}

/* A file of khugepaged's. */
static int khugepaged_open(const char *name, int how)
{
	char path[96];

	snprintf(path, sizeof(path), "/sys/kernel/mm/transparent_hugepage/khugepaged/%s", name);
	return open(path, how | O_CLOEXEC);
}

static int64_t khugepaged_set(const char *name, int64_t value)
{
	int fd = khugepaged_open(name, O_RDWR);
	int64_t before = kpv_read_int(fd);
	char text[32];

	snprintf(text, sizeof(text), "%lld", (long long)value);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		before = -1;
	close(fd);
	return before;
}

static int64_t khugepaged_sleep, khugepaged_pages;

/* Have it look at all it may look at, again and again. */
static bool khugepaged_hurry(const FIX *self)
{
	int root = kpv_thp_dir(), fd = thp_open(root, self->order);
	bool ok = fd >= 0 && thp_write(fd, "madvise");

	close(fd);
	close(root);
	khugepaged_pages = khugepaged_set("pages_to_scan", 1 << 16);
	khugepaged_sleep = khugepaged_set("scan_sleep_millisecs", 1);
	return ok && khugepaged_pages >= 0 && khugepaged_sleep >= 0;
}

static void khugepaged_rest(void)
{
	khugepaged_set("scan_sleep_millisecs", khugepaged_sleep);
	khugepaged_set("pages_to_scan", khugepaged_pages);
}

/* Until khugepaged has made a large folio of anything; only that counts. */
static void khugepaged(struct race *r)
{
	int64_t before = kpv_read_int(r->trigger);

	while (!get(&r->flags->quit) && !get(&r->flags->pause)) {
		if (kpv_read_int(r->trigger) != before)
			return;
		usleep(100);
	}
	__atomic_fetch_sub(&r->disturbed, 1, __ATOMIC_RELAXED);
}

/*
 * The daemon of itself makes one large folio of all again, wherever the call, the
 * writes and the reclaim of a round stand. Kills: what race_collapse kills, where
 * it depends on whose the page tables are that are collapsed.
 */
TEST_F(lazyfree, race_khugepaged)
{
	int64_t collapsed;

	RACE_REGION(1);
	race_on_inner_half(self);
	race.restless = true;	/* the daemon does not pause */
	race.min_rounds = MIN_ROUNDS / 2;	/* it takes most of a CPU */
	race.trigger = khugepaged_open("pages_collapsed", O_RDONLY);
	NEED("pages_collapsed", race.trigger >= 0, 1, 0);
	NEED("khugepaged", khugepaged_hurry(self), 1, 0);
	collapsed = kpv_read_int(race.trigger);
	ASSERT_TRUE(race_start(khugepaged, IN_BACKGROUND));
	rounds(one_round);
	race_stop();
	khugepaged_rest();
	collapsed = kpv_read_int(race.trigger) - collapsed;
	NEED("other_cpu_pinned", race.pinned, 1, race.pinned);
	RACE_JUDGE();
	NEED("collapsed", any_wrong() || collapsed >= MIN_DISTURBED, MIN_DISTURBED, collapsed);
	race_accounting(_metadata, self);
}

/* ---- a folio that is locked ---- */

#define LOCKED_CALLS	16	/* in a round */

static struct {
	struct kpv_pin pin;
	int64_t calls;			/* of CPU 1 */
	size_t left_out, touched, dirty;
	char states[128];		/* when something was left out or touched first */
} locked;

/* F1 cannot be split: a call that tries to takes its lock, and leaves it as it is. */
static void lock_often(struct race *r)
{
	size_t quarter = r->self->nr / 4;

	do {
		madvise(rg.base + 5 * quarter * psize, quarter * psize, MADV_FREE);
		locked.calls++;
	} while (!call_returned());
}

/* Write F0 and F2, free F0 to F2, again and again; then look at all. */
static void locked_round(int round)
{
	size_t nr = race.self->nr, wrong = locked.left_out + locked.touched;
	int64_t smaps[KPV_NR_SMAPS];
	const char *states;

	refill();
	if (!kpv_pin_hold(&locked.pin, PIN_PIPE, rg.base + nr * psize, psize)) {
		seen.stuck = true;
		return;
	}
	region_hole(&rg, 2 * nr - 1, 1);
	set(&race.flags->round, round);
	for (int call = 0; call < LOCKED_CALLS; call++) {
		for (size_t i = 0; i < 3 * nr; i++)
			if (i < nr || i >= 2 * nr)
				page_touch_write(&rg, i);
		delay(0);
		seen.ret = madvise(rg.base, 3 * nr * psize, MADV_FREE);
		seen.err = seen.ret ? errno : 0;
		tally(RETURN, !seen.ret, round);
		kpv_read_smaps((uintptr_t)rg.base, rg.pages * psize, smaps);
		locked.dirty += smaps[KPV_SMAPS_LAZYFREE] != (int64_t)(2 * nr * psize / 1024);
	}
	set(&race.flags->freed, round);
	seen.stuck = !spin_for(&race.flags->done, round);
	region_mark_freed(&rg, 0, nr);
	region_mark_freed(&rg, 2 * nr, nr);
	kpv_drain();
	states = region_states(&rg);
	for (size_t i = 0; i < rg.pages && states[0]; i++) {
		locked.left_out += rg.class[i] == PAGE_FREED && !strchr("lL", states[i]);
		locked.touched += rg.class[i] == PAGE_KEPT && states[i] != 'A';
	}
	if (!wrong && locked.left_out + locked.touched)
		snprintf(locked.states, sizeof(locked.states), "%s", states);
	kpv_pin_drop(&locked.pin);
	reclaim_some();
	verify();
}

/*
 * F1 is held, so that it cannot be split, and a page of it is gone, so that it
 * would have to be; CPU 1 tries it too, over and over: the call finds F1 locked,
 * or locks it and fails. Either way F1 stays as it is; params tell whether F0 and
 * F2, which nobody else touches, were freed and clean each time. Kills: addresses and entries
 * apart once a lock was missed, or a walk that gives up there.
 */
TEST_F(lazyfree, race_locked)
{
	int64_t before[KPV_NR_MTHP], after[KPV_NR_MTHP];

	NEED_PARTS();
	RACE_REGION(4);
	race.first = 0;
	race.nr = 3 * self->nr;
	kpv_read_mthp(before);
	ASSERT_TRUE(race_start(lock_often, IN_STEP));
	kpv_step_begin(&step, "rounds", rg.base, rg.pages * psize);
	rounds(locked_round);
	kpv_step_end(&step, seen.ret, seen.err);
	race_stop();
	kpv_read_mthp(after);
	NEED("other_cpu_pinned", race.pinned, 1, race.pinned);
	kpv_param("calls", locked.calls + seen.rounds * LOCKED_CALLS);
	kpv_param("splits_failed", after[KPV_MTHP_SPLIT_FAILED] - before[KPV_MTHP_SPLIT_FAILED]);
	kpv_param("left_out", locked.left_out);
	kpv_param("unclean_calls", locked.dirty);
	CHECK("unsplit-untouched", !locked.touched,
	      "%zu pages of folios that cannot be split or were not freed changed: %.128s",
	      locked.touched, locked.states);
	RACE_JUDGE();
	NEED("other_calls", any_wrong() || locked.calls > seen.rounds, seen.rounds, locked.calls);
	race_accounting(_metadata, self);
}

/* ---- in the background ---- */

/* In a child: count a page that is not right, and say what is there. */
static int judge_in_child(size_t page)
{
	const uint64_t *words = page_words(&rg, page);

	if (page_right_at_last(page))
		return 0;
	race.flags->bad = page;
	race.flags->word[0] = words[0];
	race.flags->word[1] = words[psize / sizeof(*words) - 1];
	return 1;
}

/* In its parent: wait for a child that found nothing wrong. */
static void child_ended(pid_t pid)
{
	int status = -1;

	if (pid <= 0 || (waitpid(pid, &status, 0) == pid && !status))
		return;
	if (!race.flags->wrong)
		race.flags->status = status;
	set(&race.flags->wrong, race.flags->wrong + 1);
}

static void check_children(META *_metadata)
{
	const struct race_flags *flags = race.flags;

	CHECK("sharer-data-kept", !flags->wrong,
	      "%d children, the first with status 0x%x, page %zu, class %d, words 0x%llx 0x%llx, in %d rounds",
	      flags->wrong, flags->status, flags->bad, rg.class[flags->bad],
	      (unsigned long long)flags->word[0], (unsigned long long)flags->word[1], seen.rounds);
}

/* What a child sees of the region at any moment at which it is not being filled. */
static int fork_look(int phase_before)
{
	int wrong = 0;

	/* The page of this variable was copied after the region, which lies below it. */
	if (phase != phase_before || phase & 1)
		return 0;
	for (size_t i = 0; i < rg.pages; i++) {
		bool freed = i >= race.first && i < race.first + race.nr, own = false;

		for (size_t o = 0; o < race.owned; o++)
			own |= race.own[o] == i;
		/* Being written just then, or not yet: CPU 0 looks after these. */
		if (own)
			continue;
		rg.gen[i] = 1;
		rg.class[i] = freed ? PAGE_FREED : PAGE_KEPT;
		wrong += judge_in_child(i);
		/* A copy of its own, that nobody else must see. */
		if (i % 5 == 0)
			page_store(&rg, i, 7);
	}
	return wrong;
}

static void fork_off(struct race *r KPV_UNUSED)
{
	int before = get(&phase);
	pid_t pid = fork();

	if (!pid)
		_exit(fork_look(before) ? 1 : 0);
	child_ended(pid);
}

TEST_F(lazyfree, race_fork)
{
	RACE_REGION(4);
	race_on_wholes(self);
	race.shared = true;
	RACE(fork_off, IN_BACKGROUND);
	check_children(_metadata);
	race_accounting(_metadata, self);
}

static void reclaim(struct race *r)
{
	size_t bytes = (1 + next_random(1) % r->self->nr) * psize;

	reclaim_write(r->self, bytes, next_random(1) % 4 ? " swappiness=0" : "");
}

TEST_F(lazyfree, race_reclaim)
{
	RACE_REGION(4);
	race_on_parts(self);
	RACE(reclaim, IN_BACKGROUND);
	race_accounting(_metadata, self);
}

static void compact(struct race *r)
{
	trigger(r, "1");
}

TEST_F(lazyfree, race_compact)
{
	race.trigger = open("/proc/sys/vm/compact_memory", O_WRONLY | O_CLOEXEC);
	NEED("compact_memory", race.trigger >= 0, 1, 0);
	race.event = "pgmigrate_success";
	RACE_REGION(4);
	race_on_parts(self);
	RACE(compact, IN_BACKGROUND);
	race_accounting(_metadata, self);
}

/* Pages out all, and reads some of it back. */
static void swap(struct race *r)
{
	madvise(rg.base, rg.pages * psize, MADV_PAGEOUT);
	for (size_t i = next_random(1) % r->self->nr; i < rg.pages; i += 3)
		page_touch_read(&rg, i);
}

TEST_F(lazyfree, race_swap)
{
	RACE_REGION(4);
	race_on_parts(self);
	race.event = "pswpout";
	RACE(swap, IN_BACKGROUND);
	race_accounting(_metadata, self);
}

/* ---- another process ---- */

/*
 * A child on CPU 1 reads all the time and must find what it was forked with,
 * then writes, frees and writes again what is its own copy or its own view.
 */
static int sharer_life(int round)
{
	size_t nr = race.self->nr;
	int wrong = 0;

	setup_pin(1);
	do
		for (size_t i = 0; i < rg.pages; i++)
			wrong += judge_in_child(i);
	while (!wrong && get(&race.flags->freed) != round);
	page_write(&rg, nr / 2, 3);
	madvise(rg.base + nr * psize, nr * psize, MADV_FREE);
	region_mark_freed(&rg, nr, nr);
	page_write(&rg, nr + 1, 3);
	set(&race.flags->done, round);
	/* The parent reclaims now. */
	spin_for(&race.flags->reclaimed, round);
	for (size_t i = 0; i < rg.pages; i++)
		wrong += judge_in_child(i);
	return wrong;
}

static void sharer_round(int round)
{
	pid_t pid;

	refill();
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(sharer_life(round) ? 1 : 0);
	}
	delay(0);
	seen.ret = madvise(rg.base, 3 * race.self->nr * psize, MADV_FREE);
	seen.err = seen.ret ? errno : 0;
	set(&race.flags->freed, round);
	for (size_t i = 0; i < race.owned; i++)
		page_store(&rg, race.own[i], 2);
	tally(RETURN, !seen.ret, round);
	region_mark_freed(&rg, 0, 3 * race.self->nr);
	written(race.own, race.owned);
	seen.stuck = pid < 0 || !spin_for(&race.flags->done, round);
	reclaim_some();
	verify();
	set(&race.flags->reclaimed, round);
	if (seen.stuck)
		kill(pid, SIGKILL);
	child_ended(pid);
}

TEST_F(lazyfree, race_sharer)
{
	NEED_PARTS();
	RACE_REGION(4);
	race_on_wholes(self);
	race.in_step = true;
	race.shared = true;
	rounds(sharer_round);
	RACE_JUDGE();
	check_children(_metadata);
	race_accounting(_metadata, self);
}

TEST_HARNESS_MAIN
