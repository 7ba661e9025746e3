"""What the guest says of a sequence that failed, and what is made of it."""

from pipeline.fuzz import log
from pipeline.observation import Cell, Check, Outcome
from pipeline.tlb.model import Finding, Kind, Observation

KTAP = """\
TAP version 13
# kpv {"rec":"check","name":"sharer-data-kept","ok":false,"detail":"operation 6 of 9: page 3"}
# found: KPV_OPS="map:0.0:0+8 write:0.0:0+8 fork:1 free:0.0:0+8 reclaim check"
# shrunk: sharer-data-kept: page 3
# shrunk: KPV_OPS="map:0.0:3+1 fork:1 free:0.0:3+1"
# | // SPDX-License-Identifier: GPL-2.0
# | #include "lazyfree_replay.h"
# |
# | TEST_F(lazyfree, replay)
# | {
# | \tTURN(1, 0) pages_map((char *)0x100000003000, 1);
# | }
not ok 1 lazyfree.64k.random
"""


def cell(outcome: Outcome, **facts) -> Cell:
    return Cell(kernel="k", machine="max", scenario="random-5", variant="64k", outcome=outcome, **facts)


def test_a_failed_check_gives_both_sequences_and_the_c_test():
    checks = [Check(name="old-or-zero", ok=True), Check(name="sharer-data-kept", ok=False, detail="page 3")]
    failure = log.failure(cell(Outcome.FAILED, ktap=KTAP, checks=checks, params={"failed_sequence": 17}))
    assert failure is not None
    assert (failure.what, failure.detail, failure.sequence) == ("sharer-data-kept", "page 3", 17)
    assert failure.found.startswith("map:0.0:0+8 ")
    assert failure.shrunk == "map:0.0:3+1 fork:1 free:0.0:3+1"
    assert failure.test.splitlines()[2:4] == ["", "TEST_F(lazyfree, replay)"]
    assert "\n\tTURN(1, 0) pages_map((char *)0x100000003000, 1);\n" in failure.test


def test_a_kernel_that_died_is_told_by_the_sequence_that_began_last():
    console = "kpv: sequence 3 of seed 5\n[ 9.1] kpv: sequence 4 of seed 5\n[ 9.2] kernel BUG at mm/madvise.c:700!\n"
    failure = log.failure(cell(Outcome.PANIC, reason="kernel BUG", console=console))
    assert failure == log.Failure("panic", "kernel BUG", 4)


def test_what_was_not_tried_has_not_failed():
    for outcome in (Outcome.PASSED, Outcome.SKIPPED, Outcome.NOT_RUN, Outcome.LOST):
        assert log.failure(cell(outcome)) is None


FINDING = Finding(
    rule="unflushed",
    hardware="AB",
    va=0x1000,
    asid=1,
    level=3,
    old=0,
    new=0,
    pc=0,
    cpu=0,
    detail="no longer mapped",
    missing="TLBI",
    function="zap_pte_range+0x10",
)


def test_a_finding_of_the_tlb_model_is_a_failure_though_every_check_held():
    seen = Observation(
        findings=[FINDING], total=1, kinds=[Kind(rule="unflushed", function="zap_pte_range+0x10", count=1)]
    )
    failure = log.failure(cell(Outcome.PASSED, tlb=seen))
    assert failure is not None and failure.what == "tlb-rules"
    assert failure.detail.startswith("unflushed in zap_pte_range+0x10")
    assert log.failure(cell(Outcome.PASSED, tlb=Observation(counters={"pte_stores": 1}))) is None


def test_a_model_that_does_not_vouch_for_itself_shows_nothing():
    seen = Observation(invalid="3 stores to tables were missed")
    assert "3 stores to tables were missed" in log.doubt(cell(Outcome.PASSED, tlb=seen))
    assert log.doubt(cell(Outcome.PASSED)) == ""
