"""The set-up script on machines that are made of a few fake commands; the Makefile and .ci/run around it."""

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
import zipfile
from pathlib import Path

import pytest

from pipeline import packages, resources

ROOT = Path(__file__).parent.parent
#: What the script uses of the base system, besides apt-get, id and sudo, which are faked.
BASE = (
    *("sh", "cat", "cut", "sed", "grep", "sort", "head", "tail", "paste", "tee", "dirname", "env"),
    *("mktemp", "rm", "mv", "cp", "mkdir", "chmod", "sha256sum", "flock", "sleep"),
)
MIRROR_URI = "ftp://mirror.test/debian"

APT_GET = r"""#!/bin/sh
printf '%s|%s\n' "${DEBIAN_FRONTEND:-}" "$*" >>"$FAKE/apt-calls"
case " $* " in
*" --print-uris "*)
    while read -r uri suite; do
        echo "'$uri/dists/$suite/InRelease' some_file 0 "
        echo "'$uri/dists/$suite/main/binary-amd64/Packages.xz' some_other 0 "
    done <"$FAKE/suites"
    for file in "$KPV_SETUP_ROOT"/etc/apt/sources.list.d/*.sources; do
        [ -e "$file" ] || continue
        uri=$(sed -n 's/^URIs: //p' "$file") suite=$(sed -n 's/^Suites: //p' "$file")
        echo "'$uri/dists/$suite/InRelease' added 0 "
    done
    ;;
*" update "*) cat "$FAKE/update-says" 2>/dev/null; [ ! -e "$FAKE/update-fails" ] || exit 100 ;;
*" install "*)
    [ ! -e "$FAKE/install-fails" ] || { echo "E: Unable to locate package foo"; exit 100; }
    suite=release
    for word; do
        case $word in
        *-backports) suite=backports ;;
        esac
        [ ! -e "$FAKE/offers/$word" ] || suite=$suite sh "$FAKE/offers/$word"
    done
    ;;
esac
"""

PYTHON = r"""#!/bin/sh
printf '%s\n' "$*" >>"$FAKE/python-calls"
case "$*" in
*ensurepip*) [ -e "$KPV_SETUP_ROOT/ensurepip" ] ;;
*print*) echo 3.11 ;;
"-m venv --clear "*) mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
*"pip --version"*) ;;
*" install "*"--editable"*) : >"${0%/*}/kpv" && chmod +x "${0%/*}/kpv" ;;
*" install "*) cat "$FAKE/pip-says" 2>/dev/null; [ ! -e "$FAKE/pip-says" ] ;;
--version) echo Python 3.11.2 ;;
esac
"""


#: Without the tests' own.
REQUIRED = ("required", "debian")


class FakeMachine:
    """A machine below ``folder``: a PATH of a few commands, an /etc/os-release, an apt-get that notes its calls."""

    def __init__(self, folder: Path, *, release: str = "debian:bookworm", root: bool = True) -> None:
        self.folder, self.bin, self.root = folder, folder / "bin", folder / "root"
        self.checkout = folder / "checkout"
        (self.root / "etc/apt/sources.list.d").mkdir(parents=True)
        (self.root / "usr/bin").mkdir(parents=True)
        (self.folder / "offers").mkdir()
        self.bin.mkdir()
        for name in BASE:
            (self.bin / name).symlink_to(shutil.which(name))
        distribution, codename = release.split(":")
        (self.root / "etc/os-release").write_text(
            f'PRETTY_NAME="{distribution} {codename}"\nID={distribution}\nVERSION_CODENAME={codename}\n'
        )
        self.suites([codename, f"{codename}-updates", f"{codename}-security"])
        self.command("apt-get", APT_GET)
        self.command("id", f"#!/bin/sh\necho {0 if root else 1000}\n")
        self._offer()
        (self.checkout / "setup").mkdir(parents=True)
        for name in ("setup/bootstrap.sh", "setup/packages.txt", "setup/wheel_data.py", "pyproject.toml"):
            shutil.copy(ROOT / name, self.checkout / name)
        (self.checkout / "requirements.lock").write_text("rich==15.0.0\n")
        (self.checkout / "setup/tests.lock").write_text("playwright==1.65.2\n")

    def _offer(self) -> None:
        """What apt-get's fake does for each package: make its proof true, QEMU's in the version of the suite."""
        for package in packages.read(ROOT / "setup/packages.txt"):
            kind, _, proof = package.proof.partition(":")
            path = self.root / proof.split(",")[0].lstrip("/")
            match kind:
                case "command":
                    new = "9.9" if package.suite == "-" else "$( [ $suite = backports ] && echo 10.0.2 || echo 7.2.22 )"
                    make = f"printf '#!/bin/sh\\necho %s version %s\\n' {proof} {new} >{self.bin / proof}\n"
                    make += f"chmod +x {self.bin / proof}"
                    if (self.bin / proof).exists():
                        make = ":"  # apt-get itself
                case "file":
                    make = f"mkdir -p {path.parent}; : >{path}"
                case "python":
                    fake = self.folder / "python-to-install"
                    fake.write_text(PYTHON)
                    make = f"cp {fake} {self.root}/usr/bin/python3; chmod +x {self.root}/usr/bin/python3; "
                    make += f": >{self.root}/{proof}"
            (self.folder / "offers" / package.name).write_text(make + "\n")

    def suites(self, names: list[str]) -> None:
        (self.folder / "suites").write_text("".join(f"{MIRROR_URI} {name}\n" for name in names))

    def command(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def install(self, *names: str, suite: str = "release") -> None:
        for name in names:
            script = self.folder / "offers" / name
            subprocess.run(["sh", script], env={**os.environ, "suite": suite}, check=True)

    def install_all(self, *, but: str = "") -> None:
        self.install(*(p.name for p in needed() if p.name != but), suite="backports")

    def run(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", self.checkout / "setup/bootstrap.sh", *args],
            env={
                "PATH": str(self.bin),
                "FAKE": str(self.folder),
                "KPV_SETUP_ROOT": str(self.root),
                "TMPDIR": str(self.folder),
                **env,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
        )

    def calls(self, verb: str) -> list[str]:
        """The apt-get calls with ``verb``, each as ``DEBIAN_FRONTEND|arguments``."""
        file = self.folder / "apt-calls"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line for line in lines if verb in line.split("|")[1].split() and "--print-uris" not in line]

    def python_calls(self, what: str) -> list[str]:
        file = self.folder / "python-calls"
        return [line for line in file.read_text().splitlines() if what in line] if file.exists() else []

    @property
    def source(self) -> Path:
        return self.root / "etc/apt/sources.list.d/kpv-backports.sources"

    def logs(self) -> list[Path]:
        return sorted(self.folder.glob("kpv-setup.*"))


def needed() -> list[packages.Package]:
    """What is to be installed on a machine that has apt-get only."""
    return [p for p in packages.read(ROOT / "setup/packages.txt") if p.need in REQUIRED and p.name != "apt"]


def test_a_fresh_bookworm_gets_backports_from_its_own_mirror_and_qemu_from_there(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path)
    done = machine.run("--packages")
    assert done.returncode == 0, done.stderr
    assert machine.source.read_text() == (
        f"Types: deb\nURIs: {MIRROR_URI}\nSuites: bookworm-backports\nComponents: main\n"
        "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
    )
    assert len(machine.calls("update")) == 1
    release, backports = machine.calls("install")
    for call in (release, backports):
        assert call.startswith("noninteractive|")
        assert "--no-install-recommends" in call
        assert "DPkg::Lock::Timeout=" in call
    assert "qemu-system-arm" not in release
    assert "linux-source-6.12" in release
    assert backports.endswith("-t bookworm-backports qemu-system-arm")
    assert "packages are complete" in done.stdout
    assert machine.logs() == []


def test_what_a_packager_puts_in_parentheses_is_not_the_version(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path)
    machine.install_all()
    machine.command("aarch64-linux-gnu-gcc", "#!/bin/sh\necho 'aarch64-linux-gnu-gcc (crosstool-NG 1.25.0) 12.2.0'\n")
    assert machine.run("--packages").stdout == "setup: nothing to do\n"
    machine.command("aarch64-linux-gnu-gcc", "#!/bin/sh\necho 'aarch64-linux-gnu-gcc (crosstool-NG 9.25.0) 4.9.2'\n")
    machine.run("--packages")
    assert [call.split()[-1] for call in machine.calls("install")] == ["gcc-aarch64-linux-gnu"]


def test_backports_that_are_configured_are_used_as_they_are(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path)
    machine.suites(["bookworm", "bookworm-security", "bookworm-backports"])
    assert machine.run("--packages").returncode == 0
    assert not machine.source.exists()
    assert machine.calls("install")[-1].endswith("-t bookworm-backports qemu-system-arm")


def test_a_qemu_that_is_too_old_is_replaced(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path)
    machine.install_all(but="qemu-system-arm")
    machine.install("qemu-system-arm", suite="release")
    assert machine.run("--packages").returncode == 0
    (only,) = machine.calls("install")
    assert only.endswith("-t bookworm-backports qemu-system-arm")


def test_trixie_needs_no_other_suite_and_one_call(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path, release="debian:trixie")
    # On trixie the release itself has QEMU 10.
    (tmp_path / "offers/qemu-system-arm").write_text(
        (tmp_path / "offers/qemu-system-arm").read_text().replace("7.2.22", "10.0.7")
    )
    done = machine.run("--packages")
    assert done.returncode == 0, done.stderr
    assert not machine.source.exists()
    (call,) = machine.calls("install")
    assert " -t " not in call
    assert set(call.split("--no-install-recommends ")[1].split()) == {p.name for p in needed()}


def test_nothing_missing_calls_no_apt_and_is_quick(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path)
    machine.install_all()
    assert machine.run().returncode == 0
    begin = time.monotonic()
    done = machine.run()
    assert time.monotonic() - begin < 2
    assert (done.returncode, done.stdout, done.stderr) == (0, "setup: nothing to do\n", "")
    assert not (tmp_path / "apt-calls").exists()


def test_a_browser_is_installed_for_tests_only(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path)
    machine.install_all()
    assert machine.run().returncode == 0
    assert machine.calls("install") == machine.python_calls("tests.lock") == []
    done = machine.run("--tests")
    assert done.returncode == 0, done.stderr
    (only,) = machine.calls("install")
    assert only.endswith("--no-install-recommends chromium-headless-shell")
    (pip,) = machine.python_calls("tests.lock")
    assert "--require-hashes" in pip
    assert ".venv has what the tests need" in done.stdout


def test_what_tests_need_is_installed_once_and_again_when_its_pins_change(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path)
    machine.run("--tests")
    assert machine.run("--tests").stdout == "setup: nothing to do\n"
    (machine.checkout / "setup/tests.lock").write_text("playwright==1.65.3\n")
    machine.run("--tests")
    assert len(machine.python_calls("tests.lock")) == 2


def test_an_administrator_is_asked_for_the_tests_packages_too(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path, root=False)
    machine.install_all()
    told = machine.run("--tests").stderr
    assert "chromium-headless-shell" in told
    assert "bootstrap.sh --packages --tests\n" in told


def test_without_root_the_administrators_commands_are_listed_and_nothing_is_changed(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path, root=False)
    machine.install("git", "gcc")
    done = machine.run()
    assert done.returncode == 3
    assert "URIs: " + MIRROR_URI in done.stderr
    assert "\napt-get update\n" in done.stderr
    listed = re.findall(r"^apt-get install --yes --no-install-recommends (.*)$", done.stderr, re.M)
    assert listed[1] == "-t bookworm-backports qemu-system-arm"
    assert set(listed[0].split()) == {p.name for p in needed()} - {"git", "gcc", "qemu-system-arm"}
    assert not machine.source.exists()
    assert machine.calls("update") == machine.calls("install") == []


def test_sudo_without_a_password_is_used(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path, root=False)
    machine.command("sudo", '#!/bin/sh\necho "$*" >>"$FAKE/sudo-calls"\n[ "$1" = -n ] || exit 1\nshift\nexec "$@"\n')
    machine.command("true", "#!/bin/sh\n")
    assert machine.run("--packages").returncode == 0
    ran = (tmp_path / "sudo-calls").read_text()
    assert "-n tee " in ran
    assert "apt-get -o DPkg::Lock::Timeout=300 install" in ran
    assert machine.source.exists()


def test_another_distribution_is_told_what_is_missing(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path, release="fedora:forty")
    machine.install_all(but="ccache")
    done = machine.run()
    assert done.returncode == 3
    assert "fedora forty: packages are known for Debian 12 (bookworm) and 13 (trixie) only" in done.stderr
    assert "missing here, by their Debian names: ccache" in done.stderr
    assert machine.calls("install") == []


def test_another_distribution_with_all_tools_goes_on_without_the_source_package(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path, release="fedora:forty")
    machine.install_all(but="linux-source-6.12")
    done = machine.run()
    assert done.returncode == 0, done.stderr
    assert ".venv is ready" in done.stdout


def test_a_failed_update_takes_the_added_source_away_and_keeps_the_log(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path)
    (tmp_path / "update-fails").touch()
    (tmp_path / "update-says").write_text("Err:1 Could not connect to mirror.test\n")
    done = machine.run()
    assert done.returncode == 3
    assert "setup: error: apt-get update failed" in done.stderr
    assert "| Err:1 Could not connect to mirror.test" in done.stderr
    assert not machine.source.exists()
    (log,) = machine.logs()
    assert str(log) in done.stderr
    assert machine.calls("install") == []


def test_a_failed_install_is_told_with_its_command_and_words(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path)
    (tmp_path / "install-fails").touch()
    done = machine.run()
    assert done.returncode == 3
    assert "apt-get install failed for: git " in done.stderr
    assert "| E: Unable to locate package foo" in done.stderr
    assert "bookworm-security" in done.stderr


def test_a_package_that_does_not_bring_what_is_looked_for_is_an_error(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path)
    machine.install_all(but="bc")
    (tmp_path / "offers/bc").write_text("true\n")
    done = machine.run()
    assert done.returncode == 3
    assert "still missing or too old after apt-get install: bc" in done.stderr


def test_no_mirror_to_derive_backports_from_is_an_error(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path)
    machine.suites(["sid"])
    done = machine.run()
    assert done.returncode == 3
    assert "no mirror for suite bookworm is configured" in done.stderr


def test_an_unknown_argument_is_wrong_use(tmp_path: Path) -> None:
    done = FakeMachine(tmp_path).run("--fast")
    assert done.returncode == 2
    assert "unknown argument '--fast'" in done.stderr


def test_verbose_shows_the_words_and_still_sees_a_failure(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path)
    (tmp_path / "install-fails").touch()
    done = machine.run(V="1")
    assert done.returncode == 3
    assert "E: Unable to locate package foo" in done.stdout


def test_python_that_is_named_must_be_recent_enough(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path)
    machine.install_all()
    machine.command("oldpython", "#!/bin/sh\nexit 1\n")
    done = machine.run(KPV_PYTHON=str(machine.bin / "oldpython"))
    assert done.returncode == 3
    assert "is not a Python 3.11 or later that runs" in done.stderr


def test_the_environment_is_made_once_and_again_when_the_pins_change(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path)
    machine.install_all()
    assert machine.run().returncode == 0
    first, second = machine.python_calls(" install ")
    assert "--require-hashes" in first
    assert "--no-deps --no-build-isolation --editable" in second
    assert machine.run().returncode == 0
    assert len(machine.python_calls(" install ")) == 2
    (machine.checkout / "requirements.lock").write_text("rich==15.0.1\n")
    assert machine.run().returncode == 0
    assert len(machine.python_calls(" install ")) == 4
    assert len(machine.python_calls("venv --clear")) == 1


def test_a_moved_checkout_gets_a_new_environment(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path)
    machine.install_all()
    assert machine.run().returncode == 0
    machine.checkout = machine.checkout.rename(tmp_path / "elsewhere")
    assert machine.run().returncode == 0
    assert len(machine.python_calls("venv --clear")) == 2


@pytest.mark.parametrize(
    ("says", "told"),
    [
        ("pip._vendor.urllib3.exceptions.NewConnectionError: failed to establish", "pip cannot reach a package index"),
        ("THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE", "is not the one that requirements.lock"),
        ("No space left on device", "pip failed"),
    ],
)
def test_a_pip_failure_is_told_and_not_stamped(tmp_path: Path, says: str, told: str) -> None:
    machine = FakeMachine(tmp_path)
    machine.install_all()
    (tmp_path / "pip-says").write_text(says + "\n")
    done = machine.run()
    assert done.returncode == 3
    assert told in done.stderr
    assert says in done.stderr
    (tmp_path / "pip-says").unlink()
    assert machine.run().returncode == 0
    assert machine.run().stdout == "setup: nothing to do\n"


def test_the_lock_pins_and_hashes_all_that_pyproject_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    asked += project["optional-dependencies"]["build"]
    lock = (ROOT / "requirements.lock").read_text()
    for requirement in asked:
        name = re.match(r"[\w.-]+", requirement)[0].lower().replace(".", "-")
        assert re.search(rf"^{re.escape(name)}==[\w.]+ .*\\\n +--hash=sha256:", lock, re.M), requirement


def test_what_only_tests_need_is_pinned_apart_and_of_the_same_versions() -> None:
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["browser"]
    pins = {file: dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / file).read_text(), re.M))
            for file in ("requirements.lock", "setup/tests.lock")}  # fmt: skip
    both, tests = pins.values()
    assert {re.match(r"[\w.-]+", one)[0] for one in asked} <= set(tests)
    assert {name: version for name, version in tests.items() if both.get(name, version) != version} == {}
    assert len(re.findall(r"--hash=sha256:", (ROOT / "setup/tests.lock").read_text())) > len(tests)


def test_every_library_that_is_imported_is_asked_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = {re.match(r"[\w.-]+", line)[0].lower().replace(".", "-") for line in project["dependencies"]}
    owners = importlib.metadata.packages_distributions()
    for file in (ROOT / "pipeline").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                modules = [node.module]
            for name in {module.split(".")[0] for module in modules} - {"pipeline", *sys.stdlib_module_names}:
                owner = owners[name][0].lower().replace(".", "-")
                assert owner in asked, f"{file}:{node.lineno} imports {name}"


def test_no_file_of_set_up_names_a_package_host() -> None:
    for name in ("pyproject.toml", "requirements.lock", "Makefile", ".ci/run", *(f"setup/{p.name}" for p in
                 (ROOT / "setup").iterdir() if p.is_file())):  # fmt: skip
        assert not re.search(r"https?://|\.org\b|\.com\b|\.net\b", (ROOT / name).read_text()), name


def test_the_wheel_carries_the_same_folders_that_are_looked_for() -> None:
    tree = ast.parse((ROOT / "setup/wheel_data.py").read_text())
    (value,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "FOLDERS"]
    assert ast.literal_eval(value) == resources.FOLDERS


def test_a_wheel_is_whole(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = tmp_path.glob("kpv-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        entry = next(n for n in names if n.endswith("entry_points.txt"))
        assert "kpv = pipeline.cli:main" in archive.read(entry).decode()
    assert "pipeline/data/kernel-configs/base.config" in names
    assert "pipeline/data/setup/packages.txt" in names
    assert len(names) == len(set(names))


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shell_scripts_pass_shellcheck() -> None:
    scripts = [*sorted((ROOT / "setup").glob("*.sh")), ROOT / ".ci/run"]
    done = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout whose set-up does nothing and whose .venv/bin has only what a test puts there."""
    (tmp_path / "setup").mkdir()
    (tmp_path / "setup/bootstrap.sh").write_text("exit 0\n")
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".ci").mkdir()
    for name in ("Makefile", ".ci/run"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def program(tree: Path, name: str, text: str) -> None:
    path = tree / ".venv/bin" / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def run(tree: Path, *command: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    return subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True, timeout=30)


def test_make_alone_prints_help_with_examples(tree: Path) -> None:
    done = run(tree, "make")
    assert done.returncode == 0
    for target in ("setup", "validate", "test", "unit", "lint", "doctor", "clean"):
        assert re.search(rf"^  {target} +\w", done.stdout, re.M), target
    assert "make validate STUDY=" in done.stdout


def test_make_validate_hands_on_study_and_arguments_and_tells_the_exit_code(tree: Path) -> None:
    program(tree, "kpv", 'echo "kpv <$1> <$2> <$3>"; exit 4')
    done = run(tree, "make", "validate", "STUDY=patches/my series/study.toml", "ARGS=--explain")
    assert "kpv <validate> <patches/my series/study.toml> <--explain>" in done.stdout
    assert done.returncode == 2
    assert "kpv exit code: 4" in done.stderr


@pytest.mark.parametrize(
    ("words", "called"),
    [
        (("init", "DIR=my series", "SERIES=v1.mbox"), "<init> <my series> <--series> <v1.mbox>"),
        (("init",), "<init>"),
        (("build",), "<build> <patches/madvise-free-mthp/study.toml>"),
        (("boot", "STUDY=s", "ARGS=-k v2 -- uname -r"), "<boot> <s> <-k> <v2> <--> <uname> <-r>"),
        (("run", "SCENARIO=partial_*", "STUDY=s"), "<run> <partial_*> <s>"),
        (("judge",), "<judge> <last>"),
        (("report", "RUN=20260101", "ARGS=--format text"), "<report> <20260101> <--format> <text>"),
        (("compare",), "<compare> <last~1> <last>"),
        (("compare", "OLD=a", "NEW=b"), "<compare> <a> <b>"),
        (("list", "KIND=runs"), "<list> <runs>"),
        (("show", "KIND=run"), "<show> <run>"),
        (("show", "KIND=scenario", "NAME=full_cover"), "<show> <scenario> <full_cover>"),
        (("explain", "WORD=exit 3"), "<explain> <exit 3>"),
        (("history", "ARGS=--all"), "<history> <--all>"),
        (("clean-cache", "ARGS=--max-size 4"), "<clean> <--max-size> <4>"),
    ],
)
def test_make_has_a_target_for_each_command(tree: Path, words: tuple[str, ...], called: str) -> None:
    program(tree, "kpv", """printf '<%s> ' "$@"; echo; exit 3""")
    done = run(tree, "make", *words)
    assert done.stdout.strip() == called
    assert "kpv exit code: 3" in done.stderr


@pytest.mark.parametrize("code", [0, 1, 5])
def test_ci_ends_with_pytests_own_line_and_exit_code(tree: Path, code: int) -> None:
    closing = "=================== 1 failed, 7 passed in 0.12s (0:00:00) ==================="
    program(tree, "python", f"echo {closing!r}; cat; exit {code}")
    done = run(tree, "bash", ".ci/run")
    assert done.returncode == code
    assert done.stdout.splitlines()[-1] == closing


def test_ci_stops_with_the_set_ups_exit_code(tree: Path) -> None:
    (tree / "setup/bootstrap.sh").write_text("echo 'setup: error: no' >&2\nexit 3\n")
    done = run(tree, "bash", ".ci/run")
    assert done.returncode == 3
    assert "setup: error: no" in done.stderr
