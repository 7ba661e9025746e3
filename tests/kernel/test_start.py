"""Builds that start from kept objects: what one small change compiles is its own, and nothing of the one before."""

import shutil

import pytest

from pipeline.events import Note
from pipeline.kernel import build, kconfig, series, worktree
from pipeline.kernel.build import BuildError, KernelArtifact, Start
from pipeline.store import Store
from tests.kernel.conftest import Bench

#: A type more: there is no telling what it changes.
HEADER = {"include/linux/mm.h": ("16", "16\nstruct folio { int order; };")}
PAGES = {"include/linux/mm.h": ("16", "32")}
FREE = {"mm/madvise.c": ("split = 1", "split = 4")}
UTIL = {"mm/util.c": ("return 0", "return 7")}
REQUEST = "CONFIG_FOO=y\n"


class Changes:
    """Small changes to one kernel, each built from its kept objects."""

    def __init__(self, bench: Bench, *base: str) -> None:
        self.bench, self.base = bench, base
        self.fragments: dict[str, kconfig.Option] = {}
        kconfig.merge(self.fragments, kconfig.parse(REQUEST, "test.config"))

    @property
    def start(self) -> Start:
        return Start("changes", series.apply(series.load(self.base, self.bench.folder), self.bench.tree()))

    def prime(self) -> list[str]:
        self.bench.log.unlink(missing_ok=True)
        build.prime(
            source=self.bench.tree(),
            start=self.start,
            fragments=self.fragments,
            study_id="study",
            store=Store(self.bench.cache / "store"),
            cache=self.bench.cache,
            emit=self.bench.events.append,
        )
        return self.bench.compiled()

    def build(self, *entries: str) -> KernelArtifact:
        patches = series.load((*self.base, *entries), self.bench.folder)
        self.bench.log.unlink(missing_ok=True)
        return build.build(
            source=self.bench.tree(),
            overlay=series.apply(patches, self.bench.tree()),
            series=patches,
            fragments=self.fragments,
            study_id="study",
            kernel_id="any-name",
            store=Store(self.bench.cache / "store"),
            cache=self.bench.cache,
            emit=self.bench.events.append,
            start=self.start,
        )

    @property
    def objects(self):
        return self.bench.slot("changes") / "tree" / "o"


@pytest.fixture
def changes(bench: Bench) -> Changes:
    bench.build(kernel="stock")
    made = Changes(bench)
    assert made.prime() == [], "seeded from the kernel's own slot"
    return made


def test_the_one_after_a_change_of_a_header_compiles_only_its_own(changes: Changes, bench: Bench) -> None:
    changes.build(bench.patch("h.patch", HEADER))
    assert len(bench.compiled()) == 3
    made = changes.build(bench.patch("a.patch", FREE))
    assert bench.compiled() == ["mm/madvise.c"]
    assert b"split = 4" in made.image.read_bytes()


def test_a_header_compiles_only_who_uses_what_it_changes(bench: Bench) -> None:
    bench.build(kernel="stock")
    changes = Changes(bench, bench.patch("use.patch", {"mm/util.c": ("return 0", "return PAGES")}))
    changes.prime()
    changes.build(bench.patch("p.patch", PAGES))
    assert bench.compiled() == ["mm/util.c"]
    said = [event.text for event in bench.events if isinstance(event, Note)]
    assert "any-name: what include/linux/mm.h changes is used by 1 of 3 objects that include it" in said
    changes.build("p.patch", bench.patch("a.patch", FREE))
    assert bench.compiled() == ["mm/madvise.c", "mm/util.c"]
    changes.build("a.patch")
    assert bench.compiled() == ["mm/madvise.c"]


def test_a_kernel_of_which_objects_were_spared_is_not_taken_for_one_built_whole(changes: Changes, bench: Bench) -> None:
    spared = changes.build(bench.patch("p.patch", PAGES))
    assert bench.compiled() == []
    assert bench.build("p.patch", kernel="whole").key != spared.key
    assert changes.build(bench.patch("a.patch", FREE)).key == bench.build("a.patch", kernel="whole").key


def test_a_new_header_is_built_as_ever(changes: Changes, bench: Bench) -> None:
    changes.build(bench.patch("n.patch", {"include/linux/new.h": ("", "#define NEW 1\n")}))
    assert (bench.slot("changes") / "tree/include/linux/new.h").exists()
    changes.build(bench.patch("a.patch", FREE))
    assert not (bench.slot("changes") / "tree/include/linux/new.h").exists()


def test_nothing_of_the_change_before_is_left(changes: Changes, bench: Bench) -> None:
    changes.build(bench.patch("u.patch", UTIL), bench.patch("n.patch", {"mm/new.c": ("", "int n;\n")}))
    made = changes.build(bench.patch("a.patch", FREE))
    assert b"return 7" not in made.image.read_bytes()
    assert not (bench.slot("changes") / "tree/mm/new.c").exists()


def test_it_is_the_kernel_that_a_slot_of_its_own_builds(changes: Changes, bench: Bench) -> None:
    changes.build(bench.patch("h.patch", HEADER))
    one = changes.build(bench.patch("a.patch", FREE)).image.read_bytes()
    shutil.rmtree(bench.cache / "store")
    assert bench.build("a.patch", kernel="own").image.read_bytes() == one


def test_a_change_that_does_not_compile_spoils_nothing(changes: Changes, bench: Bench) -> None:
    with pytest.raises(BuildError):
        changes.build(bench.patch("e.patch", {"mm/util.c": ("return 0", "#error on purpose\n\treturn 0")}))
    made = changes.build(bench.patch("a.patch", FREE))
    assert bench.compiled() == ["mm/madvise.c"]
    assert b"#error" not in made.image.read_bytes()


def test_objects_that_a_killed_make_left_half_done_are_put_back(changes: Changes, bench: Bench) -> None:
    (changes.objects / "mm/util.o").write_bytes(b"half")
    (changes.objects / "mm/left.o").write_bytes(b"half")
    (bench.slot("changes") / "building").touch()
    made = changes.build(bench.patch("a.patch", FREE))
    assert b"half" not in made.image.read_bytes()
    assert bench.compiled() == ["mm/madvise.c"]
    assert not (changes.objects / "mm/left.o").exists()


def test_changes_to_a_patched_kernel_start_from_the_patched_one(bench: Bench) -> None:
    bench.build(kernel="stock")
    changes = Changes(bench, bench.patch("h.patch", HEADER))
    assert len(changes.prime()) == 3
    made = changes.build(bench.patch("a.patch", FREE))
    assert bench.compiled() == ["mm/madvise.c"]
    assert b"split = 4" in made.image.read_bytes()
    changes.build(bench.patch("u.patch", UTIL))
    assert bench.compiled() == ["mm/util.c"]


def test_another_kernel_or_config_is_kept_anew(changes: Changes, bench: Bench) -> None:
    other = Changes(bench, bench.patch("u.patch", UTIL))
    assert other.prime() == ["mm/util.c"]
    other.build(bench.patch("a.patch", FREE))
    assert bench.compiled() == ["mm/madvise.c"]
    assert other.prime() == []
    kconfig.merge(other.fragments, kconfig.parse("CONFIG_BAR=y\n", "more.config"))
    assert len(other.prime()) == 3


def test_without_kept_objects_it_is_built_all_the_same(bench: Bench) -> None:
    made = Changes(bench).build(bench.patch("a.patch", FREE))
    assert b"split = 4" in made.image.read_bytes()


def test_a_slot_being_removed_keeps_nothing(changes: Changes, bench: Bench) -> None:
    slot = bench.slot("changes")
    (slot / "state.json").unlink()  # as worktree.remove() does first
    request = build.inputs_of(bench.tree(), changes.start.overlay, changes.fragments, build.toolchain.find())["config"]
    with worktree.hold(
        bench.tree(), cache=bench.cache, study_id="study", kernel_id="changes", emit=bench.events.append
    ) as held:
        assert not worktree.keeps(held, changes.start.overlay, request=request)
