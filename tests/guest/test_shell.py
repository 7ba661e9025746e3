"""What a broken connection must not do. The rest is tried in a real guest: tests/system/test_guest.py."""

import subprocess
import sys


def test_what_paramiko_logs_of_a_broken_connection_is_not_on_the_terminal():
    log = "logging.getLogger('paramiko.transport').error('Socket exception: Connection reset by peer')"
    done = subprocess.run(
        [sys.executable, "-c", f"import logging, pipeline.guest.shell; {log}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
