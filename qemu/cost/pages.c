// SPDX-License-Identifier: GPL-2.0
#include "pages.h"

#define WORD_BITS	64

void pages_init(struct pages *pages)
{
	pages->nr = pages->ram.size / PAGE_BYTES;
	pages->stores = calloc(pages->nr, sizeof(*pages->stores));
	pages->tables = calloc((pages->nr + WORD_BITS - 1) / WORD_BITS, sizeof(*pages->tables));
	if (!pages->stores || !pages->tables)
		abort();
}

void pages_clear(struct pages *pages)
{
	memset(pages->stores, 0, pages->nr * sizeof(*pages->stores));
	memset(pages->tables, 0,
	       (pages->nr + WORD_BITS - 1) / WORD_BITS * sizeof(*pages->tables));
}

static void note(struct pages *pages, uint64_t pa, uint64_t bytes)
{
	for (uint64_t page = (pa - KPV_RAM_BASE) / PAGE_BYTES;
	     page * PAGE_BYTES < pa - KPV_RAM_BASE + bytes; page++)
		pages->tables[page / WORD_BITS] |= 1ULL << page % WORD_BITS;
}

/* The table at pa, whose entry 0 translates "start", and those below it. */
static const char *learn(struct pages *pages, const struct regime *regime, uint64_t pa,
			 unsigned int level, uint64_t start, uint64_t first, uint64_t last)
{
	unsigned int shift = level_shift(regime, level), nr = level_entries(regime, level);

	if (!kpv_ram_at(&pages->ram, pa, nr * 8ULL))
		return "a page table lies outside of RAM";
	note(pages, pa, nr * 8ULL);
	if (level == LAST_LEVEL)
		return NULL;
	for (uint64_t i = 0; i < nr; i++) {
		uint64_t from = start + (i << shift), to = from + (1ULL << shift) - 1;
		uint64_t desc = 0;
		const char *wrong;

		if (to < first || from > last)
			continue;
		kpv_ram_read64(&pages->ram, pa + i * 8, &desc);
		if (!desc_is_table(desc, level))
			continue;
		wrong = learn(pages, regime, desc_address(regime, desc), level + 1, from, first, last);
		if (wrong)
			return wrong;
	}
	return NULL;
}

const char *pages_learn(struct pages *pages, const struct regime *regime, uint64_t ttbr0,
			uint64_t base, uint64_t bytes)
{
	return learn(pages, regime, regime_root(regime, ttbr0), regime->start_level, 0, base,
		     base + bytes - 1);
}

uint64_t pages_stores(const struct pages *pages, uint64_t *nr_tables)
{
	uint64_t stores = 0;

	*nr_tables = 0;
	for (uint64_t page = 0; page < pages->nr; page++) {
		if (!(pages->tables[page / WORD_BITS] >> page % WORD_BITS & 1))
			continue;
		stores += pages->stores[page];
		++*nr_tables;
	}
	return stores;
}
