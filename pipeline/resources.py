"""Where the data folders are: beside the package in a checkout, inside it once installed."""

from pathlib import Path

from pipeline.errors import InfraError, UserError

#: Folders that travel with the package; setup/wheel_data.py puts them into the wheel.
FOLDERS = ("kernel-configs", "patches", "guest-tests", "qemu", "setup")

PACKAGE = Path(__file__).resolve().parent


def checkout() -> Path | None:
    """The root of the checkout this package runs from, or None when it is installed from a wheel."""
    root = PACKAGE.parent
    return root if (root / "pyproject.toml").is_file() else None


def folder(name: str) -> Path:
    """The data folder ``name``, one of FOLDERS, as an existing absolute path.

    Raises UserError for a name that is not a data folder, InfraError when the
    folder is absent, i.e. the installation is not whole.
    """
    if name not in FOLDERS:
        raise UserError(f"{name!r} is no data folder of kpv; expected one of {', '.join(FOLDERS)}")
    root = checkout()
    found = root / name if root else PACKAGE / "data" / name
    if not found.is_dir():
        raise InfraError(
            f"data folder {name} expected at {found}, found none",
            hint="restore the checkout (git status), or install kpv again",
        )
    return found
