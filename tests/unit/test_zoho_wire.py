"""Bodies, webhooks, signatures and answers as clients know them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.candidates import Answer, Status
from producers.web.problems import Problem
from producers.zoho import answers, bodies, records, signature, webhooks
from producers.zoho.settings import ZohoSettings
from schemas.events import Operation
from schemas.ids import TenantId

T1, T2 = TenantId("t1"), TenantId("t2")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def refusal(work: Callable[[], None]) -> int | None:
    try:
        work()
    except Problem as problem:
        return problem.status
    return None


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"data": [{"id": 1}, 2]}, [{"id": 1}, 2]),
        ([{"id": 1}], [{"id": 1}]),
        ([], []),
        ({"data": []}, []),
        ({"data": {"id": 1}}, [{"id": 1}]),
        ({"records": [{"id": 1}]}, [{"id": 1}]),
        ({"data": [], "records": [{"id": 1}]}, [{"id": 1}]),
        ({"id": 1, "Name": "A"}, [{"id": 1, "Name": "A"}]),
        ({"channel_id": "c", "operation": "update", "data": [{"id": 1}], "ids": ["1"]}, [{"id": 1}]),
        ({"channel_id": "c", "ids": ["1", "2"]}, [{"id": "1"}, {"id": "2"}]),
    ],
)
def test_every_form_of_a_body_gives_its_records(value: object, found: list[object]) -> None:
    assert bodies.records_of(value) == found


@pytest.mark.parametrize(
    ("value", "path"),
    [({}, "$.data"), (None, "$"), ("x", "$"), (5, "$"), ({"data": "x"}, "$.data"), ({"data": 5}, "$.data")],
)
def test_a_body_of_another_shape_names_the_path(value: object, path: str) -> None:
    with pytest.raises(Problem) as refused:
        bodies.records_of(value)
    assert (refused.value.status, refused.value.errors[0]["path"]) == (422, path)


def test_forms_are_read() -> None:
    form = "application/x-www-form-urlencoded"
    assert bodies.value_of(b"id=s1&Name=Ada+B", form, None) == {"id": "s1", "Name": "Ada B"}
    assert bodies.value_of(b"data=%5B%7B%22id%22%3A1%7D%5D", form, None) == {"data": [{"id": 1}]}
    for body in (b"", b"\xff=1", b"data=[1"):
        with pytest.raises(Problem) as refused:
            bodies.value_of(body, form, None)
        assert refused.value.status == 400


def read(body: Any, **more: Any) -> webhooks.Notice:
    return webhooks.read("students", body, **more)


NOTICES: list[tuple[Any, dict[str, Any], str | None, Operation, list[Any], list[str]]] = [
    (
        {"notification_id": "n", "operation": "update", "record_id": "s1", "data": {"id": "s1", "Name": "A"}},
        {},
        "n",
        Operation.UPSERT,
        [{"id": "s1", "Name": "A"}],
        [],
    ),
    ({"id": "n", "operation": "insert", "record_id": "s1"}, {}, "n", Operation.UPSERT, [], ["s1"]),
    ({"id": "s1", "operation": "insert"}, {}, None, Operation.UPSERT, [], ["s1"]),
    ({"event_id": "n", "event_type": "deleted", "record_id": 5}, {}, "n", Operation.DELETE, [], ["5"]),
    (
        {"channel_id": 1, "operation": "delete", "module": "m", "ids": ["1", "2"]},
        {},
        None,
        Operation.DELETE,
        [],
        ["1", "2"],
    ),
    ({"event": "BTEC_Students.edit", "ids": ["1"]}, {}, None, Operation.UPSERT, [], ["1"]),
    ({"operation": "delete", "data": [{"id": "1"}]}, {}, None, Operation.DELETE, [{"id": "1"}], ["1"]),
    ({"record_id": "s1", "data": {"Name": "A"}}, {}, None, Operation.UPSERT, [{"Name": "A", "id": "s1"}], []),
    ({"zoho_id": "s1", "module": "BTEC_Students"}, {}, None, Operation.UPSERT, [], ["s1"]),
    (None, {"zoho_id": "s1", "operation": Operation.DELETE}, None, Operation.DELETE, [], ["s1"]),
    ({"id": "s1", "Name": "A"}, {}, None, Operation.UPSERT, [{"id": "s1", "Name": "A"}], []),
    ([{"id": "s1", "Name": "A"}], {}, None, Operation.UPSERT, [{"id": "s1", "Name": "A"}], []),
    (
        {"data": [{"id": "1", "Name": "A"}], "ids": ["1", "2"]},
        {},
        None,
        Operation.UPSERT,
        [{"id": "1", "Name": "A"}],
        ["2"],
    ),
]


@pytest.mark.parametrize(("body", "more", "event_id", "operation", "found", "ids"), NOTICES)
def test_every_form_of_a_webhook_is_understood(
    body: Any,
    more: dict[str, Any],
    event_id: str | None,
    operation: Operation,
    found: list[Any],
    ids: list[str],
) -> None:
    notice = read(body, **more)
    assert (notice.operation, list(notice.records), list(notice.ids)) == (operation, found, ids)
    assert event_id in (None, notice.event_id)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "$"),
        ({"operation": "explode", "record_id": "1"}, "$.operation"),
        ({"timestamp": "soon", "record_id": "1"}, "$.timestamp"),
        ({"data": "x"}, "$.data"),
        ({"data": [1]}, "$.data"),
        ({"ids": [{"x": 1}]}, "$.ids"),
        ({"operation": "delete", "data": {"Name": "A"}}, "$.record_id"),
    ],
)
def test_a_webhook_that_says_nothing_names_the_path(body: Any, path: str) -> None:
    with pytest.raises(Problem) as refused:
        read(body)
    assert (refused.value.status, refused.value.errors[0]["path"]) == (422, path)


def test_a_record_without_event_id_is_the_same_event_only_at_the_same_time() -> None:
    first, second = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
    record = {"id": "s1", "Name": "A", "Modified_Time": first}
    assert read(record).event_id == read(dict(record)).event_id
    assert read(record).event_id != read({**record, "Modified_Time": second}).event_id
    assert read(record).event_id != webhooks.read("grades", record).event_id
    assert read({"id": "s1", "Name": "A"}).event_id != read({"id": "s1", "Name": "A"}).event_id


@pytest.mark.parametrize("own", [{}, {"id": "s1"}, {"ID": "s1"}])
def test_an_id_that_is_the_records_is_no_id_of_the_event(own: dict[str, Any]) -> None:
    first, second = (
        read({"id": "s1", "operation": "update", "data": {**own, "Name": name}}) for name in "AB"
    )
    assert first.event_id != second.event_id
    assert [each.get("id", each.get("ID")) for each in (*first.records, *second.records)] == ["s1", "s1"]
    assert read({"id": "n", "data": {"id": "s1", "Name": "A"}}).event_id == "n"


@given(JSON, st.none() | st.text())
def test_any_json_value_is_a_notice_or_a_problem(body: Any, zoho_id: str | None) -> None:
    def names_something() -> None:
        notice = read(body, zoho_id=zoho_id)
        assert notice.ids or notice.records

    assert refusal(names_something) in (None, 422)


def test_the_signature_of_a_known_body() -> None:
    # Computed with `openssl dgst -sha256 -hmac key`.
    digits = "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8"
    body = b"The quick brown fox jumps over the lazy dog"
    assert signature.sign("key", body) == digits
    for given_one in (digits, digits.upper(), f"sha256={digits}", f" sha256={digits} "):
        assert signature.is_right("key", body, given_one)
    for given_one in ("", "sha256=", digits[:-1], digits[:-1] + "0", "é" * 64):
        assert not signature.is_right("key", body, given_one)


@pytest.mark.parametrize(
    ("settings", "tenant", "given_one", "status"),
    [
        (ZohoSettings(tenant=T1, webhook_secret="k"), T1, "right", None),
        (ZohoSettings(tenant=T1, webhook_secret="k"), T1, None, 401),
        (ZohoSettings(tenant=T1, webhook_secret="k"), T1, "wrong", 401),
        (ZohoSettings(tenant=T1, webhook_secret="k", webhook_unsigned=True), T1, None, 401),
        (ZohoSettings(tenant=T1), T1, None, 401),
        (ZohoSettings(tenant=T1), T1, "right", 401),
        (ZohoSettings(tenant=T1, webhook_unsigned=True), T1, None, None),
        (ZohoSettings(tenant=T1, webhook_unsigned=True), T2, None, 403),
        (ZohoSettings(tenant=T1, webhook_secret="k"), T2, "right", 401),
        (ZohoSettings(tenant=T1, webhook_secrets={"t2": "k"}), T2, "right", None),
    ],
)
def test_a_webhook_must_be_signed_unless_that_is_switched_off(
    settings: ZohoSettings, tenant: TenantId, given_one: str | None, status: int | None
) -> None:
    header = signature.sign("k", b"body") if given_one == "right" else given_one
    assert refusal(lambda: signature.check(settings, tenant, b"body", header)) == status


def test_the_secrets_are_not_shown() -> None:
    settings = ZohoSettings(tenant=T1, webhook_secret="hush", client_secret="hush", refresh_token="hush")
    assert "hush" not in repr(settings)


def result(kind: records.Kind, raw: object, **answer: Any) -> dict[str, Any]:
    return answers.result(kind, raw, Answer(kind.kept_as, **answer))


@pytest.mark.parametrize(
    ("kind", "answer", "told"),
    [
        (
            records.STUDENTS,
            {"record_id": "s1", "status": Status.UPDATED, "changes": {"phone": ["1", "2"]}},
            {
                "zoho_student_id": "s1",
                "status": "UPDATED",
                "message": "Student data updated",
                "changed": {"phone": ["1", "2"]},
            },
        ),
        (
            records.PROGRAMS,
            {
                "record_id": "p1",
                "status": Status.UPDATED,
                "changes": {"name": ["Prog", "Prog 2"], "price": ["99.99", "89.99"]},
            },
            {
                "zoho_program_id": "p1",
                "status": "UPDATED",
                "message": "Program updated",
                "changes": {"name": ["Prog", "Prog 2"], "price": [99.99, 89.99]},
            },
        ),
        (
            records.PAYMENTS,
            {"record_id": "y1", "status": Status.UPDATED, "changes": {"amount": ["500", "600"]}},
            {
                "zoho_payment_id": "y1",
                "status": "UPDATED",
                "message": "Payment updated",
                "changed_fields": {"amount": [500.0, 600.0]},
            },
        ),
        (
            records.ENROLLMENTS,
            {
                "record_id": "e2",
                "status": Status.SKIPPED,
                "reason": "class_not_synced_yet",
                "missing": "zzz",
            },
            {
                "zoho_enrollment_id": "e2",
                "status": "SKIPPED",
                "reason": "class_not_synced_yet",
                "message": "Class zzz not synced yet",
            },
        ),
        (
            records.GRADES,
            {"record_id": "g1", "status": Status.SKIPPED, "reason": "older_version"},
            {
                "zoho_grade_id": "g1",
                "status": "SKIPPED",
                "reason": "older_version",
                "message": "A newer version is known already",
            },
        ),
        (
            records.STUDENTS,
            {"record_id": None, "status": Status.INVALID, "field": "id", "reason": "is missing"},
            {
                "zoho_student_id": "unknown",
                "status": "INVALID",
                "message": "MISSING_ZOHO_ID_OR_NAME",
                "field": "id",
                "reason": "is missing",
            },
        ),
        (
            records.CLASSES,
            {"record_id": "c1", "status": Status.INVALID, "field": "End_Date", "reason": "is not a date"},
            {
                "zoho_class_id": "c1",
                "status": "INVALID",
                "message": "End_Date is not a date",
                "field": "End_Date",
                "reason": "is not a date",
            },
        ),
        (
            records.UNITS,
            {"record_id": "u1", "status": Status.ERROR, "reason": "22P05"},
            {
                "zoho_unit_id": "u1",
                "status": "ERROR",
                "message": "Unit could not be stored",
                "reason": "22P05",
            },
        ),
        (
            records.UNITS,
            {"record_id": "u1", "status": Status.UNCHANGED},
            {"zoho_unit_id": "u1", "status": "UNCHANGED", "message": "No changes detected"},
        ),
    ],
)
def test_each_answer_has_the_shape_that_clients_know(
    kind: records.Kind, answer: dict[str, Any], told: dict[str, Any]
) -> None:
    assert result(kind, {}, **answer) == told


def test_a_new_enrolment_names_student_and_class() -> None:
    raw = {"id": "e1", "Student": {"id": "s1"}, "Class": "c1"}
    told = result(records.ENROLLMENTS, raw, record_id="e1", status=Status.NEW)
    assert (told["message"], told["student_id"], told["class_id"]) == ("Enrollment created", "s1", "c1")


def test_changes_of_other_fields_are_told_by_name_and_ids_of_the_hub_are_not() -> None:
    changes = {
        "attributes": [{"code": "1", "same": "x"}, {"code": "2", "same": "x"}],
        "person_id": ["a", "b"],
    }
    told = result(records.STUDENTS, {}, record_id="s1", status=Status.UPDATED, changes=changes)
    assert told["changed"] == {"code": ["1", "2"]}


def test_the_envelope_carries_hash_and_tenant_as_each_kind_does() -> None:
    body = {"data": [{"id": "1"}]}
    answer = [Answer("x", "1", Status.UNCHANGED)]
    for kind in records.SYNCED:
        told = json.loads(answers.envelope(kind, T1, body, body["data"], answer))
        family_a = kind.name in ("programs", "classes", "enrollments")
        assert told["status"] == "success"
        assert len(told["idempotency_key"]) == (64 if family_a else 32)
        assert told.get("tenant_id") == (None if family_a or kind is records.STUDENTS else "t1")
        assert [each["status"] for each in told["results"]] == ["UNCHANGED"]


def test_the_time_of_a_notice_is_utc() -> None:
    notice = read({"record_id": "1", "timestamp": "2026-01-01T03:00:00+03:00"})
    assert notice.time == datetime(2026, 1, 1, tzinfo=UTC)
