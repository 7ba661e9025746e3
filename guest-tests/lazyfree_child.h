/* SPDX-License-Identifier: GPL-2.0 */
/*
 * lazyfree_child.h: another process that maps the region, and does what it is told.
 *
 * It is forked by CHILD_START(), so it has the region as it was then, with the
 * classes of its pages; what it does to them afterwards it keeps for itself.
 */
#ifndef LAZYFREE_CHILD_H
#define LAZYFREE_CHILD_H

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "lazyfree.h"

#define CHILD_TIMEOUT_MS 10000

/* ---- the other process dies with the test ---- */

enum child_op {
	CHILD_VERIFY,		/* count pages that are not exactly their data */
	CHILD_VERIFY_CLASS,	/* count pages that are not right for their class */
	CHILD_READ,		/* touch */
	CHILD_WRITE,		/* new data of generation arg */
	CHILD_UNMAP,		/* MADV_DONTNEED */
	CHILD_FREE,		/* MADV_FREE */
	CHILD_EXIT,
};

struct child_cmd {
	enum child_op op;
	size_t first, nr;
	unsigned int arg;
};

struct child_reply {
	size_t wrong;
	size_t bad;
};

static struct {
	pid_t pid;
	int to, from, pagemap;
} child = { .pid = -1 };

static inline struct child_reply child_do(const struct child_cmd *cmd)
{
	struct child_reply reply = {};

	if (cmd->op == CHILD_UNMAP) {
		reply.wrong = madvise(rg.base + cmd->first * psize, cmd->nr * psize,
				      MADV_DONTNEED) != 0;
		return reply;
	}
	if (cmd->op == CHILD_FREE) {
		reply.wrong = madvise(rg.base + cmd->first * psize, cmd->nr * psize,
				      MADV_FREE) != 0;
		region_mark_freed(&rg, cmd->first, cmd->nr);
		return reply;
	}
	for (size_t i = cmd->first; i < cmd->first + cmd->nr; i++) {
		bool right = true;

		if (cmd->op == CHILD_VERIFY)
			right = page_content(&rg, i) == CONTENT_DATA;
		else if (cmd->op == CHILD_VERIFY_CLASS)
			right = page_right(&rg, i);
		else if (cmd->op == CHILD_READ)
			page_touch_read(&rg, i);
		else if (cmd->op == CHILD_WRITE)
			page_write(&rg, i, cmd->arg);
		if (!right && !reply.wrong++)
			reply.bad = i;
	}
	return reply;
}

static inline void child_main(int in, int out, pid_t parent)
{
	struct child_reply reply;
	struct child_cmd cmd;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(0);
	while (read(in, &cmd, sizeof(cmd)) == sizeof(cmd) && cmd.op != CHILD_EXIT) {
		reply = child_do(&cmd);
		if (write(out, &reply, sizeof(reply)) != sizeof(reply))
			break;
	}
	_exit(0);
}

/*
 * Fork. Afterwards take a snapshot for nothing: the copies of this process'
 * own pages that fork made necessary happen now, not within a step.
 */
static inline bool child_start(void)
{
	pid_t parent = getpid();
	int to[2], from[2];
	char path[64];

	if (pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC))
		return false;
	child.pid = fork();
	if (!child.pid) {
		close(to[1]);
		close(from[0]);
		child_main(to[0], from[1], parent);
	}
	close(to[0]);
	close(from[1]);
	child.to = to[1];
	child.from = from[0];
	if (child.pid < 0)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/pagemap", child.pid);
	child.pagemap = open(path, O_RDONLY | O_CLOEXEC);
	sharer_pagemap = child.pagemap;
	kpv_step_begin(&step, rg.base, rg.pages * psize);
	step.after = step.before;
	region_states(&rg);
	return child.pagemap >= 0;
}

/* The child's answer; a child that is dead or does not answer in time is wrong. */
static inline struct child_reply child_ask(enum child_op op, size_t first, size_t nr,
					   unsigned int arg)
{
	struct child_cmd cmd = { .op = op, .first = first, .nr = nr, .arg = arg };
	struct child_reply reply = { .wrong = SIZE_MAX };
	struct pollfd pfd = { .fd = child.from, .events = POLLIN };

	if (write(child.to, &cmd, sizeof(cmd)) != sizeof(cmd))
		return reply;
	if (poll(&pfd, 1, CHILD_TIMEOUT_MS) != 1 ||
	    read(child.from, &reply, sizeof(reply)) != sizeof(reply))
		reply.wrong = SIZE_MAX;
	return reply;
}

static inline void child_show(const char *at)
{
	kpv_pages(at, "child", kpv_states_of(child.pagemap, rg.base, rg.pages));
}

/* It is gone, with its page tables, when this returns. */
static inline void child_stop(void)
{
	if (child.pid <= 0)
		return;
	close(child.to);
	close(child.from);
	close(child.pagemap);
	sharer_pagemap = -1;
	kill(child.pid, SIGKILL);
	waitpid(child.pid, NULL, 0);
	child.pid = -1;
}

#define CHILD_START() ASSERT_TRUE(child_start())
#define CHILD_DO(op, first, nr, arg) ASSERT_EQ(0, child_ask(op, first, nr, arg).wrong)

/* Pages [first, first + nr) read in the child as they were when it was forked. */
static inline void check_sharer(META *_metadata, size_t first, size_t nr, const char *when)
{
	struct child_reply reply = child_ask(CHILD_VERIFY, first, nr, 0);

	CHECK("sharer-data-kept", !reply.wrong, "%s: %zd of %zu pages wrong, first is page %zu",
	      when, (ssize_t)reply.wrong, nr, reply.bad);
}

/* As check_sharer(), each page by its class at the time of the fork. */
static inline void check_sharer_class(META *_metadata, size_t first, size_t nr, const char *when)
{
	struct child_reply reply = child_ask(CHILD_VERIFY_CLASS, first, nr, 0);

	CHECK("sharer-data-kept", !reply.wrong, "%s: %zd of %zu pages wrong, first is page %zu",
	      when, (ssize_t)reply.wrong, nr, reply.bad);
}

/* Last lines of a test with a child. */
static inline void shared_finish(META *_metadata, FIX *self)
{
	check_data(_metadata, &rg);
	region_show(&rg, "end");
	if (child.pid > 0)
		child_show("end");
	child_stop();
	check_accounting(_metadata, self, &rg);
}

/* Fork so that the child gets folios [first, first + nr) and no others. */
static inline bool fork_folios(FIX *self, size_t first, size_t nr)
{
	size_t folio = self->nr * psize, folios = rg.pages / self->nr;
	char *head = rg.base, *tail = rg.base + (first + nr) * folio;
	size_t tail_len = (folios - first - nr) * folio;
	bool ok = true;

	if (first)
		ok &= !madvise(head, first * folio, MADV_DONTFORK);
	if (tail_len)
		ok &= !madvise(tail, tail_len, MADV_DONTFORK);
	ok &= child_start();
	if (first)
		ok &= !madvise(head, first * folio, MADV_DOFORK);
	if (tail_len)
		ok &= !madvise(tail, tail_len, MADV_DOFORK);
	return ok;
}

#define FORK_FOLIOS(first, nr) do {						\
	ASSERT_TRUE(fork_folios(self, first, nr));				\
	NEED("vmas", region_vmas(&rg) == 1, 1, region_vmas(&rg));		\
} while (0)

#endif /* LAZYFREE_CHILD_H */
