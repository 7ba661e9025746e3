/* SPDX-License-Identifier: GPL-2.0 */
/*
 * lazyfree_fuzz.h: what each page of each process may read as after any
 * sequence of operations. The reference for lazyfree_fuzz.c; no system calls.
 *
 * A page holds one of at most FZ_MAY contents, as seen by one process:
 *
 *	written			exactly what was written
 *	freed (MADV_FREE)	that or zeroes, from one moment to the next
 *	marked after that	that or zeroes, with the mark; it no longer changes
 *	dropped, never written	zeroes
 *
 * A read tells which, and zeroes stay zeroes until a write. Processes that
 * share a page (fork) each have their own list: reclaim may take a page from
 * one and not from the other.
 *
 * An object is what sharers have in common until one of them writes. It
 * remembers whether anybody ever freed it: the pages of one nobody did must
 * not be lazyfree.
 */
#ifndef LAZYFREE_FUZZ_H
#define LAZYFREE_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FZ_PROCS	3	/* process 0 is the test, the others its children */
#define FZ_REGIONS	3
#define FZ_PAGES	96	/* of a region, at most */
#define FZ_OPS		64	/* of a sequence, at most */
#define FZ_MAY		4
#define FZ_OBJECTS	(1 + FZ_OPS * FZ_PAGES)

/* Each region has its first place and new ones by moves, 1 GiB apart; none is used twice. */
#define FZ_BASE		0x100000000000UL
#define FZ_SLOT		0x40000000UL

#define FZ_NR(a)	(sizeof(a) / sizeof((a)[0]))

enum fz_kind {
	FZ_MAP,			/* what of the range is not mapped */
	FZ_UNMAP,
	FZ_WRITE,		/* whole pages */
	FZ_MARK,		/* the last word of each page */
	FZ_READ,
	FZ_FREE,		/* and look at the page flags afterwards */
	FZ_FREE_ON,		/* and go on at once */
	FZ_DROP,		/* MADV_DONTNEED */
	FZ_PAGEOUT,
	FZ_COLD,
	FZ_PROTECT,		/* read-only */
	FZ_UNPROTECT,
	FZ_CYCLE,		/* both: unfolds contiguous blocks, or folds them */
	FZ_MOVE,		/* arg: so many pages off a multiple of 2 MiB */
	FZ_SPLIT,		/* by debugfs */
	FZ_FORK,
	FZ_EXIT,
	FZ_OLD,			/* clear_refs */
	FZ_RECLAIM,		/* lazyfree pages, no swapping */
	FZ_SWAP,		/* whatever there is */
	FZ_CHECK,
	FZ_KINDS,
};

/* How an operation is written: name, name:proc, or name:proc.region:first+nr[:arg]. */
enum fz_form { FZ_BARE, FZ_OF_PROC, FZ_OF_RANGE, FZ_OF_RANGE_ARG };

static const struct {
	const char *name;
	enum fz_form form;
} fz_kinds[FZ_KINDS] = {
	[FZ_MAP] = { "map", FZ_OF_RANGE },
	[FZ_UNMAP] = { "unmap", FZ_OF_RANGE },
	[FZ_WRITE] = { "write", FZ_OF_RANGE },
	[FZ_MARK] = { "mark", FZ_OF_RANGE },
	[FZ_READ] = { "read", FZ_OF_RANGE },
	[FZ_FREE] = { "free", FZ_OF_RANGE },
	[FZ_FREE_ON] = { "free-on", FZ_OF_RANGE },
	[FZ_DROP] = { "drop", FZ_OF_RANGE },
	[FZ_PAGEOUT] = { "pageout", FZ_OF_RANGE },
	[FZ_COLD] = { "cold", FZ_OF_RANGE },
	[FZ_PROTECT] = { "protect", FZ_OF_RANGE },
	[FZ_UNPROTECT] = { "unprotect", FZ_OF_RANGE },
	[FZ_CYCLE] = { "cycle", FZ_OF_RANGE },
	[FZ_MOVE] = { "move", FZ_OF_RANGE_ARG },
	[FZ_SPLIT] = { "split", FZ_OF_RANGE },
	[FZ_FORK] = { "fork", FZ_OF_PROC },
	[FZ_EXIT] = { "exit", FZ_OF_PROC },
	[FZ_OLD] = { "old", FZ_OF_PROC },
	[FZ_RECLAIM] = { "reclaim", FZ_BARE },
	[FZ_SWAP] = { "swap", FZ_BARE },
	[FZ_CHECK] = { "check", FZ_BARE },
};

struct fz_op {
	uint8_t kind, proc, region;
	uint16_t first, nr, arg;
};

struct fz_list {
	size_t nr;
	struct fz_op op[FZ_OPS];
};

struct fz_content {
	uint32_t gen;		/* of the write, 0: zeroes */
	uint32_t mark;		/* of the mark, 0: none */
};

struct fz_page {
	uintptr_t addr;
	uint16_t obj;		/* 0: none that it was written to */
	uint8_t nr_may;
	bool mapped, readonly;
	bool lazy;		/* freed and not written since: may be discarded */
	bool freed;		/* by this process, since it was mapped or dropped last */
	bool backed;		/* may have memory, though never written: large folios */
	struct fz_content may[FZ_MAY];
};

struct fz_object {
	uint16_t refs;
	bool freed;		/* by any process */
	bool swapped;		/* maybe, since it was last written */
	bool shared;		/* at some time */
};

struct fz_model {
	size_t psize;
	bool large;		/* a write may populate more than its page */
	uint32_t gen;		/* of the last write or mark */
	unsigned int slots;
	unsigned int objects;
	bool alive[FZ_PROCS];
	bool aged;		/* reclaim or page-out may have set PG_referenced */
	struct fz_page page[FZ_PROCS][FZ_REGIONS][FZ_PAGES];
	struct fz_object object[FZ_OBJECTS];
};

/* ---- as text ---- */

static inline size_t fz_put_op(const struct fz_op *op, char *text, size_t size)
{
	const char *name = fz_kinds[op->kind].name;

	switch (fz_kinds[op->kind].form) {
	case FZ_OF_PROC:
		return snprintf(text, size, "%s:%u", name, op->proc);
	case FZ_OF_RANGE:
		return snprintf(text, size, "%s:%u.%u:%u+%u", name, op->proc, op->region, op->first,
				op->nr);
	case FZ_OF_RANGE_ARG:
		return snprintf(text, size, "%s:%u.%u:%u+%u:%u", name, op->proc, op->region,
				op->first, op->nr, op->arg);
	default:
		return snprintf(text, size, "%s", name);
	}
}

static inline bool fz_get_op(const char *word, struct fz_op *op)
{
	unsigned int proc = 0, region = 0, first = 0, nr = 1, arg = 0;
	size_t len = strcspn(word, ":");
	int end = 0, kind;

	for (kind = 0; kind < FZ_KINDS; kind++)
		if (strlen(fz_kinds[kind].name) == len && !strncmp(fz_kinds[kind].name, word, len))
			break;
	if (kind == FZ_KINDS)
		return false;
	word += len;
	switch (fz_kinds[kind].form) {
	case FZ_OF_PROC:
		sscanf(word, ":%u%n", &proc, &end);
		break;
	case FZ_OF_RANGE:
		sscanf(word, ":%u.%u:%u+%u%n", &proc, &region, &first, &nr, &end);
		break;
	case FZ_OF_RANGE_ARG:
		sscanf(word, ":%u.%u:%u+%u:%u%n", &proc, &region, &first, &nr, &arg, &end);
		break;
	default:
		break;
	}
	if (word[end] || (fz_kinds[kind].form != FZ_BARE && !end))
		return false;
	if (proc >= FZ_PROCS || region >= FZ_REGIONS || !nr || first + nr > FZ_PAGES || arg > 511)
		return false;
	*op = (struct fz_op){ kind, proc, region, first, nr, arg };
	return true;
}

/* Operations with blanks between; false where one cannot be understood. */
static inline bool fz_get_list(const char *text, struct fz_list *list)
{
	char word[64];
	int used;

	list->nr = 0;
	while (sscanf(text, " %63s%n", word, &used) == 1) {
		if (list->nr == FZ_OPS || !fz_get_op(word, &list->op[list->nr++]))
			return false;
		text += used;
	}
	return true;
}

static inline size_t fz_put_list(const struct fz_list *list, char *text, size_t size)
{
	size_t len = 0;

	text[0] = '\0';
	for (size_t i = 0; i < list->nr && len + 64 < size; i++) {
		if (i)
			text[len++] = ' ';
		len += fz_put_op(&list->op[i], text + len, size - len);
	}
	return len;
}

/* ---- contents and objects ---- */

static inline void fz_add_may(struct fz_page *page, struct fz_content content)
{
	for (size_t i = 0; i < page->nr_may; i++)
		if (page->may[i].gen == content.gen && page->may[i].mark == content.mark)
			return;
	if (page->nr_may == FZ_MAY)
		abort();
	page->may[page->nr_may++] = content;
}

static inline void fz_only(struct fz_page *page, struct fz_content content)
{
	page->nr_may = 0;
	fz_add_may(page, content);
}

static inline bool fz_only_zeroes(const struct fz_page *page)
{
	return page->nr_may == 1 && !page->may[0].gen && !page->may[0].mark;
}

static inline void fz_put_object(struct fz_model *m, struct fz_page *page)
{
	if (page->obj)
		m->object[page->obj].refs--;
	page->obj = 0;
}

/*
 * Before a write: what others share stays theirs. It may be written in place
 * where reclaim took it from them, and where a large folio was there already:
 * lazyfree then, as it was.
 */
static inline void fz_own_object(struct fz_model *m, struct fz_page *page)
{
	bool freed = page->obj ? m->object[page->obj].freed : page->freed;

	if (!page->obj || m->object[page->obj].refs > 1) {
		fz_put_object(m, page);
		page->obj = ++m->objects;
		m->object[page->obj] = (struct fz_object){ .refs = 1, .freed = freed };
	}
	m->object[page->obj].swapped = false;
}

static inline void fz_zeroed(struct fz_model *m, struct fz_page *page)
{
	fz_put_object(m, page);
	fz_only(page, (struct fz_content){});
	page->lazy = false;
	page->freed = false;
	page->backed = false;
}

/* ---- what operations do ---- */

static inline void fz_init(struct fz_model *m, size_t psize, bool large)
{
	memset(m, 0, sizeof(*m));
	m->psize = psize;
	m->large = large;
	m->alive[0] = true;
}

static inline uintptr_t fz_slot(struct fz_model *m)
{
	return FZ_BASE + m->slots++ * FZ_SLOT;
}

static inline bool fz_on_page(enum fz_kind kind, const struct fz_page *page)
{
	switch (kind) {
	case FZ_MAP:
		return !page->mapped;
	case FZ_PROTECT:
		return page->mapped && !page->readonly;
	case FZ_UNPROTECT:
		return page->mapped && page->readonly;
	default:
		return page->mapped;
	}
}

/* Whether there is anything for it to do; one that does not apply is left out. */
static inline bool fz_applies(const struct fz_model *m, const struct fz_op *op)
{
	switch (fz_kinds[op->kind].form) {
	case FZ_BARE:
		return true;
	case FZ_OF_PROC:
		if (op->kind == FZ_FORK)
			return op->proc && !m->alive[op->proc];
		if (op->kind == FZ_EXIT && !op->proc)
			return false;
		return m->alive[op->proc];
	default:
		break;
	}
	if (!m->alive[op->proc])
		return false;
	for (size_t i = op->first; i < op->first + op->nr; i++)
		if (fz_on_page(op->kind, &m->page[op->proc][op->region][i]))
			return true;
	return false;
}

/*
 * Stock 6.12 loses a sharer's data if a page was read back from swap that skips
 * the swap cache, then shared, then freed by one: nothing is dirty any more.
 */
static inline bool fz_swapin_clean_shared(const struct fz_model *m, const struct fz_op *op)
{
	if (op->kind != FZ_FREE && op->kind != FZ_FREE_ON)
		return false;
	for (size_t i = op->first; i < op->first + op->nr; i++) {
		const struct fz_page *page = &m->page[op->proc][op->region][i];

		if (page->obj && m->object[page->obj].swapped && m->object[page->obj].refs > 1)
			return true;
	}
	return false;
}

static inline void fz_apply_page(struct fz_model *m, const struct fz_op *op, struct fz_page *page)
{
	switch (op->kind) {
	case FZ_MAP:
		page->mapped = true;
		page->readonly = false;
		fz_zeroed(m, page);
		break;
	case FZ_UNMAP:
		page->mapped = false;
		page->readonly = false;
		fz_zeroed(m, page);
		break;
	case FZ_WRITE:
		if (page->readonly)
			break;
		fz_own_object(m, page);
		fz_only(page, (struct fz_content){ .gen = m->gen });
		page->lazy = false;
		break;
	case FZ_MARK:
		if (page->readonly)
			break;
		fz_own_object(m, page);
		for (size_t i = 0; i < page->nr_may; i++)
			page->may[i].mark = m->gen;
		/* Two that differed in their marks only are one now. */
		if (page->nr_may > 1) {
			struct fz_page old = *page;

			page->nr_may = 0;
			for (size_t i = 0; i < old.nr_may; i++)
				fz_add_may(page, old.may[i]);
		}
		page->lazy = false;
		break;
	case FZ_FREE:
	case FZ_FREE_ON:
		fz_add_may(page, (struct fz_content){});
		page->lazy = true;
		page->freed = true;
		if (page->obj)
			m->object[page->obj].freed = true;
		break;
	case FZ_DROP:
		fz_zeroed(m, page);
		break;
	case FZ_PAGEOUT:
		if (page->obj)
			m->object[page->obj].swapped = true;
		break;
	case FZ_PROTECT:
		page->readonly = true;
		break;
	case FZ_UNPROTECT:
		page->readonly = false;
		break;
	default:
		break;
	}
}

static inline void fz_apply_range(struct fz_model *m, const struct fz_op *op)
{
	struct fz_page *pages = m->page[op->proc][op->region];
	bool written = false;

	if (op->kind == FZ_MAP && !pages[0].addr) {
		uintptr_t base = fz_slot(m);

		for (size_t i = 0; i < FZ_PAGES; i++) {
			pages[i].addr = base + i * m->psize;
			fz_only(&pages[i], (struct fz_content){});
		}
	}
	if (op->kind == FZ_MOVE) {
		uintptr_t base = fz_slot(m) + op->arg * m->psize;

		for (size_t i = 0; i < op->nr; i++)
			pages[op->first + i].addr = base + i * m->psize;
	}
	if (op->kind == FZ_WRITE || op->kind == FZ_MARK)
		m->gen++;
	for (size_t i = op->first; i < op->first + op->nr; i++) {
		if (!fz_on_page(op->kind, &pages[i]))
			continue;
		fz_apply_page(m, op, &pages[i]);
		if (op->kind == FZ_WRITE || op->kind == FZ_MARK) {
			pages[i].backed = true;
			written |= !pages[i].readonly;
		}
	}
	if (written && m->large)
		for (size_t i = 0; i < FZ_PAGES; i++)
			pages[i].backed |= pages[i].mapped;
}

static inline void fz_apply_fork(struct fz_model *m, int child)
{
	m->alive[child] = true;
	memcpy(m->page[child], m->page[0], sizeof(m->page[0]));
	for (size_t r = 0; r < FZ_REGIONS; r++) {
		for (size_t i = 0; i < FZ_PAGES; i++) {
			struct fz_object *object = &m->object[m->page[child][r][i].obj];

			object->refs++;
			object->shared = true;
		}
	}
}

static inline void fz_apply_exit(struct fz_model *m, int child)
{
	for (size_t r = 0; r < FZ_REGIONS; r++)
		for (size_t i = 0; i < FZ_PAGES; i++)
			fz_put_object(m, &m->page[child][r][i]);
	memset(m->page[child], 0, sizeof(m->page[child]));
	m->alive[child] = false;
}

static inline void fz_apply(struct fz_model *m, const struct fz_op *op)
{
	switch (op->kind) {
	case FZ_FORK:
		fz_apply_fork(m, op->proc);
		break;
	case FZ_EXIT:
		fz_apply_exit(m, op->proc);
		break;
	case FZ_SWAP:
		for (size_t i = 1; i <= m->objects; i++)
			m->object[i].swapped = true;
		m->aged = true;
		break;
	case FZ_RECLAIM:
		m->aged = true;
		break;
	case FZ_PAGEOUT:
		m->aged = true;
		fz_apply_range(m, op);
		break;
	case FZ_OLD:
	case FZ_CHECK:
		break;
	default:
		fz_apply_range(m, op);
		break;
	}
}

/* ---- from a range to calls ---- */

/* madvise() goes on behind gaps, and says so by ENOMEM. */
static inline bool fz_is_advice(enum fz_kind kind)
{
	return kind == FZ_FREE || kind == FZ_FREE_ON || kind == FZ_DROP || kind == FZ_PAGEOUT ||
	       kind == FZ_COLD;
}

struct fz_span {
	size_t first, nr, gap;		/* pages; gap: not mapped */
	uintptr_t from;			/* where they were before the operation */
};

struct fz_spans {
	size_t nr;
	struct fz_span span[FZ_PAGES];
};

/* Pages from i on that one call takes: next to each other, and alike if that matters. */
static inline struct fz_span fz_span(const struct fz_model *m, const struct fz_op *op, size_t i)
{
	const struct fz_page *pages = m->page[op->proc][op->region];
	struct fz_span span = { .first = i, .nr = 0, .from = pages[i].addr };
	bool on = fz_on_page(op->kind, &pages[i]);

	for (; i < op->first + op->nr; i++, span.nr++) {
		if (pages[i].addr != span.from + span.nr * m->psize && span.from)
			break;
		if (!fz_is_advice(op->kind) &&
		    (fz_on_page(op->kind, &pages[i]) != on ||
		     pages[i].readonly != pages[span.first].readonly))
			break;
		span.gap += !pages[i].mapped;
	}
	return span;
}

/*
 * The calls that a range takes. A write needs its generation and a move its
 * destination first: the model is told of these, and of a region's first map,
 * here, and of all others by fz_end().
 */
static inline bool fz_told_early(enum fz_kind kind)
{
	return kind == FZ_WRITE || kind == FZ_MARK || kind == FZ_MOVE || kind == FZ_MAP;
}

static inline void fz_begin(struct fz_model *m, const struct fz_op *op, struct fz_spans *spans)
{
	const struct fz_page *pages = m->page[op->proc][op->region];
	struct fz_span span;

	spans->nr = 0;
	for (size_t i = op->first; i < op->first + op->nr; i += span.nr) {
		span = fz_span(m, op, i);
		if (fz_is_advice(op->kind) ? span.gap < span.nr : fz_on_page(op->kind, &pages[i]))
			spans->span[spans->nr++] = span;
	}
	if (!fz_told_early(op->kind))
		return;
	fz_apply(m, op);
	for (size_t i = 0; op->kind == FZ_MAP && i < spans->nr; i++)
		spans->span[i].from = pages[spans->span[i].first].addr;
}

static inline void fz_end(struct fz_model *m, const struct fz_op *op)
{
	if (!fz_told_early(op->kind))
		fz_apply(m, op);
}

/* ---- what may be seen ---- */

/* Nobody but this process can map anything of a region's folios. */
static inline bool fz_exclusive(const struct fz_model *m, int proc, int region)
{
	for (int p = 0; p < FZ_PROCS; p++)
		for (size_t i = 0; p != proc && m->alive[p] && i < FZ_PAGES; i++)
			if (m->page[p][region][i].backed || m->page[p][region][i].obj)
				return false;
	return true;
}

/* Which invariant a page breaks that does not hold what it may hold. */
static inline const char *fz_broken(const struct fz_model *m, const struct fz_page *page)
{
	const struct fz_object *object = &m->object[page->obj];

	if (fz_only_zeroes(page))
		return "hole-reads-zero";
	if (page->lazy)
		return "old-or-zero";
	if (page->freed)
		return "no-lost-write";
	if (object->freed || object->shared)
		return "sharer-data-kept";
	return "outside-range-untouched";
}

/* A page was read: NULL if it may hold that, and its list is what it may hold from now on. */
static inline const char *fz_observe(struct fz_model *m, struct fz_page *page,
				     struct fz_content seen)
{
	bool legal = false;

	for (size_t i = 0; i < page->nr_may; i++)
		legal |= page->may[i].gen == seen.gen && page->may[i].mark == seen.mark;
	if (!legal)
		return fz_broken(m, page);
	fz_only(page, seen);
	if (!seen.gen && !seen.mark)
		fz_put_object(m, page);
	else if (page->lazy)
		fz_add_may(page, (struct fz_content){});
	return NULL;
}

#endif /* LAZYFREE_FUZZ_H */
