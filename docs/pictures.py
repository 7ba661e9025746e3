"""Makes the pictures of the documentation from a real run's report: `make pictures RUN=runs/<id>`.

docs/report.png is how the page opens on a desk, docs/blocks.png the contiguous blocks of a decision.
"""

import argparse
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
#: As in tests/browser/conftest.py: without a sandbox, and without requests of Chromium's own.
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path, help="the run's folder; its report.html is what is pictured")
    parser.add_argument("--decision", default="fold-kept", help="id of the claim or invariant whose blocks are shown")
    parser.add_argument("--into", type=Path, default=HERE, help="folder of the pictures, else this one")
    wanted = parser.parse_args()
    report = wanted.run.resolve() / "report.html"
    if not report.is_file():
        sys.exit(f"{report}: no such report; name a folder under runs/")
    program = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    if program is None:
        sys.exit("no Chromium: run make setup-tests")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1180, "height": 760}, color_scheme="light")
        page.goto(report.as_uri())
        page.screenshot(path=wanted.into / "report.png")
        # Twice as fine, as it is small.
        page = browser.new_page(viewport={"width": 1180, "height": 760}, color_scheme="light", device_scale_factor=2)
        page.goto(report.as_uri())
        blocks = page.locator(f"#d-{wanted.decision} .pic").first
        if not blocks.count():
            sys.exit(f"{report}: decision {wanted.decision} shows no blocks; name another with --decision")
        page.add_style_tag(content=".pic { padding: 12px; margin: 0 }")
        blocks.screenshot(path=wanted.into / "blocks.png")
        browser.close()


if __name__ == "__main__":
    main()
