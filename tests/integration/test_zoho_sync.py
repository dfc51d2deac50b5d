"""The sync API over HTTP: what clients send and what they are answered."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.integration.intake_support import rows
from tests.integration.zoho_support import Client, enrolment, events, lesson, parked, serving, student

pytestmark = pytest.mark.integration
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


async def sync(client: Client, kind: str, body: Any, prefix: str = "/v1", **headers: str) -> dict[str, Any]:
    response = await client.post(f"{prefix}/sync/{kind}", json=body, headers=headers)
    assert response.status == 200, await response.text()
    found: dict[str, Any] = await response.json()
    return found


async def test_a_student_is_new_unchanged_then_updated(fresh_database: str) -> None:
    async with serving(fresh_database) as client:
        record = {"id": "s1", "Name": "A01", "Academic_Email": "one@x.edu", "Phone_Number": "1"}
        told = [await sync(client, "students", {"data": [record]}) for _ in range(2)]
        record["Phone_Number"] = "2"
        told.append(await sync(client, "students", {"data": [record]}, prefix="/api/v1"))
    assert [each["results"] for each in told] == [
        [{"zoho_student_id": "s1", "status": "NEW", "message": "Student created"}],
        [{"zoho_student_id": "s1", "status": "UNCHANGED", "message": "No changes detected"}],
        [
            {
                "zoho_student_id": "s1",
                "status": "UPDATED",
                "message": "Student data updated",
                "changed": {"phone": ["1", "2"]},
            }
        ],
    ]
    assert told[0].keys() == {"status", "idempotency_key", "results"}


async def test_every_record_is_answered_in_order_and_a_bad_one_harms_nobody(fresh_database: str) -> None:
    async with serving(fresh_database) as client:
        batch: list[Any] = [
            {"id": "p1", "Product_Name": "A", "Program_Price": "99.99"},
            5,
            {"Product_Name": "B"},
            {"id": "p2", "Product_Name": "B", "Program_Price": "cheap"},
            {"id": "p3", "Product_Name": "C\0"},
            {"id": "p1", "Product_Name": "A", "Program_Price": 89.99},
        ]
        told = await sync(client, "programs", {"data": batch})
    found = [(each["zoho_program_id"], each["status"], each.get("field")) for each in told["results"]]
    assert found == [
        ("p1", "NEW", None),
        ("unknown", "INVALID", "record"),
        ("unknown", "INVALID", "id"),
        ("p2", "INVALID", "Program_Price"),
        ("p3", "INVALID", "Product_Name"),
        ("p1", "UPDATED", None),
    ]
    assert told["results"][-1]["changes"] == {"price": [99.99, 89.99]}
    assert len(told["idempotency_key"]) == 64


async def test_every_kind_goes_through_in_any_order(fresh_database: str) -> None:
    last: dict[str, dict[str, Any]] = {
        "grades": {"id": "g1", "Student": "s1", "Unit": "u1", "Grade_Value": "Pass", "Score": 50},
        "payments": {"id": "y1", "Registration": "r1", "Amount": 500, "Payment_Status": "Paid"},
        "registrations": {"id": "r1", "Student": "s1", "Program": "p1", "Enrollment_Status": "Active"},
        "enrollments": enrolment(),
    }
    first = {
        "units": {"id": "u1", "Unit_Code": "U1", "Unit_Name": "F", "Status": "Active"},
        "classes": lesson(),
        "programs": {"id": "p1", "Product_Name": "A"},
        "students": student(),
    }
    async with serving(fresh_database) as client:
        waiting = {kind: (await sync(client, kind, {"data": [raw]})) for kind, raw in last.items()}
        for kind, raw in first.items():
            assert (await sync(client, kind, {"data": [raw]}))["results"][0]["status"] == "NEW"
        again = [await sync(client, kind, {"data": [raw]}) for kind, raw in last.items()]
        paid = {**last["payments"], "Amount": 600}
        changed = (await sync(client, "payments", {"data": [paid]}))["results"][0]
    assert {kind: told["results"][0]["message"] for kind, told in waiting.items()} == {
        "grades": "Student s1 not synced yet",
        "payments": "Registration r1 not synced yet",
        "registrations": "Student s1 not synced yet",
        "enrollments": "Student s1 not synced yet",
    }
    assert waiting["payments"]["tenant_id"] == "default"
    assert [told["results"][0]["status"] for told in again] == ["UNCHANGED"] * 4
    assert parked(fresh_database) == []
    assert changed["changed_fields"] == {"amount": [500.0, 600.0]}
    topics = ("grades", "payments", "registrations", "enrolments", "units", "courses", "programs", "people")
    counts = {topic: len(events(fresh_database, f"hub.{topic}")) for topic in topics}
    assert counts == dict.fromkeys(topics, 1) | {"payments": 2}


@pytest.mark.parametrize(
    ("body", "headers", "ids"),
    [
        (b'[{"id":"a","Name":"A"},{"id":"b","Name":"B"}]', {}, ["a", "b"]),
        (b'{"id":"a","Name":"A"}', {}, ["a"]),
        (b'{"data":{"id":"a","Name":"A"}}', {}, ["a"]),
        (b'{"records":[{"id":"a","Name":"A"}]}', {}, ["a"]),
        (b'{"channel_id":"1","operation":"update","ids":["a"],"data":[{"id":"a","Name":"A"}]}', {}, ["a"]),
        (b"id=a&Name=A&Phone_Number=1", FORM, ["a"]),
        (b"data=%5B%7B%22id%22%3A%22a%22%2C%22Name%22%3A%22A%22%7D%5D", FORM, ["a"]),
        (b'{"data":[]}', {}, []),
    ],
)
async def test_every_form_of_a_body_is_taken(
    fresh_database: str, body: bytes, headers: dict[str, str], ids: list[str]
) -> None:
    async with serving(fresh_database) as client:
        response = await client.post("/v1/sync/students", data=body, headers=headers)
        told = await response.json()
    assert [(each["zoho_student_id"], each["status"]) for each in told["results"]] == [
        (each, "NEW") for each in ids
    ]


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("students", b"{", 400),
        ("students", b"", 400),
        ("students", b'{"data":"x"}', 422),
        ("students", b"5", 422),
        ("students", b"{}", 422),
        ("teachers", b"[]", 404),
        ("unknown", b"[]", 404),
        ("students", b"[" * 5_000, 400),
    ],
)
async def test_bad_bodies_are_refused_with_a_problem(
    fresh_database: str, kind: str, body: bytes, status: int
) -> None:
    async with serving(fresh_database) as client:
        response = await client.post(f"/v1/sync/{kind}", data=body)
        assert (response.status, response.content_type) == (status, "application/problem+json")


async def test_tenants_are_apart_for_every_kind(fresh_database: str) -> None:
    async with serving(fresh_database) as client:
        for kind, raw in (("students", student()), ("classes", lesson())):
            for tenant in ("default", "other"):
                told = await sync(client, kind, [raw], **{"X-Tenant-ID": tenant})
                assert told["results"][0]["status"] == "NEW"
        told = await sync(client, "enrollments", [enrolment()], **{"X-Tenant-ID": "other"})
        assert told["results"][0]["status"] == "NEW"
        refused = await client.post("/v1/sync/students", json=[], headers={"X-Tenant-ID": "third"})
        assert refused.status == 403
    assert {event["tenant"] for event in events(fresh_database, "hub.enrolments")} == {"other"}


async def test_an_idempotency_key_replays_the_answer(fresh_database: str) -> None:
    async with serving(fresh_database) as client:
        headers = {"Idempotency-Key": "k1"}
        first = await client.post("/v1/sync/students", json=[student()], headers=headers)
        again = await client.post("/v1/sync/students", json=[student()], headers=headers)
        other = await client.post("/v1/sync/students", json=[student("s2")], headers=headers)
        assert await first.json() == await again.json()
        assert again.headers["Idempotency-Replayed"] == "true"
        assert other.status == 409


async def test_thousands_of_records_are_answered_one_by_one(fresh_database: str) -> None:
    batch = [student(f"s{number}", Name="" if number % 1_000 == 7 else "A") for number in range(3_000)]
    async with serving(fresh_database) as client:
        told = (await sync(client, "students", {"data": batch}))["results"]
    assert [each["zoho_student_id"] for each in told] == [each["id"] for each in batch]
    assert [place for place, each in enumerate(told) if each["status"] != "NEW"] == [7, 1_007, 2_007]


async def test_eight_clients_that_bring_one_new_id_make_it_once(fresh_database: str) -> None:
    async with serving(fresh_database) as client:
        for number in range(20):
            record = student(f"s{number}")
            told = await asyncio.gather(*(sync(client, "students", [record]) for _ in range(8)))
            found = [each["results"][0]["status"] for each in told]
            assert (found.count("NEW"), set(found) <= {"NEW", "UNCHANGED"}) == (1, True)
    assert rows(fresh_database, "SELECT count(*) FROM source_records") == [(20,)]


async def test_a_key_is_needed(fresh_database: str) -> None:
    async with serving(fresh_database) as client:
        del client.session.headers["X-API-Key"]
        assert (await client.post("/v1/sync/students", data=json.dumps([]))).status == 401
