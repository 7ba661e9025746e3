"""report.txt: what a maintainer reads in a reply on the list."""

import sys

import pytest

from pipeline import cli
from pipeline.errors import Exit, UserError
from pipeline.observation import Check
from pipeline.report import text
from pipeline.run import save
from tests.judge.builders import a_study, all_cells, with_cell
from tests.report.builders import a_kernel, a_realistic_run, a_run

CELL = "v2/max/full.64k"
BROKEN = Check(name="no-lost-write", ok=False, detail="page 3 reads 0, wrote 7")


def changed(name=CELL, *, study=None, **changes):
    study = study or a_study()
    return a_run(study, cells=with_cell(all_cells(study), name, **changes))


@pytest.fixture(scope="module")
def realistic():
    return a_realistic_run(scenarios=("full", "twice", "hole", "zram-cow", "gup"))


def fits(rendered: str) -> bool:
    lines = rendered.splitlines()
    return len(lines) < 60 and max(map(len, lines)) < 72


def test_it_fits_a_mail(realistic):
    assert fits(text.render(realistic))


def test_a_run_that_went_wrong_everywhere_fits_a_mail_too():
    claims = [
        {
            "id": f"claim-{n}-{'x' * 40}",
            "title": "long " * 30,
            "scenarios": ["*"],
            "step": "free",
            "candidate": "ret == 1",
        }
        for n in range(40)
    ]
    kernels = [{"id": "base", "role": "baseline"}, *({"id": f"v{n}", "title": "t " * 60} for n in range(12))]
    rendered = text.render(a_run(a_study(claim=claims, kernel=kernels, title="long title " * 20)))
    assert fits(rendered)
    assert "more claims: see report.html" in rendered
    assert "Reproduce" in rendered


def test_it_tells_what_was_tested_verdict_numbers_base_config_and_how_to_repeat():
    rendered = text.render(a_run())
    for part in (
        "Base:     6.12.117 (debian:linux-source-6.12)",
        "Tested:   v2: mm/madvise: keep large folios",
        "Config:   allnoconfig + base + mm",
        "Machines: max, a57; QEMU 10.0.2, emulated",
        "Verdict: every kernel is judged as expected.",
        "PASS   no-split: mthp.split 4 -> 0",
        "kpv validate study.toml",
        "config 111111111111",
        "study sha256 5555555555555555",
    ):
        assert part in rendered


def test_it_says_whether_a_tlb_model_watched():
    assert "no TLB model watched;" in " ".join(text.render(a_run()).split())
    machines = {"max": {"id": "max"}, "max-tlb": {"id": "max-tlb", "tlb": {"core": "a76"}}}
    assert "a TLB model watched on max-tlb;" in " ".join(text.render(a_run(machines=machines)).split())


def test_of_a_git_tree_it_names_the_commit_and_of_a_folder_no_path():
    study = a_study()
    made = {"v2": "git v6.12 (adc218676eef)", "base": "git v6.12 (adc218676eef)"}
    kernels = [a_kernel(k.id, k.role, source=made[k.id]) for k in study.kernel]
    assert "git v6.12 (adc218676eef)" in text.render(a_run(study, kernels=kernels))
    kernels = [a_kernel(k.id, k.role, source="folder /home/me/secret/linux") for k in study.kernel]
    rendered = text.render(a_run(study, kernels=kernels))
    assert "folder linux" in rendered
    assert "/home/me" not in rendered


def test_a_failure_comes_with_its_reason_before_what_passes():
    rendered = text.render(changed(checks=[BROKEN], outcome="failed"))
    assert rendered.index("FAIL   No lost write") < rendered.index("PASS   no-split")
    assert "(no-lost-write)" in rendered
    assert "max/full.64k: page 3 reads 0, wrote 7" in rendered
    assert "NOT as expected" in rendered


def test_a_claim_that_fails_tells_how_many_cells_and_one_of_them():
    study = a_study()
    cells = all_cells(study)
    for cell in [c.name for c in cells if c.kernel == "v2"]:
        cells = with_cell(cells, cell, steps=[s.model_copy(update={"mthp": {"split": 4}}) for s in cells[0].steps])
    rendered = text.render(a_run(study, cells=cells))
    assert "mthp.split 4 -> 4 in 4 of 4 cells, max/full.64k" in rendered


def test_what_was_expected_to_fail_and_does_not_is_told_like_a_failure():
    kernels = [
        {"id": "base", "role": "baseline"},
        {"id": "v2", "expect": {"verdict": "FAIL", "failing": ["no-split"]}},
    ]
    rendered = text.render(a_run(a_study(kernel=kernels)))
    assert "no-split was expected to fail: mthp.split 4 -> 0" in rendered


def test_known_findings_are_named_once_with_the_kernels_that_show_them():
    study = a_study(known=[{"id": "zram-skips", "of": "no-lost-write", "scenarios": ["*"], "explanation": "e"}])
    rendered = text.render(changed(study=study, checks=[BROKEN], outcome="failed"))
    assert "Known, see report.html: zram-skips (v2)." in rendered
    assert "KNOWN  " not in rendered


def test_there_is_no_trailer_unless_somebody_asks_for_one():
    assert "Tested-by" not in text.render(a_run())
    rendered = text.render(a_run(), tested_by="Jane Doe <jane@example.org>")
    assert rendered.splitlines()[-1] == "Tested-by: Jane Doe <jane@example.org> # 6.12.117, arm64 under QEMU TCG"


def test_a_series_that_does_not_pass_gets_no_trailer():
    with pytest.raises(UserError, match="v2 is judged FAIL"):
        text.render(changed(checks=[BROKEN], outcome="failed"), tested_by="Jane Doe <jane@example.org>")


@pytest.mark.parametrize("who", ["jane@example.org", "Jane Doe", "Jane <nobody>"])
def test_a_trailer_wants_a_name_and_an_address(who):
    with pytest.raises(UserError, match="Name <address>"):
        text.render(a_run(), tested_by=who)


@pytest.fixture
def kpv_report(tmp_path, monkeypatch, capsys):
    """``kpv report`` of a run; returns exit code, stdout and stderr."""

    def call(run, *options):
        save(run, tmp_path / "runs" / run.id / "run.json")
        monkeypatch.setattr(sys, "argv", ["kpv", "report", run.id, "--runs", str(tmp_path / "runs"), *options])
        try:
            cli.main()
        except SystemExit as ended:
            return (int(ended.code or 0), *capsys.readouterr())
        return (0, *capsys.readouterr())

    return call


def test_the_command_prints_a_trailer_where_asked(kpv_report):
    assert "Tested-by" not in kpv_report(a_run(), "--format", "text")[1]
    code, said, _ = kpv_report(a_run(), "--format", "text", "--tested-by", "Jane Doe <jane@example.org>")
    assert (code, said.splitlines()[-1][:35]) == (0, "Tested-by: Jane Doe <jane@example.o")
    assert kpv_report(a_run(), "--format", "junit", "--tested-by", "Jane Doe <jane@example.org>")[0] == Exit.USAGE
    failing = changed(checks=[BROKEN], outcome="failed")
    assert kpv_report(failing, "--format", "text", "--tested-by", "Jane Doe <jane@example.org>")[0] == Exit.USAGE
