"""Every command of the documents does what the page says, in a clean clone and in the page's order."""

import os
import subprocess
from pathlib import Path

import pytest

from pipeline import cli, resources, stages
from pipeline.events import discard
from pipeline.guest import keys, machine, rootfs
from pipeline.guest.deadline import Deadline
from pipeline.guest.vm import VM
from pipeline.kernel.build import KernelArtifact
from pipeline.study import Study
from tests import docs_commands
from tests.docs_commands import CHECKOUT
from tests.docs_table import GUEST, TABLE, Instead
from tests.sandbox import Clone

pytestmark = pytest.mark.system


@pytest.fixture
def reader(clone: Clone) -> Clone:
    """The clone as a reader has it at the top of a page, with a kernel tree of their own in ~/linux."""
    clone.sh("git checkout -q . && git clean -fdq -e .venv -e runs").check_returncode()
    home = Path(clone.environ["HOME"])
    if not (home / "linux").is_dir():
        _linux(home / "linux", tree())
    path = f"{clone.folder / '.venv' / 'bin'}{os.pathsep}{clone.environ['PATH']}"
    return Clone(clone.folder, {**clone.environ, "PATH": path, "KPV_TEST_TREE": str(tree())})


def tree() -> Path:
    """The unpacked source of the shipped study."""
    found = [
        source.parent / "tree"
        for source in (cli.cache_folder() / "sources").glob("*/source.json")
        if "linux-source-6.12" in source.read_text()
    ]
    assert found, "no 6.12 source in the cache: run tests/system/test_validate.py first"
    return found[0]


def _linux(folder: Path, source: Path) -> None:
    """A repository with the tag v6.12 and a branch my-branch with one commit on mm/madvise.c."""
    (folder / "mm").mkdir(parents=True)
    who = {"GIT_AUTHOR_NAME": "A Reader", "GIT_AUTHOR_EMAIL": "reader@example.org"}
    who |= {name.replace("AUTHOR", "COMMITTER"): value for name, value in who.items()}

    def git(*words: str) -> None:
        subprocess.run(["git", *words], cwd=folder, env={**os.environ, **who}, check=True, capture_output=True)

    (folder / "mm/madvise.c").write_bytes((source / "mm/madvise.c").read_bytes())
    git("init", "-q")
    git("add", "--all")
    git("commit", "-q", "-m", "Linux 6.12")
    git("tag", "v6.12")
    git("switch", "-q", "-c", "my-branch")
    git("am", "-q", str(CHECKOUT / "docs/tutorial/v2.mbox"))


@pytest.mark.parametrize("page", docs_commands.PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_each_command_of_the_page_does_what_it_says(page: Path, reader: Clone):
    for command in [each for each in docs_commands.of_page(page) if each.text not in GUEST]:
        run = TABLE.get(command.text, Instead(command.text, "", exits=command.exits))
        done = reader.sh(run.script)
        assert done.returncode == run.exits, f"{command}\n{done.stdout}"
        assert run.prints in done.stdout, f"{command}\n{done.stdout}"


def test_each_command_for_a_guest_works_in_one(shipped: Study, merged: KernelArtifact, session_options, tmp_path: Path):
    guest = stages.make_guest(stages.prepare(shipped, session_options, discard), session_options, discard)
    made = keys.make()
    initrd = rootfs.assemble([*guest.initrd, made.archive], tmp_path / "initrd")
    profile = machine.load(resources.folder("qemu"), "max")
    with VM(profile, image=merged.image, initrd=initrd, keys=made, workdir=tmp_path / "vm") as vm:
        vm.wait_ready(Deadline(60))
        for command in sorted(GUEST):
            done = vm.run(f"PATH=$PATH:/kpv/bin; {command}", deadline=Deadline(30))
            assert done.exit_status == 0, f"{command}\n{done.text}"
