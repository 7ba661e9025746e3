/* SPDX-License-Identifier: GPL-2.0 */
/*
 * stale.h: translations that tables no longer give, and that a TLB may still hold.
 *
 * The life of such a translation: a store takes it away ("fresh"); a DSB makes
 * the store visible to table walkers ("seen"); a TLBI that names it is "issued";
 * a DSB of the CPU that issued it completes that, and the record goes.
 * A TLBI before the store is seen promises nothing: a walker may read the old
 * descriptor again (Arm ARM D8.14 "TLB maintenance", B2.3 "DSB").
 */
#ifndef KPV_TLB_STALE_H
#define KPV_TLB_STALE_H

#include <stdbool.h>
#include <stdint.h>

#include "decode.h"
#include "regime.h"

struct mm;
struct table;
struct tables;

/* Who stored, and where. */
struct where {
	unsigned int cpu;
	uint64_t pc;
	uint64_t task;		/* current, SP_EL0 of the kernel */
};

/* Domains that a TLBI can have: DOMAIN_LOCAL to DOMAIN_OUTER. */
#define NR_TLBI_DOMAINS	(DOMAIN_OUTER + 1)

struct stale {
	struct table *table;	/* NULL once the table is unlinked */
	unsigned int index;
	unsigned int level;
	uint64_t va;
	uint64_t old;		/* the most that may be cached */
	struct where where;	/* the first store that took something of it away */
	uint64_t cpus;		/* whose TLBs may hold it */
	/*
	 * CPUs of which a DSB makes the store visible: that which made it, and those that stored
	 * to the entry since, as nobody reads what a later store has replaced (coherence).
	 */
	uint64_t storers;
	/* CPUs that issued a TLBI for it, by its domain, and have not completed it. */
	uint64_t issued[NR_TLBI_DOMAINS];
	uint64_t issued_nxs;	/* of which with nXS: a DSB nXS completes it */
	uint64_t tlbi_pc;	/* the last TLBI that named it, effective or not */
	bool seen_local;	/* a DSB made the store visible to this CPU's walker */
	bool seen;		/* to those of the inner shareable domain */
	bool early;		/* a TLBI came before that */
	bool partly;		/* a TLBI reached only some of "cpus" */
	bool hinted;		/* a TLBI of its address hinted at another level or granule */
	bool told;		/* a finding was made of a store over it */
	bool quiet;		/* lets no more than the tables do: waits for a TLBI, or a conflict */
	bool block_hit;		/* a TLBI named another page of its contiguous block, not this one */
};

/* Differences of two leaf descriptors of the same level, old and new. */
enum {
	CHANGE_VALID	= 1 << 0,	/* new is no leaf */
	CHANGE_ADDRESS	= 1 << 1,
	CHANGE_SIZE	= 1 << 2,	/* the contiguous bit, or the level */
	CHANGE_ATTR	= 1 << 3,	/* memory type, shareability, nG */
	CHANGE_WRITE	= 1 << 4,	/* new does not let write what old does */
	CHANGE_EXEC	= 1 << 5,
	CHANGE_USER	= 1 << 6,
};
#define CHANGE_CONFLICT	(CHANGE_ADDRESS | CHANGE_SIZE | CHANGE_ATTR)

unsigned int leaf_changes(const struct regime *regime, uint64_t old, uint64_t new,
			  unsigned int level);

/* How a record stands, and so what it lacks. */
enum stale_state {
	STALE_UNFLUSHED,	/* no TLBI named it */
	STALE_EARLY,		/* one did, before the store could be seen by table walkers */
	STALE_PARTLY,		/* one did, but not for all CPUs that may hold it */
	STALE_HINTED,		/* one did, with a hint of another level or granule */
	STALE_ISSUED,		/* one did, and no DSB has completed it */
};
enum stale_state stale_state(const struct stale *stale);

/*
 * The leaf "old" of this entry was taken away or tightened. Where the entry has a
 * record already, that is widened to let what both let, and starts anew.
 */
struct stale *stale_add(struct mm *mm, struct table *table, unsigned int index, uint64_t va,
			unsigned int level, uint64_t old, const struct where *where);
/*
 * A quiet record lets more than the tables do again, by a store over an entry that no TLB could hold: an
 * old leaf (its access flag is clear) is unmapped. Walkers found no more than that leaf, so a TLBI counts at once.
 */
void stale_wake(struct stale *stale, const struct where *where);
/* The entry of a record was stored to, and nothing that could be cached was replaced. */
void stale_stored_over(struct stale *stale, unsigned int cpu);
void stale_remove(struct mm *mm, struct stale *stale);
void stale_clear(struct mm *mm);

void stale_tlbi(struct tables *tables, unsigned int cpu, uint64_t pc, const struct tlbi *tlbi,
		const struct tlbi_target *target);
void stale_dsb(struct tables *tables, unsigned int cpu, const struct dsb *dsb);

/*
 * Whether a TLBI names this leaf of an mm. With "any_hint" whatever the operand
 * says of level and granule.
 */
bool tlbi_names(const struct tlbi *tlbi, const struct tlbi_target *target, uint16_t asid,
		bool global, uint64_t va, uint64_t bytes, unsigned int level, bool any_hint);

/*
 * The task went back to EL0, and the record lets no more than the tables do: only
 * another output address would conflict with it. Nobody need look out for it; by
 * the time that a TLBI names it the store can be seen.
 */
void stale_quiet(struct stale *stale);

/* Records of all mms that are not quiet. */
uint64_t stale_count(void);

#endif /* KPV_TLB_STALE_H */
