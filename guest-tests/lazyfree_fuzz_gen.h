/* SPDX-License-Identifier: GPL-2.0 */
/*
 * lazyfree_fuzz_gen.h: random sequences. The same seed gives the same list on
 * any kernel: what comes next depends on what is mapped where, never on what
 * was read.
 */
#ifndef LAZYFREE_FUZZ_GEN_H
#define LAZYFREE_FUZZ_GEN_H

#include "lazyfree_fuzz.h"

/* splitmix64: any seed will do, neighbours included. */
struct fz_random {
	uint64_t state;
};

static inline uint64_t fz_next(struct fz_random *random)
{
	uint64_t z = random->state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

static inline unsigned int fz_below(struct fz_random *random, unsigned int bound)
{
	return fz_next(random) % bound;
}

/* The random numbers of sequence n of a seed. */
static inline struct fz_random fz_seed(uint64_t seed, uint64_t n)
{
	struct fz_random random = { .state = seed };

	random.state = fz_next(&random) + n;
	fz_next(&random);
	return random;
}

/* What comes how often, out of the sum of all. */
static const uint8_t fz_weights[FZ_KINDS] = {
	[FZ_MAP] = 3, [FZ_UNMAP] = 2, [FZ_WRITE] = 14, [FZ_MARK] = 8, [FZ_READ] = 8,
	[FZ_FREE] = 14, [FZ_FREE_ON] = 8, [FZ_DROP] = 5, [FZ_PAGEOUT] = 6, [FZ_COLD] = 1,
	[FZ_PROTECT] = 3, [FZ_UNPROTECT] = 3, [FZ_CYCLE] = 4, [FZ_MOVE] = 4, [FZ_SPLIT] = 2,
	[FZ_FORK] = 5, [FZ_EXIT] = 3, [FZ_OLD] = 2, [FZ_RECLAIM] = 7, [FZ_SWAP] = 1,
	[FZ_CHECK] = 2,
};

struct fz_generator {
	struct fz_random random;
	struct fz_model model;
	struct fz_list *list;
	unsigned int folio;			/* pages, 1 for small ones only */
	unsigned int pages[FZ_REGIONS];
};

static inline enum fz_kind fz_pick_kind(struct fz_random *random)
{
	unsigned int sum = 0, at;
	int kind;

	for (kind = 0; kind < FZ_KINDS; kind++)
		sum += fz_weights[kind];
	at = fz_below(random, sum);
	for (kind = 0; at >= fz_weights[kind]; kind++)
		at -= fz_weights[kind];
	return kind;
}

/* Ranges that mean something to folios more often than others. */
static inline void fz_pick_range(struct fz_generator *g, struct fz_op *op)
{
	unsigned int pages = g->pages[op->region], folio = g->folio < pages ? g->folio : pages;
	unsigned int at = fz_below(&g->random, pages / folio) * folio, half = (folio + 1) / 2;
	unsigned int first = 0, nr = pages;

	switch (fz_below(&g->random, 10)) {
	case 0:					/* a folio */
	case 1:
		first = at;
		nr = folio;
		break;
	case 2:					/* one of its halves */
		first = at + fz_below(&g->random, 2) * (folio - half);
		nr = half;
		break;
	case 3:					/* a page: first, inner, last or any */
		first = at + fz_below(&g->random, folio);
		if (fz_below(&g->random, 2))
			first = at + (fz_below(&g->random, 2) ? folio - 1 : half - 1);
		nr = 1;
		break;
	case 4:					/* from the middle of one to the middle of another */
		first = half - 1;
		nr = pages - folio + 1;
		break;
	case 5:					/* all but the last page, or the first */
		first = pages > 1 ? fz_below(&g->random, 2) : 0;
		nr = pages > 1 ? pages - 1 : 1;
		break;
	case 6:					/* anything */
	case 7:
		first = fz_below(&g->random, pages);
		nr = 1 + fz_below(&g->random, pages - first);
		break;
	default:				/* all */
		break;
	}
	op->first = first;
	op->nr = nr;
}

/* Add it if it applies; without what its text does not show. */
static inline bool fz_append(struct fz_generator *g, struct fz_op op)
{
	if (fz_kinds[op.kind].form < FZ_OF_RANGE)
		op = (struct fz_op){ .kind = op.kind, .proc = op.proc, .nr = 1 };
	if (fz_kinds[op.kind].form == FZ_BARE)
		op.proc = 0;
	if (g->list->nr == FZ_OPS || !fz_applies(&g->model, &op))
		return false;
	fz_apply(&g->model, &op);
	g->list->op[g->list->nr++] = op;
	return true;
}

static inline int fz_pick_proc(struct fz_generator *g)
{
	int proc = fz_below(&g->random, 5);

	return proc < FZ_PROCS && g->model.alive[proc] ? proc : 0;
}

static inline bool fz_one_in(struct fz_generator *g, unsigned int n)
{
	return !fz_below(&g->random, n);
}

/*
 * What makes an operation matter is often what comes right after it: a free
 * before a write, a page-out before a read, a fork before a free by either.
 */
static inline void fz_follow(struct fz_generator *g, struct fz_op op)
{
	static const uint8_t after_free[] = { FZ_WRITE, FZ_MARK, FZ_MARK, FZ_READ, FZ_FREE, FZ_FORK };
	enum fz_kind kind = op.kind;

	if (kind == FZ_FREE || kind == FZ_FREE_ON) {
		op.kind = after_free[fz_below(&g->random, FZ_NR(after_free))];
		if (op.kind == FZ_FORK)
			op.proc = 1 + fz_below(&g->random, FZ_PROCS - 1);
		else if (!fz_one_in(g, 3))
			fz_pick_range(g, &op);
		if (fz_one_in(g, 2))
			fz_append(g, op);
		if (fz_one_in(g, 3))
			fz_append(g, (struct fz_op){ .kind = FZ_RECLAIM });
	} else if (kind == FZ_PAGEOUT && fz_one_in(g, 2)) {
		op.kind = FZ_READ;
		fz_append(g, op);
		if (fz_one_in(g, 3) &&
		    fz_append(g, (struct fz_op){ .kind = FZ_FORK, .proc = 1 }))
			kind = FZ_FORK;
	}
	if (kind == FZ_FORK && fz_one_in(g, 2)) {
		op.kind = FZ_FREE;
		op.proc = fz_one_in(g, 2) ? op.proc : 0;
		fz_pick_range(g, &op);
		fz_append(g, op);
		if (fz_one_in(g, 2))
			fz_append(g, (struct fz_op){ .kind = FZ_RECLAIM });
	}
}

static inline void fz_step(struct fz_generator *g)
{
	struct fz_op op = { .kind = fz_pick_kind(&g->random) };

	switch (fz_kinds[op.kind].form) {
	case FZ_OF_PROC:
		op.proc = fz_pick_proc(g);
		if (op.kind == FZ_FORK || op.kind == FZ_EXIT)
			op.proc = 1 + fz_below(&g->random, FZ_PROCS - 1);
		break;
	case FZ_OF_RANGE:
	case FZ_OF_RANGE_ARG:
		op.proc = fz_pick_proc(g);
		op.region = fz_below(&g->random, 4) ? 0 : fz_below(&g->random, FZ_REGIONS);
		fz_pick_range(g, &op);
		if (op.kind == FZ_MOVE && fz_below(&g->random, 2))
			op.arg = fz_below(&g->random, 2 * g->folio);
		break;
	default:
		break;
	}
	if (fz_append(g, op))
		fz_follow(g, op);
}

/* folio: pages of the largest folio. */
static inline void fz_generate(struct fz_generator *g, uint64_t seed, uint64_t n, size_t psize,
			       unsigned int folio, struct fz_list *list)
{
	struct fz_op op = { .kind = FZ_MAP };
	unsigned int length;

	/* Other sizes, other sequences. */
	g->random = fz_seed(seed + ((uint64_t)folio << 32), n);
	g->folio = folio;
	g->list = list;
	list->nr = 0;
	fz_init(&g->model, psize, folio > 1);
	for (int r = 0; r < FZ_REGIONS; r++) {
		g->pages[r] = folio > 1 ? folio * (1 + fz_below(&g->random, 3))
					: 2 + fz_below(&g->random, 8);
		if (g->pages[r] > FZ_PAGES)
			g->pages[r] = FZ_PAGES;
	}
	op.nr = g->pages[0];
	fz_append(g, op);
	op.kind = FZ_WRITE;
	if (!fz_below(&g->random, 5))
		fz_pick_range(g, &op);
	fz_append(g, op);
	length = 6 + fz_below(&g->random, 16);
	for (unsigned int try = 0; try < 4 * length && list->nr < length; try++)
		fz_step(g);
}

#endif /* LAZYFREE_FUZZ_GEN_H */
