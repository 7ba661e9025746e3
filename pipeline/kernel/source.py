"""Where a kernel tree comes from: resolved to one pristine, unpacked copy in the cache.

The pristine tree is shared by every kernel made from it (hard links), so
nothing may ever write to it.
"""

import collections
import dataclasses
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.errors import InfraError, UserError
from pipeline.events import Emit, StageFinished, StageProgress, StageStarted
from pipeline.kernel import debian
from pipeline.kernel.process import clean_env, end_group, run
from pipeline.store import DiskFull, disk_full_told, write_atomic

_CHUNK = 1 << 20
#: First bytes of the archives that tar can read, and the option each needs on a pipe.
_MAGIC = (
    (b"\xfd7zXZ\x00", "--use-compress-program=xz -T0"),
    (b"\x1f\x8b", "--gzip"),
    (b"BZh", "--bzip2"),
    (b"\x28\xb5\x2f\xfd", "--zstd"),
    (b"\x5d\x00\x00", "--lzma"),
)


class SourceError(UserError):
    """The spec names no usable kernel tree."""


@dataclasses.dataclass(frozen=True)
class SourceTree:
    """A pristine tree. ``identity``: the same string means the same content.

    ``version`` is VERSION.PATCHLEVEL.SUBLEVEL of the top Makefile. ``id`` is
    short and safe as a folder name. ``description`` is for a person.
    """

    path: Path
    identity: str
    version: str
    description: str

    @property
    def id(self) -> str:
        return hashlib.sha256(self.identity.encode()).hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class _Plan:
    """How to get a tree: ``unpack(folder, progress)`` fills an empty folder; progress takes (done, total) bytes."""

    identity: str
    description: str
    unpack: Callable[[Path, Callable[[int, int], None]], None]


def resolve(spec: str, *, cache: Path, folder: Path, emit: Emit) -> SourceTree:
    """The pristine tree of ``debian:PACKAGE[@SUITE]``, ``git:PATH@REV``, ``tar:PATH`` or ``dir:PATH``.

    Unpacked at most once into ``cache/sources/<id>``; relative paths start at
    ``folder``. Raises SourceError (a UserError) where the spec is wrong or the
    tree is no kernel, InfraError where the tree cannot be had here.
    """
    kind, _, rest = spec.partition(":")
    planners = {"debian": _debian, "git": _git, "tar": _tar, "dir": _dir}
    if kind not in planners or not rest:
        raise SourceError(
            f"source {spec!r}: expected debian:PACKAGE[@SUITE], git:PATH@REV, tar:PATH or dir:PATH",
            hint='e.g. tree = "debian:linux-source-6.12"',
        )
    plan = planners[kind](rest, cache, folder)
    tree = SourceTree(Path(), plan.identity, "", plan.description)
    home = cache / "sources" / tree.id
    if not (home / "source.json").exists():
        with disk_full_told(home.parent):
            home.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(home.parent / f"{tree.id}.lock"):
                if not (home / "source.json").exists():
                    _unpack(spec, plan, home, emit)
    path = home / "tree"
    return dataclasses.replace(tree, path=path, version=version_of(path, spec))


def unpacked(cache: Path) -> list[tuple[Path, float]]:
    """The folders of unpacked sources, and when each was last used, seconds since the epoch, for ``kpv clean``."""
    found = []
    for facts in sorted((cache / "sources").glob("*/source.json")):
        home = facts.parent
        slots = [lock.stat().st_mtime for lock in (cache / "work" / home.name).glob("*/lock")]
        found.append((home, max([facts.stat().st_mtime, *slots])))
    return found


def remove(cache: Path, source_id: str) -> bool:
    """Remove an unpacked source; False, and nothing is removed, where there is a build tree of it or it is in the
    making. One that is about to be used is unpacked again."""
    home = cache / "sources" / source_id
    if any((cache / "work" / source_id).glob("*/tree")):
        return False
    try:
        with FileLock(home.parent / f"{source_id}.lock", timeout=0):
            (home / "source.json").unlink(missing_ok=True)  # first: what is left no longer counts as a tree
            shutil.rmtree(home)
    except Timeout:
        return False
    return True


def version_of(tree: Path, spec: str = "") -> str:
    """``6.12.117`` or ``6.13.0-rc1``, from the top Makefile. Raises SourceError if this is no kernel tree."""
    try:
        head = (tree / "Makefile").read_text(errors="replace")[:4000]
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        head = ""
    found = dict(
        re.findall(r"^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION)[ \t]*=[ \t]*(\S*)[ \t]*$", head, re.MULTILINE)
    )
    if not all(found.get(name) for name in ("VERSION", "PATCHLEVEL", "SUBLEVEL")):
        raise SourceError(
            f"source {spec or tree}: not a kernel tree: its top Makefile "
            + ("does not exist" if not head else "sets no VERSION, PATCHLEVEL and SUBLEVEL"),
            hint="name the folder, archive or revision that has the kernel's Makefile at its top",
        )
    return "{VERSION}.{PATCHLEVEL}.{SUBLEVEL}".format(**found) + found.get("EXTRAVERSION", "")


def _unpack(spec: str, plan: _Plan, home: Path, emit: Emit) -> None:
    began = time.monotonic()
    emit(StageStarted(stage="source", subject=spec, why="first time"))
    shown = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal shown
        if time.monotonic() - shown > 0.2:
            shown = time.monotonic()
            emit(StageProgress(stage="source", subject=spec, done=done >> 20, total=total >> 20, line="MiB"))

    temp = home.with_name(f".unpacking-{home.name}")
    for left in (temp, home):  # of a killed process; this one holds the lock
        if left.exists():
            shutil.rmtree(left)
    (temp / "tree").mkdir(parents=True)
    try:
        plan.unpack(temp / "tree", progress)
        _single_top(temp)
        _refuse_escapes(temp / "tree", spec)
        facts = {"identity": plan.identity, "description": plan.description, "version": version_of(temp / "tree", spec)}
        write_atomic(temp / "source.json", json.dumps(facts, indent=1) + "\n")
        temp.rename(home)
    except BaseException:
        shutil.rmtree(temp, ignore_errors=True)
        raise
    emit(StageFinished(stage="source", subject=spec, seconds=time.monotonic() - began))


def _single_top(temp: Path) -> None:
    """Archives of releases hold one folder; the kernel's Makefile belongs at the top of ``tree``."""
    entries = list((temp / "tree").iterdir())
    if len(entries) == 1 and entries[0].is_dir() and not entries[0].is_symlink():
        entries[0].rename(temp / "inner")
        (temp / "tree").rmdir()
        (temp / "inner").rename(temp / "tree")


def _refuse_escapes(root: Path, spec: str) -> None:
    """Refuse devices, set-id files and symlinks that lead out of the tree."""
    top = os.path.realpath(root)
    for here, dirs, names in os.walk(root):
        for name in (*dirs, *names):
            path = os.path.join(here, name)
            mode = os.lstat(path).st_mode
            shown = os.path.relpath(path, root)
            if stat.S_ISLNK(mode):
                target = os.path.realpath(path)
                if os.path.isabs(os.readlink(path)) or not (target == top or target.startswith(top + os.sep)):
                    raise SourceError(
                        f"source {spec}: symlink {shown} leads out of the tree, to {os.readlink(path)}",
                        hint="remove the link from the source",
                    )
            elif not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) or mode & (stat.S_ISUID | stat.S_ISGID) & ~(
                stat.S_ISGID if stat.S_ISDIR(mode) else 0
            ):
                raise SourceError(
                    f"source {spec}: {shown} is a device, pipe, socket or set-id file; a kernel tree has none",
                    hint="use a source you trust",
                )


# --- debian:, tar: ----------------------------------------------------------------------------------------------


def _debian(name: str, cache: Path, folder: Path) -> _Plan:
    package, _, suite = name.partition("@")
    if not debian.NAME.fullmatch(name):
        raise SourceError(
            f"source debian:{name}: expected the name of a linux-source package, and @SUITE if it is not this host's",
            hint='e.g. tree = "debian:linux-source-6.12", or "debian:linux-source-7.2@sid"',
        )
    if suite:
        archive, version = debian.fetched(package, suite, cache=cache)
    else:
        archive, version = debian.installed(package)
    digest = _file_digest(archive, cache)
    return _Plan(
        f"debian:{package}:{version or 'unpackaged'}:{digest}",
        f"Debian {package} {version or '(tarball of no installed package)'}",
        lambda into, progress: _untar_file(archive, into, progress),
    )


def _tar(name: str, cache: Path, folder: Path) -> _Plan:
    archive = (folder / Path(name).expanduser()).resolve()
    if not archive.is_file():
        raise SourceError(f"source tar:{name}: {archive} is not a file", hint="name a tar archive, compressed or not")
    digest = _file_digest(archive, cache)
    return _Plan(
        f"tar:{digest}", f"archive {archive.name}", lambda into, progress: _untar_file(archive, into, progress)
    )


def _file_digest(path: Path, cache: Path) -> str:
    """SHA-256 of a file, remembered by its path, size and mtime."""
    info = path.stat()
    known_path = cache / "sources" / "digests.json"
    try:
        known = json.loads(known_path.read_text())
    except (FileNotFoundError, ValueError):
        known = {}
    entry = known.get(str(path))
    if isinstance(entry, list) and entry[:3] == [info.st_size, info.st_mtime_ns, info.st_ino]:
        return str(entry[3])
    with path.open("rb") as data:
        digest = hashlib.file_digest(data, "sha256").hexdigest()
    write_atomic(known_path, json.dumps(known | {str(path): [info.st_size, info.st_mtime_ns, info.st_ino, digest]}))
    return digest


def _untar_file(archive: Path, into: Path, progress: Callable[[int, int], None]) -> None:
    total = archive.stat().st_size
    with archive.open("rb") as data:
        head = data.read(8)
        data.seek(0)
        options = [option for magic, option in _MAGIC if head.startswith(magic)][:1]
        chunks = iter(lambda: data.read(_CHUNK), b"")
        _untar(chunks, into, options, what=str(archive), progress=lambda done: progress(done, total))


def _untar(
    chunks: Iterator[bytes], into: Path, options: list[str], *, what: str, progress: Callable[[int], None]
) -> None:
    """Feed ``chunks`` of an archive to tar, which writes below ``into`` only.

    GNU tar refuses member names with ".." and strips a leading "/" with a
    warning; the warning is an error here.
    """
    argv = ["tar", "--extract", "--file=-", "--no-same-owner", "--no-same-permissions", *options]
    process = subprocess.Popen(
        argv,
        cwd=into,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=clean_env(),
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stderr is not None
    words = process.stderr
    # Not into a file: the disk that tar writes to may be full.
    with ThreadPoolExecutor(1) as listener:
        heard = listener.submit(lambda: b"".join(collections.deque(iter(words.readline, b""), maxlen=500)))
        done = 0
        try:
            try:
                for chunk in chunks:
                    process.stdin.write(chunk)
                    done += len(chunk)
                    progress(done)
                process.stdin.close()
            except BrokenPipeError:  # tar gave up and says why
                pass
            code = process.wait()
        except BaseException:
            end_group(process)
            raise
        said = heard.result().decode(errors="replace")
    words.close()
    if "No space left" in said or "quota exceeded" in said:
        raise DiskFull(into, detail=said[-2000:])
    lines = [line for line in said.splitlines() if line.strip()]
    hostile = [line for line in lines if "Removing leading" in line or "contains '..'" in line]
    if hostile:
        raise SourceError(
            f"source {what}: the archive has members that lead out of its folder: {hostile[0].removeprefix('tar: ')}",
            hint="use an archive you trust",
        )
    if code != 0:
        raise SourceError(
            f"source {what}: tar cannot read the archive: {(lines or [f'exit code {code}'])[0].removeprefix('tar: ')}",
            hint=f"try: tar --list --file {what}",
            detail="\n".join(lines[-20:]),
        )


# --- git: -------------------------------------------------------------------------------------------------------


def _git(rest: str, cache: Path, folder: Path) -> _Plan:
    # Both a path and a revision may hold "@": the path is the longest prefix before an "@" that is a folder.
    splits = [(rest[:at], rest[at + 1 :]) for at, char in enumerate(rest) if char == "@" and rest[at + 1 :]]
    if not splits:
        raise SourceError(f"source git:{rest}: no revision given", hint="write git:PATH@REV, e.g. git:~/linux@v6.12")
    places = [((folder / Path(path).expanduser()).resolve(), rev) for path, rev in splits]
    repo, rev = next(((path, rev) for path, rev in reversed(places) if path.is_dir()), (None, ""))
    what = f"source git:{rest}"
    if repo is None:
        raise SourceError(f"{what}: {places[-1][0]} is not a folder", hint="name a git tree, e.g. git:~/linux@v6.12")
    git = ["git", "-C", str(repo)]
    if run([*git, "rev-parse", "--git-dir"], what=what, check=False).returncode != 0:
        said = run([*git, "rev-parse", "--git-dir"], what=what, check=False).stderr.decode(errors="replace").strip()
        raise SourceError(f"{what}: {repo} is not a usable git tree", hint=f"try: git -C {repo} status", detail=said)
    found = run([*git, "rev-parse", "--verify", "--end-of-options", rev + "^{commit}"], what=what, check=False)
    if found.returncode != 0:
        raise SourceError(
            f"{what}: {repo} has no revision {rev!r}",
            hint=f"see: git -C {repo} tag; fetch it if it is only on the server",
            detail=found.stderr.decode(errors="replace").strip(),
        )
    commit = found.stdout.decode().strip()
    if run([*git, "cat-file", "-e", f"{commit}:Makefile"], what=what, check=False).returncode != 0:
        raise SourceError(
            f"{what}: not a kernel tree: revision {rev} has no Makefile at its top",
            hint="name a revision of a kernel tree",
        )
    return _Plan(
        f"git:{commit}", f"git {rev} ({commit[:12]})", lambda into, progress: _git_archive(repo, commit, into, progress)
    )


def _git_archive(repo: Path, commit: str, into: Path, progress: Callable[[int, int], None]) -> None:
    argv = ["git", "-C", str(repo), "archive", "--format=tar", commit]
    errors = into.parent / "git.errors"
    with errors.open("wb") as sink:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=sink, env=clean_env(), start_new_session=True
        )
        assert process.stdout is not None
        out = process.stdout
        try:
            _untar(
                iter(lambda: out.read(_CHUNK), b""),
                into,
                [],
                what=f"{repo}@{commit}",
                progress=lambda n: progress(n, 0),
            )
            code = process.wait()
        except BaseException:
            end_group(process)
            raise
        finally:
            out.close()
    if code != 0:
        raise InfraError(
            f"source git:{repo}@{commit}: git archive exited with {code}",
            hint=f"try: git -C {repo} fsck",
            detail=errors.read_text(errors="replace")[-2000:],
        )
    errors.unlink()


# --- dir: -------------------------------------------------------------------------------------------------------


def _dir(name: str, cache: Path, folder: Path) -> _Plan:
    origin = (folder / Path(name).expanduser()).resolve()
    if not origin.is_dir():
        raise SourceError(f"source dir:{name}: {origin} is not a folder", hint="name the top folder of a kernel tree")
    version_of(origin, f"dir:{name}")
    listing = _listing(origin)
    identity = f"dir:{_listing_digest(origin, listing)}"

    def unpack(into: Path, progress: Callable[[int, int], None]) -> None:
        for done, path in enumerate(listing):
            target = into / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(origin / path, target, follow_symlinks=False)
            progress(done, len(listing))
        after = _listing(origin)
        if f"dir:{_listing_digest(origin, after)}" != identity:
            raise SourceError(f"source dir:{name}: the tree changed while it was copied", hint="run the command again")
        _clean_copy(into)

    return _Plan(identity, f"folder {origin}", unpack)


def _listing(origin: Path) -> list[str]:
    """The files of a tree, relative and sorted, without .git and without what builds leave behind."""
    if (origin / ".git").exists():
        listed = run(
            ["git", "-C", str(origin), "ls-files", "-z", "-co", "--exclude-standard"], what=f"dir:{origin}", check=False
        )
        if listed.returncode == 0:
            names = {os.fsdecode(name) for name in listed.stdout.split(b"\0") if name}
            # A tracked file may be deleted; a submodule or nested repository is listed as a folder.
            return sorted(
                name for name in names if os.path.lexists(origin / name)
                and ((origin / name).is_symlink() or not (origin / name).is_dir())
            )  # fmt: skip
    names = set()
    for here, dirs, files in os.walk(origin):
        # An object folder (make O=...) holds a link "source"; its content belongs to no source tree.
        dirs[:] = [d for d in dirs if d != ".git" and not os.path.islink(os.path.join(here, d, "source"))]
        links = [d for d in dirs if os.path.islink(os.path.join(here, d))]
        for file in (*files, *links):
            if not file.endswith((".o", ".ko", ".cmd")):
                names.add(os.path.relpath(os.path.join(here, file), origin))
    return sorted(names)


def _listing_digest(origin: Path, listing: list[str]) -> str:
    digest = hashlib.sha256()
    for name in listing:
        try:
            info = os.lstat(origin / name)
        except FileNotFoundError:
            continue
        link = os.readlink(origin / name) if stat.S_ISLNK(info.st_mode) else ""
        line = f"{name}\0{info.st_size}\0{info.st_mtime_ns}\0{info.st_mode:o}\0{link}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _clean_copy(copy: Path) -> None:
    """A tree that was built in place carries its .config and generated headers: the copy is cleaned by its own rule."""
    built = [
        copy / ".config",
        copy / "include/config",
        copy / "include/generated",
        copy / "arch/arm64/include/generated",
    ]
    if any(path.exists() for path in built):
        run(["make", "-C", str(copy), "ARCH=arm64", "mrproper"], what=f"clean the copy in {copy}")


def sources(cache: Path) -> list[tuple[Path, dict[str, str]]]:
    """The unpacked trees of a cache, for ``kpv clean``: (folder, its identity, description and version)."""
    records = sorted((cache / "sources").glob("[!.]*/source.json"))
    return [(record.parent, json.loads(record.read_text())) for record in records]
