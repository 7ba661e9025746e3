/* SPDX-License-Identifier: GPL-2.0 */
/*
 * report.h: the JSON lines that say what was found and what was done. One object
 * a line, written whole and at once, so that a guest that dies leaves all that
 * was found before; pipeline/tlb/ reads them.
 */
#ifndef KPV_TLB_REPORT_H
#define KPV_TLB_REPORT_H

#include "model.h"

/* Which of the two hardwares a finding is wrong on. */
#define HARDWARE_A	"A"
#define HARDWARE_B	"B"
#define HARDWARE_BOTH	"AB"

struct finding {
	const char *rule;
	const char *hardware;
	const char *missing;	/* the instruction that should have come between */
	const char *detail;
	uint16_t asid;
	unsigned int level;
	uint64_t va;
	uint64_t old, new;	/* descriptors */
	uint64_t tlbi_pc;	/* of a TLBI that was not enough, 0: none */
	uint64_t taken_pc;	/* of the store that took "old" away, 0: it is this one */
	struct where where;
};

bool report_open(const char *path);
void report_start(const struct model *model);
void report_finding(struct model *model, const struct finding *finding);
/* The step that is under way, or the test, with its counters and whether they count. */
void report_step(struct model *model);
void report_test(struct model *model);
void report_end(const struct model *model);

#endif /* KPV_TLB_REPORT_H */
