// SPDX-License-Identifier: GPL-2.0
#include "stale.h"

#include "tables.h"

static uint64_t nr_records;

uint64_t stale_count(void)
{
	return nr_records;
}

unsigned int leaf_changes(const struct regime *regime, uint64_t old, uint64_t new,
			  unsigned int level)
{
	unsigned int changes = 0;

	if (!desc_is_leaf(new, level))
		return CHANGE_VALID;
	if (leaf_address(regime, old, level) != leaf_address(regime, new, level))
		changes |= CHANGE_ADDRESS;
	if ((old ^ new) & DESC_CONT)
		changes |= CHANGE_SIZE;
	if ((old ^ new) & (DESC_ATTR_INDEX | DESC_SH | DESC_NG))
		changes |= CHANGE_ATTR;
	/*
	 * With DBM set, a cached entry that is writable keeps a write from marking the new
	 * one dirty.
	 */
	if (new & ~old & DESC_READONLY)
		changes |= CHANGE_WRITE;
	if (new & ~old & (DESC_UXN | DESC_PXN))
		changes |= CHANGE_EXEC;
	if (old & ~new & DESC_USER)
		changes |= CHANGE_USER;
	return changes;
}

enum stale_state stale_state(const struct stale *stale)
{
	for (unsigned int domain = 0; domain < NR_TLBI_DOMAINS; domain++)
		if (stale->issued[domain])
			return STALE_ISSUED;
	if (stale->partly)
		return STALE_PARTLY;
	if (stale->early)
		return STALE_EARLY;
	return stale->hinted ? STALE_HINTED : STALE_UNFLUSHED;
}

void stale_quiet(struct stale *stale)
{
	if (!stale->quiet)
		nr_records--;
	stale->quiet = stale->seen = stale->seen_local = true;
}

/* Somebody has to look out for it again. */
static void rouse(struct stale *stale)
{
	if (stale->quiet)
		nr_records++;
	stale->quiet = false;
}

void stale_wake(struct stale *stale, const struct where *where)
{
	rouse(stale);
	stale->where = *where;
}

struct stale *stale_add(struct mm *mm, struct table *table, unsigned int index, uint64_t va,
			unsigned int level, uint64_t old, const struct where *where)
{
	struct stale *stale = table_stale(table, index);

	if (stale) {
		rouse(stale);
		/* What either lets: writable, executable, for users. */
		uint64_t tight = DESC_READONLY | DESC_UXN | DESC_PXN;

		stale->old = (stale->old & (old | ~tight)) | (old & DESC_USER);
	} else {
		if (mm->nr_stale == mm->max_stale) {
			mm->max_stale = mm->max_stale ? 2 * mm->max_stale : 64;
			mm->stale = realloc(mm->stale, mm->max_stale * sizeof(*mm->stale));
		}
		if (!table->stale)
			table->stale = calloc(table->nr, sizeof(*table->stale));
		if (!mm->stale || !table->stale)
			abort();
		stale = &mm->stale[mm->nr_stale++];
		*stale = (struct stale) { .old = old };
		table->stale[index] = mm->nr_stale;
		nr_records++;
	}
	*stale = (struct stale) {
		.table = table, .index = index, .level = level, .va = va,
		.old = stale->old, .where = *where, .cpus = mm->cpus, .storers = 1ULL << where->cpu,
	};
	return stale;
}

void stale_stored_over(struct stale *stale, unsigned int cpu)
{
	if (!stale->seen)
		stale->storers |= 1ULL << cpu;
}

void stale_remove(struct mm *mm, struct stale *stale)
{
	struct stale *last = &mm->stale[--mm->nr_stale];

	rouse(stale);
	if (stale->table)
		stale->table->stale[stale->index] = 0;
	if (stale != last) {
		*stale = *last;
		if (stale->table)
			stale->table->stale[stale->index] = stale - mm->stale + 1;
	}
	nr_records--;
}

void stale_clear(struct mm *mm)
{
	while (mm->nr_stale)
		stale_remove(mm, &mm->stale[mm->nr_stale - 1]);
}

bool tlbi_names(const struct tlbi *tlbi, const struct tlbi_target *target, uint16_t asid,
		bool global, uint64_t va, uint64_t bytes, unsigned int level, bool any_hint)
{
	if (tlbi->scope == TLBI_ALL)
		return true;
	/*
	 * Entries of global pages have no ASID: by VA they go whatever the ASID, by ASID
	 * they stay.
	 */
	if (tlbi->scope == TLBI_ASID)
		return !global && target->asid == asid;
	if (tlbi->scope == TLBI_VA && !global && target->asid != asid)
		return false;
	if (!any_hint && (target->other_granule || (target->level >= 0 && target->level != level)))
		return false;
	return target->va < va + bytes && va < target->va + target->bytes;
}

static void hit(struct stale *stale, unsigned int cpu, uint64_t pc, const struct tlbi *tlbi)
{
	uint64_t reach = tlbi->domain == DOMAIN_LOCAL ? 1ULL << cpu : ~0ULL;

	if (!stale->seen)
		reach = stale->seen_local && stale->where.cpu == cpu ? reach & 1ULL << cpu : 0;
	stale->tlbi_pc = pc;
	if (!(reach & stale->cpus)) {
		stale->early |= !stale->seen;
		return;
	}
	rouse(stale);
	stale->issued[tlbi->domain] |= 1ULL << cpu;
	if (tlbi->nxs)
		stale->issued_nxs |= 1ULL << cpu;
	stale->partly = stale->cpus & ~reach;
}

/*
 * Each CPU completes what it issued itself: where two have flushed the same, the first to wait for it is
 * enough. Returns the CPUs whose TLBs hold the translation no longer.
 */
static uint64_t completed(struct stale *stale, unsigned int cpu, const struct dsb *dsb)
{
	uint64_t self = 1ULL << cpu, gone = 0;

	for (unsigned int domain = 0; domain < NR_TLBI_DOMAINS && domain <= dsb->domain; domain++) {
		if (!(stale->issued[domain] & self) || (dsb->nxs && !(stale->issued_nxs & self)))
			continue;
		stale->issued[domain] &= ~self;
		gone |= domain == DOMAIN_LOCAL ? self : ~0ULL;
	}
	return gone;
}

void stale_tlbi(struct tables *tables, unsigned int cpu, uint64_t pc, const struct tlbi *tlbi,
		const struct tlbi_target *target)
{
	const struct regime *regime = &tables->regime;

	for (struct mm *mm = tables->mms; mm; mm = mm->next) {
		for (uint32_t i = 0; i < mm->nr_stale; i++) {
			struct stale *stale = &mm->stale[i];
			uint64_t bytes = level_bytes(regime, stale->level);
			bool global = !(stale->old & DESC_NG);

			if (tlbi_names(tlbi, target, mm->asid, global, stale->va, bytes, stale->level, false)) {
				hit(stale, cpu, pc, tlbi);
			} else if (tlbi_names(tlbi, target, mm->asid, global, stale->va, bytes, stale->level,
					      true)) {
				stale->hinted = true;
				stale->tlbi_pc = pc;
			} else if ((stale->old & DESC_CONT) && stale->seen) {
				bytes *= cont_entries(regime, stale->level);
				stale->block_hit |= tlbi_names(tlbi, target, mm->asid, global,
							       stale->va & -bytes, bytes, stale->level, false);
			}
		}
	}
}

void stale_dsb(struct tables *tables, unsigned int cpu, const struct dsb *dsb)
{
	bool full = dsb->loads && dsb->stores;

	for (struct mm *mm = tables->mms; mm; mm = mm->next) {
		for (uint32_t i = mm->nr_stale; i-- > 0;) {
			struct stale *stale = &mm->stale[i];

			if (dsb->stores && (stale->storers >> cpu & 1)) {
				stale->seen_local |= stale->where.cpu == cpu;
				stale->seen |= dsb->domain >= DOMAIN_INNER;
			}
			if (full)
				stale->cpus &= ~completed(stale, cpu, dsb);
			if (!stale->cpus)
				stale_remove(mm, stale);
		}
	}
}
