// SPDX-License-Identifier: GPL-2.0
/*
 * contpte-tlb: what TLBs that the architecture allows would make of the guest's
 * page tables. docs/hardware-model.md says what is modelled. Arguments:
 *
 *	out=FILE	JSON lines, see report.h
 *	ram=FILE	the guest's RAM, a memory-backend-file with share=on
 *	size=BYTES	of that file
 *	core=NAME	geometry of the TLBs that count, see reach.c; a76
 *	bbm=LEVEL	ID_AA64MMFR2_EL1.BBM of the hardware that is modelled; 0
 *
 * Until the first test begins (guest-tests/kpv_mark.h) only the mark is
 * instrumented. Then all that was translated is dropped and translated again
 * with what the model needs. Needs thread=multi where there are several vCPUs:
 * QEMU 10.0 names the wrong vCPU otherwise.
 */
#include "model.h"
#include "report.h"

#define NAME	"kpv contpte-tlb"

QEMU_PLUGIN_EXPORT int qemu_plugin_version = KPV_PLUGIN_API;

enum { X0, SP_EL0 = 31, TTBR0, TTBR1, TCR, SPSR, NR_REGISTERS };

static struct vcpu_registers {
	struct qemu_plugin_register *handle[NR_REGISTERS];
	GByteArray *scratch;
	/* What an instruction that reads and writes has just read. */
	uint64_t read_va, read_pc;
	qemu_plugin_mem_value read;
} registers[MAX_VCPUS];

/* Per vCPU, for generated code. */
struct score {
	uint64_t attention;	/* not 0: tell returns to EL0, barriers, and changes of task */
	uint64_t dsb, isb;
};

static struct {
	struct model model;
	const char *ram_path;
	uint64_t ram_bytes;
	qemu_plugin_id_t id;
	struct qemu_plugin_scoreboard *score;
	qemu_plugin_u64 attention, dsb, isb;
	bool arming;
	bool pending;		/* rules_pending() as all vCPUs were last told */
	unsigned int checked;	/* addresses of stores that were compared with QEMU's */
	/* The range of the last mark: only accesses to it are looked up in the TLBs that count. */
	uint64_t watch_start, watch_bytes;
} state = { .model.lock = PTHREAD_MUTEX_INITIALIZER };

/* An instruction that was translated: what its callback needs to know. */
struct site {
	uint64_t pc;
	uint32_t insn;
};

static uint64_t reg(unsigned int cpu, int which)
{
	uint64_t value;

	kpv_read_register(registers[cpu].handle[which], registers[cpu].scratch, &value);
	return value;
}

/* The operand of an instruction: 31 is XZR. */
static uint64_t operand(unsigned int cpu, uint32_t insn)
{
	return decode_rt(insn) == 31 ? 0 : reg(cpu, X0 + decode_rt(insn));
}

/* All vCPUs have to look out while something is pending; called with the lock held. */
static void tell_vcpus(unsigned int self)
{
	bool pending = rules_pending(&state.model);

	if (pending && !state.pending) {
		for (unsigned int i = 0; i < state.model.nr_vcpus; i++) {
			qemu_plugin_u64_set(state.attention, i, 1);
			/* Changes of task were not told until now. */
			if (i != self)
				state.model.vcpu[i].current = 0;
		}
	}
	state.pending = pending;
}

static void on_eret(unsigned int cpu, void *userdata)
{
	struct model *model = &state.model;
	struct regime regime;

	if (reg(cpu, SPSR) & 15)	/* M[3:0]: not to EL0 */
		return;
	pthread_mutex_lock(&model->lock);
	if (regime_read(&regime, reg(cpu, TCR)) || memcmp(&regime, &model->tables.regime, sizeof(regime)))
		model->broken = "TCR_EL1 changed while the model was armed";
	else
		rules_eret(model, cpu, (uintptr_t)userdata, reg(cpu, TTBR0), reg(cpu, TTBR1));
	tell_vcpus(cpu);
	qemu_plugin_u64_set(state.attention, cpu, state.pending);
	pthread_mutex_unlock(&model->lock);
}

static void on_tlbi(unsigned int cpu, void *userdata)
{
	const struct site *site = userdata;
	struct tlbi tlbi = decode_tlbi(site->insn);

	pthread_mutex_lock(&state.model.lock);
	rules_tlbi(&state.model, cpu, site->pc, &tlbi, operand(cpu, site->insn));
	pthread_mutex_unlock(&state.model.lock);
}

static void on_dsb(unsigned int cpu, void *userdata)
{
	struct dsb dsb = decode_dsb((uintptr_t)userdata);

	pthread_mutex_lock(&state.model.lock);
	rules_dsb(&state.model, cpu, &dsb);
	pthread_mutex_unlock(&state.model.lock);
}

/* arm64 Linux keeps "current" in SP_EL0 while it is at EL1; the user's own stack pointer is a lower address. */
static void on_msr_sp_el0(unsigned int cpu, void *userdata)
{
	uint64_t value = operand(cpu, (uintptr_t)userdata);

	if (value >> 63)
		state.model.vcpu[cpu].current = value;
}

/* Linux maps RAM linearly at the lowest address of the upper range; see what QEMU translated to. */
static void check_linear(qemu_plugin_meminfo_t info, uint64_t vaddr, uint64_t pa)
{
	struct qemu_plugin_hwaddr *hwaddr = qemu_plugin_get_hwaddr(info, vaddr);

	state.checked++;
	if (hwaddr && qemu_plugin_hwaddr_phys_addr(hwaddr) != pa)
		state.model.broken = "RAM is not mapped linearly at the lowest address of the upper range";
}

/* "was": what the access replaced, NULL: only the copy of the table tells. */
static void store(unsigned int cpu, uint64_t pc, qemu_plugin_meminfo_t info, uint64_t vaddr,
		  const qemu_plugin_mem_value *was)
{
	struct model *model = &state.model;
	uint64_t pa = vaddr - model->tables.regime.high_base + KPV_RAM_BASE;
	qemu_plugin_mem_value value = qemu_plugin_mem_get_value(info);
	unsigned int words = value.type == QEMU_PLUGIN_MEM_VALUE_U128 ? 2 : 1;
	uint64_t now[2] = { value.data.u128.low, value.data.u128.high };
	struct where where = { cpu, pc, reg(cpu, SP_EL0) };

	pthread_mutex_lock(&model->lock);
	if (state.checked < 64)
		check_linear(info, vaddr, pa);
	for (unsigned int i = 0; i < words; i++, pa += 8) {
		struct table *table = tables_at(&model->tables, pa);
		uint64_t old = 0, ram = 0;

		if (!table)
			continue;
		if (was) {
			old = i ? was->data.u128.high : was->data.u128.low;
			/* A compare-and-swap that did not swap is told like one that did. */
			kpv_ram_read64(&model->tables.ram, pa, &ram);
			if (ram == old && ram != now[i])
				continue;
		}
		model->vcpu[cpu].current = where.task;
		rules_store(model, table, (pa - table->pa) / 8, now[i], was ? &old : NULL, &where);
	}
	tell_vcpus(cpu);
	pthread_mutex_unlock(&model->lock);
}

/* Every store of the kernel that may be to a table comes here: first of all, whether it is. */
static inline bool is_tracked(uint64_t vaddr)
{
	uint64_t offset = vaddr - state.model.tables.regime.high_base;

	return offset < state.model.tables.ram.size && tables_tracked(&state.model.tables, offset);
}

static void on_store(unsigned int cpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *userdata)
{
	if (is_tracked(vaddr))
		store(cpu, (uintptr_t)userdata, info, vaddr, NULL);
}

/* The read of an update is told before its write. */
static void on_update(unsigned int cpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *userdata)
{
	struct vcpu_registers *vcpu = &registers[cpu];

	if (!is_tracked(vaddr))
		return;
	if (qemu_plugin_mem_is_store(info)) {
		bool known = vcpu->read_va == vaddr && vcpu->read_pc == (uintptr_t)userdata;

		store(cpu, (uintptr_t)userdata, info, vaddr, known ? &vcpu->read : NULL);
		vcpu->read_va = 0;
	} else {
		vcpu->read_va = vaddr;
		vcpu->read_pc = (uintptr_t)userdata;
		vcpu->read = qemu_plugin_mem_get_value(info);
	}
}

static void on_access(unsigned int cpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *userdata)
{
	(void)info;
	(void)userdata;
	if (vaddr - state.watch_start >= state.watch_bytes)
		return;
	pthread_mutex_lock(&state.model.lock);
	access_look_up(&state.model, cpu, vaddr);
	pthread_mutex_unlock(&state.model.lock);
}

static void barriers_read(void)
{
	state.model.barriers.dsb = qemu_plugin_u64_sum(state.dsb);
	state.model.barriers.isb = qemu_plugin_u64_sum(state.isb);
}

static void test_begin(uint64_t hash)
{
	struct model *model = &state.model;

	model->test = (struct span) { .hash = hash, .barriers = model->barriers };
	model->step.hash = 0;
	model->findings = model->missed = model->failed_walks = model->unknown = 0;
	model->tables.unreadable = 0;
	state.watch_bytes = 0;
}

/* Whether the copies of this process' tables are what RAM has: were all stores seen? */
static void self_test(unsigned int cpu, uint64_t pc)
{
	struct model *model = &state.model;
	unsigned int differ = 0;
	uint64_t pa;

	if (!model->tables.active[cpu]) {
		model->unknown++;
		return;
	}
	/* Another vCPU may have stored, and wait for the lock to tell. */
	for (int i = 0; i < (model->nr_vcpus > 1 ? 5 : 1); i++) {
		if (i) {
			pthread_mutex_unlock(&model->lock);
			usleep(100);
			pthread_mutex_lock(&model->lock);
		}
		if (!model->tables.active[cpu])
			return;
		differ = mm_differs(&model->tables, model->tables.active[cpu], &pa);
		if (!differ)
			return;
	}
	model->missed += differ;
	model->missed_pa = pa;
	rules_relearn(model, cpu, pc);
}

static void on_mark(unsigned int cpu, void *userdata)
{
	unsigned int op = kpv_plugin_mark(reg(cpu, X0));
	uint64_t hash = reg(cpu, X0 + 1), base = reg(cpu, X0 + 2), bytes = reg(cpu, X0 + 3);
	struct model *model = &state.model;

	if (!op)
		return;
	pthread_mutex_lock(&model->lock);
	barriers_read();
	if (op != KPV_MARK_TEST_BEGIN)
		self_test(cpu, (uintptr_t)userdata);
	switch (op) {
	case KPV_MARK_TEST_BEGIN:
		test_begin(hash);
		break;
	case KPV_MARK_TEST_END:
		if (hash == model->test.hash)
			report_test(model);
		test_begin(0);
		break;
	case KPV_MARK_STEP_BEGIN:
		model->step = (struct span) {
			.hash = hash, .start = base, .end = base + bytes, .barriers = model->barriers,
			.serial = model->tables.active[cpu] ? model->tables.active[cpu]->serial : NO_MM,
		};
		break;
	case KPV_MARK_STEP_END:
		if (hash == model->step.hash)
			report_step(model);
		model->step.hash = 0;
		break;
	}
	if (op == KPV_MARK_STEP_BEGIN || op == KPV_MARK_CHECKPOINT) {
		state.watch_start = base;
		state.watch_bytes = bytes;
	}
	tell_vcpus(cpu);
	pthread_mutex_unlock(&model->lock);
}

static void *site_of(uint64_t pc, uint32_t insn)
{
	struct site *site = malloc(sizeof(*site));

	if (!site)
		abort();
	*site = (struct site) { pc, insn };
	return site;
}

static void instrument(struct qemu_plugin_insn *insn)
{
	uint64_t pc = qemu_plugin_insn_vaddr(insn);
	uint32_t opcode = 0;

	qemu_plugin_insn_data(insn, &opcode, sizeof(opcode));
	if (!(pc >> 63)) {	/* EL0 */
		if (opcode == KPV_MARK_INSN)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_mark, QEMU_PLUGIN_CB_R_REGS,
							       (void *)(uintptr_t)pc);
		else
			qemu_plugin_register_vcpu_mem_cb(insn, on_access, QEMU_PLUGIN_CB_NO_REGS,
							 QEMU_PLUGIN_MEM_RW, NULL);
		return;
	}
	switch (decode_insn(opcode)) {
	case INSN_STORE:
		qemu_plugin_register_vcpu_mem_cb(insn, on_store, QEMU_PLUGIN_CB_R_REGS,
						 QEMU_PLUGIN_MEM_W, (void *)(uintptr_t)pc);
		break;
	case INSN_UPDATE:
		qemu_plugin_register_vcpu_mem_cb(insn, on_update, QEMU_PLUGIN_CB_R_REGS,
						 QEMU_PLUGIN_MEM_RW, (void *)(uintptr_t)pc);
		break;
	case INSN_TLBI:
		qemu_plugin_register_vcpu_insn_exec_cb(insn, on_tlbi, QEMU_PLUGIN_CB_R_REGS,
						       site_of(pc, opcode));
		break;
	case INSN_DSB:
		qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(insn, QEMU_PLUGIN_INLINE_ADD_U64,
								    state.dsb, 1);
		qemu_plugin_register_vcpu_insn_exec_cond_cb(insn, on_dsb, QEMU_PLUGIN_CB_NO_REGS,
							    QEMU_PLUGIN_COND_NE, state.attention, 0,
							    (void *)(uintptr_t)opcode);
		break;
	case INSN_ISB:
		qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(insn, QEMU_PLUGIN_INLINE_ADD_U64,
								    state.isb, 1);
		break;
	case INSN_ERET:
		qemu_plugin_register_vcpu_insn_exec_cond_cb(insn, on_eret, QEMU_PLUGIN_CB_R_REGS,
							    QEMU_PLUGIN_COND_NE, state.attention, 0,
							    (void *)(uintptr_t)pc);
		break;
	case INSN_MSR_TTBR:
	case INSN_MSR_TCR:
		qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(insn, QEMU_PLUGIN_INLINE_ADD_U64,
								    state.attention, 1);
		break;
	case INSN_MSR_SP_EL0:
		qemu_plugin_register_vcpu_insn_exec_cond_cb(insn, on_msr_sp_el0, QEMU_PLUGIN_CB_R_REGS,
							    QEMU_PLUGIN_COND_NE, state.attention, 0,
							    (void *)(uintptr_t)opcode);
		break;
	case INSN_OTHER:
		break;
	}
}

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t nr = qemu_plugin_tb_n_insns(tb);

	(void)id;
	for (size_t i = 0; i < nr; i++)
		instrument(qemu_plugin_tb_get_insn(tb, i));
}

static void on_exit_qemu(qemu_plugin_id_t id, void *userdata)
{
	(void)id;
	(void)userdata;
	report_end(&state.model);
}

/* All that was translated is gone, no vCPU runs. */
static void armed(qemu_plugin_id_t id)
{
	report_start(&state.model);
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
	qemu_plugin_register_atexit_cb(id, on_exit_qemu, NULL);
}

static void on_early_mark(unsigned int cpu, void *userdata)
{
	struct model *model = &state.model;

	(void)userdata;
	if (kpv_plugin_mark(reg(cpu, X0)) != KPV_MARK_TEST_BEGIN)
		return;
	pthread_mutex_lock(&model->lock);
	test_begin(reg(cpu, X0 + 1));
	if (!state.arming) {
		state.arming = true;
		model->nr_vcpus = qemu_plugin_num_vcpus();
		model->broken = regime_read(&model->tables.regime, reg(cpu, TCR));
		if (!model->broken && !kpv_ram_open(&model->tables.ram, state.ram_path, state.ram_bytes))
			model->broken = "the guest's RAM cannot be read";
		tables_init(&model->tables);
		for (unsigned int i = 0; i < model->nr_vcpus; i++)
			qemu_plugin_u64_set(state.attention, i, 1);
		qemu_plugin_reset(state.id, armed);
	}
	pthread_mutex_unlock(&model->lock);
}

static void on_early_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t nr = qemu_plugin_tb_n_insns(tb);

	(void)id;
	for (size_t i = 0; i < nr; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);

		if (kpv_insn_is_mark(insn))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_early_mark, QEMU_PLUGIN_CB_R_REGS,
							       NULL);
	}
}

static void on_vcpu(qemu_plugin_id_t id, unsigned int cpu)
{
	static const char * const names[] = {
		[SP_EL0] = "SP_EL0", [TTBR0] = "TTBR0_EL1", [TTBR1] = "TTBR1_EL1", [TCR] = "TCR_EL1",
		[SPSR] = "SPSR_EL1",
	};
	GArray *all = qemu_plugin_get_registers();

	(void)id;
	if (cpu >= MAX_VCPUS) {
		state.model.broken = "more than 64 vCPUs";
		return;
	}
	registers[cpu].scratch = g_byte_array_new();
	for (int i = 0; i < NR_REGISTERS; i++) {
		char x[8];

		snprintf(x, sizeof(x), "x%d", i);
		registers[cpu].handle[i] = kpv_find_register(all, i < SP_EL0 ? x : names[i]);
		if (!registers[cpu].handle[i])
			state.model.broken = "QEMU does not show a register that the model reads";
	}
	g_array_free(all, 1);
}

QEMU_PLUGIN_EXPORT
int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
	const char *out = kpv_plugin_argument(argc, argv, "out");
	const char *core = kpv_plugin_argument(argc, argv, "core");
	const char *bbm = kpv_plugin_argument(argc, argv, "bbm");
	uint64_t bbm_level = 0;
	const char *wrong;

	if (!kpv_plugin_fits(NAME, info))
		return -1;
	state.ram_path = kpv_plugin_argument(argc, argv, "ram");
	if (!out || !state.ram_path ||
	    !kpv_plugin_number(kpv_plugin_argument(argc, argv, "size"), &state.ram_bytes) ||
	    (bbm && (!kpv_plugin_number(bbm, &bbm_level) || bbm_level > 2))) {
		fprintf(stderr, NAME ": expected out=FILE,ram=FILE,size=BYTES[,core=NAME][,bbm=0..2]\n");
		return -1;
	}
	wrong = reach_init(&state.model.reach, core ? core : "a76");
	if (wrong) {
		fprintf(stderr, NAME ": core=%s: %s\n", core, wrong);
		return -1;
	}
	if (!report_open(out))
		return -1;
	state.model.bbm_level = bbm_level;
	state.id = id;
	state.score = qemu_plugin_scoreboard_new(sizeof(struct score));
	state.attention = KPV_SCOREBOARD_U64(state.score, struct score, attention);
	state.dsb = KPV_SCOREBOARD_U64(state.score, struct score, dsb);
	state.isb = KPV_SCOREBOARD_U64(state.score, struct score, isb);
	qemu_plugin_register_vcpu_init_cb(id, on_vcpu);
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_early_translate);
	qemu_plugin_register_atexit_cb(id, on_exit_qemu, NULL);
	return 0;
}
