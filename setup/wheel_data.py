"""Build hook: the data folders of the checkout become ``pipeline/data/<folder>`` of the wheel.

An editable install reads them where they stand (pipeline/resources.py), so only
a standard wheel gets copies.
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

#: The same names as pipeline.resources.FOLDERS; tests/test_setup.py holds the two together.
FOLDERS = ("kernel-configs", "patches", "guest-tests", "qemu", "setup")


class DataFolders(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        for name in FOLDERS:
            folder = Path(self.root) / name
            if folder.is_dir():
                build_data["force_include"][str(folder)] = f"pipeline/data/{name}"
