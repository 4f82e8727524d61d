"""Pictures of a report for the documentation.

    python benchmarks/screenshots.py STUDY [--output docs/screenshots]

STUDY is the folder of a finished study. Its page is opened in Chromium: light, dark, and with the drawer of an example.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from optimizer.report import report_page

CHROMIUM = "/usr/bin/chromium"
FOLDER = Path(__file__).resolve().parents[1] / "docs" / "screenshots"


def main() -> int:
    """Write the pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", type=Path, help="the folder of a finished study")
    parser.add_argument("--output", type=Path, default=FOLDER, help="the folder of the pictures")
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory(prefix="screenshots-") as name, sync_playwright() as playwright:
        html = Path(name) / "report.html"
        made = report_page(options.study / "prompt.json", options.study / "study.yaml")
        html.write_text(made.text, encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            page = browser.new_page(viewport={"width": 1080, "height": 900}, color_scheme=scheme)
            page.goto(html.as_uri())
            if scheme == "light":
                page.screenshot(path=options.output / "report.png")
            page.locator("#examples").scroll_into_view_if_needed()
            page.evaluate("document.getElementById('examples').scrollIntoView()")
            page.locator("[data-status=improved]").click()
            if scheme == "dark":
                page.screenshot(path=options.output / "examples-dark.png")
            if scheme == "light":
                page.locator(".opener").first.click()
                page.wait_for_timeout(200)
                page.screenshot(path=options.output / "drawer.png")
            page.close()
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
