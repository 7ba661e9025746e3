// SPDX-License-Identifier: GPL-2.0
/*
 * Contiguous blocks: what makes one legal, and how kernels fold and unfold them.
 * Arm ARM (DDI 0487), D8.7.1 "The Contiguous bit", and "Misprogramming of the
 * Contiguous bit".
 */
#include "model.h"
#include "report.h"

/*
 * What a page may be used for, and how. Software's dirty state is gathered when a block is folded, so that AP[2] may
 * differ with DBM set.
 */
#define PERMISSIONS	(DESC_ATTR_INDEX | DESC_USER | DESC_SH | DESC_NG | DESC_DBM | DESC_PXN | DESC_UXN)

static void unmake(struct model *model, struct table *table, struct block *block, unsigned int index,
		   unsigned int n, uint64_t was, const struct where *where)
{
	unsigned int first = index - index % n;
	size_t bytes = n * sizeof(*table->desc);

	if (!block->unmade)
		block->unmade = malloc(sizeof(*block->unmade) + bytes);
	if (!block->unmade)
		abort();
	block->unmade->cpu = where->cpu;
	block->unmade->erets = model->vcpu[where->cpu].erets;
	memcpy(block->unmade->desc, table->desc + first, bytes);
	block->unmade->desc[index - first] = was;
}

/* A block has just been folded: of pages that are where they were it may change nothing but the fold. */
static void check_fold(struct model *model, struct table *table, const struct block *block, unsigned int first,
		       unsigned int n, const struct where *where)
{
	const struct regime *regime = &model->tables.regime;
	const struct unmade *unmade = block->unmade;

	if (!unmade || unmade->cpu != where->cpu || unmade->erets != model->vcpu[where->cpu].erets)
		return;
	for (unsigned int i = 0; i < n; i++) {
		uint64_t was = unmade->desc[i], now = table->desc[first + i];

		if (leaf_address(regime, was, table->level) != leaf_address(regime, now, table->level) ||
		    !((was ^ now) & PERMISSIONS))
			continue;
		report_finding(model, &(struct finding) {
			.rule = "fold-permissions",
			.hardware = HARDWARE_BOTH,
			.missing = "the same permissions in all entries, before they are folded",
			.detail = "folding gave the page other permissions or attributes",
			.asid = table->mm->asid,
			.level = table->level,
			.va = table_va(&model->tables, table, first + i),
			.old = was,
			.new = now,
			.where = *where,
		});
		return;
	}
}

/* A block that is whole in another shape than before was folded or unfolded. */
static void count_shape(struct model *model, struct table *table, struct block *block,
			unsigned int first, unsigned int n, const struct where *where)
{
	enum block_shape shape;

	if (block->valid != n || (block->cont && block->cont != n))
		return;
	shape = block->cont ? SHAPE_FOLDED : SHAPE_SINGLE;
	if (block->shape != SHAPE_NONE && block->shape != shape)
		count(model, shape == SHAPE_FOLDED ? COUNT_FOLDS : COUNT_UNFOLDS, table->mm->serial,
		      table_va(&model->tables, table, first),
		      n * level_bytes(&model->tables.regime, table->level));
	if (block->shape == SHAPE_SINGLE && shape == SHAPE_FOLDED)
		check_fold(model, table, block, first, n, where);
	block->shape = shape;
}

static void touch(struct model *model, struct table *table, unsigned int nr,
		  const struct where *where)
{
	struct mm *mm = table->mm;
	struct block *block = &table->blocks[nr];
	struct touched *touched;

	if (block->touched) {
		for (uint32_t i = mm->nr_touched; i-- > 0;) {
			touched = &mm->touched[i];
			if (touched->table == table && touched->block == nr) {
				touched->task = where->task;
				touched->pc = where->pc;
				return;
			}
		}
	}
	if (mm->nr_touched == mm->max_touched) {
		mm->max_touched = mm->max_touched ? 2 * mm->max_touched : 64;
		mm->touched = realloc(mm->touched, mm->max_touched * sizeof(*mm->touched));
		if (!mm->touched)
			abort();
	}
	mm->touched[mm->nr_touched++] = (struct touched) { table, nr, where->task, where->pc };
	model->tables.nr_touched++;
	block->touched = true;
}

void blocks_store(struct model *model, struct table *table, unsigned int index, uint64_t was,
		  uint64_t now, const struct where *where)
{
	unsigned int n = cont_entries(&model->tables.regime, table->level);
	struct block *block = &table->blocks[index / n];
	bool was_leaf = desc_is_leaf(was, table->level), leaf = desc_is_leaf(now, table->level);
	bool was_cont = was_leaf && (was & DESC_CONT), cont = leaf && (now & DESC_CONT);

	if (was_leaf && !leaf && block->valid == n && !block->cont)
		unmake(model, table, block, index, n, was, where);
	block->valid += leaf - was_leaf;
	block->cont += cont - was_cont;
	/* A block without the bit, before and now, is nothing to audit. */
	if (block->cont || was_cont || block->shape == SHAPE_FOLDED)
		touch(model, table, index / n, where);
	count_shape(model, table, block, index - index % n, n, where);
}

/* Fields that all entries of a block have alike, but for access flag and dirty state. */
#define BLOCK_FIELDS	(DESC_ATTR_INDEX | DESC_USER | DESC_READONLY | DESC_SH | DESC_NG | \
			 DESC_DBM | DESC_PXN | DESC_UXN)

/* What is wrong with entry i of a block, by itself and beside entry 0; NULL: nothing. */
static const char *entry_fault(const struct regime *regime, unsigned int level,
			       const uint64_t *desc, unsigned int i, unsigned int n,
			       const char **rule)
{
	uint64_t bytes = level_bytes(regime, level), base = leaf_address(regime, desc[0], level);
	uint64_t differs = (desc[i] ^ desc[0]) & BLOCK_FIELDS;

	*rule = "misprogrammed-block";
	if (!desc_is_leaf(desc[i], level))
		return "a hole: an entry of the block is not valid";
	if (!(desc[i] & DESC_CONT))
		return "an entry of the block has no contiguous bit";
	if (base & (n * bytes - 1))
		return "the output address is not aligned to the size of the block";
	if (leaf_address(regime, desc[i], level) != base + i * bytes)
		return "the output addresses are not consecutive";
	/* Hardware that manages the dirty state clears AP[2] of single entries. */
	if (differs == DESC_READONLY && (desc[0] & DESC_DBM) && regime->hardware_dirty)
		differs = 0;
	if (differs == DESC_READONLY && (desc[0] & DESC_DBM)) {
		/* Software keeps the dirty state, and has to keep it in all entries alike. */
		*rule = "partial-update";
		return "entries of the block differ in AP[2]: "
		       "a core may fault again by another entry";
	}
	if (differs)
		return "entries of the block differ in permissions or attributes";
	if (!regime->hardware_af && ((desc[i] ^ desc[0]) & DESC_AF)) {
		*rule = "partial-update";
		return "entries of the block differ in the access flag: "
		       "a core may fault again by another entry";
	}
	return NULL;
}

static void audit(struct model *model, const struct touched *touched)
{
	const struct regime *regime = &model->tables.regime;
	const struct table *table = touched->table;
	unsigned int n = cont_entries(regime, table->level), first = touched->block * n, cont = 0;
	uint64_t va = table_va(&model->tables, table, first);
	uint64_t bytes = level_bytes(regime, table->level);
	struct block *block = &table->blocks[touched->block];
	uint64_t desc[128];

	for (unsigned int i = 0; i < n; i++) {
		kpv_ram_read64(&model->tables.ram, table->pa + (first + i) * 8, &desc[i]);
		cont += desc_is_leaf(desc[i], table->level) && (desc[i] & DESC_CONT);
	}
	if (block->valid != n)
		block->shape = SHAPE_NONE;
	if (!cont)
		return;
	count(model, COUNT_AUDITS, table->mm->serial, va, n * bytes);
	for (unsigned int i = 0; i < n; i++) {
		const char *rule, *fault = entry_fault(regime, table->level, desc, i, n, &rule);

		if (!fault)
			continue;
		report_finding(model, &(struct finding) {
			.rule = rule,
			.hardware = HARDWARE_A,
			.missing = "the same change of every entry of the block, or an unfold of it",
			.detail = fault,
			.asid = table->mm->asid,
			.level = table->level,
			.va = va + i * bytes,
			.old = desc[0],
			.new = desc[i],
			.where = { .pc = touched->pc, .task = touched->task },
		});
		return;
	}
}

static void learned(struct model *model, struct table *table, uint64_t task)
{
	unsigned int n = cont_entries(&model->tables.regime, table->level);
	uint64_t pc = model->tables.written_by[(table->pa - KPV_RAM_BASE) >> 12];

	for (unsigned int i = 0; table->child && i < table->nr; i++)
		if (table->child[i])
			learned(model, table->child[i], task);
	for (unsigned int b = 0; table->blocks && b < table->nr / n; b++)
		if (table->blocks[b].cont)
			audit(model, &(struct touched) { table, b, task, pc });
}

void blocks_learned(struct model *model, const struct mm *mm, unsigned int cpu)
{
	/* Another thread may be in the middle of a change. */
	for (unsigned int i = 0; i < model->nr_vcpus; i++)
		if (i != cpu && model->vcpu[i].root == model->vcpu[cpu].root)
			return;
	learned(model, mm->root, model->vcpu[cpu].current);
}

void blocks_eret(struct model *model, uint64_t task)
{
	for (struct mm *mm = model->tables.mms; mm; mm = mm->next) {
		uint32_t kept = 0;

		for (uint32_t i = 0; i < mm->nr_touched; i++) {
			if (mm->touched[i].task != task) {
				mm->touched[kept++] = mm->touched[i];
				continue;
			}
			audit(model, &mm->touched[i]);
			mm->touched[i].table->blocks[mm->touched[i].block].touched = false;
		}
		model->tables.nr_touched -= mm->nr_touched - kept;
		mm->nr_touched = kept;
	}
}
