/* SPDX-License-Identifier: GPL-2.0 */
/*
 * lazyfree_fuzz_shrink.h: a shorter list that breaks the same invariant, and
 * the list as a C test.
 *
 * Each attempt runs in a child of its own: whatever the last one left behind
 * is gone with it.
 */
#ifndef LAZYFREE_FUZZ_SHRINK_H
#define LAZYFREE_FUZZ_SHRINK_H

#include <time.h>

#include "lazyfree_fuzz_run.h"

#define FZ_SHRINK_SECONDS	8
#define FZ_TRY_SECONDS		5
#define FZ_REPRODUCE_TRIES	3

struct fz_shrink {
	struct fz_list list;
	struct fz_failure failure;	/* of the list */
	struct fz_result *result;	/* shared with whoever tries */
	struct timespec start;
	uint32_t tries;
};

static double fz_since(const struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec - start->tv_sec + (now.tv_nsec - start->tv_nsec) / 1e9;
}

/* Does this list fail in the same way? Then it is the best so far. */
static bool fz_try(struct fz_shrink *s, const struct fz_list *list)
{
	pid_t parent = getpid(), pid;

	if (fz_since(&s->start) > FZ_SHRINK_SECONDS)
		return false;
	s->tries++;
	memset(s->result, 0, sizeof(*s->result));
	kpv_flush();
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		alarm(FZ_TRY_SECONDS);
		if (fz_prepare(fz.self))
			fz_run(list, s->result);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, NULL, 0) != pid || !s->result->failure.set ||
	    s->result->failure.invariant != s->failure.invariant)
		return false;
	s->list = *list;
	s->failure = s->result->failure;
	return true;
}

/* Without chunks of so many operations. */
static bool fz_drop_chunks(struct fz_shrink *s, size_t chunk)
{
	bool dropped = false;

	for (size_t at = 0; at < s->list.nr;) {
		size_t nr = chunk < s->list.nr - at ? chunk : s->list.nr - at;
		struct fz_list shorter = s->list;

		memmove(&shorter.op[at], &shorter.op[at + nr],
			(shorter.nr - at - nr) * sizeof(shorter.op[0]));
		shorter.nr -= nr;
		if (fz_try(s, &shorter))
			dropped = true;
		else
			at += nr;
	}
	return dropped;
}

/* The same on fewer pages: first one, then either half. */
static bool fz_narrow(struct fz_shrink *s)
{
	bool narrowed = false;

	for (size_t i = 0; i < s->list.nr; i++) {
		const struct fz_op was = s->list.op[i];
		const struct fz_op less[] = {
			{ .first = was.first, .nr = 1 },
			{ .first = was.first + was.nr - 1, .nr = 1 },
			{ .first = was.first, .nr = was.nr / 2 },
			{ .first = was.first + was.nr / 2, .nr = was.nr - was.nr / 2 },
		};

		if (fz_kinds[was.kind].form < FZ_OF_RANGE || was.nr < 2)
			continue;
		for (size_t l = 0; l < FZ_NR(less); l++) {
			struct fz_list list = s->list;

			list.op[i].first = less[l].first;
			list.op[i].nr = less[l].nr;
			if (fz_try(s, &list)) {
				narrowed = true;
				break;
			}
		}
	}
	return narrowed;
}

/* Into s; false if the list does not fail again when it is repeated. */
static bool fz_shrink(struct fz_shrink *s, const struct fz_list *list,
		      const struct fz_failure *failure)
{
	bool again = false;

	s->failure = *failure;
	s->list = *list;
	clock_gettime(CLOCK_MONOTONIC, &s->start);
	s->result = mmap(NULL, sizeof(*s->result), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (s->result == MAP_FAILED)
		return false;
	for (int try = 0; try < FZ_REPRODUCE_TRIES && !again; try++)
		again = fz_try(s, list);
	if (!again)
		return false;
	/* What comes after the operation at which it failed was not even done. */
	if (s->failure.at < s->list.nr)
		s->list.nr = s->failure.at + 1;
	do {
		again = false;
		for (size_t chunk = s->list.nr / 2; chunk; chunk /= 2)
			again |= fz_drop_chunks(s, chunk);
		again |= fz_narrow(s);
	} while (again && fz_since(&s->start) < FZ_SHRINK_SECONDS);
	return true;
}

/* ---- as C ---- */

/* A line of the test; "# | " keeps it out of the way of who reads KTAP. */
static __attribute__((format(printf, 1, 2)))
void fz_line(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	printf("# | ");
	vprintf(fmt, ap);
	printf("\n");
	va_end(ap);
}

/* The call of one span as an expression. */
static void fz_c_call(const struct fz_model *m, const struct fz_op *op,
		      const struct fz_span *span, char *text, size_t size)
{
	const struct fz_page *page = &m->page[op->proc][op->region][span->first];
	const char *advice = NULL;
	size_t nr = span->nr;
	char at[32];

	snprintf(at, sizeof(at), "(char *)0x%lx", (unsigned long)span->from);
	switch (op->kind) {
	case FZ_MAP:
		snprintf(text, size, "pages_map(%s, %zu)", at, nr);
		return;
	case FZ_UNMAP:
		snprintf(text, size, "munmap(%s, %zu * psize)", at, nr);
		return;
	case FZ_WRITE:
		snprintf(text, size, "pages_write(%s, %zu, 0x%llxULL)", at, nr,
			 (unsigned long long)fz_key(m->gen, op->region, span->first));
		return;
	case FZ_MARK:
		snprintf(text, size, "pages_mark(%s, %zu, %u)", at, nr, m->gen);
		return;
	case FZ_READ:
		snprintf(text, size, "pages_read(%s, %zu)", at, nr);
		return;
	case FZ_PROTECT:
		snprintf(text, size, "mprotect(%s, %zu * psize, PROT_READ)", at, nr);
		return;
	case FZ_UNPROTECT:
		snprintf(text, size, "mprotect(%s, %zu * psize, PROT_READ | PROT_WRITE)", at, nr);
		return;
	case FZ_CYCLE:
		snprintf(text, size, "pages_cycle(%s, %zu, %s)", at, nr,
			 page->readonly ? "PROT_READ" : "PROT_READ | PROT_WRITE");
		return;
	case FZ_MOVE:
		snprintf(text, size, "pages_move(%s, %zu, (char *)0x%lx)", at, nr,
			 (unsigned long)page->addr);
		return;
	case FZ_SPLIT:
		snprintf(text, size, "pages_split(turns.pid[%u], %s, %zu)", op->proc, at, nr);
		return;
	case FZ_FREE:
	case FZ_FREE_ON:
		advice = "MADV_FREE";
		break;
	case FZ_DROP:
		advice = "MADV_DONTNEED";
		break;
	case FZ_PAGEOUT:
		advice = "MADV_PAGEOUT";
		break;
	case FZ_COLD:
		advice = "MADV_COLD";
		break;
	default:
		abort();
	}
	snprintf(text, size, "madvise(%s, %zu * psize, %s)", at, nr, advice);
}

/* One operation, a turn for each of its calls; the number of the last turn. */
static int fz_c_op(struct fz_model *m, const struct fz_op *op, int turn,
		   const struct fz_failure *failure, bool failed_here)
{
	char call[160];
	struct fz_spans spans;

	switch (op->kind) {
	case FZ_FORK:
		fz_line("\tif (!turn_fork(%d, %u))", ++turn, op->proc);
		fz_line("\t\tSKIP(return, \"fork\");");
		break;
	case FZ_EXIT:
		fz_line("\tturn_exit(%d, %u);", ++turn, op->proc);
		break;
	case FZ_OLD:
		fz_line("\tTURN(%d, %u) file_write(\"/proc/self/clear_refs\", \"1\");", ++turn,
			op->proc);
		break;
	case FZ_RECLAIM:
		fz_line("\tTURN(%d, 0) reclaim_write(self, %d * psize, \" swappiness=0\");", ++turn,
			FZ_PAGES);
		break;
	case FZ_SWAP:
		fz_line("\tTURN(%d, 0) reclaim_write(self, %d * psize, \"\");", ++turn, FZ_PAGES);
		break;
	case FZ_CHECK:
		break;
	default:
		fz_begin(m, op, &spans);
		for (size_t s = 0; s < spans.nr; s++) {
			bool ask = failed_here && failure->addr == spans.span[s].from;

			fz_c_call(m, op, &spans.span[s], call, sizeof(call));
			fz_line("\tTURN(%d, %u) %s%s;", ++turn, op->proc,
				ask ? "turns.shared->ret = " : "", call);
		}
		fz_end(m, op);
		return turn;
	}
	fz_apply(m, op);
	return turn;
}

/* The check at the end read all pages, in this order, up to the one that was wrong. */
static int fz_c_check(struct fz_model *m, int turn, const struct fz_failure *failure)
{
	for (int p = 0; failure->reader >= 0 && p <= failure->reader; p++) {
		struct fz_op op = { .kind = FZ_READ, .proc = p, .nr = FZ_PAGES };

		for (; m->alive[p] && op.region < FZ_REGIONS; op.region++) {
			if (p == failure->reader && op.region == failure->region)
				op.nr = failure->page;
			if (op.nr && m->page[p][op.region][0].addr)
				turn = fz_c_op(m, &op, turn, failure, false);
			if (p == failure->reader && op.region == failure->region)
				break;
		}
	}
	return turn;
}

/*
 * A program with one test that does what the list does. Its own text but for
 * lazyfree.h and lazyfree_replay.h; it tries the one thing that failed.
 */
static void fz_print_test(const struct fz_list *list, const struct fz_failure *failure,
			  const char *ops, bool mixed)
{
	static struct fz_model model;
	int turn = 0;

	fz_line("// SPDX-License-Identifier: GPL-2.0");
	fz_line("/*");
	fz_line(" * %s: %s", fz_invariants[failure->invariant], failure->detail);
	fz_line(" *");
	fz_line(" * KPV_OPS=\"%s\"", ops);
	fz_line(" */");
	fz_line("#define _GNU_SOURCE");
	fz_line("#include \"../kselftest_harness.h\"");
	fz_line("#include \"lazyfree_replay.h\"");
	fz_line("%s", "");
	fz_line("TEST_F(lazyfree, replay)");
	fz_line("{");
	fz_line("\tchar why[160] = \"\";");
	fz_line("%s", "");
	fz_line("\tif (self->why[0])");
	fz_line("\t\tSKIP(return, \"%%s\", self->why);");
	fz_line("\tif (self->order != %d)", fz.self->order);
	fz_line("\t\tSKIP(return, \"found with folios of order %d\");", fz.self->order);
	fz_line("\tASSERT_TRUE(turns_prepare());");
	if (mixed)
		fz_line("\tASSERT_TRUE(thp_select_smaller(self));");
	fz_init(&model, psize, fz.self->order > 0);
	for (size_t i = 0; i < list->nr; i++) {
		char text[64];

		if (!fz_applies(&model, &list->op[i]))
			continue;
		fz_put_op(&list->op[i], text, sizeof(text));
		fz_line("\t/* %s */", text);
		turn = fz_c_op(&model, &list->op[i], turn, failure, i == failure->at);
	}
	if (failure->at == list->nr)
		turn = fz_c_check(&model, turn, failure);
	if (failure->reader >= 0)
		fz_line("\tTURN(%d, %d) turns.shared->told = page_read((char *)%s);", ++turn,
			failure->reader, failure->read);
	fz_line("\tturns_finish(%d);", turn);
	if (!strncmp(failure->holds, "accounting", 10))
		fz_line("\tturns_stop(%d);", turn);
	fz_line("\tCHECK(\"%s\", %s, \"%%s\", why);", fz_invariants[failure->invariant],
		failure->holds);
	if (strncmp(failure->holds, "accounting", 10))
		fz_line("\tturns_stop(%d);", turn);
	fz_line("}");
	fz_line("%s", "");
	fz_line("TEST_HARNESS_MAIN");
	fflush(stdout);
}

#endif /* LAZYFREE_FUZZ_SHRINK_H */
