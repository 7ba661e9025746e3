"""The command line: every mistake is one clear line, a hint, and the right exit code; never a traceback."""

import re
import shutil
import sys
from pathlib import Path

import pytest

from pipeline import cli
from pipeline.errors import Exit
from tests.kernel.conftest import Bench, bench, linux, make_patch, tools  # noqa: F401

STUDY = """\
schema = 1
id = "demo"
title = "A demo"
fragments = ["tiny"]
machines = ["max"]

[source]
tree = "dir:{tree}"

[[kernel]]
id = "old"
role = "baseline"

[[kernel]]
id = "new"
series = ["new.patch"]

[[scenario]]
id = "full_cover"
title = "Whole folios"
program = "lazyfree"
fixture = "lazyfree"
variants = ["64k"]

[[claim]]
id = "no-split"
title = "No split"
scenarios = ["full_cover.*"]
step = "free"
candidate = "mthp.split == 0"
"""


@pytest.fixture
def study(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: F811
    """A sound study over the fake tree."""
    monkeypatch.setenv("KPV_CACHE", str(bench.cache))
    monkeypatch.chdir(bench.folder)
    (bench.folder / "tiny.config").write_text("CONFIG_FOO=y\n")
    (bench.folder / "new.patch").write_text(make_patch(bench.linux, {"mm/madvise.c": ("split = 1", "split = 2")}))
    path = bench.folder / "study.toml"
    path.write_text(STUDY.format(tree=bench.linux))
    return path


@pytest.fixture
def kpv(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run a command; returns the exit code and what it said on stderr."""

    def run(*words: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["kpv", *map(str, words)])
        try:
            cli.main()
        except SystemExit as ended:
            return int(ended.code or 0), capsys.readouterr().err
        return 0, capsys.readouterr().err

    return run


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_build_builds_both_kernels_and_a_second_time_none(study, kpv, capsys):
    assert kpv("build", study)[0] == Exit.PASS
    code, said = kpv("build", study)
    assert code == Exit.PASS
    assert said.count("up to date") == 2


@pytest.mark.parametrize(
    ("old", "new", "code", "words"),
    [
        ('role = "baseline"', 'role = "bass"', Exit.USAGE, ["study.toml:12:", "kernel.0.role"]),
        ('title = "A demo"', 'title = "A demo', Exit.USAGE, ["not valid TOML", "line 3"]),
        ('machines = ["max"]', 'machines = ["nosuch"]', Exit.USAGE, ["nosuch", "a57, a57-tlb, max"]),
        ('"mthp.split == 0"', '"mthp.split = 0"', Exit.USAGE, ["study.toml:30:", "claim no-split"]),
        ('fragments = ["tiny"]', 'fragments = ["none"]', Exit.USAGE, ["none.config"]),
        ('series = ["new.patch"]', 'series = ["gone.patch"]', Exit.USAGE, ["gone.patch"]),
        ("dir:", "dir:/nonexistent", Exit.USAGE, ["/nonexistent"]),
    ],
)
def test_a_wrong_study_is_a_usage_error(study, kpv, old, new, code, words):
    edit(study, old, new)
    for command in ("build", "validate"):
        found, said = kpv(command, study)
        assert found == code, said
        for word in words:
            assert word in said
        assert "hint:" in said
        assert "Traceback" not in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-o", "mumble"], "mumble"),
        (["--size", "3k"], "3k"),
        (["--range", "5k"], "a range of 5k is no whole number of"),
        (["-k", "nobody"], "nobody"),
        (["-m", "max", "-m", "nothing"], "nothing"),
        (["--method", "stopwatch"], "plugin or icount"),
        (["--repeats", "0"], "--repeats"),
    ],
)
def test_what_cannot_be_counted_is_a_usage_error(study, kpv, words, said):
    code, err = kpv("cost", study, *words)
    assert (code, "Traceback" in err) == (Exit.USAGE, False)
    assert said in re.sub(r"\x1b\[[0-9;]*m", "", err)  # a CI may force colours


def test_a_patch_that_does_not_apply_names_patch_file_hunk_and_version(study, kpv):
    edit(study.parent / "new.patch", "split = 1", "split = 7")
    code, said = kpv("build", study)
    assert code == Exit.USAGE
    (error,) = [line for line in said.splitlines() if line.startswith("kpv: error:")]
    for word in ("new.patch", "mm/madvise.c", "hunk", "@@", "6.12.99"):
        assert word in error
    assert not (study.parent / "cache" / "store" / "kernel").exists()


def test_an_option_that_does_not_exist_names_the_fragment_and_line(study, kpv):
    (study.parent / "tiny.config").write_text("CONFIG_FOO=y\nCONFIG_NO_SUCH_THING=y\n")
    code, said = kpv("build", study)
    assert code == Exit.USAGE
    assert "tiny.config:2" in said
    assert "CONFIG_NO_SUCH_THING" in said


def test_missing_tools_are_infrastructure_and_name_the_packages(study, kpv, monkeypatch, tmp_path):
    (tmp_path / "bin").mkdir()
    for tool in ("git", "sh", "tar", "cp"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    code, said = kpv("validate", study)
    assert code == Exit.INFRA
    assert "gcc-aarch64-linux-gnu" in said


def test_a_missing_qemu_is_infrastructure(study, kpv, monkeypatch):
    monkeypatch.setattr("pipeline.guest.qemu.PROGRAM", "qemu-system-nowhere")
    monkeypatch.setattr("pipeline.guest.qemu.find.__defaults__", ("qemu-system-nowhere",))
    code, said = kpv("validate", study)
    assert code == Exit.INFRA
    assert "qemu-system-nowhere" in said


def test_a_run_that_is_none_is_a_usage_error(kpv, tmp_path):
    code, said = kpv("judge", tmp_path / "nowhere")
    assert code == Exit.USAGE
    assert "cannot read the run" in said


def test_a_name_the_study_has_not_is_a_usage_error(study, kpv):
    for option, word in (("-k", "no kernel"), ("-m", "no machine"), ("-s", "no scenario")):
        code, said = kpv("validate", study, option, "nosuch")
        assert code == Exit.USAGE
        assert word in said


def test_clean_is_a_dry_run_unless_told(study, kpv, capsys):
    kpv("build", study)
    store = study.parent / "cache" / "store" / "kernel"
    assert len(list(store.iterdir())) == 2
    assert kpv("clean", "--older-than", "0")[0] == Exit.PASS
    assert kpv("clean", "--max-size", "0", "--work", "--runs", "runs")[0] == Exit.PASS
    assert len(list(store.iterdir())) == 2
    assert kpv("clean", "--max-size", "1", "--really")[0] == Exit.PASS
    assert len(list(store.iterdir())) == 2, "what was used today stays while it fits"
    assert kpv("clean", "--older-than", "0", "--work", "--really")[0] == Exit.PASS
    assert list(store.iterdir()) == []
    assert not list((study.parent / "cache" / "work").glob("*/*/tree"))
