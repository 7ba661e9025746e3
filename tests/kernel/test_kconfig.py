"""Config fragments, and why an option did not land."""

from pathlib import Path

import pytest

from pipeline.kernel import kconfig, kconfig_tree
from pipeline.kernel.kconfig import KconfigError, Option, load, merge, parse, text_of, verify


def _requested(text: str) -> dict[str, Option]:
    merged: dict[str, Option] = {}
    merge(merged, parse(text, "t.config"))
    return merged


def test_a_fragment_with_its_lines() -> None:
    text = '# why\nCONFIG_A=y\n\n# CONFIG_B is not set\nCONFIG_C="a # b"\nCONFIG_D=0x10\nCONFIG_E=-3\n'
    found = [(o.name, o.value, o.line) for o in parse(text, "f")]
    assert found == [("A", "y", 2), ("B", "n", 4), ("C", '"a # b"', 5), ("D", "0x10", 6), ("E", "-3", 7)]


@pytest.mark.parametrize(
    "line", ["CONFIG_A = y", "A=y", "CONFIG_A=yes", "CONFIG_A=", "CONFIG_A=y # why", 'CONFIG_A="x']
)
def test_a_malformed_line_is_told(line: str) -> None:
    with pytest.raises(KconfigError, match=r"f\.config:2: expected CONFIG_NAME=value"):
        parse(f"\n{line}\n", "f.config")


def test_fragments_merge_and_conflicts_name_both_places(tmp_path: Path) -> None:
    (tmp_path / "a.config").write_text("CONFIG_A=y\nCONFIG_B=y\n")
    (tmp_path / "b.config").write_text("CONFIG_B=y\n\n# CONFIG_A is not set\n")
    assert set(load(["a"], tmp_path)) == {"A", "B"}
    with pytest.raises(KconfigError, match=r"b\.config:3: CONFIG_A=n contradicts a\.config:1, which asks for y"):
        load(["a", "b"], tmp_path)


def test_the_first_folder_that_has_a_fragment_wins(tmp_path: Path) -> None:
    for name, value in (("one", "1"), ("two", "2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.config").write_text(f"CONFIG_A={value}\n")
    assert load(["a"], tmp_path / "one", tmp_path / "two")["A"].value == "1"


def test_a_missing_fragment_names_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "mm.config").write_text("")
    with pytest.raises(KconfigError, match=r"no base\.config in") as caught:
        load(["base"], tmp_path)
    assert caught.value.hint == "known fragments: mm"


def test_the_request_as_text_is_sorted_and_reads_back() -> None:
    text = text_of(_requested("CONFIG_B=y\n# CONFIG_A is not set\n"))
    assert text == "# CONFIG_A is not set\nCONFIG_B=y\n"


@pytest.mark.parametrize(
    ("asked", "final", "fine"),
    [
        ("CONFIG_A=y", "CONFIG_A=y", True),
        ("CONFIG_A=y", "CONFIG_A=m", False),
        ("CONFIG_A=y", "# CONFIG_A is not set", False),
        ("CONFIG_A=y", "", False),
        ("# CONFIG_A is not set", "", True),
        ("# CONFIG_A is not set", "# CONFIG_A is not set", True),
        ("# CONFIG_A is not set", "CONFIG_A=y", False),
        ("CONFIG_A=0x10", "CONFIG_A=0x0010", True),
        ('CONFIG_A="x"', 'CONFIG_A="y"', False),
    ],
)
def test_a_request_is_held_against_the_final_config(asked: str, final: str, fine: bool) -> None:
    missing = verify(_requested(asked), final + "\n", None)
    assert (missing == []) is fine
    assert all(m.reason == "" and (m.file, m.line) == ("t.config", 1) for m in missing)


@pytest.mark.parametrize(
    ("asked", "final", "reason"),
    [
        ("CONFIG_NOPE=y", "", "no such option in this kernel"),
        ("CONFIG_X86_ONLY=y", "", "no such option in this kernel"),
        ("CONFIG_NOT_AN_OPTION=y", "", "no such option in this kernel"),
        ("CONFIG_BAR=y", "", "depends on FOO && !OFF, FOO is n and OFF is n"),
        ("CONFIG_BAR=y", "CONFIG_FOO=y\nCONFIG_OFF=y", "depends on FOO && !OFF, FOO is y and OFF is y"),
        ("CONFIG_INSIDE=y", "", 'depends on FOO, FOO is n; depends on OFF || NAME = "set", OFF is n and NAME is n'),
        ("CONFIG_INSIDE=y", "CONFIG_FOO=y", 'depends on OFF || NAME = "set", OFF is n and NAME is n'),
        ("CONFIG_HIDDEN=y", "", "it cannot be set by hand, only selected by SELECTING"),
        ("# CONFIG_HIDDEN is not set", "CONFIG_HIDDEN=y\nCONFIG_SELECTING=y", "selected by SELECTING"),
        ("CONFIG_TWO=y", "CONFIG_ONE=y", "it is one of a choice (Kconfig), and another one is set"),
        ("CONFIG_FOO=y", "", "its dependencies hold in Kconfig"),
    ],
)
def test_the_reason_comes_from_the_trees_kconfig(linux: Path, asked: str, final: str, reason: str) -> None:
    [missing] = verify(_requested(asked), final, linux)
    assert missing.reason.startswith(reason), missing.reason


def test_require_names_fragment_line_and_count(linux: Path) -> None:
    with pytest.raises(KconfigError) as caught:
        kconfig.require(_requested("CONFIG_BAR=y\nCONFIG_NOPE=y\n"), "", linux, kernel="v2")
    assert caught.value.message.startswith("kernel v2: t.config:1: CONFIG_BAR=y did not land, it is n: depends on")
    assert caught.value.message.endswith("(and 1 more)")
    assert len(caught.value.detail.splitlines()) == 2
    kconfig.require(_requested("CONFIG_FOO=y"), "CONFIG_FOO=y\n", linux, kernel="v2")


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("A", 2), ("M", 1), ("NONE", 0), ("!A", 0), ("!M", 1), ("A && M", 1), ("A && NONE", 0), ("NONE || M", 1),
        ("!(A && NONE)", 2), ("A=y", 2), ("A!=y", 0), ('S = "text"', 2), ("N >= 10", 2), ("N < 0x10", 2), ("N > 99", 0),
        ("$(cc-option,-x)", 2), ("A &&", 2), ("(A", 2), ("y", 2), ("n", 0), ("NONE || (A && !NONE)", 2),
    ],
)  # fmt: skip
def test_expressions_of_kconfig(expression: str, value: int) -> None:
    assert kconfig_tree.evaluate(expression, {"A": "y", "M": "m", "S": '"text"', "N": "12"}) == value
