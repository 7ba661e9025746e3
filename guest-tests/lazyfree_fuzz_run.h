/* SPDX-License-Identifier: GPL-2.0 */
/*
 * lazyfree_fuzz_run.h: does a list of operations, in the test and in children
 * that it commands, and compares with the model of lazyfree_fuzz.h.
 *
 * Nothing here expects a kernel to mark, split or discard: only where all that
 * could hinder it is excluded must the freed pages be lazyfree.
 */
#ifndef LAZYFREE_FUZZ_RUN_H
#define LAZYFREE_FUZZ_RUN_H

#include <poll.h>

#include "lazyfree_fuzz.h"
#include "lazyfree_replay.h"

/* include/uapi/linux/kernel-page-flags.h */
#define KPV_KPF_WRITEBACK	8

#define FZ_ANSWER_MS	10000

_Static_assert(FZ_BASE == REGION_BASE && FZ_SLOT == REGION_SLOT, "one layout for both");

static const char * const fz_invariants[] = {
	"return-value", "exactly-range-lazyfree", "becomes-clean", "becomes-old",
	"outside-range-untouched", "old-or-zero", "no-lost-write", "write-cancels-lazyfree",
	"sharer-data-kept", "permissions-unchanged", "swap-entries-freed", "hole-reads-zero",
	"accounting",
};

#define FZ_NR_INVARIANTS KPV_COUNT(fz_invariants)

/* What did not hold first: in words, and as C for the test that replays it. */
struct fz_failure {
	bool set;
	int invariant;
	size_t at;			/* operation */
	char detail[240];
	int reader;			/* process that reads a page for it, -1: none */
	int region;
	size_t page;
	char read[64];			/* its address */
	char holds[240];		/* condition */
	uintptr_t addr;			/* of the call whose result it is about, 0: none */
};

struct fz_result {
	struct fz_failure failure;
	uint32_t decided[FZ_NR_INVARIANTS];
	uint32_t done, skipped, forbidden;	/* operations */
};

enum fz_call { CALL_READ, CALL_WRITE, CALL_MARK, CALL_MADVISE, CALL_MPROTECT, CALL_CYCLE,
	       CALL_MMAP, CALL_MUNMAP, CALL_MREMAP, CALL_OLD };

struct fz_cmd {
	enum fz_call call;
	char *addr, *to;
	size_t nr;
	uint64_t value;			/* key, mark, advice or protection */
};

struct fz_reply {
	long ret;
	int err;
	size_t refused;
	struct page_data page[FZ_PAGES];
};

static struct {
	struct fz_model model;
	const FIX *self;
	struct fz_result *result;
	size_t at;
	bool with_known;
	bool can_split;
	struct {
		pid_t pid;
		int to, from, pagemap, smaps;
	} peer[FZ_PROCS];
	struct fz_reply *reply;		/* one each, shared */
} fz;

/* ---- saying what holds ---- */

static int fz_invariant(const char *id)
{
	for (size_t i = 0; i < FZ_NR_INVARIANTS; i++)
		if (!strcmp(fz_invariants[i], id))
			return i;
	abort();
}

/* Count it, and keep the first that fails; true if this one holds. */
static __attribute__((format(printf, 4, 5)))
bool fz_decide(const char *id, bool ok, const char *holds, const char *fmt, ...)
{
	struct fz_failure *failure = &fz.result->failure;
	int invariant = fz_invariant(id);
	va_list ap;

	fz.result->decided[invariant]++;
	if (ok || failure->set)
		return ok;
	failure->set = true;
	failure->invariant = invariant;
	failure->at = fz.at;
	failure->reader = -1;
	snprintf(failure->holds, sizeof(failure->holds), "%s", holds);
	va_start(ap, fmt);
	vsnprintf(failure->detail, sizeof(failure->detail), fmt, ap);
	va_end(ap);
	return false;
}

/* ---- the processes ---- */

static struct fz_reply *fz_do(const struct fz_cmd *cmd, struct fz_reply *reply)
{
	int prot = cmd->value;

	reply->ret = 0;
	reply->refused = 0;
	switch (cmd->call) {
	case CALL_READ:
		for (size_t i = 0; i < cmd->nr; i++)
			reply->page[i] = page_read(cmd->addr + i * psize);
		break;
	case CALL_WRITE:
		reply->refused = pages_write(cmd->addr, cmd->nr, cmd->value);
		break;
	case CALL_MARK:
		reply->refused = pages_mark(cmd->addr, cmd->nr, cmd->value);
		break;
	case CALL_MADVISE:
		reply->ret = madvise(cmd->addr, cmd->nr * psize, cmd->value);
		break;
	case CALL_MPROTECT:
		reply->ret = mprotect(cmd->addr, cmd->nr * psize, prot);
		break;
	case CALL_CYCLE:
		reply->ret = pages_cycle(cmd->addr, cmd->nr, prot);
		break;
	case CALL_MMAP:
		reply->ret = pages_map(cmd->addr, cmd->nr) ? 0 : -1;
		break;
	case CALL_MUNMAP:
		reply->ret = munmap(cmd->addr, cmd->nr * psize);
		break;
	case CALL_MREMAP:
		reply->ret = pages_move(cmd->addr, cmd->nr, cmd->to) ? 0 : -1;
		break;
	case CALL_OLD:
		reply->ret = file_write("/proc/self/clear_refs", "1") ? 0 : -1;
		break;
	}
	reply->err = reply->ret < 0 ? errno : 0;
	return reply;
}

static void fz_child(int in, int out, int proc, pid_t parent)
{
	struct fz_cmd cmd;
	char done = 1;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(0);
	while (read(in, &cmd, sizeof(cmd)) == sizeof(cmd)) {
		fz_do(&cmd, &fz.reply[proc]);
		if (write(out, &done, 1) != 1)
			break;
	}
	_exit(0);
}

/* One command in one process; a child that does not answer counts as a refusal of everything. */
static struct fz_reply *fz_call(int proc, struct fz_cmd cmd)
{
	struct fz_reply *reply = &fz.reply[proc];
	struct pollfd pfd = { .fd = fz.peer[proc].from, .events = POLLIN };
	char done;

	if (!proc)
		return fz_do(&cmd, reply);
	if (write(fz.peer[proc].to, &cmd, sizeof(cmd)) == sizeof(cmd) &&
	    poll(&pfd, 1, FZ_ANSWER_MS) == 1 && read(pfd.fd, &done, 1) == 1)
		return reply;
	fz_decide("return-value", false, "false", "process %d does not answer", proc);
	memset(reply, 0, sizeof(*reply));
	reply->ret = -1;
	return reply;
}

static bool fz_fork(int proc)
{
	pid_t parent = getpid();
	int to[2], from[2];
	char path[64];

	if (pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC))
		return false;
	fz.peer[proc].pid = fork();
	if (!fz.peer[proc].pid) {
		close(to[1]);
		close(from[0]);
		fz_child(to[0], from[1], proc, parent);
	}
	close(to[0]);
	close(from[1]);
	fz.peer[proc].to = to[1];
	fz.peer[proc].from = from[0];
	snprintf(path, sizeof(path), "/proc/%d/pagemap", fz.peer[proc].pid);
	fz.peer[proc].pagemap = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", fz.peer[proc].pid);
	fz.peer[proc].smaps = open(path, O_RDONLY | O_CLOEXEC);
	return fz.peer[proc].pid > 0 && fz.peer[proc].pagemap >= 0;
}

static void fz_exit(int proc)
{
	if (fz.peer[proc].pid > 0) {
		kill(fz.peer[proc].pid, SIGKILL);
		waitpid(fz.peer[proc].pid, NULL, 0);
		close(fz.peer[proc].to);
		close(fz.peer[proc].from);
	}
	close(fz.peer[proc].pagemap);
	close(fz.peer[proc].smaps);
	fz.peer[proc].pid = 0;
	fz.peer[proc].pagemap = fz.peer[proc].smaps = -1;
}

/* ---- looking ---- */

static uint64_t fz_key(uint32_t gen, int region, size_t page)
{
	return gen ? (uint64_t)gen << 32 | region << 16 | page * KEY_STEP | 1 : 0;
}

struct fz_look {
	char state[FZ_PAGES];
	bool busy[FZ_PAGES];		/* in the swap cache or being written: may be left alone */
};

/* States of a region's pages as a process maps them, ' ' where it does not. */
static bool fz_look(int proc, int region, struct fz_look *look)
{
	const struct fz_page *pages = fz.model.page[proc][region];
	size_t nr;

	kpv_drain();
	for (size_t i = 0; i < FZ_PAGES; i += nr) {
		look->state[i] = ' ';
		look->busy[i] = false;
		nr = 1;
		if (!pages[i].mapped)
			continue;
		while (i + nr < FZ_PAGES && pages[i + nr].mapped &&
		       pages[i + nr].addr == pages[i].addr + nr * psize)
			nr++;
		if (!*kpv_states_of(fz.peer[proc].pagemap, (void *)pages[i].addr, nr))
			return false;
		memcpy(look->state + i, kpv.states, nr);
		for (size_t j = 0; j < nr; j++)
			look->busy[i + j] = kpv_bit(kpv.flags_buf[j], KPV_KPF_SWAPCACHE) ||
					    kpv_bit(kpv.flags_buf[j], KPV_KPF_WRITEBACK);
	}
	return true;
}

/* One page was read: is it what it may be? */
static bool fz_judge_data(int proc, int region, size_t i, const struct page_data *data)
{
	struct fz_page *page = &fz.model.page[proc][region][i];
	struct fz_content seen = { .gen = data->key >> 32, .mark = data->mark };
	struct fz_failure *failure = &fz.result->failure;
	const char *id = fz_broken(&fz.model, page);
	char holds[sizeof(failure->holds)] = "", what[96];
	struct fz_page may = *page;
	size_t len = 0;
	bool ok;

	if (!fz_decide("permissions-unchanged", !data->fault, "!turns.shared->told.fault",
		       "process %d may not read page %zu of region %d", proc, i, region)) {
		ok = false;
		goto out;
	}
	ok = data->whole && (data->key == fz_key(seen.gen, region, i));
	ok = ok && !fz_observe(&fz.model, page, seen);
	if (ok) {
		fz.result->decided[fz_invariant(id)]++;
		return true;
	}
	for (size_t m = 0; m < may.nr_may; m++)
		len += snprintf(holds + len, sizeof(holds) - len, "%stold(0x%llxULL, %u)",
				m ? " || " : "",
				(unsigned long long)fz_key(may.may[m].gen, region, i),
				may.may[m].mark);
	snprintf(what, sizeof(what), "%s, key 0x%llx, mark %u", data->whole ? "whole" : "mixed",
		 (unsigned long long)data->key, data->mark);
	fz_decide(id, false, holds, "page %zu of region %d in process %d: %s; not %.100s", i,
		  region, proc, what, holds);
out:
	if (failure->set && failure->reader < 0) {
		failure->reader = proc;
		failure->region = region;
		failure->page = i;
		snprintf(failure->read, sizeof(failure->read), "0x%lx", (unsigned long)page->addr);
	}
	return ok;
}

static void fz_read(const struct fz_op *op)
{
	struct fz_spans spans;

	fz_begin(&fz.model, op, &spans);
	for (size_t s = 0; s < spans.nr; s++) {
		const struct fz_span *span = &spans.span[s];
		struct fz_reply *reply = fz_call(op->proc, (struct fz_cmd){
			.call = CALL_READ, .addr = (char *)span->from, .nr = span->nr });

		for (size_t i = 0; i < span->nr && !fz.result->failure.set; i++)
			fz_judge_data(op->proc, op->region, span->first + i, &reply->page[i]);
	}
}

static void fz_state_is(char *text, size_t size, int proc, uintptr_t addr, const char *letters)
{
	snprintf(text, size, "strchr(\"%s\", page_state(%d, (char *)0x%lx))", letters, proc,
		 (unsigned long)addr);
}

/* What nobody ever freed must not be lazyfree, and must be there. */
static void fz_judge_kept(int proc, int region, const struct fz_look *look)
{
	const struct fz_page *pages = fz.model.page[proc][region];
	char holds[128];

	for (size_t i = 0; i < FZ_PAGES; i++) {
		if (!pages[i].mapped || !pages[i].obj || fz.model.object[pages[i].obj].freed)
			continue;
		fz_state_is(holds, sizeof(holds), proc, pages[i].addr, "aAs");
		if (!fz_decide("outside-range-untouched", strchr("aAs", look->state[i]), holds,
			       "page %zu of region %d in process %d was never freed and is '%c'", i,
			       region, proc, look->state[i]))
			return;
	}
}

/* No more may be clean and lazyfree than was freed and not written since. */
static void fz_judge_clean_at_most(int proc)
{
	int64_t kib = lazyfree_kib_of(fz.peer[proc].smaps), most = 0;
	char holds[64];

	if (kib == KPV_NULL)
		return;
	for (int r = 0; r < FZ_REGIONS; r++) {
		for (size_t i = 0; i < FZ_PAGES; i++) {
			const struct fz_page *page = &fz.model.page[proc][r][i];
			const struct fz_object *object = &fz.model.object[page->obj];

			most += page->mapped && (page->lazy || (object->freed && object->swapped));
		}
	}
	most *= psize / 1024;
	snprintf(holds, sizeof(holds), "lazyfree_kib(%d) <= %lld", proc, (long long)most);
	fz_decide("write-cancels-lazyfree", kib <= most, holds,
		  "process %d: %lld KiB freed and not written since, LazyFree %lld", proc,
		  (long long)most, (long long)kib);
}

/* The place of a region that was never moved, to read its smaps; 0 otherwise. */
static uintptr_t fz_whole(int proc, int region)
{
	const struct fz_page *pages = fz.model.page[proc][region];

	for (size_t i = 1; i < FZ_PAGES; i++)
		if (pages[i].addr != pages[0].addr + i * psize)
			return 0;
	return pages[0].addr;
}

/* After a free of folios that nobody else maps, and that nothing else holds. */
static void fz_judge_freed(const struct fz_op *op)
{
	const struct fz_page *pages = fz.model.page[op->proc][op->region];
	uintptr_t base = op->proc ? 0 : fz_whole(op->proc, op->region);
	int64_t smaps[KPV_NR_SMAPS], clean = 0, outside = 0;
	struct fz_look look;
	char holds[160];

	if (!fz_look(op->proc, op->region, &look))
		return;
	fz_judge_kept(op->proc, op->region, &look);
	if (!fz_exclusive(&fz.model, op->proc, op->region))
		return;
	for (size_t i = 0; i < FZ_PAGES; i++) {
		char state = look.state[i];
		bool inside = i >= op->first && i < op->first + op->nr;

		if (!inside || look.busy[i]) {
			outside += !strchr(" .sz", state);
			continue;
		}
		clean += strchr("lL", state) != NULL;
		fz_state_is(holds, sizeof(holds), op->proc, pages[i].addr, "lL.z");
		if (!fz_decide("exactly-range-lazyfree", !strchr("aA", state), holds,
			       "page %zu of region %d freed by process %d is '%c'", i, op->region,
			       op->proc, state) ||
		    !fz_decide("becomes-clean", !strchr("dD", state), holds,
			       "page %zu of region %d freed by process %d is '%c'", i, op->region,
			       op->proc, state) ||
		    !fz_decide("swap-entries-freed", state != 's', holds,
			       "page %zu of region %d freed by process %d is '%c'", i, op->region,
			       op->proc, state))
			return;
	}
	if (!base)
		return;
	kpv_read_smaps(base, FZ_PAGES * psize, smaps);
	if (smaps[KPV_SMAPS_LAZYFREE] == KPV_NULL)
		return;
	clean *= psize / 1024;
	outside *= psize / 1024;
	snprintf(holds, sizeof(holds), "region_kib((char *)0x%lx, %d, KPV_SMAPS_LAZYFREE) >= %lld",
		 (unsigned long)base, FZ_PAGES, (long long)clean);
	fz_decide("becomes-clean", smaps[KPV_SMAPS_LAZYFREE] >= clean, holds,
		  "%lld KiB of region %d freed just now, smaps LazyFree %lld", (long long)clean,
		  op->region, (long long)smaps[KPV_SMAPS_LAZYFREE]);
	if (fz.model.aged)
		return;
	snprintf(holds, sizeof(holds), "region_kib((char *)0x%lx, %d, KPV_SMAPS_REFERENCED) <= %lld",
		 (unsigned long)base, FZ_PAGES, (long long)outside);
	fz_decide("becomes-old", smaps[KPV_SMAPS_REFERENCED] <= outside, holds,
		  "%lld KiB of region %d not freed just now, smaps Referenced %lld",
		  (long long)outside, op->region, (long long)smaps[KPV_SMAPS_REFERENCED]);
}

/* Everything that there is to look at, the looks that change nothing first. */
static void fz_check(void)
{
	struct fz_look look;

	for (int p = 0; p < FZ_PROCS && !fz.result->failure.set; p++) {
		if (!fz.model.alive[p])
			continue;
		fz_judge_clean_at_most(p);
		for (int r = 0; r < FZ_REGIONS; r++)
			if (fz.model.page[p][r][0].addr && fz_look(p, r, &look))
				fz_judge_kept(p, r, &look);
	}
	for (int p = 0; p < FZ_PROCS; p++) {
		struct fz_op op = { .kind = FZ_READ, .proc = p, .nr = FZ_PAGES };

		for (; op.region < FZ_REGIONS && !fz.result->failure.set; op.region++)
			if (fz.model.alive[p] && fz.model.page[p][op.region][0].addr)
				fz_read(&op);
	}
}

/* ---- doing ---- */

/* Pages of all processes that reclaim might take without swapping. */
static size_t fz_count_lazyfree(void)
{
	struct fz_look look;
	size_t nr = 0;

	for (int p = 0; p < FZ_PROCS; p++)
		for (int r = 0; r < FZ_REGIONS; r++)
			if (fz.model.alive[p] && fz.model.page[p][r][0].addr &&
			    fz_look(p, r, &look))
				for (size_t i = 0; i < FZ_PAGES; i++)
					nr += strchr("lLdD", look.state[i]) != NULL;
	return nr;
}

static void fz_reclaim(void)
{
	size_t nr = fz_count_lazyfree();

	if (nr && !reclaim_write(fz.self, nr * psize, " swappiness=0"))
		reclaim_write(fz.self, nr * psize, "");
}

/* A call over one span of a range; whether it returned what it must. */
static bool fz_span_call(const struct fz_op *op, const struct fz_span *span)
{
	static const int advice[FZ_KINDS] = {
		[FZ_FREE] = MADV_FREE, [FZ_FREE_ON] = MADV_FREE, [FZ_DROP] = MADV_DONTNEED,
		[FZ_PAGEOUT] = MADV_PAGEOUT, [FZ_COLD] = MADV_COLD,
	};
	const struct fz_page *page = &fz.model.page[op->proc][op->region][span->first];
	struct fz_cmd cmd = { .addr = (char *)span->from, .to = (char *)page->addr,
			      .nr = span->nr };
	size_t gap = 0, refused = 0;
	struct fz_reply *reply;
	char holds[64];
	bool ok;

	switch (op->kind) {
	case FZ_MAP:
		cmd.call = CALL_MMAP;
		break;
	case FZ_UNMAP:
		cmd.call = CALL_MUNMAP;
		break;
	case FZ_WRITE:
		cmd.call = CALL_WRITE;
		cmd.value = fz_key(fz.model.gen, op->region, span->first);
		refused = page->readonly ? span->nr : 0;
		break;
	case FZ_MARK:
		cmd.call = CALL_MARK;
		cmd.value = fz.model.gen;
		refused = page->readonly ? span->nr : 0;
		break;
	case FZ_PROTECT:
	case FZ_UNPROTECT:
		cmd.call = CALL_MPROTECT;
		cmd.value = op->kind == FZ_PROTECT ? PROT_READ : PROT_READ | PROT_WRITE;
		break;
	case FZ_CYCLE:
		cmd.call = CALL_CYCLE;
		cmd.value = page->readonly ? PROT_READ : PROT_READ | PROT_WRITE;
		break;
	case FZ_MOVE:
		cmd.call = CALL_MREMAP;
		break;
	case FZ_SPLIT:
		fz.can_split &= pages_split(fz.peer[op->proc].pid, cmd.addr, cmd.nr);
		return true;
	default:
		cmd.call = CALL_MADVISE;
		cmd.value = advice[op->kind];
		gap = span->gap;
		break;
	}
	reply = fz_call(op->proc, cmd);
	/* Its own functions say true, system calls 0. */
	snprintf(holds, sizeof(holds), "turns.shared->ret == %d",
		 gap ? -1 : cmd.call == CALL_MMAP || cmd.call == CALL_MREMAP);
	ok = fz_decide("return-value",
		       gap ? reply->ret == -1 && reply->err == ENOMEM : !reply->ret, holds,
		       "%s of %zu pages at %p, %zu not mapped: %ld, errno %d",
		       fz_kinds[op->kind].name, cmd.nr, (void *)cmd.addr, gap, reply->ret, reply->err);
	snprintf(holds, sizeof(holds), "turns.shared->ret == %zu", refused);
	if (ok && (op->kind == FZ_WRITE || op->kind == FZ_MARK))
		ok = fz_decide("permissions-unchanged", reply->refused == refused, holds,
			       "process %d: %zu of %zu writes refused at page %zu of region %d",
			       op->proc, reply->refused, cmd.nr, span->first, op->region);
	if (!ok)
		fz.result->failure.addr = span->from;
	return ok;
}

static void fz_do_range(const struct fz_op *op)
{
	struct fz_spans spans;
	bool ok = true;

	fz_begin(&fz.model, op, &spans);
	for (size_t s = 0; s < spans.nr && ok; s++)
		ok = fz_span_call(op, &spans.span[s]);
	fz_end(&fz.model, op);
}

static void fz_do_op(const struct fz_op *op)
{
	switch (op->kind) {
	case FZ_READ:
		fz_read(op);
		return;
	case FZ_CHECK:
		fz_check();
		return;
	case FZ_FORK:
		fz_decide("return-value", fz_fork(op->proc), "true", "fork: errno %d", errno);
		break;
	case FZ_EXIT:
		fz_exit(op->proc);
		break;
	case FZ_OLD:
		fz_call(op->proc, (struct fz_cmd){ .call = CALL_OLD });
		break;
	case FZ_RECLAIM:
		fz_reclaim();
		break;
	case FZ_SWAP:
		reclaim_write(fz.self, FZ_PAGES * psize, "");
		break;
	default:
		fz_do_range(op);
		if (op->kind == FZ_FREE && !fz.result->failure.set)
			fz_judge_freed(op);
		return;
	}
	fz_apply(&fz.model, op);
}

/* Everything is gone: so are the large folios, in every counter that is exact. */
static void fz_finish(void)
{
	char holds[80], why[160];
	bool ok;

	for (int p = 1; p < FZ_PROCS; p++)
		if (fz.model.alive[p])
			fz_exit(p);
	ok = accounting_kept(fz.self, fz.model.slots, why, sizeof(why));
	snprintf(holds, sizeof(holds), "accounting_kept(self, %u, why, sizeof(why))",
		 fz.model.slots);
	fz_decide("accounting", ok, holds, "%s", why);
}

/* Once in each process that runs lists: what it looks at itself with. */
static bool fz_prepare(const FIX *self)
{
	fz.self = self;
	fz.can_split = true;
	fz.peer[0].pid = getpid();
	fz.peer[0].pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	fz.peer[0].smaps = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
	kpv.smaps = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC);
	fz.reply = mmap(NULL, FZ_PROCS * sizeof(*fz.reply), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return fz.reply != MAP_FAILED && fz.peer[0].pagemap >= 0 && access_prepare();
}

/* Do a list and a check at its end; true if all of it held. */
static bool fz_run(const struct fz_list *list, struct fz_result *result)
{
	const struct fz_op check = { .kind = FZ_CHECK };

	fz.result = result;
	fz_init(&fz.model, psize, fz.self->order > 0);
	for (fz.at = 0; fz.at < list->nr && !result->failure.set; fz.at++) {
		const struct fz_op *op = &list->op[fz.at];

		if (!fz_applies(&fz.model, op)) {
			result->skipped++;
		} else if (!fz.with_known && fz_swapin_clean_shared(&fz.model, op)) {
			result->forbidden++;
		} else {
			fz_do_op(op);
			result->done++;
		}
	}
	if (!result->failure.set)
		fz_do_op(&check);
	fz_finish();
	return !result->failure.set;
}

#endif /* LAZYFREE_FUZZ_RUN_H */
