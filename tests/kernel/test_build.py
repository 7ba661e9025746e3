"""Builds of the fake tree, end to end: what is compiled again, what fails and how it is told."""

import json
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from pipeline.errors import Exit
from pipeline.events import StageFinished, StageProgress
from pipeline.kernel import build, image, process, source, worktree
from pipeline.kernel.build import BuildError, BuildKilled
from pipeline.kernel.kconfig import KconfigError
from pipeline.store import DiskFull
from tests.kernel.conftest import FAKE, Bench

ALL = ["kernel/main.c", "mm/madvise.c", "mm/util.c"]
SPLIT = {"mm/madvise.c": ("split = 1", "split = 4")}


def test_a_kernel_holds_its_files_and_facts(bench: Bench) -> None:
    made = bench.build()
    for path in (made.image, made.vmlinux, made.system_map, made.config, made.log):
        assert path.stat().st_size > 0
    facts = made.facts()
    assert facts["source"] == bench.tree().identity
    assert facts["build_id"] == made.build_id == image.read(made.vmlinux).build_id
    assert made.release == facts["release"] == "6.12.99"
    assert facts["inputs"]["environment"]["KBUILD_BUILD_USER"] == "kpv"
    assert "Image" in facts["commands"][0]
    assert made.why == "first time" and not made.cached
    assert bench.compiled() == ALL


def test_the_same_inputs_are_not_built_again(bench: Bench) -> None:
    first = bench.build()
    again = bench.build()
    assert again.cached and again.why == "" and again.path == first.path
    assert bench.compiled() == []
    assert [e for e in bench.events if isinstance(e, StageFinished)][-1].cached


def test_another_study_or_kernel_name_shares_the_same_kernel(bench: Bench) -> None:
    assert bench.build(kernel="other").path == bench.build(kernel="k").path


def test_one_changed_line_compiles_that_file_only_and_says_why(bench: Bench) -> None:
    bench.build(bench.patch("a.patch", SPLIT))
    made = bench.build(bench.patch("a.patch", {"mm/madvise.c": ("split = 1", "split = 5")}))
    assert bench.compiled() == ["mm/madvise.c"]
    assert made.why.startswith("series: ") and " -> " in made.why
    assert b"split = 5" in made.image.read_bytes()


def test_a_second_kernel_is_seeded_and_compiles_what_differs(bench: Bench) -> None:
    bench.build(kernel="stock")
    made = bench.build(bench.patch("a.patch", SPLIT), kernel="v1")
    assert bench.compiled() == ["mm/madvise.c"]
    assert b"split = 4" in made.image.read_bytes()


def test_a_kernel_seeded_from_a_patched_one_gets_its_pristine_files_back(bench: Bench) -> None:
    bench.build(bench.patch("a.patch", SPLIT), kernel="v1")
    made = bench.build(kernel="stock")
    assert bench.compiled() == ["mm/madvise.c"]
    assert b"split = 1" in made.image.read_bytes()


def test_a_seed_with_the_same_header_patch_does_not_compile_its_users(bench: Bench) -> None:
    header = bench.patch("h.patch", {"include/linux/mm.h": ("16", "32")})
    bench.build(header, kernel="v1")
    bench.build(header, bench.patch("a.patch", SPLIT), kernel="v2")
    assert bench.compiled() == ["mm/madvise.c"]


def test_a_file_no_longer_patched_is_restored_and_compiled(bench: Bench) -> None:
    util = bench.patch("u.patch", {"mm/util.c": ("return 0", "return 7")})
    bench.build(util)
    made = bench.build(bench.patch("a.patch", SPLIT))
    assert bench.compiled() == ["mm/madvise.c", "mm/util.c"]
    assert b"return 7" not in made.image.read_bytes()
    assert (bench.slot() / "tree/mm/util.c").read_bytes() == (bench.linux / "mm/util.c").read_bytes()


def test_added_and_deleted_files_come_and_go(bench: Bench) -> None:
    added = bench.patch("n.patch", {"mm/new.c": ("", "int added(void)\n{\n\treturn 0;\n}\n")})
    (bench.folder / "d.patch").write_text(
        "diff --git a/mm/notes.txt b/mm/notes.txt\ndeleted file mode 100644\n--- a/mm/notes.txt\n+++ /dev/null\n"
        "@@ -1 +0,0 @@\n-all\n"
    )
    bench.build(added, "d.patch")
    tree = bench.slot() / "tree"
    assert (tree / "mm/new.c").exists() and not (tree / "mm/notes.txt").exists()
    bench.build()
    assert not (tree / "mm/new.c").exists() and (tree / "mm/notes.txt").read_text() == "all\n"


def test_only_changed_files_get_a_new_mtime(
    bench: Bench, listing: Callable[[Path], dict[str, tuple[int, int, bytes]]]
) -> None:
    bench.build(bench.patch("a.patch", SPLIT), bench.patch("u.patch", {"mm/util.c": ("return 0", "return 7")}))
    before = listing(bench.slot() / "tree")
    bench.build(bench.patch("a.patch", {"mm/madvise.c": ("split = 1", "split = 5")}), "u.patch")
    after = listing(bench.slot() / "tree")
    sources = [name for name in after if not name.startswith("o/")]
    assert [name for name in sources if before[name][0] != after[name][0]] == ["mm/madvise.c"]


def test_nothing_is_written_through_hard_links(
    bench: Bench, listing: Callable[[Path], dict[str, tuple[int, int, bytes]]]
) -> None:
    tree = bench.tree().path
    before, user = listing(tree), listing(bench.linux)
    bench.build(bench.patch("a.patch", SPLIT))
    assert (tree / "mm/util.c").stat().st_nlink > 1, "the slot shares files with the pristine tree"
    bench.build(kernel="stock")
    bench.build()
    assert listing(tree) == before
    assert listing(bench.linux) == user


def test_the_same_kernel_from_another_slot_and_cache_is_the_same_to_the_byte(bench: Bench) -> None:
    patch = bench.patch("a.patch", SPLIT)
    first = bench.build(patch).image.read_bytes()
    bench.events.clear()
    other = Bench(bench.folder / "elsewhere", bench.linux)
    other.folder.mkdir()
    (other.folder / patch).write_bytes((bench.folder / patch).read_bytes())
    assert other.build(patch, kernel="different").image.read_bytes() == first


def test_the_environment_of_the_caller_does_not_reach_the_build(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = bench.build(kernel="a")
    for name, value in {"MAKEFLAGS": "-n", "ARCH": "x86", "LOCALVERSION": "-mine", "KBUILD_BUILD_USER": "me"}.items():
        monkeypatch.setenv(name, value)
    for entry in (bench.cache / "store").iterdir():
        shutil.rmtree(entry)
    shutil.rmtree(bench.cache / "work")
    assert bench.build(kernel="b").image.read_bytes() == plain.image.read_bytes()


def test_another_compiler_makes_another_kernel(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.build()
    monkeypatch.setenv("FAKE_VERSION", "2.0")
    build.toolchain._find.cache_clear()
    made = bench.build()
    assert not made.cached
    assert "compiler: aarch64-linux-gnu-gcc (Fake) 1.0 -> aarch64-linux-gnu-gcc (Fake) 2.0" in made.why


def test_progress_counts_to_the_total_of_the_last_build(bench: Bench) -> None:
    bench.build()
    first = [e for e in bench.events if isinstance(e, StageProgress) and e.stage == "build"]
    assert first[0].line.endswith("(of an estimated total)")
    assert [e.done for e in first] == sorted(e.done for e in first)
    assert all(e.done <= e.total or e.total == 0 for e in first)
    shutil.rmtree(bench.slot())
    shutil.rmtree(bench.cache / "store/kernel")
    bench.events.clear()
    bench.build()
    second = [e for e in bench.events if isinstance(e, StageProgress) and e.stage == "build"]
    assert second[-1].done == second[-1].total == len(first)
    assert "estimated" not in second[-1].line


def test_objects_that_a_changed_option_compiles_again_count_for_the_progress(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.build()
    objects = bench.slot() / "tree/o"
    for name in ("mm/.madvise.o.cmd", "mm/.util.o.cmd", "kernel/.main.o.cmd"):
        with (objects / name).open("a") as record:
            record.write("$(wildcard include/config/BAR) \\\n$(wildcard include/config/BARRED) \\\n")
    with worktree.hold(
        bench.tree(), cache=bench.cache, study_id="study", kernel_id="k", emit=bench.events.append
    ) as slot:
        assert worktree.affected(slot) == 0
        assert worktree.affected(slot, ["BAR"]) == 3
        assert worktree.affected(slot, ["BA", "OFF"]) == 0, "not a part of a name"
    bench.events.clear()
    monkeypatch.setattr(build, "_STEPS_PER_OPTION", 10)
    monkeypatch.setattr(build, "_RELINK_STEPS", 1)
    bench.build(request="CONFIG_FOO=y\nCONFIG_BAR=y\n")
    told = [e for e in bench.events if isinstance(e, StageProgress) and e.stage == "build"]
    assert {e.total for e in told} == {3 + 10 + 1}


def test_a_build_that_goes_on_beyond_its_estimate_is_never_all_but_done(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "_RELINK_STEPS", 1)
    bench.build()
    bench.events.clear()
    bench.build(request="CONFIG_OFF=y\n")
    told = [(e.done, e.total) for e in bench.events if isinstance(e, StageProgress) and e.stage == "build"]
    assert told[0][1] < len(told)
    for done, total in told:
        assert total == 0 or done <= total
    assert told[-1][1] != told[0][1], "another estimate, or none, once the first is passed"


def test_a_compile_error_names_kernel_file_and_line(bench: Bench) -> None:
    bad = bench.patch("bad.patch", {"mm/madvise.c": ("split = 1;", "split = 1;\n#error no")})
    with pytest.raises(BuildError) as caught:
        bench.build(bad, kernel="v2")
    assert caught.value.message.startswith("kernel v2 does not build: mm/madvise.c:")
    assert caught.value.exit_code == Exit.USAGE
    assert caught.value.kernel == "v2" and caught.value.first.startswith("mm/madvise.c:")
    assert "#error on purpose" in caught.value.log.read_text()
    assert not caught.value.__cause__
    made = bench.build(bench.patch("bad.patch", SPLIT), kernel="v2")
    assert b"split = 4" in made.image.read_bytes()


def test_a_seed_of_the_same_config_is_nearer_than_one_of_the_same_files(bench: Bench) -> None:
    patch = bench.patch("a.patch", SPLIT)
    bench.build(kernel="stock")
    bench.build(patch, kernel="other", request="CONFIG_OFF=y\n")
    bench.build(patch, kernel="v2")
    assert bench.compiled() == ["mm/madvise.c"]


def test_a_slot_whose_build_failed_seeds_nobody(bench: Bench) -> None:
    bench.build(kernel="stock")
    bad = bench.patch("bad.patch", {"mm/util.c": ("return 0;", "return 0;\n#error no"), **SPLIT})
    with pytest.raises(BuildError):
        bench.build(bad, kernel="v2")
    bench.build(bench.patch("good.patch", SPLIT), kernel="v3")
    assert bench.compiled() == ["mm/madvise.c"]
    assert b"split = 4" in (bench.slot("v3") / "tree/o/arch/arm64/boot/Image").read_bytes()


def test_a_full_disk_is_no_compile_error(bench: Bench) -> None:
    bad = bench.patch("bad.patch", {"mm/util.c": ("return 0;", "return 0;\n#pragma diskfull")})
    with pytest.raises(DiskFull) as caught:
        bench.build(bad)
    assert "MiB free" in caught.value.message and "kpv clean" in caught.value.hint


def test_a_killed_compiler_is_no_compile_error(bench: Bench) -> None:
    bad = bench.patch("bad.patch", {"mm/util.c": ("return 0;", "return 0;\n#pragma killed")})
    with pytest.raises(BuildKilled, match="ended by a signal") as caught:
        bench.build(bad)
    assert caught.value.exit_code == Exit.INFRA


def test_a_killed_make_is_no_compile_error(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "stream", lambda *a, **k: -signal.SIGKILL)
    with pytest.raises(BuildKilled, match=r"\(9\)"):
        bench.build()


def test_a_broken_kconfig_is_told_as_such(bench: Bench) -> None:
    bad = bench.patch("bad.patch", {"Kconfig": ('mainmenu "Fake Linux"', 'mainmenu "Fake Linux"\nsyntax error')})
    with pytest.raises(BuildError, match=r"does not configure: Kconfig:3: syntax error"):
        bench.build(bad)


def test_an_option_that_did_not_land_names_fragment_line_and_dependency(bench: Bench) -> None:
    with pytest.raises(KconfigError) as caught:
        bench.build(request="# why\nCONFIG_BAR=y\n")
    assert "test.config:2: CONFIG_BAR=y did not land, it is n: depends on FOO && !OFF, FOO is n" in caught.value.message


def test_a_patch_that_adds_an_option_makes_it_available(bench: Bench) -> None:
    conf = {"scripts/conf.py": ('"FOO": (True', '"NEW": (True, [], []),\n    "FOO": (True')}
    added = bench.patch("n.patch", {"mm/Kconfig": ("if FOO\n", 'config NEW\n\tbool "New"\n\nif FOO\n'), **conf})
    assert "CONFIG_NEW=y" in bench.build(added, request="CONFIG_NEW=y\n").config.read_text()
    with pytest.raises(KconfigError, match="no such option in this kernel"):
        bench.build(request="CONFIG_NEW=y\n")


def test_warnings_of_touched_files_are_reported_and_survive_an_incremental_build(bench: Bench) -> None:
    warn = bench.patch("w.patch", {"mm/util.c": ("return 0;", "return 0;\n#warning x")})
    made = bench.build(warn)
    assert made.warnings == ("mm/util.c:6:2: warning: unused thing [-Wunused]",)
    both = bench.build(warn, bench.patch("a.patch", SPLIT))
    assert bench.compiled() == ["mm/madvise.c"]
    assert both.all_warnings == 1 and both.warnings == made.warnings
    mended = bench.build("a.patch")
    assert mended.all_warnings == 0 and mended.warnings == ()


def test_warnings_elsewhere_are_counted_but_not_the_series_own(bench: Bench) -> None:
    (bench.linux / "mm/util.c").write_text("#warning old\n" + (bench.linux / "mm/util.c").read_text())
    made = bench.build(bench.patch("a.patch", SPLIT))
    assert made.all_warnings == 1 and made.warnings == ()


def test_an_added_header_that_hides_another_drops_the_objects(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = build.stream
    monkeypatch.setattr(
        build, "stream", lambda *a, **k: (seen.append(k["env"].get("CCACHE_DISABLE")), real(*a, **k))[1]
    )
    bench.build(kernel="stock")
    bench.build(bench.patch("h.patch", {"mm/mm.h": ("", "#define PAGES 8\n")}), kernel="v1")
    assert bench.compiled() == ALL
    assert seen[-1] == "1" and seen[0] is None


# --- ended from outside ---------------------------------------------------------------------------------------------


CHILD = """
import sys
sys.path[:0] = {paths!r}
from pathlib import Path
import platform
platform.machine = lambda: "x86_64"
from tests.kernel.conftest import Bench
Bench(Path({folder!r}), Path({linux!r})).build("hang.patch")
"""


def _hanging(bench: Bench, how: str) -> subprocess.Popen[bytes]:
    """A kpv process whose compiler hangs, with an object half written."""
    bench.patch("hang.patch", {"mm/util.c": ("return 0;", "return 0;\n#pragma " + how)})
    half = bench.slot() / "tree/o/mm/util.o"
    script = textwrap.dedent(CHILD).format(
        paths=[str(FAKE.parent.parent)], folder=str(bench.folder), linux=str(bench.linux)
    )
    # A background job of a shell inherits SIGINT ignored, which Python then leaves so.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    child = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, preexec_fn=heed)
    deadline = time.monotonic() + 20
    while not (half.exists() and half.read_bytes() == b"half"):
        assert time.monotonic() < deadline and child.poll() is None, child.communicate()[1]
        time.sleep(0.01)
    return child


def _running(folder: Path) -> list[str]:
    """Command lines of live processes that work below ``folder``."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").readlink().is_relative_to(folder):
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def _gone(folder: Path, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while _running(folder):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_ctrl_c_ends_the_whole_process_group_and_keeps_no_half_artifact(bench: Bench) -> None:
    child = _hanging(bench, "hang")
    child.send_signal(signal.SIGINT)
    assert b"KeyboardInterrupt" in child.communicate(timeout=15)[1]
    assert _gone(bench.folder, 1), _running(bench.folder)
    assert list((bench.cache / "store/kernel").iterdir()) == []
    assert not (bench.slot() / "building").exists()
    made = bench.build(bench.patch("hang.patch", SPLIT))
    assert b"half" not in made.image.read_bytes() and b"split = 4" in made.image.read_bytes()


def test_a_killed_build_is_resumed_without_its_half_made_objects(bench: Bench) -> None:
    child = _hanging(bench, "stall")
    child.kill()
    child.communicate()
    assert _gone(bench.folder, 10), "make must not go on without kpv"
    assert (bench.slot() / "building").exists()
    made = bench.build(bench.patch("hang.patch", SPLIT))
    assert b"half" not in made.image.read_bytes()
    assert bench.compiled() == ALL
    assert not list((bench.cache / "store/kernel").glob(".making-*"))


def test_files_half_replaced_by_a_killed_process_are_mended(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.build()
    real = worktree._replace

    def once(tree: Path, pristine: Path, name: str, overlay: object) -> None:
        real(tree, pristine, name, overlay)  # type: ignore[arg-type]
        raise RuntimeError("killed")

    monkeypatch.setattr(worktree, "_replace", once)
    both = bench.patch("b.patch", {"mm/util.c": ("return 0", "return 7"), **SPLIT})
    with pytest.raises(RuntimeError):
        bench.build(both)
    monkeypatch.setattr(worktree, "_replace", real)
    made = bench.build(bench.patch("c.patch", {"kernel/main.c": ("return 0", "return 9")}))
    content = made.image.read_bytes()
    assert b"return 7" not in content and b"split = 4" not in content and b"return 9" in content


def test_a_slot_is_removed_unless_a_build_has_it(bench: Bench) -> None:
    bench.build()
    [slot] = worktree.slots(bench.cache)
    with worktree.hold(bench.tree(), cache=bench.cache, study_id="study", kernel_id="k", emit=bench.events.append):
        assert not worktree.remove(slot)
    assert worktree.remove(slot) and worktree.slots(bench.cache) == []
    assert not worktree.remove(slot)


def test_a_cache_path_with_blanks_is_refused(bench: Bench) -> None:
    tree = bench.tree()
    with (
        pytest.raises(build.InfraError, match="blanks or colons"),
        worktree.hold(tree, cache=bench.folder / "a b", study_id="s", kernel_id="k", emit=print),
    ):
        pass


def test_a_source_with_a_folder_where_kpv_builds_is_refused(bench: Bench) -> None:
    (bench.linux / "o").mkdir()
    (bench.linux / "o/file").write_text("x")
    with pytest.raises(build.UserError, match="where kpv builds"):
        bench.build()


def test_steps_json_that_is_broken_does_not_matter(bench: Bench) -> None:
    bench.build()
    (bench.slot().parent / "steps.json").write_text("{")
    bench.build(bench.patch("a.patch", SPLIT))
    assert json.loads((bench.slot() / "state.json").read_text()).keys() == {"mm/madvise.c"}


def test_a_missing_program_is_told(tmp_path: Path) -> None:
    with pytest.raises(process.InfraError, match="no-such-tool is not installed"):
        process.run(["no-such-tool"], what="try")
    with pytest.raises(process.ProcessFailed, match="try: false exited with 1"):
        process.run(["false"], what="try")


def test_a_source_is_resolved_once(bench: Bench) -> None:
    first = bench.tree()
    assert bench.tree() == first and len(source.sources(bench.cache)) == 1
