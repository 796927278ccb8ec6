"""A real browser, Debian's chromium; its tests are left out where it or Playwright is not installed."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parents[2]
AXE = Path(os.environ.get("AXE", ROOT / ".venv/node_modules/axe-core/axe.min.js"))
SIZES = {"desktop": (1200, 850), "phone": (390, 800)}


@pytest.fixture(scope="session")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium")
    if not path:
        pytest.skip("chromium is not installed: make test-browser")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium):
    """Open an address in a window of some size; in the end its console is empty, and nobody else was asked."""

    @contextmanager
    def opened(address, size="desktop", scheme="light", quiet=True):
        width, height = SIZES[size]
        context = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, has_touch=size == "phone"
        )
        page, said = context.new_page(), []
        page.on("console", lambda one: said.append(one.text) if one.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda one: said.append(one.url) if stranger(one.url, address) else None)
        page.goto(address)
        yield page
        context.close()
        assert not said or not quiet

    return opened


def stranger(url, address):
    """Tell whether a request goes to another server than the page's own."""
    return url.startswith("http") and urlsplit(url).netloc != urlsplit(address).netloc


@pytest.fixture
def faults():
    """Return what axe finds serious on a page."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed: make test-browser")

    def found(page):
        # Evaluated, not added: a page may allow no scripts but its own.
        page.evaluate(AXE.read_text(encoding="utf-8"))
        result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            (one["id"], [node["html"][:200] for node in one["nodes"]][:3])
            for one in result["violations"]
            if one["impact"] in ("serious", "critical")
        ]

    return found
