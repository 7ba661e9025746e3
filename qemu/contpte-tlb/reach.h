/* SPDX-License-Identifier: GPL-2.0 */
/*
 * reach.h: two data TLBs of finite size that differ in one thing: A holds a
 * contiguous block as one entry, B as one entry for each page. They count; no
 * rule depends on them.
 */
#ifndef KPV_TLB_REACH_H
#define KPV_TLB_REACH_H

#include "decode.h"
#include "tables.h"

#define REACH_LEVELS	2
#define REACH_MODELS	2	/* A and B */

/* "sets" of 1: fully associative. Replacement is least recently used. */
struct geometry {
	unsigned int entries;
	unsigned int ways;
};

struct core {
	const char *name;
	struct geometry level[REACH_LEVELS];
	const char *source;
};

struct reach_entry {
	uint64_t va;
	uint64_t bytes;		/* 0: empty */
	uint64_t used;
	uint16_t asid;
};

struct reach {
	const struct core *core;
	struct core custom;
	uint64_t clock;
	bool used[MAX_VCPUS];	/* has entries, since it was last emptied */
	/* [vcpu][model][level] */
	struct reach_entry *entries[MAX_VCPUS][REACH_MODELS][REACH_LEVELS];
};

/* "a57", or "48,1280/5": entries[/ways] of each level; returns NULL or what is wrong with it. */
const char *reach_init(struct reach *reach, const char *core);
/*
 * The level that holds the page of va, REACH_LEVELS if none; it is in the first
 * level from then on.
 */
unsigned int reach_look_up(struct reach *reach, const struct regime *regime, unsigned int cpu,
			   unsigned int model, uint16_t asid, uint64_t va);
void reach_fill(struct reach *reach, unsigned int cpu, unsigned int model, uint16_t asid,
		uint64_t va, uint64_t bytes);
void reach_tlbi(struct reach *reach, unsigned int cpu, const struct tlbi *tlbi,
		const struct tlbi_target *target);

#endif /* KPV_TLB_REACH_H */
