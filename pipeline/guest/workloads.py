"""Compiles the guest tests: static arm64 binaries over the kernel tree's own kselftest harness."""

import hashlib
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError
from pipeline.kernel import process
from pipeline.store import Store

#: Headers of the kernel tree that the guest tests include.
HARNESS = ("kselftest.h", "kselftest_harness.h")


class WorkloadError(UserError):
    """A guest test does not compile, or the study names one that does not exist."""


@dataclass(frozen=True)
class Workload:
    """One program: its binary on the host and the sha256 of its bytes."""

    name: str
    path: Path
    sha256: str


def compile_all(
    programs: Iterable[str], *, sources: Path, tree: Path, cross_compile: str, compiler: str, store: Store
) -> dict[str, Workload]:
    """Build the named programs of ``guest-tests/`` against the selftest headers of ``tree``.

    ``compiler`` is the compiler's version line: part of the key. Raises
    WorkloadError with the compiler's words.
    """
    wanted = sorted(set(programs))
    for name in wanted:
        if not (sources / f"{name}.c").is_file():
            known = ", ".join(sorted(path.stem for path in sources.glob("*.c")))
            raise WorkloadError(
                f"{sources}: no guest test {name}.c", hint=f"set the scenario's program to one of: {known}"
            )
    selftests = tree / "tools" / "testing" / "selftests"
    missing = [name for name in HARNESS if not (selftests / name).is_file()]
    if missing:
        raise WorkloadError(
            f"{selftests}: the kernel tree lacks {', '.join(missing)}",
            hint="use a whole kernel source; the guest tests are built over its kselftest harness",
        )
    inputs = {
        "sources": _digests(sources, sources.glob("*.[ch]"), sources.glob("Makefile")),
        "harness": _digests(selftests, (selftests / name for name in HARNESS)),
        "compiler": compiler,
        "cross_compile": cross_compile,
        "programs": wanted,
    }
    artifact = store.artifact(
        "workloads",
        inputs,
        lambda out: _make(out, wanted, sources=sources, tree=tree, cross_compile=cross_compile),
        subject="guest-tests",
    )
    return {name: Workload(name, artifact.path / name, _sha256(artifact.path / name)) for name in wanted}


def _make(out: Path, programs: list[str], *, sources: Path, tree: Path, cross_compile: str) -> None:
    targets = [str(out / name) for name in programs]
    command = ["make", "-s", "-C", str(sources), f"KSRC={tree}", f"O={out}", f"CROSS_COMPILE={cross_compile}", *targets]
    done = process.run(command, what="guest-tests", check=False)
    if done.returncode:
        words = (done.stdout + done.stderr).decode(errors="replace").strip()
        first = next((line for line in words.splitlines() if "error:" in line), words[:200] or "make failed")
        raise WorkloadError(
            f"guest-tests do not compile: {first}", hint=f"run: {shlex.join(command)}", detail=words[-4000:]
        )


def _digests(root: Path, *groups: Iterable[Path]) -> Mapping[str, str]:
    return {str(path.relative_to(root)): _sha256(path) for group in groups for path in sorted(group)}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
