/* SPDX-License-Identifier: GPL-2.0 */
/*
 * model.h: the whole state of the model, and what its parts tell each other.
 *
 * Two legal hardwares are modelled. A caches a contiguous block as one entry, B
 * as one entry for each page. Both are as eager as the architecture lets them
 * be: whatever a walk could find now may be cached, from the moment the
 * descriptor is stored until a completed TLBI. What a rule reports is thus wrong
 * on some hardware that the architecture allows, whether or not the guest
 * happened to touch the page.
 */
#ifndef KPV_TLB_MODEL_H
#define KPV_TLB_MODEL_H

#include <pthread.h>

#include "reach.h"
#include "tables.h"

/* The order of counter_names[] in report.c. */
enum counter {
	COUNT_TLBI,
	COUNT_TLBI_VA,
	COUNT_TLBI_RANGE,
	COUNT_TLBI_ASID,
	COUNT_TLBI_ALL,
	COUNT_TLBI_LOCAL,
	COUNT_DSB,
	COUNT_ISB,
	COUNT_PTE_STORES,
	COUNT_TIGHTENED,	/* stores that took something of a translation away */
	COUNT_FOLDS,
	COUNT_UNFOLDS,
	COUNT_AUDITS,		/* contiguous blocks looked at */
	COUNT_ACCESSES,
	COUNT_HITS_A,
	COUNT_HITS_B = COUNT_HITS_A + REACH_LEVELS,
	COUNT_WALKS_A = COUNT_HITS_B + REACH_LEVELS,
	COUNT_WALKS_B,
	NR_COUNTERS
};

struct vcpu {
	uint64_t root;		/* what TTBR0_EL1 had at the last return to EL0 */
	uint16_t asid;
	uint64_t current;	/* the task that runs, 0: not known */
	uint64_t erets;		/* returns to EL0 that were told */
};

/* Executed on all CPUs. Generated code counts them: they are many, and say nothing of whose. */
struct barriers {
	uint64_t dsb, isb;
};

/* What a test, or a step in it, is counted by. */
struct span {
	uint64_t hash;		/* 0: none */
	uint64_t serial;	/* of the mm that marked it, 0: counts everything */
	uint64_t start, end;	/* VAs; alike: counts everything of the mm */
	uint64_t count[NR_COUNTERS];
	struct barriers barriers;	/* when it began */
};

struct model {
	/* Guards everything; the bitmap of tables is read without. */
	pthread_mutex_t lock;
	struct tables tables;
	struct reach reach;
	struct vcpu vcpu[MAX_VCPUS];
	unsigned int nr_vcpus;
	unsigned int bbm_level;	/* ID_AA64MMFR2_EL1.BBM of the hardware that is modelled */
	struct span test, step;
	struct barriers barriers;	/* as of now */
	uint64_t findings;	/* of the test */
	/* Self-test, of the test. */
	uint64_t missed;	/* stores that were not seen */
	uint64_t missed_pa;
	uint64_t failed_walks;
	uint64_t unknown;	/* marks by a process whose tables are not known */
	const char *broken;	/* why nothing it says counts; NULL: it does */
};

/* A store to a table, by "where"; "exact": what it replaced, NULL: only the copy tells. */
void rules_store(struct model *model, struct table *table, unsigned int index, uint64_t now,
		 const uint64_t *exact, const struct where *where);
void rules_tlbi(struct model *model, unsigned int cpu, uint64_t pc, const struct tlbi *tlbi,
		uint64_t operand);
void rules_dsb(struct model *model, unsigned int cpu, const struct dsb *dsb);
/* The task that runs on this CPU is about to be at EL0 with these tables. */
void rules_eret(struct model *model, unsigned int cpu, uint64_t pc, uint64_t ttbr0, uint64_t ttbr1);

/* Forget the tables that this CPU translates by and read them again. */
void rules_relearn(struct model *model, unsigned int cpu, uint64_t pc);

/* Whether anything waits for a return to EL0. */
static inline bool rules_pending(const struct model *model)
{
	return stale_count() || model->tables.nr_touched;
}

/* Remember that "where" changed the block of this entry, and count folds and unfolds. */
void blocks_store(struct model *model, struct table *table, unsigned int index, uint64_t was,
		  uint64_t now, const struct where *where);
/*
 * Audit all of an address space that was read just now: fork fills a child's tables before anybody knows them. Told
 * is who stored to the table last.
 */
void blocks_learned(struct model *model, const struct mm *mm, unsigned int cpu);
/* Audit what the task changed. */
void blocks_eret(struct model *model, uint64_t task);

void asid_activate(struct model *model, unsigned int cpu, uint64_t pc, const struct mm *mm);
void asid_flush(struct model *model, unsigned int cpu, const struct tlbi *tlbi, uint16_t asid);
/* The next holder of this ASID may be the same address space, read anew. */
void asid_forget(uint16_t asid);

/* A data access of EL0: look it up in the two finite TLBs. */
void access_look_up(struct model *model, unsigned int cpu, uint64_t va);

/*
 * Counts for the test, and for the step if it is about the step's mm, given by
 * serial, and its region; bytes 0 is about all addresses.
 */
#define ANY_MM	0
#define NO_MM	UINT64_MAX
void count(struct model *model, enum counter counter, uint64_t serial, uint64_t va, uint64_t bytes);

#endif /* KPV_TLB_MODEL_H */
