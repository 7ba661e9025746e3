/* SPDX-License-Identifier: GPL-2.0 */
/*
 * lazyfree_fault.h: whether an access to a page is refused, and by which signal.
 */
#ifndef LAZYFREE_FAULT_H
#define LAZYFREE_FAULT_H

#include <setjmp.h>
#include <signal.h>

#include "lazyfree.h"

static sigjmp_buf fault_env;

static inline void fault_handler(int sig)
{
	siglongjmp(fault_env, sig);
}

/* The signal that the access gets, 0 if it is let through, -1 if that cannot be told. */
static inline int access_signal(const struct region *r, size_t page, bool write)
{
	struct sigaction action = { .sa_handler = fault_handler }, segv, bus;
	volatile int got = -1;

	if (sigaction(SIGSEGV, &action, &segv))
		return -1;
	if (!sigaction(SIGBUS, &action, &bus)) {
		got = sigsetjmp(fault_env, 1);
		if (!got && write)
			page_touch_write(r, page);
		else if (!got)
			page_touch_read(r, page);
		sigaction(SIGBUS, &bus, NULL);
	}
	sigaction(SIGSEGV, &segv, NULL);
	return got;
}

/* Whether a write to the page is refused; it is unchanged then. */
static inline bool write_faults(const struct region *r, size_t page)
{
	return access_signal(r, page, true) == SIGSEGV;
}

static inline void check_readonly(META *_metadata, const struct region *r, size_t first, size_t nr)
{
	size_t writable = 0;

	for (size_t i = first; i < first + nr; i++)
		writable += !write_faults(r, i);
	CHECK("permissions-unchanged", !writable, "%zu of %zu read-only pages can be written",
	      writable, nr);
}

#endif /* LAZYFREE_FAULT_H */
