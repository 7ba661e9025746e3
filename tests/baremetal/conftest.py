"""Programs without an operating system, each a whole run of QEMU with the TLB model, in a fraction of a second."""

import functools
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline import resources
from pipeline.contpte.read import hash_name
from pipeline.guest import qemu
from pipeline.tlb.read import Follower, Seen

HERE = Path(__file__).parent
RAM_MIB = 256
CFLAGS = (
    *("-O1", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-nostdlib", "-static", "-fno-pic"),
    *("-mgeneral-regs-only", "-mstrict-align", "-fno-stack-protector", "-mno-outline-atomics"),
    "-Wl,--build-id=none,-z,max-page-size=65536,--no-warn-rwx-segments",
)
#: Log2 of the page size, and of the entries in a contiguous block of pages.
GRANULES = {"4k": (12, 16), "16k": (14, 128), "64k": (16, 32)}
#: QEMU's CPU model by our machine's name. Cortex-A57 has no 16K granule.
CPUS = {"max": "max,lpa2=off", "a57": "cortex-a57"}


@dataclass(frozen=True)
class Ran:
    """One run of all cases: what the model saw of each, by its name."""

    granule: str
    cpu: str
    start: Mapping[str, object]
    cases: Mapping[str, Seen]

    @property
    def block(self) -> int:
        """Entries of a contiguous block."""
        return GRANULES[self.granule][1]


def case_names() -> list[str]:
    """Every case of cases.c, in its order."""
    return re.findall(r"^CASE(?:_NEEDS)?\((\w+),", (HERE / "cases.c").read_text(), re.MULTILINE)


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("plugin")
    made = out / "contpte-tlb.so"
    subprocess.run(["make", "-s", "-C", str(resources.folder("qemu")), f"O={out}", str(made)], check=True)
    return made


@pytest.fixture(scope="session")
def run(plugin: Path, tmp_path_factory: pytest.TempPathFactory):
    """Runs all cases with a granule on a CPU, once a session for each set of arguments."""

    @functools.cache
    def go(granule: str, cpu: str, options: str = "") -> Ran:
        folder = tmp_path_factory.mktemp(f"{granule}-{cpu}")
        image, ram, out = folder / "image", folder / "ram", folder / "model"
        marks = resources.folder("guest-tests")
        subprocess.run(
            [
                *("aarch64-linux-gnu-gcc", *CFLAGS, f"-DPAGE_SHIFT={GRANULES[granule][0]}", f"-I{marks}"),
                *("-T", str(HERE / "link.ld"), "-o", str(image)),
                *(str(HERE / name) for name in ("start.S", "machine.c", "cases.c")),
            ],
            check=True,
        )
        loading = f"{plugin},out={out},ram={ram},size={RAM_MIB << 20}{options}"
        done = subprocess.run(
            [
                *(qemu.find(), "-nodefaults", "-no-user-config", "-display", "none"),
                *("-object", f"memory-backend-file,id=ram,size={RAM_MIB}M,mem-path={ram},share=on"),
                *("-machine", "virt,gic-version=3,memory-backend=ram", "-m", f"{RAM_MIB}M", "-smp", "2"),
                *("-accel", "tcg,thread=multi", "-cpu", CPUS[cpu], "-kernel", str(image)),
                *("-semihosting-config", "enable=on,target=native", "-plugin", loading),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        os.unlink(ram)
        assert (done.returncode, done.stderr) == (0, "")
        follower = Follower(out)
        names = {hash_name(name): name for name in case_names()}
        cases = {names[test]: seen for test, seen in follower.rest().items()}
        return Ran(granule, cpu, follower.start, cases)

    return go
