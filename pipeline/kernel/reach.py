"""Which objects a change inside a header reaches, so that a build need not compile all that include it.

kbuild compiles every object whose header is newer. A change to the body of a macro or of an inline function
cannot change an object that never uses it: directly, or by way of other macros and functions of headers.
Uses are looked for by name, in the text, and whatever is not certain to be harmless counts as a use. Where
it cannot be told by names (a changed type, a name in an #if, a header that cannot be cut into definitions),
every object that includes the header in question counts. The objects left alone differ from newly compiled ones
at most in the line numbers that they name (``__LINE__``) below the change.

Not seen: a name put together by ``##`` in a macro that gets its parts by way of another macro, with no part of
four letters or more in either. No function of the kernel's headers has such a name.
"""

import difflib
import os
import re
from collections.abc import Iterator
from functools import cached_property, lru_cache
from pathlib import Path

from pipeline.kernel import cparse
from pipeline.kernel.cparse import Chunk, Unreadable

#: Directives that ask only whether a macro is there.
_DEFINEDNESS = re.compile(r"#\s*(ifdef|ifndef|undef)\b")
_SAYS = re.compile(r"#\s*(error|warning)\b")
_DEFINED = re.compile(r"\bdefined\b\s*\(?\s*\w+\s*\)?")
#: In a record: the source, and the files that it includes, one a line.
_MADE_OF = re.compile(r"^(?:source_\S+ := |  )(?!\$)(\S+)", re.MULTILINE)
#: A pasted word shorter than this may be part of any name.
_TELLING = 4


@lru_cache(maxsize=1)
def of_build(tree: Path, objects: Path, stamp: int) -> "Reach":
    """The ``Reach`` of a build, read once for as long as ``stamp`` says that it is the same one."""
    return Reach(tree, objects)


class Reach:
    """The targets of a finished build under ``objects``, each with the files of ``tree`` that it was made from."""

    def __init__(self, tree: Path, objects: Path) -> None:
        self._tree = tree
        self._targets = dict(_recorded(tree, objects))
        self._cut: dict[str, list[Chunk]] = {}
        self._sources: dict[str, tuple[frozenset[str], frozenset[str]]] = {}

    def of(self, header: str, old: str, new: str) -> frozenset[str]:
        """The targets to make again where a header's text changes, as paths below ``objects``."""
        try:
            names, unclear = self._closure(*_changed(cparse.chunks(old), cparse.chunks(new)))
        except Unreadable:
            names, unclear = frozenset(), frozenset({header})
        made_of = [parts for name in names for parts in self._parts(name)]
        return frozenset(
            target
            for target, files in self._targets.items()
            if header in files
            and (
                not files.isdisjoint(unclear)
                or any(self._uses(file, names, made_of) for file in files if not file.endswith(".h"))
            )
        )

    def dependents(self, header: str) -> int:
        """How many targets include a header."""
        return sum(header in files for files in self._targets.values())

    def _closure(self, changed: frozenset[str], fickle: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
        """The names whose meaning may change with ``changed``, and the headers that use one in a way that is not
        clear: who includes such a header may be changed by it.

        ``fickle``: macros that are only in one of the texts.
        """
        found, unclear = set(changed), set(self._absent)
        waiting = list(changed)
        while waiting:
            name = waiting.pop()
            users = {macro for macro, pieces in self._pasting if any(_is_part(piece, name) for piece in pieces)}
            for header in self._with_word.get(name, ()):
                try:
                    for chunk in self._chunks(header):
                        users |= _users(chunk, name, fickle)
                except Unreadable:
                    unclear.add(header)
            for one, other in self._parts(name):
                unclear |= set(self._with_word.get(one, ())) & set(self._with_word.get(other, ()))
            waiting += users - found
            found |= users
        return frozenset(found), frozenset(unclear)

    def _uses(self, source: str, names: frozenset[str], made_of: list[tuple[str, str]]) -> bool:
        if source not in self._sources:
            try:
                text = _read(self._tree / source)
            except Unreadable:  # made while linking, and removed with what was linked
                return True
            pieces = frozenset(piece for macro in _macros(text) for piece in cparse.pasted(macro))
            self._sources[source] = (cparse.words_of(text), pieces)
        words, pieces = self._sources[source]
        return (
            not words.isdisjoint(names)
            or any(one in words and other in words for one, other in made_of)
            or any(_is_part(piece, name) for piece in pieces for name in names)
        )

    def _parts(self, name: str) -> Iterator[tuple[str, str]]:
        """Pairs of words of which a file must have both to paste a name of its two halves, or of one of them with
        a macro that holds a short half."""
        for at in range(1, len(name)):
            first, second = name[:at], name[at:]
            yield first, second
            yield from ((second, macro) for macro in self._short.get(first, ()))
            yield from ((first, macro) for macro in self._short.get(second, ()))

    def _chunks(self, header: str) -> list[Chunk]:
        if header not in self._cut:
            self._cut[header] = cparse.chunks(_read(self._tree / header))
        return self._cut[header]

    @cached_property
    def _headers(self) -> dict[str, str]:
        """Header -> its text, of those that are there."""
        names = {file for files in self._targets.values() for file in files if file.endswith(".h")}
        return {name: _read(self._tree / name) for name in sorted(names) if (self._tree / name).is_file()}

    @cached_property
    def _absent(self) -> frozenset[str]:
        every = {file for files in self._targets.values() for file in files if file.endswith(".h")}
        return frozenset(every - self._headers.keys())

    @cached_property
    def _with_word(self) -> dict[str, list[str]]:
        """Word -> the headers that have it."""
        found: dict[str, list[str]] = {}
        for header, text in self._headers.items():
            for word in cparse.words_of(text):
                found.setdefault(word, []).append(header)
        return found

    @cached_property
    def _pasting(self) -> list[tuple[str, frozenset[str]]]:
        """Macros of headers that paste words, with these words."""
        return [
            (name, pieces)
            for text in self._headers.values()
            for macro in _macros(text)
            if (pieces := cparse.pasted(macro))
            for name in macro.names
        ]

    @cached_property
    def _short(self) -> dict[str, list[str]]:
        """Short pasted word -> the macros that have it."""
        found: dict[str, list[str]] = {}
        for macro, pieces in self._pasting:
            for piece in pieces:
                if len(piece) < _TELLING:
                    found.setdefault(piece, []).append(macro)
        return found


def _recorded(tree: Path, objects: Path) -> Iterator[tuple[str, frozenset[str]]]:
    """Target -> the files it was made from, relative to the tree, by kbuild's records (``.<target>.cmd``)."""
    known: dict[str, str] = {}

    def relative(file: str) -> str:
        if file not in known:
            known[file] = os.path.relpath(os.path.join(objects, file), tree)
        return known[file]

    for here, _, names in os.walk(objects):
        for name in names:
            if name.startswith(".") and name.endswith(".cmd"):
                text = Path(here, name).read_text(encoding="utf-8", errors="replace")
                files = frozenset(relative(file) for file in _MADE_OF.findall(text))
                if files:
                    yield os.path.relpath(os.path.join(here, name[1:].removesuffix(".cmd")), objects), files


def _changed(old: list[Chunk], new: list[Chunk]) -> tuple[frozenset[str], frozenset[str]]:
    """The names that two texts of a header define differently, and the macros that only one has.

    Raises Unreadable where anything but the definition of a macro or function differs.
    """
    names: set[str] = set()
    matcher = difflib.SequenceMatcher(None, [each.text for each in old], [each.text for each in new], autojunk=False)
    for tag, from_old, to_old, from_new, to_new in matcher.get_opcodes():
        if tag == "equal":
            continue
        for chunk in (*old[from_old:to_old], *new[from_new:to_new]):
            if chunk.kind not in ("macro", "function") or len(chunk.names) != 1:
                raise Unreadable(f"no definition of one name: {chunk.text[:60]}")
            names |= chunk.names
    macros = [{name for each in some if each.kind == "macro" for name in each.names} for some in (old, new)]
    return frozenset(names), frozenset(macros[0] ^ macros[1])


def _users(chunk: Chunk, name: str, fickle: frozenset[str]) -> frozenset[str]:
    """The names whose meaning depends on ``name`` by this chunk. Raises Unreadable where that cannot be told."""
    if chunk.kind == "macro":
        return chunk.names if name in chunk.words else frozenset()
    if chunk.kind == "function":
        if name in chunk.head and chunk.names != {name}:
            raise Unreadable(f"{name} in the head of {chunk.text[:60]}")
        if name not in chunk.words:
            return frozenset()
        if len(chunk.names) != 1:
            raise Unreadable(f"more names than one: {chunk.text[:60]}")
        return chunk.names
    if name not in chunk.words:
        return frozenset()
    if chunk.kind == "directive":
        if _SAYS.match(chunk.text):
            return frozenset()
        if name in fickle or not _asks_only_whether_defined(chunk.text, name):
            raise Unreadable(f"{name} in {chunk.text[:60]}")
    elif chunk.names != {name} or not _is_prototype(chunk.text):
        raise Unreadable(f"{name} in {chunk.text[:60]}")
    return frozenset()


def _asks_only_whether_defined(directive: str, name: str) -> bool:
    if _DEFINEDNESS.match(directive):
        return True
    return name not in cparse.WORD.findall(_DEFINED.sub(" ", directive))


def _is_prototype(text: str) -> bool:
    return text.endswith(";") and not any(sign in text for sign in "{}=")


def _is_part(piece: str, name: str) -> bool:
    return len(piece) >= _TELLING and piece != name and piece in name


def _macros(text: str) -> Iterator[Chunk]:
    """The macros of a text that have a ``##``, also of one that cannot be cut as a whole."""
    if "##" in text:
        for line in cparse.plain(text).split("\n"):
            if "##" in line and line.lstrip().startswith("#"):
                yield from cparse.chunks(line)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as err:
        raise Unreadable(f"{path}: {err.strerror}") from err
