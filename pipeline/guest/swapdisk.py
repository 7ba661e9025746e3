"""The guest's second swap device: a sparse file on the host with a swap signature, which tests turn on.

zram is read back without the swap cache (SWP_SYNCHRONOUS_IO); a disk is read
through it, and a page that was read back keeps its slot there.
"""

import struct
from pathlib import Path

#: How the guest knows the disk, whatever else it has: /sys/block/vda/serial.
SERIAL = "kpv-swap"
#: Where it is in the guest: the first virtio disk of the command line.
NAME = "vda"
SWAP_BYTES = 256 << 20
#: Behind the swap area: room for direct I/O, which tests read into pinned pages.
SCRATCH_BYTES = 16 << 20


def make(path: Path, page_size: int) -> Path:
    """Write the disk for a kernel with pages of ``page_size`` bytes; sparse, it takes one page of the host.

    The first page is union swap_header of include/linux/swap.h, as mkswap(8) writes
    it: at byte 1024 the version, the last page of the area and the number of bad
    pages (little endian, 32 bits each), at the end of the page the magic.
    """
    magic = b"SWAPSPACE2"
    page = bytearray(page_size)
    struct.pack_into("<III", page, 1024, 1, SWAP_BYTES // page_size - 1, 0)
    page[-len(magic) :] = magic
    with path.open("wb") as file:
        file.write(page)
        file.truncate(SWAP_BYTES + SCRATCH_BYTES)
    return path
