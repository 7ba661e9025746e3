"""A slot: the writable tree of one kernel of one study, kept so that only what changed is compiled again.

``<cache>/work/<source>/<study>-<kernel>/tree`` is a hard-linked copy of the
pristine source, with the files of the overlay in place, and the object folder
``o`` inside: kbuild then names sources by relative paths, so compile commands
(and ccache's hashes) are the same in every slot, and objects can be copied
from one slot to another.

A slot may keep the objects of one kernel: ``rewind`` then puts back what later
builds made, so that each of many small changes to that kernel costs what it
compiles itself, not what the one before it has to undo.

kbuild decides by mtime. So a file whose content changes is replaced by a new
one with the time of now, also when it goes back to pristine; no other file is
touched; and nothing is ever written through a hard link.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InfraError, UserError
from pipeline.events import Emit, Note
from pipeline.kernel import objects
from pipeline.kernel.process import run
from pipeline.kernel.series import Overlay
from pipeline.kernel.source import SourceTree
from pipeline.store import disk_full_told, write_atomic

#: Name of the object folder within the tree.
OBJECTS = "o"
#: State of a file that is as in the source, and of one that a killed process may or may not have replaced.
_PRISTINE = "pristine"
_UNKNOWN = "?"
#: An option that a record of kbuild names.
_OPTION = re.compile(rb"include/config/(\w+)")

#: Per file: digest of mode and content, None for a deleted one; files as in the source are left out.
State = Mapping[str, str | None]


@dataclass(frozen=True)
class Slot:
    """``lock``: descriptor of the held lock. ``changed``: files replaced by the last ``update``.

    ``cold``: the object folder has nothing in it to build on. ``shadowing``: the
    overlay adds a header that may hide another of its name, which ccache cannot see.
    """

    path: Path
    lock: int
    changed: tuple[str, ...] = ()
    cold: bool = True
    shadowing: bool = False

    @property
    def tree(self) -> Path:
        return self.path / "tree"

    @property
    def objects(self) -> Path:
        return self.tree / OBJECTS

    @property
    def log(self) -> Path:
        """Full output of the last build."""
        return self.path / "build.log"

    @property
    def warnings(self) -> Path:
        """Per object: what the compiler said when it was last compiled."""
        return self.path / "warnings.json"


@contextlib.contextmanager
def hold(source: SourceTree, *, cache: Path, study_id: str, kernel_id: str, emit: Emit) -> Iterator[Slot]:
    """The slot of a kernel, locked; waits (and says so) while another process, or a make it left, has it."""
    path = cache / "work" / source.id / f"{study_id}-{kernel_id}"
    if any(char in str(path) for char in " :\t\n"):
        raise InfraError(
            f"{path}: kbuild cannot build in a folder with blanks or colons in its path",
            hint="set KPV_CACHE to a folder without them",
        )
    with disk_full_told(path):
        path.mkdir(parents=True, exist_ok=True)
        # flock, not filelock: children inherit the descriptor, so the lock lasts until the last of them is gone.
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            emit(Note(text=f"waiting for another build in {path}"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        os.utime(lock)
        yield Slot(path, lock)
    finally:
        os.close(lock)


def update(slot: Slot, source: SourceTree, overlay: Overlay, *, request: str) -> Slot:
    """Make the slot's tree the source with the overlay; seed a new slot's objects from the nearest other one.

    ``request``: digest of the config request; a slot that was built for the same one is nearer than any other.

    Raises DiskFull. Killed anywhere, the next call mends what is half done.
    """
    with disk_full_told(slot.path):
        if (slot.path / "building").exists():  # a make was killed: an object may be cut short, yet look new
            shutil.rmtree(slot.objects, ignore_errors=True)
            (slot.path / "building").unlink()
        want = overlay.digests()
        if not (slot.path / "state.json").exists():
            _create(slot, source, want, request)
        have = _state(slot.path)
        changed = tuple(sorted(_difference(have, want)))
        shadowing = _shadowing(want, source)
        if changed:
            _built(slot).unlink(missing_ok=True)
            _save(slot.path, {**have, **dict.fromkeys(changed, _UNKNOWN)})
            for name in changed:
                _replace(slot.tree, source.path, name, overlay)
            if shadowing & set(changed):  # an object's record names the header it had, not the one it would now have
                shutil.rmtree(slot.objects, ignore_errors=True)
        _save(slot.path, want)
        slot.objects.mkdir(exist_ok=True)
    cold = not (slot.objects / ".config").exists()
    return Slot(slot.path, slot.lock, changed, cold=cold, shadowing=bool(shadowing))


@contextlib.contextmanager
def building(slot: Slot) -> Iterator[None]:
    """Marks the objects as being made; the mark stays only where this process is killed."""
    mark = slot.path / "building"
    mark.touch()
    _built(slot).unlink(missing_ok=True)
    try:
        yield
    finally:
        mark.unlink(missing_ok=True)


def succeeded(slot: Slot, *, request: str) -> None:
    """Say that the objects are of the files as they are and of this request: other slots may start from them."""
    write_atomic(_built(slot), request)


def keeps(slot: Slot, base: Overlay, *, request: str) -> bool:
    """Whether the slot keeps the objects of this overlay, built for this config request."""
    if not (slot.path / "state.json").exists():
        return False
    try:
        kept = json.loads((_kept(slot) / "of.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    return bool(kept == [base.digests(), request])


def keep(slot: Slot, base: Overlay, *, request: str) -> None:
    """Keep the objects as they are now, just built from ``base``, for ``rewind``. Raises DiskFull."""
    kept = _kept(slot)
    with disk_full_told(slot.path):
        if kept.exists():
            (kept / "of.json").unlink(missing_ok=True)  # first: what is left no longer counts
            shutil.rmtree(kept)
        kept.mkdir()
        objects.copy(slot.objects, kept / OBJECTS, what=f"keep the objects of {slot.path.name}")
        write_atomic(kept / "of.json", json.dumps([base.digests(), request]))


def rewind(slot: Slot, source: SourceTree, base: Overlay) -> None:
    """Make files and objects what they were when they were kept, also where a killed make left them half done.

    Files that go back get an old time: the kept objects are up to date with them.
    """
    with disk_full_told(slot.path):
        mark = slot.path / "building"
        mark.touch()
        _built(slot).unlink(missing_ok=True)
        changed = _difference(_state(slot.path), base.digests())
        _save(slot.path, {**_state(slot.path), **dict.fromkeys(changed, _UNKNOWN)})
        for name in changed:
            _replace(slot.tree, source.path, name, base)
            if (slot.tree / name).exists():
                os.utime(slot.tree / name, ns=(_old(source), _old(source)))
        objects.mirror(_kept(slot) / OBJECTS, slot.objects)
        _save(slot.path, base.digests())
        mark.unlink()


def spare(slot: Slot, source: SourceTree, header: str, targets: Iterable[str]) -> Slot:
    """Of what a changed header would make kbuild compile, leave only these targets to be made again."""
    stamp = _old(source)
    os.utime(slot.tree / header, ns=(stamp, stamp))
    for target in targets:
        (slot.objects / target).unlink(missing_ok=True)
    return dataclasses.replace(slot, changed=tuple(name for name in slot.changed if name != header))


def stamp(slot: Slot) -> int:
    """Another number whenever other objects are kept."""
    return (_kept(slot) / "of.json").stat().st_mtime_ns


def affected(slot: Slot, options: Iterable[str] = ()) -> int:
    """Objects that depend on the files just changed or on config options, by kbuild's own records (``.<object>.cmd``).

    ``options`` without CONFIG_. Their records are those of scripts/basic/fixdep.c, ``include/config/NAME``.
    """
    marks = [f"../{name}".encode() for name in slot.changed]
    wanted = {name.encode() for name in options}
    if not marks and not wanted:
        return 0
    count = 0
    for here, _, names in os.walk(slot.objects):
        for name in names:
            if name.startswith(".") and name.endswith(".o.cmd"):
                data = Path(here, name).read_bytes()
                count += any(mark in data for mark in marks) or not wanted.isdisjoint(_OPTION.findall(data))
    return count


def slots(cache: Path) -> list[Path]:
    """The slot folders of a cache, the longest unused first, for ``kpv clean``."""
    found = [path.parent for path in (cache / "work").glob("*/*/lock")]
    return sorted(found, key=lambda path: (path / "lock").stat().st_mtime)


def remove(slot: Path) -> bool:
    """Remove a slot; False, and nothing is removed, while a build has it."""
    try:
        lock = os.open(slot / "lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (slot / "state.json").unlink(missing_ok=True)  # first: what is left no longer counts as a tree
        shutil.rmtree(slot)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


def _create(slot: Slot, source: SourceTree, want: State, request: str) -> None:
    """A new tree: the source, or what the seed's tree has, with its objects and every mtime kept."""
    new = slot.path / "new"
    for left in (slot.tree, new):
        if left.exists():
            shutil.rmtree(left)
    what = f"make the tree of {slot.path.name}"
    run(["cp", "--archive", "--link", "--no-target-directory", str(source.path), str(new)], what=what)
    if (new / OBJECTS).exists():
        raise UserError(f"{source.description}: has a folder {OBJECTS}/, where kpv builds", hint="rename that folder")
    state: State = {}
    seed = _nearest(slot, want, request)
    if seed is not None:
        with _shared(seed) as free:
            if free and _seedable(seed):
                state = _state(seed)
                _seed(seed, new, state, slot)
    new.rename(slot.tree)
    _save(slot.path, state)


def _seed(seed: Path, new: Path, state: State, slot: Slot) -> None:
    origin = seed / "tree"
    for name, digest in state.items():
        (new / name).unlink(missing_ok=True)
        if digest is not None:
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(origin / name, new / name)
    objects.copy(origin / OBJECTS, new / OBJECTS, what=f"copy the objects of {seed.name}")
    if (seed / "warnings.json").exists():
        shutil.copyfile(seed / "warnings.json", slot.warnings)


def _nearest(slot: Slot, want: State, request: str) -> Path | None:
    """The built slot of the same source that leaves least to compile: another config touches more than a file does."""

    def distance(other: Path) -> tuple[bool, int]:
        return (other / "built").read_text() != request, len(_difference(_state(other), want))

    others = [path.parent for path in sorted(slot.path.parent.glob("*/state.json")) if path.parent != slot.path]
    return min((other for other in others if _seedable(other)), key=distance, default=None)


def _seedable(slot: Path) -> bool:
    return (slot / "built").exists() and not (slot / "building").exists()


def _built(slot: Slot) -> Path:
    return slot.path / "built"


def _kept(slot: Slot) -> Path:
    return slot.path / "kept"


def _old(source: SourceTree) -> int:
    """A time (ns) before any build: a file of that time makes nothing out of date."""
    return (source.path / "Makefile").stat().st_mtime_ns


@contextlib.contextmanager
def _shared(slot: Path) -> Iterator[bool]:
    """Whether nobody builds in that slot; if so, nobody does for as long as the block runs."""
    lock = os.open(slot / "lock", os.O_RDWR)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            free = True
        except BlockingIOError:
            free = False
        yield free
    finally:
        os.close(lock)


def _difference(have: State, want: State) -> set[str]:
    return {name for name in have.keys() | want.keys() if have.get(name, _PRISTINE) != want.get(name, _PRISTINE)}


def _state(slot: Path) -> State:
    state: State = json.loads((slot / "state.json").read_text(encoding="utf-8"))
    return state


def _save(slot: Path, state: State) -> None:
    write_atomic(slot / "state.json", json.dumps(dict(state), indent=1, sort_keys=True))


def _replace(tree: Path, pristine: Path, name: str, overlay: Overlay) -> None:
    """Put a file in place as a new inode with the time of now, or remove it."""
    target = tree / name
    if name in overlay.files:
        data, mode = overlay.files[name], overlay.modes.get(name, 0o644)
    elif (pristine / name).exists():
        data, mode = (pristine / name).read_bytes(), (pristine / name).stat().st_mode & 0o777
    else:
        data, mode = None, 0
    if data is None:
        target.unlink(missing_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temp = target.with_name(f".kpv-{target.name}")
    temp.unlink(missing_ok=True)
    temp.write_bytes(data)
    temp.chmod(mode)
    temp.rename(target)


def _shadowing(want: State, source: SourceTree) -> set[str]:
    """Headers that the overlay adds and whose name another header of the source has.

    Neither kbuild nor ccache sees that an #include would now find another file.
    """
    added = {
        name for name, digest in want.items()
        if digest is not None and name.endswith(".h") and not (source.path / name).exists()
    }  # fmt: skip
    if not added:
        return set()
    taken = {file for _, _, files in os.walk(source.path) for file in files if file.endswith(".h")}
    return {name for name in added if os.path.basename(name) in taken}
