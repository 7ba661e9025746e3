"""The compiler and its companions: found, and told which versions they are."""

import functools
import platform
import shutil
from dataclasses import dataclass

from pipeline.errors import InfraError
from pipeline.kernel.process import run

_CROSS = "aarch64-linux-gnu-"
#: Program -> Debian package, of what every arm64 kernel build runs.
PACKAGES = {
    "make": "make",
    "gcc": "gcc",
    "flex": "flex",
    "bison": "bison",
    "bc": "bc",
    "perl": "perl",
    "git": "git",
    "tar": "tar",
    "xz": "xz-utils",
    "cp": "coreutils",
    "ccache": "ccache",
}


class MissingTool(InfraError):
    """Programs are not installed; ``packages`` are those that bring them."""

    def __init__(self, tools: dict[str, str]) -> None:
        self.packages = tuple(dict.fromkeys(tools.values()))
        super().__init__(
            f"needed to build a kernel, but not found in PATH: {', '.join(tools)}",
            hint=f"sudo apt-get install --no-install-recommends {' '.join(self.packages)}",
        )


@dataclass(frozen=True)
class Toolchain:
    """``prefix``: CROSS_COMPILE, "" for the native compiler of an arm64 host. Versions: first lines of --version."""

    prefix: str
    compiler: str
    linker: str
    host_compiler: str

    @property
    def make_args(self) -> tuple[str, ...]:
        """What every make of a kernel gets; part of the compile commands, so kbuild sees a change of it."""
        return (
            "ARCH=arm64",
            f"CROSS_COMPILE={self.prefix}",
            f"CC=ccache {self.prefix}gcc",
            "HOSTCC=ccache gcc",
        )

    def identity(self) -> dict[str, str]:
        """The part of a kernel's key: another compiler makes another kernel."""
        return {"compiler": self.compiler, "linker": self.linker, "host compiler": self.host_compiler}


def find() -> Toolchain:
    """The toolchain of this machine. Raises MissingTool with every missing program at once."""
    return _find(platform.machine(), *(shutil.which(tool) or "" for tool in sorted(_needed(platform.machine()))))


def _needed(machine: str) -> dict[str, str]:
    if machine in ("aarch64", "arm64"):
        return PACKAGES | {"ld": "binutils"}
    return PACKAGES | {f"{_CROSS}gcc": "gcc-aarch64-linux-gnu", f"{_CROSS}ld": "binutils-aarch64-linux-gnu"}


@functools.cache
def _find(machine: str, *found: str) -> Toolchain:
    needed = _needed(machine)
    missing = {tool: needed[tool] for tool, path in zip(sorted(needed), found, strict=True) if not path}
    if missing:
        raise MissingTool(missing)
    prefix = "" if machine in ("aarch64", "arm64") else _CROSS
    return Toolchain(prefix, _version(f"{prefix}gcc"), _version(f"{prefix}ld"), _version("gcc"))


def _version(tool: str) -> str:
    said = run([tool, "--version"], what=f"ask {tool} for its version").stdout.decode(errors="replace")
    return said.splitlines()[0].strip() if said else tool
