"""Pages of calls, completions, runs, schedules and alerts, on a real database."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import pytest

from infra.errors import RetryLater
from infra.turns import Work
from producers import schedules
from producers.schedules import Default, Key
from producers.timing import Timing
from producers.web.admin.flow import Part, Sighting, speeds
from producers.web.admin.routes import admin_of
from schemas.ids import TenantId
from tests.integration.dashboard_operation import OPERATION
from tests.integration.dashboard_support import HOUSE, Person, World, dashboard_world, person

pytestmark = pytest.mark.integration

FLOW = (
    (
        Part("relay", "What was taken in", (), ("hub.people", "hub.courses")),
        Part("people", "Who they are", ("hub.people", "results"), ("by-course", "commands"), "people"),
        Part("courses", "What they learn", ("hub.courses", "by-course"), ("commands",), "courses"),
        Part("moodle-sink.default", "To Moodle", ("commands",), ("results",), "sink"),
    ),
    lambda: Sighting({"hub.people": 5_000, "results": 7}, {("people", "hub.people"): 1_200}),
)


@pytest.fixture(scope="module")
def world(database_url: str) -> Iterator[World]:
    with dashboard_world(database_url, OPERATION) as made:
        yield with_schedule(made)


def with_schedule(world: World) -> World:
    """Give ``world`` a schedule as the settings have it."""
    timing = Timing(every=timedelta(minutes=30))
    schedules.register(world.pool, [Default(Key(HOUSE, Work.RECONCILE, "default"), timing, enabled=True)])
    return world


@pytest.fixture
async def operator(world: World) -> AsyncIterator[Person]:
    async with person(world, "operator") as found:
        yield found


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/ui/calls?code=http_503", ["core_user_create_users", "http_503", "/ui/calls/c3"]),
        ("/ui/calls/c3", ["user|house|ann", "503"]),
        ("/ui/rates", ["core_user_create_users", "60"]),
        ("/ui/completions", ["MA-101", "REJECTED", "/ui/callbacks/cb1"]),
        ("/ui/callbacks", ["/ui/callbacks/cb1"]),
        ("/ui/callbacks/cb1", ["MA-101"]),
        ("/ui/callback-results", ["REJECTED", "ELM_REFUSED"]),
        ("/ui/callback-results/cb1", ["400"]),
        ("/ui/runs", ["elm", "SUCCESS"]),
        ("/ui/runs/1", ["2026-11-02 08:01:00"]),
        ("/ui/schedules", ["RECONCILE", "every 30 min"]),
        ("/ui/schedules/RECONCILE?site=default", ["Moodle is away", "data-chart="]),
        ("/ui/schedule-runs?state=FAILED", ["Moodle is away"]),
        ("/ui/schedule-runs/2", ["Moodle is away"]),
        ("/ui/incidents?state=OPEN", ["ELM is not read", "CRITICAL"]),
        ("/ui/incidents/2", ["ELM is not read", "ELM was not read for an hour"]),
        ("/ui/silences", ["Nothing was ever silenced"]),
        ("/ui/replays", ["new rules", "/ui/replays/r1"]),
        ("/ui/replays/r1", ["1\N{NARROW NO-BREAK SPACE}200 of", "hub replay resume r1"]),
        ("/ui/rehearsals", ["new names", "/ui/rehearsals/1"]),
        ("/ui/rehearsals/1", ["Changed", "username", "/ui/people/ann"]),
        ("/ui/reconcile", ["4 differences of 100", "Suspended elsewhere", "data-chart="]),
    ],
)
async def test_a_page_shows_what_there_is(world: World, path: str, shown: list[str]) -> None:
    async with person(world, "viewer") as viewer:
        status, page = await viewer.get(path)
    assert status == 200
    assert [text for text in shown if text not in page] == []
    assert "secret" not in page
    assert "zoho" not in page
    assert 'method="post" action="/ui/' not in page.partition("<main")[2], "a viewer can do nothing here"


async def test_what_is_not_there_is_told(operator: Person) -> None:
    for path in ("/ui/calls/none", "/ui/incidents/3", "/ui/schedules/NONE", "/ui/runs/2", "/ui/replays/r2"):
        status, page = await operator.get(path)
        assert status == 404, path
        assert "secret" not in page


async def test_an_incident_is_taken_on_and_silenced(world: World, operator: Person) -> None:
    _, page = await operator.get("/ui/incidents/2")
    assert "Take it on…" in page
    status, _ = await operator.send(
        "/ui/incidents/2/acknowledge", step="do", why="at it", back="/ui/incidents/2"
    )
    assert status == 303
    assert world.rows("SELECT state, acknowledged_by FROM incidents WHERE id = 2") == [
        ("ACKNOWLEDGED", "user:operator")
    ]
    until = re.search(r'name="until" value="([^"]+)"', page)
    assert until is not None
    status, asked = await operator.send("/ui/incidents/2/silence", until=until[1])
    assert (status, "Nothing new is told" in asked) == (200, True)
    status, _ = await operator.send("/ui/incidents/2/silence", until=until[1], step="do", why="known")
    assert status == 303
    _, page = await operator.get("/ui/silences")
    assert "known" in page
    [(number,)] = world.rows("SELECT id FROM silences")
    status, _ = await operator.send(f"/ui/silences/{number}/end", step="do")
    assert status == 303
    assert world.rows("SELECT ended_at IS NULL FROM silences") == [(False,)]


async def test_a_schedule_is_run_and_changed(world: World, operator: Person) -> None:
    await operator.get("/ui/schedules")
    status, _ = await operator.send("/ui/schedules/RECONCILE/run?site=default", step="do", why="now")
    assert status == 303
    assert [entry[:3] for entry in world.audited("schedule.run")] == [
        ("user:operator", "schedule/RECONCILE", "now")
    ]
    change: dict[str, Any] = {"enabled": "false", "every_minutes": "15", "only": "none", "step": "do"}
    status, _ = await operator.send("/ui/schedules/RECONCILE/change?site=default", **change)
    assert status == 403
    async with person(world, "admin") as admin:
        await admin.get("/ui/schedules/RECONCILE?site=default")
        status, _ = await admin.send("/ui/schedules/RECONCILE/change?site=default", **change)
        assert status == 303
        status, page = await admin.send(
            "/ui/schedules/RECONCILE/change?site=default", step="do", cron="every day"
        )
        assert (status, "cron" in page) == (422, True)
    [schedule] = schedules.list_(world.pool, TenantId("house"))
    assert (schedule.enabled, schedule.timing.every) == (False, timedelta(minutes=15))


async def test_a_completion_is_posted_again(world: World, operator: Person) -> None:
    _, page = await operator.get("/ui/completions")
    assert "Post again…" in page
    status, _ = await operator.send("/ui/completions/ann/MA-101/post", step="do", why="ELM lost it")
    assert status == 303
    assert [entry[1:3] for entry in world.audited("completion.post")] == [
        ("enrolment/ann/MA-101", "ELM lost it")
    ]
    query = "SELECT record::jsonb ->> 'course_id' FROM outbox WHERE topic = 'hub.directives'"
    assert world.rows(query) == [("MA-101",)]
    status, _ = await operator.send("/ui/completions/ann/other/post", step="do")
    assert status == 404


async def test_a_replay_is_let_rest(world: World, operator: Person) -> None:
    _, page = await operator.get("/ui/replays/r1")
    assert "Let it rest…" in page
    status, _ = await operator.send("/ui/replays/r1/pause", step="do", why="too loud")
    assert status == 303
    assert world.rows("SELECT state FROM replays WHERE replay_id = 'r1'") == [("PAUSED",)]
    assert [entry[:3] for entry in world.audited("replay.pause")] == [
        ("user:operator", "replay/r1", "too loud")
    ]
    status, _ = await operator.send("/ui/replays/r2/pause", step="do")
    assert (status, world.rows("SELECT state FROM replays WHERE replay_id = 'r2'")) == (404, [("OPEN",)])


async def test_a_viewer_can_do_nothing(world: World) -> None:
    async with person(world, "viewer") as viewer:
        for path in ("/ui/incidents/2/acknowledge", "/ui/schedules/RECONCILE/run?site=default"):
            status, _ = await viewer.send(path, step="do")
            assert status == 403, path


def test_topics_grow_by_what_came_between_two_sightings() -> None:
    before, now = Sighting({"a": 10, "gone": 5, "anew": 90}, {}), Sighting({"a": 40, "anew": 3, "new": 7}, {})
    assert speeds(before, now, 60.0) == {"a": 0.5, "anew": 0}
    assert speeds(before, before, 0.0) == {}


async def test_the_flow_tells_what_waits(world: World) -> None:
    async with person(world, "viewer", admin=admin_of(world.means, HOUSE, flow=FLOW)) as viewer:
        status, page = await viewer.get("/ui/flow")
        assert (status, "1,200 wait" in page, "hub.people" in page) == (200, True, True)
        status, page = await viewer.get("/ui/flow/people")
        assert (status, "1\N{NARROW NO-BREAK SPACE}200" in page) == (200, True)
        status, _ = await viewer.get("/ui/flow/nothing")
        assert status == 404


async def test_the_flow_without_brokers_says_so(world: World) -> None:
    def away() -> Sighting:
        msg = "the brokers do not answer"
        raise RetryLater(msg)

    async with person(world, "viewer", admin=admin_of(world.means, HOUSE, flow=(FLOW[0], away))) as viewer:
        for path in ("/ui/flow", "/ui/flow/people"):
            status, page = await viewer.get(path)
            assert (status, "the brokers do not answer" in page) == (200, True)
