"""Overview, people, courses, enrolments, parked, conflicts and dead letters in a browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Tab
from tests.integration.dashboard_records import ANN, HOSTILE, RECORDS
from tests.integration.dashboard_support import World, dashboard_world, running

pytestmark = [pytest.mark.integration, pytest.mark.browser]

PAGES = (
    "/ui/overview",
    "/ui/people?q=P00000",
    f"/ui/people/{ANN}",
    "/ui/accounts",
    "/ui/commands",
    "/ui/results",
    "/ui/refused",
    "/ui/invalid-records",
    "/ui/parked",
    f"/ui/conflicts/person%2F{ANN}",
    "/ui/dead-letters?limit=25",
)
"""One of each kind: the others are made of the same parts."""


@pytest.fixture(scope="module")
def world(database_url: str) -> Iterator[World]:
    with dashboard_world(database_url, RECORDS) as made:
        yield made


@pytest.fixture(scope="module")
def site(world: World) -> Iterator[str]:
    with running(world) as address:
        yield address


def test_every_page_is_for_everybody(tab: Tab, axe_source: str) -> None:
    tab.log_in("operator")
    for path in PAGES:
        tab.open(path)
        tab.check(axe_source)


def test_the_overview_draws_its_charts_and_brings_itself_up_to_date(tab: Tab) -> None:
    tab.log_in("viewer")
    assert tab.heading() == "Overview"
    expect(tab.page.locator(".chart canvas")).to_have_count(3)
    tab.page.locator("#figures summary").click()
    tab.page.evaluate("() => document.querySelector('.as-of time').textContent = 'long ago'")
    tab.page.evaluate("() => htmx.ajax('GET', '/ui/overview', {source: '#live', target: '#live'})")
    expect(tab.page.locator(".as-of time")).not_to_have_text("long ago")
    expect(tab.page.locator(".chart canvas")).to_have_count(3)
    expect(tab.page.locator("#figures td").first).to_be_visible()
    assert tab.focused() == "Figures of the last hour"


def test_a_name_of_somebody_hostile_is_a_text(tab: Tab) -> None:
    tab.log_in("viewer")
    tab.open(f"/ui/people/{ANN}")
    expect(tab.page.get_by_role("cell", name=HOSTILE)).to_be_visible()


def test_what_is_done_to_all_that_match_follows_the_filter(tab: Tab) -> None:
    tab.log_in("operator")
    tab.open("/ui/dead-letters")
    tab.page.locator("summary", has_text="Filter").click()
    tab.page.get_by_label("Reason").select_option("UNREADABLE")
    tab.page.get_by_role("button", name="Apply").click()
    expect(tab.page.locator("tbody tr")).to_have_count(30)
    tab.page.get_by_role("button", name="Discard all that match").click()
    expect(tab.page.locator(".figure")).to_contain_text("30 match")


def test_chosen_dead_letters_are_discarded(tab: Tab) -> None:
    tab.log_in("operator")
    tab.open("/ui/dead-letters?limit=25")
    tab.page.get_by_label("Choose all rows of this page").check()
    tab.page.get_by_label("Choose row 1", exact=True).uncheck()
    tab.page.get_by_role("button", name="Discard chosen").click()
    expect(tab.page.locator(".figure")).to_contain_text("24 match")
    tab.page.get_by_role("link", name="Cancel").click()
    assert tab.heading() == "Dead letters"


def test_a_conflict_is_settled_by_keyboard(tab: Tab, world: World) -> None:
    tab.log_in("operator")
    tab.open(f"/ui/conflicts/person%2F{ANN}")
    tab.page.get_by_role("button", name="Ignore").focus()
    tab.press("Enter")
    tab.page.wait_for_url("**/ui/conflicts/resolve")
    assert tab.focused() == "Why"
    tab.page.keyboard.type("later")
    tab.press("Enter")
    expect(tab.page.get_by_role("status").first).to_contain_text("is settled by ignore")
    assert [entry[2] for entry in world.audited("conflict.resolve")] == ["later"]
