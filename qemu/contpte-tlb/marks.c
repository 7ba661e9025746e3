// SPDX-License-Identifier: GPL-2.0
/*
 * Marks of the guest tests (guest-tests/kpv_mark.h): what is counted between
 * them, and the self-test at each.
 */
#include "plugin.h"
#include "report.h"

static void barriers_read(void)
{
	plugin.model.barriers.dsb = qemu_plugin_u64_sum(plugin.dsb);
	plugin.model.barriers.isb = qemu_plugin_u64_sum(plugin.isb);
}

void test_begin(uint64_t hash)
{
	struct model *model = &plugin.model;

	model->test = (struct span) { .hash = hash, .barriers = model->barriers };
	model->step.hash = 0;
	model->findings = model->missed = model->failed_walks = model->unknown = 0;
	model->tables.unreadable = 0;
	plugin.watch_bytes = 0;
}

/* Whether the copies of this process' tables are what RAM has: were all stores seen? */
static void self_test(unsigned int cpu, uint64_t pc)
{
	struct model *model = &plugin.model;
	unsigned int differ = 0;
	uint64_t pa;

	if (!model->tables.active[cpu]) {
		model->unknown++;
		return;
	}
	/* Another vCPU may have stored, and wait for the lock to tell. */
	for (int i = 0; i < (model->nr_vcpus > 1 ? 5 : 1); i++) {
		if (i) {
			pthread_mutex_unlock(&model->lock);
			usleep(100);
			pthread_mutex_lock(&model->lock);
		}
		if (!model->tables.active[cpu])
			return;
		differ = mm_differs(&model->tables, model->tables.active[cpu], &pa);
		if (!differ)
			return;
	}
	model->missed += differ;
	model->missed_pa = pa;
	rules_relearn(model, cpu, pc);
}

void on_mark(unsigned int cpu, void *userdata)
{
	unsigned int op = kpv_plugin_mark(reg(cpu, X0));
	uint64_t hash = reg(cpu, X0 + 1), base = reg(cpu, X0 + 2), bytes = reg(cpu, X0 + 3);
	struct model *model = &plugin.model;
	struct mm *mm;

	if (!op)
		return;
	pthread_mutex_lock(&model->lock);
	barriers_read();
	if (op != KPV_MARK_TEST_BEGIN)
		self_test(cpu, (uintptr_t)userdata);
	switch (op) {
	case KPV_MARK_TEST_BEGIN:
		test_begin(hash);
		break;
	case KPV_MARK_TEST_END:
		if (hash == model->test.hash)
			report_test(model);
		test_begin(0);
		break;
	case KPV_MARK_STEP_BEGIN:
		mm = model->tables.active[cpu];
		model->step = (struct span) {
			.hash = hash, .start = base, .end = base + bytes,
			.barriers = model->barriers, .serial = mm ? mm->serial : NO_MM,
		};
		break;
	case KPV_MARK_STEP_END:
		if (hash == model->step.hash)
			report_step(model);
		model->step.hash = 0;
		break;
	}
	if (op == KPV_MARK_STEP_BEGIN || op == KPV_MARK_CHECKPOINT) {
		plugin.watch_start = base;
		plugin.watch_bytes = bytes;
	}
	tell_vcpus(cpu);
	pthread_mutex_unlock(&model->lock);
}
