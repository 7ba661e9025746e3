// SPDX-License-Identifier: GPL-2.0
#include <linux/mm.h>

static int madvise_walk(int start)
{
	int end = start + 1;

	return end;
}

static int madvise_cold(int start)
{
	return start;
}

int madvise_free(int start)
{
	int split = 1;

	if (start)
		split = 2;
	return split;
}
