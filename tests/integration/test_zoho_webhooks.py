"""Webhooks: signed, stored before they are answered, done afterwards, once."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from infra.db.connect import engine
from infra.simulators.zoho.app import ZohoServer, serve
from infra.simulators.zoho.faults import Fault
from infra.simulators.zoho.state import ZohoState
from producers.zoho import events as stored
from producers.zoho.settings import ZohoSettings
from producers.zoho.signature import HEADER, sign
from tests.integration.intake_support import rows
from tests.integration.zoho_support import (
    SETTINGS,
    Client,
    crm_settings,
    enrolment,
    events,
    lesson,
    serving,
    student,
)

pytestmark = pytest.mark.integration
FORM = "application/x-www-form-urlencoded"


async def send(client: Client, kind: str, body: Any, secret: str = "hush", **headers: str) -> dict[str, Any]:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    signed = {HEADER: sign(secret, text), **headers}
    response = await client.post(f"/v1/events/zoho/{kind}", data=text, headers=signed)
    assert response.status == 200, await response.text()
    found: dict[str, Any] = await response.json()
    return found


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, "not so within the time"
        await asyncio.sleep(0.02)


async def until_done(database: str) -> None:
    open_events = "SELECT count(*) FROM webhook_events WHERE finished_at IS NULL"
    await until(lambda: rows(database, open_events) == [(0,)])


@asynccontextmanager
async def with_crm(database: str, **settings: Any) -> AsyncIterator[tuple[Client, ZohoServer]]:
    async with (
        serve(ZohoState()) as crm,
        serving(database, crm_settings(crm, **settings)) as client,
    ):
        yield client, crm


async def test_insert_update_and_delete_reach_the_outbox(fresh_database: str) -> None:
    async with serving(fresh_database) as client:
        told = await send(
            client, "student", {"notification_id": "n1", "operation": "insert", "data": student()}
        )
        assert told == {
            "success": True,
            "message": "Event accepted for processing",
            "event_id": "n1",
            "status": "queued",
        }
        await until_done(fresh_database)
        newer = student(Name="Ada Changed")
        await send(client, "student", {"notification_id": "n2", "operation": "update", "data": [newer]})
        await until_done(fresh_database)
        await send(client, "student", {"notification_id": "n3", "operation": "delete", "record_id": "s1"})
        await until_done(fresh_database)
    told_events = events(fresh_database, "hub.people")
    assert [(event["operation"], event["attributes"]["display_name"]) for event in told_events] == [
        ("UPSERT", "Ada Example"),
        ("UPSERT", "Ada Changed"),
        ("DELETE", "Ada Changed"),
    ]
    # People's data stays no longer than it is needed.
    assert rows(fresh_database, "SELECT DISTINCT content FROM webhook_events") == [({},)]


async def test_an_event_that_is_sent_again_is_done_once(fresh_database: str) -> None:
    async with serving(fresh_database) as client:
        first = {"notification_id": "n1", "operation": "insert", "data": student()}
        assert (await send(client, "student", first))["status"] == "queued"
        await until_done(fresh_database)
        changed = {**first, "data": student(Name="Other")}
        assert (await send(client, "student", changed))["status"] == "duplicate"
        told = await asyncio.gather(
            *(send(client, "student", {**first, "notification_id": "n2"}) for _ in range(8))
        )
        assert sorted(each["status"] for each in told) == ["duplicate"] * 7 + ["queued"]
        other = await send(client, "student", first, **{"X-Tenant-ID": "default"})
        assert other["status"] == "duplicate"
        await until_done(fresh_database)
    assert len(events(fresh_database, "hub.people")) == 1


async def test_a_wrong_or_missing_signature_is_401_and_bad_input_never_5xx(fresh_database: str) -> None:
    async with serving(fresh_database) as client:
        body = json.dumps({"record_id": "1"}).encode()

        async def status(path: str, data: bytes, signature: str | None) -> int:
            headers = {HEADER: signature} if signature is not None else {}
            return (await client.post(f"/v1{path}", data=data, headers=headers)).status

        path = "/events/zoho/student"
        assert await status(path, body, None) == 401
        assert await status(path, body, sign("other", body)) == 401
        assert await status(path, body + b" ", sign("hush", body)) == 401
        assert await status(path, body, "sha256=" + sign("hush", body)) == 200
        for bad, expected in (
            (b"{", 400),
            (b"", 400),
            (b"5", 422),
            (b"{}", 422),
            (b'{"timestamp":"x","id":"1"}', 422),
        ):
            assert await status(path, bad, sign("hush", bad)) == expected
        assert await status("/events/zoho/unknown", body, sign("hush", body)) == 404
    assert rows(fresh_database, "SELECT count(*) FROM webhook_events") == [(1,)]


async def test_a_form_of_a_record_is_taken_again_when_it_has_changed(fresh_database: str) -> None:
    async with serving(fresh_database) as client:
        for name, when, status in (
            ("A", "2026-01-01T00:00:00Z", "queued"),
            ("B", "2026-01-02T00:00:00Z", "queued"),
            ("B", "2026-01-02T00:00:00Z", "duplicate"),
        ):
            body = f"id=s1&Name={name}&Modified_Time={when}".encode()
            told = await send(client, "student", body, **{"Content-Type": FORM})
            assert told["status"] == status
            await until_done(fresh_database)
    names = [event["attributes"]["display_name"] for event in events(fresh_database, "hub.people")]
    assert names == ["A", "B"]


async def test_a_waiting_enrolment_of_a_webhook_is_taken_when_the_student_comes(fresh_database: str) -> None:
    async with serving(fresh_database) as client:
        await send(client, "enrollment", {"data": enrolment()})
        await send(client, "class", {"data": lesson()})
        await send(client, "student", {"data": student()})
        await until(lambda: len(events(fresh_database, "hub.enrolments")) == 1)


async def test_an_id_is_fetched_and_the_answer_does_not_wait_for_it(fresh_database: str) -> None:
    async with with_crm(fresh_database) as (client, crm):
        crm.state.put("BTEC_Students", student("s1"))
        crm.state.faults.add(Fault(kind="status", status=503, count=2))
        told = await send(client, "student", {"notification_id": "n1", "operation": "update", "ids": ["s1"]})
        assert told["status"] == "queued"
        await until_done(fresh_database)
    (event,) = events(fresh_database, "hub.people")
    assert event["attributes"]["display_name"] == "Ada Example"


async def test_a_fetch_that_fails_is_tried_again_until_it_succeeds(fresh_database: str) -> None:
    async with with_crm(fresh_database, attempts=1, retry_interval=0.1) as (client, crm):
        crm.state.faults.add(Fault(kind="status", status=500))
        crm.state.put("BTEC_Students", student("s1"))
        await send(client, "student", {"notification_id": "n1", "ids": ["s1"]})
        waiting = "SELECT reason FROM webhook_events WHERE attempts >= 2 AND finished_at IS NULL"
        await until(lambda: rows(fresh_database, waiting) == [("http_500",)])
        crm.state.faults.clear()
        await until_done(fresh_database)
    assert len(events(fresh_database, "hub.people")) == 1


async def test_a_record_that_the_crm_does_not_have_ends_visibly(fresh_database: str) -> None:
    async with with_crm(fresh_database) as (client, _):
        await send(client, "student", {"notification_id": "n1", "ids": ["nobody"]})
        await until_done(fresh_database)
    assert rows(fresh_database, "SELECT status, reason FROM webhook_events") == [
        ("failed", "record_not_found")
    ]


async def test_without_a_client_an_id_waits(fresh_database: str) -> None:
    async with serving(fresh_database) as client:
        await send(client, "student", {"notification_id": "n1", "ids": ["s1"]})
        found = "SELECT reason FROM webhook_events WHERE status = 'pending' AND attempts > 0"
        await until(lambda: rows(fresh_database, found) == [("no_crm_client",)])
        health = await (await client.get("/v1/events/health")).json()
        assert health == {"status": "healthy", "waiting": 1}


async def test_a_record_that_lacks_fields_is_fetched_whole(fresh_database: str) -> None:
    async with with_crm(fresh_database) as (client, crm):
        crm.state.put("BTEC_Students", student("s1"))
        await send(client, "student", {"data": {"id": "s1", "Phone": "5"}})
        await until_done(fresh_database)
    assert len(events(fresh_database, "hub.people")) == 1


async def test_what_a_dead_process_left_is_done_by_the_next(fresh_database: str) -> None:
    async with serving(fresh_database) as client:
        await send(client, "student", {"notification_id": "n1", "data": student()})
        await until_done(fresh_database)
    content = Jsonb({"records": [student()], "time": None})
    with psycopg.connect(
        fresh_database
    ) as connection:  # as if claimed by a process that died, its lease over
        connection.execute(
            "UPDATE webhook_events SET status = 'processing', finished_at = NULL, due_at = now(),"
            " content = %s",
            [content],
        )
        connection.execute("DELETE FROM source_records")
    async with serving(fresh_database):
        await until_done(fresh_database)
    assert rows(fresh_database, "SELECT count(*) FROM source_records") == [(1,)]


async def test_claimed_events_are_nobody_elses(fresh_database: str) -> None:
    settings = ZohoSettings(tenant=SETTINGS.tenant, webhook_secret="hush")
    async with serving(fresh_database, settings) as client:
        await send(client, "student", {"notification_id": "n1", "ids": ["s1"]})
        found = "SELECT count(*) FROM webhook_events WHERE attempts > 0"
        await until(lambda: rows(fresh_database, found) == [(1,)])
    pool = engine(fresh_database)
    with pool.begin() as connection:
        connection.exec_driver_sql("UPDATE webhook_events SET due_at = now(), status = 'pending'")
    assert [len(stored.claim(pool, 10)) for _ in range(2)] == [1, 0]
    pool.dispose()


DASHBOARD = "/api/v1/webhooks/student-dashboard"


async def test_the_live_form_fetches_deletes_and_names_what_it_skips(fresh_database: str) -> None:
    async with with_crm(fresh_database) as (client, crm):
        for module, raw in (
            ("BTEC_Students", student()),
            ("BTEC_Classes", lesson()),
            ("BTEC_Enrollments", enrolment()),
        ):
            crm.state.put(module, raw)
        told = await client.post(
            f"{DASHBOARD}/student_updated", json={"zoho_id": "s1", "module": "BTEC_Students"}
        )
        assert (told.status, (await told.json())["status"]) == (200, "success")
        assert (await client.post(f"{DASHBOARD}/class_created?zoho_id=c1")).status == 200
        assert (await client.post(f"{DASHBOARD}/enrollment_updated", json={"ids": ["e1"]})).status == 200
        await until(lambda: len(events(fresh_database, "hub.enrolments")) == 1)
        gone = await client.post(f"{DASHBOARD}/enrollment_deleted", json={"zoho_id": "e1"})
        assert gone.status == 200
        await until(lambda: len(events(fresh_database, "hub.enrolments")) == 2)
        skipped = await client.post(f"{DASHBOARD}/request_status_changed", json={"zoho_id": "q1"})
        assert (await skipped.json())["reason"] == "kind_not_handled"
        assert (await client.post(f"{DASHBOARD}/nothing_known", json={"zoho_id": "q1"})).status == 404
        assert (await client.post(f"{DASHBOARD}/student_updated", data=b"{")).status == 400
        assert (await client.post(f"{DASHBOARD}/student_updated")).status == 422
    assert [event["operation"] for event in events(fresh_database, "hub.enrolments")] == ["UPSERT", "DELETE"]


async def test_the_live_form_needs_a_key_or_a_signature(fresh_database: str) -> None:
    async with serving(fresh_database) as client:
        key = client.session.headers.pop("X-API-Key")
        body = json.dumps({"id": "s1", "Name": "A"}).encode()
        path = f"{DASHBOARD}/student_updated"
        assert (await client.post(path, data=body)).status == 401
        assert (await client.post(path, data=body, headers={HEADER: "wrong"})).status == 401
        assert (await client.post(path, data=body, headers={HEADER: sign("hush", body)})).status == 200
        assert (await client.post(path, data=body, headers={"X-API-Key": key})).status == 200


async def test_the_statistics_are_of_the_tenant(fresh_database: str) -> None:
    async with serving(fresh_database) as client:
        for number in range(12):
            await send(client, "student", {"notification_id": f"n{number}", "data": student(f"s{number}")})
        await until_done(fresh_database)
        told = await (await client.get("/v1/events/stats")).json()
        assert (told["total_events"], told["by_status"], told["by_source"]) == (
            12,
            {"completed": 12},
            {"zoho": 12},
        )
        assert [each["event_id"] for each in told["recent_events"]] == [
            f"n{11 - place}" for place in range(10)
        ]
        other = await (await client.get("/v1/events/stats", headers={"X-Tenant-ID": "other"})).json()
        assert other["total_events"] == 0
