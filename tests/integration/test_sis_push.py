"""Records pushed by a SIS, over real HTTP into a real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from aiohttp.test_utils import TestClient, TestServer

from infra.db.connect import engine
from infra.simulators.sis import SisPlan, seeded
from infra.simulators.sis.views import pushes
from producers.intake import Intake
from producers.sis import push
from producers.sis.routes import sis_routes
from producers.sis.rules import Rules
from producers.sis.taking import SisIntake
from producers.web import keys
from producers.web.app import build_app
from producers.web.routes import Scope
from producers.web.services import WebServices
from producers.web.settings import WebSettings
from tests.integration import intake_support as support

pytestmark = pytest.mark.integration

NOW = datetime(2026, 2, 1, tzinfo=UTC)
PERSON = {"id": "p1", "family_name": "KEO", "personal_name": "SOPHEA", "student_status": "ACTIVE"}
COURSE = {"id": "c1", "title": "Cost Accounting", "course_code": "ACCT-301", "status": "ACTIVE"}
ENROLMENT = {"person": "p1", "course": "c1", "status": "ENROLLED"}


class Api:
    """The application with a key of one tenant."""

    def __init__(self, client: TestClient[Any, Any], plain: str) -> None:
        self._client = client
        self._headers = {"Authorization": f"Bearer {plain}"}

    async def send(self, name: str, body: object) -> tuple[int, Any]:
        address = f"/v1/events/sis/{name}"
        async with self._client.post(
            address, data=msgspec.json.encode(body), headers=self._headers
        ) as answer:
            return answer.status, await answer.json(content_type=None)

    async def push(self, name: str, *records: object) -> list[dict[str, Any]]:
        status, body = await self.send(name, list(records))
        assert status == 200, body
        results: list[dict[str, Any]] = body["results"]
        return results


@asynccontextmanager
async def api(database: str) -> AsyncIterator[Api]:
    pool = engine(database, pool_size=8)
    try:
        plain, _ = keys.create(pool, "sis", [support.TENANT], [Scope.EVENTS])
        app = build_app(WebServices(pool, WebSettings(default_tenant=support.TENANT)), sis_routes(Rules))
        async with TestClient(TestServer(app)) as client:
            yield Api(client, plain)
    finally:
        pool.dispose()


def published(database: str, topic: str) -> list[dict[str, Any]]:
    found = support.rows(database, "SELECT record FROM outbox WHERE topic = %s ORDER BY seq", topic)
    return [msgspec.json.decode(row[0]) for row in found]


def parked(database: str) -> Any:
    return support.rows(database, "SELECT count(*) FROM parked_records")[0][0]


async def test_records_are_answered_one_by_one(fresh_database: str) -> None:
    async with api(fresh_database) as sis:
        first = await sis.push("people", PERSON, {"id": "p2"}, "nothing")
        again = await sis.push("people", PERSON, {**PERSON, "student_status": "GRADUATED"})
    assert first == [
        {"id": "p1", "status": "NEW"},
        {"id": "p2", "status": "INVALID", "field": "family_name", "reason": "is missing or empty"},
        {"id": None, "status": "INVALID", "field": "record", "reason": "expected `object`, got `str`"},
    ]
    assert [each["status"] for each in again] == ["UNCHANGED", "UPDATED"]
    assert again[1]["changes"]["student_status"] == ["ACTIVE", "GRADUATED"]


async def test_an_enrolment_waits_for_person_and_class_and_is_then_taken(fresh_database: str) -> None:
    async with api(fresh_database) as sis:
        waits = await sis.push("enrolments", ENROLMENT)
        await sis.push("people", PERSON)
        assert parked(fresh_database) == 1
        await sis.push("courses", COURSE)
    assert waits == [{"id": "p1|c1", "status": "SKIPPED", "reason": "person_not_known_yet", "missing": "p1"}]
    assert parked(fresh_database) == 0
    (event,) = published(fresh_database, "hub.enrolments")
    assert (event["person_id"], event["course_id"], event["source_status"]) == ("p1", "c1", "ENROLLED")


async def test_a_body_may_be_one_record_or_an_envelope_and_anything_else_is_refused(
    fresh_database: str,
) -> None:
    async with api(fresh_database) as sis:
        assert (await sis.send("people", PERSON))[1]["counts"]["new"] == 1
        assert (await sis.send("people", {"data": [PERSON]}))[1]["counts"]["unchanged"] == 1
        assert (await sis.send("people", 5))[0] == 422
        assert (await sis.send("cars", PERSON))[0] == 404


def by_pair(database: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Give the last event of each person and course, as the processors fold them."""
    events = published(database, "hub.enrolments")
    return {(event["person_id"], event["course_id"]): event for event in events}


async def test_teachers_of_parts_are_enrolled_once_with_all_their_sections(fresh_database: str) -> None:
    teacher = {**PERSON, "id": "t1", "teacher_status": "ACTIVE"}
    part = {"course": "c1", "kind": "PART", "name": "GRAMMAR", "teachers": ["t1"]}
    async with api(fresh_database) as sis:
        await sis.push("courses", COURSE)
        taken = await sis.push("sections", {**part, "id": "s1"}, {**part, "id": "s2"})
        # The sections are there; their teacher is waited for.
        assert [each["status"] for each in taken] == ["NEW", "NEW"]
        assert parked(fresh_database) == 1
        await sis.push("people", teacher)
        both = by_pair(fresh_database)["t1", "c1"]
        await sis.push("sections", {**part, "id": "s1", "teachers": []})
        one = by_pair(fresh_database)["t1", "c1"]
        await sis.push("sections", {"id": "s2", "is_deleted": True})
        none = by_pair(fresh_database)["t1", "c1"]
        await sis.push("sections", {**part, "id": "s2"})
        back = by_pair(fresh_database)["t1", "c1"]
    assert (both["role"], both["section_ids"]) == ("TEACHER", ["s1", "s2"])
    assert (one["operation"], one["section_ids"]) == ("UPSERT", ["s2"])
    assert none["operation"] == "DELETE"
    assert (back["operation"], back["section_ids"]) == ("UPSERT", ["s2"])
    times = [event["version_time"] for event in (both, one, none, back)]
    assert times == sorted(times)
    assert published(fresh_database, "hub.sections")[-1]["operation"] == "UPSERT"


def test_no_section_is_lost_when_many_push_the_parts_of_one_class(fresh_database: str) -> None:
    pool = engine(fresh_database, pool_size=12)
    try:
        sis = SisIntake(Intake(pool), Rules(support.TENANT))

        def take(name: str, raw: dict[str, Any], second: int = 0) -> None:
            now = NOW + timedelta(seconds=second)
            (answer,) = sis.take([push.to_record(name, raw, now)], now)
            assert answer.status == "NEW", answer

        take("courses", COURSE)
        take("people", {**PERSON, "id": "t1"})
        parts = [
            {"id": f"s{number:02}", "course": "c1", "name": "MAIN", "teachers": ["t1"]}
            for number in range(24)
        ]
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda raw: take("sections", raw), parts))
        newest = max(published(fresh_database, "hub.enrolments"), key=lambda event: event["version_time"])
        assert newest["section_ids"] == [part["id"] for part in parts]
    finally:
        pool.dispose()


async def test_a_delete_keeps_what_was_known_and_one_of_a_stranger_is_no_error(
    fresh_database: str,
) -> None:
    async with api(fresh_database) as sis:
        await sis.push("people", {**PERSON, "unique_id": "9a"})
        gone = await sis.push("people", {"id": "p1", "is_deleted": True}, {"id": "p9", "is_deleted": True})
        enrolment = await sis.push("enrolments", {**ENROLMENT, "is_deleted": True})
    assert [each["status"] for each in [*gone, *enrolment]] == ["UPDATED", "NEW", "NEW"]
    event = published(fresh_database, "hub.people")[1]
    assert (event["person_id"], event["operation"], event["last_name"]) == ("9a", "DELETE", "KEO")
    assert published(fresh_database, "hub.enrolments") == []


async def test_everything_the_stand_in_pushes_is_taken_whatever_the_order(fresh_database: str) -> None:
    state = seeded(SisPlan(students=30, teachers=4, classes=12))
    by_name: dict[str, list[Any]] = {}
    for name, raw in pushes(state):
        by_name.setdefault(name, []).append(raw)
    async with api(fresh_database) as sis:
        found = await asyncio.gather(
            *(sis.push(name, *by_name[name]) for name in sorted(by_name, reverse=True))
        )
    statuses = {each["status"] for results in found for each in results}
    assert statuses <= {"NEW", "SKIPPED"}
    assert parked(fresh_database) == 0
    pairs = by_pair(fresh_database)
    teaching = {(teacher, header.id) for header, teacher, _ in state.teaching()}
    assert len(pairs) == len({(each.person, each.header) for each in state.enrolments.values()} | teaching)
