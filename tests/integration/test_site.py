"""The built documentation in a real browser: wide and narrow, light and dark, read by everyone."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, cast

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, sync_playwright

from servers import CHROMIUM

ROOT = Path(__file__).parents[2]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
PAGES = ("index", "retries", "lifecycle", "reference")
"""The list of all pages; a long page with code; a picture and wide tables; and the reference."""

LEAVE_ONE_PACKAGE = """
for (const each of document.querySelectorAll("#reference > section:not(#module-lq_local), #rside li li"))
    each.remove()
"""
"""Looking at thousands of signatures takes minutes, and those of one package look like all others."""


@pytest.fixture(scope="module")
def site() -> Path:
    """The documentation as ``./dev docs`` has built it, built again if a page has changed since."""
    index = ROOT / "docs/_build/index.html"
    sources = [path for folder in ("docs", "packages") for path in _sources(ROOT / folder)]
    assert len(sources) > 500
    if not index.exists() or index.stat().st_mtime < max(path.stat().st_mtime for path in sources):
        command = (sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "docs", "docs/_build")
        subprocess.run(command, check=True, cwd=ROOT)
    return index.parent


def _sources(folder: Path) -> Iterator[Path]:
    """Find the pages, and the modules that the reference describes."""
    for place, folders, files in os.walk(folder):
        folders[:] = [each for each in folders if not each.startswith((".", "_", "dist"))]
        yield from (Path(place, each) for each in files)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM.find(), args=FLAGS)
        yield browser
        browser.close()


@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everyone_can_read_the_built_pages(
    browser: Browser, site: Path, scheme: Literal["light", "dark"], width: int
) -> None:
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
    page, asked = context.new_page(), list[str]()
    page.on("request", lambda request: None if request.url.startswith("file:") else asked.append(request.url))
    # No test waits for another site.
    page.route("**/*", lambda route: route.continue_() if route.request.url.startswith("file:") else route.abort())
    wrong = list[object]()
    for name in PAGES:
        page.goto((site / f"{name}.html").as_uri())
        wide = page.evaluate("document.documentElement.scrollWidth")
        wrong += [(name, "scrolls sideways", wide)] if wide > width else []
        page.evaluate(LEAVE_ONE_PACKAGE)
        assert page.locator("article").inner_text().count("\n") > 20, name
        found = cast("Any", Axe()).run(page).response["violations"]
        wrong += [(name, each["id"], each["nodes"][0]["html"]) for each in found]
    context.close()

    assert (wrong, asked) == ([], [])
