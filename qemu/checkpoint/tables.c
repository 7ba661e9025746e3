// SPDX-License-Identifier: GPL-2.0
/*
 * A walk of VMSAv8-64 stage 1 tables that interprets as little as it can: which
 * entries lead to another table, and where it is. What the entries mean is left
 * to who reads the file.
 */
#include "tables.h"

#define LEVELS		4
/* Of one range: 1 GiB of 4K pages has 2 MiB of entries. */
#define MAX_BYTES	(16UL << 20)

#define TCR_T0SZ(tcr)	((tcr) & 63)
#define TCR_EPD0	(1ULL << 7)
#define TCR_TG0(tcr)	((tcr) >> 14 & 3)
#define TCR_IPS(tcr)	((tcr) >> 32 & 7)
#define TCR_IPS_52	6
#define TCR_DS		(1ULL << 59)
#define BITS_47_0	((1ULL << 48) - 1)
/* With 64K pages bits 15:12 are PA[51:48]. */
#define DESC_PA_HIGH	(0xfULL << 12)

/* By TCR.TG0: log2 of the page's bytes and of the entries in a contiguous block, by level. */
static const struct granule {
	unsigned int page_shift;
	unsigned int cont_shift[LEVELS];
} granules[] = {
	[0] = { 12, { 0, 4, 4, 4 } },
	[1] = { 16, { 0, 0, 5, 5 } },
	[2] = { 14, { 0, 0, 5, 7 } },
};

struct walk {
	const struct granule *granule;
	const struct kpv_ram *ram;
	struct tables *tables;
	struct buffer *out;
	size_t out_start;
	unsigned int stride;	/* bits of VA that a level resolves */
	unsigned int va_bits;
};

void buffer_add(struct buffer *buffer, const void *data, size_t len)
{
	if (buffer->room - buffer->len < len) {
		buffer->room = 2 * (buffer->len + len);
		buffer->data = realloc(buffer->data, buffer->room);
		if (!buffer->data)
			abort();
	}
	memcpy(buffer->data + buffer->len, data, len);
	buffer->len += len;
}

static enum tables_status table_address(struct walk *walk, uint64_t desc, uint64_t *table)
{
	if (walk->granule->page_shift == 16 && desc & DESC_PA_HIGH) {
		walk->tables->detail = desc;
		return TABLES_PA_SIZE;
	}
	*table = desc & BITS_47_0 & ~((1ULL << walk->granule->page_shift) - 1);
	return TABLES_OK;
}

/* One table: its entries for [from, to), which it maps all of. */
static enum tables_status read_table(struct walk *walk, uint64_t table, unsigned int level,
				     uint64_t from, uint64_t to)
{
	unsigned int shift = walk->granule->page_shift + (LEVELS - 1 - level) * walk->stride;
	unsigned int bits = walk->va_bits - shift < walk->stride ? walk->va_bits - shift :
								   walk->stride;
	uint64_t mask = (1ULL << bits) - 1, first = from >> shift & mask, last = (to - 1) >> shift & mask;
	uint64_t block = 1ULL << (walk->granule->cont_shift[level] < bits ?
				  walk->granule->cont_shift[level] : bits);
	uint64_t low = first & ~(block - 1), nr = (last | (block - 1)) + 1 - low, run[2];
	size_t at;

	run[0] = table + low * 8;
	run[1] = nr;
	if (!kpv_ram_at(walk->ram, run[0], nr * 8)) {
		walk->tables->detail = run[0];
		return TABLES_NOT_RAM;
	}
	if (walk->out->len - walk->out_start + nr * 8 > MAX_BYTES) {
		walk->tables->detail = walk->out->len - walk->out_start;
		return TABLES_TOO_LARGE;
	}
	walk->tables->nr_runs++;
	buffer_add(walk->out, run, sizeof(run));
	at = walk->out->len;
	for (uint64_t i = 0; i < nr; i++) {
		uint64_t desc;

		kpv_ram_read64(walk->ram, run[0] + i * 8, &desc);
		buffer_add(walk->out, &desc, sizeof(desc));
	}
	if (level == LEVELS - 1)
		return TABLES_OK;
	for (uint64_t i = first; i <= last; i++) {
		uint64_t start = (from >> shift >> bits << bits | i) << shift, end = start + (1ULL << shift);
		enum tables_status status;
		uint64_t desc, next;

		/* By offset: the buffer may have moved. */
		memcpy(&desc, walk->out->data + at + (i - low) * 8, sizeof(desc));
		if ((desc & 3) != 3)
			continue;
		status = table_address(walk, desc, &next);
		if (status == TABLES_OK)
			status = read_table(walk, next, level + 1, from > start ? from : start,
					    to < end ? to : end);
		if (status != TABLES_OK)
			return status;
	}
	return TABLES_OK;
}

enum tables_status tables_read(struct tables *tables, const struct kpv_ram *ram, uint64_t base,
			       uint64_t len, struct buffer *out)
{
	uint64_t tcr = tables->tcr, tg0 = TCR_TG0(tcr), t0sz = TCR_T0SZ(tcr), block, table;
	struct walk walk = { .ram = ram, .tables = tables, .out = out, .out_start = out->len };
	unsigned int levels;

	tables->nr_runs = 0;
	tables->detail = 0;
	tables->start = base;
	tables->end = base + len;
	if (!ram->map)
		return TABLES_NO_RAM;
	if (tg0 >= sizeof(granules) / sizeof(granules[0])) {
		tables->detail = tg0;
		return TABLES_GRANULE;
	}
	if (tcr & TCR_EPD0)
		return TABLES_DISABLED;
	if (tcr & TCR_DS)
		return TABLES_LPA2;
	if (t0sz < 16 || t0sz > 39) {
		tables->detail = t0sz;
		return TABLES_VA_SIZE;
	}
	walk.granule = &granules[tg0];
	walk.va_bits = 64 - t0sz;
	walk.stride = walk.granule->page_shift - 3;
	/* With IPS of 52 bits, TTBR0[5:2] are bits 51:48 of the address. */
	if (TCR_IPS(tcr) == TCR_IPS_52 && tables->ttbr0 >> 2 & 15) {
		tables->detail = tables->ttbr0;
		return TABLES_PA_SIZE;
	}
	/* Bit 0 is CnP, bits 63:48 are an ASID. */
	table = tables->ttbr0 & BITS_47_0 & ~1ULL;

	block = 1ULL << (walk.granule->page_shift + walk.granule->cont_shift[LEVELS - 1]);
	if (!len || base + len < base || base + len > 1ULL << walk.va_bits) {
		tables->detail = base + len;
		return TABLES_RANGE;
	}
	tables->start = base & ~(block - 1);
	tables->end = (base + len + block - 1) & ~(block - 1);
	levels = (walk.va_bits - walk.granule->page_shift + walk.stride - 1) / walk.stride;
	return read_table(&walk, table, LEVELS - levels, tables->start, tables->end);
}
