/* SPDX-License-Identifier: GPL-2.0 */
/*
 * kpv_mailbox.h: a ring of bytes in memory that the host of a VM reads.
 *
 * It is the BAR 2 of an ivshmem-plain device (QEMU, docs/specs/ivshmem-spec.rst),
 * a file on the host. What was written there is with the host at once: it costs
 * no system call, wakes no process, and outlives the kernel that it was written
 * under, whatever becomes of that.
 *
 * Several processes write, one at a time; a lock in memory of their own, which
 * survives its holder, keeps whole what is written in one call. The host is the
 * only reader.
 */
#ifndef KPV_MAILBOX_H
#define KPV_MAILBOX_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define KPV_MAILBOX_SIZE	0x40000UL
#define KPV_MAILBOX_RING	0x1000UL	/* offset of the ring, which takes the rest */

/* Both count bytes from the start of the VM; the ring is full when they are its size apart. */
struct kpv_mailbox_head {
	uint64_t written;		/* by the guest */
	uint64_t unused[7];
	uint64_t read;			/* by the host */
};

static struct {
	struct kpv_mailbox_head *head;	/* NULL: there is no mailbox */
	char *ring;
	pthread_mutex_t *lock;
} kpv_mailbox;

/* device: its folder in sysfs. Children that are forked later write to the same mailbox. */
static inline bool kpv_mailbox_open(const char *device)
{
	pthread_mutexattr_t attr;
	char path[160];
	void *map;
	int fd;

	snprintf(path, sizeof(path), "%s/enable", device);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "1", 1) != 1)
		return false;
	close(fd);
	snprintf(path, sizeof(path), "%s/resource2_wc", device);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return false;
	map = mmap(NULL, KPV_MAILBOX_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	kpv_mailbox.lock = mmap(NULL, sizeof(*kpv_mailbox.lock), PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED || kpv_mailbox.lock == MAP_FAILED)
		return false;
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	if (pthread_mutex_init(kpv_mailbox.lock, &attr))
		return false;
	kpv_mailbox.ring = (char *)map + KPV_MAILBOX_RING;
	kpv_mailbox.head = map;
	return true;
}

/* All of it, without anything of others in between; waits while the ring is full. */
static inline void kpv_mailbox_write(const char *data, size_t len)
{
	const size_t size = KPV_MAILBOX_SIZE - KPV_MAILBOX_RING;
	uint64_t written, room;

	/* Whoever died with the lock had not counted what it was about to write. */
	if (pthread_mutex_lock(kpv_mailbox.lock) == EOWNERDEAD)
		pthread_mutex_consistent(kpv_mailbox.lock);
	written = kpv_mailbox.head->written;
	while (len) {
		room = size - (written - __atomic_load_n(&kpv_mailbox.head->read, __ATOMIC_ACQUIRE));
		if (room > size - written % size)
			room = size - written % size;
		if (room > len)
			room = len;
		if (!room) {
			usleep(500);
			continue;
		}
		memcpy(kpv_mailbox.ring + written % size, data, room);
		written += room;
		data += room;
		len -= room;
		__atomic_store_n(&kpv_mailbox.head->written, written, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(kpv_mailbox.lock);
}

#endif /* KPV_MAILBOX_H */
