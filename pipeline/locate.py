"""Which study and which run a person means by a word on the command line."""

import re
from collections.abc import Iterable
from pathlib import Path

from pipeline import near, resources
from pipeline.errors import UserError

STUDY = "study.toml"
RUN = "run.json"
_NTH = re.compile(r"last(?:~(\d+))?")


def shipped() -> dict[str, Path]:
    """The study files that come with kpv, by name: ``madvise-free-mthp``, ``madvise-free-mthp/newest``."""
    root = resources.folder("patches")
    found = {}
    for path in sorted(root.glob("*/*.toml"), key=lambda path: (path.parent.name, path.name != STUDY, path.name)):
        name = path.parent.name if path.name == STUDY else f"{path.parent.name}/{path.stem}"
        found[name] = path
    return found


def study_file(given: Path | None) -> Path:
    """The file of a study: a path, the name of one that comes with kpv, or by default the one nearest at hand.

    Without a word: ``study.toml`` of the current folder, else the first that comes with kpv. A path that is not
    there is returned as it is, for ``study.load`` to tell. Raises UserError for a name that is none.
    """
    if given is None:
        here = Path(STUDY)
        return here if here.is_file() else next(iter(shipped().values()))
    if given.exists() or given.suffix == ".toml":
        return given
    known = shipped()
    if str(given) in known:
        return known[str(given)]
    raise UserError(
        f"{given}: expected a study.toml, a folder that holds one, or a study that comes with kpv; found none",
        hint=near.hint(str(given), list(known), kind="study"),
    )


def run_folders(root: Path) -> list[Path]:
    """The run folders below ``root``, the newest last: names start with the second, within one the log decides."""
    return sorted((path.parent for path in root.glob(f"*/{RUN}")), key=_when)


def _when(folder: Path) -> tuple[str, int, str]:
    log = folder / "events.jsonl"
    return folder.name[: len("20250101-120000")], log.stat().st_mtime_ns if log.is_file() else 0, folder.name


def run_folder(given: str, *, root: Path, elsewhere: Iterable[Path] = ()) -> Path:
    """A run's folder (or run.json): a path, the id of one below ``root`` or its start, ``last``, ``last~1``...

    ``elsewhere``: folders of other runs that an id may mean. Raises UserError.
    """
    path = Path(given)
    if path.exists():
        return path
    known = run_folders(root)
    if nth := _NTH.fullmatch(given):
        back = int(nth[1] or 0)
        if back < len(known):
            return known[-1 - back]
        raise UserError(
            f"{given}: expected {back + 1} run{'s' * (back > 0)} in {root}, found {len(known)}",
            hint="name a run's folder, or another folder of runs with --runs",
        )
    by_name = {folder.name: folder for folder in (*elsewhere, *known) if (folder / RUN).is_file()}
    if given in by_name:
        return by_name[given]
    started = [name for name in by_name if given and name.startswith(given)]
    if len(started) == 1:
        return by_name[started[0]]
    if started:
        raise UserError(f"{given}: {len(started)} runs start so", hint=f"one of: {', '.join(sorted(started)[:6])}")
    if "/" in given or not by_name:
        # A path, most likely: what reads it tells what is wrong with it.
        return path
    raise near.unknown("run", given, list(by_name))
