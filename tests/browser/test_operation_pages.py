"""Calls, completions, runs, schedules and alerts in a browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from producers.web.admin.routes import admin_of
from tests.browser.conftest import Tab
from tests.integration.dashboard_operation import OPERATION
from tests.integration.dashboard_support import HOUSE, World, dashboard_world, running
from tests.integration.test_dashboard_operation import FLOW, with_schedule

pytestmark = [pytest.mark.integration, pytest.mark.browser]

PAGES = (
    "/ui/flow",
    "/ui/flow/people",
    "/ui/calls",
    "/ui/calls/c3",
    "/ui/rates",
    "/ui/completions",
    "/ui/callbacks",
    "/ui/callbacks/cb1",
    "/ui/callback-results",
    "/ui/runs",
    "/ui/schedule-runs",
    "/ui/schedules",
    "/ui/schedules/RECONCILE?site=default",
    "/ui/incidents",
    "/ui/incidents/2",
    "/ui/silences",
    "/ui/rehearsals",
    "/ui/rehearsals/1",
    "/ui/replays",
    "/ui/replays/r1",
    "/ui/reconcile",
    "/ui/preview",
)


@pytest.fixture(scope="module")
def world(database_url: str) -> Iterator[World]:
    with dashboard_world(database_url, OPERATION) as made:
        yield with_schedule(made)


@pytest.fixture(scope="module")
def site(world: World) -> Iterator[str]:
    with running(world, admin=admin_of(world.means, HOUSE, flow=FLOW)) as address:
        yield address


def test_every_page_is_for_everybody(tab: Tab, axe_source: str) -> None:
    tab.log_in("both")
    for path in PAGES:
        tab.open(path)
        tab.check(axe_source)


def test_a_schedule_draws_how_long_its_runs_took(tab: Tab) -> None:
    tab.log_in("admin")
    tab.open("/ui/schedules/RECONCILE?site=default")
    expect(tab.page.locator(".chart canvas")).to_have_count(1)


def test_a_part_of_the_flow_is_looked_into(tab: Tab) -> None:
    tab.log_in("viewer")
    tab.open("/ui/flow")
    expect(tab.page.locator("svg .line text").first).to_contain_text("1,200 wait")
    tab.page.locator("svg a", has_text="people").focus()
    tab.press("Enter")
    tab.page.wait_for_url("**/ui/flow/people")
    assert tab.heading() == "people"


def test_an_incident_is_taken_on_by_keyboard(tab: Tab, world: World) -> None:
    tab.log_in("operator")
    tab.open("/ui/incidents/2")
    tab.page.get_by_role("button", name="Take it on").focus()
    tab.press("Enter")
    tab.page.wait_for_url("**/ui/incidents/2/acknowledge")
    tab.page.keyboard.type("at it")
    tab.press("Enter")
    expect(tab.page.get_by_role("status").first).to_contain_text("You have taken on")
    assert [entry[2] for entry in world.audited("alert.acknowledge")] == ["at it"]
