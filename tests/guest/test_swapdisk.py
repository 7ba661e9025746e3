"""The swap disk that the host writes: what the kernel's swapon looks for in it."""

import struct

import pytest

from pipeline.guest import swapdisk


@pytest.mark.parametrize("page_size", [4096, 16384, 65536])
def test_the_signature_is_where_the_kernel_reads_it(tmp_path, page_size):
    disk = swapdisk.make(tmp_path / "swap", page_size)
    page = disk.read_bytes()[:page_size]
    assert page[-10:] == b"SWAPSPACE2"
    version, last_page, bad_pages = struct.unpack_from("<III", page, 1024)
    assert (version, bad_pages) == (1, 0)
    assert (last_page + 1) * page_size == swapdisk.SWAP_BYTES
    assert disk.stat().st_size == swapdisk.SWAP_BYTES + swapdisk.SCRATCH_BYTES


def test_the_disk_is_sparse(tmp_path):
    assert swapdisk.make(tmp_path / "swap", 4096).stat().st_blocks * 512 < 1 << 20
