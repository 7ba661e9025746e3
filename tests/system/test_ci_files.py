"""docs/ci: each step's script as written, in a clean clone; a variable that the files have narrows the cells."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests import test_ci_files
from tests.sandbox import Clone

pytestmark = pytest.mark.system

#: What a user may set; four cells, of kernels that the other system tests build.
NARROW = "-k merged -m max -s full_cover.64k -s shared_full_cover.64k"


def test_each_step_for_github_runs_as_written(clone: Clone, tmp_path: Path):
    summary = tmp_path / "step-summary.md"
    wanted = test_ci_files.github()["env"]
    for step in [step for step in test_ci_files.steps() if "run" in step]:
        # What GitHub calls in a container: bash, if there is one.
        done = clone.sh(
            step["run"],
            shell=("bash", "-e", "-c"),
            STUDY=wanted["STUDY"],
            KPV_ARGS=NARROW,
            GITHUB_STEP_SUMMARY=str(summary),
        )
        assert done.returncode == 0, f"{step['name']}\n{done.stdout}"
    assert summary.read_text(encoding="utf-8").startswith("## ✓ mm/madvise")
    upload = test_ci_files.steps()[-1]["with"]["path"].split()
    found = {pattern: list(clone.folder.glob(pattern)) for pattern in upload}
    assert all(found.values()), found


def test_each_line_for_gitlab_runs_as_written(clone: Clone):
    job, variables = test_ci_files.gitlab()["validate"], test_ci_files.gitlab()["variables"]
    # The runner makes one script of both lists.
    script = "\n".join([*job["before_script"], *job["script"]])
    done = clone.sh(script, shell=("bash", "-e", "-c"), STUDY=variables["STUDY"], KPV_ARGS=NARROW)
    assert done.returncode == 0, done.stdout
    newest = max(clone.folder.glob(job["artifacts"]["reports"]["junit"]), key=lambda path: path.stat().st_mtime)
    cases = list(ET.parse(newest).getroot().iter("testcase"))
    assert sum(case.get("classname") == "kpv.merged.max" for case in cases) == 2


def test_a_series_that_fails_turns_the_job_red(clone: Clone):
    """The tutorial's first version, judged by the tutorial's study."""
    step = next(step for step in test_ci_files.steps() if step.get("name") == "Validate")
    done = clone.sh(
        step["run"], shell=("bash", "-e", "-c"), STUDY="docs/tutorial", KPV_ARGS="-k v1 -m max -s full_cover.64k"
    )
    assert done.returncode == 1, done.stdout
    assert "::error title=kpv::a kernel is not judged as the study expects" in done.stdout
