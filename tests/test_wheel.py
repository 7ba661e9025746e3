"""What is installed from a wheel works outside the checkout: data folders, commands, a new study."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, installed without its dependencies (they are this interpreter's) and without the network."""
    built, target = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("installed")
    for command in (
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(built)],
        [sys.executable, "-m", "zipfile", "-e", str(built / "WHEEL"), str(target)],
    ):
        command = [str(next(built.glob("*.whl"))) if word.endswith("WHEEL") else word for word in command]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return target


@pytest.fixture
def kpv(installed: Path, tmp_path: Path):
    """Run the installed kpv in an empty folder; returns what it printed."""
    env = {**os.environ, "PYTHONPATH": str(installed), "KPV_CACHE": str(tmp_path / "cache"), "COLUMNS": "200"}
    here = tmp_path / "here"
    here.mkdir()

    def run(*words: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", *words], cwd=here, env=env, capture_output=True, text=True
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    return run


def test_it_is_the_installed_one_that_runs_and_it_has_every_folder(installed):
    asked = "from pipeline import resources as r; print(r.checkout(), *map(r.folder, r.FOLDERS), sep='\\n')"
    env = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run([sys.executable, "-c", asked], cwd="/", env=env, capture_output=True, text=True)
    checkout, *folders = done.stdout.splitlines()
    assert checkout == "None"
    assert folders
    for folder in map(Path, folders):
        assert folder.is_relative_to(installed)
        ours = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
        theirs = {
            path.relative_to(ROOT / folder.name)
            for path in map(Path, tracked(ROOT / folder.name))
        }  # fmt: skip
        assert theirs <= ours, folder


def tracked(folder: Path) -> list[str]:
    """Files of a folder that belong to the project, with whole paths."""
    done = subprocess.run(["git", "ls-files"], cwd=folder, capture_output=True, text=True)
    if done.returncode:  # no clone, e.g. an unpacked archive
        return [str(path) for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return [str(folder / name) for name in done.stdout.splitlines()]


def test_studies_machines_scenarios_and_words_are_there(kpv):
    assert "neoverse-n1" in kpv("list", "machines")
    assert "lazyfree.h:" in kpv("explain", "folio_order")


def test_a_study_is_made_and_read_outside_the_checkout(kpv, tmp_path):
    kpv("init", "mine")
    assert "mine" in kpv("list", "claims", "--study", "mine")
    assert "is there already" in kpv("init", "mine", code=2)
    assert (tmp_path / "here" / "mine" / "v2" / "series").is_file()
