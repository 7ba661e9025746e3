"""What the doctor says of machines that are made of a few fake commands and files."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import doctor, host, packages
from pipeline.doctor import GIB, Finding, Status
from pipeline.errors import Exit, InfraError, UserError
from pipeline.host import Host
from pipeline.packages import Where
from pipeline.resources import folder

SOUND = Host(
    arch="x86_64", cores=4, memory=8 * GIB, shm=4 * GIB, disk=20 * GIB, cached=0, codename="bookworm", root=False
)


@pytest.fixture
def where(tmp_path: Path) -> Where:
    """A machine that has everything."""
    place = Where(path=str(tmp_path / "bin"), root=tmp_path / "root")
    (tmp_path / "bin").mkdir()
    for package in packages.read():
        kind, _, proof = package.proof.partition(":")
        if kind == "command":
            command(place, proof, f"{proof} (Debian 1.2-3) version 12.1.0")
        elif kind == "file":
            file = place.root / proof.split(",")[0].lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    return place


def command(where: Where, name: str, says: str, *, code: int = 0) -> Path:
    path = Path(where.path, name)
    path.write_text(f"#!/bin/sh\necho '{says}'\nexit {code}\n")
    path.chmod(0o755)
    return path


def look(where: Where, what: str, **facts: object) -> Finding:
    findings = doctor.examine(cache=Path("/cache"), host=replace(SOUND, **facts), where=where)
    return next(f for f in findings if f.what == what)


def test_a_sound_machine_has_nothing_to_mend(where: Where) -> None:
    findings = doctor.examine(cache=Path("/cache"), host=SOUND, where=where)
    assert [f for f in findings if f.status is not Status.OK or f.fix] == []
    assert doctor.exit_code(findings) is Exit.PASS
    assert doctor.mend(findings, root=False) == ""


@pytest.mark.parametrize(
    "package", [p for p in packages.read() if p.proof.startswith("command:")], ids=lambda p: p.name
)
def test_a_missing_command_is_told_with_the_package_that_has_it(where: Where, package: packages.Package) -> None:
    Path(where.path, package.proof.partition(":")[2]).unlink()
    finding = look(where, package.name)
    assert finding.status is (Status.OPTIONAL if package.need == "optional" else Status.MISSING)
    assert finding.found == "not in PATH"
    assert finding.why
    assert finding.fix.startswith("sudo apt-get install --yes --no-install-recommends ")
    assert finding.fix.endswith(f" {package.name}")


@pytest.mark.parametrize(
    "package", [p for p in packages.read() if p.proof.startswith("file:") and p.need != "test"], ids=lambda p: p.name
)
def test_a_missing_file_is_told_with_the_package_that_has_it(where: Where, package: packages.Package) -> None:
    (where.root / package.proof.partition(":")[2].split(",")[0].lstrip("/")).unlink()
    assert look(where, package.name).status is Status.MISSING
    assert look(where, package.name).fix.endswith(f" {package.name}")


def test_the_native_libc_of_an_arm64_host_will_do(where: Where) -> None:
    (where.root / "usr/aarch64-linux-gnu/lib/libc.a").unlink()
    native = where.root / "usr/lib/aarch64-linux-gnu/libc.a"
    native.parent.mkdir(parents=True)
    native.touch()
    assert look(where, "libc6-dev-arm64-cross").status is Status.OK


def test_qemu_7_is_too_old_and_comes_from_backports_on_bookworm_only(where: Where) -> None:
    command(where, "qemu-system-aarch64", "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)")
    finding = look(where, "qemu-system-arm")
    assert (finding.status, finding.found) == (Status.TOO_OLD, "7.2.22")
    assert finding.wanted == "qemu-system-aarch64 >= 8.0"
    assert "plugins" in finding.why
    assert finding.fix.endswith(" -t bookworm-backports qemu-system-arm")
    assert " -t " not in look(where, "qemu-system-arm", codename="trixie").fix
    assert look(where, "qemu plugins").status is Status.OPTIONAL


def test_qemu_8_runs_guests_but_not_the_plugin(where: Where) -> None:
    command(where, "qemu-system-aarch64", "QEMU emulator version 8.2.1")
    assert look(where, "qemu-system-arm").status is Status.OK
    assert look(where, "qemu plugins").status is Status.OPTIONAL


def test_the_64_of_a_compilers_name_is_not_its_version(where: Where) -> None:
    command(where, "aarch64-linux-gnu-gcc", "aarch64-linux-gnu-gcc (Debian 4.9.2-10) 4.9.2")
    finding = look(where, "gcc-aarch64-linux-gnu")
    assert (finding.status, finding.found) == (Status.TOO_OLD, "4.9.2")


def test_a_command_that_does_not_run_does_not_count(where: Where) -> None:
    command(where, "make", "make: error while loading shared libraries", code=127)
    finding = look(where, "make")
    assert finding.status is Status.MISSING
    assert "does not run" in finding.found


def test_the_kernel_source_package_is_left_out_where_there_are_no_debian_packages(where: Where) -> None:
    (where.root / "usr/src/linux-source-6.12.tar.xz").unlink()
    assert look(where, "linux-source-6.12").status is Status.MISSING
    elsewhere = look(where, "linux-source-6.12", codename="")
    assert elsewhere.status is Status.OPTIONAL
    assert "install what Debian has in its package" in elsewhere.fix


@pytest.mark.parametrize(
    ("what", "facts", "status", "found"),
    [
        ("disk", {"disk": 3 * GIB}, Status.MISSING, "3.0 GiB"),
        ("disk", {"disk": 3 * GIB, "cached": 6 * GIB}, Status.OK, "9.0 GiB"),
        ("memory", {"memory": 2 * GIB}, Status.MISSING, "2.0 GiB"),
        ("/dev/shm", {"shm": 64 << 20}, Status.OPTIONAL, "0.1 GiB"),
        ("cores", {"cores": 1}, Status.OPTIONAL, "1"),
        ("acceleration", {"arch": "aarch64"}, Status.OK, "TCG on aarch64"),
    ],
)
def test_room(where: Where, what: str, facts: dict[str, object], status: Status, found: str) -> None:
    finding = look(where, what, **facts)
    assert (finding.status, finding.found) == (status, found)
    assert bool(finding.fix) == (status is not Status.OK)


def test_python_libraries_are_those_of_our_own_metadata(where: Where, monkeypatch: pytest.MonkeyPatch) -> None:
    assert look(where, "python: paramiko").status is Status.OK
    assert look(where, "python: qemu-qmp").status is Status.OK
    monkeypatch.setattr("importlib.metadata.requires", lambda _: ["rich>=999", "no-such-thing>=1", "x; extra == 't'"])
    assert look(where, "python: rich").status is Status.TOO_OLD
    missing = look(where, "python: no-such-thing")
    assert (missing.status, missing.fix) == (Status.MISSING, "make setup")
    with pytest.raises(StopIteration):
        look(where, "python: x")


def test_one_command_mends_all_and_root_is_needed_for_packages_only(where: Where) -> None:
    Path(where.path, "ccache").unlink()
    findings = doctor.examine(cache=Path("/cache"), host=SOUND, where=where)
    script = folder("setup") / "bootstrap.sh"
    assert doctor.exit_code(findings) is Exit.INFRA
    assert doctor.mend(findings, root=True) == f"sh {script}"
    assert doctor.mend(findings, root=False) == f"ask an administrator to run: sudo sh {script} --packages"
    library = Finding(what="python: rich", status=Status.MISSING, found="", wanted="")
    assert doctor.mend([library], root=False) == f"sh {script}"
    disk = Finding(what="disk", status=Status.MISSING, found="", wanted="")
    assert doctor.mend([disk], root=True) == ""


def test_the_report_is_json(where: Where) -> None:
    report = json.loads(json.dumps(doctor.report(doctor.examine(cache=Path("/cache"), host=SOUND, where=where))))
    assert report["ok"] is True
    assert {"what", "status", "found", "wanted", "why", "fix"} == set(report["findings"][0])


@pytest.mark.parametrize("found", ["8.0", "8", "8.0.0", "10.0.2", "8.1"])
def test_later_versions_will_do(found: str) -> None:
    assert packages.at_least(found, "8.0")


@pytest.mark.parametrize("found", ["7.2.22", "7.99", "0.8"])
def test_earlier_versions_will_not(found: str) -> None:
    assert not packages.at_least(found, "8.0")


def test_a_bad_line_of_the_package_list_is_told_with_its_number(tmp_path: Path) -> None:
    bad = tmp_path / "packages.txt"
    for line in ("required bc - command:bc", "perhaps bc - command:bc - # why", "required bc - smell:bc - # why"):
        bad.write_text(f"# head\n{line}\n")
        with pytest.raises(InfraError, match=r"packages.txt:2: expected"):
            packages.read(bad)
    with pytest.raises(InfraError, match="cannot read the list of packages"):
        packages.read(tmp_path / "absent")


@pytest.mark.parametrize(
    ("text", "codename"),
    [
        ("ID=debian\nVERSION_CODENAME=bookworm\n", "bookworm"),
        ('ID="debian"\nVERSION_CODENAME="trixie"\n', "trixie"),
        ("ID=debian\nVERSION_CODENAME=bullseye\n", ""),
        ("ID=ubuntu\nVERSION_CODENAME=noble\n", ""),
    ],
)
def test_debian_is_known_by_os_release(tmp_path: Path, text: str, codename: str) -> None:
    assert host.debian_codename(tmp_path) == ""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text(text)
    assert host.debian_codename(tmp_path) == codename


def test_measuring_counts_what_the_cache_holds_and_needs_no_cache_folder(tmp_path: Path) -> None:
    facts = host.measure(tmp_path / "not/yet/there")
    assert facts.cached == 0
    assert facts.disk > 0
    (tmp_path / "artifact").write_bytes(b"x" * 100_000)
    assert 100_000 <= host.measure(tmp_path).cached < 200_000


def test_an_unknown_data_folder_is_wrong_use() -> None:
    with pytest.raises(UserError, match="is no data folder of kpv"):
        folder("secrets")


def test_what_only_tests_need_is_told_and_breaks_nothing(where: Where) -> None:
    (where.root / "usr/bin/chromium-headless-shell").unlink()
    finding = look(where, "chromium-headless-shell")
    assert (finding.status, finding.found) == (Status.OPTIONAL, "no such file")
    assert doctor.broken([finding]) == ()
