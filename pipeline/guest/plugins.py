"""Compiles the TCG plugins that QEMU loads, ``qemu/<name>/*.c``, and says how QEMU is told of them."""

import hashlib
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.errors import InfraError
from pipeline.kernel import process
from pipeline.store import Store

#: Shared by guest tests and plugins; lies in the guest tests' folder.
MARKS = "kpv_mark.h"
#: Folders of what every plugin is built with.
SHARED = ("include", "a64")


class PluginError(InfraError):
    """A plugin does not compile on this host."""


@dataclass(frozen=True)
class Plugin:
    """A compiled plugin. ``key``: of everything it was made from. ``options``: name and value, as the plugin takes
    them, beside ``ram`` and ``size`` (the guest's RAM), which every plugin is told. ``suffix``: of its output."""

    name: str
    path: Path
    key: str
    options: Mapping[str, str] = field(default_factory=dict)
    suffix: str = "bin"

    def with_options(self, **options: str) -> "Plugin":
        """The same plugin, told more."""
        return replace(self, options={**self.options, **options})

    def with_suffix(self, suffix: str) -> "Plugin":
        """The same plugin, its output named by what it is."""
        return replace(self, suffix=suffix)

    @property
    def output(self) -> str:
        """Name of the file that it writes in the boot's folder."""
        return f"{self.name}.{self.suffix}"

    @property
    def identity(self) -> str:
        """What a cell that ran with it depends on."""
        return " ".join(["plugin", self.name, self.key, *(f"{name}={value}" for name, value in self.options.items())])

    def argument(self, *, ram: Path, memory: int, folder: Path) -> tuple[str, str]:
        """QEMU's words. ``ram``: the file of the guest's RAM, of ``memory`` bytes; ``folder`` gets its output."""
        words = {"ram": str(ram), "size": str(memory), "out": str(folder / self.output), **self.options}
        # Commas are doubled (QemuOpts).
        values = [str(self.path), *(f"{name}={value}" for name, value in words.items())]
        return "-plugin", ",".join(value.replace(",", ",,") for value in values)


def compile_all(
    names: Iterable[str], *, sources: Path, marks: Path, compiler: str, qemu: str, store: Store
) -> dict[str, Plugin]:
    """Build plugins of the folder ``sources``. Raises PluginError with the compiler's words.

    ``marks``: the folder of kpv_mark.h. ``compiler``, ``qemu``: version lines of
    the host's compiler and of QEMU; part of the key, as the plugin is made for
    both.
    """
    wanted = sorted(set(names))
    if unknown := [name for name in wanted if not list((sources / name).glob("*.c"))]:
        raise PluginError(f"{sources}: no plugin {unknown[0]}: expected C files in {sources / unknown[0]}")
    plugins = {}
    for name in wanted:
        files = [path for folder in (name, *SHARED) for path in (sources / folder).glob("*.[ch]")]
        inputs = {
            "sources": {
                str(path.relative_to(sources)): _sha256(path) for path in sorted([*files, sources / "Makefile"])
            },
            "marks": _sha256(marks / MARKS),
            "compiler": compiler,
            "qemu": qemu,
        }
        artifact = store.artifact(
            "plugin", inputs, lambda out, name=name: _make(out, name, sources=sources), subject=f"qemu/{name}"
        )
        plugins[name] = Plugin(name, artifact.path / f"{name}.so", artifact.key)
    return plugins


def _make(out: Path, name: str, *, sources: Path) -> None:
    command = ["make", "-s", "-C", str(sources), f"O={out}", str(out / f"{name}.so")]
    done = process.run(command, what=f"qemu/{name}", check=False)
    if done.returncode:
        words = (done.stdout + done.stderr).decode(errors="replace").strip()
        first = next((line for line in words.splitlines() if "error:" in line), words[:200] or "make failed")
        raise PluginError(
            f"QEMU plugin {name} does not compile: {first}", hint=f"run: {shlex.join(command)}", detail=words[-4000:]
        )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
