"""The documents keep up with the code."""

import re
from pathlib import Path

import pytest

from pipeline import reference, study
from pipeline.cost import bounds, spec
from pipeline.cost.words import OPERATIONS
from pipeline.mutate import record, score
from pipeline.report.markdown import escaped
from pipeline.schema import Table
from tests import docs_commands, docs_table

CHECKOUT = Path(__file__).parents[1]
DOCS = CHECKOUT / "docs"
PAGES = docs_commands.PAGES


def test_the_study_reference_is_what_the_models_say():
    """Mend it with: make reference."""
    assert (DOCS / "study-reference.md").read_text(encoding="utf-8") == reference.render()


def test_a_key_without_a_description_gets_no_reference(monkeypatch):
    class Bare(Table):
        key: str

    with pytest.raises(ValueError, match=r"Bare\.key has no docstring"):
        reference._section("## Bare", Bare)


def test_every_link_between_the_documents_leads_somewhere():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        anchors = {}
        for target in re.findall(r"\]\(([^)#\s]*)(?:#[^)\s]*)?\)", text):
            if target and "://" not in target:
                anchors[target] = (page.parent / target).exists()
        assert all(anchors.values()), f"{page.name}: {[name for name, there in anchors.items() if not there]}"


def test_no_line_looks_like_a_command_that_no_test_knows():
    assert [line for page in PAGES for line in docs_commands.doubtful(page)] == []


def test_what_is_run_instead_of_a_command_is_of_a_command_that_is_still_there():
    shown = {command.text for page in PAGES for command in docs_commands.of_page(page)}
    assert (set(docs_table.TABLE) | docs_table.GUEST) - shown == set()


def test_commands_are_found_in_fences_and_indented_blocks_with_the_exit_code_they_tell(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text(
        "Run\n\n    kpv validate x    # exits 1: why\n    id = 3\n\n```sh\ncat > f <<E\nkpv\nE\n```\n\n"
        "    tac file\n\n```toml\nkpv = 1\n```\nno\n    kpv in a paragraph\n"
    )
    monkeypatch.setattr(docs_commands, "CHECKOUT", tmp_path)
    found = [(c.line, c.text, c.exits) for c in docs_commands.of_page(page)]
    assert found == [(3, "kpv validate x", 1), (7, "cat > f <<E\nkpv\nE", 0)]
    assert docs_commands.doubtful(page) == ["page.md:12: tac file"]


def test_the_page_on_mutants_names_every_key_and_outcome():
    text = (DOCS / "mutate.md").read_text(encoding="utf-8")
    keys = {*record.Result.model_fields, *record.Times.model_fields, *record.Commands.model_fields}
    keys |= {*score.Finding.model_fields, *score.Outcome}
    assert {key for key in keys if f"`{key}`" not in text} == set()


def test_the_page_on_costs_names_every_operation_rule_and_name_of_a_bound():
    text = (DOCS / "cost.md").read_text(encoding="utf-8")
    assert [f"| `{name}` | {what} |" for name, what in OPERATIONS.items() if f"| `{name}` | {what} |" not in text] == []
    names = {*bounds.BUILT_IN, *(f"{group}.X" for group in spec.LANGUAGE.groups), *spec.PARAMS}
    assert {name for name in names if f"`{name}`" not in text} == set()


def test_the_table_of_costs_is_of_the_study_as_it_is():
    """Mend it with: kpv cost patches/madvise-free-mthp --table docs/cost-table.md"""
    text = (DOCS / "cost-table.md").read_text(encoding="utf-8")
    shipped = study.load(CHECKOUT / "patches" / "madvise-free-mthp")
    said = [row.note for table in shipped.published for row in table.row]
    said += [f"{bound.title} ({bound.id})" for bound in shipped.bound]
    assert all(said)
    assert [words for words in said if escaped(words) not in text] == []
    assert [cost.operation for cost in shipped.cost if f"## {cost.operation}: " not in text] == []
