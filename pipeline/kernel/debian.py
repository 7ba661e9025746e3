"""Debian's linux-source packages: the installed one, or one of another suite, fetched without installing it."""

import re
import shutil
from pathlib import Path

from pipeline import apt
from pipeline.errors import InfraError
from pipeline.kernel.process import run
from pipeline.store import Store

#: Where the packages put their tarballs.
SOURCES = Path("/usr/src")
#: ``linux-source-6.12``, or ``linux-source-7.2@sid``.
NAME = re.compile(r"linux-source-[a-z0-9.+~-]+(@[a-z][a-z0-9-]*)?")


def installed(package: str) -> tuple[Path, str]:
    """The tarball of an installed package, and its version ("" for a tarball of no package). Raises InfraError."""
    archive = next(iter(sorted(SOURCES.glob(f"{package}.tar.*"))), None)
    if archive is None:
        raise InfraError(
            f"source debian:{package}: {SOURCES / package}.tar.xz does not exist",
            hint=f"sudo apt-get install --no-install-recommends {package}",
        )
    try:
        query = run(["dpkg-query", "-W", "-f=${Version}", package], what=f"source debian:{package}", check=False)
        version = query.stdout.decode(errors="replace").strip() if query.returncode == 0 else ""
    except InfraError:  # no dpkg here, but the tarball is
        version = ""
    return archive, version


def fetched(package: str, suite: str, *, cache: Path) -> tuple[Path, str]:
    """The tarball of a package of another suite, and its version; kept in the store, so fetched once.

    apt checks the package against the suite's signed index. Raises InfraError:
    no network, or the suite has no such package.
    """
    inputs = {"package": package, "suite": suite}
    made = Store(cache).artifact(
        "debian-source", inputs, lambda out: _fetch(package, suite, out), subject=f"{package}@{suite}"
    )
    archive = next(iter(sorted(made.path.glob(f"{package}.tar.*"))))
    return archive, (made.path / "version").read_text(encoding="utf-8").strip()


def _fetch(package: str, suite: str, out: Path) -> None:
    root = out / "apt"
    config = apt.private_root(root, "all", sources=apt.suite_sources(suite))
    updated = apt.get(config, "update")
    got = apt.get(config, "download", package, cwd=out)
    deb = next(iter(out.glob("*.deb")), None)
    if got.returncode or deb is None:
        raise InfraError(
            f"source debian:{package}@{suite}: apt-get could not fetch it",
            hint="check the network, and the names of the package and of the suite",
            detail=apt.said(updated) + "\n" + apt.said(got),
        )
    version = run(["dpkg-deb", "--field", str(deb), "Version"], what=str(deb)).stdout.decode().strip()
    run(
        ["tar", "--extract", "--file=-", "--strip-components=3", "--wildcards", f"./usr/src/{package}.tar.*"],
        what=str(deb),
        cwd=out,
        stdin=run(["dpkg-deb", "--fsys-tarfile", str(deb)], what=str(deb)).stdout,
    )
    deb.unlink()
    shutil.rmtree(root)
    (out / "version").write_text(version + "\n", encoding="utf-8")
