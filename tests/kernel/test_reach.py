"""What a change inside a header reaches: by name, through macros and inline functions, and never less than is so."""

from pathlib import Path

import pytest

from pipeline.kernel import cparse
from pipeline.kernel.cparse import Unreadable
from pipeline.kernel.reach import Reach

HEADER = "include/linux/pgtable.h"
TEXT = """\
#ifndef _PGTABLE_H
#define _PGTABLE_H
#include <linux/types.h>

#define PTE_DIRTY (1 << 3) /* not PTE_CLEAN */
#define pte_dirty(pte) ((pte).val & PTE_DIRTY)

struct pte { unsigned long val; };

static inline int pte_young(struct pte pte)
{
	return pte.val & 1;
}

static inline struct pte pte_mkold(struct pte pte)
{
#ifdef CONFIG_AF
	pte.val &= ~1UL;
#endif
	return pte;
}
#endif
"""


class Tree:
    """Sources, and objects that are each made from one of them with every header."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.headers: list[str] = []
        self.put(HEADER, TEXT)

    def put(self, name: str, text: str) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text)
        if name.endswith(".h"):
            self.headers.append(name)

    def source(self, name: str, text: str, *, headers: list[str] | None = None) -> None:
        """A source ``mm/<name>.c``, or the file named, and the record of its object."""
        file = name if "/" in name else f"mm/{name}.c"
        self.put(file, text)
        target = file.rsplit(".", 1)[0] + ".o"
        record = self.root / "o" / Path(target).parent / f".{Path(target).name}.cmd"
        record.parent.mkdir(parents=True, exist_ok=True)
        used = "".join(f"  ../{each} \\\n" for each in (self.headers if headers is None else headers))
        record.write_text(
            f"savedcmd_{target} := gcc -c {file}\n\nsource_{target} := ../{file}\n\ndeps_{target} := \\\n"
            f"    $(wildcard include/config/AF) \\\n{used}\n{target}: $(deps_{target})\n"
        )

    def reached(self, old: str, new: str, *, header: str = HEADER) -> set[str]:
        """Names of the objects that are made again where ``old`` is replaced in the header."""
        text = (self.root / header).read_text()
        assert old in text
        targets = Reach(self.root, self.root / "o").of(header, text, text.replace(old, new, 1))
        return {Path(target).stem for target in targets}


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


YOUNG = ("pte.val & 1;", "pte.val & 2;")
DIRTY = ("((pte).val & PTE_DIRTY)", "0")


def test_only_who_uses_a_function_is_reached(tree: Tree):
    tree.source("user", "int f(void) { return pte_young(p); }\n")
    tree.source("other", "int f(void) { return pte_dirty(p); }\n")
    assert tree.reached(*YOUNG) == {"user"}
    assert tree.reached(*DIRTY) == {"other"}


def test_who_does_not_include_the_header_is_never_reached(tree: Tree):
    tree.source("other", "int f(void) { return pte_young(p); }\n", headers=["include/linux/types.h"])
    assert tree.reached(*YOUNG) == set()


def test_comments_and_strings_of_a_source_use_nothing(tree: Tree):
    tree.source("talks", '/* pte_young() */ // pte_young\nchar *s = "pte_young";\n')
    assert tree.reached(*YOUNG) == set()


def test_a_changed_comment_reaches_nobody_and_a_changed_string_its_users(tree: Tree):
    tree.source("user", "int f(void) { return pte_dirty(p); }\nasm(TLBI);\n")
    tree.put("include/asm.h", '#define TLBI "tlbi vale1is"\n')
    tree.source("flush", "asm(TLBI);\n")
    assert tree.reached("/* not PTE_CLEAN */", "/* nor more */") == set()
    assert tree.reached("vale1is", "vae1", header="include/asm.h") == {"flush"}


def test_uses_by_way_of_macros_and_functions_of_other_headers_count(tree: Tree):
    tree.put(
        "include/linux/mm.h",
        "#define any_young(p) \\\n\tpte_young(p)\n\n"
        "static __always_inline int\nfolio_young(struct pte pte)\n{\n\tif (any_young(pte)) {\n\t\treturn 1;\n\t}\n"
        "\treturn 0;\n}\n",
    )
    tree.source("far", "int f(void) { return folio_young(p); }\n")
    tree.source("near", "int f(void) { return any_young(p); }\n")
    tree.source("none", "int f(void) { return folio_old(p); }\n")
    assert tree.reached(*YOUNG) == {"far", "near"}
    assert tree.reached("PTE_DIRTY (1 << 3)", "PTE_DIRTY (1 << 4)") == set()


def test_a_source_that_includes_another_source_uses_what_that_uses(tree: Tree):
    tree.put("mm/part.c", "int g(void) { return pte_young(p); }\n")
    tree.source("whole", '#include "part.c"\n', headers=[HEADER, "mm/part.c"])
    assert tree.reached(*YOUNG) == {"whole"}


def test_assembly_counts_as_a_source(tree: Tree):
    tree.source("mm/entry.S", "\tmov x0, #PTE_DIRTY\n")
    assert tree.reached("PTE_DIRTY (1 << 3)", "PTE_DIRTY (1 << 4)") == {"entry"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("unsigned long val;", "unsigned long val, more;"),
        ("#include <linux/types.h>\n", ""),
        ("struct pte { unsigned long val; };", "struct pte { unsigned long val; };\nextern int pte_count;"),
        ("#ifndef _PGTABLE_H", "#ifndef _PGTABLE_H\n#pragma pack(1)"),
    ],
)
def test_what_is_no_macro_or_function_reaches_all_who_include_it(tree: Tree, old, new):
    tree.source("one", "int a;\n")
    tree.source("two", "int b;\n")
    tree.source("three", "int c;\n", headers=[])
    assert tree.reached(old, new) == {"one", "two"}


def test_an_if_inside_a_function_is_a_part_of_it(tree: Tree):
    tree.source("user", "int f(void) { return pte_mkold(p); }\n")
    tree.source("other", "int f(void) { return pte_young(p); }\n")
    assert tree.reached("#ifdef CONFIG_AF", "#ifndef CONFIG_AF") == {"user"}


def test_a_new_function_reaches_who_may_have_meant_another_of_its_name(tree: Tree):
    tree.source("user", "static int pte_clean(int a) { return a; }\n")
    tree.source("other", "int a;\n")
    assert tree.reached("#define PTE_DIRTY", "static inline int pte_clean(void)\n{\n}\n#define PTE_DIRTY") == {"user"}


def test_a_changed_signature_reaches_the_callers(tree: Tree):
    tree.source("user", "int f(void) { return pte_young(p); }\n")
    assert tree.reached("int pte_young(struct pte pte)", "int pte_young(struct pte pte, int more)") == {"user"}


def test_a_function_moved_into_another_branch_is_a_changed_one(tree: Tree):
    moved = TEXT.replace("#define PTE_DIRTY (1 << 3) /* not PTE_CLEAN */\n", "")
    tree.source("user", "int f(void) { return PTE_DIRTY; }\n")
    tree.source("other", "int f(void) { return pte_young(p); }\n")
    new = moved.replace("#endif\n", "#define PTE_DIRTY (1 << 3)\n#endif\n", 1)
    found = Reach(tree.root, tree.root / "o").of(HEADER, TEXT, new)
    assert "mm/user.o" in found


@pytest.mark.parametrize(
    ("text", "reached"),
    [
        ("#ifndef pte_young\n#define pte_young 1\n#endif\n", set()),
        ("#if defined(pte_young) && 1\n#endif\n", set()),
        ("#if pte_young > 1\nint huge;\n#endif\n", {"includes"}),
        ("#error no pte_young\n", set()),
        ("int pte_young(struct pte pte);\n", set()),
        ("extern int pte_old(struct pte pte),\n\tpte_young(struct pte pte);\n", {"includes"}),
        ("struct young { char some[pte_young]; };\n", {"includes"}),
        ("static const int young = pte_young;\n", {"includes"}),
        ("DEFINE_YOUNG(pte_young)\nstatic inline int f(void)\n{\n}\n", {"includes"}),
        ("static inline int f(void) { if (pte_young) {\n}\n", {"includes"}),
    ],
)
def test_a_use_in_a_header_that_is_not_clear_reaches_all_who_include_that_header(tree: Tree, text, reached):
    tree.put("include/linux/odd.h", text)
    tree.source("includes", "int a;\n")
    tree.source("without", "int a;\n", headers=[HEADER])
    assert tree.reached(*YOUNG) == reached


def test_an_unbalanced_header_that_names_nothing_of_it_does_not_matter(tree: Tree):
    tree.put("include/linux/odd.h", "static inline int f(void) {\n#ifdef A\nif (a) {\n#else\nif (b) {\n#endif\n}\n}\n")
    tree.source("includes", "int a;\n")
    assert tree.reached(*YOUNG) == set()


@pytest.mark.parametrize(
    ("macro", "use", "reached"),
    [
        ("#define OP(x) pte_##x(p)", "OP(young)", True),  # the long half in the macro
        ("#define OP(x) x##_young(p)", "OP(pte)", True),
        ("#define OP(x, y) x##_you##y(p)", "OP(pte, ng)", True),  # a part in the middle
        ("#define OP(x, y) x##y(p)", "OP(pte_, young)", True),  # both halves in the use
        ("#define OP(x) p##x(p)", "OP(te_young)", True),  # a short half in the macro
        ("#define OP(x) pmd_##x(p)", "OP(young)", False),
        ("#define OP(x, ...) x(p, ##__VA_ARGS__)", "OP(young)", False),
    ],
)
def test_names_put_together_by_pasting_are_uses(tree: Tree, macro, use, reached):
    tree.put("include/linux/op.h", macro + "\n")
    tree.source("user", f"int f(void) {{ return {use}; }}\n")
    tree.source("other", "int f(void) { return 0; }\n")
    assert tree.reached(*YOUNG) == ({"user"} if reached else set())


def test_a_macro_of_a_source_that_pastes_is_seen_too(tree: Tree):
    tree.source("user", "#define OP(x) pte_##x(p)\nint f(void) { return OP(young); }\n")
    tree.source("other", "#define OP(x) pmd_##x(p)\nint f(void) { return OP(young); }\n")
    assert tree.reached(*YOUNG) == {"user"}


def test_a_header_that_holds_both_halves_of_a_name_reaches_who_includes_it(tree: Tree):
    tree.put(
        "include/linux/op.h", "#define OP(x, y) x##y(p)\nstatic inline int f(void)\n{\n\treturn OP(pte_, young);\n}\n"
    )
    tree.source("includes", "int f(void) { return 0; }\n")
    tree.source("without", "int f(void) { return 0; }\n", headers=[HEADER])
    assert tree.reached(*YOUNG) == {"includes"}


def test_a_macro_that_comes_or_goes_changes_every_if_that_asks_for_it(tree: Tree):
    tree.put("include/linux/odd.h", "#ifdef pte_dirty\nint more;\n#endif\n")
    tree.source("includes", "int a;\n")
    tree.source("without", "int a;\n", headers=[HEADER])
    assert tree.reached("#define pte_dirty(pte) ((pte).val & PTE_DIRTY)\n", "") == {"includes"}
    assert tree.reached(*DIRTY) == set()


def test_what_cannot_be_read_counts_as_a_use(tree: Tree):
    tree.source("gone", "int a;\n")
    tree.source("other", "int a;\n")
    tree.source("without", "int a;\n", headers=[HEADER, "include/generated/gone.h"])
    (tree.root / "mm/gone.c").unlink()
    assert tree.reached(*YOUNG) == {"gone", "without"}


def test_dependents_are_counted(tree: Tree):
    tree.source("one", "int a;\n")
    tree.source("two", "int a;\n", headers=[])
    assert Reach(tree.root, tree.root / "o").dependents(HEADER) == 1


def test_a_header_is_cut_into_its_definitions():
    kinds = [(chunk.kind, sorted(chunk.names)) for chunk in cparse.chunks(TEXT)]
    assert kinds == [
        ("directive", []),
        ("macro", ["_PGTABLE_H"]),
        ("directive", []),
        ("macro", ["PTE_DIRTY"]),
        ("macro", ["pte_dirty"]),
        ("other", []),
        ("function", ["pte_young"]),
        ("function", ["pte_mkold"]),
        ("directive", []),
    ]


def test_attributes_are_no_names():
    (chunk,) = cparse.chunks("static __printf(1, 2) void f(int a) __acquires(lock)\n{\n}\n")
    assert chunk.names == {"f"}


@pytest.mark.parametrize("text", ["int f(void)\n{\n", "int f(void)\n{\n{\n}\n", "}\n"])
def test_unbalanced_braces_are_refused(text):
    with pytest.raises(Unreadable, match="unbalanced"):
        cparse.chunks(text)
