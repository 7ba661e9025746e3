"""A fake kernel tree and a fake toolchain: every path of a build, in milliseconds."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipeline.events import Event
from pipeline.kernel import build, kconfig, series, source, toolchain
from pipeline.store import Store

FAKE = Path(__file__).parent.parent / "fakelinux"


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake compiler first in PATH, and the machine a PC, so that it is a cross compiler."""
    monkeypatch.setenv("PATH", f"{FAKE / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    toolchain._find.cache_clear()


@pytest.fixture
def linux(tmp_path: Path) -> Path:
    """A copy of the fake tree, as a user's folder; files are an hour old, as sources are older than builds."""
    tree = tmp_path / "linux"
    shutil.copytree(FAKE / "tree", tree, ignore=shutil.ignore_patterns("__pycache__"))
    for path in tree.rglob("*"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    return tree


def make_patch(tree: Path, changes: dict[str, tuple[str, str]]) -> str:
    """A patch as git diff writes it, which replaces text in files: name -> (old, new)."""
    out = ""
    for name, (old, new) in changes.items():
        before = (tree / name).read_text() if (tree / name).exists() else ""
        assert old in before
        after = before.replace(old, new) if old else before + new
        work = tree.parent / "diff"
        for side, text in (("a", before), ("b", after)):
            (work / side / name).parent.mkdir(parents=True, exist_ok=True)
            (work / side / name).write_text(text)
        said = subprocess.run(
            ["git", "diff", "--no-index", "--no-prefix", f"a/{name}", f"b/{name}"],
            cwd=work,
            capture_output=True,
            text=True,
        ).stdout
        if not before:
            said = said.replace(f"--- a/{name}", "--- /dev/null").replace("index ", "new file mode 100644\nindex ", 1)
            said = "\n".join(
                line for line in said.split("\n") if "mode 100644" not in line or line.startswith("new file")
            )
        out += said
        shutil.rmtree(work)
    return out


@dataclass
class Bench:
    """A study's folder, a cache and a store around the fake tree."""

    folder: Path
    linux: Path
    events: list[Event] = field(default_factory=list)

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def log(self) -> Path:
        return self.folder / "compiled"

    def tree(self) -> source.SourceTree:
        return source.resolve(f"dir:{self.linux}", cache=self.cache, folder=self.folder, emit=self.events.append)

    def patch(self, name: str, changes: dict[str, tuple[str, str]]) -> str:
        (self.folder / name).write_text(make_patch(self.linux, changes))
        return name

    def build(self, *entries: str, kernel: str = "k", request: str = "CONFIG_FOO=y\n") -> build.KernelArtifact:
        tree = self.tree()
        patches = series.load(entries, self.folder)
        merged: dict[str, kconfig.Option] = {}
        kconfig.merge(merged, kconfig.parse(request, "test.config"))
        self.log.unlink(missing_ok=True)
        return build.build(
            source=tree,
            overlay=series.apply(patches, tree),
            series=patches,
            fragments=merged,
            study_id="study",
            kernel_id=kernel,
            store=Store(self.cache / "store"),
            cache=self.cache,
            emit=self.events.append,
        )

    def compiled(self) -> list[str]:
        """The sources that the last build compiled."""
        if not self.log.exists():
            return []
        return sorted(line.removeprefix("../") for line in self.log.read_text().splitlines())

    def slot(self, kernel: str = "k") -> Path:
        return self.cache / "work" / self.tree().id / f"study-{kernel}"


@pytest.fixture
def bench(tmp_path: Path, linux: Path, tools: None, monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench(tmp_path, linux)
    monkeypatch.setenv("FAKE_LOG", str(made.log))
    return made


@pytest.fixture
def listing() -> Callable[[Path], dict[str, tuple[int, int, bytes]]]:
    """Of a tree: every file's mtime (ns), mode and content."""

    def of(root: Path) -> dict[str, tuple[int, int, bytes]]:
        return {
            str(path.relative_to(root)): (path.stat().st_mtime_ns, path.stat().st_mode, path.read_bytes())
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }

    return of
