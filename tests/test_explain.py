"""Every word that a report may use can be explained, and what a study names too."""

import pytest

from pipeline import explain, locate, study
from pipeline.contpte.rules import RULES
from pipeline.errors import Exit, UserError
from pipeline.guest.ends import End
from pipeline.judge.model import Verdict
from pipeline.observation import Outcome
from pipeline.observe import preconditions
from pipeline.study import BUILT_IN, Study
from pipeline.tlb import model


@pytest.fixture(scope="module")
def shipped() -> Study:
    return study.load(locate.shipped()["madvise-free-mthp"])


def test_every_verdict_exit_code_outcome_end_rule_and_name_of_a_study_has_a_meaning(shipped):
    words = [*Verdict, *Outcome, *End, *RULES, *model.RULES, *(f"tlb.{name}" for name in model.COUNTERS), *BUILT_IN]
    words += [*(str(int(code)) for code in Exit)]
    words += [entry.id for entry in (*shipped.claim, *shipped.invariant, *shipped.known, *shipped.probe)]
    words += [name for scenario in shipped.scenario for name in scenario.properties]
    for word in words:
        for topic in explain.explain(str(word), shipped):
            assert len(topic.meaning) > 10, word
            assert topic.source, word


def test_every_precondition_that_the_host_measures_has_a_meaning():
    measured = preconditions.measure(
        config_gz=b"", notes=b"", facts={}, dmesg="", requested={}, wanted_build_id="", page_size=4096,
        hardware_dbm=True,
    )  # fmt: skip
    assert {need.what for need in measured} <= explain.NEEDS.keys()


def test_a_precondition_of_a_guest_test_is_found_in_its_source(shipped):
    (topic,) = explain.explain("folio_order", shipped)
    assert topic.kind == "precondition"
    assert topic.source.startswith("guest-tests/lazyfree.h:")
    assert '"folio_order"' in topic.source
    assert explain.explain("pmd_mapped_kib", shipped)[0].source.startswith("guest-tests/lazyfree_thp.c:")


def test_a_word_with_two_meanings_has_both(shipped):
    assert [topic.kind for topic in explain.explain("block-attributes", shipped)] == [
        "rule on page tables",
        "invariant of every kernel",
    ]


@pytest.mark.parametrize(
    ("typed", "word"),
    [
        ("pass", "PASS"),
        ("exit 3", "3"),
        ("exit code 3", "3"),
        ("vmstat.pglazyfree", "vmstat"),
        ("config SWAP", "config"),
    ],
)
def test_a_word_may_be_typed_as_it_is_read(shipped, typed, word):
    assert {topic.word for topic in explain.explain(typed, shipped)} == {word}


def test_an_invariant_is_told_with_what_the_guest_checks(shipped):
    (topic,) = explain.explain("becomes-clean", shipped)
    assert "Private_Dirty" in topic.meaning
    assert "full_cover" in topic.source


def test_a_word_that_means_nothing_proposes_what_comes_near(shipped):
    with pytest.raises(UserError, match="nothing to explain about 'no-splt-when-covered'") as caught:
        explain.explain("no-splt-when-covered", shipped)
    assert "no-split-when-covered" in caught.value.hint
