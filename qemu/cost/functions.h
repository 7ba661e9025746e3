/* SPDX-License-Identifier: GPL-2.0 */
/* functions.h: where the kernel's functions begin. The file is an array of addresses, 64 bits each, sorted. */
#ifndef KPV_COST_FUNCTIONS_H
#define KPV_COST_FUNCTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct functions {
	const uint64_t *start;
	uint32_t nr;
};

/* Says why not on stderr. */
bool functions_open(struct functions *functions, const char *path);
/* The function that an address is in: the last that begins at or before it; UINT32_MAX if none does. */
uint32_t functions_find(const struct functions *functions, uint64_t address);

#endif /* KPV_COST_FUNCTIONS_H */
