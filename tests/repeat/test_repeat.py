"""kpv repeat over a fake guest: what is run again, what counts as the same, and what is told of what differs."""

import json
from pathlib import Path

import pytest

from pipeline import exercise, plan, stages, study
from pipeline.errors import Exit, InfraError
from pipeline.exercise import BootOutcome
from pipeline.judge.model import Verdict
from pipeline.observation import Check, Outcome
from pipeline.repeat import campaign, report
from pipeline.repeat.record import Pass
from tests.mutate.conftest import Lab, bench, lab, linux, slow_lab, tools  # noqa: F401
from tests.test_cli import kpv  # noqa: F401


class Suite:
    """Runs campaigns on kernel merged; ``odd`` maps (pass, cell's name) to what it does to that cell."""

    def __init__(self, lab: Lab) -> None:  # noqa: F811
        self.lab, self.odd, self.passes = lab, {}, []
        self.play = type(lab.vm).__call__

    def __call__(self, job, emit, *, stop, until) -> BootOutcome:
        number = int(job.workdir.parent.parent.name.removeprefix("pass-"))
        self.passes.append(number)
        outcome = self.play(self.lab.vm, job, emit, stop=stop, until=until)
        for cell in outcome.cells:
            self.odd.get((number, cell.name), lambda cell: None)(cell)
        return outcome

    def run(self, times: int, *, fresh: bool = False):
        self.passes.clear()
        options = stages.Options(
            cache=self.lab.bench.cache,
            runs=self.lab.bench.folder / "runs",
            command=("kpv", "repeat", "a study"),
            jobs=1,
            fresh=fresh,
        )
        kernel = plan.only(self.lab.study, kernels=("merged",))
        return campaign.run(kernel, times, options, lambda event: None, save=lambda so_far: so_far.write())


@pytest.fixture
def suite(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Suite:  # noqa: F811
    made = Suite(lab)
    monkeypatch.setattr(exercise, "run", made)
    return made


def fails(name: str, detail: str):
    def change(cell) -> None:
        cell.outcome = Outcome.FAILED
        cell.checks = [c for c in cell.checks if c.name != name] + [Check(name=name, ok=False, detail=detail)]
        cell.ktap = "not ok 1\n"

    return change


def test_every_pass_boots_every_machine_anew_and_the_same_verdicts_are_a_pass(suite: Suite):
    result = suite.run(3)
    assert suite.passes == [1, 1, 2, 2, 3, 3]
    assert result.differences == {"merged": []}
    assert result.exit_code is Exit.PASS
    (passes,) = result.passes.values()
    assert all(len(each.outcomes) == 6 for each in passes)
    assert passes[0].verdicts["no-lost-write"]["merged/a57/fork.64k"] == Verdict.PASS
    assert not list(result.folder.glob("pass-*"))


def test_one_verdict_that_differs_once_is_told_with_its_reason_and_what_the_cell_printed(suite: Suite):
    suite.odd[2, "merged/a57/fork.64k"] = fails("no-lost-write", "1 of 4 pages wrong")
    result = suite.run(3)
    assert result.exit_code is Exit.FAIL
    found = {(each.what, each.where): each for each in result.differences["merged"]}
    assert set(found) == {
        ("outcome", "merged/a57/fork.64k"),
        ("no-lost-write", "merged/a57/fork.64k"),
        ("no-lost-write", ""),
    }
    one = found["no-lost-write", "merged/a57/fork.64k"]
    assert (one.usual, one.others) == ("PASS", {2: "FAIL"})
    assert "1 of 4 pages wrong" in one.reasons[2]
    assert (result.folder / "pass-2/cells/merged/a57/fork.64k/ktap.txt").read_text() == "not ok 1\n"
    assert not (result.folder / "pass-3").exists()
    told = json.loads((result.folder / "repeat.json").read_text())
    assert told["wanted"] == 3
    assert [each["number"] for each in told["kernels"][0]["passes"]] == [1, 2, 3]
    assert told["kernels"][0]["differences"][0]["others"] == {"2": "failed"}


def test_what_fails_each_time_is_steady(suite: Suite):
    for number in (1, 2):
        suite.odd[number, "merged/max/full.64k"] = fails("becomes-clean", "dirty")
    assert suite.run(2).exit_code is Exit.PASS


def test_passes_of_earlier_campaigns_count(suite: Suite):
    suite.run(2)
    result = suite.run(4)
    assert suite.passes == [3, 3, 4, 4]
    assert [each.cached for each in result.passes["merged"]] == [True, True, False, False]
    suite.run(2, fresh=True)
    assert suite.passes == [1, 1, 2, 2]


def test_another_judge_counts_no_earlier_pass(suite: Suite):
    suite.run(2)
    suite.lab.study = suite.lab.study.model_copy(update={"claim": ()})
    suite.run(2)
    assert suite.passes == [1, 1, 2, 2]


def test_a_pass_that_the_surroundings_spoiled_is_not_recorded_and_those_before_are(suite: Suite):
    def lost(cell) -> None:
        cell.outcome, cell.reason = Outcome.LOST, "QEMU was killed"

    suite.odd[2, "merged/max/full.128k"] = lost
    with pytest.raises(InfraError, match=r"pass 2: merged/max/full\.128k: QEMU was killed"):
        suite.run(3)
    suite.odd.clear()
    suite.run(3)
    assert suite.passes == [2, 2, 3, 3]


def test_what_runs_recorded_is_left_alone(suite: Suite):
    suite.run(2)
    assert not list(suite.lab.bench.cache.glob("store/cell/*"))


def _pass(number: int, **verdicts: str) -> Pass:
    rows = {check: {"k/max/a.64k": Verdict(verdict)} for check, verdict in verdicts.items()}
    return Pass(number=number, started="", seconds=1.0, outcomes={"k/max/a.64k": "passed"}, verdicts=rows)


def test_a_verdict_that_is_there_only_sometimes_differs():
    (found,) = report.differences([_pass(1, x="PASS"), _pass(2), _pass(3)])
    assert (found.what, found.usual, found.others) == ("x", "absent", {1: "PASS"})


def test_a_known_finding_that_once_does_not_show_differs():
    (found,) = report.differences([_pass(1, x="KNOWN"), _pass(2, x="PASS"), _pass(3, x="KNOWN")])
    assert (found.usual, found.others) == ("KNOWN", {2: "PASS"})


def test_the_command_prints_what_differs_and_ends_with_1(suite: Suite, kpv, monkeypatch, capsys):  # noqa: F811
    monkeypatch.setenv("KPV_CACHE", str(suite.lab.bench.cache))
    monkeypatch.setattr(study, "load", lambda path: suite.lab.study)
    assert kpv("repeat", "study.toml", "-k", "merged", "-n", "2", "--json", "out.json")[0] == Exit.PASS
    suite.odd[3, "merged/max/full.64k"] = fails("becomes-clean", "dirty")
    assert kpv("repeat", "study.toml", "-k", "merged", "-n", "3", "--json", "out.json")[0] == Exit.FAIL
    assert [len(each["passes"]) for each in json.loads(Path("out.json").read_text())["kernels"]] == [3]
