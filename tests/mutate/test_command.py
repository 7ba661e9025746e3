"""kpv mutate on the command line: what it prints and writes, and mistakes that stop it before anything runs."""

import json
from pathlib import Path

import pytest

from pipeline import study, ui
from pipeline.errors import Exit
from tests.mutate.conftest import Lab
from tests.test_cli import kpv  # noqa: F401


@pytest.fixture
def mutate(lab: Lab, kpv, monkeypatch: pytest.MonkeyPatch, capsys):  # noqa: F811
    """Run ``kpv mutate`` on the lab's study; returns the exit code, stderr and stdout."""
    monkeypatch.setenv("KPV_CACHE", str(lab.bench.cache))
    monkeypatch.setattr(study, "load", lambda path: lab.study)
    said = {}

    def table(title, columns, rows, **more):
        said["table"] = [title, *(" ".join(map(str, row)) for row in rows)]

    monkeypatch.setattr(ui, "table", table)

    def run(*words: object) -> tuple[int, str, list[str]]:
        said.clear()
        code, err = kpv("mutate", "study.toml", "--mutants", lab.mutants, *words)
        return code, err, said.get("table", [])

    return run


def test_a_campaign_prints_a_table_and_writes_what_is_asked_for(lab: Lab, mutate):
    lab.mutant("a", "* full.64k no-lost-write")
    lab.mutant("b", "* full.64k cost", kind="legal")
    code, said, table = mutate("--json", "out/m.json", "--matrix", "out/m.md", "--all-checks", "-j", "1")
    assert code == Exit.PASS
    assert table[0] == "Mutants of merged: A demonstration"
    assert table[1].startswith("a bug killed no-lost-write max/full.64k and 1 more")
    assert [each["outcome"] for each in json.loads(Path("out/m.json").read_text())] == ["killed", "accepted"]
    assert "| `a` | ● |" in Path("out/m.md").read_text()
    assert len(lab.vm.jobs) == 6, "all checks are wanted"
    assert "mutant a (bug) in" in said and "killed by no-lost-write" in said
    assert "kernel under test: merged" in said


def test_some_mutants_on_some_machines_and_scenarios(lab: Lab, mutate):
    lab.mutant("x-a", "* full.64k no-lost-write")
    lab.mutant("y-b", "* full.64k no-lost-write")
    assert mutate("--only", "x-*", "-m", "a57", "-s", "fork", "-q")[0] == Exit.FAIL
    assert {(job.kernel, job.machine.id, spec.job) for job in lab.vm.jobs for spec in job.specs} == {
        ("merged", "a57", "fork.64k"),
        ("x-a", "a57", "fork.64k"),
    }


def test_another_kernel_on_request(lab: Lab, mutate):
    lab.mutant("a")
    assert "kernel under test: v2" in mutate("--kernel", "v2")[1]


@pytest.mark.parametrize(
    ("header", "words"),
    [("Subject: t\n", ["found none", "Mutant: bug"]), ("Mutant: perhaps\n", ["a.patch:1:", "perhaps"])],
)
def test_a_wrong_header_is_one_line_and_nothing_runs(lab: Lab, mutate, header, words):
    lab.mutant("b")
    lab.write("a", f"{header}---\n")
    code, said, _ = mutate()
    assert code == Exit.USAGE
    (error,) = [line for line in said.splitlines() if line.startswith("kpv: error:")]
    assert all(word in error for word in (*words, "a.patch"))
    assert "hint:" in said
    assert lab.vm.jobs == [] and not Path("runs").exists()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--kernel", "v9"], "no kernel 'v9'"),
        (["-m", "nosuch"], "no machine 'nosuch'"),
        (["-s", "nosuch"], "no scenario matches nosuch"),
        (["--only", "nosuch"], "no mutant matches 'nosuch'"),
    ],
)
def test_a_name_that_is_not_there_is_a_usage_error(lab: Lab, mutate, words, error):
    lab.mutant("a")
    code, said, _ = mutate(*words)
    assert code == Exit.USAGE
    assert error in said
    assert lab.vm.jobs == []


def test_a_file_that_cannot_be_written_is_told_before_anything_runs(lab: Lab, mutate):
    lab.mutant("a")
    Path("blocked").write_text("")
    code, said, _ = mutate("--json", "blocked/m.json")
    assert code == Exit.INFRA
    assert "blocked/m.json: cannot write" in said
    assert lab.vm.jobs == []


def test_an_interrupt_leaves_what_was_finished(lab: Lab, mutate, monkeypatch):
    lab.mutant("a", "* full.64k no-lost-write")
    lab.mutant("b")
    play = type(lab.vm).__call__

    def interrupted(self, job, emit, **more):
        if job.kernel == "b":
            raise KeyboardInterrupt
        return play(self, job, emit, **more)

    monkeypatch.setattr(type(lab.vm), "__call__", interrupted)
    assert mutate("--json", "m.json")[0] == Exit.INTERRUPTED
    assert [each["name"] for each in json.loads(Path("m.json").read_text())] == ["a"]
