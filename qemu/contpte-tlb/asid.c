// SPDX-License-Identifier: GPL-2.0
/*
 * ASIDs that are given on: before another address space uses one on a CPU, that
 * CPU's entries of the old one must have been invalidated.
 */
#include "model.h"
#include "report.h"

/*
 * Whose translations a CPU may hold under an ASID; void when the CPU's whole TLB was
 * invalidated since.
 */
struct holder {
	uint64_t serial;
	uint64_t flushes;
};

static struct holder *holders[MAX_VCPUS];
static uint64_t flushes[MAX_VCPUS];

void asid_activate(struct model *model, unsigned int cpu, uint64_t pc, const struct mm *mm)
{
	struct holder *holder;

	if (!holders[cpu])
		holders[cpu] = calloc(1 << 16, sizeof(*holders[cpu]));
	if (!holders[cpu])
		abort();
	holder = &holders[cpu][mm->asid];
	if (holder->serial && holder->serial != mm->serial && holder->flushes == flushes[cpu])
		report_finding(model, &(struct finding) {
			.rule = "asid-reuse",
			.hardware = HARDWARE_BOTH,
			.missing = "TLBI by ASID or of all entries on this CPU",
			.detail = "another address space used this ASID on this CPU",
			.asid = mm->asid,
			.level = mm->root->level,
			.where = { .cpu = cpu, .pc = pc, .task = model->vcpu[cpu].current },
		});
	*holder = (struct holder) { mm->serial, flushes[cpu] };
}

void asid_flush(struct model *model, unsigned int cpu, const struct tlbi *tlbi, uint16_t asid)
{
	struct tables *tables = &model->tables;

	if (tlbi->scope != TLBI_ALL && tlbi->scope != TLBI_ASID)
		return;
	for (unsigned int i = 0; i < model->nr_vcpus; i++) {
		if (tlbi->domain == DOMAIN_LOCAL && i != cpu)
			continue;
		if (tlbi->scope == TLBI_ALL)
			flushes[i]++;
		else if (holders[i])
			holders[i][asid].serial = 0;
		for (struct mm *mm = tables->mms; mm; mm = mm->next)
			if (mm != tables->active[i] &&
			    (tlbi->scope == TLBI_ALL || mm->asid == asid))
				mm->cpus &= ~(1ULL << i);
	}
	/* Those that run go on to fill TLBs. */
	for (unsigned int i = 0; i < model->nr_vcpus; i++) {
		struct mm *mm = tables->active[i];

		if (mm && holders[i])
			holders[i][mm->asid] = (struct holder) { mm->serial, flushes[i] };
	}
}

void asid_forget(uint16_t asid)
{
	for (unsigned int i = 0; i < MAX_VCPUS; i++)
		if (holders[i])
			holders[i][asid].serial = 0;
}
