"""reproduce.sh: repeats the run, and says whether the same things were tested."""

import shlex

from pipeline.report.words import judgement_of, line
from pipeline.run import Run

#: Compares what a new run.json says of kernels with what this run had. Arguments: the file, then id=config=image.
_COMPARE = """\
import json, sys
kernels = {k["id"]: k for k in json.load(open(sys.argv[1], encoding="utf-8"))["kernels"]}
wrong = 0
for entry in sys.argv[2:]:
    name, config, image = entry.split("=")
    found = kernels.get(name, {})
    for what, want in (("config_sha256", config), ("image_sha256", image)):
        got = found.get(what) or "none"
        if want and got != want:
            wrong = 1
            print(f"{name}: {what}: expected {want}, found {got}", file=sys.stderr)
sys.exit(3 if wrong else 0)
"""


def render(run: Run) -> str:
    """The script as text, for any POSIX sh. Exit codes are those of kpv; 3 also where a hash differs."""
    study = run.study
    command = command_of(run)
    checks = "\n".join(
        f'expect {patch.sha256} "$folder"/{shlex.quote(patch.file)}'
        for patch in dict.fromkeys(patch for kernel in run.kernels for patch in kernel.series)
    )
    kernels = " ".join(
        shlex.quote(f"{kernel.id}={kernel.config_sha256}={kernel.image_sha256}") for kernel in run.kernels
    )
    return f"""#!/bin/sh
# {line(study.content.title)}
# Repeats run {line(run.id)} of {line(run.started)}; usage: sh reproduce.sh [STUDY.toml]
# kpv {line(run.kpv)} {line(run.host.kpv_git)}
# made with: {line(run.host.qemu)}; {line(run.host.gcc)}; {line(run.host.os)}
set -eu

study=${{1:-{shlex.quote(study.file)}}}
folder=$(dirname "$study")
runs=${{KPV_RUNS:-runs}}

expect() {{
    found=$(sha256sum "$2" | cut -d ' ' -f 1)
    [ "$found" = "$1" ] || {{ echo "$2: expected sha256 $1, found $found" >&2; exit 2; }}
}}

version=$(kpv --version)
case " $version " in
    *" "{shlex.quote(run.kpv)}" "*) ;;
    *) echo "expected kpv {line(run.kpv)}, found $version" >&2; exit 2 ;;
esac

expect {study.sha256 or "unknown"} "$study"
{checks}

status=0
{command} || status=$?
case $status in 0|1|4) ;; *) exit "$status" ;; esac

newest=$(ls -td "$runs"/*/run.json | head -n 1)
python3 - "$newest" {kernels} <<'COMPARE'
{_COMPARE}COMPARE

want={judgement_of(run).exit_code}
[ "$status" = "$want" ] || {{ echo "expected exit code $want, found $status" >&2; exit 1; }}
echo "reproduced: same inputs, same kernels, exit code $status"
"""


def command_of(run: Run) -> str:
    """The command line as it was given, with the study file as ``$study`` where it occurs."""
    words = list(run.command) or ["kpv", "validate", run.study.file]
    words[0] = "kpv"
    return " ".join('"$study"' if word == run.study.file else shlex.quote(word) for word in words)
