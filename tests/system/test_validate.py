"""The main job on the shipped study: real kernels, real VMs, and the verdict that must come out."""

import json
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from pipeline import plan, stages
from pipeline import run as runs
from pipeline.errors import Exit
from pipeline.events import CellFinished, StageFinished, StageProgress, StageStarted, discard
from pipeline.judge.model import Verdict
from pipeline.observation import Outcome
from pipeline.stages import Result
from pipeline.study import Study, load
from tests.system.conftest import MUTANTS, SHIPPED, Bench

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def whole(shipped: Study, session_options) -> Result:
    """One fresh run of the whole shipped study."""
    return Bench(session_options).validate(shipped)


def decisions(result: Result, kernel: str) -> dict[str, Verdict]:
    judged = next(k for k in result.run.judgement.kernels if k.kernel == kernel)
    return {decision.id: decision.verdict for decision in judged.decisions}


def test_every_kernel_of_the_shipped_study_is_judged_as_expected(whole: Result):
    judgement = whole.run.judgement
    assert {k.kernel: k.difference for k in judgement.kernels} == {"baseline": "", "v2": "", "merged": ""}
    assert {k.kernel: str(k.verdict) for k in judgement.kernels} == {"baseline": "PASS", "v2": "FAIL", "merged": "PASS"}
    assert judgement.infra == ()
    assert whole.exit_code is Exit.PASS


def test_every_cell_ran(whole: Result, shipped: Study):
    asked = {
        spec.name
        for kernel in shipped.kernel
        for machine in shipped.machines
        for spec in plan.cells(shipped, kernel.id, machine)
    }
    assert {cell.name for cell in whole.run.cells} == asked
    odd = {cell.name: cell.reason for cell in whole.run.cells if cell.outcome not in (Outcome.PASSED, Outcome.FAILED)}
    assert odd == {}


def test_the_only_failed_cells_of_the_other_two_are_the_known_finding(whole: Result):
    """Stock 6.12 loses a sharer's data after a clean swap-in; order 0 does so before the series as well."""
    failed = {cell.name for cell in whole.run.cells if cell.outcome is Outcome.FAILED and cell.kernel != "v2"}
    assert {name.split("/")[2].split(".")[0] for name in failed} == {"shared_swapin_clean"}
    for machine in ("max", "a57"):
        for size in ("4k", "32k", "64k", "128k"):
            assert f"merged/{machine}/shared_swapin_clean.{size}" in failed
        assert f"baseline/{machine}/shared_swapin_clean.64k" not in failed


def test_counters_are_those_of_the_published_table(whole: Result):
    """4 folios of 64K: marks 64 -> 4, splits 4 -> 0; version 2 converts each block twice, merged never."""
    for machine in ("max", "a57"):
        steps = {
            kernel: next(
                step
                for cell in whole.run.cells
                if cell.name == f"{kernel}/{machine}/full_cover.64k"
                for step in cell.steps
                if step.name == "free"
            )
            for kernel in ("baseline", "v2", "merged")
        }
        assert {k: s.probe["folio_mark_lazyfree"] for k, s in steps.items()} == {"baseline": 64, "v2": 4, "merged": 4}
        assert {k: s.mthp["split"] for k, s in steps.items()} == {"baseline": 4, "v2": 0, "merged": 0}
        assert {k: s.vmstat["pglazyfree"] for k, s in steps.items()} == {"baseline": 64, "v2": 64, "merged": 64}
        assert steps["v2"].probe["contpte_convert"] == 8
        assert steps["merged"].probe["contpte_convert"] == 0


def test_the_baseline_judged_against_itself_shows_no_difference(whole: Result):
    control = whole.run.judgement.control
    assert control.claims > 0
    assert control.observations > 0
    assert control.differences == ()


def test_the_run_folder_is_whole(whole: Result):
    folder = whole.folder
    assert runs.load(folder).judgement == whole.run.judgement
    cases = ET.parse(folder / "junit.xml").getroot().iter("testcase")
    assert sum(1 for _ in cases) >= len(whole.run.cells)
    text = (folder / "report.txt").read_text()
    assert max(map(len, text.splitlines())) <= 72
    html = (folder / "report.html").read_text()
    assert "<script" not in html
    assert 'src="http' not in html
    subprocess.run(["sh", "-n", folder / "reproduce.sh"], check=True)
    for cell in whole.run.cells:
        assert (folder / "cells" / cell.name / "ktap.txt").is_file()
        assert (folder / "cells" / cell.name / "trace.txt").is_file(), cell.name
    for boot in whole.run.boots:
        assert boot.end == "poweroff"
        assert boot.qemu[0].endswith("qemu-system-aarch64")
        assert "kpv: ready" in (folder / "boots" / boot.id / "console.log").read_text(errors="replace")
        report = subprocess.run(
            ["trace-cmd", "report", "-i", folder / "boots" / boot.id / "trace.dat"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert "folio_mark_lazyfree" in report.stdout
    assert [json.loads(line)["event"] for line in (folder / "events.jsonl").open()]


def test_judging_the_record_again_gives_the_same(whole: Result, tmp_path: Path):
    copy = tmp_path / "run"
    shutil.copytree(whole.folder, copy)
    (copy / "report.html").unlink()
    again = stages.rejudge(copy, discard)
    assert again.run.judgement == whole.run.judgement
    assert (copy / "report.html").is_file()


def test_with_nothing_changed_nothing_is_made_again(whole: Result, shipped: Study, bench: Bench):
    again = bench.validate(shipped, fresh=False)
    assert again.run.judgement == whole.run.judgement
    assert all(event.cached for event in bench.of(CellFinished))
    assert not [event for event in bench.of(StageStarted) if event.stage == "boot"]
    assert all(event.cached for event in bench.of(StageFinished) if event.stage == "build")


def test_one_changed_line_runs_only_that_kernel_again(whole: Result, bench: Bench, tmp_path: Path):
    folder = tmp_path / "study"
    shutil.copytree(SHIPPED, folder)
    patch = next((folder / "v2").glob("*.patch"))
    text = patch.read_text()
    changed = text.replace("+\t\t\tif (!folio_trylock(folio))", "+\t\t\tif (unlikely(!folio_trylock(folio)))", 1)
    assert changed != text
    patch.write_text(changed)
    study = plan.narrow(load(folder), machines=("max",), scenarios=("full_cover*",))
    result = bench.validate(study, fresh=False)
    ran = {event.kernel for event in bench.of(CellFinished) if not event.cached}
    built = {event.subject for event in bench.of(StageFinished) if event.stage == "build" and not event.cached}
    assert ran <= {"v2"}
    assert built <= {"v2"}
    assert decisions(result, "v2")["fold-kept"] is Verdict.FAIL


def test_a_seeded_bug_flips_the_verdict_on_the_right_property(bench: Bench, with_patches):
    """One of them as a candidate of a study; tests/system/test_mutate.py has others by the campaign."""
    candidate = with_patches(MUTANTS / "madvise-skip-shared-extent.patch", name="mutant")
    narrowed = plan.narrow(candidate, machines=("max", "a57"), scenarios=("dontneed_*", "shared_partial*"))
    result = bench.validate(narrowed)
    assert result.exit_code is Exit.FAIL
    assert decisions(result, "mutant")["exclusive-in-shared-extent"] is Verdict.FAIL
    assert Verdict.FAIL not in decisions(result, "baseline").values()
    progress = {name: [e for e in bench.of(StageProgress) if e.stage == name] for name in ("cells", "exercise", "boot")}
    assert progress["cells"][-1].done == progress["cells"][-1].total > 0
    assert {(e.done, bool(e.line)) for e in progress["exercise"] if e.done == 0} == {(0, True)}
    assert all(e.done < e.total for e in progress["exercise"]), "the line names what runs"
    assert any("kpv: ready" in e.line for e in progress["boot"])


def test_the_same_scenarios_pass_on_the_kernel_without_the_bugs(whole: Result):
    assert Verdict.FAIL not in decisions(whole, "merged").values()
