"""The translation regime of EL0 by its control registers: granule, size of addresses, where the tables begin."""

from dataclasses import dataclass

from pipeline.contpte.descriptor import ADDRESS_BITS, GRANULES, LEVELS, Granule
from pipeline.errors import UserError

#: TCR_EL1 (Arm ARM, "TCR_EL1, Translation Control Register (EL1)").
_EPD0 = 1 << 7
_A1 = 1 << 22
_AS = 1 << 36
_HA = 1 << 39
_HD = 1 << 40
_DS = 1 << 59
_TG0 = {0: "4k", 1: "64k", 2: "16k"}
_IPS_52_BITS = 6
#: T0SZ without FEAT_TTST and FEAT_LVA: 25 to 48 bits of virtual address.
_T0SZ = range(16, 40)


class Unsupported(UserError):
    """Tables of a kind that this model does not read, e.g. of 52-bit addresses."""


@dataclass(frozen=True)
class Regime:
    """Stage 1 translation through TTBR0_EL1.

    ``root``: physical address of the first table. ``hardware_af``,
    ``hardware_dirty``: whether the CPU that these registers are of updates
    access flag and dirty state by itself (TCR_EL1.HA, HD; FEAT_HAFDBS).
    """

    granule: Granule
    va_bits: int
    root: int
    asid: int
    hardware_af: bool
    hardware_dirty: bool

    @property
    def top(self) -> int:
        """The level at which a walk begins."""
        stride = self.granule.stride
        return LEVELS - (self.va_bits - self.granule.page_shift + stride - 1) // stride

    def entries(self, level: int) -> int:
        """Entries in a table of a level; fewer at the top."""
        return 1 << min(self.granule.stride, self.va_bits - self.granule.shift(level))


def of(*, ttbr0: int, ttbr1: int, tcr: int) -> Regime:
    """The regime that the registers set up. Raises Unsupported, which names the field."""
    if tcr & _EPD0:
        raise Unsupported("TCR_EL1.EPD0 is set: this CPU walks no tables through TTBR0_EL1")
    if tcr & _DS:
        raise Unsupported(
            "TCR_EL1.DS is set: descriptors hold 52-bit addresses (LPA2), which this model does not read",
            hint='run on a machine without LPA2, e.g. cpu = "max,lpa2=off", or build with CONFIG_ARM64_VA_BITS_48',
        )
    tg0 = tcr >> 14 & 3
    if tg0 not in _TG0:
        raise Unsupported(f"TCR_EL1.TG0 is {tg0:#04b}, which is reserved")
    granule, t0sz = GRANULES[_TG0[tg0]], tcr & 63
    if t0sz not in _T0SZ:
        raise Unsupported(
            f"TCR_EL1.T0SZ is {t0sz}: {64 - t0sz}-bit virtual addresses, this model reads 25 to 48 bits",
            hint="build the kernel with CONFIG_ARM64_VA_BITS_48",
        )
    if tcr >> 32 & 7 == _IPS_52_BITS and ttbr0 >> 2 & 15:
        raise Unsupported(f"TTBR0_EL1 {ttbr0:#x} is a 52-bit physical address, this model reads 48 bits")
    asid = (ttbr1 if tcr & _A1 else ttbr0) >> 48
    return Regime(
        granule=granule,
        va_bits=64 - t0sz,
        # Bit 0 is CnP.
        root=ttbr0 & ((1 << ADDRESS_BITS) - 1) & ~1,
        asid=asid if tcr & _AS else asid & 0xFF,
        hardware_af=bool(tcr & _HA),
        # HD means nothing without HA.
        hardware_dirty=bool(tcr & _HA) and bool(tcr & _HD),
    )
