"""Webhooks of every kind and form, over HTTP to the events in the outbox; signatures; what came before."""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

import psycopg
import pytest
from psycopg.types.json import Jsonb

from infra.simulators.zoho.app import serve
from infra.simulators.zoho.state import ZohoState
from producers.zoho import records
from producers.zoho.routes import DASHBOARD
from producers.zoho.signature import HEADER, sign
from schemas.events import Operation
from tests.integration.intake_support import rows
from tests.integration.test_zoho_webhooks import DASHBOARD as DASHBOARD_PATH
from tests.integration.test_zoho_webhooks import send, until, until_done, with_crm
from tests.integration.zoho_support import (
    Client,
    crm_settings,
    enrolment,
    events,
    lesson,
    serving,
    student,
)

pytestmark = pytest.mark.integration


class Case(NamedTuple):
    """A record of one kind, a later state of it, and the topic of its events."""

    first: dict[str, Any]
    changed: dict[str, Any]
    topic: str


def _case(first: dict[str, Any], topic: str, **changes: Any) -> Case:
    return Case(first, {**first, **changes}, topic)


PROGRAM: Final = {"id": "p1", "Product_Name": "Computing", "Program_Price": 500}
UNIT: Final = {"id": "u1", "Unit_Code": "U1", "Unit_Name": "Programming", "Status": "Active"}
REGISTRATION: Final = {
    "id": "r1",
    "Student": {"id": "s1"},
    "Program": {"id": "p1"},
    "Enrollment_Status": "Active",
}
PAYMENT: Final = {"id": "y1", "Registration": {"id": "r1"}, "Amount": 500, "Payment_Status": "Paid"}
GRADE: Final = {"id": "g1", "Student": {"id": "s1"}, "Unit": {"id": "u1"}, "Grade_Value": "Pass"}
CASES: Final = {
    "student": _case(student(), "hub.people", Name="Ada Changed"),
    "program": _case(PROGRAM, "hub.programs", Program_Price=600),
    "class": _case(lesson(), "hub.courses", BTEC_Class_Name="Unit 1, morning"),
    "enrollment": _case(enrolment(), "hub.enrolments", Status="Withdrawn"),
    "registration": _case(REGISTRATION, "hub.registrations", Enrollment_Status="Suspended"),
    "payment": _case(PAYMENT, "hub.payments", Amount=600),
    "unit": _case(UNIT, "hub.units", Unit_Name="Programming II"),
    "grade": _case(GRADE, "hub.grades", Grade_Value="Merit"),
}
NEEDED: Final = (
    ("students", student()),
    ("programs", PROGRAM),
    ("classes", lesson()),
    ("units", UNIT),
    ("registrations", REGISTRATION),
)


async def prepare(client: Client, kind: str) -> None:
    """Send what records of ``kind`` need, all but those of the kind itself."""
    for name, record in NEEDED:
        if records.SINGULARS[kind].name != name:
            answer = await client.post(f"/v1/sync/{name}", json=[record])
            assert answer.status == 200


def operations(database: str, topic: str) -> list[str]:
    return [event["operation"] for event in events(database, topic)]


def test_there_is_a_case_for_every_kind() -> None:
    assert CASES.keys() == records.SINGULARS.keys()


@pytest.mark.parametrize("kind", CASES)
async def test_insert_update_and_delete_of_every_kind(fresh_database: str, kind: str) -> None:
    case = CASES[kind]
    async with serving(fresh_database) as client:
        await prepare(client, kind)
        gone = {"record_id": case.first["id"]}
        steps: list[tuple[str, dict[str, Any]]] = [
            ("insert", {"data": case.first}),
            ("update", {"data": [case.changed]}),
            ("update", {"data": [case.changed]}),
            ("delete", gone),
            ("delete", gone),
        ]
        for number, (operation, content) in enumerate(steps):
            body = {"notification_id": f"n{number}", "operation": operation, **content}
            assert (await send(client, kind, body))["status"] == "queued"
            await until_done(fresh_database)
    assert operations(fresh_database, case.topic) == ["UPSERT", "UPSERT", "DELETE"]
    assert rows(fresh_database, "SELECT DISTINCT status, reason FROM webhook_events") == [("completed", None)]


@pytest.mark.parametrize("kind", CASES)
async def test_of_every_kind_an_id_is_enough(fresh_database: str, kind: str) -> None:
    case, module = CASES[kind], records.SINGULARS[kind].module
    async with with_crm(fresh_database) as (client, crm):
        await prepare(client, kind)
        for number, (form, record) in enumerate(
            [({"ids": [case.first["id"]]}, case.first), ({"record_id": case.first["id"]}, case.changed)]
        ):
            crm.state.put(module, record)
            await send(client, kind, {"notification_id": f"n{number}", "operation": "update", **form})
            await until_done(fresh_database)
        await send(
            client, kind, {"notification_id": "gone", "operation": "delete", "ids": [case.first["id"]]}
        )
        await until_done(fresh_database)
    assert operations(fresh_database, case.topic) == ["UPSERT", "UPSERT", "DELETE"]


async def test_the_token_is_kept_from_one_webhook_to_the_next(fresh_database: str) -> None:
    async with serve(ZohoState()) as crm:
        async with serving(fresh_database, crm_settings(crm)) as client:
            for number in range(5):
                crm.state.put("BTEC_Students", student(f"s{number}"))
                await send(client, "student", {"notification_id": f"n{number}", "ids": [f"s{number}"]})
                await until_done(fresh_database)
        tokens = [count for name, count in crm.state.calls.items() if "token" in name]
    assert sum(tokens) == 1
    assert len(events(fresh_database, "hub.people")) == 5


DELETING: Final = {
    name: kind.singular
    for name, (kind, operation) in DASHBOARD.items()
    if kind is not None and operation is Operation.DELETE
}


@pytest.mark.parametrize("name", DELETING)
async def test_a_deleting_rule_of_every_kind_names_its_record_in_any_form(
    fresh_database: str, name: str
) -> None:
    kind = DELETING[name]
    case, path = CASES[kind], f"{DASHBOARD_PATH}/{name}"
    async with serving(fresh_database) as client:
        await prepare(client, kind)
        forms: list[dict[str, Any]] = [
            {"json": {"zoho_id": "{}", "module": "any"}},
            {"json": {"ids": ["{}"], "channel_id": "5", "operation": "delete"}},
            {"params": {"zoho_id": "{}"}},
            {"json": {"id": "{}"}},
        ]
        for number, form in enumerate(forms):
            own = {**case.first, "id": f"{case.first['id']}-{number}"}
            assert (await client.post(f"/v1/sync/{records.SINGULARS[kind].name}", json=[own])).status == 200
            answer = await client.post(path, **json.loads(json.dumps(form).replace("{}", own["id"])))
            assert (answer.status, (await answer.json())["zoho_id"]) == (200, own["id"])
            await until_done(fresh_database)
    gone = [
        event["source_record_id"]
        for event in events(fresh_database, case.topic)
        if event["operation"] == "DELETE"
    ]
    assert gone == [f"{case.first['id']}-{number}" for number in range(len(forms))]


BODY: Final = json.dumps({"record_id": "1", "operation": "delete"}).encode()
RIGHT: Final = sign("hush", BODY)


SIGNED: Final = (RIGHT, f"sha256={RIGHT}", RIGHT.upper(), f"sha256={RIGHT.upper()}", f" {RIGHT} ")
UNSIGNED: Final = (
    *(None, "", "sha256=", sign("other", BODY), sign("hush", BODY + b" "), RIGHT[:-1], f"{RIGHT}0"),
    *(f"sha1={RIGHT}", f"sha256=sha256={RIGHT}", f"{RIGHT},{RIGHT}", "é" * 64),
)


@pytest.mark.parametrize("path", ["/v1/events/zoho/student", f"{DASHBOARD_PATH}/student_deleted"])
async def test_a_webhook_is_taken_with_the_right_signature_only(fresh_database: str, path: str) -> None:
    async with serving(fresh_database) as client:
        del client.session.headers["X-API-Key"]
        for given in (*SIGNED, *UNSIGNED):
            answer = await client.post(path, data=BODY, headers={} if given is None else {HEADER: given})
            assert answer.status == (200 if given in SIGNED else 401), given
            assert ("WWW-Authenticate" in answer.headers) == (answer.status == 401)
    assert rows(fresh_database, "SELECT count(*) FROM webhook_events") == [(len(SIGNED),)]


async def test_an_api_key_stands_for_no_signature_of_zohos_own_webhooks(fresh_database: str) -> None:
    async with serving(fresh_database) as client:
        assert "X-API-Key" in client.session.headers
        assert (await client.post("/v1/events/zoho/student", data=BODY)).status == 401


async def test_an_event_that_came_before_a_restart_is_not_done_again(fresh_database: str) -> None:
    event = {"notification_id": "n1", "operation": "insert", "data": student()}
    told = []
    for name in ("Ada Example", "Ada Changed", "Ada Again"):
        async with serving(fresh_database) as client:
            told.append((await send(client, "student", {**event, "data": student(Name=name)}))["status"])
            await until_done(fresh_database)
    assert told == ["queued", "duplicate", "duplicate"]
    assert [each["attributes"]["display_name"] for each in events(fresh_database, "hub.people")] == [
        "Ada Example"
    ]


async def test_an_event_that_waits_outlives_a_restart(fresh_database: str) -> None:
    async with serving(fresh_database) as client:
        await send(client, "student", {"notification_id": "n1", "ids": ["s1"]})
    assert rows(fresh_database, "SELECT finished_at FROM webhook_events") == [(None,)]
    async with with_crm(fresh_database) as (_, crm):
        crm.state.put("BTEC_Students", student("s1"))
        await until(lambda: len(events(fresh_database, "hub.people")) == 1)


async def test_an_event_that_cannot_be_done_at_all_ends_alone(fresh_database: str) -> None:
    async with serving(fresh_database) as client:
        for number in range(3):
            body = {"notification_id": f"n{number}", "data": student(f"s{number}")}
            await send(client, "student", body)
        await until_done(fresh_database)
    with psycopg.connect(fresh_database) as connection:
        for number in range(3):
            content = Jsonb({"records": [student(f"s{number}")], "time": None})
            connection.execute(
                "UPDATE webhook_events SET status = 'pending', finished_at = NULL, due_at = now(),"
                " content = %s WHERE event_id = %s",
                [content, f"n{number}"],
            )
        # As a newer release may have stored it, before an older one was put back.
        connection.execute("UPDATE webhook_events SET kind = 'novelties' WHERE event_id = 'n1'")
        connection.execute("DELETE FROM source_records")
    async with serving(fresh_database) as client:
        await until_done(fresh_database)
        await send(client, "student", {"notification_id": "n9", "data": student("s9")})
        await until_done(fresh_database)
    found = "SELECT event_id, status FROM webhook_events ORDER BY event_id"
    assert rows(fresh_database, found) == [
        ("n0", "completed"),
        ("n1", "failed"),
        ("n2", "completed"),
        ("n9", "completed"),
    ]


async def test_an_event_id_counts_within_its_tenant(fresh_database: str) -> None:
    headers = {"X-Tenant-ID": "other"}
    async with serving(fresh_database) as client:
        path, body = f"{DASHBOARD_PATH}/student_updated", {"event_id": "n1", "data": student()}
        for more in ({}, headers, {}, headers):
            assert (await client.post(path, json=body, headers=more)).status == 200
        await until_done(fresh_database)
    found = "SELECT tenant, count(*) FROM webhook_events GROUP BY tenant ORDER BY tenant"
    assert rows(fresh_database, found) == [("default", 1), ("other", 1)]
    assert len(events(fresh_database, "hub.people")) == 2
