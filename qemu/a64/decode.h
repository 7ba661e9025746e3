/* SPDX-License-Identifier: GPL-2.0 */
/*
 * decode.h: the A64 instructions that matter to a TLB, and the operands of TLBI.
 *
 * Encodings: Arm ARM (DDI 0487), C4 "A64 Instruction Set Encoding" and the pages
 * of the single instructions. Knows nothing of QEMU.
 */
#ifndef KPV_A64_DECODE_H
#define KPV_A64_DECODE_H

#include <stdbool.h>
#include <stdint.h>

enum insn_kind {
	INSN_OTHER,
	INSN_ERET,
	INSN_TLBI,
	INSN_DSB,
	INSN_ISB,
	INSN_MSR_TTBR,		/* TTBR0_EL1 or TTBR1_EL1 */
	INSN_MSR_TCR,
	INSN_MSR_SP_EL0,
	INSN_STORE,		/* 64 bits or more, not relative to SP, no SIMD */
	INSN_UPDATE,		/* reads and writes: exclusive stores, CAS, SWP, LSE atomics */
};

/* From the smallest to the largest, so that they compare. */
enum domain { DOMAIN_LOCAL, DOMAIN_INNER, DOMAIN_OUTER, DOMAIN_SYSTEM };

enum tlbi_scope {
	TLBI_ALL,		/* every entry of the EL1&0 regime */
	TLBI_ASID,
	TLBI_VA,		/* by VA and ASID */
	TLBI_VA_ANY,		/* by VA, of all ASIDs */
};

struct tlbi {
	enum tlbi_scope scope;
	enum domain domain;
	bool range;
	bool last_level;
	bool nxs;
	uint8_t rt;		/* register of the operand, 31: none */
};

/* What a TLBI names, once its operand is known. */
struct tlbi_target {
	uint16_t asid;
	uint64_t va;		/* sign-extended */
	uint64_t bytes;		/* 0: all addresses */
	int8_t level;		/* hinted leaf level, -1: any */
	bool other_granule;	/* the operand is for another granule: no invalidation is promised */
};

struct dsb {
	enum domain domain;
	bool stores;		/* orders stores */
	bool loads;		/* orders loads; TLBI completes by a DSB that orders both */
	bool nxs;
};

enum insn_kind decode_insn(uint32_t insn);
/* Register of an MSR, of a load or a store: bits 4:0. */
static inline unsigned int decode_rt(uint32_t insn)
{
	return insn & 31;
}

/* Those two are for an instruction of the kind INSN_TLBI, INSN_DSB. */
struct tlbi decode_tlbi(uint32_t insn);
struct dsb decode_dsb(uint32_t insn);

/* What a TLBI with this operand names, for a translation granule of 1 << page_shift bytes. */
struct tlbi_target tlbi_target(const struct tlbi *tlbi, uint64_t operand, unsigned int page_shift);

#endif /* KPV_A64_DECODE_H */
