// SPDX-License-Identifier: GPL-2.0
/*
 * What must lie between two stores to an entry, and between a store and the
 * return to EL0 of the task that made it.
 */
#include "model.h"
#include "report.h"

static const char *lacks(const struct stale *stale)
{
	switch (stale_state(stale)) {
	case STALE_UNFLUSHED:
		return "TLBI of this address, after DSB ISHST, and DSB ISH after it";
	case STALE_EARLY:
		return "DSB ISHST between the store and the TLBI";
	case STALE_PARTLY:
		return "TLBI for the inner shareable domain: other CPUs may hold the translation";
	case STALE_HINTED:
		return "TLBI that hints at the entry's own level and granule, or at none";
	case STALE_ISSUED:
		return "DSB ISH after the TLBI";
	}
	return "";
}

/*
 * A page whose contiguous bit changed, and nothing else, is the same to hardware
 * that does not use the bit.
 */
static const char *hardware_of(unsigned int changes, const struct stale *stale)
{
	if (changes == CHANGE_SIZE)
		return HARDWARE_A;
	/* A TLBI of any page of a block takes the one entry that A has for it. */
	return stale && stale->block_hit ? HARDWARE_B : HARDWARE_BOTH;
}

static const char *describe(unsigned int changes)
{
	static __thread char text[128];
	static const struct {
		unsigned int change;
		const char *words;
	} all[] = {
		{ CHANGE_VALID, "no longer mapped" },
		{ CHANGE_ADDRESS, "another output address" },
		{ CHANGE_SIZE, "another contiguous bit or size" },
		{ CHANGE_ATTR, "another memory type, shareability or nG" },
		{ CHANGE_WRITE, "no longer writable without a fault or a mark of dirtiness" },
		{ CHANGE_EXEC, "no longer executable" },
		{ CHANGE_USER, "no longer for EL0" },
	};

	text[0] = '\0';
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (!(changes & all[i].change))
			continue;
		if (text[0])
			strncat(text, ", ", sizeof(text) - strlen(text) - 1);
		strncat(text, all[i].words, sizeof(text) - strlen(text) - 1);
	}
	return text;
}

static unsigned int conflicts(const struct model *model, uint64_t old, uint64_t new,
			      unsigned int level)
{
	unsigned int changes;

	changes = leaf_changes(&model->tables.regime, old, new, level) & CHANGE_CONFLICT;
	/*
	 * FEAT_BBM, level 1 and up: a change of size alone needs no invalid descriptor in
	 * between.
	 */
	return model->bbm_level ? changes & ~CHANGE_SIZE : changes;
}

static void tell(struct model *model, const char *rule, const struct table *table,
		 unsigned int index, uint64_t old, uint64_t new, unsigned int changes,
		 const struct stale *stale, const struct where *where)
{
	report_finding(model, &(struct finding) {
		.rule = rule,
		.hardware = hardware_of(changes, stale),
		.missing = stale ? lacks(stale)
				 : "an invalid descriptor, DSB ISHST, TLBI of this address, DSB ISH",
		.detail = describe(changes),
		.asid = table->mm->asid,
		.level = table->level,
		.va = table_va(&model->tables, table, index),
		.old = old,
		.new = new,
		.tlbi_pc = stale ? stale->tlbi_pc : 0,
		.taken_pc = stale ? stale->where.pc : 0,
		.where = *where,
	});
}

/* Translations of another size that may still be cached where a new leaf is stored. */
static void check_overlap(struct model *model, struct table *table, unsigned int index,
			  uint64_t now, const struct where *where)
{
	const struct regime *regime = &model->tables.regime;
	unsigned int n = cont_entries(regime, table->level), first = index - index % n;
	uint64_t va = table_va(&model->tables, table, index);
	uint64_t bytes = level_bytes(regime, table->level);
	struct mm *mm = table->mm;

	if (!mm->nr_stale || model->bbm_level)
		return;
	for (unsigned int i = first; table->stale && i < first + n; i++) {
		struct stale *stale = table_stale(table, i);

		if (i == index || !stale || stale->told || !((stale->old ^ now) & DESC_CONT))
			continue;
		/*
		 * What covered the whole block is gone; what covers single pages of it is not in
		 * the way.
		 */
		if ((stale->old & DESC_CONT) && stale->block_hit)
			continue;
		stale->told = true;
		tell(model, "overlap", table, index, stale->old, now, CHANGE_SIZE, stale, where);
	}
	for (struct table *up = table; up->parent; up = up->parent) {
		struct stale *stale = table_stale(up->parent, up->slot);

		if (stale && !stale->told) {
			stale->told = true;
			tell(model, "overlap", table, index, stale->old, now,
			     CHANGE_SIZE | CHANGE_VALID, stale, where);
		}
	}
	for (uint32_t i = 0; table->level != LAST_LEVEL && i < mm->nr_stale; i++) {
		struct stale *stale = &mm->stale[i];

		if (stale->level > table->level && !stale->told && stale->va - va < bytes) {
			stale->told = true;
			tell(model, "overlap", table, index, stale->old, now,
			     CHANGE_SIZE | CHANGE_VALID, stale, where);
			break;	/* one of up to thousands tells it */
		}
	}
}

/* A valid leaf is stored: nothing that conflicts with it may be cached. */
static void check_new(struct model *model, struct table *table, unsigned int index, uint64_t was,
		      bool cached, uint64_t now, const struct where *where)
{
	struct stale *stale = table_stale(table, index);
	unsigned int changes;

	changes = cached ? conflicts(model, was, now, table->level) : 0;
	if (changes) {
		tell(model, "break-before-make", table, index, was, now, changes, NULL, where);
		return;
	}
	changes = stale && !stale->told ? conflicts(model, stale->old, now, table->level) : 0;
	if (changes) {
		stale->told = true;
		tell(model, "break-before-make", table, index, stale->old, now, changes, stale,
		     where);
		return;
	}
	check_overlap(model, table, index, now, where);
}

/* What a store took away of the leaf that it replaced. */
static void note_loss(struct model *model, struct table *table, unsigned int index, uint64_t was,
		      bool exact, uint64_t now, const struct where *where)
{
	const struct regime *regime = &model->tables.regime;
	uint64_t va = table_va(&model->tables, table, index);
	unsigned int changes;

	/* The copy does not show what hardware has marked dirty since. */
	if (!exact && regime->hardware_dirty && (was & DESC_DBM))
		was &= ~DESC_READONLY;
	changes = leaf_changes(regime, was, now, table->level);
	/*
	 * An entry that was made old: nothing caches it now, but what was cached before may
	 * be there still.
	 */
	if (changes || !leaf_cacheable(regime, now))
		stale_add(table->mm, table, index, va, table->level, was, where);
	if (changes)
		count(model, COUNT_TIGHTENED, table->mm->serial, va,
		      level_bytes(regime, table->level));
}

void rules_store(struct model *model, struct table *table, unsigned int index, uint64_t now,
		 const uint64_t *exact, const struct where *where)
{
	const struct regime *regime = &model->tables.regime;
	uint64_t was = exact ? *exact : table->desc[index];
	struct mm *mm = table->mm;
	bool cached = desc_is_leaf(was, table->level) && leaf_cacheable(regime, was) && mm->cpus;
	bool leaf = desc_is_leaf(now, table->level);
	struct stale *stale;

	table->present += !!now - !!table->desc[index];
	table->desc[index] = now;
	count(model, COUNT_PTE_STORES, mm->serial, table_va(&model->tables, table, index),
	      level_bytes(regime, table->level));
	if (table->child && table->child[index] && !desc_is_table(now, table->level))
		table_unlink(&model->tables, table, index, where);
	if (leaf)
		check_new(model, table, index, was, cached, now, where);
	stale = table_stale(table, index);
	if (cached)
		note_loss(model, table, index, was, exact, now, where);
	else if (stale && stale->quiet && leaf_changes(regime, stale->old, now, table->level))
		stale_wake(stale, where);
	else if (stale)
		stale_stored_over(stale, where->cpu);
	stale = table_stale(table, index);
	/* What may be cached is what the tables say again. */
	if (stale && leaf && leaf_cacheable(regime, now) &&
	    !leaf_changes(regime, stale->old, now, table->level))
		stale_remove(mm, stale);
	if (table->blocks)
		blocks_store(model, table, index, was, now, where);
	if (desc_is_table(now, table->level)) {
		if (table->child[index] && table->child[index]->pa != desc_address(regime, now))
			table_unlink(&model->tables, table, index, where);
		if (!table->child[index])
			table_learn(&model->tables, table, index);
	}
	/*
	 * The last table of a process that is gone: nobody will use its ASID before it is
	 * flushed.
	 */
	if (!mm->root->present)
		mm_drop(&model->tables, mm);
}

void rules_tlbi(struct model *model, unsigned int cpu, uint64_t pc, const struct tlbi *tlbi,
		uint64_t operand)
{
	const struct regime *regime = &model->tables.regime;
	struct tlbi_target target = tlbi_target(tlbi, operand, regime->page_shift);
	uint64_t serial = ANY_MM, va = 0, bytes = 0;

	if (!regime->asid16)
		target.asid &= 0xff;
	if (tlbi->scope == TLBI_ASID || tlbi->scope == TLBI_VA) {
		struct mm *mm = mm_of_asid(&model->tables, target.asid);

		serial = mm ? mm->serial : NO_MM;
	}
	if (tlbi->scope == TLBI_VA || tlbi->scope == TLBI_VA_ANY) {
		va = target.va;
		bytes = target.bytes;
		count(model, tlbi->range ? COUNT_TLBI_RANGE : COUNT_TLBI_VA, serial, va, bytes);
	} else {
		count(model, tlbi->scope == TLBI_ASID ? COUNT_TLBI_ASID : COUNT_TLBI_ALL, serial,
		      0, 0);
	}
	count(model, COUNT_TLBI, serial, va, bytes);
	if (tlbi->domain == DOMAIN_LOCAL)
		count(model, COUNT_TLBI_LOCAL, serial, va, bytes);
	stale_tlbi(&model->tables, cpu, pc, tlbi, &target);
	reach_tlbi(&model->reach, cpu, tlbi, &target);
	asid_flush(model, cpu, tlbi, target.asid);
}

void rules_dsb(struct model *model, unsigned int cpu, const struct dsb *dsb)
{
	if (stale_count())
		stale_dsb(&model->tables, cpu, dsb);
}

static const char *rule_of(const struct stale *stale)
{
	switch (stale_state(stale)) {
	case STALE_ISSUED:
		return "tlbi-not-completed";
	case STALE_EARLY:
		return "tlbi-before-store";
	default:
		return "unflushed";
	}
}

/* What this task took away and did not have flushed, of whatever address space. */
static void check_unflushed(struct model *model, struct mm *mm, uint64_t task)
{
	const struct tables *tables = &model->tables;

	for (uint32_t i = mm->nr_stale; i-- > 0;) {
		struct stale *stale = &mm->stale[i];
		unsigned int changes = CHANGE_VALID;
		struct walk walk;

		if (stale->quiet || stale->where.task != task)
			continue;
		if (!tables_walk(tables, mm->root->pa, stale->va, &walk)) {
			model->failed_walks++;
			continue;
		}
		if (walk.level == stale->level)
			changes = leaf_changes(&tables->regime, stale->old, walk.desc,
					       stale->level);
		if (!changes) {
			stale_quiet(stale);
			continue;
		}
		report_finding(model, &(struct finding) {
			.rule = rule_of(stale),
			.hardware = hardware_of(changes, stale),
			.missing = lacks(stale),
			.detail = describe(changes),
			.asid = mm->asid,
			.level = stale->level,
			.va = stale->va,
			.old = stale->old,
			.new = walk.desc,
			.tlbi_pc = stale->tlbi_pc,
			.where = stale->where,
		});
		stale_remove(mm, stale);
	}
}

/*
 * The tables that this CPU translates by now. A root or an ASID that has another
 * holder on record was given on: the holder is gone, or lost its ASID when the
 * allocator began a new generation.
 */
static void activate(struct model *model, unsigned int cpu, uint64_t pc)
{
	struct tables *tables = &model->tables;
	struct vcpu *vcpu = &model->vcpu[cpu];
	struct mm *mm = mm_of_root(tables, vcpu->root), *holder;

	if (mm && mm->asid != vcpu->asid) {
		mm_drop(tables, mm);
		mm = NULL;
	}
	holder = mm_of_asid(tables, vcpu->asid);
	if (holder && holder != mm)
		mm_drop(tables, holder);
	if (!mm)
		mm = mm_learn(tables, vcpu->root, vcpu->asid);
	tables->active[cpu] = mm;
	if (!mm)
		return;
	mm->cpus |= 1ULL << cpu;
	asid_activate(model, cpu, pc, mm);
}

void rules_eret(struct model *model, unsigned int cpu, uint64_t pc, uint64_t ttbr0, uint64_t ttbr1)
{
	struct tables *tables = &model->tables;
	struct vcpu *vcpu = &model->vcpu[cpu];
	const struct mm *known;

	vcpu->erets++;
	if (vcpu->current) {
		for (struct mm *mm = tables->mms; mm; mm = mm->next)
			if (mm->nr_stale)
				check_unflushed(model, mm, vcpu->current);
		if (tables->nr_touched)
			blocks_eret(model, vcpu->current);
	}
	vcpu->root = regime_root(&tables->regime, ttbr0);
	vcpu->asid = regime_asid(&tables->regime, ttbr0, ttbr1);
	known = mm_of_root(tables, vcpu->root);
	activate(model, cpu, pc);
	if (tables->active[cpu] && tables->active[cpu] != known)
		blocks_learned(model, tables->active[cpu], cpu);
}

void rules_relearn(struct model *model, unsigned int cpu, uint64_t pc)
{
	mm_drop(&model->tables, model->tables.active[cpu]);
	asid_forget(model->vcpu[cpu].asid);
	activate(model, cpu, pc);
}
