/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The file that this plugin writes: a header, then records, all little-endian.
 * pipeline/contpte/record.py reads it; a change of the layout is a new version.
 */
#ifndef KPV_RECORD_H
#define KPV_RECORD_H

#include <stdint.h>

#define CHECKPOINT_MAGIC	"KPVPTE\r\n"
#define CHECKPOINT_VERSION	1
#define RECORD_MAGIC		0x4345524bU	/* "KREC" */

struct file_header {
	char magic[8];
	uint32_t version;
	uint32_t bytes;		/* of this header */
	uint64_t ram_base;
	uint64_t ram_bytes;
};

struct record {
	uint32_t magic;
	uint32_t bytes;		/* of the record, with its runs */
	uint32_t op;		/* enum kpv_mark_op */
	uint32_t status;	/* enum tables_status */
	uint32_t vcpu;
	uint32_t others;	/* other vCPUs that were not idle when the tables were read */
	uint32_t tries;		/* readings until two in a row were alike; 0: they never were */
	uint32_t nr_runs;
	uint64_t test;		/* hash of the test that runs, 0 between tests */
	uint64_t name;		/* x1: hash of the step or the checkpoint */
	uint64_t base;		/* x2 */
	uint64_t len;		/* x3 */
	uint64_t view;		/* x4 */
	uint64_t ttbr0;
	uint64_t ttbr1;
	uint64_t tcr;
	uint64_t start;		/* what was read: [base, base + len) in whole contiguous blocks */
	uint64_t end;
	uint64_t detail;	/* what a status other than 0 is about */
	/* then nr_runs times: u64 physical address, u64 number of entries, u64 entries[] */
};

#endif /* KPV_RECORD_H */
