"""What the control registers of a CPU say of its tables, and what is refused by name."""

import pytest

from pipeline.contpte import regime
from pipeline.contpte.regime import Unsupported
from tests.contpte import builders

#: As read in a test's process on a booted 6.12 with 4K pages.
MAX = {"ttbr0": 0x43FD_B001, "ttbr1": 0x0041_0000_4080_4001, "tcr": 0x0100_01B5_B550_3510}
A57 = {"ttbr0": 0x4467_9000, "ttbr1": 0x0045_0000_4080_4000, "tcr": 0x0000_0034_B550_3510}


def of(granule: str = "4k", **changes) -> regime.Regime:
    registers = {"ttbr0": 0x4000_0000, "ttbr1": 0, "tcr": builders.tcr(granule)} | changes
    return regime.of(**registers)


@pytest.mark.parametrize(
    ("granule", "va_bits", "top", "entries"),
    [
        ("4k", 48, 0, 512),
        ("4k", 39, 1, 512),
        ("4k", 42, 0, 8),
        ("16k", 48, 0, 2),
        ("16k", 47, 1, 2048),
        ("16k", 36, 2, 2048),
        ("64k", 48, 1, 64),
        ("64k", 42, 2, 8192),
    ],
)
def test_levels_follow_from_granule_and_address_size(granule, va_bits, top, entries):
    found = of(tcr=builders.tcr(granule, va_bits=va_bits))
    assert (found.granule.name, found.va_bits, found.top, found.entries(found.top)) == (granule, va_bits, top, entries)


@pytest.mark.parametrize(
    ("registers", "root", "asid", "hardware"), [(MAX, 0x43FD_B000, 0x41, True), (A57, 0x4467_9000, 0x45, False)]
)
def test_registers_of_a_running_kernel(registers, root, asid, hardware):
    found = regime.of(**registers)
    assert (found.granule.name, found.va_bits, found.root, found.asid) == ("4k", 48, root, asid)
    assert (found.hardware_af, found.hardware_dirty) == (hardware, hardware)


@pytest.mark.parametrize("hardware", [True, False])
def test_hardware_updates_are_told(hardware):
    found = of(tcr=builders.tcr("4k", hardware=hardware))
    assert (found.hardware_af, found.hardware_dirty) == (hardware, hardware)


def test_dirty_management_without_the_access_flags_is_none():
    assert not of(tcr=builders.tcr("4k", hardware=False) | builders.HD).hardware_dirty


def test_the_asid_is_in_the_register_that_a1_names():
    registers = {"ttbr0": 0x0007 << 48 | 0x4000_0000, "ttbr1": 0x0109 << 48}
    assert of(**registers).asid == 0x109
    assert of(**registers, tcr=builders.tcr("4k") & ~builders.A1).asid == 7
    assert of(**registers, tcr=builders.tcr("4k") & ~builders.AS).asid == 9


@pytest.mark.parametrize(
    ("bits", "word"),
    [
        (1 << 59, "LPA2"),
        (1 << 7, "EPD0"),
        (3 << 14, "TG0"),
    ],
)
def test_what_is_not_modelled_is_refused_by_name(bits, word):
    with pytest.raises(Unsupported, match=word):
        of(tcr=builders.tcr("4k") | bits)


@pytest.mark.parametrize("va_bits", [49, 52, 24])
def test_other_address_sizes_are_refused(va_bits):
    with pytest.raises(Unsupported, match=f"{va_bits}-bit virtual addresses"):
        of(tcr=builders.tcr("4k", va_bits=va_bits))


def test_a_52_bit_address_of_the_first_table_is_refused_not_cut():
    tcr = builders.tcr("64k") & ~(7 << 32) | 6 << 32
    assert of(tcr=tcr).root == 0x4000_0000
    with pytest.raises(Unsupported, match="52-bit physical"):
        of(tcr=tcr, ttbr0=0x4000_0000 | 1 << 2)
