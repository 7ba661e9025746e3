// SPDX-License-Identifier: GPL-2.0
#include "functions.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

bool functions_open(struct functions *functions, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *map;

	if (fd < 0 || fstat(fd, &st)) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return false;
	}
	map = st.st_size ? mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
	close(fd);
	if (map == MAP_FAILED) {
		fprintf(stderr, "%s: expected addresses of functions, found %lld bytes\n", path,
			(long long)st.st_size);
		return false;
	}
	functions->start = map;
	functions->nr = st.st_size / sizeof(*functions->start);
	return true;
}

uint32_t functions_find(const struct functions *functions, uint64_t address)
{
	uint32_t low = 0, high = functions->nr;

	/* start[low - 1] <= address < start[high] */
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (functions->start[middle] <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low - 1;
}
