"""Log-in, audit, keys and users in a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import NARROW, Tab
from tests.integration.dashboard_support import SCRIPT, World, dashboard_world, running

pytestmark = [pytest.mark.integration, pytest.mark.browser]


@pytest.fixture(scope="module")
def world(database_url: str) -> Iterator[World]:
    with dashboard_world(database_url) as made:
        yield made


@pytest.fixture(scope="module")
def site(world: World) -> Iterator[str]:
    with running(world) as address:
        yield address


PAGES = (
    "/ui/audit?since=2026-11-01&limit=25",
    "/ui/audit/a119",
    "/ui/keys",
    "/ui/users",
    "/ui/users/viewer",
    "/ui/account",
)


def test_every_page_is_for_everybody(tab: Tab, axe_source: str) -> None:
    tab.open("/login")
    tab.check(axe_source)
    tab.log_in("both")
    for path in PAGES:
        tab.open(path)
        tab.check(axe_source)


def test_a_text_of_somebody_hostile_is_a_text(tab: Tab) -> None:
    tab.log_in("viewer")
    tab.open("/ui/audit/a119")
    expect(tab.find(SCRIPT)).to_be_visible()


def test_lists_are_filtered_ordered_and_paged_in_place(tab: Tab) -> None:
    tab.log_in("viewer")
    tab.open("/ui/audit")
    tab.page.get_by_role("link", name="Next page").click()
    expect(tab.page.locator("tbody tr").first).to_contain_text("person/P70")
    assert "cursor=" in tab.page.url
    tab.page.go_back()
    expect(tab.page.locator("tbody tr").first).to_contain_text("person/P120")
    tab.page.get_by_role("link", name="When").click()
    expect(tab.page.locator("tbody tr").first).to_contain_text(re.compile(r"person/P1\b"))
    tab.page.locator("summary").click()
    tab.page.get_by_label("To what").fill("person/P7")
    tab.press("Enter")
    expect(tab.page.locator("tbody tr")).to_have_count(1)


def test_a_key_is_made_shown_once_and_revoked(tab: Tab) -> None:
    tab.log_in("admin")
    tab.open("/ui/keys")
    tab.page.locator("summary").click()
    tab.page.get_by_label("What for").fill("the timetable")
    tab.page.get_by_label("read", exact=True).check()
    tab.page.get_by_role("button", name="Make the key").click()
    expect(tab.page.locator("#plain")).to_contain_text("rhk_")
    tab.page.get_by_role("button", name="Revoke").click()
    assert tab.heading() == "Revoke"
    tab.page.get_by_label("Why").fill("no longer used")
    tab.page.get_by_role("button", name="Revoke the key").click()
    expect(tab.page.get_by_role("status").first).to_contain_text("is revoked")
    expect(tab.page.locator("#plain")).to_have_count(0)


def test_everything_is_reached_by_keyboard(tab: Tab) -> None:
    tab.open("/login")
    tab.page.keyboard.type("viewer")
    tab.press("Tab")
    tab.page.keyboard.type("a long enough sentence")
    tab.press("Enter")
    tab.page.wait_for_url("**/ui/**")
    tab.open("/ui/audit")
    tab.press("Tab")
    assert tab.focused() == "Skip to content"
    tab.press("Enter", "Tab")
    assert tab.focused() == "Filter"


def test_narrow_screens_have_the_menu_behind_a_button(tab: Tab) -> None:
    tab.page.set_viewport_size({"width": NARROW["width"], "height": NARROW["height"]})
    tab.log_in("viewer")
    link = tab.page.get_by_role("navigation", name="Pages", exact=True).get_by_role("link", name="Audit")
    expect(link).not_to_be_visible()
    tab.page.get_by_role("button", name="Menu").click()
    expect(link).to_be_visible()
    tab.press("Escape")
    expect(link).not_to_be_visible()


def test_who_logs_out_is_out_and_who_is_wrong_stays_out(tab: Tab) -> None:
    tab.log_in("viewer")
    tab.page.get_by_role("button", name="viewer").click()
    tab.page.get_by_role("button", name="dark").click()
    expect(tab.page.locator("html")).to_have_attribute("data-theme", "dark")
    tab.page.get_by_role("button", name="viewer").click()
    tab.page.get_by_role("button", name="Log out").click()
    tab.page.wait_for_url("**/login")
    tab.open("/ui/audit")
    assert tab.heading() == "Log in"
    tab.expected = "403"
    tab.page.get_by_label("Name").fill("viewer")
    tab.page.get_by_label("Password").fill("wrong")
    tab.press("Enter")
    expect(tab.page.get_by_role("alert").first).to_contain_text("Name or password is wrong.")
