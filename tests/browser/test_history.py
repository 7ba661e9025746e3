"""The page of `kpv history --plot` as a reader meets it: both schemes, three widths, a screen reader, no network."""

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

from pipeline.history import chart, timeline
from pipeline.history.index import Index
from tests.browser.conftest import SHOTS
from tests.browser.test_report import COLOURS, EVERY_RULE, WIDTHS
from tests.history.test_index import run_on

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def history_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty runs, in which a claim changed three times."""
    folder = tmp_path_factory.mktemp("history")
    index = Index(folder)
    for day in range(1, 31):
        index.enter(run_on(day, split=int(day in (4, 5, 6, 20, 29))), folder / str(day))
    path = folder / "history.html"
    path.write_text(chart.html(timeline.telling(timeline.lines(index.points()))))
    return path


@pytest.mark.parametrize(("scheme", "rules"), [("light", EVERY_RULE), ("dark", COLOURS)])
def test_axe_finds_no_violation_in_the_history(visit, history_file, scheme, rules):
    page = visit(history_file, color_scheme=scheme)
    found = Axe().run(page, options={"resultTypes": ["violations"], "runOnly": rules}).response
    assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found["violations"]] == []
    assert page.asked == [history_file.as_uri()]


@pytest.mark.parametrize("device", WIDTHS)
def test_the_history_does_not_reach_out_of_the_page(visit, history_file, device):
    page = visit(history_file, width=WIDTHS[device])
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"history-{device}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[device]
