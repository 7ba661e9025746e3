"""The base from made-up packages: the real ones are fetched by tests/system."""

import io
import shutil
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from pipeline.errors import InfraError, UserError
from pipeline.events import StageFinished, discard
from pipeline.guest import cpio, keys, packages, rootfs
from pipeline.guest.packages import Package
from pipeline.store import Store


def elf(machine: int, *, interp: bool) -> bytes:
    """The smallest ELF64 with a machine and, if asked, an interpreter."""
    header = (
        bytes.fromhex("7f454c46020101000000000000000000") + (2).to_bytes(2, "little") + machine.to_bytes(2, "little")
    )
    header += (
        (1).to_bytes(4, "little") + (0).to_bytes(8, "little") + (64).to_bytes(8, "little") + (0).to_bytes(8, "little")
    )
    header += (0).to_bytes(4, "little")
    header += b"".join(n.to_bytes(2, "little") for n in (64, 56, 1 if interp else 0, 64, 0, 0))
    name = b"/lib/ld-linux-aarch64.so.1\0"
    program = (3).to_bytes(4, "little") + (4).to_bytes(4, "little")
    program += b"".join(n.to_bytes(8, "little") for n in (120, 0, 0, len(name), len(name), 1))
    return header + (program + name if interp else b"")


def package(name: str, files: dict[str, bytes], links: dict[str, str] | None = None) -> tuple[str, bytes]:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, data in files.items():
            info = tarfile.TarInfo(f"./{path}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for path, target in (links or {}).items():
            info = tarfile.TarInfo(f"./{path}")
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return name, out.getvalue()


@pytest.fixture
def debian(monkeypatch):
    """Packages by name, in place of the network and dpkg-deb."""
    loader = elf(183, interp=False)
    there = dict(
        [
            package("busybox-static", {"usr/bin/busybox": elf(183, interp=False), "usr/share/doc/x": b"doc"}),
            package("dropbear-bin", {"usr/sbin/dropbear": elf(183, interp=True)}),
            package("trace-cmd", {"usr/bin/trace-cmd": elf(183, interp=True)}),
            package(
                "libc6",
                {"lib/aarch64-linux-gnu/ld-2.36.so": loader},
                {"lib/ld-linux-aarch64.so.1": "aarch64-linux-gnu/ld-2.36.so"},
            ),
        ]
    )
    fetched: list[object] = []

    def download(names, folder: Path) -> None:
        fetched.append(names)
        for name, data in there.items():
            (folder / f"{name}.deb").write_bytes(data)

    def run(command: list[str]) -> bytes:
        path = Path(command[2])
        return f"Package: {path.stem}\nVersion: 1\n".encode() if command[1] == "--field" else path.read_bytes()

    monkeypatch.setattr(packages, "download", download)
    monkeypatch.setattr(packages, "_run", run)
    there["fetched"] = fetched  # type: ignore[assignment]
    return there


@pytest.fixture
def fetched(debian):
    return debian.pop("fetched")


def test_the_base_holds_programs_loader_and_scripts_and_no_documents(tmp_path, fetched, debian):
    events: list[object] = []
    made = rootfs.base(Store(tmp_path), emit=events.append)
    import gzip

    names = {entry.name: entry for entry in cpio.read(gzip.decompress(made.path.read_bytes()))}
    for name in ("init", "bin/busybox", "bin/dropbear", "bin/trace-cmd", "lib/ld-linux-aarch64.so.1", "kpv/run-jobs"):
        assert stat.S_ISREG(names[name].mode) and names[name].mode & 0o111
    assert not any("doc" in name for name in names)
    assert [p["name"] for p in made.manifest["packages"]] == ["busybox-static", "dropbear-bin", "libc6", "trace-cmd"]
    assert isinstance(events[-1], StageFinished) and not events[-1].cached


def test_the_base_is_made_once_and_the_same_on_another_machine(tmp_path, fetched, debian):
    first = rootfs.base(Store(tmp_path / "a"), emit=discard)
    again = rootfs.base(Store(tmp_path / "a"), emit=discard)
    other = rootfs.base(Store(tmp_path / "b"), emit=discard)
    assert again.cached and not first.cached
    assert len(fetched) == 2
    assert first.sha256 == other.sha256
    assert first.path.read_bytes() == other.path.read_bytes()


def test_a_changed_script_makes_the_base_again_without_the_network(tmp_path, fetched, debian, monkeypatch):
    rootfs.base(Store(tmp_path), emit=discard)
    monkeypatch.setattr(rootfs, "RECIPE", 999)
    assert not rootfs.base(Store(tmp_path), emit=discard).cached
    assert len(fetched) == 1


def test_a_moved_program_is_told_with_where_it_was_looked_for(tmp_path, fetched, debian):
    debian["trace-cmd"] = package("trace-cmd", {"opt/trace-cmd": b""})[1]
    with pytest.raises(InfraError, match="usr/bin/trace-cmd expected"):
        rootfs.base(Store(tmp_path), emit=discard)


def test_a_missing_library_is_told_with_who_needs_it(tmp_path, fetched, debian):
    del debian["libc6"]
    with pytest.raises(InfraError, match=r"needs ld-linux-aarch64\.so\.1"):
        rootfs.base(Store(tmp_path), emit=discard)


def test_workloads_are_static_arm64_programs(tmp_path):
    (tmp_path / "good").write_bytes(elf(183, interp=False))
    (entry,) = (e for e in cpio.read(rootfs.workloads({"test": tmp_path / "good"})) if stat.S_ISREG(e.mode))
    assert entry.name == "kpv/bin/test" and entry.mode & 0o111


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (elf(62, interp=False), "EM_X86_64"),
        (elf(183, interp=True), "dynamically linked"),
        (b"#!/bin/sh\n", "found none"),
    ],
)
def test_other_programs_are_refused(tmp_path, data, found):
    (tmp_path / "bad").write_bytes(data)
    with pytest.raises(UserError, match=found):
        rootfs.workloads({"bad": tmp_path / "bad"})


def test_assemble_aligns_each_part(tmp_path):
    (tmp_path / "part").write_bytes(b"12345")
    out = rootfs.assemble([tmp_path / "part", b"abc"], tmp_path / "initrd")
    assert out.read_bytes() == b"12345\0\0\0abc\0"
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []


@pytest.mark.parametrize(
    ("update", "install", "message"),
    [
        ("", "", "fetched no arm64 package index"),
        ("index", "E: Unable to locate package", "could not fetch nothing-such"),
    ],
)
def test_a_failure_of_apt_is_told_with_its_last_words(tmp_path, monkeypatch, update, install, message):
    def run(command, **kwargs):
        root = Path(command[2]).parent
        if command[4] == "update" and update:
            (root / "lists" / "mirror_main_binary-arm64_Packages").touch()
        said = f"words of {command[4]}\n{install}".encode()
        return subprocess.CompletedProcess(command, 100 if command[4] == "install" else 0, said)

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(InfraError, match=message) as told:
        packages.download(["nothing-such"], tmp_path)
    assert "words of update" in told.value.detail
    assert told.value.hint


def test_a_host_without_apt_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InfraError, match="apt-get expected"):
        packages.download(["busybox-static"], tmp_path)


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg-deb on this host")
def test_a_damaged_package_is_told_with_dpkg_s_words(tmp_path):
    (tmp_path / "bad.deb").write_bytes(b"no archive")
    with pytest.raises(InfraError, match="dpkg-deb ended with exit status") as told:
        list(packages.members(Package("bad", "1", "", tmp_path / "bad.deb")))
    assert "bad.deb" in told.value.detail


def test_keys_are_in_dropbear_s_and_openssh_s_formats():
    made = keys.make()
    files = {entry.name: entry for entry in cpio.read(made.archive)}
    blob = files[keys.HOST_KEY].data
    # string "ssh-ed25519", string (32 bytes private, 32 bytes public)
    assert blob[:15] == b"\0\0\0\x0bssh-ed25519" and blob[15:19] == (64).to_bytes(4, "big") and len(blob) == 83
    assert made.host_public == b"\0\0\0\x0bssh-ed25519" + (32).to_bytes(4, "big") + blob[-32:]
    private = serialization.load_ssh_private_key(made.private.encode(), None)
    line = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    assert files[keys.AUTHORIZED].data.startswith(line)
    assert all(stat.S_IMODE(files[name].mode) & 0o077 == 0 for name in ("root", "root/.ssh", keys.HOST_KEY))
    assert keys.make().private != made.private
