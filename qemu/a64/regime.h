/* SPDX-License-Identifier: GPL-2.0 */
/*
 * regime.h: how TCR_EL1 lays out the tables of the lower VA range, and the fields
 * of stage 1 descriptors in them. Arm ARM (DDI 0487), D8 "The AArch64 Virtual
 * Memory System Architecture".
 */
#ifndef KPV_A64_REGIME_H
#define KPV_A64_REGIME_H

#include <stdbool.h>
#include <stdint.h>

#define DESC_VALID	(1ULL << 0)
#define DESC_TABLE	(1ULL << 1)	/* at level 3: a page */
#define DESC_ATTR_INDEX	(7ULL << 2)
#define DESC_USER	(1ULL << 6)	/* AP[1] */
#define DESC_READONLY	(1ULL << 7)	/* AP[2] */
#define DESC_SH		(3ULL << 8)
#define DESC_AF		(1ULL << 10)
#define DESC_NG		(1ULL << 11)
#define DESC_DBM	(1ULL << 51)
#define DESC_CONT	(1ULL << 52)
#define DESC_PXN	(1ULL << 53)
#define DESC_UXN	(1ULL << 54)

#define LAST_LEVEL	3

struct regime {
	unsigned int page_shift;
	unsigned int va_bits;
	unsigned int start_level;
	uint64_t high_base;	/* lowest VA of the upper range: where arm64 Linux maps all RAM */
	bool hardware_af;	/* TCR_EL1.HA */
	bool hardware_dirty;	/* TCR_EL1.HD */
	bool asid_in_ttbr1;	/* TCR_EL1.A1 */
	bool asid16;		/* TCR_EL1.AS */
};

/* Fills in what tcr says; returns NULL, or why this model cannot tell. */
const char *regime_read(struct regime *regime, uint64_t tcr);

static inline unsigned int regime_stride(const struct regime *regime)
{
	return regime->page_shift - 3;
}

/* Bits of VA below the index of this level: log2 of what one entry maps. */
static inline unsigned int level_shift(const struct regime *regime, unsigned int level)
{
	return regime->page_shift + (LAST_LEVEL - level) * regime_stride(regime);
}

static inline uint64_t level_bytes(const struct regime *regime, unsigned int level)
{
	return 1ULL << level_shift(regime, level);
}

/* Entries of a table at this level; the first may be smaller than a page. */
static inline unsigned int level_entries(const struct regime *regime, unsigned int level)
{
	if (level == regime->start_level)
		return 1U << (regime->va_bits - level_shift(regime, level));
	return 1U << regime_stride(regime);
}

/* Entries of a contiguous block at this level (D8.7.1); 1: there is none. */
static inline unsigned int cont_entries(const struct regime *regime, unsigned int level)
{
	switch (regime->page_shift) {
	case 12:
		return level ? 16 : 1;
	case 14:
		return level == 3 ? 128 : level == 2 ? 32 : 1;
	default:
		return level >= 2 ? 32 : 1;
	}
}

static inline uint64_t regime_root(const struct regime *regime, uint64_t ttbr0)
{
	uint64_t bytes = level_entries(regime, regime->start_level) * 8ULL;

	return ttbr0 & 0xfffffffffffeULL & -bytes;
}

static inline uint16_t regime_asid(const struct regime *regime, uint64_t ttbr0, uint64_t ttbr1)
{
	uint16_t asid = (regime->asid_in_ttbr1 ? ttbr1 : ttbr0) >> 48;

	return regime->asid16 ? asid : asid & 0xff;
}

static inline bool desc_is_table(uint64_t desc, unsigned int level)
{
	return level < LAST_LEVEL && (desc & 3) == 3;
}

/* A page or a block. */
static inline bool desc_is_leaf(uint64_t desc, unsigned int level)
{
	return level == LAST_LEVEL ? (desc & 3) == 3 : (desc & 3) == 1;
}

/*
 * Where a page, a block or a next-level table is: bits 47:page_shift. PAs of more
 * than 48 bits are not made here.
 */
static inline uint64_t desc_address(const struct regime *regime, uint64_t desc)
{
	return desc & 0xffffffffffffULL & -(1ULL << regime->page_shift);
}

/* As desc_address() of a leaf: a block has RES0 or nT bits below its size. */
static inline uint64_t leaf_address(const struct regime *regime, uint64_t desc, unsigned int level)
{
	return desc & 0xffffffffffffULL & -level_bytes(regime, level);
}

/*
 * Whether a TLB may hold a translation by this leaf. Without hardware management
 * of the access flag an entry with AF 0 faults, and faulting entries are not
 * cached (D8.4); with it, any valid entry may be walked, flagged and cached.
 */
static inline bool leaf_cacheable(const struct regime *regime, uint64_t desc)
{
	return regime->hardware_af || (desc & DESC_AF);
}

#endif /* KPV_A64_REGIME_H */
