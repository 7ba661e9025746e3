"""The counter of the plugin qemu/cost, fed the blocks that a CPU would execute."""

import ctypes
import struct
import subprocess
from pathlib import Path

import pytest

from pipeline import resources
from pipeline.cost.counted import EVENTS

VECTORS = 0xFFFF800080010800
EL1_SYNC, EL1_IRQ, EL0_SYNC, EL0_IRQ = (VECTORS + offset for offset in (0x200, 0x280, 0x400, 0x480))
TEXT = 0xFFFF800080100000
USER = 0x400000
OTHER, CALL, RETURN, ERET = range(4)
NONE = len(EVENTS)
TASK, ANOTHER = 0xFFFF000001000000, 0xFFFF000002000000
ENTRY, SYSCALL, LEAF, SCHEDULE, HANDLER = range(5)
RAM_BASE = 0x40000000


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    qemu = resources.folder("qemu")
    made = tmp_path_factory.mktemp("counter") / "counter.so"
    folders = [qemu / "cost", qemu / "a64", qemu / "include", resources.folder("guest-tests")]
    sources = [Path(__file__).with_name("shim.c"), *(qemu / "cost" / f"{part}.c" for part in ("count", "pages"))]
    flags = ["-std=gnu11", "-O1", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror", "-Wno-sign-compare"]
    flags += ["-D_GNU_SOURCE", *(f"-I{folder}" for folder in folders)]
    subprocess.run(["cc", *flags, "-o", made, *sources], check=True)
    library = ctypes.CDLL(str(made))
    library.shim_begin.argtypes = library.shim_current.argtypes = [ctypes.c_uint64]
    library.shim_block.argtypes = [
        ctypes.c_uint64,
        ctypes.c_uint32,
        ctypes.c_uint32,
        *[ctypes.c_int] * 2,
        ctypes.c_uint64,
    ]
    library.shim_get.restype = library.shim_event.restype = library.shim_stores.restype = ctypes.c_uint64
    library.shim_node.restype = ctypes.c_int64
    library.shim_broken.restype = ctypes.c_char_p
    library.shim_stores.argtypes = [
        ctypes.c_char_p, *[ctypes.c_uint64] * 4, ctypes.POINTER(ctypes.c_uint64), ctypes.c_int,
        ctypes.POINTER(ctypes.c_uint64),
    ]  # fmt: skip
    return library


class Cpu:
    """Executes blocks for a task that is measured."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        library.shim_new(SCHEDULE)
        library.shim_begin(TASK)

    def run(self, pc: int, nr: int, function: int = ENTRY, leave: int = OTHER, event: int = NONE, elr: int = 0) -> None:
        self._library.shim_block(pc, nr, function, leave, event, elr)

    def switch(self, task: int) -> None:
        self._library.shim_current(task)

    def enter(self) -> None:
        """A system call, as far as its function."""
        self.run(USER, 3)
        self.run(EL0_SYNC, 5, ENTRY, CALL)
        self.run(TEXT, 4, SYSCALL)

    def __getattr__(self, name: str) -> int:
        names = ("instructions", "held_off", "interrupts", "switches", "exceptions", "strayed", "nr_nodes", "counts")
        return self._library.shim_get(names.index(name))

    def event(self, name: str) -> int:
        return self._library.shim_event(EVENTS.index(name))

    @property
    def broken(self) -> str:
        return self._library.shim_broken().decode()

    def stacks(self) -> dict[tuple[int, ...], tuple[int, int]]:
        """Call paths, as functions from the root, to (calls, instructions)."""
        found = {}
        for node in range(1, self.nr_nodes):
            path, at = [], node
            while at:
                path.append(self._library.shim_node(at, 1))
                at = self._library.shim_node(at, 0)
            found[tuple(path[::-1])] = (self._library.shim_node(node, 2), self._library.shim_node(node, 3))
        return found


@pytest.fixture
def cpu(library: ctypes.CDLL) -> Cpu:
    return Cpu(library)


def test_a_system_call_is_counted_in_the_kernel_only(cpu):
    cpu.enter()
    cpu.run(TEXT + 16, 2, SYSCALL, RETURN)
    cpu.run(EL0_SYNC + 20, 6, ENTRY, ERET)
    cpu.run(USER + 12, 100)
    assert (cpu.instructions, cpu.exceptions, cpu.held_off, cpu.broken) == (17, 1, 0, "")
    assert cpu.stacks() == {(ENTRY,): (1, 11), (ENTRY, SYSCALL): (1, 6)}


def test_calls_and_returns_make_the_stacks(cpu):
    cpu.enter()
    for _ in range(3):
        cpu.run(TEXT + 16, 2, SYSCALL, CALL)
        cpu.run(TEXT + 0x100, 7, LEAF, RETURN)
        cpu.run(TEXT + 24, 1, SYSCALL)
    assert cpu.stacks()[ENTRY, SYSCALL, LEAF] == (3, 21)
    assert cpu.stacks()[ENTRY, SYSCALL] == (1, 4 + 3 * 3)
    assert cpu.strayed == 0


def test_a_tail_call_takes_the_place_of_its_caller(cpu):
    cpu.enter()
    cpu.run(TEXT + 0x100, 7, LEAF, RETURN)
    cpu.run(EL0_SYNC + 20, 1, ENTRY)
    assert cpu.stacks() == {(ENTRY,): (1, 6), (ENTRY, SYSCALL): (1, 4), (ENTRY, LEAF): (1, 7)}


def test_a_loop_to_a_function_s_first_instruction_is_no_call(cpu):
    cpu.enter()
    for _ in range(5):
        cpu.run(TEXT, 4, SYSCALL)
    assert cpu.stacks()[ENTRY, SYSCALL] == (1, 24)


def test_an_interrupt_is_held_off_and_leaves_no_trace(cpu):
    cpu.enter()
    cpu.run(TEXT + 16, 2, SYSCALL, CALL, EVENTS.index("dsb"))
    # It comes between the call and the called function's first block.
    cpu.run(EL1_IRQ, 9, HANDLER, CALL)
    cpu.run(TEXT + 0x500, 50, HANDLER, RETURN, EVENTS.index("dsb"))
    cpu.run(EL1_IRQ + 36, 3, HANDLER, ERET)
    cpu.run(TEXT + 0x100, 7, LEAF, RETURN)
    cpu.run(TEXT + 24, 1, SYSCALL)
    assert (cpu.instructions, cpu.held_off, cpu.interrupts, cpu.event("dsb")) == (9 + 2 + 7 + 1, 62, 1, 1)
    assert cpu.stacks()[ENTRY, SYSCALL, LEAF] == (1, 7)
    assert not any(HANDLER in path for path in cpu.stacks())
    assert cpu.strayed == 0


def test_an_interrupt_in_an_interrupt_is_held_off_too(cpu):
    cpu.enter()
    cpu.run(EL1_IRQ, 9, HANDLER)
    cpu.run(EL1_IRQ, 9, HANDLER, ERET)
    cpu.run(TEXT + 0x500, 5, HANDLER, ERET)
    cpu.run(TEXT + 16, 2, SYSCALL)
    assert (cpu.instructions, cpu.held_off, cpu.interrupts) == (11, 23, 2)


def test_a_fault_in_an_interrupt_is_held_off_too(cpu):
    cpu.enter()
    cpu.run(EL1_IRQ, 9, HANDLER)
    cpu.run(EL1_SYNC, 8, HANDLER, ERET, NONE, EL1_IRQ + 4)
    cpu.run(EL1_IRQ + 4, 8, HANDLER, ERET)
    cpu.run(TEXT + 16, 2, SYSCALL)
    assert (cpu.instructions, cpu.held_off) == (11, 1 + 8 + 8)


def test_an_interrupt_of_the_program_is_no_part_of_a_call(cpu):
    cpu.run(USER, 3)
    cpu.run(EL0_IRQ, 9, HANDLER)
    cpu.run(TEXT + 0x500, 50, HANDLER, ERET)
    cpu.run(USER + 12, 3)
    cpu.enter()
    assert (cpu.instructions, cpu.held_off, cpu.interrupts, cpu.exceptions) == (9, 59, 1, 1)


def test_a_block_that_faults_is_counted_as_far_as_it_came(cpu):
    cpu.enter()
    cpu.run(TEXT + 16, 10, SYSCALL, OTHER, EVENTS.index("tlbi_va"))
    # The fourth instruction faults and is executed again afterwards.
    cpu.run(EL1_SYNC, 8, HANDLER, ERET, NONE, TEXT + 16 + 3 * 4)
    cpu.run(TEXT + 16 + 3 * 4, 7, SYSCALL, OTHER, EVENTS.index("tlbi_va"))
    assert cpu.instructions == 9 + 3 + 8 + 7
    assert cpu.event("tlbi_va") == 1
    assert cpu.stacks()[ENTRY, SYSCALL, HANDLER] == (1, 8)
    assert cpu.stacks()[ENTRY, SYSCALL] == (1, 4 + 3 + 7)


def test_another_task_and_the_way_to_it_are_held_off(cpu):
    cpu.enter()
    cpu.run(TEXT + 16, 2, SYSCALL, CALL)
    cpu.run(TEXT + 0x800, 20, SCHEDULE)
    cpu.switch(ANOTHER)
    cpu.run(TEXT + 0x500, 1000, HANDLER, CALL, EVENTS.index("isb"))
    cpu.run(USER, 5)
    cpu.run(EL0_SYNC, 30, ENTRY)
    assert not cpu.counts
    cpu.switch(TASK)
    cpu.run(TEXT + 0x850, 10, SCHEDULE, RETURN)
    cpu.run(TEXT + 24, 1, SYSCALL)
    assert (cpu.instructions, cpu.held_off, cpu.switches, cpu.event("isb")) == (12, 1060, 1, 0)
    assert cpu.stacks()[ENTRY, SYSCALL] == (1, 7)


def test_nothing_of_the_scheduler_is_counted_not_even_that_it_was_called(cpu):
    cpu.enter()
    cpu.run(TEXT + 16, 2, SYSCALL, CALL)
    cpu.run(TEXT + 0x800, 20, SCHEDULE, CALL)
    cpu.run(TEXT + 0x100, 7, LEAF, RETURN)
    assert cpu.stacks()[ENTRY, SYSCALL, SCHEDULE] == (0, 0)
    assert cpu.stacks()[ENTRY, SYSCALL, SCHEDULE, LEAF] == (0, 0)


def test_calls_that_an_exception_never_returned_from_are_forgotten_with_it(cpu):
    for _ in range(5000):
        cpu.run(USER, 3)
        cpu.run(EL0_SYNC, 5, ENTRY, CALL)
        cpu.run(TEXT, 4, SYSCALL, ERET)
    assert (cpu.exceptions, cpu.broken) == (5000, "")
    assert cpu.stacks()[ENTRY, SYSCALL] == (5000, 20000)


def test_a_return_to_where_nothing_was_called_is_counted_as_one(cpu):
    cpu.enter()
    cpu.run(TEXT + 16, 2, SYSCALL, RETURN)
    cpu.run(TEXT + 0x100, 7, LEAF)
    assert (cpu.strayed, cpu.instructions) == (1, 18)


def test_a_user_s_stack_pointer_is_no_task(cpu):
    cpu.enter()
    cpu.switch(0x7FFF0000)
    cpu.run(TEXT + 16, 2, SYSCALL)
    assert (cpu.instructions, cpu.switches) == (11, 0)


def test_a_task_that_is_not_known_is_told(library):
    library.shim_new(SCHEDULE)
    library.shim_begin(0)
    assert library.shim_broken() == b"the task that runs is not known"


def test_stores_to_the_tables_of_a_range_are_told_from_others(library):
    ram = bytearray(16 << 12)
    pages = {"pgd": 1, "pud": 2, "pmd": 3, "pte": 4, "pte of another range": 5, "data": 6}

    def point(table: str, index: int, to: str, bits: int = 3) -> None:
        struct.pack_into("<Q", ram, pages[table] * 4096 + index * 8, RAM_BASE + pages[to] * 4096 | bits)

    point("pgd", 0, "pud")
    point("pud", 1, "pmd")
    point("pmd", 0, "pte")
    point("pmd", 1, "pte of another range")
    stored = [pages["pte"] * 4096 + 8, pages["pmd"] * 4096, pages["pte of another range"] * 4096]
    stored += [pages["data"] * 4096, 1 << 40]
    offsets, tables = (ctypes.c_uint64 * len(stored))(*stored), ctypes.c_uint64()
    root = RAM_BASE + pages["pgd"] * 4096
    words = library.shim_stores(
        bytes(ram), len(ram), root, 1 << 30, 1 << 21, offsets, len(stored), ctypes.byref(tables)
    )
    assert (words, tables.value) == (2, 4)
