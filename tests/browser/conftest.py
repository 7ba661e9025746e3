"""A headless Chromium of the system, and pages to look at. Nothing here needs the network: requests are counted."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from pipeline.report import html
from tests.report.builders import a_realistic_run

#: Where the pictures of the pages go, to be looked at and kept by a CI.
SHOTS = Path(__file__).parents[2] / "build/screenshots"
#: As root there is no sandbox; the rest keeps Chromium from asking the network for anything of its own.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
Open = Callable[..., Page]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    assert program, "no Chromium: run `make setup-tests`"
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=program, args=FLAGS)


@pytest.fixture(scope="session")
def report_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run with all verdicts, failing cells with logs, and page tables."""
    run = a_realistic_run(scenarios=("full", "twice", "hole", "zram-cow", "gup"), variants=("64k",))
    files = {cell.name: [f"cells/{cell.name}/{log}.txt" for log in ("ktap", "console", "trace")] for cell in run.cells}
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(html.render(run, files, lambda _: "contpte_convert: (ffff8000)\n" * 50))
    return path


@pytest.fixture
def visit(browser: Browser, report_file: Path) -> Iterator[Open]:
    """Opens the report (or another file) in a context of its own; whatever a page asks for is in ``page.asked``."""
    contexts = []

    def visit(file: Path = report_file, **options: object) -> Page:
        width = options.pop("width", 1280)
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.asked = []
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(file.as_uri())
        return page

    yield visit
    for context in contexts:
        context.close()


def open_all(page: Page) -> None:
    """Open everything that is folded away."""
    page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
