// SPDX-License-Identifier: GPL-2.0
/*
 * Counts what a guest's kernel executes for one task, from the mark that begins
 * an operation to the one that ends it (guest-tests/kpv_mark.h). Arguments:
 *
 *	out=FILE	what report.h describes is written there
 *	ram=FILE	the guest's RAM, a memory-backend-file with share=on
 *	size=BYTES	of that file
 *	functions=FILE	see functions.h
 *	scheduler=N	index there of the function that runs other tasks
 *	vectors=ADDRESS	of the kernel's exception vectors, VBAR_EL1
 *
 * A sample is what lies between the marks KPV_MARK_TEST_BEGIN and _END, whose
 * first argument is its number; the operation, between KPV_MARK_STEP_BEGIN and
 * _END, by whatever process the latter comes from. Until the first sample begins
 * only marks are instrumented. One vCPU: what others execute would be another
 * task's.
 */
#include "count.h"
#include "decode.h"
#include "functions.h"
#include "pages.h"
#include "report.h"

#define NAME	"kpv cost"

QEMU_PLUGIN_EXPORT int qemu_plugin_version = KPV_PLUGIN_API;

enum { X0, SP_EL0 = 31, TTBR0, TCR, ELR, NR_REGISTERS };

/* For generated code. */
struct score {
	uint64_t running;
};

static struct {
	qemu_plugin_id_t id;
	const char *ram_path;
	uint64_t ram_bytes;
	struct counter counter;
	struct pages pages;
	struct functions functions;
	struct regime regime;
	struct qemu_plugin_register *handle[NR_REGISTERS];
	GByteArray *scratch;
	qemu_plugin_u64 running;
	bool arming;
	bool began, ended;	/* the operation of this sample */
} plugin = { .counter.scheduler = FUNCTION_NONE };

static uint64_t reg(int which)
{
	uint64_t value;

	kpv_read_register(plugin.handle[which], plugin.scratch, &value);
	return value;
}

/* ---- marks ---- */

static void learn(uint64_t base, uint64_t bytes)
{
	const char *wrong = pages_learn(&plugin.pages, &plugin.regime, reg(TTBR0), base, bytes);

	if (wrong)
		plugin.counter.broken = wrong;
}

static void set_running(bool running)
{
	qemu_plugin_u64_set(plugin.running, 0, running);
}

static void on_mark(unsigned int cpu, void *userdata)
{
	(void)cpu;
	(void)userdata;
	switch (kpv_plugin_mark(reg(X0))) {
	case KPV_MARK_TEST_BEGIN:
		plugin.began = plugin.ended = false;
		break;
	case KPV_MARK_STEP_BEGIN:
		pages_clear(&plugin.pages);
		counter_begin(&plugin.counter);
		learn(reg(X0 + 2), reg(X0 + 3));
		plugin.began = true;
		set_running(true);
		break;
	case KPV_MARK_CHECKPOINT:
		if (plugin.began)
			learn(reg(X0 + 2), reg(X0 + 3));
		break;
	case KPV_MARK_STEP_END:
		if (!plugin.began || plugin.ended)
			break;
		plugin.ended = true;
		set_running(false);
		counter_end(&plugin.counter);
		learn(reg(X0 + 2), reg(X0 + 3));
		break;
	case KPV_MARK_TEST_END:
		if (plugin.began)
			report_sample(reg(X0 + 1), &plugin.counter, &plugin.pages);
		plugin.began = false;
		break;
	}
}

/* ---- execution ---- */

static void on_block(unsigned int cpu, void *userdata)
{
	(void)cpu;
	counter_block(&plugin.counter, userdata, 0);
}

static void on_el1_sync(unsigned int cpu, void *userdata)
{
	(void)cpu;
	counter_block(&plugin.counter, userdata, reg(ELR));
}

static void on_msr_sp_el0(unsigned int cpu, void *userdata)
{
	(void)cpu;
	counter_current(&plugin.counter, reg(X0 + (uintptr_t)userdata));
}

/* Page tables are written at their linear address, the lowest of the upper range and up. */
static void on_store(unsigned int cpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *userdata)
{
	(void)cpu;
	(void)userdata;
	if (counter_counts(&plugin.counter))
		pages_store(&plugin.pages, vaddr - plugin.regime.high_base,
			    qemu_plugin_mem_size_shift(info) > 3 ? 2 : 1);
}

/* ---- translation ---- */

static enum event event_of(uint32_t insn, enum insn_kind kind)
{
	struct tlbi tlbi;

	switch (kind) {
	case INSN_DSB:
		return EVENT_DSB;
	case INSN_ISB:
		return EVENT_ISB;
	case INSN_UPDATE:
		return EVENT_ATOMIC;
	case INSN_TLBI:
		tlbi = decode_tlbi(insn);
		if (tlbi.range)
			return EVENT_TLBI_RANGE;
		return tlbi.scope == TLBI_ALL ? EVENT_TLBI_ALL :
		       tlbi.scope == TLBI_ASID ? EVENT_TLBI_ASID : EVENT_TLBI_VA;
	default:
		return EVENT_NONE;
	}
}

/* Branches that call and return: Arm ARM, C4.1.93 "Branches, exception generating and system". */
static enum leave leave_of(uint32_t insn, enum insn_kind kind)
{
	if (kind == INSN_ERET)
		return LEAVE_ERET;
	if ((insn & 0xfc000000) == 0x94000000)		/* BL */
		return LEAVE_CALL;
	switch (insn & 0xfefff000) {
	case 0xd63f0000:	/* BLR, BLRAA, BLRAB and their forms with a zero modifier */
		return LEAVE_CALL;
	case 0xd65f0000:	/* RET, RETAA, RETAB */
		return LEAVE_RETURN;
	default:
		return LEAVE_OTHER;
	}
}

static void add_event(struct block *block, uint32_t at, enum event event)
{
	block->events = realloc(block->events, (block->nr_events + 1) * sizeof(*block->events));
	if (!block->events)
		abort();
	block->events[block->nr_events++] = (struct block_event) { at, event };
}

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	struct block *block = calloc(1, sizeof(*block));	/* QEMU may run it as long as it lives */
	bool sync;

	(void)id;
	if (!block)
		abort();
	block->pc = qemu_plugin_tb_vaddr(tb);
	block->nr = qemu_plugin_tb_n_insns(tb);
	block->kernel = block->pc >> 63;
	block->function = block->kernel ? functions_find(&plugin.functions, block->pc) : FUNCTION_NONE;
	for (uint32_t i = 0; i < block->nr; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		enum insn_kind kind;
		uint32_t opcode = 0;

		qemu_plugin_insn_data(insn, &opcode, sizeof(opcode));
		if (!block->kernel) {
			if (opcode == KPV_MARK_INSN)
				qemu_plugin_register_vcpu_insn_exec_cb(insn, on_mark,
								       QEMU_PLUGIN_CB_R_REGS, NULL);
			continue;
		}
		kind = decode_insn(opcode);
		if (kind == INSN_STORE || kind == INSN_UPDATE)
			qemu_plugin_register_vcpu_mem_cb(insn, on_store, QEMU_PLUGIN_CB_NO_REGS,
							 QEMU_PLUGIN_MEM_W, NULL);
		if (kind == INSN_MSR_SP_EL0)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_msr_sp_el0,
							       QEMU_PLUGIN_CB_R_REGS,
							       (void *)(uintptr_t)decode_rt(opcode));
		if (event_of(opcode, kind) != EVENT_NONE)
			add_event(block, i, event_of(opcode, kind));
		if (i == block->nr - 1)
			block->leave = leave_of(opcode, kind);
	}
	sync = counter_is_el1_sync(&plugin.counter, block->pc);
	qemu_plugin_register_vcpu_tb_exec_cond_cb(tb, sync ? on_el1_sync : on_block,
						  sync ? QEMU_PLUGIN_CB_R_REGS : QEMU_PLUGIN_CB_NO_REGS,
						  QEMU_PLUGIN_COND_NE, plugin.running, 0, block);
}

/* ---- life ---- */

/* All that was translated is gone. */
static void armed(qemu_plugin_id_t id)
{
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
}

static void on_early_mark(unsigned int cpu, void *userdata)
{
	const char *wrong;

	(void)cpu;
	(void)userdata;
	if (kpv_plugin_mark(reg(X0)) != KPV_MARK_TEST_BEGIN || plugin.arming)
		return;
	plugin.arming = true;
	wrong = regime_read(&plugin.regime, reg(TCR));
	if (!wrong && qemu_plugin_num_vcpus() != 1)
		wrong = "one vCPU is expected";
	if (wrong || !kpv_ram_open(&plugin.pages.ram, plugin.ram_path, plugin.ram_bytes)) {
		fprintf(stderr, NAME ": %s\n", wrong ? wrong : "the guest's RAM cannot be read");
		abort();
	}
	pages_init(&plugin.pages);
	qemu_plugin_reset(plugin.id, armed);
}

static void on_early_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t nr = qemu_plugin_tb_n_insns(tb);

	(void)id;
	for (size_t i = 0; i < nr; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);

		if (kpv_insn_is_mark(insn))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_early_mark,
							       QEMU_PLUGIN_CB_R_REGS, NULL);
	}
}

static void on_vcpu(qemu_plugin_id_t id, unsigned int cpu)
{
	static const char * const names[] = {
		[SP_EL0] = "SP_EL0", [TTBR0] = "TTBR0_EL1", [TCR] = "TCR_EL1", [ELR] = "ELR_EL1",
	};
	GArray *all = qemu_plugin_get_registers();

	(void)id;
	(void)cpu;
	plugin.scratch = g_byte_array_new();
	for (int i = 0; i < NR_REGISTERS; i++) {
		char x[8];

		snprintf(x, sizeof(x), "x%d", i);
		plugin.handle[i] = kpv_find_register(all, i < SP_EL0 ? x : names[i]);
		if (!plugin.handle[i]) {
			fprintf(stderr, NAME ": QEMU does not show register %s\n",
				i < SP_EL0 ? x : names[i]);
			abort();
		}
	}
	g_array_free(all, 1);
}

QEMU_PLUGIN_EXPORT
int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
	const char *out = kpv_plugin_argument(argc, argv, "out");
	const char *functions = kpv_plugin_argument(argc, argv, "functions");
	uint64_t scheduler;

	if (!kpv_plugin_fits(NAME, info))
		return -1;
	plugin.ram_path = kpv_plugin_argument(argc, argv, "ram");
	if (!out || !functions || !plugin.ram_path ||
	    !kpv_plugin_number(kpv_plugin_argument(argc, argv, "size"), &plugin.ram_bytes) ||
	    !kpv_plugin_number(kpv_plugin_argument(argc, argv, "scheduler"), &scheduler) ||
	    !kpv_plugin_number(kpv_plugin_argument(argc, argv, "vectors"), &plugin.counter.vectors)) {
		fprintf(stderr, NAME ": expected out=FILE,ram=FILE,size=BYTES,functions=FILE,"
				"scheduler=N,vectors=ADDRESS\n");
		return -1;
	}
	plugin.counter.scheduler = scheduler;
	if (!functions_open(&plugin.functions, functions) || !report_open(out))
		return -1;
	plugin.id = id;
	plugin.running = KPV_SCOREBOARD_U64(qemu_plugin_scoreboard_new(sizeof(struct score)),
					    struct score, running);
	qemu_plugin_register_vcpu_init_cb(id, on_vcpu);
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_early_translate);
	return 0;
}
