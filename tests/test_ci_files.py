"""docs/ci: ready to copy, and what they run is plain shell that tests/system/test_ci_files.py executes."""

from pathlib import Path

import pytest
import yaml

from pipeline.errors import Exit

DOCS = Path(__file__).parents[1] / "docs" / "ci"


def github() -> dict:
    # YAML 1.1 reads the key `on` as true; GitHub does not.
    text = (DOCS / "github.yml").read_text(encoding="utf-8")
    return yaml.safe_load(text.replace("\non:\n", '\n"on":\n'))


def gitlab() -> dict:
    return yaml.safe_load((DOCS / "gitlab-ci.yml").read_text(encoding="utf-8"))


def steps() -> list[dict]:
    return github()["jobs"]["validate"]["steps"]


def test_github_checks_out_first_and_uploads_the_report_whatever_the_verdict():
    assert steps()[0]["uses"].startswith("actions/checkout@")
    upload = steps()[-1]
    assert upload["uses"].startswith("actions/upload-artifact@")
    assert upload["if"] == "always()"


def test_what_runs_holds_no_expression_that_only_the_server_knows():
    for script in [step["run"] for step in steps() if "run" in step] + gitlab()["validate"]["script"]:
        assert "${{" not in script


def test_each_exit_code_that_is_not_a_pass_has_words_on_github():
    script = next(step["run"] for step in steps() if step.get("name") == "Validate")
    for code in (Exit.FAIL, Exit.USAGE, Exit.INFRA, Exit.INCONCLUSIVE):
        assert f"{code.value}) echo" in script
    assert script.rstrip().endswith("exit $code")


def test_gitlab_retries_what_the_surroundings_spoiled_and_warns_of_what_is_inconclusive():
    job = gitlab()["validate"]
    assert job["retry"] == {"max": 1, "exit_codes": Exit.INFRA.value}
    assert job["allow_failure"] == {"exit_codes": Exit.INCONCLUSIVE.value}
    assert job["artifacts"]["when"] == "always"
    assert job["artifacts"]["reports"]["junit"] == "runs/*/junit.xml"


@pytest.mark.parametrize(
    "cached", [lambda: steps()[1]["with"]["path"].split(), lambda: gitlab()["validate"]["cache"]["paths"]]
)
def test_the_same_parts_of_the_cache_are_kept_between_runs(cached):
    assert sorted(cached()) == [f".kpv-cache/{part}" for part in ("ccache", "store")]
