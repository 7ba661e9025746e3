// SPDX-License-Identifier: GPL-2.0
#include "decode.h"

#define SYS_INSN(op1, crn, crm, op2) \
	(0xd5080000U | (op1) << 16 | (crn) << 12 | (crm) << 8 | (op2) << 5)
#define MSR_INSN(op0, op1, crn, crm, op2) \
	(0xd5000000U | (op0) << 19 | (op1) << 16 | (crn) << 12 | (crm) << 8 | (op2) << 5)

#define RT_MASK		0x1fU
#define RN(insn)	((insn) >> 5 & 31)
#define SP		31

/* Bits [hi:lo]. */
static inline uint64_t field(uint64_t word, unsigned int hi, unsigned int lo)
{
	return word >> lo & ((2ULL << (hi - lo)) - 1);
}

static inline uint64_t sign_extend(uint64_t value, unsigned int bits)
{
	return (uint64_t)((int64_t)(value << (64 - bits)) >> (64 - bits));
}

/*
 * TLBI of the EL1&0 regime: SYS with op1 0 and CRn 8, or 9 for the nXS forms of
 * FEAT_XS. CRm is the domain and whether it is a range, op2 the scope.
 */
static bool tlbi_form(uint32_t insn, struct tlbi *tlbi)
{
	uint32_t crn = field(insn, 15, 12), crm = field(insn, 11, 8), op2 = field(insn, 7, 5);

	if ((insn & ~0xffffU) != SYS_INSN(0U, 0U, 0U, 0U) || (crn != 8 && crn != 9))
		return false;
	*tlbi = (struct tlbi) { .nxs = crn == 9, .rt = insn & RT_MASK };
	switch (crm) {
	case 1: case 5:
		tlbi->domain = DOMAIN_OUTER;
		break;
	case 2: case 3:
		tlbi->domain = DOMAIN_INNER;
		break;
	case 6: case 7:
		tlbi->domain = DOMAIN_LOCAL;
		break;
	default:
		return false;
	}
	tlbi->range = crm == 2 || crm == 5 || crm == 6;
	tlbi->last_level = op2 == 5 || op2 == 7;
	switch (op2) {
	case 0:
		tlbi->scope = TLBI_ALL;
		return !tlbi->range;
	case 2:
		tlbi->scope = TLBI_ASID;
		return !tlbi->range;
	case 1: case 5:
		tlbi->scope = TLBI_VA;
		return true;
	case 3: case 7:
		tlbi->scope = TLBI_VA_ANY;
		return true;
	default:
		return false;
	}
}

/* C4.1.94 "Loads and stores": those that may write a descriptor. */
static enum insn_kind memory_kind(uint32_t insn)
{
	uint32_t size = field(insn, 31, 30), op = field(insn, 29, 24);
	bool load = insn & 1U << 22, o2 = insn & 1U << 23, o1 = insn & 1U << 21;

	/* No page table is on a stack, and most stores of a kernel are to its stack. */
	if (RN(insn) == SP)
		return INSN_OTHER;
	switch (op) {
	case 0x08: /* exclusive, ordered, CAS */
		if (size == 3 && !o2 && !load)
			return INSN_UPDATE;	/* STXR, STXP, and those with release */
		if (size == 3 && o2 && o1)
			return INSN_UPDATE;	/* CAS */
		if (size == 1 && !o2 && o1)
			return INSN_UPDATE;	/* CASP of two 64-bit registers */
		return size == 3 && o2 && !load ? INSN_STORE : INSN_OTHER; /* STLR, STLLR */
	case 0x19: /* STLUR */
		return size == 3 && !field(insn, 23, 21) ? INSN_STORE : INSN_OTHER;
	case 0x28: case 0x29: /* pairs: STNP, STP */
		return size == 2 && !load ? INSN_STORE : INSN_OTHER;
	case 0x38: /* one register */
		if (size != 3)
			return INSN_OTHER;
		if (o1 && !field(insn, 11, 10))
			return INSN_UPDATE;	/* LDADD ... SWP of FEAT_LSE */
		if (o1 && field(insn, 11, 10) != 2)
			return INSN_OTHER;	/* LDRAA */
		return field(insn, 23, 22) ? INSN_OTHER : INSN_STORE;
	case 0x39: /* one register, unsigned offset */
		return size == 3 && !field(insn, 23, 22) ? INSN_STORE : INSN_OTHER;
	default:
		return INSN_OTHER;
	}
}

enum insn_kind decode_insn(uint32_t insn)
{
	struct tlbi tlbi;

	/* op0 of the top-level table: x1x0 are loads and stores. */
	if ((insn & 0x0a000000) == 0x08000000)
		return memory_kind(insn);
	if (insn >> 24 == 0xd6)		/* ERET, ERETAA, ERETAB */
		return (insn | 0xc00) == 0xd69f0fe0 || (insn | 0x400) == 0xd69f0fff ? INSN_ERET
										    : INSN_OTHER;
	if (insn >> 24 != 0xd5)
		return INSN_OTHER;
	if ((insn & ~0xf00U) == 0xd503309f || (insn & ~0xc00U) == 0xd503323f)
		return INSN_DSB;
	if ((insn & ~0xf00U) == 0xd50330df)
		return INSN_ISB;
	switch (insn & ~RT_MASK) {
	case MSR_INSN(3U, 0U, 2U, 0U, 0U):
	case MSR_INSN(3U, 0U, 2U, 0U, 1U):
		return INSN_MSR_TTBR;
	case MSR_INSN(3U, 0U, 2U, 0U, 2U):
		return INSN_MSR_TCR;
	case MSR_INSN(3U, 0U, 4U, 1U, 0U):
		return INSN_MSR_SP_EL0;
	}
	return tlbi_form(insn, &tlbi) ? INSN_TLBI : INSN_OTHER;
}

struct tlbi decode_tlbi(uint32_t insn)
{
	struct tlbi tlbi = { 0 };

	tlbi_form(insn, &tlbi);
	return tlbi;
}

struct dsb decode_dsb(uint32_t insn)
{
	static const enum domain domains[] = {
		DOMAIN_OUTER, DOMAIN_LOCAL, DOMAIN_INNER, DOMAIN_SYSTEM,
	};
	struct dsb dsb;

	if ((insn & ~0xc00U) == 0xd503323f)
		return (struct dsb) { domains[field(insn, 11, 10)], true, true, true };
	dsb.domain = domains[field(insn, 11, 10)];
	dsb.nxs = false;
	/* CRm<1:0>: 01 loads, 10 stores, 11 both; 00 is reserved and works as a full DSB SY. */
	switch (field(insn, 9, 8)) {
	case 0:
		return (struct dsb) { DOMAIN_SYSTEM, true, true, false };
	case 1:
		dsb.loads = true;
		dsb.stores = false;
		break;
	case 2:
		dsb.loads = false;
		dsb.stores = true;
		break;
	default:
		dsb.loads = dsb.stores = true;
	}
	return dsb;
}

/*
 * TG of an operand (and the upper half of a single VA's TTL) by page size: 01 4K, 10
 * 16K, 11 64K.
 */
static unsigned int granule_field(unsigned int page_shift)
{
	return page_shift / 2 - 5;
}

struct tlbi_target tlbi_target(const struct tlbi *tlbi, uint64_t operand, unsigned int page_shift)
{
	struct tlbi_target target = { .asid = operand >> 48, .level = -1 };
	unsigned int tg, level;

	if (tlbi->scope == TLBI_ALL || tlbi->scope == TLBI_ASID)
		return target;
	if (tlbi->range) {
		tg = field(operand, 47, 46);
		level = field(operand, 38, 37);
		target.va = sign_extend(field(operand, 36, 0) << page_shift, 37 + page_shift);
		target.bytes = (field(operand, 43, 39) + 1)
			       << (5 * field(operand, 45, 44) + 1) << page_shift;
		if (level)
			target.level = level;
		target.other_granule = tg != granule_field(page_shift);
		return target;
	}
	tg = field(operand, 47, 46);
	level = field(operand, 45, 44);
	target.va = sign_extend(field(operand, 43, 0) << 12, 56) & -(1ULL << page_shift);
	target.bytes = 1ULL << page_shift;
	/* TTL 00xx is no hint, neither is level 0; FEAT_TTL's pages of TLBI VAE1 have the table. */
	if (tg && level)
		target.level = level;
	target.other_granule = tg && tg != granule_field(page_shift);
	return target;
}
