"""The language of claims."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.judge.expr import (
    ExprError,
    Language,
    Undecided,
    check_syntax,
    conjunction,
    evaluate,
    evaluate_with,
)
from pipeline.observation import Step

#: No deadline: the machine may be building a kernel meanwhile.
CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
STEP = Step(
    name="free",
    ret=-1,
    errno=22,
    vmstat={"pglazyfree": 64, "thp_split_page": None},
    mthp={"split": 4},
    probe={"convert": None},
    smaps={"LazyFree": 256},
)
PARAMS = {"folios": 4, "pages": 64}


def truth(text: str):
    return evaluate(text, STEP, PARAMS).truth


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mthp.split == 4", True),
        ("mthp.split == param.folios", True),
        ("vmstat.pglazyfree == 16 * param.folios", True),
        ("0 < mthp.split <= param.folios", True),
        ("0 < mthp.split < param.folios", False),
        ("ret == -1 and errno == 22", True),
        ("not mthp.split == 4", False),
        ("vmstat.pglazyfree // 3 == 21", True),
        ("smaps.LazyFree - 4 * param.pages + 1 != 1", False),
        ("(mthp.split == 0\n or mthp.split == 4)", True),
        ("  mthp.split == 4", True),
    ],
)
def test_an_observed_expression_is_true_or_false(text, expected):
    assert truth(text) is expected


@pytest.mark.parametrize(
    ("text", "counter"),
    [
        ("probe.convert == 0", "probe.convert"),  # None: the probe could not be placed
        ("vmstat.absent == 0", "vmstat.absent"),  # no such counter
        ("mthp.split == param.absent", "param.absent"),
        ("0 * probe.convert == 0", "probe.convert"),
        ("not probe.convert == 0", "probe.convert"),
        ("mthp.split == 4 and probe.convert == 0", "probe.convert"),
        ("mthp.split == 0 or probe.convert == 0", "probe.convert"),
        ("4 <= mthp.split < probe.convert", "probe.convert"),
    ],
)
def test_an_absent_counter_is_undecided_by_name_never_zero(text, counter):
    result = truth(text)
    assert isinstance(result, Undecided)
    assert counter in result.reason


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mthp.split == 0 and probe.convert == 0", False),
        ("probe.convert == 0 and mthp.split == 0", False),
        ("probe.convert == 0 or mthp.split == 4", True),
        ("9 < mthp.split < probe.convert", False),
    ],
)
def test_what_the_observed_part_decides_is_decided(text, expected):
    assert truth(text) is expected


def test_division_by_zero_is_undecided():
    assert truth("mthp.split // (ret + 1) == 0") == Undecided("division by zero")


def test_the_evidence_names_every_value_once_in_the_order_of_the_text():
    result = evaluate("mthp.split == param.folios or mthp.split == probe.convert", STEP, PARAMS)
    assert str(result) == "mthp.split = 4, param.folios = 4, probe.convert = not observed"


def test_undecided_is_never_taken_for_false():
    with pytest.raises(TypeError):
        bool(Undecided("x"))


@pytest.mark.parametrize(
    ("text", "column", "word"),
    [
        ("mthp.split = 4", 12, "write =="),
        ("mthp.split == 4.0", 15, "'4.0'"),
        ("mthp.split == True", 15, "'True'"),
        ("split == 4", 1, "'split'"),
        ("mthp.split == 0 and foo.bar == 1", 21, "'foo.bar'"),
        ("__import__('os').system('x') == 0", 1, "not of the language"),
        ("mthp.split.real == 0", 1, "not of the language"),
        ("mthp['split'] == 0", 1, "not of the language"),
        ("mthp.split / 2 == 2", 1, "not of the language"),
        ("mthp.split ** 9 == 2", 1, "not of the language"),
        ("mthp.split in (1, 2)", 1, "not of the language"),
        ("(lambda: mthp.split)() == 0", 1, "not of the language"),
        ("mthp.split", 1, "is a number"),
        ("mthp.split == 0 or ret", 20, "expected a comparison"),
        ("(mthp.split == 0) + 1 == 1", 2, "expected a number"),
        ("1 == 1", 1, "names no observation"),
        ("param.folios == 4", 1, "names no observation"),
        ("mthp.split ≤ 4", 12, "unexpected character"),
        ("", 1, "column"),
        ("mthp.split ==", 14, "invalid syntax"),
        ("mthp.split == 0\0", 16, "null"),
    ],
)
def test_what_is_not_of_the_language_is_told_with_its_column(text, column, word):
    with pytest.raises(ExprError) as caught:
        check_syntax(text)
    assert f"column {column}:" in caught.value.message
    assert word in caught.value.message
    assert "vmstat.X" in caught.value.message
    assert isinstance(caught.value, UserError)
    assert isinstance(caught.value, ValueError)  # so pydantic tells it with the key


@pytest.mark.parametrize(
    "text", ["(" * 90 + "ret" + ")" * 90 + " == 0", "not " * 100 + "ret == 0", "ret == " + "-" * 400 + "1"]
)
def test_deep_nesting_is_refused_or_read_but_never_exhausts_the_stack(text):
    try:
        check_syntax(text)
    except ExprError:
        return
    assert isinstance(truth(text), bool)


def test_a_long_expression_is_refused():
    with pytest.raises(ExprError, match="at most 500"):
        check_syntax("ret == 0 or " * 50 + "ret == 0")


@CALM
@given(st.text(max_size=60) | st.text("mthp.split retno()=<>+-*/ 0123andor\n\t'\"[]{}:,;#", max_size=60))
def test_any_text_is_an_expression_or_an_expr_error(text):
    try:
        check_syntax(text)
    except ExprError:
        return
    assert isinstance(truth(text), (bool, Undecided))


NUMBERS = st.recursive(
    st.sampled_from(["mthp.split", "probe.convert", "param.folios", "vmstat.pglazyfree", "ret", "0", "3", "17"]),
    lambda inner: st.builds("({} {} {})".format, inner, st.sampled_from(["+", "-", "*", "//"]), inner),
    max_leaves=4,
)
COMPARISONS = st.builds("mthp.split * 0 + {} {} {}".format, NUMBERS, st.sampled_from(["==", "!=", "<", ">="]), NUMBERS)
TRUTHS = st.recursive(
    COMPARISONS,
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner)
        | st.builds("not ({})".format, inner)
    ),
    max_leaves=4,
).filter(lambda text: len(text) < 400)


@CALM
@given(TRUTHS)
def test_three_valued_logic_agrees_with_python_whatever_the_unknowns_are(text):
    """Kleene: a decided value is the value for every possible value of the unknown counter."""
    result = truth(text)
    if isinstance(result, Undecided):
        assert "convert" in result.reason or "division by zero" in result.reason
        return
    for unknown in (-5, 0, 1, 3, 1000):
        step = STEP.model_copy(update={"probe": {"convert": unknown}})
        filled = evaluate(text, step, PARAMS).truth
        assert filled is result or isinstance(filled, Undecided)


@CALM
@given(TRUTHS)
def test_negation_swaps_true_and_false_and_keeps_undecided(text):
    there, back = truth(text), truth(f"not ({text})")
    if isinstance(there, Undecided):
        assert back == there
    else:
        assert back is (not there)


@CALM
@given(st.lists(st.sampled_from([True, False, Undecided("a"), Undecided("b")])))
def test_conjunction(truths):
    result = conjunction(truths)
    if False in truths:
        assert result is False
    elif all(one is True for one in truths):
        assert result is True
    else:
        assert isinstance(result, Undecided)


#: Names of another room, in the same grammar.
COSTS = Language(groups=("cost", "baseline", "param"), noun="a bound", where="see docs/cost.md")


def over(text: str, **values: int | None):
    return evaluate_with(text, COSTS, lambda name: values.get(name.replace(".", "_")))


def test_another_language_has_its_own_names_and_the_same_grammar():
    assert over("10 * cost.x <= baseline.x", cost_x=5, baseline_x=50).truth is True
    assert isinstance(over("10 * cost.x <= baseline.x", cost_x=5).truth, Undecided)
    with pytest.raises(ExprError, match=r"column 1: 'vmstat\.x' is not of the language; allowed are cost\.X") as err:
        check_syntax("vmstat.x == 0", COSTS)
    assert err.value.hint == "see docs/cost.md"
    with pytest.raises(ExprError, match="a bound is a comparison"):
        check_syntax("cost.x + 1", COSTS)
    with pytest.raises(ExprError, match=r"'cost\.x' is not of the language"):
        check_syntax("cost.x == 0")


def test_an_evaluation_tells_the_comparisons_that_do_not_hold_with_both_sides():
    read = over(
        "10 * cost.x <= baseline.x and cost.y == 0 and 1 <= cost.z < 4", cost_x=7, baseline_x=50, cost_y=0, cost_z=4
    )
    assert read.truth is False
    assert [(one.text, one.left, one.right) for one in read.broken] == [
        ("10 * cost.x <= baseline.x", 70, 50),
        ("cost.z < 4", 4, 4),
    ]
    assert over("cost.y == 0", cost_y=None).broken == ()
