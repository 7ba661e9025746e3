// SPDX-License-Identifier: GPL-2.0
/*
 * lazyfree_fold.c: MADV_FREE and what happens to contiguous blocks before and
 * after it: written in one page, protected or unmapped in part, folded anew
 * with pages of different permissions, copied by fork at an address that is
 * not congruent to memory.
 *
 * Data and permissions are checked here; whether the entries of a block agree
 * is for who reads the page tables at the marks (kpv_mark.h). Folios are as
 * large as a block, or larger.
 */
#define _GNU_SOURCE
#include "../kselftest_harness.h"
#include "lazyfree_child.h"
#include "lazyfree_fault.h"

#define NEED_BLOCKS() NEED("block_per_folio", self->nr >= cont_ptes(), cont_ptes(), self->nr)

/* Page i of each block of the region. */
static void each_block_write(struct region *r, size_t i, unsigned int gen)
{
	for (size_t at = 0; at < r->pages; at += cont_ptes())
		page_write(r, at + i, gen);
}

static void each_block_read(const struct region *r, size_t i)
{
	for (size_t at = 0; at < r->pages; at += cont_ptes())
		page_touch_read(r, at + i);
}

/*
 * Freed, so that every entry of each block is old, clean and read-only; then
 * read through one page of each block, then written through another. A CPU that
 * manages access flag and dirty state changes the entry that it walked; one
 * that does not has a fault each, and the kernel changes all of the block.
 */
TEST_F(lazyfree, fold_one_page_used)
{
	size_t read = cont_ptes() / 4, written = cont_ptes() / 2 + 1;

	NEED_BLOCKS();
	REGION(2);
	region_free(_metadata, &rg, 0, rg.pages, "free");
	check_clean(_metadata, &rg, "after free");

	kpv_step_begin(&step, "read", rg.base, rg.pages * psize);
	each_block_read(&rg, read);
	kpv_step_end(&step, 0, 0);

	kpv_step_begin(&step, "write", rg.base, rg.pages * psize);
	each_block_write(&rg, written, 2);
	kpv_step_end(&step, 0, 0);
	check_write_cancels(_metadata, &rg);

	/* By entries that nobody used so far; a core that never sees its own updated does not get past this. */
	each_block_read(&rg, 0);
	each_block_write(&rg, cont_ptes() - 1, 3);
	region_show(&rg, "after-use");
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/*
 * Two inner pages of each folio's first block are made read-only before the
 * free, and two of its last block after it: permission of a part changes, so
 * its block must not stay folded. While they are so, the last page of the block
 * is write-protected and back, and so set anew: if the entries were alike, the
 * block would be folded again. Kills: folding without a look at permissions.
 */
TEST_F(lazyfree, fold_part_protected)
{
	size_t len = 2 * psize;

	NEED_BLOCKS();
	REGION(2);
	for (size_t f = 0; f < 2; f++) {
		char *at = rg.base + (f * self->nr + 3) * psize;

		kpv_step_begin(&step, "protect", rg.base, rg.pages * psize);
		ASSERT_EQ(0, mprotect(at, len, PROT_READ));
		kpv_step_end(&step, 0, 0);
		ASSERT_TRUE(region_unfold(&rg, f * self->nr + cont_ptes() - 1));
		region_show(&rg, "protected");
		check_readonly(_metadata, &rg, f * self->nr + 3, 2);
		ASSERT_EQ(0, mprotect(at, len, PROT_READ | PROT_WRITE));
	}
	region_free(_metadata, &rg, 0, rg.pages, "free");
	for (size_t f = 0; f < 2; f++) {
		char *at = rg.base + ((f + 1) * self->nr - 6) * psize;

		ASSERT_EQ(0, mprotect(at, len, PROT_READ));
		region_show(&rg, "protected-again");
		ASSERT_EQ(0, mprotect(at, len, PROT_READ | PROT_WRITE));
	}
	each_block_write(&rg, 4, 2);
	check_write_cancels(_metadata, &rg);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/*
 * The first three quarters of F0 and the last three of F1 go away: what is
 * left of a block that was cut must not stay folded, at either end. The rest
 * is freed, written and kept.
 */
TEST_F(lazyfree, fold_part_unmapped)
{
	size_t quarter = self->nr / 4, nr = 3 * quarter;

	NEED_BLOCKS();
	REGION(2);
	kpv_step_begin(&step, "unmap", rg.base, rg.pages * psize);
	region_hole(&rg, 0, nr);
	region_hole(&rg, self->nr + quarter, nr);
	kpv_step_end(&step, 0, 0);
	region_show(&rg, "unmapped");
	region_free(_metadata, &rg, nr, 2 * quarter, "free");
	check_exactly_lazyfree(_metadata, &rg);
	page_write(&rg, nr + 1, 2);
	page_write(&rg, self->nr + quarter - 1, 2);
	check_write_cancels(_metadata, &rg);
	RECLAIM();
	region_finish(_metadata, self, &rg);
}

/*
 * The first half of each folio is shared with a child and read-only, the rest
 * is the parent's alone. The last page of each block is write-protected and
 * back, and so written to the page table anew: now a block would be folded if
 * its entries were alike. They are not: the parent's write to a shared page
 * must still not reach the child. Kills: folding without a look at permissions.
 */
TEST_F(lazyfree, fold_mixed_permissions)
{
	size_t half = self->nr / 2, last = cont_ptes() - 1;
	struct child_reply reply;

	NEED_BLOCKS();
	REGION(2);
	for (size_t f = 0; f < 2; f++)
		ASSERT_EQ(0, madvise(rg.base + (f * self->nr + half) * psize, half * psize,
				     MADV_DONTFORK));
	CHILD_START();
	ASSERT_EQ(0, madvise(rg.base, rg.pages * psize, MADV_DOFORK));
	NEED("vmas", region_vmas(&rg) == 1, 1, region_vmas(&rg));
	for (size_t at = 0; at < rg.pages; at += cont_ptes())
		ASSERT_TRUE(region_unfold(&rg, at + last));
	region_show(&rg, "refolded");
	child_show("refolded");

	region_free(_metadata, &rg, 0, rg.pages, "free");
	for (size_t f = 0; f < 2; f++) {
		page_write(&rg, f * self->nr, 2);
		page_write(&rg, f * self->nr + half - 1, 3);
		page_write(&rg, f * self->nr + half, 2);
		reply = child_ask(CHILD_VERIFY, f * self->nr, half, 0);
		CHECK("permissions-unchanged", !reply.wrong,
		      "%zd pages of the child changed by the parent's write, first is page %zu",
		      (ssize_t)reply.wrong, reply.bad);
	}
	RECLAIM();
	for (size_t f = 0; f < 2; f++)
		check_sharer(_metadata, f * self->nr, half, "after reclaim");
	shared_finish(_metadata, self);
}

/*
 * Moved to an address that is not congruent to memory, then copied by fork:
 * whole aligned runs of entries are set at once in the child, and no run of
 * them may be folded. Kills: the contiguous bit by the virtual address alone.
 */
TEST_F(lazyfree, fold_moved_shifted_forked)
{
	NEED_BLOCKS();
	REGION(2);
	NEED("moved", region_move(&rg, psize), 1, 0);
	CHILD_START();
	region_show(&rg, "forked");
	child_show("forked");
	check_sharer(_metadata, 0, rg.pages, "after fork");
	region_free(_metadata, &rg, 0, rg.pages, "free");
	page_write(&rg, 1, 2);
	page_write(&rg, rg.pages - 1, 2);
	/* The child's own changes to what it has of a block: drop a part, write next to it. */
	CHILD_DO(CHILD_UNMAP, self->nr / 2, 2, 0);
	child_show("unmapped");
	check_sharer(_metadata, 0, self->nr / 2, "after write");
	RECLAIM();
	check_sharer(_metadata, self->nr, self->nr, "after reclaim");
	shared_finish(_metadata, self);
}

/*
 * Forked whole, so that every block is write-protected at once and may stay
 * folded, in both processes; freed by the parent, then written in one page of
 * each block by both.
 */
TEST_F(lazyfree, fold_forked)
{
	size_t at = cont_ptes() / 2;

	NEED_BLOCKS();
	REGION(2);
	CHILD_START();
	region_show(&rg, "forked");
	child_show("forked");
	region_free(_metadata, &rg, 0, rg.pages, "free");
	each_block_write(&rg, at, 2);
	region_show(&rg, "written");
	child_show("written");
	check_sharer(_metadata, 0, rg.pages, "after write");
	for (size_t page = 0; page < rg.pages; page += cont_ptes())
		CHILD_DO(CHILD_WRITE, page + at + 1, 1, 4);
	region_show(&rg, "written-twice");
	child_show("written-twice");
	RECLAIM();
	check_sharer(_metadata, 0, rg.pages, "after reclaim");
	shared_finish(_metadata, self);
}

TEST_HARNESS_MAIN
