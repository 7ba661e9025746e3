"""A ring of bytes that guest programs write and the host reads: memory of an ivshmem device, a file here.

The guest's side is guest-tests/kpv_mailbox.h, which says why there is one. What a
test wrote is here at once, and stays when the guest's kernel dies.
"""

import mmap
from pathlib import Path

#: Bytes of the device's memory, and of its head before the ring.
SIZE = 0x40000
_RING = 0x1000
#: Index of the head's 64-bit words: bytes ever written by the guest, bytes ever read by us.
_WRITTEN, _READ = 0, 8
#: Its place on the guest's PCI bus.
SLOT = 0x10
#: Its folder in the guest's sysfs, and the variable that names it to a test program (guest-tests/kpv_serve.h).
DEVICE = f"/sys/bus/pci/devices/0000:00:{SLOT:02x}.0"
VARIABLE = "KPV_SERVE"


class Mailbox:
    """Makes the file that QEMU maps as well."""

    def __init__(self, path: Path) -> None:
        with path.open("wb+") as file:
            file.truncate(SIZE)
            self._map = mmap.mmap(file.fileno(), SIZE)
        self._view = memoryview(self._map)
        # In words, for each load and store to be one: the guest counts meanwhile.
        self._head = self._view[:_RING].cast("Q")
        self._ring = self._view[_RING:]

    def take(self) -> bytes:
        """What was written since the last call; makes room for as much."""
        read, written = self._head[_READ], self._head[_WRITTEN]
        size = len(self._ring)
        count = written - read
        if not 0 < count <= size:  # more than fits: nothing of our guest's making
            self._head[_READ] = written
            return b""
        at = read % size
        data = bytes(self._ring[at : at + count])
        data += self._ring[: count - len(data)]
        self._head[_READ] = written
        return data

    def close(self) -> None:
        for view in (self._head, self._ring, self._view):
            view.release()
        self._map.close()
