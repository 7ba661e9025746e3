// SPDX-License-Identifier: GPL-2.0
/*
 * Tries the reference model and the generator of guest-tests/lazyfree_fuzz on
 * the host. Each test is a function; its name is the program's argument.
 */
#include <assert.h>

#include "lazyfree_fuzz_gen.h"

#define PSIZE 4096

static struct fz_model m;
static struct fz_list list;
static struct fz_generator generator;

static void start(const char *ops)
{
	fz_init(&m, PSIZE, true);
	assert(fz_get_list(ops, &list));
	for (size_t i = 0; i < list.nr; i++) {
		assert(fz_applies(&m, &list.op[i]));
		fz_apply(&m, &list.op[i]);
	}
}

static void then(const char *op)
{
	struct fz_op one;

	assert(fz_get_op(op, &one) && fz_applies(&m, &one));
	fz_apply(&m, &one);
}

static struct fz_page *page(int proc, size_t i)
{
	return &m.page[proc][0][i];
}

/* What is said of a page that reads so; "" if it may. */
static const char *seen(int proc, size_t i, uint32_t gen, uint32_t mark)
{
	const char *id = fz_observe(&m, page(proc, i), (struct fz_content){ gen, mark });

	return id ? id : "";
}

#define LEGAL(proc, i, gen, mark)	assert(!*seen(proc, i, gen, mark))
#define BREAKS(id, proc, i, gen, mark)	assert(!strcmp(id, seen(proc, i, gen, mark)))

static void what_was_written_is_there(void)
{
	start("map:0.0:0+4 write:0.0:0+2 write:0.0:1+1");
	LEGAL(0, 0, 1, 0);
	LEGAL(0, 1, 2, 0);
	BREAKS("outside-range-untouched", 0, 1, 1, 0);
	BREAKS("outside-range-untouched", 0, 0, 0, 0);
	LEGAL(0, 3, 0, 0);
	BREAKS("hole-reads-zero", 0, 3, 1, 0);
}

static void freed_is_old_or_zero_until_zero_was_seen(void)
{
	start("map:0.0:0+4 write:0.0:0+4 free:0.0:0+2");
	BREAKS("old-or-zero", 0, 0, 7, 0);
	LEGAL(0, 0, 1, 0);
	LEGAL(0, 0, 1, 0);
	LEGAL(0, 0, 0, 0);
	BREAKS("hole-reads-zero", 0, 0, 1, 0);
	BREAKS("outside-range-untouched", 0, 2, 0, 0);
}

static void written_after_a_free_stays(void)
{
	start("map:0.0:0+2 write:0.0:0+2 free:0.0:0+2 write:0.0:0+1 reclaim");
	LEGAL(0, 0, 2, 0);
	BREAKS("no-lost-write", 0, 0, 0, 0);
}

static void marked_after_a_free_keeps_the_mark_and_what_was_under_it(void)
{
	start("map:0.0:0+2 write:0.0:0+2 free:0.0:0+2 mark:0.0:0+2");
	BREAKS("no-lost-write", 0, 0, 0, 0);
	BREAKS("no-lost-write", 0, 0, 1, 0);
	LEGAL(0, 0, 0, 2);
	BREAKS("no-lost-write", 0, 0, 1, 2);
	LEGAL(0, 1, 1, 2);
	then("free:0.0:1+1");
	LEGAL(0, 1, 1, 2);
	LEGAL(0, 1, 0, 0);
}

static void sharers_have_views_of_their_own(void)
{
	start("map:0.0:0+4 write:0.0:0+4 fork:1 free:0.0:0+2 write:1.0:3+1");
	LEGAL(0, 0, 0, 0);
	LEGAL(1, 0, 1, 0);
	BREAKS("sharer-data-kept", 1, 0, 0, 0);
	BREAKS("sharer-data-kept", 0, 3, 2, 0);
	LEGAL(0, 3, 1, 0);
	LEGAL(1, 3, 2, 0);
	then("exit:1");
	then("fork:1");
	LEGAL(1, 1, 0, 0);
	LEGAL(0, 1, 1, 0);
}

static void refused_writes_change_nothing(void)
{
	start("map:0.0:0+2 write:0.0:0+2 protect:0.0:0+1 write:0.0:0+2");
	LEGAL(0, 0, 1, 0);
	LEGAL(0, 1, 2, 0);
}

static void moved_pages_keep_what_they_hold(void)
{
	start("map:0.0:0+4 write:0.0:0+4 move:0.0:1+2:3");
	assert(page(0, 1)->addr == FZ_BASE + FZ_SLOT + 3 * PSIZE);
	assert(page(0, 3)->addr == FZ_BASE + 3 * PSIZE);
	LEGAL(0, 1, 1, 0);
}

static void only_never_freed_objects_are_sure_not_to_be_lazyfree(void)
{
	start("map:0.0:0+4 write:0.0:0+1 free:0.0:0+4 write:0.0:2+1 drop:0.0:3+1 write:0.0:3+1");
	/* A large folio may have been there since page 0 was written, and been marked. */
	assert(m.object[page(0, 2)->obj].freed);
	assert(!m.object[page(0, 3)->obj].freed);
}

static void a_region_is_shared_while_anybody_else_may_map_its_folios(void)
{
	start("map:0.0:0+4 write:0.0:0+1 fork:1");
	assert(!fz_exclusive(&m, 0, 0));
	then("drop:1.0:0+3");
	assert(!fz_exclusive(&m, 0, 0));
	then("drop:1.0:3+1");
	assert(fz_exclusive(&m, 0, 0));
}

static void the_known_loss_is_told_beforehand(void)
{
	struct fz_op op;

	assert(fz_get_op("free:0.0:0+4", &op));
	start("map:0.0:0+4 write:0.0:0+4 pageout:0.0:1+1 read:0.0:1+1");
	assert(!fz_swapin_clean_shared(&m, &op));
	then("fork:1");
	assert(fz_swapin_clean_shared(&m, &op));
	then("drop:1.0:1+1");
	assert(!fz_swapin_clean_shared(&m, &op));
}

static void calls_take_what_is_together_and_alike(void)
{
	struct fz_spans spans;
	struct fz_op op;

	start("map:0.0:0+8 write:0.0:0+8 protect:0.0:2+2 move:0.0:6+1:0 unmap:0.0:4+1");
	assert(fz_get_op("free:0.0:0+8", &op));
	fz_begin(&m, &op, &spans);
	assert(spans.nr == 3 && spans.span[0].nr == 6 && spans.span[0].gap == 1);
	assert(spans.span[1].first == 6 && spans.span[2].first == 7);
	assert(fz_get_op("write:0.0:0+8", &op));
	fz_begin(&m, &op, &spans);
	assert(spans.nr == 5 && spans.span[1].first == 2 && spans.span[2].first == 5);
}

static void malformed_operations_are_refused(void)
{
	static const char * const bad[] = {
		"", "fee:0.0:0+1", "free", "free:0.0:0", "free:0.0:0+0", "free:3.0:0+1", "free:0.3:0+1",
		"free:0.0:95+2", "free:0.0:0+1x", "fork", "reclaim:1", "move:0.0:0+1",
	};
	struct fz_op op;

	for (size_t i = 0; i < FZ_NR(bad); i++)
		assert(!fz_get_op(bad[i], &op));
}

static void generated_lists_survive_being_text(void)
{
	static const unsigned int folios[] = { 1, 4, 8, 16, 32 };
	static struct fz_list again;
	char text[FZ_OPS * 40];

	for (size_t n = 0; n < 2000; n++) {
		unsigned int folio = folios[n % FZ_NR(folios)];

		fz_generate(&generator, 3, n, PSIZE, folio, &list);
		assert(list.nr >= 2);
		fz_put_list(&list, text, sizeof(text));
		assert(fz_get_list(text, &again) && again.nr == list.nr);
		assert(!memcmp(again.op, list.op, list.nr * sizeof(list.op[0])));
		fz_init(&m, PSIZE, folio > 1);
		for (size_t i = 0; i < list.nr; i++) {
			assert(fz_applies(&m, &list.op[i]));
			fz_apply(&m, &list.op[i]);
		}
		fz_generate(&generator, 3, n, PSIZE, folio, &again);
		assert(!memcmp(&again, &list, sizeof(list)));
	}
}

/*
 * A kernel in few words: frames, and for each process and page a frame or none,
 * and whether its entry is clean since a free. Reclaim takes what it likes of
 * clean entries, each on its own. Whatever it does, the model must agree.
 */
struct entry {
	int frame;		/* 0: none */
	bool clean;
};

static struct {
	struct entry entry[FZ_PROCS][FZ_REGIONS][FZ_PAGES];
	struct fz_content frame[FZ_OBJECTS];
	int sharers[FZ_OBJECTS];
	int frames;
	uint32_t gen;
} kernel;

static void kernel_unmap(struct entry *e)
{
	if (e->frame)
		kernel.sharers[e->frame]--;
	*e = (struct entry){};
}

static void kernel_own(struct entry *e)
{
	struct fz_content was = e->frame ? kernel.frame[e->frame] : (struct fz_content){};

	if (!e->frame || kernel.sharers[e->frame] > 1) {
		kernel_unmap(e);
		e->frame = ++kernel.frames;
		kernel.sharers[e->frame] = 1;
		kernel.frame[e->frame] = was;
	}
	e->clean = false;
}

static void kernel_reclaim(struct fz_random *random)
{
	for (int p = 0; p < FZ_PROCS; p++)
		for (int r = 0; r < FZ_REGIONS; r++)
			for (size_t i = 0; i < FZ_PAGES; i++)
				if (kernel.entry[p][r][i].clean && fz_below(random, 2))
					kernel_unmap(&kernel.entry[p][r][i]);
}

static void kernel_fork(int child)
{
	memcpy(kernel.entry[child], kernel.entry[0], sizeof(kernel.entry[0]));
	for (int r = 0; r < FZ_REGIONS; r++)
		for (size_t i = 0; i < FZ_PAGES; i++)
			kernel.sharers[kernel.entry[0][r][i].frame]++;
}

static void kernel_exit(int child)
{
	for (int r = 0; r < FZ_REGIONS; r++)
		for (size_t i = 0; i < FZ_PAGES; i++)
			kernel_unmap(&kernel.entry[child][r][i]);
}

static void kernel_page(const struct fz_op *op, const struct fz_page *p, struct entry *e)
{
	switch (op->kind) {
	case FZ_WRITE:
	case FZ_MARK:
		if (p->readonly)
			break;
		kernel_own(e);
		if (op->kind == FZ_WRITE)
			kernel.frame[e->frame] = (struct fz_content){ .gen = kernel.gen };
		else
			kernel.frame[e->frame].mark = kernel.gen;
		break;
	case FZ_FREE:
	case FZ_FREE_ON:
		e->clean = e->frame;
		break;
	case FZ_UNMAP:
	case FZ_DROP:
		kernel_unmap(e);
		break;
	}
}

static void kernel_do(const struct fz_op *op, struct fz_random *random)
{
	if (op->kind == FZ_FORK)
		kernel_fork(op->proc);
	else if (op->kind == FZ_EXIT)
		kernel_exit(op->proc);
	kernel.gen += op->kind == FZ_WRITE || op->kind == FZ_MARK;
	if (fz_kinds[op->kind].form >= FZ_OF_RANGE)
		for (size_t i = op->first; i < op->first + op->nr; i++)
			if (m.page[op->proc][op->region][i].mapped)
				kernel_page(op, &m.page[op->proc][op->region][i],
					    &kernel.entry[op->proc][op->region][i]);
	if (fz_below(random, 3) == 0)
		kernel_reclaim(random);
}

/* How many pages the model objects to, of all that every process reads. */
static size_t objections(void)
{
	size_t nr = 0;

	for (int p = 0; p < FZ_PROCS; p++)
		for (int r = 0; r < FZ_REGIONS; r++)
			for (size_t i = 0; i < FZ_PAGES; i++)
				if (m.alive[p] && m.page[p][r][i].mapped)
					nr += fz_observe(&m, &m.page[p][r][i],
							 kernel.frame[kernel.entry[p][r][i].frame]) != NULL;
	return nr;
}

static void a_kernel_that_discards_as_it_likes_is_never_wrong(void)
{
	for (size_t n = 0; n < 3000; n++) {
		struct fz_random random = fz_seed(99, n);

		fz_generate(&generator, 5, n, PSIZE, 1 << n % 6, &list);
		memset(&kernel, 0, sizeof(kernel));
		fz_init(&m, PSIZE, n % 6);
		for (size_t i = 0; i < list.nr; i++) {
			kernel_do(&list.op[i], &random);
			fz_apply(&m, &list.op[i]);
			if (fz_below(&random, 4) == 0)
				assert(!objections());
		}
		assert(!objections());
	}
}

/* The same kernel, but a discard now and then takes what was written since. */
static void a_kernel_that_loses_a_written_page_is_found(void)
{
	size_t found = 0, lost = 0;

	for (size_t n = 0; n < 300; n++) {
		struct fz_random random = fz_seed(7, n);
		struct entry *e = &kernel.entry[0][0][0];

		fz_generate(&generator, 6, n, PSIZE, 4, &list);
		memset(&kernel, 0, sizeof(kernel));
		fz_init(&m, PSIZE, true);
		for (size_t i = 0; i < list.nr; i++) {
			kernel_do(&list.op[i], &random);
			fz_apply(&m, &list.op[i]);
		}
		if (!m.page[0][0][0].mapped || !e->frame || e->clean)
			continue;
		kernel_unmap(e);
		lost++;
		found += objections() > 0;
	}
	assert(lost > 50 && found == lost);
}

#define TEST(name) { #name, name }

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} tests[] = {
		TEST(what_was_written_is_there), TEST(freed_is_old_or_zero_until_zero_was_seen),
		TEST(written_after_a_free_stays),
		TEST(marked_after_a_free_keeps_the_mark_and_what_was_under_it),
		TEST(sharers_have_views_of_their_own), TEST(refused_writes_change_nothing),
		TEST(moved_pages_keep_what_they_hold),
		TEST(only_never_freed_objects_are_sure_not_to_be_lazyfree),
		TEST(a_region_is_shared_while_anybody_else_may_map_its_folios),
		TEST(the_known_loss_is_told_beforehand), TEST(calls_take_what_is_together_and_alike),
		TEST(malformed_operations_are_refused), TEST(generated_lists_survive_being_text),
		TEST(a_kernel_that_discards_as_it_likes_is_never_wrong),
		TEST(a_kernel_that_loses_a_written_page_is_found),
	};

	for (size_t i = 0; i < FZ_NR(tests); i++) {
		if (argc < 2)
			puts(tests[i].name);
		else if (!strcmp(argv[1], tests[i].name))
			return tests[i].run(), 0;
	}
	return argc < 2 ? 0 : 2;
}
