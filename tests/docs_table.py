"""Commands of the documents that are not run as they stand, with what is run instead and why that will do.

Everything else that ``docs_commands`` finds is run as it is. A line that is no longer in a document must go from here.
"""

from dataclasses import dataclass

#: Cells enough to see that a command does what it says; the whole study is run by tests/system/test_validate.py.
NARROW = "-m max -s full_cover.64k"


@dataclass(frozen=True)
class Instead:
    """What is run, its exit code, what it must print, and ``why``: who covers the rest."""

    script: str
    why: str
    prints: str = ""
    exits: int = 0


_NO_MUTANT = "kpv mutate patches/madvise-free-mthp --mutants tests/mutants --only 'no-such-*'"
_MUTATE = "the options are read; a campaign over some mutants is run by tests/system/test_mutate.py"
_CLEAN = "a cache of many cells takes seconds to look through; what goes is tried by tests/test_housekeeping.py"

_SHORT = "-k merged -m max -o free --size 64k --range 4m"

TABLE = {
    "make validate": Instead(
        "make -n validate",
        "runs for minutes; the same study is run whole by tests/system/test_validate.py",
        prints=".venv/bin/kpv validate 'patches/madvise-free-mthp/study.toml'",
    ),
    "make test": Instead("make -n test", "this is a part of it", prints=" --all "),
    "kpv validate docs/tutorial -k v2": Instead(
        "kpv validate docs/tutorial -k v2 -m max -s shared_swapin_clean.64k",
        "all of it takes a minute and a half; the scenarios that the study's claims are about are run above it",
    ),
    "kpv mutate patches/madvise-free-mthp --mutants tests/mutants": Instead(_NO_MUTANT, _MUTATE, exits=2),
    "kpv mutate patches/madvise-free-mthp --mutants tests/mutants --only 'contpte-*' --json mutants.json": Instead(
        f"{_NO_MUTANT} --json mutants.json", _MUTATE, exits=2
    ),
    "kpv mutate patches/madvise-free-mthp --mutants tests/mutants --all-checks --matrix docs/mutants.md": Instead(
        f"{_NO_MUTANT} --all-checks --matrix docs/mutants.md", _MUTATE, exits=2
    ),
    "kpv mutate patches/madvise-free-mthp --mutants tests/hardware-mutants": Instead(
        "kpv mutate patches/madvise-free-mthp --mutants tests/hardware-mutants --only 'no-such-*'", _MUTATE, exits=2
    ),
    "kpv mutate patches/madvise-free-mthp --mutants tests/mutants --only mprotect-old-is-clean -s '!random*'": Instead(
        "kpv mutate patches/madvise-free-mthp --mutants tests/mutants --only 'no-such-*' -s '!random*'",
        "every cell of a mutant that survives: two minutes",
        exits=2,
    ),
    "kpv fuzz docs/generator -m max --seed 100 -n 240": Instead(
        "kpv fuzz docs/generator -k no-such", "tests/system/test_fuzz.py finds the same bug", exits=2
    ),
    "kpv repeat patches/madvise-free-mthp -k merged -m max -m a57 --times 30 --json repeat.json": Instead(
        "kpv repeat patches/madvise-free-mthp -k merged -m max -s full_cover.64k --times 2 --json repeat.json",
        "half a minute a pass",
    ),
    "kpv repeat patches/madvise-free-mthp -k merged -m max -s 'race_*' -n 100": Instead(
        "kpv repeat patches/madvise-free-mthp -k merged -m max -s full_cover.64k -n 2", "half an hour"
    ),
    "kpv validate patches/madvise-free-mthp -m max-tlb -m a57-tlb": Instead(
        "kpv validate patches/madvise-free-mthp -k merged -m max-tlb -s full_cover.64k",
        "one cell of one machine; the study is run whole, these machines included, by tests/system/test_validate.py",
    ),
    "kpv validate patches/madvise-free-mthp/torture.toml --fresh": Instead(
        "kpv validate patches/madvise-free-mthp/torture.toml --fresh -m max-tlb -s full_cover.64k",
        "one cell: torture takes minutes and is no part of the tests",
    ),
    "kpv validate patches/madvise-free-mthp/torture.toml --fresh "
    "-s 'race_*' -s 'random*' -s 'pressure_*' -s 'forked_before_free*' -s 'swapped_*'": Instead(
        "kpv validate patches/madvise-free-mthp/torture.toml -m max-tlb -s 'swapped_out*.64k'",
        "a few cells: torture takes minutes and is no part of the tests",
    ),
    "kpv cost patches/madvise-free-mthp": Instead(
        f"kpv cost patches/madvise-free-mthp {_SHORT}",
        "counts for minutes; what is counted is tried by tests/system/test_cost.py",
        prints="cost.html",
    ),
    "kpv cost patches/madvise-free-mthp --table docs/cost-table.md": Instead(
        f"kpv cost patches/madvise-free-mthp {_SHORT} --table docs/cost-table.md && head -n 3 docs/cost-table.md",
        "as above",
        prints="cost.html",
    ),
    "kpv judge runs/20250101-120000-madvise-free-mthp-cost": Instead("kpv judge --help", "the run is the reader's"),
    ".venv/bin/kpv validate my-series": Instead(
        f".venv/bin/kpv validate my-series {NARROW}", "all of it takes a minute and a half; the same scenarios as ever"
    ),
    "kpv clean": Instead("KPV_CACHE=$HOME/cache kpv clean", _CLEAN, prints="would be removed"),
    "kpv clean --max-size 4 --work --runs runs": Instead(
        "KPV_CACHE=$HOME/cache kpv clean --max-size 4 --work --runs runs", _CLEAN, prints="would be removed"
    ),
    "kpv boot -k merged -m max -- lazyfree -r lazyfree.64k.full_cover": Instead(
        "kpv boot --help", "a command in a guest is run by tests/system/test_boot.py", prints="[-- COMMAND...]"
    ),
    "make KSRC=/path/to/kernel/source O=/path/to/output": Instead(
        'make -C guest-tests KSRC="$KPV_TEST_TREE" O="$HOME/out" "$HOME/out/lazyfree"',
        "the paths are the reader's; one program of them all",
    ),
    "sed -n 's/^# | \\{0,1\\}//p' log > replay.c": Instead(
        "printf '# | int a;\\nnoise\\n# |\\tint b;\\n' > log; "
        "sed -n 's/^# | \\{0,1\\}//p' log > replay.c; cat replay.c",
        "the log is the reader's",
        prints="int a;\n\tint b;",
    ),
}

#: For the shell of a guest: run there.
GUEST = {
    "echo +memory > /sys/fs/cgroup/cgroup.subtree_control; mkdir /sys/fs/cgroup/kpv",
    "for f in /sys/kernel/mm/transparent_hugepage/hugepages-*/enabled; do echo never > $f; done",
    "lazyfree -r lazyfree.64k.full_cover",
}
