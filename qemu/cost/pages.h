/* SPDX-License-Identifier: GPL-2.0 */
/*
 * pages.h: which stores went to page tables. Stores are counted for each page of
 * RAM while a call runs; which pages are tables of a process is read from RAM
 * before, after, and when the process it forks says so.
 */
#ifndef KPV_COST_PAGES_H
#define KPV_COST_PAGES_H

#include "kpv-plugin.h"
#include "regime.h"

#define PAGE_BYTES	4096	/* of counting; a granule is a multiple */

struct pages {
	struct kpv_ram ram;
	uint64_t nr;
	uint32_t *stores;	/* 64-bit words stored to each page */
	uint64_t *tables;	/* bitmap: is or was a table of the process */
};

/* Size everything for this RAM. */
void pages_init(struct pages *pages);
void pages_clear(struct pages *pages);
/* Note the tables that translate [base, base + bytes). NULL, or why they cannot be read. */
const char *pages_learn(struct pages *pages, const struct regime *regime, uint64_t ttbr0,
			uint64_t base, uint64_t bytes);
/* Words stored to tables, and the number of tables. */
uint64_t pages_stores(const struct pages *pages, uint64_t *nr_tables);

/* offset: of the address in RAM; anything else is not counted. */
static inline void pages_store(struct pages *pages, uint64_t offset, unsigned int words)
{
	if (offset < pages->ram.size)
		pages->stores[offset / PAGE_BYTES] += words;
}

#endif /* KPV_COST_PAGES_H */
