// SPDX-License-Identifier: GPL-2.0
#include "regime.h"

#include <stddef.h>

/* TCR_EL1 (D19.2): fields that say how TTBR0_EL1 translates. */
#define TCR_T0SZ(tcr)	((tcr) & 63)
#define TCR_T1SZ(tcr)	((tcr) >> 16 & 63)
#define TCR_TG0(tcr)	((tcr) >> 14 & 3)
#define TCR_EPD0	(1ULL << 7)
#define TCR_A1		(1ULL << 22)
#define TCR_AS		(1ULL << 36)
#define TCR_HA		(1ULL << 39)
#define TCR_HD		(1ULL << 40)
#define TCR_DS		(1ULL << 59)

const char *regime_read(struct regime *regime, uint64_t tcr)
{
	static const unsigned char shifts[] = { 12, 16, 14, 0 };
	unsigned int levels;

	if (tcr & TCR_EPD0)
		return "TCR_EL1.EPD0 is set: there is no lower VA range";
	if (tcr & TCR_DS)
		return "TCR_EL1.DS is set: descriptors of 52 bits are not modelled (use lpa2=off)";
	*regime = (struct regime) {
		.page_shift = shifts[TCR_TG0(tcr)],
		.va_bits = 64 - TCR_T0SZ(tcr),
		.high_base = -(1ULL << (64 - TCR_T1SZ(tcr))),
		.hardware_af = tcr & TCR_HA,
		.hardware_dirty = (tcr & TCR_HA) && (tcr & TCR_HD),
		.asid_in_ttbr1 = tcr & TCR_A1,
		.asid16 = tcr & TCR_AS,
	};
	if (!regime->page_shift)
		return "TCR_EL1.TG0 is reserved";
	if (regime->va_bits > 48)
		return "virtual addresses of more than 48 bits are not modelled";
	if (regime->va_bits < 25)
		return "TCR_EL1.T0SZ is beyond what the architecture allows";
	levels = (regime->va_bits - regime->page_shift + regime_stride(regime) - 1) /
		 regime_stride(regime);
	regime->start_level = LAST_LEVEL + 1 - levels;
	return NULL;
}
