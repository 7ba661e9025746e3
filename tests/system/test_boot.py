"""`kpv boot` into a real kernel."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.system


def test_a_command_has_the_tests_the_probes_and_tracing_and_its_exit_code_comes_back(merged, tmp_path):
    asked = (
        "lazyfree -r lazyfree.64k.full_cover | grep -c '^# kpv'; cat /sys/kernel/tracing/tracing_on; "
        "grep -q folio_mark_lazyfree /sys/kernel/tracing/kprobe_events && wc -c; exit 7"
    )
    command = [
        sys.executable,
        "-m",
        "pipeline",
        "boot",
        "madvise-free-mthp",
        "-k",
        "merged",
        "-m",
        "max",
        "-q",
        "--cpus",
        "1",
    ]
    done = subprocess.run(
        [*command, "--keep", str(tmp_path / "kept"), "--", asked], input=b"12345", capture_output=True, timeout=120
    )
    assert done.returncode == 7, done.stderr
    records, on, piped = done.stdout.split()
    assert int(records) > 10
    assert (on, piped) == (b"1", b"5")
    assert (tmp_path / "kept" / "trace.dat").stat().st_size > 0
    assert "reboot: Power down" in (tmp_path / "kept" / "console.log").read_text(errors="replace")
    assert not (tmp_path / "kept" / "initrd").exists()
