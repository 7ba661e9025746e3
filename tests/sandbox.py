"""A clean clone with a .venv of its own, as a newcomer has it after `make setup`."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Clone:
    """``folder``: the clone. ``environ``: of a shell that has nothing but PATH, a home and the cache of kernels."""

    folder: Path
    environ: dict[str, str]

    def sh(
        self, script: str, *, shell: tuple[str, ...] = ("sh", "-e", "-c"), stdin: str = "", **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a script in the clone's top folder; stdout and stderr together, as a CI's log shows them."""
        return subprocess.run(
            [*shell, script],
            cwd=self.folder,
            env={**self.environ, **environ},
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )


#: Parts of the cache that a newcomer's clone shares with the user: what costs minutes to make. Not the history of runs.
SHARED = ("ccache", "sources", "store", "work")


def share(cache: Path, folder: Path) -> Path:
    """A cache in ``folder`` with the costly parts of another one, and nothing else of it."""
    folder.mkdir(parents=True)
    for name in SHARED:
        (cache / name).mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(cache / name, target_is_directory=True)
    return folder


def make(folder: Path, *, home: Path, cache: Path) -> Clone:
    """Commit what the checkout holds now, tracked or new, into a repository in ``folder``.

    Not `git clone`: what is not committed yet is meant to be tried too.
    """
    folder.mkdir(parents=True)
    home.mkdir(parents=True, exist_ok=True)
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"],
        cwd=CHECKOUT,
        capture_output=True,
        check=True,
    ).stdout
    there = b"\0".join(name for name in names.split(b"\0") if name and os.path.lexists(CHECKOUT / os.fsdecode(name)))
    tar = subprocess.run(
        ["tar", "--create", "--null", "--files-from=-"], cwd=CHECKOUT, input=there, capture_output=True, check=True
    )
    subprocess.run(["tar", "--extract"], cwd=folder, input=tar.stdout, check=True)
    who = ("-c", "user.name=A Newcomer", "-c", "user.email=newcomer@example.org")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    subprocess.run(["git", "add", "--all"], cwd=folder, check=True)
    subprocess.run(["git", *who, "commit", "-q", "-m", "clone"], cwd=folder, check=True)
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "PIP_CONFIG_FILE") if name in os.environ}
    return Clone(folder, {**kept, "HOME": str(home), "KPV_CACHE": str(cache)})
