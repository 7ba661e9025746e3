"""The forms of a report: what a reader, a mail client, a browser and a CI server can rely on."""

import itertools
import json
import os
import re
import shutil
import stat
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pipeline import report
from pipeline.errors import InfraError
from pipeline.observation import Check, Need, Step
from pipeline.report import html, junit, ktap, markdown, pages, reproduce, text
from pipeline.report.words import clean, cut, numbers
from tests.judge.builders import a_boot, a_study, all_boots, all_cells, with_cell
from tests.report.builders import SCENARIOS, a_realistic_run, a_run

CELL = "v2/max/full.64k"
BROKEN = Check(name="no-lost-write", ok=False, detail="page 3 reads 0, wrote 7")
HOSTILE = '<script src="https://evil.example/x.js">alert(1)</script>\x1b[31mred\x00\x08]]>&"\' | `x` # TODO \ufffe'
VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """Checks nesting while it reads, and keeps what the tests ask for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    def all(self, name: str) -> list[str]:
        return [attrs[name] or "" for _, attrs in self.tags if name in attrs]

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


def changed(name=CELL, *, study=None, **changes):
    study = study or a_study()
    return a_run(study, cells=with_cell(all_cells(study), name, **changes))


@pytest.fixture(scope="module")
def realistic():
    return a_realistic_run(scenarios=("full", "twice", "hole", "zram-cow", "gup"))


@pytest.fixture(scope="module")
def page(realistic):
    return Page(html.render(realistic, {}))


@pytest.fixture(scope="module")
def hostile():
    cells = with_cell(
        all_cells(a_study()),
        CELL,
        outcome="failed",
        reason=HOSTILE,
        checks=[Check(name="no-lost-write", ok=False, detail=HOSTILE)],
        console=HOSTILE,
        ktap=HOSTILE,
        trace=HOSTILE,
        console_findings=[HOSTILE],
        malformed=[HOSTILE],
        needs=[Need(what=HOSTILE, ok=False, want=HOSTILE, got=HOSTILE)],
    )
    return a_run(a_study(title=HOSTILE, limits=[HOSTILE]), cells=cells, machines={"max": {"cpu": HOSTILE}})


# report.html


def test_the_page_is_well_nested_and_names_its_language(page):
    assert ("html", {"lang": "en"}) in page.tags
    assert {"header", "main", "nav", "footer"} <= {tag for tag, _ in page.tags}


def test_the_page_fetches_nothing_and_runs_nothing(realistic, hostile):
    for run in (realistic, hostile):
        files = {cell.name: [f"cells/{cell.name}/ktap.txt"] for cell in run.cells}
        rendered = html.render(run, files)
        page = Page(rendered)
        tags = {tag for tag, _ in page.tags}
        assert tags.isdisjoint({"script", "iframe", "object", "embed", "form", "base", "img", "image", "foreignobject"})
        assert page.all("src") == page.all("srcset") == page.all("style") == []
        assert all(href.startswith(("#", "./")) or href == "data:," for href in page.all("href"))
        assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
        assert "url(" not in rendered
        assert "@import" not in rendered


def test_a_file_name_cannot_become_a_link_elsewhere():
    names = ["//evil.example/x", "javascript:alert(1)", "https://evil.example", 'a"b<c>.txt']
    page = Page(html.render(a_run(), {CELL: names}))
    links = [href for href in page.all("href") if href.startswith("./")]
    assert links[-4:] == [
        "./evil.example/x",
        "./javascript%3Aalert%281%29",
        "./https%3A//evil.example",
        "./a%22b%3Cc%3E.txt",
    ]


def test_what_a_guest_printed_is_text_without_control_characters(hostile):
    rendered = html.render(hostile, {})
    page = Page(rendered)
    assert '<script src="https://evil.example/x.js">' in page.text
    assert "<script" not in rendered
    assert not set(rendered) & {"\x00", "\x08", "\x1b", "\ufffe"}


def test_every_link_inside_the_page_has_its_target_and_ids_are_unique(page):
    ids = page.all("id")
    assert len(ids) == len(set(ids))
    inside = {href[1:] for href in page.all("href") if href.startswith("#")}
    assert inside <= set(ids)
    assert {"d-no-convert", "s-full", "s-gup", "c1"} <= inside  # decisions, scenarios, cells


def test_headings_go_down_one_level_at_a_time(page):
    levels = [int(tag[1]) for tag, _ in page.tags if tag in ("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))


def test_every_table_has_a_caption_and_every_header_a_scope(page):
    tags = [tag for tag, _ in page.tags]
    assert tags.count("table") == tags.count("caption") > 3
    assert all("scope" in attrs for tag, attrs in page.tags if tag == "th")


def test_verdicts_are_told_in_words_and_signs():
    study = a_study(known=[{"id": "k", "of": "no-lost-write", "scenarios": ["fork.*"], "explanation": "because"}])
    cells = with_cell(all_cells(study), CELL, checks=[BROKEN], outcome="failed", steps=[])
    cells = with_cell(cells, "base/max/fork.64k", checks=[BROKEN], outcome="failed")
    shown = Page(html.render(a_run(study, cells=cells), {})).text
    for word in ("✓ PASS", "✗ FAIL", "? INCONCLUSIVE", "≈ KNOWN", "page 3 reads 0, wrote 7", "because"):
        assert word in shown


def test_the_page_tells_values_of_candidate_and_baseline_and_the_expression():
    rendered = html.render(a_run(), {})
    shown = Page(rendered).text
    for words in ("mthp.split == param.folios", "param.folios = 4", "old: yes"):
        assert words in shown
    assert re.search(
        r'mthp.split</th><td class=n data-kernel="base">4<svg.*?</td><td class=n data-kernel="v2">0</td>', rendered
    )


def test_unmet_preconditions_limits_and_command_lines_are_in_the_page():
    boots = [
        a_boot(
            "v2/max", needs=(Need(what="page_size", ok=False, want="4096", got="16384"),), qemu=["qemu", "-cpu", "a b"]
        )
        if boot.id == "v2-max"
        else boot
        for boot in all_boots(a_study())
    ]
    shown = Page(html.render(a_run(a_study(limits=["No TLB model."]), boots=boots), {})).text
    for words in ("page_size: wanted 4096, got 16384", "No TLB model.", "contiguous bit", "qemu -cpu 'a b'", "1" * 64):
        assert words in shown


def test_logs_of_a_failing_cell_are_in_the_page_and_those_of_a_passing_cell_only_linked():
    passing = html.render(changed(ktap="the words of KTAP"), {CELL: ["cells/x/ktap.txt"]})
    assert "the words of KTAP" not in passing
    assert 'href="./cells/x/ktap.txt"' in passing
    failing = html.render(changed(ktap="the words of KTAP", checks=[BROKEN], outcome="failed"), {})
    assert "the words of KTAP" in failing


def test_a_long_log_keeps_its_end_and_tells_what_was_left_off():
    console = "\n".join(f"line-{n}." for n in range(1000))
    rendered = html.render(changed(console=console, checks=[BROKEN], outcome="failed"), {})
    assert "line-999." in rendered
    assert "line-500." not in rendered
    assert "880 lines before this left off" in rendered


def test_a_counter_that_differs_is_marked_and_zeros_are_counted():
    steps = [Step(name="free", mthp={"split": 0}, vmstat={"pgfault": 0, "pgscan": 7}, probe={"gone": None})]
    page = Page(html.render(changed(steps=steps), {}))
    assert "≠" in page.text
    assert "vmstat.pgscan" in page.text
    assert "vmstat.pgfault" not in page.text


def test_a_run_of_700_cells_stays_below_a_megabyte():
    names = (*SCENARIOS, *(f"scenario-{n}" for n in range(20)))
    run = a_realistic_run(scenarios=names)
    assert len(run.cells) == 720
    files = {cell.name: [f"cells/{cell.name}/{log}.txt" for log in ("ktap", "console", "trace")] for cell in run.cells}
    assert len(html.render(run, files).encode()) < 1_000_000


# Page states


def test_page_states_are_blocks_of_16_with_words_for_who_does_not_see_them():
    drawn = pages.markup("L" * 16 + "L" * 14 + "..", 16)
    assert drawn.count("<b>") == 2
    assert 'aria-label="32 pages: 0 to 29 lazyfree, large folio; 30 to 31 not mapped"' in drawn


def test_an_unknown_or_hostile_state_is_shown_as_such():
    drawn = str(pages.markup('L"<', 16))
    assert "<i class=px>&#34;</i>" in drawn
    assert "unknown state" in drawn


def test_many_pages_are_counted_not_drawn():
    assert "and 976 more pages" in pages.markup("a" * 2000, 16)
    assert len(pages.describe("ab" * 1000)) < 600


# reproduce.sh


@pytest.fixture
def checkout(tmp_path):
    """A folder with the run's study and a kpv that records an equal run."""

    def make(run, **kernel_changes):
        (tmp_path / "study.toml").write_text("x")
        kernels = [{**k.model_dump(mode="json"), **kernel_changes} for k in run.kernels]
        new = tmp_path / "runs" / "new"
        new.mkdir(parents=True)
        (new / "run.json").write_text(json.dumps({"kernels": kernels}))
        fake = tmp_path / "bin" / "kpv"
        fake.parent.mkdir()
        fake.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "kpv 0.1.0" && exit 0\nexit "${FAKE_EXIT:-0}"\n')
        fake.chmod(0o755)
        script = tmp_path / "reproduce.sh"
        script.write_text(reproduce.render(run))
        return script

    return make


def hashed(run):
    """The run with the true hash of the study that ``checkout`` makes."""
    x = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    return run.model_copy(update={"study": run.study.model_copy(update={"sha256": x})})


def sh(script: Path, **env: str) -> subprocess.CompletedProcess[str]:
    path = f"{script.parent}/bin:{os.environ['PATH']}"
    return subprocess.run(
        ["sh", script.name], cwd=script.parent, env={"PATH": path, **env}, capture_output=True, text=True, check=False
    )


def test_reproduce_repeats_the_command_and_confirms_hashes_and_exit_code(checkout):
    result = sh(checkout(hashed(a_run())))
    assert (result.returncode, "reproduced" in result.stdout) == (0, True), result.stderr


def test_reproduce_names_the_study_as_the_command_did_not_as_this_machine_does():
    run = a_run(command=("/usr/bin/kpv", "validate", "patches/x", "--runs=out dir"))
    run = run.model_copy(update={"study": run.study.model_copy(update={"file": "/home/me/kpv/patches/x/study.toml"})})
    script = reproduce.render(run)
    assert "study=patches/x/study.toml" in script
    assert "kpv validate \"$study\" '--runs=out dir'" in script
    assert "runs='out dir'" in script
    assert "/home/me" not in script + html.render(run, {}) + text.render(run) + markdown.render(run)


def test_reproduce_of_a_mail_gives_the_mail_again(checkout):
    run = hashed(a_run(command=("kpv", "check-hook", "study.toml")))
    script = checkout(run)
    (script.parent / "stdin.mbox").write_text("the mail")
    fake = script.parent / "bin" / "kpv"
    fake.write_text(fake.read_text().replace('exit "', 'cat > got; exit "'))
    assert sh(script).returncode == 0
    assert (script.parent / "got").read_text() == "the mail"
    assert "kpv check-hook study.toml < stdin.mbox" in text.render(run)


def test_reproduce_refuses_another_study(checkout):
    result = sh(checkout(a_run()))
    assert (result.returncode, "study.toml: expected sha256 555" in result.stderr) == (2, True)


def test_reproduce_tells_a_kernel_that_came_out_differently(checkout):
    result = sh(checkout(hashed(a_run()), image_sha256="9" * 64))
    assert (result.returncode, "image_sha256: expected 222" in result.stderr) == (3, True)


def test_reproduce_tells_a_patch_that_is_another(checkout):
    result = sh(checkout(hashed(a_run()), series=[{"sha256": "8" * 64}]))
    assert (result.returncode, "v2: series: expected 777" in result.stderr) == (3, True)


def test_reproduce_tells_another_exit_code(checkout):
    result = sh(checkout(hashed(a_run())), FAKE_EXIT="1")
    assert (result.returncode, "expected exit code 0, found 1" in result.stderr) == (1, True)


def test_reproduce_wants_the_same_version(checkout):
    result = sh(checkout(hashed(a_run(kpv="0.2.0"))))
    assert (result.returncode, "expected kpv 0.2.0" in result.stderr) == (2, True)


@pytest.mark.skipif(shutil.which("dash") is None, reason="dash is Debian's sh; without it syntax is checked above only")
def test_reproduce_is_plain_sh_even_with_a_hostile_study(hostile):
    script = reproduce.render(hostile.model_copy(update={"command": ("kpv", "validate", "a'b; touch $(x)\n")}))
    subprocess.run(["dash", "-n"], input=script, text=True, check=True)


# All together


def test_write_all_writes_every_form_whole_and_readable(tmp_path):
    written = report.write_all(a_run(), tmp_path / "runs" / "1", {})
    assert set(written) == {
        "run.json", "report.txt", "report.html", "junit.xml", "report.ktap", "summary.md", "reproduce.sh"
    }  # fmt: skip
    assert {path.name for path in (tmp_path / "runs" / "1").iterdir()} == set(written)
    assert stat.S_IMODE(written["report.html"].stat().st_mode) == 0o644
    assert stat.S_IMODE(written["reproduce.sh"].stat().st_mode) == 0o755


def test_the_same_run_gives_the_same_bytes_and_an_unjudged_run_is_judged_first(tmp_path):
    run = a_run()
    one = report.write_all(run, tmp_path / "1", {})
    two = report.write_all(run.model_copy(update={"judgement": None}), tmp_path / "2", {})
    for name, path in one.items():
        assert path.read_bytes() == two[name].read_bytes()


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InfraError) as caught:
        report.write_all(a_run(), tmp_path / "file", {})
    assert "file" in str(caught.value)


def test_a_run_with_nothing_in_it_is_reported_as_inconclusive_in_every_form():
    run = a_run(cells=[], boots=[], kernels=())
    assert run.judgement.exit_code == 3
    assert "INCONCLUSIVE" in text.render(run)
    assert "? INCONCLUSIVE" in Page(html.render(run, {})).text
    assert "not ok 1 base" in ktap.render(run)
    assert ElementTree.fromstring(junit.render(run)).get("errors") != "0"


# Words


def test_terminal_sequences_and_control_characters_go_text_stays():
    assert clean("\x1b[1;31mred\x1b[0m\x1b]0;title\x07\ta\r\nb\x00\x9b\ud800") == "red\ta\nb"


def test_the_end_of_a_log_is_kept():
    assert cut("1\n2\n3\n", lines=2, chars=100) == ("2\n3", 1)
    assert cut("x" * 50, lines=2, chars=10) == ("x" * 10, 0)


def test_numbers_go_from_baseline_to_candidate_without_params():
    row = a_run().judgement.kernels[1].decisions[-1].rows[0]
    assert numbers(row) == "mthp.split 4 -> 0"
