// SPDX-License-Identifier: GPL-2.0
/* The counter of qemu/cost for a test that plays the CPU. */
#include <stdlib.h>

#include "count.h"
#include "pages.h"

#define VECTORS 0xffff800080010800ULL

static struct counter counter;

void shim_new(uint32_t scheduler)
{
	free(counter.nodes);
	counter = (struct counter) { .scheduler = scheduler, .vectors = VECTORS };
}

void shim_begin(uint64_t task)
{
	counter_current(&counter, task);
	counter_begin(&counter);
}

void shim_current(uint64_t task)
{
	counter_current(&counter, task);
}

/* event: of the block's last instruction, NR_EVENTS for none. */
void shim_block(uint64_t pc, uint32_t nr, uint32_t function, int leave, int event, uint64_t elr)
{
	struct block *block = calloc(1, sizeof(*block));

	*block = (struct block) {
		.pc = pc, .nr = nr, .function = function, .kernel = pc >> 63, .leave = leave,
		.nr_events = event != NR_EVENTS,
		.events = calloc(1, sizeof(struct block_event)),
	};
	*block->events = (struct block_event) { nr - 1, event };
	counter_block(&counter, block, elr);
}

uint64_t shim_get(int what)
{
	const uint64_t values[] = {
		counter.instructions, counter.held_off, counter.interrupts, counter.switches,
		counter.exceptions, counter.strayed, counter.nr_nodes, counter_counts(&counter),
	};

	return values[what];
}

uint64_t shim_event(int event)
{
	return counter.events[event];
}

const char *shim_broken(void)
{
	return counter.broken ? counter.broken : "";
}

/* which: parent, function, calls, instructions */
int64_t shim_node(uint32_t node, int which)
{
	const struct node *n = &counter.nodes[node];
	const int64_t values[] = { n->parent, (int32_t)n->function, n->calls, n->instructions };

	return values[which];
}

/* Stores to a page table, to another page and outside of RAM; returns words counted to tables. */
uint64_t shim_stores(char *ram, uint64_t size, uint64_t ttbr0, uint64_t base, uint64_t bytes,
		     const uint64_t *offsets, int nr, uint64_t *tables)
{
	struct regime regime = { .page_shift = 12, .va_bits = 48, .start_level = 0 };
	struct pages pages = { .ram = { .map = ram, .size = size } };
	uint64_t words;

	pages_init(&pages);
	for (int i = 0; i < nr; i++)
		pages_store(&pages, offsets[i], 1);
	if (pages_learn(&pages, &regime, ttbr0, base, bytes))
		return UINT64_MAX;
	words = pages_stores(&pages, tables);
	free(pages.stores);
	free(pages.tables);
	return words;
}
