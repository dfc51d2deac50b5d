"""A browser for each file of tests, and tabs that fail on whatever the browser complains about.

A file makes a module fixture ``site``, the address of an application, such as `dashboard_support.running`
gives. Its tests are plain functions: Playwright runs an event loop of its own meanwhile.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, sync_playwright

from tests.browser import axe
from tests.integration.dashboard_support import PASSWORD

CHROMIUM: Final = "/usr/bin/chromium"
FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
)
WIDE, NARROW = {"width": 1400, "height": 900}, {"width": 400, "height": 800}
_VIEWS: Final = ((WIDE, "light"), (NARROW, "dark"))
"""Both widths and both themes, without the half of the combinations that add time only."""
_TOO_WIDE: Final = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
_TIMEOUT: Final = 20_000.0


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker of these tests."""
    config.addinivalue_line("markers", "browser: needs Chromium, see CHROMIUM_PATH")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser without a window."""
    path = os.environ.get("CHROMIUM_PATH") or CHROMIUM
    if not Path(path).exists():
        pytest.skip(f"there is no Chromium at {path}: name it by CHROMIUM_PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*FLAGS])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe_source() -> str:
    """The text of axe, or a skip that says why it is not to be had."""
    try:
        return axe.source()
    except axe.Missing as error:
        pytest.skip(str(error))


class Tab:
    """A tab in which somebody has the dashboard open.

    Attributes:
        page: Playwright's.
        complaints: what the browser has complained about.
        expected: pattern of complaints that belong to the test, such as of a page that is not there.
    """

    def __init__(self, page: Page, site: str) -> None:
        """Open nothing yet; paths are of ``site``."""
        self.page, self._site = page, site
        self.complaints: list[str] = []
        self.expected = ""
        page.set_default_timeout(_TIMEOUT)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(f"{page.url}: {error}"))
        page.on("requestfailed", self._failed)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning", "assert"):
            self.complaints.append(f"{self.page.url}: {message.text}")

    def _failed(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # left for another page meanwhile
            self.complaints.append(f"{request.url}: {request.failure}")

    def log_in(self, name: str) -> None:
        """Log in as a user of `dashboard_support.USERS`."""
        self.open("/login")
        self.page.get_by_label("Name").fill(name)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Log in", exact=True).click()
        self.page.wait_for_url("**/ui/**")

    def open(self, path: str) -> None:
        """Open a page and wait for it."""
        self.page.goto(self._site + path)

    def find(self, text: str) -> Locator:
        """Give what shows ``text``."""
        return self.page.get_by_text(text)

    def heading(self) -> str:
        """Give the heading of the page."""
        return self.page.locator("h1").inner_text()

    def press(self, *keys: str) -> None:
        """Press keys one after the other."""
        for key in keys:
            self.page.keyboard.press(key)

    def focused(self) -> str:
        """Give the text, or the label, of what has the focus."""
        found: str = self.page.evaluate(
            "() => document.activeElement.innerText || document.activeElement.labels?.[0]?.innerText || ''"
        )
        return found.strip()

    def check(self, axe_text: str) -> None:
        """See that the page shown is for everybody: wide and narrow, light and dark."""
        for size, scheme in _VIEWS:
            self.page.set_viewport_size({"width": size["width"], "height": size["height"]})
            self.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            assert self.page.evaluate(_TOO_WIDE) <= 0, f"{self.page.url} is wider than {size['width']} px"
            assert axe.serious(self.page, axe_text) == [], f"{self.page.url}, {size['width']} px, {scheme}"
        self.page.set_viewport_size({"width": WIDE["width"], "height": WIDE["height"]})

    def unexpected(self) -> list[str]:
        """Give the complaints that do not belong to the test."""
        return [one for one in self.complaints if not (self.expected and re.search(self.expected, one))]


@pytest.fixture
def tab(chromium: Browser, site: str) -> Iterator[Tab]:
    """A tab with cookies of its own; the test fails if the browser complains."""
    # Half-way from one colour to the next no contrast can be told.
    with chromium.new_context(
        viewport={"width": WIDE["width"], "height": WIDE["height"]}, reduced_motion="reduce"
    ) as context:
        opened = Tab(context.new_page(), site)
        yield opened
        assert opened.unexpected() == []


@pytest.fixture
def shot(tab: Tab, tmp_path: Path) -> Callable[[str], Path]:
    """Take a picture of the page, into the folder SCREENSHOTS if that is set."""

    def take(name: str) -> Path:
        folder = Path(os.environ.get("SCREENSHOTS") or tmp_path)
        path = folder / f"{name}.png"
        tab.page.screenshot(path=path)
        return path

    return take
