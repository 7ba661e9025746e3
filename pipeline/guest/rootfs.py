"""The guest's root file system: three archives, each made and cached on its own.

``base`` holds Debian's arm64 userspace and our ``data`` scripts, ``workloads``
the test programs, ``keys.archive`` the keys of one run. ``assemble`` puts them
one after the other, which is all an initramfs needs.
"""

import hashlib
import io
import json
import posixpath
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile

from pipeline.errors import InfraError, UserError
from pipeline.events import Emit, StageFinished, StageStarted
from pipeline.guest import cpio, packages
from pipeline.store import Store

#: Part of the cache key: raise it when the same packages give another archive.
RECIPE = 1
PACKAGES = ("busybox-static", "dropbear-bin", "trace-cmd")
#: Programs of the guest, by where packages of any Debian release put them (before or after the /usr merge).
PROGRAMS = {
    "bin/busybox": ("bin/busybox", "usr/bin/busybox"),
    "bin/dropbear": ("usr/sbin/dropbear",),
    "bin/trace-cmd": ("usr/bin/trace-cmd",),
}
#: Scripts of the package folder ``data`` and where the guest has them.
SCRIPTS = {"init": "init", "run-jobs": "kpv/run-jobs", "end-jobs": "kpv/end-jobs"}
LIBRARIES = "lib/aarch64-linux-gnu"
#: Names under which the guest's shell and other programs call busybox. Its shell finds its own applets without them.
APPLETS = ("sh", "cat", "gzip", "tar", "dd", "mount", "umount", "poweroff", "dmesg", "mkswap", "swapon", "swapoff")


@dataclass(frozen=True)
class RootfsArtifact:
    """``path``: base.cpio.gz; ``sha256`` of it; ``manifest``: packages with versions and digests."""

    path: Path
    sha256: str
    manifest: Mapping[str, object]
    cached: bool


def base(store: Store, *, emit: Emit) -> RootfsArtifact:
    """The base archive from the store, made first if need be.

    The packages are fetched once per set of host apt sources; a change of our
    scripts makes the archive again without the network. Raises InfraError (see
    ``packages.download``).
    """
    began = time.monotonic()
    emit(StageStarted(stage="rootfs", subject="base"))
    sources = {"packages": list(PACKAGES), "sources": packages.sources_digest(), "arch": packages.ARCHITECTURE}
    debs = store.artifact("guest-packages", sources, lambda folder: packages.download(PACKAGES, folder), subject="base")
    scripts = {name: (resources.files(__package__) / "data" / name).read_bytes() for name in SCRIPTS}
    inputs = {
        "recipe": RECIPE,
        "packages": debs.key,
        **{name: hashlib.sha256(data).hexdigest() for name, data in scripts.items()},
    }

    def make(folder: Path) -> None:
        found = packages.packages(debs.path)
        (folder / "base.cpio.gz").write_bytes(cpio.compressed(cpio.archive(_entries(found, scripts))))
        listed = [{"name": p.name, "version": p.version, "sha256": p.sha256} for p in found]
        (folder / "manifest.json").write_text(json.dumps({"packages": listed}, indent=1) + "\n")

    made = store.artifact("guest-base", inputs, make, subject="base")
    path = made.path / "base.cpio.gz"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest = json.loads((made.path / "manifest.json").read_text())
    emit(StageFinished(stage="rootfs", subject="base", seconds=time.monotonic() - began, cached=made.cached))
    return RootfsArtifact(path, digest, manifest, made.cached)


def workloads(binaries: Mapping[str, Path]) -> bytes:
    """An archive of ``/kpv/bin/<name>`` for each binary.

    Raises UserError where a binary is no static arm64 program: the guest has no
    libraries for it but those of its own programs.
    """
    entries = []
    for name, path in binaries.items():
        data = path.read_bytes()
        try:
            elf = ELFFile(io.BytesIO(data))
        except ELFError as err:
            raise UserError(f"{path}: expected an ELF program for the guest, found none ({err})") from err
        if elf["e_machine"] != "EM_AARCH64" or any(segment["p_type"] == "PT_INTERP" for segment in elf.iter_segments()):
            raise UserError(
                f"{path}: expected a static arm64 program, found {elf['e_machine']}"
                + (", dynamically linked" if elf["e_machine"] == "EM_AARCH64" else ""),
                hint="build it with aarch64-linux-gnu-gcc -static",
            )
        entries.append(cpio.file(f"kpv/bin/{name}", data, mode=0o755))
    return cpio.archive(entries)


def assemble(parts: Iterable[Path | bytes], out: Path) -> Path:
    """Write the archives one after the other to ``out``, each padded to 4 bytes as the kernel wants it."""
    temp = out.with_name(out.name + ".part")
    try:
        with temp.open("wb") as target:
            for part in parts:
                if isinstance(part, bytes):
                    target.write(part)
                else:
                    with part.open("rb") as source:
                        shutil.copyfileobj(source, target)
                target.write(b"\0" * (-target.tell() % 4))
        temp.replace(out)
    finally:
        temp.unlink(missing_ok=True)
    return out


def _entries(found: list[packages.Package], scripts: Mapping[str, bytes]) -> list[cpio.Entry]:
    files: dict[str, bytes] = {}
    links: dict[str, str] = {}
    for package in found:
        for member, data in packages.members(package):
            name = posixpath.normpath(member.name)
            if member.issym():
                links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname))
            else:
                files[name] = data
    chosen = {target: _first(files, places) for target, places in PROGRAMS.items()}
    entries = [cpio.file(target, data, mode=0o755) for target, data in chosen.items()]
    entries += _libraries(chosen, files, links)
    entries += [cpio.file(target, scripts[name], mode=0o755) for name, target in SCRIPTS.items()]
    entries += [cpio.link(f"bin/{applet}", "busybox") for applet in APPLETS]
    entries += [
        # The kernel opens it before /init runs, as the standard streams of /init.
        cpio.device("dev/console", 5, 1),
        cpio.device("dev/null", 1, 3, mode=0o666),
        cpio.file("etc/passwd", b"root:*:0:0:root:/root:/bin/sh\n"),
        cpio.file("etc/group", b"root:*:0:\n"),
        cpio.file("etc/shells", b"/bin/sh\n"),
        cpio.file("etc/fstab", FSTAB.encode()),
    ]
    entries += [cpio.folder(name) for name in ("proc", "sys", "tmp", "run", "var", "mnt")]
    entries.append(cpio.folder("root", mode=0o700))
    return entries


#: One ``mount -a`` makes them all: a process per mount would cost the boot 50 ms under emulation.
#: favordynmods: a task joins a cgroup in 1 ms instead of 40, for it need not wait for an RCU grace period.
FSTAB = """\
proc /proc proc nosuid 0 0
sysfs /sys sysfs nosuid 0 0
devtmpfs /dev devtmpfs nosuid 0 0
tmpfs /tmp tmpfs mode=1777 0 0
tmpfs /run tmpfs mode=755 0 0
debugfs /sys/kernel/debug debugfs defaults 0 0
tracefs /sys/kernel/tracing tracefs defaults 0 0
cgroup2 /sys/fs/cgroup cgroup2 favordynmods 0 0
"""


def _first(files: Mapping[str, bytes], places: Iterable[str]) -> bytes:
    for place in places:
        if place in files:
            return files[place]
    raise InfraError(
        f"{' or '.join(places)} expected in this Debian release's arm64 packages, found neither",
        hint="this release moved the file: name its new place in pipeline/guest/rootfs.py",
    )


def _libraries(programs: Mapping[str, bytes], files: Mapping[str, bytes], links: Mapping[str, str]) -> list[cpio.Entry]:
    """Every shared library the programs need, once, under its soname, plus their interpreter."""
    by_name: dict[str, bytes] = {posixpath.basename(name): data for name, data in files.items() if ".so" in name}
    for name, target in links.items():
        if ".so" in name and target in files:
            by_name.setdefault(posixpath.basename(name), files[target])
    entries: dict[str, cpio.Entry] = {}
    waiting = list(programs.items())
    while waiting:
        user, data = waiting.pop()
        elf = ELFFile(io.BytesIO(data))
        interpreters = [segment for segment in elf.iter_segments() if segment["p_type"] == "PT_INTERP"]
        names = [segment.get_interp_name().lstrip("/") for segment in interpreters]
        for section in elf.iter_sections():
            if isinstance(section, DynamicSection):
                names += [f"{LIBRARIES}/{tag.needed}" for tag in section.iter_tags("DT_NEEDED")]
        for name in names:
            soname = posixpath.basename(name)
            place = name if "/" in name and not name.startswith(LIBRARIES) else f"{LIBRARIES}/{soname}"
            if place in entries:
                continue
            if soname not in by_name:
                raise InfraError(f"/{user} needs {soname}, which none of the fetched packages holds")
            entries[place] = cpio.file(place, by_name[soname], mode=0o755)
            waiting.append((place, by_name[soname]))
    return list(entries.values())
