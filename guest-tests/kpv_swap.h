/* SPDX-License-Identifier: GPL-2.0 */
/*
 * kpv_swap.h: which swap device a test swaps to.
 *
 * Two kinds behave differently. zram is read back without the swap cache where
 * nobody else needs the slot (SWP_SYNCHRONOUS_IO), and the slot is given up. A
 * disk is read through the swap cache, and the folio keeps its slot until it is
 * written or space gets scarce.
 *
 * The disk is one that was made for tests: known by its serial, with a swap
 * signature, and never turned on by anybody else. No other device is turned
 * off but zram's.
 */
#ifndef KPV_SWAP_H
#define KPV_SWAP_H

#include <sys/swap.h>

#include "kpv_obs.h"

#define KPV_SWAP_SERIAL "kpv-swap"
#define KPV_SWAP_ZRAM_PATH "/dev/zram0"

/* Bits: what is on, or what is wanted. */
enum kpv_swap_kind {
	KPV_SWAP_ANY,
	KPV_SWAP_ZRAM,
	KPV_SWAP_DISK,
	KPV_SWAP_OTHER = 4,
};

struct kpv_swaps {
	int kinds;
	int64_t size_kib, used_kib;	/* of all that is on */
};

/* Path of the disk for tests; empty if there is none. Virtio disks have a serial. */
static inline const char *kpv_swap_disk(void)
{
	static char found[16];
	static bool looked;

	for (char letter = 'a'; !looked && letter <= 'z' && !found[0]; letter++) {
		char path[40], serial[32] = "";
		int fd;

		snprintf(path, sizeof(path), "/sys/block/vd%c/serial", letter);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			break;
		if (read(fd, serial, sizeof(serial) - 1) > 0 &&
		    !strncmp(serial, KPV_SWAP_SERIAL, strlen(KPV_SWAP_SERIAL)))
			snprintf(found, sizeof(found), "/dev/vd%c", letter);
		close(fd);
	}
	looked = true;
	return found;
}

/* What /proc/swaps says. */
static inline struct kpv_swaps kpv_swaps_read(void)
{
	struct kpv_swaps swaps = {};
	const char *disk = kpv_swap_disk();
	int fd = open("/proc/swaps", O_RDONLY | O_CLOEXEC);
	char *s;

	if (fd < 0 || !kpv_slurp(fd))
		goto out;
	/* Filename, Type, Size, Used, Priority; the first line says so. */
	for (s = kpv_next_line(kpv.text); s && *s; s = kpv_next_line(s)) {
		char name[64], type[16];
		long long size, used;

		if (sscanf(s, "%63s %15s %lld %lld", name, type, &size, &used) != 4)
			continue;
		if (!strncmp(name, "/dev/zram", 9))
			swaps.kinds |= KPV_SWAP_ZRAM;
		else if (disk[0] && !strcmp(name, disk))
			swaps.kinds |= KPV_SWAP_DISK;
		else
			swaps.kinds |= KPV_SWAP_OTHER;
		swaps.size_kib += size;
		swaps.used_kib += used;
	}
out:
	close(fd);
	return swaps;
}

/*
 * A virtual disk calls itself rotational; such swap is filled slot by slot,
 * and large folios are split before they go there. Writing it costs a grace
 * period.
 */
static inline void kpv_swap_no_seeks(const char *disk)
{
	char path[48], now = '0';
	int fd;

	snprintf(path, sizeof(path), "/sys/block/%s/queue/rotational", disk + strlen("/dev/"));
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0 && read(fd, &now, 1) == 1 && now != '0' && pwrite(fd, "0", 1, 0) != 1)
		perror(path);
	close(fd);
}

/*
 * Have exactly the wanted kind on (KPV_SWAP_ANY: anything but the disk for
 * tests; zram then). What is not wanted goes off: the kernel keeps slots of
 * either device at hand for the next page to swap, whatever their priorities.
 *
 * Turning off costs a grace period or two. So the disk stays on until a test
 * wants another device: it is there for nothing else. Returns what is on.
 */
static inline struct kpv_swaps kpv_swap_select(int wanted)
{
	struct kpv_swaps swaps = kpv_swaps_read();
	const char *disk = kpv_swap_disk();

	if (wanted == KPV_SWAP_DISK && disk[0] && swaps.kinds != KPV_SWAP_DISK) {
		if (!(swaps.kinds & KPV_SWAP_DISK)) {
			kpv_swap_no_seeks(disk);
			swapon(disk, 0);
		}
		if (swaps.kinds & KPV_SWAP_ZRAM)
			swapoff(KPV_SWAP_ZRAM_PATH);
		swaps = kpv_swaps_read();
	} else if (wanted != KPV_SWAP_DISK && (swaps.kinds & KPV_SWAP_DISK)) {
		if (!(swaps.kinds & KPV_SWAP_ZRAM))
			swapon(KPV_SWAP_ZRAM_PATH, 0);
		swapoff(disk);
		swaps = kpv_swaps_read();
	}
	return swaps;
}

static inline bool kpv_swap_ok(int kinds, int wanted)
{
	return wanted == KPV_SWAP_ANY ? kinds && !(kinds & KPV_SWAP_DISK) : kinds == wanted;
}

#endif /* KPV_SWAP_H */
