// SPDX-License-Identifier: GPL-2.0
#include "count.h"

#include <stdlib.h>
#include <string.h>

#define INSN_BYTES	4

/* What a block at EL0 is like: nothing of it matters. */
static const struct block user;

static uint32_t node_new(struct counter *counter, uint32_t parent, uint32_t function)
{
	if (counter->nr_nodes == counter->max_nodes) {
		counter->max_nodes = counter->max_nodes ? 2 * counter->max_nodes : 256;
		counter->nodes = realloc(counter->nodes, counter->max_nodes * sizeof(struct node));
		if (!counter->nodes)
			abort();
	}
	counter->nodes[counter->nr_nodes] = (struct node) { .parent = parent, .function = function };
	return counter->nr_nodes++;
}

/* The node of a function called from this node. */
static uint32_t node_child(struct counter *counter, uint32_t parent, uint32_t function)
{
	uint32_t child = counter->nodes[parent].child;

	while (child && counter->nodes[child].function != function)
		child = counter->nodes[child].sibling;
	if (child)
		return child;
	child = node_new(counter, parent, function);
	counter->nodes[child].sibling = counter->nodes[parent].child;
	counter->nodes[child].off = counter->nodes[parent].off ||
				    (function == counter->scheduler && function != FUNCTION_NONE);
	counter->nodes[parent].child = child;
	return child;
}

static void enter(struct counter *counter, uint32_t parent, uint32_t function)
{
	counter->node = node_child(counter, parent, function);
	if (!counter->nodes[counter->node].off)
		counter->nodes[counter->node].calls++;
}

void counter_begin(struct counter *counter)
{
	counter->nr_nodes = 0;
	counter->node = node_new(counter, 0, FUNCTION_NONE);
	counter->nr_frames = counter->nr_contexts = 0;
	counter->instructions = counter->exceptions = counter->interrupts = 0;
	counter->switches = counter->held_off = counter->strayed = 0;
	memset(counter->events, 0, sizeof(counter->events));
	counter->task = counter->current;
	counter->before = &user;
	counter->broken = counter->current ? NULL : "the task that runs is not known";
	counter->running = true;
}

void counter_end(struct counter *counter)
{
	counter->running = false;
}

void counter_current(struct counter *counter, uint64_t value)
{
	/* At EL1 SP_EL0 is the task (arch/arm64/include/asm/current.h), else the user's stack. */
	if (!(value >> 63))
		return;
	if (counter->running && counter->current == counter->task && value != counter->task)
		counter->switches++;
	counter->current = value;
}

/* Whether an exception is under way that is held off. */
static bool in_off(const struct counter *counter)
{
	return counter->nr_contexts && counter->contexts[counter->nr_contexts - 1].off;
}

/* "before": the block after which the interrupted code goes on, NULL: in a block's middle. */
static void push(struct counter *counter, const struct block *before, bool off)
{
	bool outer = in_off(counter);

	if (counter->nr_contexts == MAX_CONTEXTS) {
		counter->broken = "too many exceptions in one another";
		return;
	}
	counter->contexts[counter->nr_contexts++] = (struct context) {
		.before = before,
		.node = counter->node,
		.nr_frames = counter->nr_frames,
		.off = off || outer,
	};
}

static void pop(struct counter *counter)
{
	const struct context *context;

	if (!counter->nr_contexts) {
		counter->broken = "a return from an exception that was not seen";
		return;
	}
	context = &counter->contexts[--counter->nr_contexts];
	counter->before = context->before;
	counter->node = context->node;
	counter->nr_frames = context->nr_frames;
}

/* The rest of a block, from instruction "from" on, was not executed after all. */
static void take_back(struct counter *counter, const struct block *block, uint32_t from)
{
	uint64_t nr = block->nr - from;

	if (!counter_counts(counter)) {
		counter->held_off -= nr;
		return;
	}
	counter->instructions -= nr;
	counter->nodes[counter->node].instructions -= nr;
	for (uint32_t i = 0; i < block->nr_events; i++)
		if (block->events[i].at >= from)
			counter->events[block->events[i].event]--;
}

/* Where this block begins an exception: what it interrupts. Returns whether it does. */
static bool exception(struct counter *counter, const struct block *block, uint64_t elr)
{
	const struct block *before = counter->before;
	uint64_t vector = block->pc - counter->vectors;

	/* From EL0, through whichever table: with KPTI it is another one. */
	if (before && !before->kernel) {
		bool sync = (block->pc & (VECTORS_BYTES - 1)) < VECTOR_EL0_IRQ;

		push(counter, before, !sync);
		if (sync)
			counter->exceptions++;
		else
			counter->interrupts++;
		counter->node = 0;
		return true;
	}
	if (vector < VECTOR_EL1_SYNC || vector >= VECTOR_EL1_END || vector % VECTOR_BYTES)
		return false;
	if (vector == VECTOR_EL1_SYNC) {
		if (before && elr - before->pc < (uint64_t)before->nr * INSN_BYTES)
			take_back(counter, before, (elr - before->pc) / INSN_BYTES);
		push(counter, NULL, false);
	} else {
		push(counter, before, true);
		counter->interrupts++;
	}
	return true;
}

static void call(struct counter *counter, uint64_t ret, uint32_t function)
{
	if (counter->nr_frames == MAX_FRAMES) {
		counter->broken = "calls deeper than can be followed";
		return;
	}
	counter->frames[counter->nr_frames++] = (struct frame) { ret, counter->node };
	enter(counter, counter->node, function);
}

/* Where a return comes to: the innermost call that has this return address. */
static bool returned(struct counter *counter, uint64_t pc)
{
	uint32_t floor = counter->nr_contexts ?
				 counter->contexts[counter->nr_contexts - 1].nr_frames : 0;

	for (uint32_t i = counter->nr_frames; i > floor; i--) {
		if (counter->frames[i - 1].ret == pc) {
			counter->node = counter->frames[i - 1].node;
			counter->nr_frames = i - 1;
			return true;
		}
	}
	counter->strayed++;
	return false;
}

/* Which call path the block belongs to, by how the one before was left. */
static void follow(struct counter *counter, const struct block *block)
{
	const struct block *before = counter->before;

	switch (before ? before->leave : LEAVE_OTHER) {
	case LEAVE_CALL:
		call(counter, before->pc + (uint64_t)before->nr * INSN_BYTES, block->function);
		return;
	case LEAVE_RETURN:
		if (returned(counter, block->pc))
			return;
		break;
	case LEAVE_ERET:
	case LEAVE_OTHER:
		break;
	}
	/* A tail call, or one function's end is another's beginning, as in entry.S. */
	if (counter->nodes[counter->node].function != block->function)
		enter(counter, counter->nodes[counter->node].parent, block->function);
}

void counter_block(struct counter *counter, const struct block *block, uint64_t elr)
{
	bool begins;

	/* After the switch back the task goes on behind the other one's last block. */
	if (counter->current != counter->task) {
		if (block->kernel)
			counter->held_off += block->nr;
		counter->before = block;
		return;
	}
	if (counter->before && counter->before->leave == LEAVE_ERET)
		pop(counter);
	if (!block->kernel) {
		counter->before = block;
		return;
	}
	begins = exception(counter, block, elr);
	if (!in_off(counter)) {
		if (begins)
			enter(counter, counter->node, block->function);
		else
			follow(counter, block);
	}
	counter->before = block;
	if (!counter_counts(counter)) {
		counter->held_off += block->nr;
		return;
	}
	counter->instructions += block->nr;
	counter->nodes[counter->node].instructions += block->nr;
	for (uint32_t i = 0; i < block->nr_events; i++)
		counter->events[block->events[i].event]++;
}
