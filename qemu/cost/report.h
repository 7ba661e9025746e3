/* SPDX-License-Identifier: GPL-2.0 */
/*
 * report.h: what was counted, one JSON object a line for each sample:
 *
 *	"test"		number of the sample, as the guest gave it
 *	"broken"	"", or why the counts mean nothing
 *	"instructions", "exceptions", "pte_stores", "tables", "strayed"
 *	"events"	[NR_EVENTS], as in enum event
 *	"held_off"	{"instructions", "interrupts", "switches"}
 *	"nodes"		[[parent, function, calls, instructions], ...], by index, root first;
 *			function is an index in the file of functions, -1: none
 *
 * A sample whose operation did not come to its end has "broken" set.
 */
#ifndef KPV_COST_REPORT_H
#define KPV_COST_REPORT_H

#include "count.h"
#include "pages.h"

/* Says why not on stderr. */
bool report_open(const char *path);
void report_sample(uint64_t test, const struct counter *counter, const struct pages *pages);

#endif /* KPV_COST_REPORT_H */
