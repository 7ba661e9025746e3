/* SPDX-License-Identifier: GPL-2.0 */
/* Copies the stage 1 translation table entries of a range out of the guest's RAM. */
#ifndef KPV_TABLES_H
#define KPV_TABLES_H

#include "kpv-plugin.h"

/* Why tables were not read; part of the file format, see record.h. */
enum tables_status {
	TABLES_OK,
	TABLES_NO_RAM,		/* the guest's RAM could not be mapped */
	TABLES_NO_REGISTERS,	/* a register that is needed does not exist */
	TABLES_GRANULE,		/* TCR.TG0 is reserved; detail: TG0 */
	TABLES_VA_SIZE,		/* more than 48 bits of VA, or fewer than 25; detail: T0SZ */
	TABLES_LPA2,		/* TCR.DS: descriptors of 52-bit addresses */
	TABLES_PA_SIZE,		/* an address above 48 bits; detail: the descriptor or TTBR0 */
	TABLES_DISABLED,	/* TCR.EPD0: no walks by TTBR0 */
	TABLES_RANGE,		/* the range is empty or not in TTBR0's part; detail: its end */
	TABLES_NOT_RAM,		/* a table lies outside RAM; detail: its address */
	TABLES_TOO_LARGE,	/* detail: bytes that were read so far */
};

/* Bytes that grow. */
struct buffer {
	char *data;
	size_t len;
	size_t room;
};

struct tables {
	uint64_t ttbr0;
	uint64_t tcr;
	/* The range that was asked for, rounded out to whole contiguous blocks of pages. */
	uint64_t start;
	uint64_t end;
	uint64_t detail;
	uint32_t nr_runs;
};

void buffer_add(struct buffer *buffer, const void *data, size_t len);

/*
 * Read what translates [base, base + len): at each level the entries of the
 * range, rounded out to whole contiguous blocks, as runs of
 *
 *	u64 physical address, u64 number of entries, u64 entries[]
 *
 * Fills in start, end, nr_runs, detail; adds the runs to out. Entries are read
 * one by one, each in one access. What is not as expected ends the walk: the
 * status says so, and the runs before it stay.
 */
enum tables_status tables_read(struct tables *tables, const struct kpv_ram *ram, uint64_t base,
			       uint64_t len, struct buffer *out);

#endif /* KPV_TABLES_H */
