"""Take the picture of the page of the results that the README shows.

    python bench/screenshot.py            # of results/report/index.html
    python bench/screenshot.py PAGE FILE

Needs Chromium (Debian: apt-get install chromium) and Playwright (requirements/test.lock).
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from PIL import Image

PAGE = Path("results/report/index.html")
FILE = Path("docs/images/report.png")
WIDTH, HEIGHT = 1280, 1100
COLOURS = 128
"""The picture has few colours; a palette makes it a third as large."""


def main(page: Path = PAGE, file: Path = FILE) -> None:
    """Open the page in a browser and save what a desktop shows of its tables."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        opened = browser.new_context(
            viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light"
        ).new_page()
        opened.goto(page.resolve().as_uri())
        opened.wait_for_selector("#competing table")
        opened.evaluate("document.getElementById('tables').scrollIntoView({behavior: 'instant'})")
        opened.wait_for_timeout(1000)  # What comes into view is drawn.
        file.parent.mkdir(parents=True, exist_ok=True)
        opened.screenshot(path=file)
        browser.close()
    Image.open(file).convert("RGB").quantize(COLOURS).save(file, optimize=True)
    print(f"{file}: {file.stat().st_size} bytes")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
