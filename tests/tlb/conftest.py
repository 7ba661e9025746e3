"""The TLB model's C, compiled for this host and called without QEMU."""

import ctypes
import subprocess
from pathlib import Path

import pytest

from pipeline import resources

#: All of the plugin but what talks to QEMU and what writes JSON.
PARTS = ("asid", "blocks", "reach", "rules", "spans", "stale", "tables")
#: What plugins share of the architecture.
SHARED = ("decode", "regime")


@pytest.fixture(scope="session")
def core(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    sources = resources.folder("qemu") / "contpte-tlb"
    made = tmp_path_factory.mktemp("core") / "core.so"
    flags = ["-std=gnu11", "-O1", "-g", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror", "-Wno-sign-compare"]
    shared = sources.parent / "a64"
    folders = [sources, shared, sources.parent / "include", resources.folder("guest-tests")]
    subprocess.run(
        [
            *("cc", *flags, "-D_GNU_SOURCE", *(f"-I{folder}" for folder in folders), "-o", str(made)),
            *(str(Path(__file__).with_name("shim.c")), *(str(sources / f"{part}.c") for part in PARTS)),
            *(str(shared / f"{part}.c") for part in SHARED),
        ],
        check=True,
    )
    core = ctypes.CDLL(str(made))
    core.shim_store.argtypes = [ctypes.c_uint, ctypes.c_uint64, ctypes.c_bool]
    core.shim_store_by.argtypes = [ctypes.c_uint, ctypes.c_uint, ctypes.c_uint64, ctypes.c_bool]
    core.shim_pc.restype = ctypes.c_uint64
    core.shim_hardware.argtypes = [ctypes.c_uint, ctypes.c_uint64]
    core.shim_tlbi.argtypes = [ctypes.c_uint32, ctypes.c_uint64, ctypes.c_uint]
    core.shim_setup.argtypes = [ctypes.c_uint64]
    core.shim_load.restype = ctypes.c_uint64
    core.shim_pending.restype = ctypes.c_uint64
    core.shim_rule.restype = core.shim_hardware_of.restype = ctypes.c_char_p
    core.shim_walk.argtypes = [ctypes.c_uint64, ctypes.POINTER(ctypes.c_uint64), ctypes.POINTER(ctypes.c_uint)]
    core.shim_walk.restype = ctypes.c_bool
    return core
