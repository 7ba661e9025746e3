"""The guest's reference model and generator, compiled for the host: model.c holds the tests."""

import subprocess
from pathlib import Path

import pytest

from pipeline import resources

SOURCE = Path(__file__).with_name("model.c")
NAMES = [
    name for line in SOURCE.read_text().splitlines() for name in line.split("TEST(")[1:] if line.startswith("\t\t")
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("model") / "model"
    flags = ("-O2", "-Wall", "-Wextra", "-Werror", "-Wno-sign-compare", "-I", resources.folder("guest-tests"))
    subprocess.run(["cc", *flags, "-o", program, SOURCE], check=True)
    return program


def test_every_test_of_the_program_is_run(model: Path):
    listed = subprocess.run([model], capture_output=True, text=True, check=True).stdout.split()
    assert listed == [name.partition(")")[0] for name in NAMES]


@pytest.mark.parametrize("name", [name.partition(")")[0] for name in NAMES])
def test_model(name: str, model: Path):
    done = subprocess.run([model, name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
