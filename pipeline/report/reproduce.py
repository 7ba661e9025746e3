"""reproduce.sh: repeats the run, and says whether the same things were tested."""

import shlex
from pathlib import PurePath
from typing import Protocol

from pipeline.report.words import judgement_of, line
from pipeline.run import HostFact, KernelFact, Run, StudyFact

#: Compares what a new run.json says of kernels with what this run had. Arguments: the file, then what _hashes
#: makes. Patches are compared here too, since their hash is of the diff as kpv reads it, not of the file.
_COMPARE = """\
import json, sys
kernels = {k["id"]: k for k in json.load(open(sys.argv[1], encoding="utf-8"))["kernels"]}
wrong = 0
for entry in sys.argv[2:]:
    name, patches, config, image = entry.split("=")
    kernel = kernels.get(name, {})
    found = {
        "series": ",".join(patch["sha256"] for patch in kernel.get("series", [])),
        "config_sha256": kernel.get("config_sha256", ""),
        "image_sha256": kernel.get("image_sha256", ""),
    }
    for (what, got), want in zip(found.items(), (patches, config, image)):
        if want and got != want:
            wrong = 1
            print(f"{name}: {what}: expected {want}, found {got or 'none'}", file=sys.stderr)
sys.exit(3 if wrong else 0)
"""


#: What ``kpv check-hook`` was given, in the run's folder.
STDIN = "stdin.mbox"


class Repeatable(Protocol):
    """The head of a record: what every run has, whatever it was for."""

    id: str
    kpv: str
    started: str
    command: tuple[str, ...]
    study: StudyFact
    host: HostFact
    kernels: tuple[KernelFact, ...]


def render(run: Run) -> str:
    """The script of a run of ``kpv validate``, see ``script``."""
    return script(run, record="run.json", exit_code=judgement_of(run).exit_code)


def script(run: Repeatable, *, record: str, exit_code: int, same: str = "") -> str:
    """The script as text, for any POSIX sh. Exit codes are those of kpv; 3 also where a hash differs.

    ``record``: the file of the new run that tells of its kernels. ``same``: more shell, which compares
    ``$newest``, that file, with what is beside the script.
    """
    study = run.study
    command = command_of(run)
    kernels = " ".join(shlex.quote(_hashes(kernel)) for kernel in run.kernels)
    return f"""#!/bin/sh
# {line(study.content.title)}
# Repeats run {line(run.id)} of {line(run.started)}; usage: sh reproduce.sh [STUDY.toml]
# kpv {line(run.kpv)} {line(run.host.kpv_git)}
# made with: {line(run.host.qemu)}; {line(run.host.gcc)}; {line(run.host.os)}
set -eu

here=$(dirname -- "$0")
study=${{1:-}}
[ -n "$study" ] || study={shlex.quote(study_path(run))}
runs={shlex.quote(runs_folder(run))}

expect() {{
    found=$(sha256sum "$2" | cut -d ' ' -f 1)
    [ "$found" = "$1" ] || {{ echo "$2: expected sha256 $1, found $found" >&2; exit 2; }}
}}

wanted={shlex.quote(f"kpv {run.kpv}")}
version=$(kpv --version)
[ "$version" = "$wanted" ] || {{ echo "expected $wanted, found $version" >&2; exit 2; }}

expect {shlex.quote(study.sha256 or "unknown")} "$study"

status=0
{command} || status=$?
case $status in 0|1|4) ;; *) exit "$status" ;; esac

newest=$(ls -td "$runs"/*/{record} | head -n 1)
python3 - "$newest" {kernels} <<'COMPARE'
{_COMPARE}COMPARE

{same}want={exit_code}
[ "$status" = "$want" ] || {{ echo "expected exit code $want, found $status" >&2; exit 1; }}
echo "reproduced: same inputs, same kernels, exit code $status"
"""


def _hashes(kernel: KernelFact) -> str:
    """``id=patch,patch=config=image``, each a SHA-256 in hex, or "" where it is not on record."""
    patches = ",".join(patch.sha256 for patch in kernel.series)
    return "=".join((kernel.id, patches, kernel.config_sha256, kernel.image_sha256))


def command_of(run: Repeatable) -> str:
    """The command line as it was given, with the study file as ``$study`` where it occurs."""
    words = list(run.command) or ["kpv", "validate", run.study.file]
    words[0] = "kpv"
    command = " ".join('"$study"' if _names_study(run, word) else shlex.quote(word) for word in words)
    return f'{command} < "$here/{STDIN}"' if reads_stdin(run) else command


def reads_stdin(run: Repeatable) -> bool:
    """Whether the run was of a mail, which is kept as ``STDIN`` in its folder."""
    return run.command[1:2] == ("check-hook",)


def study_path(run: Repeatable) -> str:
    """The study file as the command named it, so that a path of one machine does not end up in the script."""
    for word in run.command[1:]:
        if _names_study(run, word):
            return word if PurePath(word).name == PurePath(run.study.file).name else str(PurePath(word, "study.toml"))
    return run.study.file


def _names_study(run: Repeatable, word: str) -> bool:
    """Whether a word of the command is the study file, or its folder, perhaps relative to where kpv was called."""
    parts, file = PurePath(word).parts, PurePath(run.study.file)
    return bool(parts) and any(path.parts[-len(parts) :] == parts for path in (file, file.parent))


def runs_folder(run: Repeatable) -> str:
    """What the command gave as ``--runs``, else kpv's own choice."""
    words = list(run.command)
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == "--runs" and following:
            return following
        if word.startswith("--runs="):
            return word.removeprefix("--runs=")
    return "runs"
