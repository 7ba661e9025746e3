// SPDX-License-Identifier: GPL-2.0
/*
 * The rules of the TLB model without QEMU: one CPU, one address space, one
 * last-level table at VA 0. Driven by ctypes from test_rules.py.
 */
#include "model.h"
#include "report.h"

#define PAGES	64

static struct model model;
static uint64_t *memory;
static struct table *leaves;
static char rule[64], hardware[4];
static unsigned int nr_findings;
static uint64_t finding_pc;

void report_finding(struct model *m, const struct finding *finding)
{
	(void)m;
	if (!nr_findings++) {
		snprintf(rule, sizeof(rule), "%s", finding->rule);
		snprintf(hardware, sizeof(hardware), "%s", finding->hardware);
		finding_pc = finding->where.pc;
	}
}

static uint64_t *table_at(uint64_t pa)
{
	return memory + (pa - KPV_RAM_BASE) / 8;
}

/* Returns the number of entries of a contiguous block of pages, 0 if tcr cannot be modelled. */
unsigned int shim_setup(uint64_t tcr)
{
	struct regime *regime = &model.tables.regime;
	uint64_t page, pa = KPV_RAM_BASE;

	while (model.tables.mms)
		mm_drop(&model.tables, model.tables.mms);
	asid_forget(1);
	asid_forget(2);
	nr_findings = 0;
	if (regime_read(regime, tcr))
		return 0;
	page = 1ULL << regime->page_shift;
	if (!memory) {
		memory = aligned_alloc(65536, PAGES * 65536);
		model.tables.ram = (struct kpv_ram) { (char *)memory, PAGES * 65536 };
		tables_init(&model.tables);
		reach_init(&model.reach, "a76");
	}
	memset(memory, 0, PAGES * 65536);
	model.nr_vcpus = 1;
	for (unsigned int level = regime->start_level; level < LAST_LEVEL; level++, pa += page)
		*table_at(pa) = (pa + page) | DESC_VALID | DESC_TABLE;
	rules_eret(&model, 0, 0, KPV_RAM_BASE, 1ULL << 48);
	leaves = tables_at(&model.tables, pa);
	return cont_entries(regime, LAST_LEVEL);
}

/* As the instrumented store: "exact" says that the store told what it replaced. */
void shim_store_by(unsigned int cpu, unsigned int index, uint64_t desc, bool exact)
{
	struct where where = { cpu, 0x1000 + index, 7 + cpu };
	uint64_t *at = table_at(leaves->pa) + index, was = *at;

	*at = desc;
	model.vcpu[cpu].current = where.task;
	rules_store(&model, leaves, index, desc, exact ? &was : NULL, &where);
}

void shim_store(unsigned int index, uint64_t desc, bool exact)
{
	shim_store_by(0, index, desc, exact);
}

/* A child whose tables are filled before it runs: a root of its own, and one last-level table for VA 0. */
void shim_fork(const uint64_t *desc, unsigned int nr)
{
	uint64_t page = 1ULL << model.tables.regime.page_shift, pa = KPV_RAM_BASE + 32 * page;
	const uint64_t root = pa;

	for (unsigned int level = model.tables.regime.start_level; level < LAST_LEVEL; level++, pa += page)
		*table_at(pa) = (pa + page) | DESC_VALID | DESC_TABLE;
	for (unsigned int i = 0; i < nr; i++) {
		table_at(pa)[i] = desc[i];
		tables_written(&model.tables, pa - KPV_RAM_BASE, 0x4000 + i);
	}
	model.vcpu[0].current = 9;
	rules_eret(&model, 0, 0x3000, root, 2ULL << 48);
}

/* What hardware does by itself, unseen. */
void shim_hardware(unsigned int index, uint64_t desc)
{
	table_at(leaves->pa)[index] = desc;
}

uint64_t shim_load(unsigned int index)
{
	return table_at(leaves->pa)[index];
}

void shim_tlbi(uint32_t insn, uint64_t operand, unsigned int cpu)
{
	struct tlbi tlbi = decode_tlbi(insn);

	rules_tlbi(&model, cpu, 0x2000, &tlbi, operand);
}

void shim_dsb(uint32_t insn, unsigned int cpu)
{
	struct dsb dsb = decode_dsb(insn);

	rules_dsb(&model, cpu, &dsb);
}

/* Another thread of the process runs on CPU 1. */
void shim_second_cpu(void)
{
	model.nr_vcpus = 2;
	model.vcpu[1].current = 8;
	rules_eret(&model, 1, 0x3000, KPV_RAM_BASE, 1ULL << 48);
}

void shim_eret(void)
{
	rules_eret(&model, 0, 0x3000, KPV_RAM_BASE, 1ULL << 48);
}

unsigned int shim_findings(void)
{
	return nr_findings;
}

/* Of the first finding. */
const char *shim_rule(void)
{
	return rule;
}

uint64_t shim_pc(void)
{
	return finding_pc;
}

const char *shim_hardware_of(void)
{
	return hardware;
}

unsigned int shim_missed(void)
{
	uint64_t pa;

	return mm_differs(&model.tables, leaves->mm, &pa);
}

bool shim_walk(uint64_t va, uint64_t *desc, unsigned int *level)
{
	struct walk walk;

	if (!tables_walk(&model.tables, KPV_RAM_BASE, va, &walk))
		return false;
	*desc = walk.desc;
	*level = walk.level;
	return true;
}

uint64_t shim_pending(void)
{
	return stale_count();
}

/* ---- decoding ---- */

unsigned int shim_kind(uint32_t insn)
{
	return decode_insn(insn);
}

struct target {
	uint32_t scope, domain, range, last_level, rt, asid, other_granule;
	int32_t level;
	uint64_t va, bytes;
};

void shim_target(uint32_t insn, uint64_t operand, unsigned int page_shift, struct target *out)
{
	struct tlbi tlbi = decode_tlbi(insn);
	struct tlbi_target target = tlbi_target(&tlbi, operand, page_shift);

	*out = (struct target) {
		tlbi.scope, tlbi.domain, tlbi.range, tlbi.last_level, tlbi.rt, target.asid,
		target.other_granule, target.level, target.va, target.bytes,
	};
}
