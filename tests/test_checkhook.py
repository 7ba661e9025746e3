"""``kpv check-hook``: a mail in, the JSON out that ``b4 review`` reads."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import checkhook, cli
from pipeline.checkhook import Subject
from pipeline.errors import Exit, InfraError, UserError
from pipeline.kernel import series
from pipeline.kernel.series import SeriesError
from pipeline.observation import Check
from pipeline.study import StudyError
from tests.judge.builders import a_study, all_cells, with_cell
from tests.kernel.conftest import Bench, bench, linux, make_patch, tools  # noqa: F401
from tests.report.builders import a_run
from tests.test_cli import study as study_file  # noqa: F401

DIFF = """\
---
 mm/madvise.c | 2 +-

diff --git a/mm/madvise.c b/mm/madvise.c
--- a/mm/madvise.c
+++ b/mm/madvise.c
@@ -1 +1 @@
-{old}
+{new}
"""


def a_mail(subject: str, *, old: str = "a", new: str = "b", diff: bool = True) -> bytes:
    head = f"From: A Developer <a@example.org>\nSubject: {subject}\nMessage-ID: <{hash(subject)}@example.org>\n\nWhy.\n"
    return (head + (DIFF.format(old=old, new=new) if diff else "")).encode()


@pytest.fixture
def tracked(tmp_path: Path):
    """A repository with a thread that b4 tracks: ``tracked(mails)`` returns its folder and the hook's environment."""

    def make(*mails: bytes) -> tuple[Path, dict[str, str]]:
        subprocess.run(["git", "init", "-q", tmp_path], check=True)
        mbox = b"".join(b"From mboxrd@z Thu Jan  1 00:00:00 1970\n" + mail + b"\n" for mail in mails)
        blob = subprocess.run(
            ["git", "-C", tmp_path, "hash-object", "-w", "--stdin"], input=mbox, capture_output=True, check=True
        ).stdout.decode()
        (tmp_path / "tracking.json").write_text(json.dumps({"series": {"thread-blob": blob.strip()}}))
        return tmp_path, {"B4_TRACKING_FILE": str(tmp_path / "tracking.json")}

    return make


def subjects(mbox: bytes, folder: Path) -> list[str]:
    """Subjects of the patches as the pipeline itself reads the mbox."""
    (folder / "out.mbox").write_bytes(mbox)
    return [patch.subject for patch in series.load(["out.mbox"], folder).patches]


COVER = a_mail("[PATCH v2 0/2] mm: two things", diff=False)
ONE, TWO = a_mail("[PATCH v2 1/2] mm: one"), a_mail("[PATCH v2 2/2] mm: two", old="b", new="c")
THREAD = (
    a_mail("[PATCH 1/2] mm: one, as it was"),
    COVER,
    TWO,
    a_mail("Re: [PATCH v2 1/2] mm: one", diff=False),
    ONE,
)


@pytest.mark.parametrize(
    ("subject", "read"),
    [
        ("[PATCH] mm: x", Subject(1, 0, 0, "mm: x")),
        ("[RFC PATCH v3 02/11] mm: x", Subject(3, 2, 11, "mm: x")),
        ("[PATCH mm-unstable v10 0/4] mm: x", Subject(10, 0, 4, "mm: x")),
        ("Re: [PATCH 1/2] mm: x", None),
        ("mm: x", None),
    ],
)
def test_a_subject_says_version_and_place(subject, read):
    assert Subject.of(a_mail(subject)) == read


def test_a_single_patch_and_an_mbox_stay_as_they_are(tmp_path):
    single = a_mail("[PATCH] mm: x")
    assert checkhook.series_of(single, {}, tmp_path) == single
    assert subjects(single, tmp_path) == ["mm: x"]
    mbox = b"".join(b"From x Thu Jan  1 00:00:00 1970\n" + mail + b"\n" for mail in (ONE, TWO))
    assert checkhook.series_of(mbox, {}, tmp_path) == mbox


def test_a_cover_letter_stands_for_its_series_of_that_version(tracked):
    folder, environ = tracked(*THREAD)
    assert subjects(checkhook.series_of(COVER, environ, folder), folder) == ["mm: one", "mm: two"]


def test_a_patch_of_a_series_is_tested_with_those_before_it(tracked):
    folder, environ = tracked(*THREAD)
    assert subjects(checkhook.series_of(TWO, environ, folder), folder) == ["mm: one", "mm: two"]


@pytest.mark.parametrize(("mail", "missing"), [(COVER, "patches 1, 2 are missing"), (TWO, "patches 1 are missing")])
def test_a_series_that_is_not_at_hand_is_told_with_the_way_to_get_it(mail, missing, tmp_path):
    with pytest.raises(UserError, match=missing) as err:
        checkhook.series_of(mail, {}, tmp_path)
    assert "b4 am" in err.value.hint


def test_a_thread_that_git_does_not_have_is_told(tracked):
    folder, environ = tracked(*THREAD)
    Path(environ["B4_TRACKING_FILE"]).write_text(json.dumps({"series": {"thread-blob": "1" * 40}}))
    with pytest.raises(InfraError, match="blob 1111"):
        checkhook.series_of(COVER, environ, folder)


def test_nothing_on_stdin_is_told(tmp_path):
    with pytest.raises(UserError, match="expected a mail"):
        checkhook.series_of(b"\n", {}, tmp_path)


def test_the_mail_takes_the_place_of_the_candidates_and_keeps_the_known_findings(tmp_path):
    whole = a_study(
        kernel=[
            {"id": "base", "role": "baseline"},
            {"id": "v1", "series": ["v1.mbox"], "expect": {"verdict": "FAIL"}},
            {"id": "merged", "fragments": ["extra"], "series": ["old.mbox"]},
        ]
    )
    made = checkhook.candidate(whole, tmp_path / "mail", "mm: x")
    assert [kernel.id for kernel in made.kernel] == ["base", "merged"]
    assert made.kernel[1].series == (str(tmp_path / "mail"),)
    assert made.kernel[1].fragments == ("extra",)
    assert checkhook.candidate(whole, tmp_path / "mail", "", like="v1").kernel[1].expect.verdict == "PASS"
    with pytest.raises(UserError, match="baseline"):
        checkhook.candidate(whole, tmp_path / "mail", "", like="base")


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({}, "pass", "6 PASS"),
        (
            {"checks": [Check(name="no-lost-write", ok=False, detail="page 3")], "outcome": "failed"},
            "fail",
            "1 FAIL, 5 PASS: No lost write",
        ),
        ({"outcome": "skipped", "reason": "no zram"}, "warn", "3 INCONCLUSIVE, 3 PASS: No lost write and 2 more"),
    ],
)
def test_the_answer_is_what_b4_reads(changes, status, words, tmp_path):
    cells = with_cell(all_cells(a_study()), "v2/max/fork.64k", **changes)
    (entry,) = checkhook.answer(a_run(cells=cells), tmp_path / "report.html")
    assert set(entry) == {"tool", "status", "summary", "details", "url"}
    assert all(isinstance(value, str) for value in entry.values())  # b4 keeps them in columns of text
    assert (entry["tool"], entry["status"]) == ("kpv", status)
    assert words in entry["summary"]
    details = json.loads(entry["details"])
    assert {detail["status"] for detail in details} == {"pass", status}
    assert all(set(detail) == {"context", "status", "state", "description"} for detail in details)
    assert entry["url"].startswith("file:///")


def test_a_series_that_does_not_apply_fails_and_anything_else_warns():
    (entry,) = checkhook.refusal(SeriesError("x.mbox: does not apply to Linux 6.12.1", hint="rebase"))
    assert (entry["status"], entry["details"]) == ("fail", "hint: rebase")
    assert checkhook.refusal(StudyError("study.toml:1: no"))[0]["status"] == "warn"


@pytest.mark.parametrize("given", ["does not apply", "half a series", "nothing"])
def test_the_command_prints_json_alone_on_stdout_whatever_goes_wrong(given, study_file, bench, monkeypatch, capsys):  # noqa: F811
    diff = make_patch(bench.linux, {"mm/madvise.c": ("split = 1", "split = 2")}).replace("split = 1", "split = 7")
    subject = "[PATCH 2/2] mm: x" if given == "half a series" else "[PATCH] mm: x"
    mail = "" if given == "nothing" else f"From: A <a@b.c>\nSubject: {subject}\n\nWhy.\n---\n{diff}"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(mail.encode())))
    monkeypatch.setattr(sys, "argv", ["kpv", "check-hook", str(study_file), "--quiet"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    assert ended.value.code == Exit.USAGE
    (entry,) = json.loads(said.out)
    assert entry["status"] == ("fail" if given == "does not apply" else "warn")
    assert "kpv: error:" in said.err
