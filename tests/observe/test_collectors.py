"""Probes, trace slices and boot preconditions, on recorded text."""

import gzip
import struct

import pytest

from pipeline.kernel import kconfig
from pipeline.observe import preconditions, probes, slices
from pipeline.study import Probe

PROBES = [Probe(id="contpte_convert", symbol="contpte_convert"), Probe(id="gone", symbol="no_such_function")]


def test_a_refused_probe_and_an_absent_tracepoint_keep_the_kernels_reason():
    said = (
        "probe contpte_convert\n"
        "probe gone [    3.1] trace_kprobe: error: Failed to register probe event\n"
        "tracepoint vmscan/mm_vmscan_write_folio\n"
        "tracepoint tlb/tlb_flush no such tracepoint in this kernel\n"
    )
    points = ["vmscan:mm_vmscan_write_folio", "tlb:tlb_flush", "kmem:rss_stat"]
    assert probes.outcome(said, PROBES, points) == {
        "contpte_convert": "",
        "gone": "[    3.1] trace_kprobe: error: Failed to register probe event",
        "vmscan:mm_vmscan_write_folio": "",
        "tlb:tlb_flush": "no such tracepoint in this kernel",
        "kmem:rss_stat": "the guest did not answer",
    }


def test_a_hostile_symbol_stays_one_shell_word():
    text = probes.script([Probe(id="x", symbol="f; reboot -f '")], [])
    assert "'p:kpv/x f; reboot -f '\"'\"''" in text


def test_slices_end_at_the_end_marker_or_at_the_next_begin():
    lines = [
        "boot noise",
        "[1.0] kpv: begin a.64k",
        "one",
        "[1.1] kpv: end a.64k",
        "between",
        "[1.2] kpv: begin b.64k",
        "two",
        "[1.3] kpv: begin c.64k",
        "three",
    ]
    assert slices.by_cell(lines) == {"a.64k": "one", "b.64k": "two", "c.64k": "three"}


def test_a_slice_is_the_cell_s_own_lines():
    lines = ["kpv: begin a.4k", "one", "kpv: end a.4k", "other", "kpv: begin a.4k2", "no", "kpv: end a.4k2"]
    assert slices.by_cell(lines)["a.4k"].splitlines() == ["one"]
    assert "a.4" not in slices.by_cell(lines)


def test_a_slice_runs_to_the_last_line_where_the_guest_died():
    assert slices.by_cell(["kpv: begin x.64k", "BUG: Bad page state", "panic"])["x.64k"].splitlines() == [
        "BUG: Bad page state",
        "panic",
    ]


def note(name: bytes, kind: int, desc: bytes) -> bytes:
    pad = lambda data: data + b"\0" * (-len(data) % 4)  # noqa: E731
    return struct.pack("<III", len(name), len(desc), kind) + pad(name) + pad(desc)


def test_the_build_id_is_found_among_other_notes():
    notes = note(b"Linux\0", 0x100, b"abc") + note(b"GNU\0", 3, bytes.fromhex("00ff" * 10))
    assert preconditions.build_id(notes) == "00ff" * 10
    assert preconditions.build_id(b"") == ""
    assert preconditions.build_id(b"\xff" * 40) == ""


def request(fragment: str) -> kconfig.Requested:
    merged: dict[str, kconfig.Option] = {}
    kconfig.merge(merged, kconfig.parse(fragment, "test.config"))
    return merged


FACTS = {"page_size": "4096", "swap": "/dev/zram0", "swap_disk": "vda, 272 MiB"}


def measure(**changes):
    given = {
        "config_gz": gzip.compress(b"CONFIG_ARM64_CONTPTE=y\n# CONFIG_KASAN is not set\nCONFIG_NR_CPUS=8\n"),
        "notes": note(b"GNU\0", 3, b"\x12\x34"),
        "facts": FACTS,
        "dmesg": "CPU features: detected: Hardware dirty bit management on CPU0-1",
        "requested": request("CONFIG_ARM64_CONTPTE=y\n# CONFIG_KASAN is not set\nCONFIG_NR_CPUS=8\n"),
        "wanted_build_id": "1234",
        "page_size": 4096,
        "hardware_dbm": True,
    }
    return {need.what: need for need in preconditions.measure(**{**given, **changes})}


def test_a_sound_guest_meets_every_precondition():
    assert all(need.ok for need in measure().values())


def test_the_swap_disk_is_known_by_its_serial():
    assert preconditions.swap_disk("kpv-swap\n", "557056\n") == "vda, 272 MiB"
    assert preconditions.swap_disk("another", "557056\n") == ""
    assert preconditions.swap_disk("kpv-swap", "") == ""


def test_each_precondition_fails_on_its_own():
    for changes, what in [
        ({"wanted_build_id": "9999"}, "build_id"),
        ({"facts": {**FACTS, "page_size": "16384"}}, "page_size"),
        ({"facts": {**FACTS, "swap": ""}}, "swap"),
        ({"facts": {**FACTS, "swap": "/dev/zram0 /dev/vda"}}, "swap"),
        ({"facts": {**FACTS, "swap_disk": ""}}, "swap_disk"),
        ({"hardware_dbm": False}, "hardware_dirty_bit"),
        ({"config_gz": b"garbage"}, "config"),
        ({"requested": request("# CONFIG_ARM64_CONTPTE is not set\n")}, "config ARM64_CONTPTE"),
        ({"requested": request("CONFIG_MISSING=y\n")}, "config MISSING"),
    ]:
        assert [name for name, need in measure(**changes).items() if not need.ok] == [what]


@pytest.mark.parametrize(
    ("text", "count"), [("0\n", 1), ("0-1\n", 2), ("0-3,6\n", 5), ("", 0), ("\n", 0), ("0-\n", 0), ("nonsense", 0)]
)
def test_cpus_of_a_kernel_s_list_are_counted(text, count):
    assert preconditions.cpus(text) == count
