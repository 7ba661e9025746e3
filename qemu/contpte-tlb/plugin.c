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
#include "plugin.h"
#include "report.h"

#define NAME	"kpv contpte-tlb"

QEMU_PLUGIN_EXPORT int qemu_plugin_version = KPV_PLUGIN_API;

struct plugin plugin = { .model.lock = PTHREAD_MUTEX_INITIALIZER };

static struct {
	qemu_plugin_id_t id;
	const char *ram_path;
	uint64_t ram_bytes;
	bool arming;
} own;

static void on_exit_qemu(qemu_plugin_id_t id, void *userdata)
{
	(void)id;
	(void)userdata;
	report_end(&plugin.model);
}

/* All that was translated is gone, no vCPU runs. */
static void armed(qemu_plugin_id_t id)
{
	report_start(&plugin.model);
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
	qemu_plugin_register_atexit_cb(id, on_exit_qemu, NULL);
}

static void on_early_mark(unsigned int cpu, void *userdata)
{
	struct model *model = &plugin.model;

	(void)userdata;
	if (kpv_plugin_mark(reg(cpu, X0)) != KPV_MARK_TEST_BEGIN)
		return;
	pthread_mutex_lock(&model->lock);
	test_begin(reg(cpu, X0 + 1));
	if (!own.arming) {
		own.arming = true;
		model->nr_vcpus = qemu_plugin_num_vcpus();
		model->broken = regime_read(&model->tables.regime, reg(cpu, TCR));
		if (!model->broken &&
		    !kpv_ram_open(&model->tables.ram, own.ram_path, own.ram_bytes))
			model->broken = "the guest's RAM cannot be read";
		tables_init(&model->tables);
		for (unsigned int i = 0; i < model->nr_vcpus; i++)
			qemu_plugin_u64_set(plugin.attention, i, 1);
		qemu_plugin_reset(own.id, armed);
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
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_early_mark,
							       QEMU_PLUGIN_CB_R_REGS, NULL);
	}
}

static void on_vcpu(qemu_plugin_id_t id, unsigned int cpu)
{
	static const char * const names[] = {
		[SP_EL0] = "SP_EL0", [TTBR0] = "TTBR0_EL1", [TTBR1] = "TTBR1_EL1",
		[TCR] = "TCR_EL1", [SPSR] = "SPSR_EL1",
	};
	GArray *all = qemu_plugin_get_registers();

	(void)id;
	if (cpu >= MAX_VCPUS) {
		plugin.model.broken = "more than 64 vCPUs";
		return;
	}
	plugin.registers[cpu].scratch = g_byte_array_new();
	for (int i = 0; i < NR_REGISTERS; i++) {
		char x[8];

		snprintf(x, sizeof(x), "x%d", i);
		plugin.registers[cpu].handle[i] = kpv_find_register(all, i < SP_EL0 ? x : names[i]);
		if (!plugin.registers[cpu].handle[i])
			plugin.model.broken = "QEMU does not show a register that the model reads";
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
	own.ram_path = kpv_plugin_argument(argc, argv, "ram");
	if (!out || !own.ram_path ||
	    !kpv_plugin_number(kpv_plugin_argument(argc, argv, "size"), &own.ram_bytes) ||
	    (bbm && (!kpv_plugin_number(bbm, &bbm_level) || bbm_level > 2))) {
		fprintf(stderr, NAME
			": expected out=FILE,ram=FILE,size=BYTES[,core=NAME][,bbm=0..2]\n");
		return -1;
	}
	wrong = reach_init(&plugin.model.reach, core ? core : "a76");
	if (wrong) {
		fprintf(stderr, NAME ": core=%s: %s\n", core, wrong);
		return -1;
	}
	if (!report_open(out))
		return -1;
	plugin.model.bbm_level = bbm_level;
	own.id = id;
	plugin.score = qemu_plugin_scoreboard_new(sizeof(struct score));
	plugin.attention = KPV_SCOREBOARD_U64(plugin.score, struct score, attention);
	plugin.dsb = KPV_SCOREBOARD_U64(plugin.score, struct score, dsb);
	plugin.isb = KPV_SCOREBOARD_U64(plugin.score, struct score, isb);
	qemu_plugin_register_vcpu_init_cb(id, on_vcpu);
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_early_translate);
	qemu_plugin_register_atexit_cb(id, on_exit_qemu, NULL);
	return 0;
}
