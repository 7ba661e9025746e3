// SPDX-License-Identifier: GPL-2.0
#include "reach.h"

/*
 * Data TLBs as Arm's Technical Reference Manuals give them. How a core's second
 * level picks a set, and what else it keeps there, is not public: sets are chosen
 * by the low bits of the page's or block's number.
 */
static const struct core cores[] = {
	{ "a35", { { 10, 10 }, { 512, 2 } }, "Cortex-A35 TRM (100236), A6.2" },
	{ "a53", { { 10, 10 }, { 512, 4 } }, "Cortex-A53 TRM (DDI 0500), 5.2" },
	{ "a57", { { 32, 32 }, { 1024, 4 } }, "Cortex-A57 TRM (DDI 0488), 5.2" },
	{ "a76", { { 48, 48 }, { 1280, 5 } }, "Cortex-A76 TRM (100798), A5.2" },
};

/* "entries" or "entries/ways" */
static bool geometry_read(const char **text, struct geometry *geometry)
{
	char *end;

	geometry->entries = geometry->ways = strtoul(*text, &end, 10);
	if (*end == '/')
		geometry->ways = strtoul(end + 1, &end, 10);
	*text = end;
	return geometry->ways && geometry->entries && geometry->entries <= 1 << 20 &&
	       geometry->entries % geometry->ways == 0;
}

const char *reach_init(struct reach *reach, const char *core)
{
	for (size_t i = 0; i < sizeof(cores) / sizeof(cores[0]); i++)
		if (!strcmp(core, cores[i].name))
			reach->core = &cores[i];
	if (!reach->core) {
		reach->custom = (struct core) { .name = "custom", .source = "the command line" };
		for (int i = 0; i < REACH_LEVELS; i++)
			if (!geometry_read(&core, &reach->custom.level[i]) ||
			    *core++ != (i == REACH_LEVELS - 1 ? '\0' : '+'))
				return "expected a35, a53, a57, a76, or two levels, "
				       "ENTRIES[/WAYS]+ENTRIES[/WAYS]";
		reach->core = &reach->custom;
	}
	return NULL;
}

static struct reach_entry *set_of(struct reach *reach, unsigned int cpu, unsigned int model,
				  unsigned int level, uint64_t va, uint64_t bytes)
{
	const struct geometry *geometry = &reach->core->level[level];
	struct reach_entry **entries = &reach->entries[cpu][model][level];

	if (!*entries)
		*entries = calloc(geometry->entries, sizeof(**entries));
	if (!*entries)
		abort();
	return *entries + va / bytes % (geometry->entries / geometry->ways) * geometry->ways;
}

static void insert(struct reach *reach, unsigned int cpu, unsigned int model, unsigned int level,
		   struct reach_entry entry)
{
	struct reach_entry *set = set_of(reach, cpu, model, level, entry.va, entry.bytes);
	struct reach_entry *victim = set;

	for (unsigned int i = 0; i < reach->core->level[level].ways; i++) {
		if (!set[i].bytes) {
			victim = &set[i];
			break;
		}
		if (set[i].used < victim->used)
			victim = &set[i];
	}
	entry.used = ++reach->clock;
	*victim = entry;
}

static struct reach_entry *find(struct reach *reach, const struct regime *regime, unsigned int cpu,
				unsigned int model, unsigned int level, uint16_t asid, uint64_t va)
{
	const struct geometry *geometry = &reach->core->level[level];
	bool one_set = geometry->ways == geometry->entries;

	/* An entry's size picks its set: look for each size that there is. */
	for (unsigned int l = LAST_LEVEL; l > 0 && l >= regime->start_level; l--) {
		for (unsigned int step = 0; step < 2; step++) {
			uint64_t bytes = level_bytes(regime, l) *
					 (step ? cont_entries(regime, l) : 1);
			struct reach_entry *set = set_of(reach, cpu, model, level, va, bytes);

			for (unsigned int i = 0; i < geometry->ways; i++)
				if (set[i].asid == asid && va - set[i].va < set[i].bytes &&
				    (one_set || set[i].bytes == bytes))
					return &set[i];
			if (one_set)
				return NULL;
		}
	}
	return NULL;
}

unsigned int reach_look_up(struct reach *reach, const struct regime *regime, unsigned int cpu,
			   unsigned int model, uint16_t asid, uint64_t va)
{
	for (unsigned int level = 0; level < REACH_LEVELS; level++) {
		struct reach_entry *entry = find(reach, regime, cpu, model, level, asid, va);

		if (!entry)
			continue;
		entry->used = ++reach->clock;
		for (unsigned int up = 0; up < level; up++)
			insert(reach, cpu, model, up, *entry);
		return level;
	}
	return REACH_LEVELS;
}

void reach_fill(struct reach *reach, unsigned int cpu, unsigned int model, uint16_t asid,
		uint64_t va, uint64_t bytes)
{
	for (unsigned int level = 0; level < REACH_LEVELS; level++)
		insert(reach, cpu, model, level,
		       (struct reach_entry) { .va = va & -bytes, .bytes = bytes, .asid = asid });
	reach->used[cpu] = true;
}

void reach_tlbi(struct reach *reach, unsigned int cpu, const struct tlbi *tlbi,
		const struct tlbi_target *target)
{
	/* Entries do not keep their level; what a hint lacks is for the rules. */
	for (unsigned int c = 0; c < MAX_VCPUS; c++) {
		if (!reach->used[c] || (tlbi->domain == DOMAIN_LOCAL && c != cpu))
			continue;
		for (unsigned int m = 0; m < REACH_MODELS; m++) {
			for (unsigned int level = 0; level < REACH_LEVELS; level++) {
				struct reach_entry *entries = reach->entries[c][m][level];

				for (unsigned int i = 0; i < reach->core->level[level].entries; i++)
					if (entries[i].bytes &&
					    tlbi_names(tlbi, target, entries[i].asid, false,
						       entries[i].va, entries[i].bytes, LAST_LEVEL, true))
						entries[i].bytes = 0;
			}
		}
		if (tlbi->scope == TLBI_ALL)
			reach->used[c] = false;
	}
}
