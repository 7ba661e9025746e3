"""The names of what is counted, which study file, measurement and report share."""

from collections.abc import Mapping

#: What is done to a range of ``range_bytes`` that holds nothing but folios of ``folio_bytes``, and is measured.
OPERATIONS: Mapping[str, str] = {
    "free": "madvise(MADV_FREE) of the whole range, every page of which was written",
    "free-again": "the same, after a first madvise(MADV_FREE) and a write to every page",
    "write-after-free": "a write to every page after madvise(MADV_FREE): faults where the CPU does not set the "
    "access flag and the dirty state by itself",
    "read-after-free": "a read of every page after madvise(MADV_FREE)",
    "reclaim": "reclaim of the range after madvise(MADV_FREE), asked for by memory.reclaim",
    "fork": "fork() of a process with the range after madvise(MADV_FREE)",
    "exit": "exit of a process with the range after madvise(MADV_FREE)",
    "dirty-fork": 'fork() of a process with the range, written and not freed: what "fork" is compared with',
    "dirty-exit": 'exit of a process with the range, written and not freed: what "exit" is compared with',
}

#: What is counted in a sample. A count that cannot be had of this kernel is None, never 0.
COUNTS: Mapping[str, str] = {
    "instructions": "executed at EL1 for the task in the call, without interrupts and other tasks",
    "splits": "calls of the function that splits a folio",
    "lazyfree_marks": "calls of folio_mark_lazyfree()",
    "converts": "calls of contpte_convert(): a contiguous block taken apart or put together, with its TLB invalidation",
    "folds": "of which put together",
    "unfolds": "of which taken apart",
    "pte_stores": "64-bit words stored to page tables of the process, and of the one it forks",
    "tlbi_va": "TLBI of one address",
    "tlbi_range": "TLBI of a range of addresses (FEAT_TLBIRANGE)",
    "tlbi_asid": "TLBI of a whole address space",
    "tlbi_all": "TLBI of everything",
    "dsb": "DSB instructions",
    "isb": "ISB instructions",
    "atomics": "exclusive stores and LSE atomics: taking a lock, a reference, a bit of page flags",
    "page_table_locks": "page table locks taken: calls of the functions that map and lock a table of PTEs",
    "folio_locks": "folio locks given back, calls of folio_unlock(): what takes one is mostly inlined",
    "exceptions": "exceptions taken from EL0 to EL1: 1 for a system call, one for each fault",
}
