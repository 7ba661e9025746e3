/* SPDX-License-Identifier: GPL-2.0 */
/*
 * kpv_pin.h: references on pages from elsewhere, and a device that writes to
 * pages through them.
 *
 * A pipe holds a plain reference (vmsplice), gup_test and registered buffers of
 * io_uring hold long-term pins. Each is one of:
 *
 *	PIN_PIPE	get_user_pages(), for reading
 *	PIN_TEST	pin_user_pages(FOLL_LONGTERM), /sys/kernel/debug/gup_test
 *	PIN_URING	pin_user_pages(FOLL_LONGTERM | FOLL_WRITE), io_uring
 */
#ifndef KPV_PIN_H
#define KPV_PIN_H

#include <linux/io_uring.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "kpv_swap.h"

/* mm/gup_test.h, which no header of user space repeats. */
struct kpv_longterm {
	uint64_t addr, size;
	uint32_t flags;
};

#define KPV_LONGTERM_START	_IOW('g', 7, struct kpv_longterm)
#define KPV_LONGTERM_STOP	_IO('g', 8)
#define KPV_LONGTERM_READ	_IOW('g', 9, uint64_t)

enum kpv_pin_kind {
	PIN_PIPE,
	PIN_TEST,
	PIN_URING,
};

struct kpv_pin {
	enum kpv_pin_kind kind;
	char *at;
	size_t len;
	int fd;			/* the pipe's read end, gup_test or the ring */
	/* Of the ring: the heads and tails in memory shared with the kernel. */
	unsigned int *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
};

static inline bool kpv_pin_pipe(struct kpv_pin *pin)
{
	struct iovec iov = { .iov_base = pin->at, .iov_len = pin->len };
	int pipes[2];
	bool ok;

	if (pipe2(pipes, O_CLOEXEC))
		return false;
	ok = vmsplice(pipes[1], &iov, 1, SPLICE_F_NONBLOCK) == (ssize_t)pin->len;
	close(pipes[1]);
	pin->fd = pipes[0];
	return ok;
}

static inline bool kpv_pin_test(struct kpv_pin *pin)
{
	struct kpv_longterm arg = { .addr = (uintptr_t)pin->at, .size = pin->len };

	pin->fd = open("/sys/kernel/debug/gup_test", O_RDWR | O_CLOEXEC);
	return pin->fd >= 0 && !ioctl(pin->fd, KPV_LONGTERM_START, &arg);
}

static inline bool kpv_pin_uring(struct kpv_pin *pin)
{
	struct iovec iov = { .iov_base = pin->at, .iov_len = pin->len };
	struct io_uring_params p = {};
	size_t len;
	char *ring;

	pin->fd = syscall(__NR_io_uring_setup, 1, &p);
	if (pin->fd < 0 || !(p.features & IORING_FEAT_SINGLE_MMAP))
		return false;
	len = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
	if (len < p.sq_off.array + p.sq_entries * sizeof(unsigned int))
		len = p.sq_off.array + p.sq_entries * sizeof(unsigned int);
	ring = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, pin->fd,
		    IORING_OFF_SQ_RING);
	pin->sqes = mmap(NULL, p.sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_POPULATE, pin->fd, IORING_OFF_SQES);
	if (ring == MAP_FAILED || pin->sqes == MAP_FAILED)
		return false;
	pin->sq_tail = (unsigned int *)(ring + p.sq_off.tail);
	pin->sq_mask = (unsigned int *)(ring + p.sq_off.ring_mask);
	pin->sq_array = (unsigned int *)(ring + p.sq_off.array);
	pin->cq_head = (unsigned int *)(ring + p.cq_off.head);
	pin->cq_tail = (unsigned int *)(ring + p.cq_off.tail);
	pin->cq_mask = (unsigned int *)(ring + p.cq_off.ring_mask);
	pin->cqes = (struct io_uring_cqe *)(ring + p.cq_off.cqes);
	return !syscall(__NR_io_uring_register, pin->fd, IORING_REGISTER_BUFFERS, &iov, 1);
}

/* Hold [at, at + len); false where this kernel has no such thing. */
static inline bool kpv_pin_hold(struct kpv_pin *pin, enum kpv_pin_kind kind, void *at, size_t len)
{
	*pin = (struct kpv_pin){ .kind = kind, .at = at, .len = len, .fd = -1 };
	switch (kind) {
	case PIN_PIPE:
		return kpv_pin_pipe(pin);
	case PIN_TEST:
		return kpv_pin_test(pin);
	default:
		return kpv_pin_uring(pin);
	}
}

/* Let go; what was held is free of us when this returns. */
static inline void kpv_pin_drop(struct kpv_pin *pin)
{
	if (pin->fd < 0)
		return;
	if (pin->kind == PIN_TEST)
		ioctl(pin->fd, KPV_LONGTERM_STOP);
	else if (pin->kind == PIN_URING)
		syscall(__NR_io_uring_register, pin->fd, IORING_UNREGISTER_BUFFERS, NULL, 0);
	close(pin->fd);
	pin->fd = -1;
}

/*
 * Copy what is held to a buffer of the same length, by way of the reference and
 * not of this process' page tables. A pipe gives it once; a ring has no way.
 */
static inline bool kpv_pin_read(struct kpv_pin *pin, void *to)
{
	uint64_t addr = (uintptr_t)to;

	switch (pin->kind) {
	case PIN_PIPE:
		return read(pin->fd, to, pin->len) == (ssize_t)pin->len;
	case PIN_TEST:
		return !ioctl(pin->fd, KPV_LONGTERM_READ, &addr);
	default:
		return false;
	}
}

/* Read from a file into [at, at + len) of a ring's registered buffer, and wait for it. */
static inline bool kpv_pin_device_read(struct kpv_pin *pin, int fd, off_t from, void *at, size_t len)
{
	unsigned int tail = *pin->sq_tail, slot = tail & *pin->sq_mask, head = *pin->cq_head;
	struct io_uring_sqe *sqe = &pin->sqes[slot];
	int res;

	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = IORING_OP_READ_FIXED;
	sqe->fd = fd;
	sqe->off = from;
	sqe->addr = (uintptr_t)at;
	sqe->len = len;
	pin->sq_array[slot] = slot;
	__atomic_store_n(pin->sq_tail, tail + 1, __ATOMIC_RELEASE);
	if (syscall(__NR_io_uring_enter, pin->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
		return false;
	if (__atomic_load_n(pin->cq_tail, __ATOMIC_ACQUIRE) == head)
		return false;
	res = pin->cqes[head & *pin->cq_mask].res;
	__atomic_store_n(pin->cq_head, head + 1, __ATOMIC_RELEASE);
	return res == (int)len;
}

/* ---- a device to read from ---- */

/*
 * The disk for tests, behind its swap area, for direct I/O; *from is the first
 * byte that is not swap. -1 if there is none.
 */
static inline int kpv_scratch_open(size_t page_size, off_t *from)
{
	const char *disk = kpv_swap_disk();
	uint32_t last_page;
	off_t end;
	int fd;

	fd = disk[0] ? open(disk, O_RDONLY | O_CLOEXEC) : -1;
	/* swap_header.info.last_page, include/linux/swap.h. */
	if (fd < 0 || pread(fd, &last_page, sizeof(last_page), 1028) != sizeof(last_page)) {
		close(fd);
		return -1;
	}
	close(fd);
	fd = open(disk, O_RDWR | O_DIRECT | O_CLOEXEC);
	*from = ((off_t)last_page + 1) * page_size;
	end = lseek(fd, 0, SEEK_END);
	if (fd >= 0 && end <= *from) {
		close(fd);
		return -1;
	}
	return fd;
}

#endif /* KPV_PIN_H */
