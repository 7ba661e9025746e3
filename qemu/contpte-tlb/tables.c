// SPDX-License-Identifier: GPL-2.0
#include "tables.h"

static void *must(void *memory)
{
	if (!memory) {
		fprintf(stderr, "kpv contpte-tlb: no memory\n");
		abort();
	}
	return memory;
}

bool tables_init(struct tables *tables)
{
	tables->nr_pages = tables->ram.size >> 12;
	tables->by_page = must(calloc(tables->nr_pages, sizeof(*tables->by_page)));
	tables->written_by = must(calloc(tables->nr_pages, sizeof(*tables->written_by)));
	tables->tracked = must(calloc(tables->nr_pages / 64 + 1, sizeof(*tables->tracked)));
	return true;
}

/* The pages of [pa, pa + bytes), which is RAM. */
static void page_range(uint64_t pa, uint64_t bytes, uint64_t *first, uint64_t *last)
{
	*first = (pa - KPV_RAM_BASE) >> 12;
	*last = (pa - KPV_RAM_BASE + bytes - 1) >> 12;
}

static void page_link(struct tables *tables, struct table *table)
{
	uint64_t page, last;

	page_range(table->pa, table->nr * 8ULL, &page, &last);
	table->page_next = tables->by_page[page];
	for (; page <= last; page++) {
		tables->by_page[page] = table;
		__atomic_fetch_or(&tables->tracked[page >> 6], 1ULL << (page & 63),
				  __ATOMIC_RELAXED);
	}
	tables->nr_tables++;
}

static void page_unlink(struct tables *tables, struct table *table)
{
	struct table **at;
	uint64_t page, last;

	page_range(table->pa, table->nr * 8ULL, &page, &last);
	at = &tables->by_page[page];
	while (*at != table)
		at = &(*at)->page_next;
	*at = table->page_next;
	for (; page <= last; page++) {
		if (tables->by_page[page] == table)	/* a table of several pages shares none */
			tables->by_page[page] = NULL;
		if (!tables->by_page[page])
			__atomic_fetch_and(&tables->tracked[page >> 6], ~(1ULL << (page & 63)),
					   __ATOMIC_RELAXED);
	}
	tables->nr_tables--;
}

struct table *tables_at(const struct tables *tables, uint64_t pa)
{
	struct table *table;

	if (pa < KPV_RAM_BASE || (pa - KPV_RAM_BASE) >> 12 >= tables->nr_pages)
		return NULL;
	table = tables->by_page[(pa - KPV_RAM_BASE) >> 12];
	while (table && pa - table->pa >= table->nr * 8ULL)
		table = table->page_next;
	return table;
}

struct mm *mm_of_root(const struct tables *tables, uint64_t root)
{
	struct table *table = tables_at(tables, root);

	return table && !table->parent && table->pa == root ? table->mm : NULL;
}

struct mm *mm_of_asid(const struct tables *tables, uint16_t asid)
{
	struct mm *mm = tables->mms;

	while (mm && mm->asid != asid)
		mm = mm->next;
	return mm;
}

static void blocks_count(const struct tables *tables, struct table *table)
{
	unsigned int n = cont_entries(&tables->regime, table->level);

	for (unsigned int i = 0; i < table->nr; i++) {
		if (!desc_is_leaf(table->desc[i], table->level))
			continue;
		table->blocks[i / n].valid++;
		table->blocks[i / n].cont += !!(table->desc[i] & DESC_CONT);
	}
	for (unsigned int b = 0; b < table->nr / n; b++) {
		struct block *block = &table->blocks[b];

		if (block->valid == n && !block->cont)
			block->shape = SHAPE_SINGLE;
		else if (block->cont == n)
			block->shape = SHAPE_FOLDED;
	}
}

static void table_free(struct tables *tables, struct table *table)
{
	for (unsigned int i = 0; table->child && i < table->nr; i++)
		if (table->child[i])
			table_free(tables, table->child[i]);
	page_unlink(tables, table);
	for (unsigned int b = 0; table->blocks && b < table->nr / cont_entries(&tables->regime, table->level); b++)
		free(table->blocks[b].unmade);
	free(table->child);
	free(table->blocks);
	free(table->stale);
	free(table->desc);
	free(table);
}

/*
 * Whether RAM still has what made this a table; a first-level table has nothing that
 * points to it there.
 */
static bool still_linked(const struct tables *tables, const struct table *table)
{
	uint64_t desc;

	return table->parent &&
	       kpv_ram_read64(&tables->ram, table->parent->pa + table->slot * 8, &desc) &&
	       desc_is_table(desc, table->parent->level) &&
	       desc_address(&tables->regime, desc) == table->pa;
}

static struct table *table_read(struct tables *tables, struct mm *mm, uint64_t pa,
				unsigned int level, uint64_t va)
{
	const struct regime *regime = &tables->regime;
	unsigned int nr = level_entries(regime, level), n = cont_entries(regime, level);
	const uint64_t *ram = kpv_ram_at(&tables->ram, pa, nr * 8ULL);
	struct table *table, *other;

	if (!ram) {
		tables->unreadable++;
		return NULL;
	}
	other = tables_at(tables, pa);
	if (other && other->mm != mm && !still_linked(tables, other)) {
		tables->lost++;
		mm_drop(tables, other->mm);
		other = tables_at(tables, pa);
	}
	if (other) {
		tables->shared++;
		return NULL;
	}
	table = must(calloc(1, sizeof(*table)));
	table->desc = must(malloc(nr * sizeof(*table->desc)));
	table->mm = mm;
	table->level = level;
	table->nr = nr;
	table->pa = pa;
	table->va = va;
	for (unsigned int i = 0; i < nr; i++) {
		table->desc[i] = __atomic_load_n(&ram[i], __ATOMIC_RELAXED);
		table->present += !!table->desc[i];
	}
	page_link(tables, table);
	if (n > 1) {
		table->blocks = must(calloc(nr / n + 1, sizeof(*table->blocks)));
		blocks_count(tables, table);
	}
	if (level == LAST_LEVEL)
		return table;
	table->child = must(calloc(nr, sizeof(*table->child)));
	for (unsigned int i = 0; i < nr; i++)
		if (desc_is_table(table->desc[i], level))
			table_learn(tables, table, i);
	return table;
}

struct table *table_learn(struct tables *tables, struct table *parent, unsigned int slot)
{
	struct table *table;

	table = table_read(tables, parent->mm, desc_address(&tables->regime, parent->desc[slot]),
			   parent->level + 1, table_va(tables, parent, slot));
	if (!table)
		return NULL;
	table->parent = parent;
	table->slot = slot;
	parent->child[slot] = table;
	return table;
}

/* The leaves of a table that goes are stale; records that it had no longer have an entry. */
static void table_leave(struct tables *tables, struct table *table, const struct where *where)
{
	const struct regime *regime = &tables->regime;

	for (unsigned int i = 0; table->child && i < table->nr; i++)
		if (table->child[i])
			table_leave(tables, table->child[i], where);
	for (unsigned int i = 0; i < table->nr; i++)
		if (desc_is_leaf(table->desc[i], table->level) &&
		    leaf_cacheable(regime, table->desc[i]))
			stale_add(table->mm, table, i, table_va(tables, table, i), table->level,
				  table->desc[i], where);
	for (uint32_t i = 0; table->stale && i < table->mm->nr_stale; i++)
		if (table->mm->stale[i].table == table)
			table->mm->stale[i].table = NULL;
}

static void touched_forget(struct tables *tables, struct mm *mm, const struct table *table)
{
	uint32_t kept = 0;

	for (unsigned int i = 0; table->child && i < table->nr; i++)
		if (table->child[i])
			touched_forget(tables, mm, table->child[i]);
	for (uint32_t i = 0; i < mm->nr_touched; i++)
		if (mm->touched[i].table != table)
			mm->touched[kept++] = mm->touched[i];
	tables->nr_touched -= mm->nr_touched - kept;
	mm->nr_touched = kept;
}

void table_unlink(struct tables *tables, struct table *parent, unsigned int slot,
		  const struct where *where)
{
	struct table *table = parent->child[slot];

	parent->child[slot] = NULL;
	table_leave(tables, table, where);
	touched_forget(tables, table->mm, table);
	table_free(tables, table);
}

struct mm *mm_learn(struct tables *tables, uint64_t root, uint16_t asid)
{
	struct mm *mm = must(calloc(1, sizeof(*mm)));

	mm->asid = asid;
	mm->root = table_read(tables, mm, root, tables->regime.start_level, 0);
	if (!mm->root) {
		free(mm);
		return NULL;
	}
	mm->serial = ++tables->serial;
	mm->next = tables->mms;
	tables->mms = mm;
	return mm;
}

void mm_drop(struct tables *tables, struct mm *mm)
{
	struct mm **at = &tables->mms;

	while (*at != mm)
		at = &(*at)->next;
	*at = mm->next;
	for (unsigned int i = 0; i < MAX_VCPUS; i++)
		if (tables->active[i] == mm)
			tables->active[i] = NULL;
	tables->nr_touched -= mm->nr_touched;
	stale_clear(mm);
	table_free(tables, mm->root);
	free(mm->stale);
	free(mm->touched);
	free(mm);
}

bool tables_walk(const struct tables *tables, uint64_t root, uint64_t va, struct walk *walk)
{
	const struct regime *regime = &tables->regime;
	uint64_t table = root;

	*walk = (struct walk) { .level = regime->start_level };
	if (va >> regime->va_bits)
		return true;
	for (;; walk->level++) {
		unsigned int nr = level_entries(regime, walk->level);
		uint64_t index = va >> level_shift(regime, walk->level) & (nr - 1);

		if (!kpv_ram_read64(&tables->ram, table + index * 8, &walk->desc))
			return false;
		walk->steps++;
		if (!desc_is_table(walk->desc, walk->level))
			return true;
		table = desc_address(regime, walk->desc);
	}
}

/*
 * Whether a store was missed: what RAM has is not what the copy has, nor what
 * hardware makes of it.
 */
static bool differs(const struct regime *regime, uint64_t seen, uint64_t ram, unsigned int level)
{
	uint64_t changed = seen ^ ram;

	if (!changed)
		return false;
	if (!desc_is_leaf(seen, level) || !desc_is_leaf(ram, level))
		return true;
	if (regime->hardware_af && (ram & DESC_AF))
		changed &= ~DESC_AF;
	if (regime->hardware_dirty && (seen & DESC_DBM) && !(ram & DESC_READONLY))
		changed &= ~DESC_READONLY;
	return changed;
}

static unsigned int table_differs(const struct tables *tables, const struct table *table,
				  uint64_t *pa)
{
	const uint64_t *ram = kpv_ram_at(&tables->ram, table->pa, table->nr * 8ULL);
	unsigned int nr = 0;

	for (unsigned int i = 0; i < table->nr; i++) {
		uint64_t now = __atomic_load_n(&ram[i], __ATOMIC_RELAXED);

		if (differs(&tables->regime, table->desc[i], now, table->level)) {
			*pa = table->pa + i * 8;
			nr++;
		} else if (table->child && table->child[i]) {
			nr += table_differs(tables, table->child[i], pa);
		}
	}
	return nr;
}

unsigned int mm_differs(const struct tables *tables, const struct mm *mm, uint64_t *pa)
{
	return table_differs(tables, mm->root, pa);
}
