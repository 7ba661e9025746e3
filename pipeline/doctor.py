"""What this machine has and lacks, as data: the core of ``kpv doctor``."""

import importlib.metadata
import os
import platform
import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from pipeline import packages, resources
from pipeline.errors import Exit, InfraError
from pipeline.host import Host, measure
from pipeline.packages import Package, Presence, Where

GIB = 1 << 30

#: 3.2 GiB were held after the first study and the system tests (6.12: the source tree, an object tree a kernel, the
#: store); ccache may grow to 5 GiB more.
CACHE_BYTES = 8 * GIB
#: The RAM of a guest is a file of 1 GiB in /dev/shm; two machines may run at a time.
SHM_BYTES = 2 * GIB
#: Linking vmlinux with DWARF beside one guest; a machine sold with 4 GiB reports somewhat less.
MEMORY_BYTES = int(3.5 * GIB)
#: The first QEMU whose plugins can read registers, which the TLB-model plugin does at every TLBI.
QEMU_WITH_PLUGIN_REGISTERS = "9.0"

HERE = Where()


class Status(StrEnum):
    OK = "ok"
    MISSING = "missing"
    TOO_OLD = "too-old"
    OPTIONAL = "optional"  # absent or scarce, and kpv works without it


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing looked at. ``fix``: a command, or what to do where no command helps; empty when ok."""

    what: str
    status: Status
    found: str
    wanted: str
    why: str = ""
    fix: str = ""


def examine(*, cache: Path, host: Host | None = None, where: Where = HERE) -> tuple[Finding, ...]:
    """Look at everything kpv needs of this machine.

    ``cache`` is the folder whose disk holds the store. Raises InfraError when
    setup/packages.txt cannot be read.
    """
    host = host or measure(cache, root=where.root)
    return (
        *(_package(package, host, where) for package in packages.read()),
        *_plugins(where),
        _interpreter(),
        *_libraries(),
        *_room(host, cache),
    )


def broken(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Those that keep kpv from working."""
    return tuple(f for f in findings if f.status in {Status.MISSING, Status.TOO_OLD})


def exit_code(findings: Iterable[Finding]) -> Exit:
    """Exit.PASS when nothing is broken, else Exit.INFRA."""
    return Exit.INFRA if broken(findings) else Exit.PASS


def mend(findings: Iterable[Finding], *, root: bool | None = None) -> str:
    """The one command that mends whatever a command can mend, and who has to run it; ``""`` when there is none."""
    root = os.geteuid() == 0 if root is None else root
    script = shlex.quote(str(resources.folder("setup") / "bootstrap.sh"))
    lacking = {f.what for f in broken(findings)}
    if lacking & {p.name for p in packages.read()}:
        return f"sh {script}" if root else f"ask an administrator to run: sudo sh {script} --packages"
    if any(what.startswith("python: ") for what in lacking):
        return f"sh {script}"
    return ""


def report(findings: Sequence[Finding]) -> dict[str, object]:
    """A JSON-ready object: ``ok``, ``findings`` and ``mend``."""
    return {"ok": not broken(findings), "findings": [asdict(f) for f in findings], "mend": mend(findings)}


def _package(package: Package, host: Host, where: Where) -> Finding:
    presence, found = packages.look(package, where)
    status = Status(presence.value)
    required = package.need == "required" or (package.need == "debian" and host.codename)
    if presence is not Presence.OK and not required:
        status = Status.OPTIONAL
    fix = packages.install_command(package, codename=host.codename, sudo="" if host.root else "sudo ")
    return Finding(
        what=package.name,
        status=status,
        found=found,
        wanted=package.wanted,
        why=package.why,
        fix="" if presence is Presence.OK else fix,
    )


def _plugins(where: Where) -> list[Finding]:
    qemu = shutil.which("qemu-system-aarch64", path=where.path)
    version = packages.version_of(qemu) if qemu else ""
    if not version or packages.at_least(version, QEMU_WITH_PLUGIN_REGISTERS):
        return []  # an absent QEMU is a finding of its own already
    return [
        Finding(
            what="qemu plugins",
            status=Status.OPTIONAL,
            found=version,
            wanted=f">= {QEMU_WITH_PLUGIN_REGISTERS}",
            why="the TLB-model plugin reads registers",
            fix="install a later qemu-system-arm",
        )
    ]


def _interpreter() -> Finding:
    enough = sys.version_info >= (3, 11)
    return Finding(
        what="python: interpreter",
        status=Status.OK if enough else Status.TOO_OLD,
        found=platform.python_version(),
        wanted=">= 3.11",
        why="tomllib, StrEnum",
        fix="" if enough else "make setup KPV_PYTHON=/path/to/a/later/python3",
    )


def _libraries() -> list[Finding]:
    """The Python libraries that kpv's own metadata asks for."""
    try:
        required = importlib.metadata.requires("kpv") or []
    except importlib.metadata.PackageNotFoundError:
        missing = Status.MISSING
        return [Finding(what="python: kpv", status=missing, found="not installed", wanted="kpv", fix="make setup")]
    return [_library(line) for line in required if "extra ==" not in line]


def _library(requirement: str) -> Finding:
    """A requirement as our pyproject.toml writes them: a name, and one ``>=`` or nothing."""
    read = re.fullmatch(r"([\w.-]+)(?:>=([\d.]+))?", requirement.replace(" ", ""))
    if read is None:
        raise InfraError(f"requirement of kpv not understood: {requirement!r}; expected NAME or NAME>=VERSION")
    name, minimum = read[1], read[2] or "0"
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        status, found = Status.MISSING, "not installed"
    else:
        status = Status.OK if packages.at_least(found, minimum) else Status.TOO_OLD
    return Finding(
        what=f"python: {name}",
        status=status,
        found=found,
        wanted=f">= {minimum}",
        fix="" if status is Status.OK else "make setup",
    )


def _room(host: Host, cache: Path) -> list[Finding]:
    sudo = "" if host.root else "sudo "
    held = f" ({host.cached / GIB:.1f} GiB of it in the cache already)" if host.cached else ""
    return [
        _amount(
            "disk",
            host.disk + host.cached,
            CACHE_BYTES,
            short=Status.MISSING,
            why=f"kernel trees and builds in {cache}{held}",
            fix="free some, or set KPV_CACHE to a folder on another disk",
        ),
        _amount(
            "memory",
            host.memory,
            MEMORY_BYTES,
            short=Status.MISSING,
            why="linking vmlinux beside a guest",
            fix="use a machine with more memory",
        ),
        _amount(
            "/dev/shm",
            host.shm,
            SHM_BYTES,
            short=Status.OPTIONAL,
            why="guest RAM that the host reads page tables from",
            fix=f"{sudo}mount -o remount,size=2G /dev/shm",
        ),
        Finding(
            what="cores",
            status=Status.OK if host.cores >= 2 else Status.OPTIONAL,
            found=str(host.cores),
            wanted=">= 2",
            why="a cold kernel build takes 5 minutes on two",
            fix="" if host.cores >= 2 else "use a machine with more cores",
        ),
        Finding(
            what="acceleration",
            status=Status.OK,
            found=f"TCG on {host.arch}",
            wanted="TCG",
            why="arm64 guests are emulated on every host, so /dev/kvm does not matter",
        ),
    ]


def _amount(what: str, found: int, wanted: int, *, short: Status, why: str, fix: str) -> Finding:
    enough = found >= wanted
    return Finding(
        what=what,
        status=Status.OK if enough else short,
        found=f"{found / GIB:.1f} GiB",
        wanted=f">= {wanted / GIB:.1f} GiB",
        why=why,
        fix="" if enough else fix,
    )
