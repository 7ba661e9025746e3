/* SPDX-License-Identifier: GPL-2.0 */
/*
 * kpv-plugin.h: what a TCG plugin of this project needs to be built and to start.
 *
 * 1. The part of QEMU's plugin API that is used here, in our own declarations:
 *    qemu-plugin.h is in no binary package of Debian. Names, argument lists and
 *    enumerators are those of API version 4 (QEMU 10.0), see the TCG plugin
 *    chapter of QEMU's developer documentation. The symbols resolve in the QEMU
 *    program that loads the plugin.
 * 2. What stands in for the two types of GLib that cross that API.
 * 3. Small helpers that every plugin here wants: its arguments, the registers of
 *    a vCPU by name, the guest's RAM as a file, and marks of the guest tests.
 *
 * A plugin defines qemu_plugin_version and qemu_plugin_install(), and calls
 * kpv_plugin_fits() first.
 */
#ifndef KPV_PLUGIN_H
#define KPV_PLUGIN_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kpv_mark.h"

/* The version that the declarations below are of. */
#define KPV_PLUGIN_API	4

#define QEMU_PLUGIN_EXPORT	__attribute__((visibility("default")))

/* ---- GLib: the public fields of two types, and the functions that go with them ---- */

typedef struct {
	char *data;
	unsigned int len;
} GArray;

typedef struct {
	uint8_t *data;
	unsigned int len;
} GByteArray;

/* Resolved in the libglib-2.0 that QEMU is linked with. */
char *g_array_free(GArray *array, int free_segment);
GByteArray *g_byte_array_new(void);
GByteArray *g_byte_array_set_size(GByteArray *array, unsigned int length);
uint8_t *g_byte_array_free(GByteArray *array, int free_segment);
void g_free(void *mem);

/* ---- types of the API ---- */

typedef uint64_t qemu_plugin_id_t;

typedef struct qemu_info_t {
	const char *target_name;
	struct {
		int min;
		int cur;
	} version;
	bool system_emulation;
	union {
		struct {
			int smp_vcpus;
			int max_vcpus;
		} system;
	};
} qemu_info_t;

struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_hwaddr;
struct qemu_plugin_register;
struct qemu_plugin_scoreboard;

typedef uint32_t qemu_plugin_meminfo_t;

typedef struct {
	struct qemu_plugin_scoreboard *score;
	size_t offset;
} qemu_plugin_u64;

typedef struct {
	struct qemu_plugin_register *handle;
	const char *name;
	const char *feature;
} qemu_plugin_reg_descriptor;

enum qemu_plugin_cb_flags {
	QEMU_PLUGIN_CB_NO_REGS,
	QEMU_PLUGIN_CB_R_REGS,
	QEMU_PLUGIN_CB_RW_REGS,
};

enum qemu_plugin_mem_rw {
	QEMU_PLUGIN_MEM_R = 1,
	QEMU_PLUGIN_MEM_W,
	QEMU_PLUGIN_MEM_RW,
};

enum qemu_plugin_mem_value_type {
	QEMU_PLUGIN_MEM_VALUE_U8,
	QEMU_PLUGIN_MEM_VALUE_U16,
	QEMU_PLUGIN_MEM_VALUE_U32,
	QEMU_PLUGIN_MEM_VALUE_U64,
	QEMU_PLUGIN_MEM_VALUE_U128,
};

typedef struct {
	enum qemu_plugin_mem_value_type type;
	union {
		uint8_t u8;
		uint16_t u16;
		uint32_t u32;
		uint64_t u64;
		struct {
			uint64_t low;
			uint64_t high;
		} u128;
	} data;
} qemu_plugin_mem_value;

enum qemu_plugin_op {
	QEMU_PLUGIN_INLINE_ADD_U64,
	QEMU_PLUGIN_INLINE_STORE_U64,
};

enum qemu_plugin_cond {
	QEMU_PLUGIN_COND_NEVER,
	QEMU_PLUGIN_COND_ALWAYS,
	QEMU_PLUGIN_COND_EQ,
	QEMU_PLUGIN_COND_NE,
	QEMU_PLUGIN_COND_LT,
	QEMU_PLUGIN_COND_LE,
	QEMU_PLUGIN_COND_GT,
	QEMU_PLUGIN_COND_GE,
};

typedef void (*qemu_plugin_simple_cb_t)(qemu_plugin_id_t id);
typedef void (*qemu_plugin_udata_cb_t)(qemu_plugin_id_t id, void *userdata);
typedef void (*qemu_plugin_vcpu_simple_cb_t)(qemu_plugin_id_t id, unsigned int vcpu_index);
typedef void (*qemu_plugin_vcpu_udata_cb_t)(unsigned int vcpu_index, void *userdata);
typedef void (*qemu_plugin_vcpu_tb_trans_cb_t)(qemu_plugin_id_t id, struct qemu_plugin_tb *tb);
typedef void (*qemu_plugin_vcpu_mem_cb_t)(unsigned int vcpu_index, qemu_plugin_meminfo_t info,
					  uint64_t vaddr, void *userdata);

/* ---- what a plugin defines ---- */

extern QEMU_PLUGIN_EXPORT int qemu_plugin_version;

QEMU_PLUGIN_EXPORT
int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv);

/* ---- life cycle ---- */

void qemu_plugin_uninstall(qemu_plugin_id_t id, qemu_plugin_simple_cb_t cb);
void qemu_plugin_reset(qemu_plugin_id_t id, qemu_plugin_simple_cb_t cb);
void qemu_plugin_register_vcpu_init_cb(qemu_plugin_id_t id, qemu_plugin_vcpu_simple_cb_t cb);
void qemu_plugin_register_vcpu_exit_cb(qemu_plugin_id_t id, qemu_plugin_vcpu_simple_cb_t cb);
/* Idle: waiting for an interrupt, or powered off. A vCPU is not idle until it was told idle. */
void qemu_plugin_register_vcpu_idle_cb(qemu_plugin_id_t id, qemu_plugin_vcpu_simple_cb_t cb);
void qemu_plugin_register_vcpu_resume_cb(qemu_plugin_id_t id, qemu_plugin_vcpu_simple_cb_t cb);
void qemu_plugin_register_flush_cb(qemu_plugin_id_t id, qemu_plugin_simple_cb_t cb);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, qemu_plugin_udata_cb_t cb, void *userdata);
int qemu_plugin_num_vcpus(void);
/* To QEMU's log: seen with -d plugin only. */
void qemu_plugin_outs(const char *string);

/* ---- translation: which instructions there are, and what to call when one runs ---- */

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, qemu_plugin_vcpu_tb_trans_cb_t cb);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t idx);
/* Copies min(len, size of the instruction) bytes (since version 3; before it returned a pointer). */
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *dest, size_t len);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
void *qemu_plugin_insn_haddr(const struct qemu_plugin_insn *insn);
/* Both return memory of the caller, or NULL for no symbol. */
char *qemu_plugin_insn_disas(const struct qemu_plugin_insn *insn);
const char *qemu_plugin_insn_symbol(const struct qemu_plugin_insn *insn);

void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb,
					  qemu_plugin_vcpu_udata_cb_t cb,
					  enum qemu_plugin_cb_flags flags, void *userdata);
void qemu_plugin_register_vcpu_tb_exec_cond_cb(struct qemu_plugin_tb *tb,
					       qemu_plugin_vcpu_udata_cb_t cb,
					       enum qemu_plugin_cb_flags flags,
					       enum qemu_plugin_cond cond, qemu_plugin_u64 entry,
					       uint64_t imm, void *userdata);
void qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(struct qemu_plugin_tb *tb,
						       enum qemu_plugin_op op,
						       qemu_plugin_u64 entry, uint64_t imm);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
					    qemu_plugin_vcpu_udata_cb_t cb,
					    enum qemu_plugin_cb_flags flags, void *userdata);
void qemu_plugin_register_vcpu_insn_exec_cond_cb(struct qemu_plugin_insn *insn,
						 qemu_plugin_vcpu_udata_cb_t cb,
						 enum qemu_plugin_cb_flags flags,
						 enum qemu_plugin_cond cond,
						 qemu_plugin_u64 entry, uint64_t imm,
						 void *userdata);
void qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(struct qemu_plugin_insn *insn,
							 enum qemu_plugin_op op,
							 qemu_plugin_u64 entry, uint64_t imm);

/* ---- memory accesses: the callback comes after the access ---- */

void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn, qemu_plugin_vcpu_mem_cb_t cb,
				      enum qemu_plugin_cb_flags flags, enum qemu_plugin_mem_rw rw,
				      void *userdata);
void qemu_plugin_register_vcpu_mem_inline_per_vcpu(struct qemu_plugin_insn *insn,
						   enum qemu_plugin_mem_rw rw,
						   enum qemu_plugin_op op, qemu_plugin_u64 entry,
						   uint64_t imm);
unsigned int qemu_plugin_mem_size_shift(qemu_plugin_meminfo_t info);
bool qemu_plugin_mem_is_sign_extended(qemu_plugin_meminfo_t info);
bool qemu_plugin_mem_is_big_endian(qemu_plugin_meminfo_t info);
bool qemu_plugin_mem_is_store(qemu_plugin_meminfo_t info);
qemu_plugin_mem_value qemu_plugin_mem_get_value(qemu_plugin_meminfo_t info);
/* NULL, or a handle that is good until the callback returns. */
struct qemu_plugin_hwaddr *qemu_plugin_get_hwaddr(qemu_plugin_meminfo_t info, uint64_t vaddr);
bool qemu_plugin_hwaddr_is_io(const struct qemu_plugin_hwaddr *haddr);
uint64_t qemu_plugin_hwaddr_phys_addr(const struct qemu_plugin_hwaddr *haddr);

/* ---- registers and memory of the vCPU that runs ---- */

/* An array of qemu_plugin_reg_descriptor, the caller's to free; call it in a vcpu_init callback. */
GArray *qemu_plugin_get_registers(void);
/*
 * Appends the register's bytes to buf. Only in callbacks that asked for
 * QEMU_PLUGIN_CB_R_REGS. It returned the size, or -1, until version 5 and
 * returns a bool since: look at buf->len instead, as kpv_read_register() does.
 */
int qemu_plugin_read_register(struct qemu_plugin_register *handle, GByteArray *buf);
bool qemu_plugin_read_memory_vaddr(uint64_t addr, GByteArray *data, size_t len);

/* ---- values per vCPU that generated code can work on ---- */

struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t element_size);
void qemu_plugin_scoreboard_free(struct qemu_plugin_scoreboard *score);
void *qemu_plugin_scoreboard_find(struct qemu_plugin_scoreboard *score, unsigned int vcpu_index);
void qemu_plugin_u64_add(qemu_plugin_u64 entry, unsigned int vcpu_index, uint64_t added);
uint64_t qemu_plugin_u64_get(qemu_plugin_u64 entry, unsigned int vcpu_index);
void qemu_plugin_u64_set(qemu_plugin_u64 entry, unsigned int vcpu_index, uint64_t val);
uint64_t qemu_plugin_u64_sum(qemu_plugin_u64 entry);

#define KPV_SCOREBOARD_U64(score, type, member) \
	((qemu_plugin_u64) { (score), offsetof(type, member) })

/* ---- helpers ---- */

#define KPV_PLUGIN_UNUSED	__attribute__((unused))

/*
 * Whether this QEMU takes what is declared above; says why not on stderr.
 * The value of qemu_plugin_version is checked by QEMU itself before.
 */
static inline bool kpv_plugin_fits(const char *name, const qemu_info_t *info)
{
	if (info->version.cur < KPV_PLUGIN_API || info->version.min > KPV_PLUGIN_API) {
		fprintf(stderr, "%s: QEMU offers plugin API %d to %d, this plugin needs %d (QEMU 9.2)\n",
			name, info->version.min, info->version.cur, KPV_PLUGIN_API);
		return false;
	}
	if (!info->system_emulation || strcmp(info->target_name, "aarch64")) {
		fprintf(stderr, "%s: made for qemu-system-aarch64, loaded for %s\n", name,
			info->target_name);
		return false;
	}
	return true;
}

/* The value of name=value among the plugin's arguments; NULL if it is not there. */
static inline const char *kpv_plugin_argument(int argc, char **argv, const char *name)
{
	size_t len = strlen(name);

	for (int i = 0; i < argc; i++)
		if (!strncmp(argv[i], name, len) && argv[i][len] == '=')
			return argv[i] + len + 1;
	return NULL;
}

/* A whole number, decimal or 0x...; false if the text is anything else. */
static inline bool kpv_plugin_number(const char *text, uint64_t *value)
{
	char *end;

	if (!text || *text < '0' || *text > '9')
		return false;
	errno = 0;
	*value = strtoull(text, &end, 0);
	return !errno && !*end;
}

/* The register of this name, of any feature; NULL if this CPU has none. */
static inline struct qemu_plugin_register *kpv_find_register(const GArray *registers,
							     const char *name)
{
	const qemu_plugin_reg_descriptor *all = (const void *)registers->data;

	for (unsigned int i = 0; i < registers->len; i++)
		if (!strcmp(all[i].name, name))
			return all[i].handle;
	return NULL;
}

/*
 * A register of up to 64 bits of the vCPU that runs. buf is scratch, one a
 * thread. Plugin and guest are little-endian alike: QEMU gives target order.
 */
static inline bool kpv_read_register(struct qemu_plugin_register *handle, GByteArray *buf,
				     uint64_t *value)
{
	g_byte_array_set_size(buf, 0);
	*value = 0;
	if (!handle)
		return false;
	qemu_plugin_read_register(handle, buf);
	if (!buf->len || buf->len > sizeof(*value))
		return false;
	memcpy(value, buf->data, buf->len);
	return true;
}

/*
 * The guest's RAM: the file of a memory-backend-file with share=on, which the
 * virt machine places at 0x40000000 (hw/arm/virt.c). The API of version 4
 * cannot read physical memory.
 */
#define KPV_RAM_BASE	0x40000000ULL

struct kpv_ram {
	const char *map;
	uint64_t size;
};

/*
 * Map the file, which QEMU makes after it has loaded plugins: call this in a
 * vcpu_init callback. Says why not on stderr.
 */
static inline bool kpv_ram_open(struct kpv_ram *ram, const char *path, uint64_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *map;

	if (fd < 0) {
		fprintf(stderr, "%s: cannot open the guest's RAM: %s\n", path, strerror(errno));
		return false;
	}
	if (fstat(fd, &st) || (uint64_t)st.st_size != size) {
		fprintf(stderr, "%s: expected the guest's RAM of %llu bytes, found %lld\n", path,
			(unsigned long long)size, (long long)st.st_size);
		close(fd);
		return false;
	}
	map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (map == MAP_FAILED) {
		fprintf(stderr, "%s: cannot map the guest's RAM: %s\n", path, strerror(errno));
		return false;
	}
	ram->map = map;
	ram->size = size;
	return true;
}

/* The host's view of [pa, pa + len); NULL if that is not all RAM. */
static inline const void *kpv_ram_at(const struct kpv_ram *ram, uint64_t pa, uint64_t len)
{
	if (!ram->map || pa < KPV_RAM_BASE || pa - KPV_RAM_BASE > ram->size ||
	    len > ram->size - (pa - KPV_RAM_BASE))
		return NULL;
	return ram->map + (pa - KPV_RAM_BASE);
}

/*
 * One descriptor, in one access: another vCPU, or QEMU's own table walk (access
 * flag and dirty state), may write to it at the same time.
 */
static inline bool kpv_ram_read64(const struct kpv_ram *ram, uint64_t pa, uint64_t *value)
{
	const uint64_t *at = pa & 7 ? NULL : kpv_ram_at(ram, pa, sizeof(*at));

	if (!at)
		return false;
	*value = __atomic_load_n(at, __ATOMIC_RELAXED);
	return true;
}

/* Whether an instruction is the one that marks are made with; see kpv_mark.h. */
static inline bool kpv_insn_is_mark(const struct qemu_plugin_insn *insn)
{
	uint32_t opcode = 0;

	return qemu_plugin_insn_data(insn, &opcode, sizeof(opcode)) == sizeof(opcode) &&
	       opcode == KPV_MARK_INSN;
}

/* The op of a mark by its x0, 0 if the instruction was executed by somebody else. */
static inline unsigned int kpv_plugin_mark(uint64_t x0)
{
	return (x0 & ~KPV_MARK_OP_MASK) == KPV_MARK_MAGIC ? x0 & KPV_MARK_OP_MASK : 0;
}

#endif /* KPV_PLUGIN_H */
