"""The index of runs: an SQLite file in the cache folder, and beside it the list of the folders it was made from."""

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline import run as runs
from pipeline.errors import InfraError, KpvError
from pipeline.judge.model import Verdict
from pipeline.report.words import judgement_of
from pipeline.run import Run
from pipeline.store import canonical

#: ``PRAGMA user_version`` of the index: raise it when tables or their meaning change.
SCHEMA = 1
#: Seconds to wait for another process that writes.
_PATIENCE = 30.0
#: Options and commands of a run that is about a part of its study.
_NARROWING = ("-k", "-m", "-s", "--kernel", "--machine", "--scenario")

_TABLES = """
CREATE TABLE run (
    key TEXT PRIMARY KEY, id TEXT NOT NULL, folder TEXT NOT NULL, study TEXT NOT NULL, started TEXT NOT NULL,
    kpv TEXT NOT NULL, exit_code INTEGER NOT NULL, cells INTEGER NOT NULL, narrowed INTEGER NOT NULL
) STRICT;
CREATE TABLE verdict (
    run TEXT NOT NULL REFERENCES run (key) ON DELETE CASCADE, kernel TEXT NOT NULL, of TEXT NOT NULL,
    kind TEXT NOT NULL, verdict TEXT NOT NULL, reason TEXT NOT NULL, cells INTEGER NOT NULL,
    PRIMARY KEY (run, kernel, of)
) STRICT;
CREATE INDEX by_time ON run (study, started, id);
"""


@dataclass(frozen=True)
class Entry:
    """A run in the index. ``narrowed``: it is about a part of its study, as its command says."""

    key: str
    id: str
    folder: Path
    study: str
    started: str
    kpv: str
    exit_code: int
    cells: int
    narrowed: bool


@dataclass(frozen=True)
class Point:
    """A verdict of one run. ``of``: a claim or invariant, "" for the kernel as a whole. ``cells``: it rests on."""

    run: Entry
    kernel: str
    of: str
    kind: str
    verdict: Verdict
    reason: str
    cells: int


class NewerIndex(InfraError):
    """The index was written by a newer kpv."""


class Index:
    """The index in a cache folder. Safe to use from several processes; a file that is no index is made anew."""

    def __init__(self, cache: Path) -> None:
        self.path = cache / "history" / "index.sqlite"
        self._folders = cache / "history" / "folders.txt"

    def enter(self, run: Run, folder: Path) -> None:
        """Put a judged run in, or replace what was known of it. Raises InfraError."""
        self._remember(folder)
        with self._open() as db:
            _enter(db, run, folder.absolute())

    def rebuild(self, folders: Iterable[Path] = ()) -> list[str]:
        """Make the index again from the run folders it knew and from ``folders``: runs, or folders of runs.

        Returns a line for each folder that could not be read; it stays on the list only if it exists.
        Raises InfraError.
        """
        problems = []
        wanted = dict.fromkeys([*self.folders(), *(found for folder in folders for found in _runs_in(folder))])
        listed = "".join(f"{folder}\n" for folder in wanted if folder.is_dir())
        with self._told():
            self._remove()
            self._folders.parent.mkdir(parents=True, exist_ok=True)
            self._folders.write_text(listed, encoding="utf-8", errors="surrogateescape")
        for folder in wanted:
            try:
                run = _judged(folder)
            except KpvError as err:
                problems.append(err.message)
                continue
            with self._open() as db:
                _enter(db, run, folder)
        return problems

    def folders(self) -> list[Path]:
        """The run folders that were entered, also where the index itself is lost."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            lines = self._folders.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
            return [Path(line) for line in dict.fromkeys(lines) if line]
        return []

    def runs(self, *, study: str = "") -> list[Entry]:
        """The runs, the oldest first. Raises InfraError."""
        with self._open() as db:
            found = db.execute("SELECT * FROM run WHERE ? IN ('', study) ORDER BY started, id", (study,)).fetchall()
        return [_entry(row) for row in found]

    def points(self, *, study: str = "", kernel: str = "", of: str = "", narrowed: bool = False) -> list[Point]:
        """Verdicts, the oldest run first; ``narrowed``: also of runs about a part of their study. Raises InfraError."""
        with self._open() as db:
            entries = {row["key"]: _entry(row) for row in db.execute("SELECT * FROM run")}
            rows = db.execute(
                "SELECT verdict.* FROM verdict JOIN run ON run.key = verdict.run WHERE ? IN ('', study)"
                " AND ? IN ('', kernel) AND ? IN ('', of) AND (? OR NOT run.narrowed)"
                " ORDER BY study, started, id, verdict.rowid",
                (study, kernel, of, narrowed),
            ).fetchall()
        return [
            Point(
                run=entries[row["run"]],
                kernel=row["kernel"],
                of=row["of"],
                kind=row["kind"],
                verdict=Verdict(row["verdict"]),
                reason=row["reason"],
                cells=row["cells"],
            )
            for row in rows
        ]

    def _remember(self, folder: Path) -> None:
        with self._told():
            self._folders.parent.mkdir(parents=True, exist_ok=True)
            if folder.absolute() not in self.folders():
                with self._folders.open("a", encoding="utf-8", errors="surrogateescape") as out:
                    out.write(f"{folder.absolute()}\n")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection in a transaction, with the tables there; a file that SQLite cannot read is made anew."""
        with self._told():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                db = self._connect()
            except sqlite3.DatabaseError as err:
                if isinstance(err, sqlite3.OperationalError):  # locked, unwritable: not the file's content
                    raise
                self._remove()
                self._refill()
                db = self._connect()
            with contextlib.closing(db), db:
                yield db

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=_PATIENCE)
        try:
            db.row_factory = sqlite3.Row
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA foreign_keys = ON")
            db.execute("BEGIN IMMEDIATE")
            version = int(db.execute("PRAGMA user_version").fetchone()[0])
            if version > SCHEMA:
                raise NewerIndex(
                    f"{self.path}: expected an index of schema {SCHEMA}, found {version}",
                    hint="use the newer kpv that wrote it, or make the index again: kpv history --rebuild",
                )
            if version < SCHEMA:
                for statement in _TABLES.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {SCHEMA}")
            elif db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("the index is damaged")
        except BaseException:
            db.close()
            raise
        return db

    def _refill(self) -> None:
        """Enter the known folders whose runs can be read."""
        db = self._connect()
        with contextlib.closing(db), db:
            for folder in self.folders():
                with contextlib.suppress(KpvError):  # it is gone; --rebuild tells
                    _enter(db, _judged(folder), folder)

    def _remove(self) -> None:
        for path in self.path.parent.glob(f"{self.path.name}*"):
            path.unlink(missing_ok=True)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """SQLite's and the disk's errors as InfraError."""
        try:
            yield
        except (sqlite3.Error, OSError) as err:
            raise InfraError(
                f"{self.path}: cannot use the index of runs: {err}",
                hint="make it again from the run folders: kpv history --rebuild",
            ) from err


def _enter(db: sqlite3.Connection, run: Run, folder: Path) -> None:
    judgement = judgement_of(run)
    key = _key(run)
    db.execute("DELETE FROM run WHERE key = ?", (key,))
    db.execute(
        "INSERT INTO run VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            key,
            run.id,
            str(folder),
            run.study.content.id,
            run.started,
            run.host.kpv_git or run.kpv,
            judgement.exit_code,
            len(run.cells),
            narrowed(run),
        ),
    )
    for kernel in judgement.kernels:
        rows = [("", "kernel", kernel.verdict, kernel.difference, 0)]
        rows += [(d.id, d.kind, d.verdict, d.reason, len(d.rows)) for d in kernel.decisions]
        db.executemany("INSERT INTO verdict VALUES (?, ?, ?, ?, ?, ?, ?)", [(key, kernel.kernel, *row) for row in rows])


def narrowed(run: Run) -> bool:
    """Whether a run is about a part of its study, by its command."""
    words = run.command[1:]
    return words[:1] == ("run",) or any(word.startswith(_NARROWING) for word in words)


def _key(run: Run) -> str:
    """The same for a run and its copy elsewhere, another for two runs of one second in two folders."""
    images = [kernel.image_sha256 for kernel in run.kernels]
    told = [run.id, run.started, run.finished, run.study.sha256, images, list(run.command), len(run.cells)]
    return hashlib.sha256(canonical(told).encode()).hexdigest()


def _entry(row: sqlite3.Row) -> Entry:
    return Entry(**{**dict(row), "folder": Path(row["folder"]), "narrowed": bool(row["narrowed"])})


def _judged(folder: Path) -> Run:
    run = runs.load(folder)
    return run if run.judgement is not None else run.judged()


def _runs_in(folder: Path) -> list[Path]:
    folder = folder.absolute()
    return [folder] if (folder / "run.json").is_file() else [path.parent for path in sorted(folder.glob("*/run.json"))]
