/* SPDX-License-Identifier: GPL-2.0 */
/*
 * kpv_obs.h: tell an observer what the kernel did during a test.
 *
 * A test prints records, one a line, as KTAP diagnostics:
 *
 *	# kpv {"rec":"step","name":"free","ret":0,...}
 *
 * so it stays an ordinary kselftest where nobody listens. Whole records leave
 * in one write(), thus lines of several processes never interleave; see
 * kpv_end() for how long one may wait for company. A counter
 * that this kernel does not have (or a probe that nobody placed or armed) is
 * null, never 0.
 *
 * All buffers are static, and what a snapshot needs of them is touched by
 * kpv_open() and a first snapshot; file descriptors stay open and are read with
 * pread(). Later snapshots therefore allocate nothing, map nothing and fault
 * nothing in the region under test.
 */
#ifndef KPV_OBS_H
#define KPV_OBS_H

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kpv_mailbox.h"
#include "kpv_mark.h"

#ifndef MADV_FREE
#define MADV_FREE 8
#endif

#define KPV_UNUSED	__attribute__((unused))
#define KPV_NULL	INT64_MIN
#define KPV_ORDERS	20
#define KPV_PROBES	64
#define KPV_MAX_PAGES	4096
#define KPV_TEXT	65536
#define KPV_LINE	16384
#define KPV_SMAPS_READ	640

/* Bits of /proc/kpageflags, include/uapi/linux/kernel-page-flags.h. */
#define KPV_KPF_LOCKED		0
#define KPV_KPF_DIRTY		4
#define KPV_KPF_LRU		5
#define KPV_KPF_WRITEBACK	8
#define KPV_KPF_ANON		12
#define KPV_KPF_SWAPCACHE	13
#define KPV_KPF_SWAPBACKED	14
#define KPV_KPF_HEAD		15
#define KPV_KPF_TAIL		16
#define KPV_KPF_ZERO_PAGE	24

/* Bits of /proc/PID/pagemap, Documentation/admin-guide/mm/pagemap.rst. */
#define KPV_PM_PFN		((1ULL << 55) - 1)
#define KPV_PM_SWAP		(1ULL << 62)
#define KPV_PM_PRESENT		(1ULL << 63)

/* The nr_* ones are gauges kept per CPU and folded now and then: not exact. */
static const char * const kpv_vmstat_names[] = {
	"pglazyfree", "pglazyfreed", "pgdeactivate", "pgactivate", "pgrotated", "pgrefill",
	"pgsteal_kswapd", "pgsteal_direct", "pgsteal_khugepaged", "pgsteal_anon", "pgsteal_file",
	"pgscan_kswapd", "pgscan_direct", "pgscan_khugepaged", "pgscan_anon", "pgscan_file",
	"pswpin", "pswpout", "swpin_zero", "swpout_zero", "pgfault", "pgmajfault", "pgreuse",
	"thp_split_page", "thp_split_page_failed", "thp_deferred_split_page",
	"thp_underused_split_page", "thp_split_pmd", "thp_fault_alloc", "thp_swpout",
	"thp_swpout_fallback", "nr_inactive_anon", "nr_active_anon", "nr_inactive_file",
	"nr_active_file", "nr_isolated_anon", "nr_isolated_file", "nr_anon_pages",
	"nr_anon_transparent_hugepages",
};

/* hugepages-<N>kB/stats/, summed over all N: see kpv_read_mthp(). */
static const char * const kpv_mthp_names[] = {
	"anon_fault_alloc", "anon_fault_fallback", "anon_fault_fallback_charge", "swpout",
	"swpout_fallback", "split", "split_failed", "split_deferred", "nr_anon",
	"nr_anon_partially_mapped",
};

static const char * const kpv_smaps_names[] = {
	"Rss", "Shared_Clean", "Shared_Dirty", "Private_Clean", "Private_Dirty", "Referenced",
	"Anonymous", "LazyFree", "AnonHugePages", "Swap",
};

enum kpv_mthp_index {
	KPV_MTHP_SPLIT_FAILED = 6,
	KPV_MTHP_NR_ANON = 8,
	KPV_MTHP_NR_ANON_PARTIALLY_MAPPED,
};

#define KPV_COUNT(a)	(sizeof(a) / sizeof((a)[0]))
#define KPV_NR_VMSTAT	KPV_COUNT(kpv_vmstat_names)
#define KPV_NR_MTHP	KPV_COUNT(kpv_mthp_names)
#define KPV_NR_SMAPS	KPV_COUNT(kpv_smaps_names)

enum kpv_smaps_index {
	KPV_SMAPS_RSS,
	KPV_SMAPS_SHARED_CLEAN,
	KPV_SMAPS_SHARED_DIRTY,
	KPV_SMAPS_PRIVATE_CLEAN,
	KPV_SMAPS_PRIVATE_DIRTY,
	KPV_SMAPS_REFERENCED,
	KPV_SMAPS_ANONYMOUS,
	KPV_SMAPS_LAZYFREE,
	KPV_SMAPS_ANONHUGEPAGES,
	KPV_SMAPS_SWAP,
};

struct kpv_snap {
	int64_t vmstat[KPV_NR_VMSTAT];
	int64_t mthp[KPV_NR_MTHP];
	int64_t smaps[KPV_NR_SMAPS];
	int64_t probe[KPV_PROBES];
};

struct kpv_step {
	const char *name;
	uint64_t hash;
	uintptr_t base;
	size_t len;
	struct kpv_snap before;
	struct kpv_snap after;
};

static struct {
	size_t page_size;
	char *drain;
	int vmstat, smaps, pagemap, kpageflags, kprobe_profile;
	/* All counters of one size, and nr_anon of the others with its sum at the start. */
	int mthp[KPV_NR_MTHP], others[KPV_ORDERS];
	int64_t others_at_open;
	/* Which counter a line of /proc/vmstat holds, -1 for none: its order is fixed. */
	int vmstat_line[512];
	/* Which probe a line of kprobe_profile holds, -1 for none; see kpv_open_probes(). */
	int probe_line[256];
	char probe_name[KPV_PROBES][48];
	int probes;
	char text[KPV_TEXT];
	uint64_t pagemap_buf[KPV_MAX_PAGES];
	uint64_t flags_buf[KPV_MAX_PAGES];
	char states[KPV_MAX_PAGES + 1];
} kpv;

/*
 * Records on their way out. A test that shares it with the process that waits
 * for it loses none of them, however it ends: see kpv_flush() there.
 */
struct kpv_out {
	size_t len;
	char line[KPV_LINE];
};

static struct kpv_out kpv_own_out;
static struct kpv_out *kpv_out = &kpv_own_out;

/* ---- one JSON record a line ---- */

static inline void kpv_putc(char c)
{
	if (kpv_out->len < KPV_LINE)
		kpv_out->line[kpv_out->len++] = c;
}

static inline void kpv_raw(const char *s)
{
	while (*s)
		kpv_putc(*s++);
}

static inline void kpv_int(int64_t value)
{
	char digits[24];
	uint64_t left = value < 0 ? -(uint64_t)value : (uint64_t)value;
	int at = sizeof(digits);

	if (value == KPV_NULL) {
		kpv_raw("null");
		return;
	}
	digits[--at] = '\0';
	do {
		digits[--at] = '0' + left % 10;
		left /= 10;
	} while (left);
	if (value < 0)
		digits[--at] = '-';
	kpv_raw(digits + at);
}

static inline void kpv_string(const char *s)
{
	static const char hex[] = "0123456789abcdef";

	kpv_putc('"');
	for (; *s; s++) {
		unsigned char c = *s;

		if (c == '"' || c == '\\') {
			kpv_putc('\\');
			kpv_putc(c);
		} else if (c < 0x20 || c >= 0x7f) {
			kpv_raw("\\u00");
			kpv_putc(hex[c >> 4]);
			kpv_putc(hex[c & 15]);
		} else {
			kpv_putc(c);
		}
	}
	kpv_putc('"');
}

static inline void kpv_key(const char *key)
{
	kpv_putc(',');
	kpv_string(key);
	kpv_putc(':');
}

/*
 * What waits goes out. To write to a pipe wakes who reads it, which costs more
 * than the test's own work; to write to the mailbox costs nothing.
 */
static inline void kpv_flush(void)
{
	ssize_t ret;

	if (!kpv_out->len)
		return;
	if (kpv_mailbox.head) {
		kpv_mailbox_write(kpv_out->line, kpv_out->len);
		kpv_out->len = 0;
		return;
	}
	do {
		ret = write(STDOUT_FILENO, kpv_out->line, kpv_out->len);
	} while (ret < 0 && errno == EINTR);
	if (ret != (ssize_t)kpv_out->len)
		abort();
	kpv_out->len = 0;
}

static inline void kpv_begin(const char *rec)
{
	if (kpv_out->len > KPV_LINE / 2)
		kpv_flush();
	kpv_raw("# kpv {\"rec\":");
	kpv_string(rec);
}

/*
 * Parameters, preconditions that are met and checks that hold may wait for the
 * next record, but never beyond the start of a step (where a kernel may die) or
 * the end of the test, see struct kpv_out; where there is a mailbox, none waits.
 * A line that does not fit is sent cut off: the observer reports it as malformed.
 */
static inline void kpv_end(bool may_wait)
{
	kpv_putc('}');
	if (kpv_out->len > KPV_LINE - 1)
		kpv_out->len = KPV_LINE - 1;
	kpv_out->line[kpv_out->len++] = '\n';
	if (!may_wait || kpv_mailbox.head)
		kpv_flush();
}

static inline void kpv_param(const char *name, int64_t value)
{
	kpv_begin("param");
	kpv_key(name);
	kpv_int(value);
	kpv_end(true);
}

static inline bool kpv_need(const char *what, bool ok, int64_t want, int64_t got)
{
	kpv_begin("need");
	kpv_key("what");
	kpv_string(what);
	kpv_raw(ok ? ",\"ok\":true" : ",\"ok\":false");
	kpv_raw(",\"want\":\"");
	kpv_int(want);
	kpv_raw("\",\"got\":\"");
	kpv_int(got);
	kpv_putc('"');
	kpv_end(ok);
	return ok;
}

static inline __attribute__((format(printf, 3, 4)))
bool kpv_check(const char *name, bool ok, const char *fmt, ...)
{
	char detail[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(detail, sizeof(detail), fmt, ap);
	va_end(ap);

	kpv_begin("check");
	kpv_key("name");
	kpv_string(name);
	kpv_raw(ok ? ",\"ok\":true" : ",\"ok\":false");
	kpv_key("detail");
	kpv_string(detail);
	kpv_end(ok);
	return ok;
}

/* ---- reading counters ---- */

static inline size_t kpv_slurp(int fd)
{
	size_t len = 0;
	ssize_t ret;

	if (fd < 0)
		return 0;
	while (len < KPV_TEXT - 1) {
		ret = pread(fd, kpv.text + len, KPV_TEXT - 1 - len, len);
		if (ret < 0 && errno == EINTR)
			continue;
		if (ret <= 0)
			break;
		len += ret;
	}
	kpv.text[len] = '\0';
	return len;
}

static inline int64_t kpv_number(const char *s)
{
	int64_t value = 0;

	while (*s == ' ' || *s == '\t')
		s++;
	for (; *s >= '0' && *s <= '9'; s++)
		value = value * 10 + (*s - '0');
	return value;
}

static inline char *kpv_next_line(char *s)
{
	s = strchr(s, '\n');
	return s ? s + 1 : NULL;
}

static inline int kpv_index(const char * const *names, size_t nr, const char *s, size_t len)
{
	for (size_t i = 0; i < nr; i++)
		if (names[i][0] == s[0] && strlen(names[i]) == len && !memcmp(names[i], s, len))
			return i;
	return -1;
}

static inline void kpv_read_vmstat(int64_t *out)
{
	size_t nr = 0;
	char *s;

	for (size_t i = 0; i < KPV_NR_VMSTAT; i++)
		out[i] = KPV_NULL;
	if (!kpv_slurp(kpv.vmstat))
		return;
	for (s = kpv.text; s && *s && nr < KPV_COUNT(kpv.vmstat_line); s = kpv_next_line(s), nr++)
		if (kpv.vmstat_line[nr] >= 0)
			out[kpv.vmstat_line[nr]] = kpv_number(strchr(s, ' '));
}

static inline int64_t kpv_read_int(int fd)
{
	char text[32];
	ssize_t len;

	if (fd < 0)
		return KPV_NULL;
	len = pread(fd, text, sizeof(text) - 1, 0);
	if (len <= 0)
		return KPV_NULL;
	text[len] = '\0';
	return kpv_number(text);
}

/* Anonymous folios of all sizes but the one of kpv_open(). */
static inline int64_t kpv_read_others(void)
{
	int64_t sum = 0;

	for (int order = 0; order < KPV_ORDERS; order++) {
		int64_t value = kpv_read_int(kpv.others[order]);

		if (value != KPV_NULL)
			sum += value;
	}
	return sum;
}

/*
 * Sums over all sizes. Only one size is enabled, and splits go to order 0, so
 * that the events of other sizes cannot change: they have no folios. Should a
 * kernel make some after all, nr_anon (which is read in all sizes) tells, and
 * what can then no longer be known is null.
 */
static inline void kpv_read_mthp(int64_t *out)
{
	int64_t others = kpv_read_others();

	for (size_t i = 0; i < KPV_NR_MTHP; i++) {
		out[i] = kpv_read_int(kpv.mthp[i]);
		if (out[i] == KPV_NULL)
			continue;
		if (i == KPV_MTHP_NR_ANON)
			out[i] += others;
		else if (others != kpv.others_at_open)
			out[i] = KPV_NULL;
	}
}

static inline void kpv_read_probes(int64_t *out)
{
	size_t nr = 0;
	char *s;

	for (int i = 0; i < KPV_PROBES; i++)
		out[i] = KPV_NULL;
	if (!kpv.probes || !kpv_slurp(kpv.kprobe_profile))
		return;
	for (s = kpv.text; s && *s && nr < KPV_COUNT(kpv.probe_line); s = kpv_next_line(s), nr++) {
		int probe = kpv.probe_line[nr];
		size_t len;

		if (probe < 0)
			continue;
		len = strlen(kpv.probe_name[probe]);
		s += strspn(s, " ");
		/* Somebody changed the list of probes meanwhile: unknown, not wrong. */
		if (strncmp(s, kpv.probe_name[probe], len) || s[len] != ' ')
			continue;
		out[probe] = kpv_number(s + len);
	}
}

/*
 * KiB, summed over all VMAs that lie in [base, base + len); KPV_NULL where no
 * VMA of it was found.
 *
 * The kernel walks the page tables of a VMA when its text is asked for, and
 * goes on to the next VMA only while the reader wants more: read less than one
 * VMA's text at a time, and stop where the range ends.
 */
static inline void kpv_read_smaps(uintptr_t base, size_t len, int64_t *out)
{
	size_t have = 0, at = 0, found = 0;
	bool inside = false, last = false;

	for (size_t i = 0; i < KPV_NR_SMAPS; i++)
		out[i] = KPV_NULL;
	if (!len || kpv.smaps < 0)
		return;
	while (have < KPV_TEXT - KPV_SMAPS_READ) {
		ssize_t ret = pread(kpv.smaps, kpv.text + have, KPV_SMAPS_READ, have);
		char *line, *eol, *end;

		if (ret < 0 && errno == EINTR)
			continue;
		if (ret <= 0)
			return;
		have += ret;
		for (; (eol = memchr(kpv.text + at, '\n', have - at)); at = eol + 1 - kpv.text) {
			line = kpv.text + at;
			*eol = '\0';
			if ((*line >= '0' && *line <= '9') || (*line >= 'a' && *line <= 'f')) {
				uintptr_t start = strtoull(line, &end, 16);

				if (*end != '-' || start >= base + len)
					return;
				inside = start >= base;
				last = strtoull(end + 1, NULL, 16) >= base + len;
				found = 0;
			} else if (inside && (end = strchr(line, ':'))) {
				int i = kpv_index(kpv_smaps_names, KPV_NR_SMAPS, line, end - line);

				if (i < 0)
					continue;
				out[i] = (out[i] == KPV_NULL ? 0 : out[i]) + kpv_number(end + 1);
				if (++found == KPV_NR_SMAPS && last)
					return;
			}
		}
	}
}

/*
 * Lazyfree marks of order-0 folios wait in a per-CPU batch; any MADV_FREE moves
 * this CPU's batches to the LRU (lru_add_drain() in madvise_free_single_vma()).
 * The page it is called for was never touched.
 */
static inline void kpv_drain(void)
{
	madvise(kpv.drain, kpv.page_size, MADV_FREE);
}

/* Open for reading, relative to the directory: a long path costs, component by component. */
static inline __attribute__((format(printf, 2, 3)))
int kpv_open_at(int dir, const char *fmt, ...)
{
	char path[160];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(path, sizeof(path), fmt, ap);
	va_end(ap);
	return openat(dir, path, O_RDONLY | O_CLOEXEC);
}

/* The largest order of an anonymous folio: that of a PMD, with page tables of 8-byte entries. */
static inline int kpv_max_order(size_t page_size)
{
	int order = __builtin_ctzl(page_size / 8);

	return order < KPV_ORDERS ? order : KPV_ORDERS - 1;
}

static inline int kpv_thp_dir(void)
{
	return open("/sys/kernel/mm/transparent_hugepage", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* The counters of the one order that the test enables; of the largest if it enables none. */
static inline void kpv_open_mthp(int enabled)
{
	int max = kpv_max_order(kpv.page_size), own = enabled ? enabled : max;
	int root = kpv_thp_dir(), stats;
	char path[64];

	for (int order = 0; order < KPV_ORDERS; order++) {
		kpv.others[order] = -1;
		if (order && order <= max && order != own)
			kpv.others[order] = kpv_open_at(root, "hugepages-%zukB/stats/nr_anon",
							(kpv.page_size << order) / 1024);
	}
	snprintf(path, sizeof(path), "hugepages-%zukB/stats", (kpv.page_size << own) / 1024);
	stats = openat(root, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	for (size_t i = 0; i < KPV_NR_MTHP; i++)
		kpv.mthp[i] = kpv_open_at(stats, "%s", kpv_mthp_names[i]);
	close(stats);
	close(root);
	kpv.others_at_open = kpv_read_others();
}

/*
 * kprobe_profile prints names without their group, but it and kprobe_events
 * walk the same list in the same order (dyn_event_list): match by line number.
 * A probe that is not armed never counts: leave it out, it will be null.
 */
static inline void kpv_open_probes(void)
{
	static const char * const roots[] = { "/sys/kernel/tracing", "/sys/kernel/debug/tracing" };
	char *s, *name, all = 'X', armed;
	int root = -1, fd = -1;
	size_t nr = 0, len;

	memset(kpv.probe_line, -1, sizeof(kpv.probe_line));
	kpv.kprobe_profile = -1;
	for (size_t r = 0; r < KPV_COUNT(roots) && fd < 0; r++) {
		close(root);
		root = open(roots[r], O_PATH | O_DIRECTORY | O_CLOEXEC);
		fd = kpv_open_at(root, "kprobe_events");
	}
	if (fd < 0 || !kpv_slurp(fd))
		goto out;
	close(fd);
	kpv.kprobe_profile = kpv_open_at(root, "kprobe_profile");
	/* 1: all of the group, 0: none, X: some. */
	fd = kpv_open_at(root, "events/kpv/enable");
	if (fd < 0 || pread(fd, &all, 1, 0) != 1 || (all != '0' && all != '1'))
		all = 'X';
	for (s = kpv.text; s && *s && nr < KPV_COUNT(kpv.probe_line); s = kpv_next_line(s), nr++) {
		name = strchr(s, ':');
		if (!name || strncmp(name, ":kpv/", 5) || kpv.probes == KPV_PROBES)
			continue;
		name += 5;
		len = strcspn(name, " \n");
		if (len >= sizeof(kpv.probe_name[0]))
			continue;
		memcpy(kpv.probe_name[kpv.probes], name, len);
		kpv.probe_name[kpv.probes][len] = '\0';
		armed = all;
		if (all == 'X') {
			int enable = kpv_open_at(root, "events/kpv/%s/enable",
						 kpv.probe_name[kpv.probes]);

			if (enable < 0 || pread(enable, &armed, 1, 0) != 1)
				armed = '0';
			close(enable);
		}
		if (armed == '1')
			kpv.probe_line[nr] = kpv.probes;
		kpv.probes++;
	}
out:
	close(fd);
	close(root);
}

/*
 * Open everything once; what is missing stays closed and reads as null. order:
 * the only size of folios that the test enables, 0 if none; pages: the longest
 * range that it looks at.
 */
static inline void kpv_open(int order, size_t pages)
{
	size_t nr = 0;
	char *s;

	kpv.page_size = sysconf(_SC_PAGESIZE);
	kpv.drain = mmap(NULL, kpv.page_size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (kpv.drain == MAP_FAILED || pages > KPV_MAX_PAGES)
		abort();
	memset(kpv.pagemap_buf, 0, pages * sizeof(kpv.pagemap_buf[0]));
	memset(kpv.flags_buf, 0, pages * sizeof(kpv.flags_buf[0]));
	memset(kpv.states, 0, pages + 1);

	kpv.vmstat = open("/proc/vmstat", O_RDONLY | O_CLOEXEC);
	kpv.smaps = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC);
	kpv.pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	kpv.kpageflags = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	kpv_open_mthp(order);
	kpv_open_probes();

	memset(kpv.vmstat_line, -1, sizeof(kpv.vmstat_line));
	kpv_slurp(kpv.vmstat);
	for (s = kpv.text; s && *s && nr < KPV_COUNT(kpv.vmstat_line); s = kpv_next_line(s), nr++)
		kpv.vmstat_line[nr] = kpv_index(kpv_vmstat_names, KPV_NR_VMSTAT, s,
						strcspn(s, " \n"));
}

/* ---- steps ---- */

/*
 * Sample before the operation. The probes come last here and first in
 * kpv_step_end(), so that they see the operation and none of the sampling.
 */
static inline void kpv_step_sample(struct kpv_step *step, const char *name, const void *base,
				   size_t len)
{
	kpv_flush();
	memset(step, 0, sizeof(*step));
	step->name = name;
	step->hash = kpv_hash(name);
	step->base = (uintptr_t)base;
	step->len = len;
	kpv_drain();
	kpv_read_mthp(step->before.mthp);
	kpv_read_smaps(step->base, len, step->before.smaps);
	kpv_read_vmstat(step->before.vmstat);
	kpv_read_probes(step->before.probe);
}

/* Sample for nothing: what a step touches is then this process' own and present. No mark, no record. */
static inline void kpv_step_rehearse(struct kpv_step *step, const void *base, size_t len)
{
	kpv_step_sample(step, "", base, len);
	step->after = step->before;
}

/* The operation follows: nothing between the mark and it. The name must last to the end of the step. */
static inline void kpv_step_begin(struct kpv_step *step, const char *name, const void *base,
				  size_t len)
{
	kpv_step_sample(step, name, base, len);
	kpv_mark(KPV_MARK_STEP_BEGIN, step->hash, step->base, step->len, 0);
}

static inline void kpv_put_deltas(const char *key, const char * const *names, size_t nr,
				  const int64_t *before, const int64_t *after)
{
	kpv_key(key);
	kpv_putc('{');
	for (size_t i = 0; i < nr; i++) {
		if (i)
			kpv_putc(',');
		kpv_string(names[i]);
		kpv_putc(':');
		kpv_int(before[i] == KPV_NULL || after[i] == KPV_NULL ? KPV_NULL
								      : after[i] - before[i]);
	}
	kpv_putc('}');
}

/* Sample after the operation and print the record. */
static inline void kpv_step_end(struct kpv_step *step, long ret, int err)
{
	const char *probes[KPV_PROBES];

	kpv_mark(KPV_MARK_STEP_END, step->hash, step->base, step->len, 0);
	kpv_read_probes(step->after.probe);
	kpv_drain();
	kpv_read_vmstat(step->after.vmstat);
	kpv_read_smaps(step->base, step->len, step->after.smaps);
	kpv_read_mthp(step->after.mthp);

	for (int i = 0; i < kpv.probes; i++)
		probes[i] = kpv.probe_name[i];
	kpv_begin("step");
	kpv_key("name");
	kpv_string(step->name);
	kpv_key("ret");
	kpv_int(ret);
	kpv_key("errno");
	kpv_int(ret < 0 ? err : 0);
	kpv_put_deltas("vmstat", kpv_vmstat_names, KPV_NR_VMSTAT, step->before.vmstat,
		       step->after.vmstat);
	kpv_put_deltas("mthp", kpv_mthp_names, KPV_NR_MTHP, step->before.mthp, step->after.mthp);
	kpv_put_deltas("probe", probes, kpv.probes, step->before.probe, step->after.probe);
	kpv_put_deltas("smaps", kpv_smaps_names, KPV_NR_SMAPS, step->before.smaps,
		       step->after.smaps);
	kpv_end(false);
}

/* What a counter of /proc/vmstat gained over the step; KPV_NULL if this kernel has no such counter. */
static inline int64_t kpv_vmstat_delta(const struct kpv_step *step, const char *name)
{
	int i = kpv_index(kpv_vmstat_names, KPV_NR_VMSTAT, name, strlen(name));

	if (i < 0 || step->before.vmstat[i] == KPV_NULL || step->after.vmstat[i] == KPV_NULL)
		return KPV_NULL;
	return step->after.vmstat[i] - step->before.vmstat[i];
}

/* ---- page states ---- */

/*
 * Fill kpv.pagemap_buf and kpv.flags_buf for nr pages from base, as seen by the
 * owner of the pagemap descriptor. Flags of pages that are not present are 0.
 */
static inline bool kpv_read_pages(int pagemap, const void *base, size_t nr)
{
	size_t at = 0;

	if (nr > KPV_MAX_PAGES)
		return false;
	if (pread(pagemap, kpv.pagemap_buf, nr * 8, (uintptr_t)base / kpv.page_size * 8) !=
	    (ssize_t)(nr * 8))
		return false;
	memset(kpv.flags_buf, 0, nr * 8);
	while (at < nr) {
		uint64_t pfn = kpv.pagemap_buf[at] & KPV_PM_PFN;
		size_t run = 1;

		if (!(kpv.pagemap_buf[at] & KPV_PM_PRESENT)) {
			at++;
			continue;
		}
		while (at + run < nr && (kpv.pagemap_buf[at + run] & KPV_PM_PRESENT) &&
		       (kpv.pagemap_buf[at + run] & KPV_PM_PFN) == pfn + run)
			run++;
		if (!pfn || pread(kpv.kpageflags, kpv.flags_buf + at, run * 8, pfn * 8) !=
			    (ssize_t)(run * 8))
			return false;
		at += run;
	}
	return true;
}

static inline bool kpv_bit(uint64_t word, int bit)
{
	return word >> bit & 1;
}

/*
 * . none   s swap entry   z zero page   a anonymous, swap-backed
 * l lazyfree   d lazyfree, but the folio is dirty; upper case: of a large folio
 */
static inline char kpv_state(uint64_t pagemap, uint64_t flags)
{
	char c;

	if (!(pagemap & KPV_PM_PRESENT))
		return pagemap & KPV_PM_SWAP ? 's' : '.';
	if (kpv_bit(flags, KPV_KPF_ZERO_PAGE))
		return 'z';
	if (!kpv_bit(flags, KPV_KPF_ANON))
		return '?';
	if (kpv_bit(flags, KPV_KPF_SWAPBACKED))
		c = 'a';
	else
		c = kpv_bit(flags, KPV_KPF_DIRTY) ? 'd' : 'l';
	if (kpv_bit(flags, KPV_KPF_HEAD) || kpv_bit(flags, KPV_KPF_TAIL))
		c -= 'a' - 'A';
	return c;
}

/* The states as a string, good until the next call; empty if they cannot be read. */
static inline const char *kpv_states_of(int pagemap, const void *base, size_t nr)
{
	size_t i;

	kpv.states[0] = '\0';
	if (!kpv_read_pages(pagemap, base, nr))
		return kpv.states;
	for (i = 0; i < nr; i++)
		kpv.states[i] = kpv_state(kpv.pagemap_buf[i], kpv.flags_buf[i]);
	kpv.states[i] = '\0';
	return kpv.states;
}

/*
 * The states just read of [base, base + len): a record and, for the page tables
 * of the same moment, a mark. KPV_MARK_CHILD: the child has made it itself.
 */
static inline void kpv_pages(const char *at, enum kpv_mark_view view, const void *base, size_t len,
			     const char *states)
{
	if (view == KPV_MARK_OWN)
		kpv_mark(KPV_MARK_CHECKPOINT, kpv_hash(at), (uintptr_t)base, len, view);
	kpv_begin("pages");
	kpv_key("at");
	kpv_string(at);
	kpv_key("region");
	kpv_string(view == KPV_MARK_OWN ? "range" : "child");
	kpv_key("states");
	kpv_string(states);
	kpv_end(false);
}

/*
 * The order of the folio that exactly starts at page i of the last
 * kpv_read_pages(); -1 if no folio starts there or it is not wholly mapped.
 */
static inline int kpv_order_at(size_t i, size_t nr)
{
	size_t n = 1;
	int order = 0;

	if (!(kpv.pagemap_buf[i] & KPV_PM_PRESENT) || kpv_bit(kpv.flags_buf[i], KPV_KPF_TAIL))
		return -1;
	if (kpv_bit(kpv.flags_buf[i], KPV_KPF_HEAD))
		while (i + n < nr && kpv_bit(kpv.flags_buf[i + n], KPV_KPF_TAIL) &&
		       (kpv.pagemap_buf[i + n] & KPV_PM_PFN) ==
		       (kpv.pagemap_buf[i] & KPV_PM_PFN) + n)
			n++;
	while ((1UL << order) < n)
		order++;
	return (1UL << order) == n ? order : -1;
}

#endif /* KPV_OBS_H */
