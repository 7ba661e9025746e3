"""What a booted guest must be before any of its cells may be judged.

Everything is measured in the guest: the configuration from /proc/config.gz,
the build-id from /sys/kernel/notes, the page size, the CPU's features, swap.
"""

import gzip
import re
import zlib
from collections.abc import Mapping

from pipeline.guest import swapdisk
from pipeline.kernel import kconfig
from pipeline.observation import Need

#: Printed by arch/arm64/kernel/cpufeature.c when FEAT_HAFDBS is used.
HARDWARE_DBM = "Hardware dirty bit management"
NT_GNU_BUILD_ID = 3
#: <linux/auxvec.h>
AT_PAGESZ = 6


def build_id(notes: bytes) -> str:
    """The GNU build-id in an ELF note section (ELF gABI, "Note Section"), as hex; "" if there is none."""
    at = 0
    while at + 12 <= len(notes):
        name_size, desc_size, kind = (int.from_bytes(notes[at + i : at + i + 4], "little") for i in (0, 4, 8))
        name_at = at + 12
        desc_at = name_at + (name_size + 3) // 4 * 4
        if kind == NT_GNU_BUILD_ID and notes[name_at : name_at + name_size].rstrip(b"\0") == b"GNU":
            return notes[desc_at : desc_at + desc_size].hex()
        at = desc_at + (desc_size + 3) // 4 * 4
    return ""


def config_text(config_gz: bytes) -> str:
    """/proc/config.gz as text; "" where it is no gzip file."""
    try:
        return gzip.decompress(config_gz).decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError):
        return ""


def page_size(auxv: bytes) -> str:
    """AT_PAGESZ of an auxiliary vector (bytes, as text), "" where it has none."""
    words = [int.from_bytes(auxv[at : at + 8], "little") for at in range(0, len(auxv) - 7, 8)]
    return next((str(value) for kind, value in zip(words[::2], words[1::2], strict=False) if kind == AT_PAGESZ), "")


def swap(text: str) -> str:
    """The devices in /proc/swaps, with blanks between."""
    return " ".join(line.split()[0] for line in text.splitlines()[1:] if line.strip())


def swap_disk(serial: str, sectors: str) -> str:
    """The swap disk that tests may turn on, from /sys/block/.../serial and size (512-byte sectors); "" if none."""
    if serial.strip() != swapdisk.SERIAL or not sectors.strip().isdecimal():
        return ""
    return f"{swapdisk.NAME}, {int(sectors) >> 11} MiB"


def cpus(text: str) -> int:
    """How many CPUs a list such as "0-1,3" names (Documentation/admin-guide/cputopology.rst); 0 where it is none."""
    ranges = [re.fullmatch(r"(\d+)(?:-(\d+))?", part) for part in text.strip().split(",")]
    if not all(ranges):
        return 0
    return sum(int(found[2] or found[1]) - int(found[1]) + 1 for found in ranges if found)


def measure(
    *,
    config_gz: bytes,
    notes: bytes,
    facts: Mapping[str, str],
    dmesg: str,
    requested: kconfig.Requested,
    wanted_build_id: str,
    page_size: int,
    hardware_dbm: bool,
) -> list[Need]:
    """Each precondition of a boot with what was wanted and what was found.

    ``facts`` holds ``page_size`` (bytes), ``swap`` (the devices of /proc/swaps: zram
    alone until a test turns the disk on) and ``swap_disk``, see swap_disk().
    """
    config = config_text(config_gz)
    needs = [
        Need(what="build_id", ok=build_id(notes) == wanted_build_id, want=wanted_build_id, got=build_id(notes)),
        Need(
            what="page_size",
            ok=facts.get("page_size") == str(page_size),
            want=str(page_size),
            got=facts.get("page_size", ""),
        ),
        Need(what="swap", ok=facts.get("swap") == "/dev/zram0", want="/dev/zram0", got=facts.get("swap", "")),
        Need(what="swap_disk", ok=bool(facts.get("swap_disk")), want="a disk", got=facts.get("swap_disk", "")),
        Need(
            what="hardware_dirty_bit",
            ok=(HARDWARE_DBM in dmesg) == hardware_dbm,
            want="used" if hardware_dbm else "not used",
            got="used" if HARDWARE_DBM in dmesg else "not used",
        ),
    ]
    if not config:
        return [*needs, Need(what="config", ok=False, want="/proc/config.gz", got="unreadable")]
    missing = kconfig.verify(requested, config, None)
    if missing:
        return needs + [Need(what=f"config {m.option}", ok=False, want=m.wanted, got=m.got) for m in missing]
    return [*needs, Need(what="config", ok=True, want=f"{len(requested)} options", got=f"{len(requested)} options")]
