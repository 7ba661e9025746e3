"""arm64 packages of the host's own Debian release, fetched and read, never run or installed.

apt works in a private root (pipeline.apt) with the architecture set to arm64.
"""

import hashlib
import io
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import apt
from pipeline.errors import InfraError

ARCHITECTURE = "arm64"
_HOST = "run kpv on Debian 12 or later"


@dataclass(frozen=True)
class Package:
    """One .deb: ``sha256`` is of the file, which apt has checked against the signed index."""

    name: str
    version: str
    sha256: str
    path: Path


def sources_digest(etc: Path = Path("/etc/apt")) -> str:
    """SHA-256 of the host's apt sources: other sources may give other packages."""
    digest = hashlib.sha256()
    for path in sorted([etc / "sources.list", *(etc / "sources.list.d").glob("*")]):
        if path.is_file():
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def download(names: Sequence[str], folder: Path) -> None:
    """Fetch ``names`` and all they depend on for arm64 into ``folder`` as .deb files.

    Raises InfraError: no apt on this host, no network, a package that the
    host's sources do not have for arm64.
    """
    root = folder / "apt"
    config = apt.private_root(root, ARCHITECTURE)
    updated = apt.get(config, "update")
    if not any((root / "lists").glob(f"*_binary-{ARCHITECTURE}_Packages*")):
        raise InfraError(
            f"apt-get update fetched no {ARCHITECTURE} package index from this host's apt sources",
            hint=f"check the network (or the proxy in /etc/apt/apt.conf.d), and that the sources carry {ARCHITECTURE}",
            detail=apt.said(updated),
        )
    fetched = apt.get(config, "install", "--yes", "--download-only", *names)
    if fetched.returncode != 0:
        raise InfraError(
            f"apt-get could not fetch {' '.join(names)} for {ARCHITECTURE} (exit status {fetched.returncode})",
            hint=f"enable a source of this Debian release that has them for {ARCHITECTURE}, then run again",
            detail=apt.said(updated) + "\n" + apt.said(fetched),
        )
    for deb in (root / "cache" / "archives").glob("*.deb"):
        deb.rename(folder / deb.name)
    shutil.rmtree(root)


def packages(folder: Path) -> list[Package]:
    """The .deb files of a folder, by name."""
    found = []
    for path in sorted(folder.glob("*.deb")):
        name, version = _run(["dpkg-deb", "--field", str(path), "Package", "Version"]).decode().splitlines()
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        found.append(Package(name.split(": ")[1], version.split(": ")[1], digest, path))
    return sorted(found, key=lambda package: package.name)


def members(package: Package) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """Each regular file and symbolic link of a package; a link's bytes are empty."""
    with tarfile.open(fileobj=io.BytesIO(_run(["dpkg-deb", "--fsys-tarfile", str(package.path)]))) as tar:
        for member in tar:
            if member.isreg():
                reader = tar.extractfile(member)
                assert reader is not None
                yield member, reader.read()
            elif member.issym():
                yield member, b""


def _run(command: list[str]) -> bytes:
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    except FileNotFoundError as err:
        raise InfraError(f"{command[0]} expected on this host, found none", hint=_HOST) from err
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise InfraError(
            f"{command[0]} ended with exit status {done.returncode} on {Path(command[2]).name}",
            hint="the package may be damaged: remove the guest-packages folder of the store and run again",
            detail=f"$ {' '.join(command)}\n{said}",
        )
    return done.stdout
