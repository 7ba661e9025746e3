// SPDX-License-Identifier: GPL-2.0
#include "report.h"

/*
 * A rule that breaks does so thousands of times: of one store instruction, this many
 * a test are written out.
 */
#define SAME_FINDINGS	8
#define KINDS		256

static const char * const counter_names[NR_COUNTERS] = {
	[COUNT_TLBI] = "tlbi",
	[COUNT_TLBI_VA] = "tlbi_va",
	[COUNT_TLBI_RANGE] = "tlbi_range",
	[COUNT_TLBI_ASID] = "tlbi_asid",
	[COUNT_TLBI_ALL] = "tlbi_all",
	[COUNT_TLBI_LOCAL] = "tlbi_local",
	[COUNT_DSB] = "dsb",
	[COUNT_ISB] = "isb",
	[COUNT_PTE_STORES] = "pte_stores",
	[COUNT_TIGHTENED] = "tightened",
	[COUNT_FOLDS] = "folds",
	[COUNT_UNFOLDS] = "unfolds",
	[COUNT_AUDITS] = "audits",
	[COUNT_ACCESSES] = "accesses",
	[COUNT_HITS_A] = "hits_a",
	[COUNT_HITS_A + 1] = "hits_l2_a",
	[COUNT_HITS_B] = "hits_b",
	[COUNT_HITS_B + 1] = "hits_l2_b",
	[COUNT_WALKS_A] = "walks_a",
	[COUNT_WALKS_B] = "walks_b",
};

static FILE *out;

/* Rule and PC of what was reported in this test, and how often. */
static struct kind {
	const char *rule;
	uint64_t pc;
	uint64_t nr;
} kinds[KINDS];
static unsigned int nr_kinds;

bool report_open(const char *path)
{
	out = fopen(path, "we");
	if (!out)
		fprintf(stderr, "kpv contpte-tlb: %s: %s\n", path, strerror(errno));
	return out;
}

static void line_end(void)
{
	fputs("}\n", out);
	fflush(out);
}

void report_start(const struct model *model)
{
	const struct regime *regime = &model->tables.regime;
	const struct core *core = model->reach.core;

	fprintf(out, "{\"type\":\"start\",\"version\":2,\"page_size\":%u,\"va_bits\":%u,\"hardware_af\":%s,"
		"\"hardware_dirty\":%s,\"vcpus\":%u,\"bbm_level\":%u,\"broken\":\"%s\","
		"\"core\":{\"name\":\"%s\",\"source\":\"%s\",\"levels\":[",
		1U << regime->page_shift, regime->va_bits, regime->hardware_af ? "true" : "false",
		regime->hardware_dirty ? "true" : "false", model->nr_vcpus, model->bbm_level,
		model->broken ? model->broken : "", core->name, core->source);
	for (int i = 0; i < REACH_LEVELS; i++)
		fprintf(out, "%s{\"entries\":%u,\"ways\":%u}", i ? "," : "", core->level[i].entries,
			core->level[i].ways);
	fputs("]}", out);
	line_end();
}

static bool often(const struct finding *finding)
{
	for (unsigned int i = 0; i < nr_kinds; i++)
		if (kinds[i].rule == finding->rule && kinds[i].pc == finding->where.pc)
			return ++kinds[i].nr > SAME_FINDINGS;
	if (nr_kinds == KINDS)
		return true;
	kinds[nr_kinds++] = (struct kind) { finding->rule, finding->where.pc, 1 };
	return false;
}

void report_finding(struct model *model, const struct finding *finding)
{
	model->findings++;
	if (often(finding))
		return;
	fprintf(out, "{\"type\":\"finding\",\"test\":\"%016llx\",\"step\":\"%016llx\",\"rule\":\"%s\","
		"\"hardware\":\"%s\",\"va\":\"%#llx\",\"asid\":%u,\"level\":%u,\"old\":\"%#llx\","
		"\"new\":\"%#llx\",\"pc\":\"%#llx\",\"tlbi_pc\":\"%#llx\",\"taken_pc\":\"%#llx\",\"cpu\":%u,\"task\":\"%#llx\","
		"\"detail\":\"%s\",\"missing\":\"%s\"",
		(unsigned long long)model->test.hash, (unsigned long long)model->step.hash, finding->rule,
		finding->hardware, (unsigned long long)finding->va, finding->asid, finding->level,
		(unsigned long long)finding->old, (unsigned long long)finding->new,
		(unsigned long long)finding->where.pc, (unsigned long long)finding->tlbi_pc,
		(unsigned long long)finding->taken_pc,
		finding->where.cpu, (unsigned long long)finding->where.task, finding->detail,
		finding->missing);
	line_end();
}

static void counters(const struct model *model, const struct span *span)
{
	uint64_t count[NR_COUNTERS];

	memcpy(count, span->count, sizeof(count));
	count[COUNT_DSB] = model->barriers.dsb - span->barriers.dsb;
	count[COUNT_ISB] = model->barriers.isb - span->barriers.isb;
	fputs(",\"counters\":{", out);
	for (int i = 0; i < NR_COUNTERS; i++)
		fprintf(out, "%s\"%s\":%llu", i ? "," : "", counter_names[i],
			(unsigned long long)count[i]);
	fputc('}', out);
}

void report_step(struct model *model)
{
	fprintf(out, "{\"type\":\"step\",\"test\":\"%016llx\",\"step\":\"%016llx\"",
		(unsigned long long)model->test.hash, (unsigned long long)model->step.hash);
	counters(model, &model->step);
	line_end();
}

/* Why the absence of findings means nothing; "" if it means something. */
static const char *distrust(const struct model *model)
{
	static char text[128];

	if (model->broken)
		return model->broken;
	if (model->missed) {
		snprintf(text, sizeof(text), "%llu stores to tables were missed, one at %#llx",
			 (unsigned long long)model->missed, (unsigned long long)model->missed_pa);
		return text;
	}
	if (model->failed_walks || model->tables.unreadable)
		return "tables lead out of the guest's RAM";
	if (model->unknown)
		return "a mark came from a process whose tables are not known";
	if (!model->test.count[COUNT_PTE_STORES])
		return "no store to a table was seen";
	return "";
}

void report_test(struct model *model)
{
	const char *reason = distrust(model);

	fprintf(out, "{\"type\":\"test\",\"test\":\"%016llx\",\"valid\":%s,\"reason\":\"%s\",\"findings\":%llu",
		(unsigned long long)model->test.hash, *reason ? "false" : "true", reason,
		(unsigned long long)model->findings);
	fputs(",\"kinds\":[", out);
	for (unsigned int i = 0; i < nr_kinds; i++)
		fprintf(out, "%s{\"rule\":\"%s\",\"pc\":\"%#llx\",\"count\":%llu}", i ? "," : "",
			kinds[i].rule, (unsigned long long)kinds[i].pc, (unsigned long long)kinds[i].nr);
	fprintf(out, "],\"tables\":%llu,\"shared\":%llu,\"lost\":%llu",
		(unsigned long long)model->tables.nr_tables, (unsigned long long)model->tables.shared,
		(unsigned long long)model->tables.lost);
	counters(model, &model->test);
	line_end();
	nr_kinds = 0;
}

void report_end(const struct model *model)
{
	fprintf(out, "{\"type\":\"end\",\"armed\":%s", model->tables.tracked ? "true" : "false");
	line_end();
}
