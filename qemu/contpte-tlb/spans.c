// SPDX-License-Identifier: GPL-2.0
/*
 * What is counted between marks, and for whom.
 */
#include "model.h"

static bool about(const struct span *span, uint64_t serial, uint64_t va, uint64_t bytes)
{
	if (span->serial && serial != ANY_MM && serial != span->serial)
		return false;
	return !bytes || span->start == span->end || (va < span->end && span->start < va + bytes);
}

void count(struct model *model, enum counter counter, uint64_t serial, uint64_t va, uint64_t bytes)
{
	model->test.count[counter]++;
	if (model->step.hash && about(&model->step, serial, va, bytes))
		model->step.count[counter]++;
}

void access_look_up(struct model *model, unsigned int cpu, uint64_t va)
{
	const struct regime *regime = &model->tables.regime;
	const struct vcpu *vcpu = &model->vcpu[cpu];
	const struct mm *mm = model->tables.active[cpu];
	uint64_t serial = mm ? mm->serial : NO_MM;
	struct walk walk = { 0 };

	if (!vcpu->root)
		return;
	count(model, COUNT_ACCESSES, serial, va, 1);
	for (unsigned int hardware = 0; hardware < REACH_MODELS; hardware++) {
		unsigned int level;
		uint64_t bytes;

		level = reach_look_up(&model->reach, regime, cpu, hardware, vcpu->asid, va);
		if (level < REACH_LEVELS) {
			count(model, (hardware ? COUNT_HITS_B : COUNT_HITS_A) + level, serial, va,
			      1);
			continue;
		}
		count(model, hardware ? COUNT_WALKS_B : COUNT_WALKS_A, serial, va, 1);
		if (!walk.steps && !tables_walk(&model->tables, vcpu->root, va, &walk))
			model->failed_walks++;
		/* Unmapped by another CPU since it was accessed. */
		if (!desc_is_leaf(walk.desc, walk.level))
			continue;
		bytes = level_bytes(regime, walk.level);
		if (!hardware && (walk.desc & DESC_CONT))
			bytes *= cont_entries(regime, walk.level);
		reach_fill(&model->reach, cpu, hardware, vcpu->asid, va, bytes);
	}
}
