"""External processes: run to the end, or streamed line by line; none outlives its caller."""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import InfraError

#: Variables of the caller's that would change what make, gcc or git do.
_HOSTILE = (
    *("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "O", "W", "V", "C", "M"),
    *("ARCH", "SUBARCH", "CROSS_COMPILE", "LLVM", "CC", "LD", "AS", "AR", "HOSTCC", "HOSTCFLAGS", "HOSTLDFLAGS"),
    *("CFLAGS", "CPPFLAGS", "LDFLAGS", "KCFLAGS", "KCPPFLAGS", "KAFLAGS", "LOCALVERSION", "SOURCE_DATE_EPOCH"),
    *("CPATH", "C_INCLUDE_PATH", "LIBRARY_PATH", "COMPILER_PATH", "LANG", "TAR_OPTIONS", "XZ_OPT", "XZ_DEFAULTS"),
    *("KBUILD_", "KCONFIG_", "INSTALL_", "GIT_", "CCACHE_", "GCC_", "LC_"),  # every variable that starts so
)


class ProcessFailed(InfraError):
    """An external command failed; ``code`` as in subprocess: negative for a signal."""

    def __init__(self, argv: Sequence[str], code: int, output: str, *, what: str = "", hint: str = "") -> None:
        ended = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
        lines = [line for line in output.splitlines() if line.strip()]
        last = f": {lines[-1].strip()}" if lines else ""
        super().__init__(
            f"{what or 'a command'}: {os.path.basename(argv[0])} {ended}{last}",
            hint=hint or "run the command below by hand",
            detail="\n".join(["$ " + shlex.join(argv), *lines[-20:]]),
        )
        self.code = code
        self.output = output


def clean_env(extra: Mapping[str, str] = {}) -> dict[str, str]:
    """The caller's environment without what changes a build, in the C locale, plus ``extra``."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not any(name == bad or (bad.endswith("_") and name.startswith(bad)) for bad in _HOSTILE)
    }
    return {**kept, "LC_ALL": "C", "TZ": "UTC", **extra}


def run(
    argv: Sequence[str],
    *,
    what: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    check: bool = True,
) -> subprocess.CompletedProcess[bytes]:
    """Run a short command. Raises ProcessFailed (with ``check``), or InfraError where the program is missing."""
    try:
        done = subprocess.run(
            argv,
            cwd=cwd,
            env=dict(env) if env is not None else clean_env(),
            input=stdin if stdin is not None else b"",
            capture_output=True,
        )
    except FileNotFoundError as err:
        if cwd is not None and not cwd.exists():
            raise
        raise InfraError(f"{what}: {argv[0]} is not installed", hint="install it, or run: kpv doctor") from err
    if check and done.returncode != 0:
        raise ProcessFailed(argv, done.returncode, (done.stderr + done.stdout).decode(errors="replace"), what=what)
    return done


def stream(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    log: BinaryIO,
    on_line: Callable[[str], None],
    keep_open: Iterable[int] = (),
) -> int:
    """Run a long command in a process group of its own; each line of output goes to ``log`` and ``on_line``.

    Returns the exit code (negative for a signal). Whatever ends this call,
    Ctrl-C included, ends the whole group; SIGKILL of the caller sends it SIGTERM.
    ``keep_open``: descriptors the children inherit, e.g. of a lock that must
    hold for as long as any of them lives.
    """
    guard = shutil.which("setpriv")
    command = [guard, "--pdeathsig", "TERM", "--", *argv] if guard else list(argv)
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        pass_fds=tuple(keep_open),
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            log.write(line)
            on_line(line.decode(errors="replace").rstrip("\n"))
        log.flush()
        return process.wait()
    except BaseException:
        end_group(process)
        raise
    finally:
        process.stdout.close()


def end_group(process: subprocess.Popen[bytes], *, patience: float = 3.0) -> None:
    """End a process and its whole group: asked first (make then removes half-made targets), killed at last."""
    try:
        for ask in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, ask)
            deadline = time.monotonic() + patience
            while time.monotonic() < deadline:
                if process.poll() is not None and not group_alive(process.pid):
                    return
                time.sleep(0.02)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def group_alive(group: int) -> bool:
    """Whether a process of the group still runs; one that only waits to be reaped does not count."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                # "pid (name) state ppid pgrp ...": the name may hold spaces and parentheses.
                fields = Path(entry.path, "stat").read_text(errors="replace").rpartition(")")[2].split()
                if int(fields[2]) == group and fields[0] not in "ZX":
                    return True
    return False
