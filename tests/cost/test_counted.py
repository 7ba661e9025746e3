"""From what the plugin wrote to counts and profiles."""

import json
from pathlib import Path

import pytest

from pipeline.cost import counted
from pipeline.cost.counted import EVENTS, CountedError
from pipeline.cost.words import COUNTS
from pipeline.tlb.symbols import Symbols

MAP = """\
ffff800080010000 T _text
ffff800080010800 T vectors
ffff800080020000 t el0t_64_sync
ffff800080020100 T do_madvise
ffff800080020200 t contpte_convert.isra.0
ffff800080020300 T __contpte_try_fold
ffff800080020400 T __contpte_try_unfold
ffff800080020500 T folio_mark_lazyfree
ffff800080020600 T split_huge_page_to_list_to_order
ffff800080020700 t __schedule
ffff800080020800 D some_data
"""
SYMBOLS = Symbols(MAP)
INDEX = {name: at for at, name in enumerate(SYMBOLS.names)}


def line(**changes: object) -> str:
    convert = INDEX["contpte_convert.isra.0"]
    nodes = [
        (0, -1, 0, 0),
        (0, INDEX["el0t_64_sync"], 1, 30),
        (1, INDEX["do_madvise"], 1, 100),
        (2, INDEX["__contpte_try_unfold"], 5, 50),
        (3, convert, 4, 400),
        (2, INDEX["__contpte_try_fold"], 3, 30),
        (5, convert, 2, 200),
        (2, INDEX["folio_mark_lazyfree"], 7, 0),
        (2, -1, 1, 9),
    ]
    sample = {
        "test": 3, "broken": "", "instructions": 819, "exceptions": 1, "pte_stores": 12, "tables": 4, "strayed": 0,
        "events": list(range(1, len(EVENTS) + 1)),
        "held_off": {"instructions": 5, "interrupts": 1, "switches": 0},
        "nodes": nodes,
    }  # fmt: skip
    return json.dumps({**sample, **changes})


@pytest.fixture
def written(tmp_path: Path):
    def write(text: str) -> Path:
        (tmp_path / "cost.jsonl").write_text(text)
        return tmp_path / "cost.jsonl"

    return write


def test_counts_are_calls_of_functions_and_events(written):
    found = counted.counts(counted.read(written(line() + "\n"))[3], SYMBOLS)
    assert (found["instructions"], found["pte_stores"], found["exceptions"]) == (819, 12, 1)
    assert [found[name] for name in EVENTS] == list(range(1, len(EVENTS) + 1))
    assert (found["converts"], found["folds"], found["unfolds"]) == (6, 2, 4)
    assert (found["lazyfree_marks"], found["splits"]) == (7, 0)
    assert set(found) == set(COUNTS)


def test_a_function_that_the_kernel_lacks_is_no_zero(written):
    lacking = Symbols(MAP.replace("contpte_convert.isra.0", "other").replace("folio_mark_lazyfree", "another"))
    found = counted.counts(counted.read(written(line()))[3], lacking)
    assert [found[name] for name in ("converts", "folds", "unfolds", "lazyfree_marks")] == [None] * 4
    assert found["page_table_locks"] is None
    assert found["splits"] == 0


def test_a_profile_has_every_instruction_by_function_and_by_stack(written):
    made = counted.read(written(line()))[3]
    profile = counted.profile(made, SYMBOLS)
    assert sum(profile.stacks.values()) == made.instructions
    assert sum(function.instructions for function in profile.functions.values()) == made.instructions
    assert profile.functions["contpte_convert.isra.0"].model_dump() == {"calls": 6, "instructions": 600}
    assert profile.stacks["el0t_64_sync;do_madvise;__contpte_try_fold;contpte_convert.isra.0"] == 200
    assert profile.functions["folio_mark_lazyfree"].calls == 7
    assert profile.functions["[unknown]"].instructions == 9


def test_the_plugin_is_told_of_functions_by_address(tmp_path):
    options = counted.write_functions(SYMBOLS, tmp_path / "functions")
    assert options["vectors"] == "0xffff800080010800"
    assert int(options["scheduler"]) == INDEX["__schedule"]
    assert (tmp_path / "functions").read_bytes()[:8] == (0xFFFF800080010000).to_bytes(8, "little")
    assert (tmp_path / "functions").stat().st_size == 8 * len(SYMBOLS.names)


@pytest.mark.parametrize("name", ["vectors", "__schedule"])
def test_a_kernel_without_what_the_plugin_must_know_is_told(tmp_path, name):
    with pytest.raises(CountedError, match="expected one of each"):
        counted.write_functions(Symbols(MAP.replace(f" {name}\n", " other\n")), tmp_path / "functions")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "cost.jsonl:1: not a sample"),
        (line() + "\n" + line()[:40], "cost.jsonl:2: not a sample"),
        (line(events=[1]), f"expected {len(EVENTS)} events, found 1"),
    ],
)
def test_what_is_no_file_of_the_plugin_is_told(written, text, said):
    with pytest.raises(CountedError, match=said):
        counted.read(written(text))


def test_no_file_is_told(tmp_path):
    with pytest.raises(CountedError, match="expected what the plugin counted"):
        counted.read(tmp_path / "none")
