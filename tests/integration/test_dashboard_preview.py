"""Intake by hand: the page and the API over a stand-in of ELM and a real database."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest

from infra.simulators.elm import ElmState, serve
from infra.simulators.elm import Settings as ElmSettings
from producers.elm.settings import ElmFeedSettings
from producers.web.admin.routes import admin_of
from tests.integration.dashboard_support import HOUSE, Person, World, dashboard_world, person
from tests.integration.test_elm_poll import TOKEN, plain

pytestmark = pytest.mark.integration

FEED = ElmFeedSettings(url="", token=TOKEN, tenant=HOUSE, timeout=10.0)
KNOWN = """
    INSERT INTO {model}.enrolment_snapshot (tenant, person_id, course_id, wanted, actual, as_wanted)
    VALUES ('house', '00000001', '32090', 'ACTIVE', 'ACTIVE', true);
    INSERT INTO {model}.accounts (tenant, person_id, moodle_user_id, missing, blocked, since, place)
    VALUES ('house', '00000001', 8, false, NULL, '2026-11-02', 'x'),
        ('house', '00000002', NULL, false, 'EMAIL_TAKEN', '2026-11-02', 'x');
"""
RECORDS = [*plain(4), *plain(1, start=5, COURSE_IDENTIFIER=7, EMAIL=None)]


@pytest.fixture(scope="module")
def world(database_url: str) -> Iterator[World]:
    with dashboard_world(database_url, KNOWN) as made:
        yield made


@pytest.fixture
async def elm() -> ElmState:
    return ElmState(TOKEN, settings=ElmSettings(feed="1.5"), seed=RECORDS)


@pytest.fixture
async def operator(world: World, elm: ElmState) -> AsyncIterator[Person]:
    async with serve(elm) as server:
        admin = admin_of(world.means, HOUSE, feed=replace(FEED, url=server.feed_url))
        async with person(world, "operator", admin=admin) as found:
            yield found


def standings(page: str) -> list[str]:
    return re.findall(r'data-label="Would be"><span class="badge [a-z]+">([A-Z_]+)<', page)


def taken(world: World) -> list[Any]:
    query = "SELECT record_id::int - 700000 FROM source_records WHERE kind = 'enrolment' ORDER BY 1"
    return [row[0] for row in world.rows(query)]


async def test_records_are_looked_at_and_those_chosen_taken_in(world: World, operator: Person) -> None:
    status, page = await operator.get("/ui/preview?course=32090")
    assert (status, standings(page)) == (200, ["DONE", "MISMATCH", "NEW_USER", "NEW_USER"])
    assert taken(world) == []
    chosen = [
        html.unescape(digest) for digest in re.findall(r'name="records" value="([^"]+)"[^>]* checked', page)
    ]
    assert len(chosen) == 2
    status, asked = await operator.send("/ui/preview/apply", course="32090", records=chosen)
    assert (status, "<strong>2</strong> match" in asked) == (200, True)
    assert taken(world) == []
    status, _ = await operator.send(
        "/ui/preview/apply", course="32090", records=chosen[:1], step="do", why="asked by the school"
    )
    assert (status, taken(world)) == (303, [3])
    assert world.audited("intake.apply") == [("user:operator", "source/elm", "asked by the school", "house")]
    assert world.rows("SELECT count(*) FROM source_cursors") == [(0,)], "the poll is not moved"
    status, _ = await operator.send("/ui/preview/apply", course="32090", records=chosen[:1], step="do")
    assert status == 303
    assert len(world.rows("SELECT 1 FROM outbox WHERE topic = 'hub.enrolments'")) == 1, (
        "nothing is done twice"
    )


async def test_a_learner_is_found_by_e_mail_and_by_guid(operator: Person) -> None:
    for learner in ("p3@gov.example", "00000003"):
        _, page = await operator.get(f"/ui/preview?learner={learner}")
        assert len(standings(page)) == 1


async def test_what_cannot_be_read_names_the_field(operator: Person) -> None:
    _, page = await operator.get("/ui/preview?course=7")
    assert (standings(page), "EMAIL" in page) == (["INVALID"], True)


async def test_what_cannot_be_asked_is_told(world: World, operator: Person) -> None:
    status, page = await operator.get("/ui/preview?since=yesterday")
    assert (status, 'role="alert"' in page) == (422, True)
    _, page = await operator.get("/ui/preview?learner=nobody")
    assert "ELM has no record that matches" in page
    async with person(world, "operator", admin=admin_of(world.means, HOUSE)) as without:
        status, page = await without.get("/ui/preview?course=7")
        assert (status, "no feed of ELM" in page) == (404, True)
    nowhere = admin_of(world.means, HOUSE, feed=replace(FEED, url="http://127.0.0.1:1/x"))
    async with person(world, "operator", admin=nowhere) as away:
        status, page = await away.get("/ui/preview?course=7")
        assert (status, "the ELM feed gave no page" in page) == (200, True)


async def test_a_viewer_may_not_look(world: World) -> None:
    async with person(world, "viewer") as viewer:
        status, _ = await viewer.get("/ui/preview")
        assert status == 403
