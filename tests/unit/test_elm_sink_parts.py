"""The pure parts of the ELM sink: bodies, the table of answers, the read-back."""

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from connectors.elm_sink import readback
from connectors.elm_sink.body import body, integer
from connectors.elm_sink.faults import Verdict, answer
from infra.errors import Rejected, RetryLater, Stop
from infra.simulators.elm.completion import complaint
from schemas.elm import CompletionCallback
from schemas.ids import CallbackId, CourseId, EnrolmentId, PersonId, TenantId
from schemas.reasons import Reason

CONSTANT = date(2017, 2, 14)

CALLBACK = CompletionCallback(
    callback_id=CallbackId("c-1"),
    tenant=TenantId("t"),
    enrolment_id=EnrolmentId("880001"),
    person_id=PersonId("A1B2"),
    course_id=CourseId("32090"),
    course_short_name="ITEM-2162-1",
    email="ada@example.test",
    first_name="Ada",
    last_name="Łoś",
    completed_on=date(2026, 11, 20),
    issued_at=datetime(2026, 11, 21, tzinfo=UTC),
    attributes={"oprid": "OP1", "activity_id": "77", "person_id": "12", "course_long_name": "Long"},
)


def test_the_body_is_the_one_of_the_contract() -> None:
    assert body(CALLBACK, CONSTANT) == {
        "COURSE_COMPLETE_DATE": "2026-11-20",
        "COURSE_STATE": "Complete",
        "ENROLMENT_ID": 880001,
        "USER_STATE": "Active",
        "USER_EFFECTIVE_DATE": "2017-02-14",
        "COURSE_IDENTIFIER": 32090,
        "COURSE_SHORTNAME": "ITEM-2162-1",
        "EMAIL": "ada@example.test",
        "GUID": "A1B2",
        "FIRST_NAME": "Ada",
        "LAST_NAME": "Łoś",
        "OPRID": "OP1",
        "ACTIVITY_ID": 77,
        "PERSON_ID": 12,
        "COURSE_LONG_NAME": "Long",
    }


@pytest.mark.parametrize(
    ("attributes", "present"),
    [
        ({}, set()),
        ({"oprid": "", "course_long_name": ""}, set()),
        ({"activity_id": "seven", "person_id": "5"}, {"PERSON_ID"}),
        ({"oprid": "X"}, {"OPRID"}),
    ],
)
def test_optional_fields_stand_only_where_the_feed_gave_a_usable_value(
    attributes: dict[str, str], present: set[str]
) -> None:
    made = body(replace(CALLBACK, attributes=attributes), CONSTANT)
    assert made.keys() & {"OPRID", "ACTIVITY_ID", "PERSON_ID", "COURSE_LONG_NAME"} == present
    assert complaint(made) is None


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"enrolment_id": "E-1"}, "ENROLMENT_ID"),
        ({"course_id": ""}, "COURSE_IDENTIFIER"),
        ({"course_id": "٣"}, "COURSE_IDENTIFIER"),
        ({"course_short_name": " "}, "COURSE_SHORTNAME"),
        ({"email": ""}, "EMAIL"),
        ({"person_id": ""}, "GUID"),
        ({"first_name": ""}, "FIRST_NAME"),
        ({"last_name": ""}, "LAST_NAME"),
    ],
)
def test_what_elm_could_not_take_is_rejected_with_the_field_named(
    changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(Rejected, match=field) as caught:
        body(replace(CALLBACK, **changes), CONSTANT)
    assert caught.value.reason is Reason.INVALID_FIELD


@pytest.mark.parametrize(
    ("value", "expected"),
    [(5, 5), ("5", 5), ("-5", -5), ("005", 5), (True, None), ("5.0", None), (None, None), ("9" * 19, None)],
)
def test_numbers_are_read_as_elm_writes_them(value: object, expected: int | None) -> None:
    assert integer(value) == expected


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Verdict.DONE),
        (201, Verdict.DONE),
        (204, Verdict.DONE),
        (302, Verdict.STOP),
        (307, Verdict.STOP),
        (400, Verdict.REJECTED),
        (401, Verdict.STOP),
        (403, Verdict.STOP),
        (404, Verdict.STOP),
        (405, Verdict.STOP),
        (408, Verdict.RETRY),
        (409, Verdict.REJECTED),
        (422, Verdict.REJECTED),
        (429, Verdict.RETRY),
        (500, Verdict.RETRY),
        (502, Verdict.UNKNOWN),
        (503, Verdict.RETRY),
        (504, Verdict.UNKNOWN),
    ],
)
def test_every_status_has_one_meaning(status: int, verdict: Verdict) -> None:
    assert answer(status, None).verdict is verdict


def test_the_wait_that_elm_asks_for_is_read() -> None:
    assert answer(503, "120").retry_after == 120.0
    assert answer(503, None).retry_after is None


def test_quotes_are_doubled_and_everything_is_percent_encoded() -> None:
    text = readback.query(readback.of_one(PersonId("O'B+ x"), 5), 0)
    assert text == (
        "%24filter=GUID%20eq%20%27O%27%27B%2B%20x%27%20and%20COURSE_IDENTIFIER%20eq%205"
        "&%24orderby=ENROLMENT_ID%20asc%2CCOURSE_IDENTIFIER%20asc&%24skip=0"
    )


@pytest.mark.parametrize("payload", [None, [], "x", {}, {"value": None}, {"value": {}}, {"value": ["x"]}])
def test_an_answer_without_rows_is_not_read_as_empty(payload: object) -> None:
    with pytest.raises(RetryLater):
        readback.rows(payload)


def test_only_completions_count_and_numbers_may_be_text() -> None:
    rows = readback.rows(
        {
            "value": [
                {"COURSE_STATE": "Complete", "ENROLMENT_ID": "7", "COURSE_IDENTIFIER": 5},
                {"COURSE_STATE": "Enrol", "ENROLMENT_ID": 8, "COURSE_IDENTIFIER": 5},
            ]
        }
    )
    assert readback.completed(rows) == {(7, 5)}


def test_a_completion_that_cannot_be_told_apart_stops() -> None:
    with pytest.raises(Stop, match="ENROLMENT_ID"):
        readback.completed([{"COURSE_STATE": "Complete", "COURSE_IDENTIFIER": 5}])
