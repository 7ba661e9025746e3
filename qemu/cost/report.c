// SPDX-License-Identifier: GPL-2.0
#include "report.h"

#include <inttypes.h>

static FILE *out;

bool report_open(const char *path)
{
	out = fopen(path, "we");
	if (!out)
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
	return out;
}

void report_sample(uint64_t test, const struct counter *counter, const struct pages *pages)
{
	uint64_t tables, stores = pages_stores(pages, &tables);

	fprintf(out, "{\"test\":%" PRIu64 ",\"broken\":\"%s\",\"instructions\":%" PRIu64
		",\"exceptions\":%" PRIu64 ",\"pte_stores\":%" PRIu64 ",\"tables\":%" PRIu64
		",\"strayed\":%" PRIu64 ",\"events\":[",
		test, counter->broken ? counter->broken : "", counter->instructions,
		counter->exceptions, stores, tables, counter->strayed);
	for (unsigned int i = 0; i < NR_EVENTS; i++)
		fprintf(out, "%s%" PRIu64, i ? "," : "", counter->events[i]);
	fprintf(out, "],\"held_off\":{\"instructions\":%" PRIu64 ",\"interrupts\":%" PRIu64
		",\"switches\":%" PRIu64 "},\"nodes\":[",
		counter->held_off, counter->interrupts, counter->switches);
	for (uint32_t i = 0; i < counter->nr_nodes; i++) {
		const struct node *node = &counter->nodes[i];

		fprintf(out, "%s[%" PRIu32 ",%" PRId32 ",%" PRIu64 ",%" PRIu64 "]", i ? "," : "",
			node->parent, (int32_t)node->function, node->calls, node->instructions);
	}
	fprintf(out, "]}\n");
	/* Whole lines, whatever ends QEMU; a full disk would lose samples in silence. */
	if (fflush(out)) {
		fprintf(stderr, "kpv cost: cannot write what was counted: %s\n", strerror(errno));
		abort();
	}
}
