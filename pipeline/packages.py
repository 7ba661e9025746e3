"""The system packages kpv rests on, and whether each is there.

The list and the reason for each package are in setup/packages.txt, which the
set-up script reads too, so what is explained and what is installed never differ.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pipeline import resources
from pipeline.errors import InfraError

#: Seconds a ``--version`` may take.
VERSION_TIMEOUT = 10


class Presence(StrEnum):
    OK = "ok"
    MISSING = "missing"
    TOO_OLD = "too-old"


@dataclass(frozen=True, kw_only=True)
class Package:
    """One line of setup/packages.txt; the header of that file explains the columns."""

    need: str
    name: str
    minimum: str
    proof: str
    suite: str
    why: str

    @property
    def wanted(self) -> str:
        what = self.proof.partition(":")[2].replace(",", " or ")
        return what if self.minimum == "-" else f"{what} >= {self.minimum}"


@dataclass(frozen=True, kw_only=True)
class Where:
    """Where to look: commands in ``path`` (None: PATH), files below ``root``."""

    path: str | None = None
    root: Path = Path("/")


def read(file: Path | None = None) -> tuple[Package, ...]:
    """The packages, in the order of setup/packages.txt.

    Raises InfraError when the file cannot be read or a line is not five columns and a reason.
    """
    file = file or resources.folder("setup") / "packages.txt"
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as err:
        raise InfraError(f"{file}: cannot read the list of packages: {err.strerror}") from err
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        columns, _, why = line.partition("#")
        match columns.split():
            case [("required" | "debian" | "test" | "optional") as need, name, minimum, proof, suite] if (
                proof.partition(":")[0] in _PROOFS and why.strip()
            ):
                found.append(Package(need=need, name=name, minimum=minimum, proof=proof, suite=suite, why=why.strip()))
            case _:
                raise InfraError(f"{file}:{number}: expected 'need package minimum proof from # why', found {line!r}")
    return tuple(found)


def look(package: Package, where: Where) -> tuple[Presence, str]:
    """Whether ``package`` is there, and what was found: a version, a path, or the reason it does not count."""
    kind, _, proof = package.proof.partition(":")
    return _PROOFS[kind](proof, package.minimum, where)


def install_command(package: Package, *, codename: str, sudo: str) -> str:
    """The command that installs one package on Debian ``codename``; what to look for where codename is ``""``."""
    if not codename:
        return f"install what Debian has in its package {package.name}"
    release, _, suite = package.suite.partition("=")
    target = f"-t {codename}-{suite} " if release == codename else ""
    return f"{sudo}apt-get install --yes --no-install-recommends {target}{package.name}"


def version_of(command: str) -> str:
    """The first dotted number that ``command --version`` says of itself; ``""`` when it says none or does not run."""
    try:
        done = subprocess.run(
            [command, "--version"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=VERSION_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""  # told by the caller as a command that does not run
    # What stands in parentheses is the packager's: "gcc (crosstool-NG 1.25.0) 12.2.0".
    number = re.search(r"\d+\.[\d.]*\d", re.sub(r"\([^)]*\)", "", done.stdout))
    return number[0] if number else ""


def at_least(found: str, wanted: str) -> bool:
    """Whether dotted number ``found`` is ``wanted`` or later: 10.0 is later than 9.2, 8 equals 8.0."""
    return _numbers(found) >= _numbers(wanted)


def _numbers(version: str) -> tuple[int, ...]:
    numbers = [int(n) for n in re.findall(r"\d+", version)]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _command(proof: str, minimum: str, where: Where) -> tuple[Presence, str]:
    found = shutil.which(proof, path=where.path)
    if found is None:
        return Presence.MISSING, "not in PATH"
    version = version_of(found)
    if minimum == "-":
        return Presence.OK, version or found
    if not version:
        return Presence.MISSING, f"{found} does not run, or tells no version"
    return (Presence.OK if at_least(version, minimum) else Presence.TOO_OLD), version


def _file(proof: str, _minimum: str, where: Where) -> tuple[Presence, str]:
    for name in proof.split(","):
        if (where.root / name.lstrip("/")).exists():
            return Presence.OK, name
    return Presence.MISSING, "no such file"


def _module(proof: str, _minimum: str, _where: Where) -> tuple[Presence, str]:
    # Asked of the Python that .venv was made with: .venv itself needs no ensurepip any more.
    base = str(Path(sys.base_prefix, "bin", "python3"))
    try:
        command = [base, "-c", f"import {proof}"]
        done = subprocess.run(command, capture_output=True, timeout=VERSION_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as err:
        return Presence.MISSING, f"{base} does not run: {err}"
    return (Presence.OK, base) if done.returncode == 0 else (Presence.MISSING, f"{base} has no module {proof}")


_PROOFS: dict[str, Callable[[str, str, Where], tuple[Presence, str]]] = {
    "command": _command,
    "file": _file,
    "python": _module,
}
