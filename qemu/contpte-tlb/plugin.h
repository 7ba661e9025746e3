/* SPDX-License-Identifier: GPL-2.0 */
/*
 * plugin.h: the one model of this QEMU, and what callbacks need beside it.
 */
#ifndef KPV_TLB_PLUGIN_H
#define KPV_TLB_PLUGIN_H

#include "model.h"

enum { X0, SP_EL0 = 31, TTBR0, TTBR1, TCR, SPSR, NR_REGISTERS };

struct vcpu_registers {
	struct qemu_plugin_register *handle[NR_REGISTERS];
	GByteArray *scratch;
	/* What an instruction that reads and writes has just read. */
	uint64_t read_va, read_pc;
	qemu_plugin_mem_value read;
};

/* Per vCPU, for generated code. */
struct score {
	uint64_t attention;	/* not 0: tell returns to EL0, barriers, and changes of task */
	uint64_t dsb, isb;
};

struct plugin {
	struct model model;
	struct vcpu_registers registers[MAX_VCPUS];
	struct qemu_plugin_scoreboard *score;
	qemu_plugin_u64 attention, dsb, isb;
	bool pending;		/* rules_pending() as all vCPUs were last told */
	unsigned int checked;	/* addresses of stores that were compared with QEMU's */
	/* The range of the last mark: only accesses to it are looked up in the TLBs that count. */
	uint64_t watch_start, watch_bytes;
};

extern struct plugin plugin;

static inline uint64_t reg(unsigned int cpu, int which)
{
	struct vcpu_registers *registers = &plugin.registers[cpu];
	uint64_t value;

	kpv_read_register(registers->handle[which], registers->scratch, &value);
	return value;
}

/* All vCPUs have to look out while something is pending; called with the lock held. */
void tell_vcpus(unsigned int self);

/* A test begins; called with the lock held. */
void test_begin(uint64_t hash);
/* Callback of the mark instruction. */
void on_mark(unsigned int cpu, void *pc);

/* Callback of translation, once the model is armed. */
void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb);

#endif /* KPV_TLB_PLUGIN_H */
