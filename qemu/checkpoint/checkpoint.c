// SPDX-License-Identifier: GPL-2.0
/*
 * Records the page tables of the process that runs at exact points of a guest
 * test: where the test executes a mark (guest-tests/kpv_mark.h) that names a
 * range. Arguments:
 *
 *	out=FILE	what record.h describes is written there
 *	ram=FILE	the guest's RAM, a memory-backend-file with share=on
 *	size=BYTES	of that file
 *
 * Only the mark instruction is instrumented, so the rest of the guest runs as
 * fast as without. Needs thread=multi where there are several vCPUs: QEMU 10.0
 * names the wrong vCPU otherwise.
 */
#include <pthread.h>

#include "record.h"
#include "tables.h"

#define NAME		"kpv checkpoint"
#define MAX_VCPUS	64
/* A range that another vCPU works on is read again until it holds still. */
#define TRIES		8
#define PAUSE_US	200
/* A test that marks without end must not fill the host's disk. */
#define MAX_FILE	(1ULL << 30)

QEMU_PLUGIN_EXPORT int qemu_plugin_version = KPV_PLUGIN_API;

enum { X0, X1, X2, X3, X4, TTBR0, TTBR1, TCR, NR_REGISTERS };

static const char * const register_names[NR_REGISTERS] = {
	"x0", "x1", "x2", "x3", "x4", "TTBR0_EL1", "TTBR1_EL1", "TCR_EL1",
};

static struct vcpu {
	struct qemu_plugin_register *registers[NR_REGISTERS];
	GByteArray *scratch;
	bool running;
} vcpus[MAX_VCPUS];

static struct {
	/* Guards all below, and the order of records in the file. */
	pthread_mutex_t lock;
	const char *ram_path;
	uint64_t ram_bytes;
	struct kpv_ram ram;
	int out;
	uint64_t written;
	uint64_t test;
	struct buffer record;
	struct buffer again;
} state = { .lock = PTHREAD_MUTEX_INITIALIZER, .out = -1 };

static bool write_all(const void *data, size_t len)
{
	const char *at = data;

	while (len) {
		ssize_t done = write(state.out, at, len);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return false;
		at += done;
		len -= done;
		state.written += done;
	}
	return true;
}

static unsigned int others_running(unsigned int self)
{
	unsigned int nr = 0;

	for (unsigned int i = 0; i < MAX_VCPUS; i++)
		if (i != self && __atomic_load_n(&vcpus[i].running, __ATOMIC_RELAXED))
			nr++;
	return nr;
}

/* Adds the runs to state.record; fills in what the record says of them. */
static void read_tables(struct record *record)
{
	struct tables tables = { .ttbr0 = record->ttbr0, .tcr = record->tcr }, other;
	size_t start = state.record.len;

	record->others = others_running(record->vcpu);
	record->status = tables_read(&tables, &state.ram, record->base, record->len, &state.record);
	for (record->tries = 1; record->others; record->tries++) {
		enum tables_status status;

		if (record->tries > TRIES) {
			record->tries = 0;
			break;
		}
		usleep(PAUSE_US);
		other = tables;
		state.again.len = 0;
		status = tables_read(&other, &state.ram, record->base, record->len, &state.again);
		if (status == record->status && state.again.len == state.record.len - start &&
		    !memcmp(state.again.data, state.record.data + start, state.again.len))
			break;
		state.record.len = start;
		buffer_add(&state.record, state.again.data, state.again.len);
		record->status = status;
		tables = other;
	}
	record->start = tables.start;
	record->end = tables.end;
	record->detail = tables.detail;
	record->nr_runs = tables.nr_runs;
}

static void on_mark(unsigned int vcpu_index, void *userdata KPV_PLUGIN_UNUSED)
{
	struct vcpu *vcpu = &vcpus[vcpu_index];
	uint64_t value[NR_REGISTERS];
	struct record record;
	bool known = true;

	for (int i = 0; i < NR_REGISTERS; i++)
		known &= kpv_read_register(vcpu->registers[i], vcpu->scratch, &value[i]);
	record = (struct record) {
		.magic = RECORD_MAGIC,
		.op = kpv_plugin_mark(value[X0]),
		.vcpu = vcpu_index,
		.name = value[X1],
		.base = value[X2],
		.len = value[X3],
		.view = value[X4],
		.ttbr0 = value[TTBR0],
		.ttbr1 = value[TTBR1],
		.tcr = value[TCR],
	};
	if (!record.op)
		return;

	pthread_mutex_lock(&state.lock);
	if (record.op == KPV_MARK_TEST_BEGIN)
		state.test = record.name;
	record.test = state.test;
	state.record.len = 0;
	buffer_add(&state.record, &record, sizeof(record));
	switch (record.op) {
	case KPV_MARK_STEP_BEGIN:
	case KPV_MARK_STEP_END:
	case KPV_MARK_CHECKPOINT:
		record.detail = state.written;
		if (!known)
			record.status = TABLES_NO_REGISTERS;
		else if (state.written > MAX_FILE)
			record.status = TABLES_TOO_LARGE;
		else
			read_tables(&record);
	}
	record.bytes = state.record.len;
	memcpy(state.record.data, &record, sizeof(record));
	/* In one piece: whatever ends QEMU leaves whole records. */
	if (!write_all(state.record.data, state.record.len)) {
		fprintf(stderr, NAME ": cannot write a record: %s\n", strerror(errno));
		abort();
	}
	if (record.op == KPV_MARK_TEST_END)
		state.test = 0;
	pthread_mutex_unlock(&state.lock);
}

static void on_translate(qemu_plugin_id_t id KPV_PLUGIN_UNUSED, struct qemu_plugin_tb *tb)
{
	size_t nr = qemu_plugin_tb_n_insns(tb);

	for (size_t i = 0; i < nr; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);

		if (kpv_insn_is_mark(insn))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_mark,
							       QEMU_PLUGIN_CB_R_REGS, NULL);
	}
}

static void on_vcpu_init(qemu_plugin_id_t id KPV_PLUGIN_UNUSED, unsigned int vcpu_index)
{
	GArray *registers = qemu_plugin_get_registers();
	struct vcpu *vcpu;

	if (vcpu_index >= MAX_VCPUS)
		abort();
	vcpu = &vcpus[vcpu_index];
	vcpu->scratch = g_byte_array_new();
	for (int i = 0; i < NR_REGISTERS && registers; i++)
		vcpu->registers[i] = kpv_find_register(registers, register_names[i]);
	if (registers)
		g_array_free(registers, true);
	pthread_mutex_lock(&state.lock);
	if (!state.ram.map)
		kpv_ram_open(&state.ram, state.ram_path, state.ram_bytes);
	pthread_mutex_unlock(&state.lock);
	__atomic_store_n(&vcpu->running, true, __ATOMIC_RELAXED);
}

static void on_idle(qemu_plugin_id_t id KPV_PLUGIN_UNUSED, unsigned int vcpu_index)
{
	__atomic_store_n(&vcpus[vcpu_index].running, false, __ATOMIC_RELAXED);
}

static void on_resume(qemu_plugin_id_t id KPV_PLUGIN_UNUSED, unsigned int vcpu_index)
{
	__atomic_store_n(&vcpus[vcpu_index].running, true, __ATOMIC_RELAXED);
}

QEMU_PLUGIN_EXPORT
int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
	const char *out = kpv_plugin_argument(argc, argv, "out");
	struct file_header header = {
		.magic = CHECKPOINT_MAGIC,
		.version = CHECKPOINT_VERSION,
		.bytes = sizeof(header),
		.ram_base = KPV_RAM_BASE,
	};

	if (!kpv_plugin_fits(NAME, info))
		return 1;
	state.ram_path = kpv_plugin_argument(argc, argv, "ram");
	if (!out || !state.ram_path ||
	    !kpv_plugin_number(kpv_plugin_argument(argc, argv, "size"), &state.ram_bytes)) {
		fprintf(stderr, NAME ": needs out=FILE,ram=FILE,size=BYTES\n");
		return 1;
	}
	header.ram_bytes = state.ram_bytes;
	state.out = open(out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (state.out < 0 || !write_all(&header, sizeof(header))) {
		fprintf(stderr, NAME ": %s: %s\n", out, strerror(errno));
		return 1;
	}
	qemu_plugin_register_vcpu_init_cb(id, on_vcpu_init);
	qemu_plugin_register_vcpu_idle_cb(id, on_idle);
	qemu_plugin_register_vcpu_resume_cb(id, on_resume);
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
	return 0;
}
