"""The model's JSON lines become observations; what is not there is told."""

import json
import re
from pathlib import Path

import pytest

from pipeline import resources
from pipeline.contpte.read import hash_name
from pipeline.tlb.model import COUNTERS, NO_LINE, RULES
from pipeline.tlb.read import Follower, ModelError, Seen, read_model
from pipeline.tlb.symbols import SymbolError, Symbols, read

MAP = """\
ffff800080000000 T _text
ffff800080010000 t contpte_convert
ffff800080010000 t $x_marker
ffff800080010200 T madvise_free_pte_range
ffff800082000000 D init_mm
"""
TEST, OTHER, STEP = (f"{hash_name(name):016x}" for name in ("lazyfree.64k.full_cover", "lazyfree.64k.other", "free"))


def finding(test: str = TEST, **changes: object) -> str:
    line = {
        "type": "finding",
        "test": test,
        "step": STEP,
        "rule": "break-before-make",
        "hardware": "A",
        "va": "0x10000000",
        "asid": 7,
        "level": 3,
        "old": "0xf8000048180c43",
        "new": "0x78000048180c43",
        "pc": "0xffff800080010114",
        "tlbi_pc": "0x0",
        "taken_pc": "0x0",
        "cpu": 0,
        "task": "0xffff000001234000",
        "detail": "another contiguous bit or size",
        "missing": "TLBI",
    }
    return json.dumps(line | changes)


def end(test: str = TEST, **changes: object) -> str:
    kinds = [{"rule": "break-before-make", "pc": "0xffff800080010114", "count": 16}]
    line = {"type": "test", "test": test, "valid": True, "reason": "", "findings": 16, "kinds": kinds}
    line |= {"tables": 40, "shared": 0, "lost": 0, "counters": {"pte_stores": 12}}
    return json.dumps(line | changes)


def step(tlbi: int, test: str = TEST) -> str:
    return json.dumps({"type": "step", "test": test, "step": STEP, "counters": {"tlbi": tlbi}})


START = json.dumps({"type": "start", "version": 2, "page_size": 4096})


@pytest.fixture
def out(tmp_path: Path):
    path = tmp_path / "contpte-tlb.bin"

    def write(*lines: str, end: str = "\n") -> Path:
        with path.open("a") as file:
            file.write("\n".join(lines) + end)
        return path

    return write


def test_a_finding_names_the_kernel_function_and_the_step(out):
    seen = Follower(out(START, finding(), end())).take("lazyfree.64k.full_cover")
    observation = seen.observation(Symbols(MAP), ["populate", "free"])
    assert observation.invalid == ""
    assert observation.total == 16
    assert [one.function for one in observation.findings] == ["contpte_convert+0x114"]
    assert observation.findings[0].step == "free"
    assert observation.findings[0].tlbi == ""
    assert observation.kinds[0].function == "contpte_convert+0x114"
    assert observation.counters == {"pte_stores": 12}


def test_steps_of_one_name_are_told_apart_by_their_order(out):
    seen = Follower(out(START, step(3), step(1), end())).take("lazyfree.64k.full_cover")
    assert [seen.step_counters("free", number) for number in (0, 1, 2)] == [{"tlbi": 3}, {"tlbi": 1}, {}]
    assert seen.step_counters("reclaim", 0) == {}


def test_tests_are_kept_apart_and_taken_once(out):
    path = out(START, finding(), end(), finding(OTHER), finding(OTHER), end(OTHER))
    follower = Follower(path)
    assert len(follower.take("lazyfree.64k.other").findings) == 2
    assert len(follower.take("lazyfree.64k.full_cover").findings) == 1
    assert follower.take("lazyfree.64k.full_cover").last is None
    assert read_model(path).keys() == {int(TEST, 16), int(OTHER, 16)}


def test_a_line_that_is_being_written_is_read_once_it_is_whole(out):
    follower = Follower(out(START, finding(), end()[:20], end=""))
    assert follower.take("lazyfree.64k.full_cover").last is None
    out(end()[20:])
    assert follower.take("lazyfree.64k.full_cover").last is not None


def test_no_line_no_trust(out):
    assert Seen().observation().invalid == NO_LINE
    died = Follower(out(START, finding())).take("lazyfree.64k.full_cover").observation()
    assert (died.invalid, died.total, len(died.findings)) == (NO_LINE, 1, 1)


def test_a_self_test_that_fails_is_told(out):
    path = out(START, end(valid=False, reason="3 stores to tables were missed", findings=0, kinds=[]))
    assert Follower(path).take("lazyfree.64k.full_cover").observation().invalid == "3 stores to tables were missed"


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"type": "tset"}', '{"test": "0"}', START.replace("2,", "3,")], ids=lambda text: text[:12]
)
def test_what_the_plugin_never_writes_is_refused(out, line):
    with pytest.raises(ModelError, match="not a line of the TLB model"):
        Follower(out(line)).take("lazyfree.64k.full_cover")


def test_a_file_that_is_not_there_yet_has_no_lines(tmp_path):
    assert Follower(tmp_path / "none").take("lazyfree.64k.full_cover").observation().invalid == NO_LINE


def test_addresses_beyond_symbols(tmp_path):
    symbols = Symbols(MAP)
    assert symbols.name(0xFFFF800080010000) == "contpte_convert+0x0"
    assert symbols.name(0xFFFF800080010204) == "madvise_free_pte_range+0x4"
    assert symbols.name(0x1000) == "0x1000"
    with pytest.raises(SymbolError):
        read(tmp_path / "System.map")
    (tmp_path / "System.map").write_text("no map\n")
    with pytest.raises(SymbolError):
        read(tmp_path / "System.map")


def test_names_are_those_of_the_plugin():
    """Rules and counters of the C sources are those that the Python side knows, and no more."""
    folder = resources.folder("qemu") / "contpte-tlb"
    report = (folder / "report.c").read_text()
    assert set(re.findall(r'^\t\[COUNT_[^]]+\] = "(\w+)",$', report, re.MULTILINE)) == COUNTERS.keys()
    text = "".join(path.read_text() for path in folder.glob("*.c"))
    used = set(re.findall(r'"((?:[a-z]+-)+[a-z]+|overlap|unflushed)"', text)) - {"contpte-tlb"}
    assert used == RULES.keys()
