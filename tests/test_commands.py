"""The commands that look at runs and studies: what they print and write, and their exit codes."""

import json
from pathlib import Path

import pytest

from pipeline import cli, report
from pipeline.cli.app import app
from pipeline.errors import Exit
from pipeline.observation import Step
from pipeline.run import Run, save
from tests.judge.builders import a_study, all_cells, with_cell
from tests.report.builders import a_run
from tests.test_cli import STUDY

CELL = "v2/max/full.64k"


def a_day(day: int, *, split: int = 0) -> Run:
    cells = with_cell(all_cells(a_study()), CELL, steps=[Step(name="free", mthp={"split": split})])
    return a_run(id=f"2026010{day}-000000-demo", started=f"2026-01-0{day}T00:00:00Z", cells=cells)


@pytest.fixture
def kpv(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """Run a command in a folder with two runs, the second of which splits a folio; exit code, stdout, stderr."""
    monkeypatch.setenv("KPV_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for run in (a_day(1), a_day(2, split=1)):
        (tmp_path / "runs" / run.id).mkdir(parents=True)
        save(run, tmp_path / "runs" / run.id / "run.json")

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["kpv", *map(str, words)])
        code = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return code, said.out, said.err

    return run


def test_report_prints_one_form_whatever_the_verdict(kpv):
    code, out, _ = kpv("report", "last", "--format", "text")
    assert code == Exit.PASS
    assert "no-split" in out
    assert kpv("report", "20260101-000000-demo", "-f", "junit")[1].startswith("<?xml")


def test_report_writes_one_form_to_a_file_or_all_into_the_folder(kpv, tmp_path):
    assert kpv("report", "last", "-f", "html", "-o", "x/report.html")[0] == Exit.PASS
    assert "<html" in Path("x/report.html").read_text()
    _, out, _ = kpv("report", "runs/20260101-000000-demo/run.json")
    written = {Path(line).name for line in out.splitlines()}
    assert {"report.html", "report.txt", "junit.xml", "run.json", "summary.md"} <= written
    assert all(Path(line).is_file() for line in out.splitlines())


def test_report_has_every_form_by_name(kpv):
    assert {"html", "text", "junit", "ktap", "markdown", "json", "reproduce"} <= set(report.names())
    for name in report.names():
        code, out, err = kpv("report", "last", "-f", name)
        assert code == Exit.PASS, err
        assert out
    code, _, err = kpv("report", "last", "-f", "junti")
    assert code == Exit.USAGE
    assert "did you mean: junit?" in err
    assert kpv("report", "last", "-o", "x")[0] == Exit.USAGE


def test_compare_ends_with_1_where_a_verdict_changed(kpv):
    code, out, _ = kpv("compare", "last~1", "last")
    assert code == Exit.FAIL
    assert "3 verdicts changed" in out
    assert "mthp.split" in out
    assert kpv("compare", "last", "last")[0] == Exit.PASS
    assert kpv("compare", "last~1", "last", "--quiet") == (Exit.FAIL, "", "")


def test_compare_as_json_has_everything(kpv):
    code, out, _ = kpv("compare", "last~1", "last", "--json")
    assert code == Exit.FAIL
    found = json.loads(out)
    assert found["verdicts"][0] == {"what": "v2", "old": "PASS", "new": "FAIL"}
    assert found["counters"][0]["counter"] == "mthp.split"


def test_judge_enters_the_run_in_the_history_with_its_exit_code(kpv):
    assert kpv("judge", "last~1")[0] == Exit.PASS
    assert kpv("judge", "last", "-q")[0] == Exit.FAIL
    code, out, _ = kpv("history", "--claim", "no-split")
    assert code == Exit.PASS
    assert "✓✗" in out
    assert "20260102-000000-demo" in out
    assert kpv("list", "runs")[1].index("20260102") < kpv("list", "runs")[1].index("20260101")


def test_history_is_made_from_the_run_folders_and_plotted(kpv):
    _, out, _ = kpv("history", "--rebuild", "--json", "--all")
    lines = {(line["kernel"], line["of"]): line for line in json.loads(out)}
    assert lines["v2", "no-split"]["first_changed"] == "20260102-000000-demo"
    for name in ("h.svg", "h.html"):
        assert kpv("history", "--plot", name)[0] == Exit.PASS
        assert "no-split" in Path(name).read_text()
    assert kpv("history", "--plot", "h.png")[0] == Exit.USAGE
    code, _, err = kpv("history", "--kernel", "v3")
    assert code == Exit.USAGE
    assert "the history has no kernel 'v3'" in err
    assert kpv("history", "runs")[0] == Exit.USAGE


def test_an_index_that_cannot_be_written_does_not_hold_a_verdict_back(kpv, tmp_path):
    (tmp_path / "cache").write_text("in the way")
    code, out, err = kpv("judge", "last")
    assert code == Exit.FAIL
    assert "not as expected: v2" in out
    assert "not entered in the history" in err


def test_show_and_list_look_into_runs(kpv):
    assert "mthp.split=1" in kpv("show", "cell", CELL)[1]
    assert "mthp.split=1" not in kpv("show", "cell", CELL, "--run", "last~1")[1]
    assert "every kernel is judged as expected" in kpv("show", "run", "last~1")[1]
    assert json.loads(kpv("show", "cell", CELL, "--json")[1])["cell"]["steps"][0]["mthp"] == {"split": 1}
    assert json.loads(kpv("list", "scenarios", "--json")[1])[0]["name"] == "full_cover"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("show", "scenrio", "full_cover"), "did you mean: scenario?"),
        (("show", "scenario"), "kpv show scenario NAME"),
        (("show", "scenario", "full_covr"), "did you mean: full_cover"),
        (("show", "cell", "v2/max/ful.64k"), f"did you mean: {CELL}"),
        (("show", "kernel", "mergd"), "did you mean: merged?"),
        (("list", "scenario"), "did you mean: scenarios?"),
        (("explain", "INCONCLUSIV"), "did you mean: INCONCLUSIVE?"),
        (("judge", "20260103-000000-demo"), "did you mean: "),
        (("compare", "last~7", "last"), "--runs"),
        (("validate", "madvise-fre-mthp"), "did you mean: madvise-free-mthp"),
        (("build", "madvise-free-mthp", "-k", "mergd"), "did you mean: merged?"),
        (("run", "full_covr"), "did you mean: full_cover"),
    ],
)
def test_a_slip_is_told_what_was_meant(kpv, words, hint):
    code, _, err = kpv(*words)
    assert code == Exit.USAGE
    assert hint in err


def test_explain_lists_its_words_and_explains_one(kpv):
    assert "INCONCLUSIVE" in kpv("explain")[1]
    assert "Never counted as a pass" in kpv("explain", "inconclusive")[1]
    assert "vmstat" in json.loads(kpv("explain", "--json")[1])["counter"]


def test_every_command_has_help_with_an_example(kpv):
    names = [command.name or command.callback.__name__ for command in app.registered_commands]
    assert {"validate", "run", "judge", "report", "compare", "list", "show", "explain", "history", "init"} <= set(names)
    for name in names:
        code, out, _ = kpv(name, "--help")
        assert code == Exit.PASS
        assert f"kpv {name}" in out.partition("Usage")[2].partition("\n")[2], f"{name} has no example"


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("kpv show scenario full_cover_s", ["full_cover_single"]),
        ("kpv show kernel m", ["merged"]),
        ("kpv list sc", ["scenarios"]),
        ("kpv judge 20260102", ["20260102-000000-demo"]),
        ("kpv report last --format jun", ["junit"]),
        ("kpv validate madvise-free-mthp -k v", ["v2"]),
        ("kpv validate madvise-free-mthp -m a", ["a57"]),
        ("kpv validate madvise-free-mthp -s unaligned.6", ["unaligned.64k"]),
        ("kpv explain block-consec", ["block-consecutive"]),
        ("kpv validate nosuch/study.toml -k v", []),
        ("kpv validate mine -k n", ["new"]),
        ("kpv list kernels --study mi", []),
    ],
)
def test_the_shell_completes_names(kpv, monkeypatch, typed, offered):
    Path("mine").mkdir()
    Path("mine/study.toml").write_text(STUDY.format(tree="/"))
    words = typed.split()
    monkeypatch.setenv("_KPV_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    found = kpv()[1].split()
    assert set(offered) <= set(found)
    assert bool(found) is bool(offered)
    assert all(name.startswith(words[-1]) for name in found)


def test_an_interrupt_is_told_and_has_its_exit_code(kpv, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.stages.rejudge", interrupted)
    code, _, err = kpv("judge", "last")
    assert code == Exit.INTERRUPTED
    assert err == "kpv: interrupted; what was finished is kept\n"
