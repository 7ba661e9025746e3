// SPDX-License-Identifier: GPL-2.0
/*
 * Which instructions are instrumented once the model is armed, and what each
 * tells the rules.
 */
#include "plugin.h"

/* An instruction that was translated: what its callback needs to know. */
struct site {
	uint64_t pc;
	uint32_t insn;
};

/* The operand of an instruction: 31 is XZR. */
static uint64_t operand(unsigned int cpu, uint32_t insn)
{
	return decode_rt(insn) == 31 ? 0 : reg(cpu, X0 + decode_rt(insn));
}

void tell_vcpus(unsigned int self)
{
	bool pending = rules_pending(&plugin.model);

	if (pending && !plugin.pending) {
		for (unsigned int i = 0; i < plugin.model.nr_vcpus; i++) {
			qemu_plugin_u64_set(plugin.attention, i, 1);
			/* Changes of task were not told until now. */
			if (i != self)
				plugin.model.vcpu[i].current = 0;
		}
	}
	plugin.pending = pending;
}

static void on_eret(unsigned int cpu, void *userdata)
{
	struct model *model = &plugin.model;
	struct regime regime;

	if (reg(cpu, SPSR) & 15)	/* M[3:0]: not to EL0 */
		return;
	pthread_mutex_lock(&model->lock);
	if (regime_read(&regime, reg(cpu, TCR)) ||
	    memcmp(&regime, &model->tables.regime, sizeof(regime)))
		model->broken = "TCR_EL1 changed while the model was armed";
	else
		rules_eret(model, cpu, (uintptr_t)userdata, reg(cpu, TTBR0), reg(cpu, TTBR1));
	tell_vcpus(cpu);
	qemu_plugin_u64_set(plugin.attention, cpu, plugin.pending);
	pthread_mutex_unlock(&model->lock);
}

static void on_tlbi(unsigned int cpu, void *userdata)
{
	const struct site *site = userdata;
	struct tlbi tlbi = decode_tlbi(site->insn);

	pthread_mutex_lock(&plugin.model.lock);
	plugin.model.vcpu[cpu].current = reg(cpu, SP_EL0);
	rules_tlbi(&plugin.model, cpu, site->pc, &tlbi, operand(cpu, site->insn));
	tell_vcpus(cpu);
	pthread_mutex_unlock(&plugin.model.lock);
}

static void on_dsb(unsigned int cpu, void *userdata)
{
	struct dsb dsb = decode_dsb((uintptr_t)userdata);

	pthread_mutex_lock(&plugin.model.lock);
	rules_dsb(&plugin.model, cpu, &dsb);
	pthread_mutex_unlock(&plugin.model.lock);
}

/*
 * arm64 Linux keeps "current" in SP_EL0 while it is at EL1; the user's own stack
 * pointer is a lower address.
 */
static void on_msr_sp_el0(unsigned int cpu, void *userdata)
{
	uint64_t value = operand(cpu, (uintptr_t)userdata);

	if (value >> 63)
		plugin.model.vcpu[cpu].current = value;
}

/* Linux maps RAM linearly at the lowest address of the upper range; see what QEMU translated to. */
static void check_linear(qemu_plugin_meminfo_t info, uint64_t vaddr, uint64_t pa)
{
	struct qemu_plugin_hwaddr *hwaddr = qemu_plugin_get_hwaddr(info, vaddr);

	plugin.checked++;
	if (hwaddr && qemu_plugin_hwaddr_phys_addr(hwaddr) != pa)
		plugin.model.broken = "RAM is not mapped linearly at the upper range's lowest address";
}

/* "was": what the access replaced, NULL: only the copy of the table tells. */
static void store(unsigned int cpu, uint64_t pc, qemu_plugin_meminfo_t info, uint64_t vaddr,
		  const qemu_plugin_mem_value *was)
{
	struct model *model = &plugin.model;
	uint64_t pa = vaddr - model->tables.regime.high_base + KPV_RAM_BASE;
	qemu_plugin_mem_value value = qemu_plugin_mem_get_value(info);
	unsigned int words = value.type == QEMU_PLUGIN_MEM_VALUE_U128 ? 2 : 1;
	uint64_t now[2] = { value.data.u128.low, value.data.u128.high };
	struct where where = { cpu, pc, reg(cpu, SP_EL0) };

	pthread_mutex_lock(&model->lock);
	if (plugin.checked < 64)
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
static inline bool is_tracked(uint64_t vaddr, uint64_t pc)
{
	struct tables *tables = &plugin.model.tables;
	uint64_t offset = vaddr - tables->regime.high_base;

	if (offset >= tables->ram.size)
		return false;
	tables_written(tables, offset, pc);
	return tables_tracked(tables, offset);
}

static void on_store(unsigned int cpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *userdata)
{
	if (is_tracked(vaddr, (uintptr_t)userdata))
		store(cpu, (uintptr_t)userdata, info, vaddr, NULL);
}

/* The read of an update is told before its write. */
static void on_update(unsigned int cpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *userdata)
{
	struct vcpu_registers *vcpu = &plugin.registers[cpu];

	if (!is_tracked(vaddr, (uintptr_t)userdata))
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
	if (vaddr - plugin.watch_start >= plugin.watch_bytes)
		return;
	pthread_mutex_lock(&plugin.model.lock);
	access_look_up(&plugin.model, cpu, vaddr);
	pthread_mutex_unlock(&plugin.model.lock);
}

static void *site_of(uint64_t pc, uint32_t insn)
{
	struct site *site = malloc(sizeof(*site));

	if (!site)
		abort();
	*site = (struct site) { pc, insn };
	return site;
}

/* One more of this kind, whatever else is told of it. */
static void tally(struct qemu_plugin_insn *insn, qemu_plugin_u64 counter)
{
	qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(insn, QEMU_PLUGIN_INLINE_ADD_U64,
							    counter, 1);
}

/* Tell of it only while somebody has to look out. */
static void tell_if_attentive(struct qemu_plugin_insn *insn, qemu_plugin_vcpu_udata_cb_t callback,
			      uint64_t userdata)
{
	qemu_plugin_register_vcpu_insn_exec_cond_cb(insn, callback, QEMU_PLUGIN_CB_R_REGS,
						    QEMU_PLUGIN_COND_NE, plugin.attention, 0,
						    (void *)(uintptr_t)userdata);
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
		tally(insn, plugin.dsb);
		tell_if_attentive(insn, on_dsb, opcode);
		break;
	case INSN_ISB:
		tally(insn, plugin.isb);
		break;
	case INSN_ERET:
		tell_if_attentive(insn, on_eret, pc);
		break;
	case INSN_MSR_TTBR:
	case INSN_MSR_TCR:
		/* The next return to EL0 is to be told. */
		tally(insn, plugin.attention);
		break;
	case INSN_MSR_SP_EL0:
		tell_if_attentive(insn, on_msr_sp_el0, opcode);
		break;
	case INSN_OTHER:
		break;
	}
}

void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t nr = qemu_plugin_tb_n_insns(tb);

	(void)id;
	for (size_t i = 0; i < nr; i++)
		instrument(qemu_plugin_tb_get_insn(tb, i));
}
