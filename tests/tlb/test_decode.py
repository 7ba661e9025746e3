"""Instructions and operands, as the assembler and Linux's macros make them."""

import ctypes
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

OTHER, ERET, TLBI, DSB, ISB, TTBR, TCR, SP_EL0, STORE, UPDATE = range(10)
LOCAL, INNER, OUTER, SYSTEM = range(4)
ALL, ASID, VA, VA_ANY = range(4)

#: Assembly and the kind of instruction that it is to the model.
INSTRUCTIONS = {
    "eret": ERET,
    "eretaa": ERET,
    "ret": OTHER,
    "dsb ish": DSB,
    "dsb nshst": DSB,
    "dsb sy": DSB,
    "dmb ish": OTHER,
    "isb": ISB,
    "hint #0x5b": OTHER,
    "msr ttbr0_el1, x3": TTBR,
    "msr ttbr1_el1, x30": TTBR,
    "mrs x1, ttbr0_el1": OTHER,
    "msr tcr_el1, x1": TCR,
    "msr sp_el0, x2": SP_EL0,
    "tlbi vmalle1": TLBI,
    "tlbi alle1": OTHER,  # of EL2's guests
    "tlbi vae1is, x1": TLBI,
    "dc zva, x1": OTHER,
    "at s1e1r, x1": OTHER,
    "str x1, [x2]": STORE,
    "str x1, [x2, #8]!": STORE,
    "str x1, [x2], #8": STORE,
    "str x1, [x2, x3, lsl #3]": STORE,
    "stur x1, [x2, #-8]": STORE,
    "sttr x1, [x2]": STORE,
    "stp x1, x2, [x3, #16]": STORE,
    "stnp x1, x2, [x3]": STORE,
    "stlr x1, [x2]": STORE,
    "stlur x1, [x2, #8]": STORE,
    "str x1, [sp, #8]": OTHER,
    "stp x29, x30, [sp, #-16]!": OTHER,
    "str w1, [x2]": OTHER,
    "strb w1, [x2]": OTHER,
    "stp w1, w2, [x3]": OTHER,
    "str q1, [x2]": OTHER,
    "str d1, [x2]": OTHER,
    "ldr x1, [x2]": OTHER,
    "ldp x1, x2, [x3]": OTHER,
    "ldxr x1, [x2]": OTHER,
    "ldar x1, [x2]": OTHER,
    "prfm pldl1keep, [x2]": OTHER,
    "stxr w1, x2, [x3]": UPDATE,
    "stlxr w1, x2, [x3]": UPDATE,
    "stxp w1, x2, x4, [x3]": UPDATE,
    "stxr w1, w2, [x3]": OTHER,
    "cas x1, x2, [x3]": UPDATE,
    "casal x1, x2, [x3]": UPDATE,
    "casp x0, x1, x2, x3, [x4]": UPDATE,
    "swpal x1, x2, [x3]": UPDATE,
    "ldset x1, x2, [x3]": UPDATE,
    "stclr x1, [x2]": UPDATE,
    "swp w1, w2, [x3]": OTHER,
}


class Target(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_uint32) for name in ("scope", "domain", "range", "last_level", "rt", "asid")),
        ("other_granule", ctypes.c_uint32),
        ("level", ctypes.c_int32),
        ("va", ctypes.c_uint64),
        ("bytes", ctypes.c_uint64),
    ]


def assemble(folder: Path, lines: list[str]) -> list[int]:
    source, made, flat = folder / "s.s", folder / "s.o", folder / "s.bin"
    source.write_text("\n".join(lines) + "\n")
    prefix = "aarch64-linux-gnu-"
    subprocess.run([f"{prefix}as", "-march=armv8.5-a", "-o", str(made), str(source)], check=True)
    subprocess.run([f"{prefix}objcopy", "-O", "binary", str(made), str(flat)], check=True)
    data = flat.read_bytes()
    return [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 4)]


def target(core, insn: int, operand: int, page_shift: int) -> Target:
    found = Target()
    core.shim_target(insn, ctypes.c_uint64(operand), page_shift, ctypes.byref(found))
    return found


def test_kinds_of_instructions(core, tmp_path):
    words = assemble(tmp_path, list(INSTRUCTIONS))
    kinds = {text: core.shim_kind(word) for text, word in zip(INSTRUCTIONS, words, strict=True)}
    assert kinds == INSTRUCTIONS


def test_every_form_of_tlbi(core, tmp_path):
    scopes = {"vmalle1": ALL, "aside1": ASID, "vae1": VA, "vale1": VA, "vaae1": VA_ANY, "vaale1": VA_ANY}
    domains = {"": LOCAL, "is": INNER, "os": OUTER}
    wanted = {}
    for name, scope in scopes.items():
        for suffix, domain in domains.items():
            operand = "" if scope == ALL else ", x7"
            last = name in ("vale1", "vaale1")
            wanted[f"tlbi {name}{suffix}{operand}"] = (scope, domain, 0, last, 31 if scope == ALL else 7)
            if scope in (VA, VA_ANY):
                wanted[f"tlbi r{name}{suffix}, x7"] = (scope, domain, 1, last, 7)
    words = assemble(tmp_path, list(wanted))
    for (text, want), word in zip(wanted.items(), words, strict=True):
        assert core.shim_kind(word) == TLBI, text
        found = target(core, word, 0, 12)
        assert (found.scope, found.domain, found.range, found.last_level, found.rt) == want, text


VALE1IS, RVALE1IS = 0xD50883A7, 0xD50882A7


@given(
    page=st.integers(0, (1 << 36) - 1),
    asid=st.integers(0, 0xFFFF),
    level=st.sampled_from([0, 1, 2, 3]),
    shift=st.sampled_from([12, 14, 16]),
)
def test_an_operand_of_one_address(core, page, asid, level, shift):
    """__TLBI_VADDR() and __tlbi_level() of arch/arm64/include/asm/tlbflush.h."""
    va = page << shift & (1 << 48) - 1
    operand = va >> 12 | asid << 48
    if level:
        operand |= {12: 1, 14: 2, 16: 3}[shift] << 46 | level << 44
    found = target(core, VALE1IS, operand, shift)
    assert (found.va, found.bytes, found.asid, found.level) == (va, 1 << shift, asid, level or -1)
    assert not found.other_granule


@given(
    page=st.integers(0, (1 << 32) - 1),
    asid=st.integers(0, 0xFFFF),
    level=st.sampled_from([0, 1, 2, 3]),
    shift=st.sampled_from([12, 14, 16]),
    pages=st.integers(2, 1 << 21).map(lambda n: n & ~1),
)
def test_operands_of_a_range_cover_it_and_no_more(core, page, asid, level, shift, pages):
    """__flush_tlb_range_op(): from scale 3 down, the largest number that fits at each."""
    at = start = page << shift & (1 << 47) - 1
    left = pages
    for scale in (3, 2, 1, 0):
        num = (min(left, 32 << (5 * scale + 1)) >> (5 * scale + 1)) - 1
        if num < 0:
            continue
        operand = at >> shift | level << 37 | num << 39 | scale << 44 | {12: 1, 14: 2, 16: 3}[shift] << 46 | asid << 48
        found = target(core, RVALE1IS, operand, shift)
        assert (found.va, found.asid, found.level) == (at, asid, level or -1)
        assert not found.other_granule
        at += found.bytes
        left -= found.bytes >> shift
    assert at == start + (pages << shift) - (left << shift)
    assert left == 0 or pages > 1 << 21


@pytest.mark.parametrize("shift", [12, 14, 16])
@pytest.mark.parametrize("granule", [1, 2, 3])
def test_an_operand_for_another_granule_promises_nothing(core, shift, granule):
    own = {12: 1, 14: 2, 16: 3}[shift]
    assert bool(target(core, RVALE1IS, granule << 46, shift).other_granule) == (granule != own)
    assert bool(target(core, VALE1IS, granule << 46 | 3 << 44, shift).other_granule) == (granule != own)


def test_kernel_addresses_are_no_user_addresses(core):
    operand = 0xFFFF800012345000 >> 12 & (1 << 44) - 1
    assert target(core, VALE1IS, operand, 12).va == 0xFFFF800012345000
