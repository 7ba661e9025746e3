/* SPDX-License-Identifier: GPL-2.0 */
/*
 * count.h: what one task executes in the kernel, instruction by instruction, from
 * the translation blocks that are executed. Knows nothing of QEMU.
 *
 * Counted is what the measured task executes at EL1. Held off, i.e. counted apart,
 * is what it is not to blame for: interrupts, wherever they came, and other tasks,
 * from __schedule() to its return.
 *
 * A block is counted when it begins. It ends early only by a synchronous
 * exception in its middle, which is made good when the exception's vector is
 * executed and ELR_EL1 says how far it came.
 */
#ifndef KPV_COST_COUNT_H
#define KPV_COST_COUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum event {
	EVENT_TLBI_VA,
	EVENT_TLBI_RANGE,
	EVENT_TLBI_ASID,
	EVENT_TLBI_ALL,
	EVENT_DSB,
	EVENT_ISB,
	EVENT_ATOMIC,
	NR_EVENTS,
	EVENT_NONE = NR_EVENTS,
};

/* How control leaves a block at its end. */
enum leave {
	LEAVE_OTHER,		/* falls through, branches, or is cut by QEMU */
	LEAVE_CALL,		/* BL, BLR */
	LEAVE_RETURN,		/* RET */
	LEAVE_ERET,
};

/* A translation block. */
struct block {
	uint64_t pc;
	uint32_t nr;		/* instructions */
	uint32_t function;	/* index of the function that pc is in */
	bool kernel;		/* at EL1: pc is in the upper VA range */
	enum leave leave;
	uint32_t nr_events;
	struct block_event {
		uint32_t at;	/* instruction */
		enum event event;
	} *events;
};

#define FUNCTION_NONE	UINT32_MAX

/* A call path: the functions from the root are its stack. */
struct node {
	uint32_t parent;
	uint32_t function;
	uint32_t child;		/* 0: none, as no node's child is the root */
	uint32_t sibling;
	bool off;
	uint64_t calls;
	uint64_t instructions;
};

/* A call that has not returned. */
struct frame {
	uint64_t ret;
	uint32_t node;		/* of the caller */
};

/* An exception that has not returned. */
struct context {
	const struct block *before;
	uint32_t node;		/* of what it interrupted */
	uint32_t nr_frames;
	bool off;
};

#define MAX_FRAMES	4096
#define MAX_CONTEXTS	16

struct counter {
	/* Set by who embeds it. */
	uint32_t scheduler;	/* function index of __schedule, FUNCTION_NONE */
	uint64_t vectors;	/* VBAR_EL1 */

	bool running;
	const char *broken;	/* the counts mean nothing, and why */
	uint64_t current;	/* task that runs, as SP_EL0 has it at EL1; 0: not known */
	uint64_t task;		/* the measured one */
	const struct block *before;

	uint32_t node;
	uint32_t nr_nodes, max_nodes;
	struct node *nodes;	/* [0] is the root */
	uint32_t nr_frames;
	struct frame frames[MAX_FRAMES];
	uint32_t nr_contexts;
	struct context contexts[MAX_CONTEXTS];

	uint64_t instructions;
	uint64_t events[NR_EVENTS];
	uint64_t exceptions;	/* synchronous ones, from EL0 */
	uint64_t interrupts, switches, held_off;
	uint64_t strayed;	/* returns that no call was known of */
};

/* Vectors from EL1 with its own stack, by offset (Arm ARM, D1.3.1 "Exception entry"). */
enum {
	VECTOR_EL1_SYNC = 0x200,
	VECTOR_EL1_END = 0x400,
	VECTOR_EL0_SYNC = 0x400,
	VECTOR_EL0_IRQ = 0x480,
	VECTORS_BYTES = 0x800,
	VECTOR_BYTES = 0x80,
};

/* Whether this is the first instruction of a synchronous exception from EL1. */
static inline bool counter_is_el1_sync(const struct counter *counter, uint64_t pc)
{
	return pc - counter->vectors == VECTOR_EL1_SYNC;
}

/* The task that runs begins to be measured; it is at EL0. */
void counter_begin(struct counter *counter);
void counter_end(struct counter *counter);
/* SP_EL0 was written. */
void counter_current(struct counter *counter, uint64_t value);
/* A block begins. elr: ELR_EL1 where counter_is_el1_sync(). Only while running. */
void counter_block(struct counter *counter, const struct block *block, uint64_t elr);

/* Whether what is executed now is counted. */
static inline bool counter_counts(const struct counter *counter)
{
	uint32_t nr = counter->nr_contexts;

	return counter->running && counter->current == counter->task && nr && nr <= MAX_CONTEXTS &&
	       !counter->contexts[nr - 1].off && !counter->nodes[counter->node].off;
}

#endif /* KPV_COST_COUNT_H */
