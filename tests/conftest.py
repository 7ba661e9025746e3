"""Which tests run: unit tests unless told otherwise.

``pytest`` runs the unit tests; ``pytest --all`` (``make test``) adds those
marked ``system`` and ``browser``. In one process they come after the unit tests, so that a
broken function is told before a kernel is built. With several (``-n 2 --dist
loadscope``) one of them takes all system tests, one after the other: two
kernel builds, or two studies, at once would only wait for each other.
"""

from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

#: Seconds a system test may take: a cold kernel build on two cores is 5 to 6 minutes, a study has several.
SYSTEM_TIMEOUT = 2400


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="run the other tests too: on real kernels, in a browser")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Tests in a browser need libraries that only ``make test`` installs, so they are not even read without --all."""
    browser = collection_path == Path(__file__).parent / "browser"
    return True if browser and not config.getoption("--all") else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("browser") is not None:
            continue
        if item.get_closest_marker("system") is None:
            item.add_marker(pytest.mark.unit)
            continue
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SYSTEM_TIMEOUT))
    items.sort(key=lambda item: item.get_closest_marker("system") is not None)
    if config.getoption("--all"):
        return
    left = [item for item in items if item.get_closest_marker("unit") is None]
    if left:
        items[:] = [item for item in items if item not in left]
        config.hook.pytest_deselected(items=left)


class OneFolderOneProcess(LoadScopeScheduling):
    """Each test where there is room, but those of these folders in one process each. (Groups by xdist's own mark
    are lost with pytest 9.2.)"""

    FOLDERS = ("tests/system/", "tests/browser/")

    def _split_scope(self, nodeid: str) -> str:
        return next((folder for folder in self.FOLDERS if nodeid.startswith(folder)), nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log) -> LoadScopeScheduling | None:
    return OneFolderOneProcess(config, log) if config.getvalue("dist") == "loadscope" else None
