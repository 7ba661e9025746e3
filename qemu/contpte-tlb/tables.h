/* SPDX-License-Identifier: GPL-2.0 */
/*
 * tables.h: the translation tables that are in use, each with a copy of its
 * descriptors as last seen.
 *
 * A tree of tables belongs to an address space ("mm"). It is read from the
 * guest's RAM once, when a task with that TTBR0_EL1 first returns to EL0, and
 * follows the stores from then on. A callback comes after its store: what a
 * store replaced is known from the copy.
 */
#ifndef KPV_TLB_TABLES_H
#define KPV_TLB_TABLES_H

#include "kpv-plugin.h"
#include "regime.h"
#include "stale.h"

/* What a contiguous block's entries last were when all of them were valid. */
enum block_shape { SHAPE_NONE, SHAPE_SINGLE, SHAPE_FOLDED };

/*
 * The entries of a whole block of single pages when the first of them was taken away: what a fold, which goes on
 * from there on the same CPU before it returns to EL0, has to put back together.
 */
struct unmade {
	unsigned int cpu;
	uint64_t erets;		/* of that CPU until then */
	uint64_t desc[];
};

struct block {
	struct unmade *unmade;	/* NULL until the first */
	uint16_t valid;		/* valid leaf entries */
	uint16_t cont;		/* of which with the contiguous bit */
	uint8_t shape;		/* enum block_shape */
	bool touched;		/* is in mm->touched */
};

struct table {
	struct mm *mm;
	struct table *parent;
	unsigned int slot;	/* in the parent */
	unsigned int level;
	unsigned int nr;
	unsigned int present;	/* descriptors that are not zero */
	uint64_t pa;
	uint64_t va;		/* of entry 0 */
	uint64_t *desc;
	uint32_t *stale;	/* 1 + index in mm->stale, 0: none; NULL until the first */
	struct table **child;	/* NULL at the last level */
	struct block *blocks;	/* NULL where there are no contiguous blocks */
	struct table *page_next;	/* a page can hold several small first-level tables */
};

/* A block that a task stored to and that is audited when it returns to EL0. */
struct touched {
	struct table *table;
	unsigned int block;
	uint64_t task;
	uint64_t pc;		/* of the last store */
};

struct mm {
	struct mm *next;
	struct table *root;
	uint64_t serial;	/* no two trees have the same */
	uint16_t asid;
	uint64_t cpus;		/* whose TLBs may hold translations of it */
	struct stale *stale;
	uint32_t nr_stale, max_stale;
	struct touched *touched;
	uint32_t nr_touched, max_touched;
};

#define MAX_VCPUS	64

struct tables {
	struct kpv_ram ram;
	struct regime regime;
	struct mm *mms;
	struct mm *active[MAX_VCPUS];	/* whose tables a CPU had at its last return to EL0 */
	struct table **by_page;	/* per 4 KiB of RAM */
	uint64_t *tracked;	/* the same as a bitmap, in which every store is looked up */
	uint64_t *written_by;	/* per 4 KiB of RAM: PC of the kernel's last store there */
	uint64_t nr_pages;
	uint64_t serial;
	uint64_t nr_tables;
	uint64_t nr_touched;	/* of all mms */
	uint64_t shared;	/* tables in two trees: not tracked in the second */
	uint64_t unreadable;	/* descriptors that lead out of RAM */
	uint64_t lost;		/* trees given up: a table of theirs had become something else */
};

bool tables_init(struct tables *tables);

static inline bool tables_tracked(const struct tables *tables, uint64_t offset)
{
	uint64_t page = offset >> 12;

	return __atomic_load_n(&tables->tracked[page >> 6], __ATOMIC_RELAXED) >> (page & 63) & 1;
}

/* A store of the kernel by the linear map, to whatever. */
static inline void tables_written(struct tables *tables, uint64_t offset, uint64_t pc)
{
	__atomic_store_n(&tables->written_by[offset >> 12], pc, __ATOMIC_RELAXED);
}

/* The table that this physical address is an entry of, NULL if none. */
struct table *tables_at(const struct tables *tables, uint64_t pa);

struct mm *mm_of_root(const struct tables *tables, uint64_t root);
struct mm *mm_of_asid(const struct tables *tables, uint16_t asid);
/* Read a tree. NULL if its root is no RAM. */
struct mm *mm_learn(struct tables *tables, uint64_t root, uint16_t asid);
/* Forget a tree and all that was pending on it. */
void mm_drop(struct tables *tables, struct mm *mm);

/* Read the table that entry slot of parent has come to point to. */
struct table *table_learn(struct tables *tables, struct table *parent, unsigned int slot);
/*
 * Entry slot of parent no longer leads to a table; its leaves become stale as by the
 * store "where".
 */
void table_unlink(struct tables *tables, struct table *parent, unsigned int slot,
		  const struct where *where);

static inline uint64_t table_va(const struct tables *tables, const struct table *table,
				unsigned int index)
{
	return table->va + index * level_bytes(&tables->regime, table->level);
}

static inline struct stale *table_stale(const struct table *table, unsigned int index)
{
	if (!table->stale || !table->stale[index])
		return NULL;
	return &table->mm->stale[table->stale[index] - 1];
}

/* What a walk for va ends at now, in RAM. False: the walk meets a descriptor that is no RAM. */
struct walk {
	uint64_t desc;		/* 0, or another invalid descriptor, where nothing is mapped */
	unsigned int level;
	unsigned int steps;	/* descriptors read */
};
bool tables_walk(const struct tables *tables, uint64_t root, uint64_t va, struct walk *walk);

/*
 * Compare the copies of an mm with RAM, but for what hardware may have changed.
 * Returns the number of descriptors that differ, i.e. of stores that were missed;
 * *pa is where one of them is.
 */
unsigned int mm_differs(const struct tables *tables, const struct mm *mm, uint64_t *pa);

#endif /* KPV_TLB_TABLES_H */
