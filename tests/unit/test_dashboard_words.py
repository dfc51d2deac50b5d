"""What happened, in words; what all that match means; rates in steps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest

from producers.held import Conflict
from producers.sides import effect, needs_id
from producers.web.admin.conflicts import SideAnswer
from producers.web.admin.overview import steps
from producers.web.admin.story import Event
from producers.web.dashboard.bulk import fields_of
from producers.web.dashboard.conflicts_pages import fields
from producers.web.dashboard.overview_pages import age
from producers.web.dashboard.shown import number
from producers.web.dashboard.telling import conflict_address, headline, links, state
from schemas.directives import ADMITTED, Resolution
from schemas.ids import MoodleUserId, PersonId, TenantId
from schemas.moodle import CommandKind

AT = datetime(2026, 11, 2, tzinfo=UTC)


def event(what: str, /, **told: Any) -> Event:
    return Event(at=AT, what=what, id="i/1", place=None, told=told)


@pytest.mark.parametrize(
    ("happened", "words", "badge"),
    [
        (
            event("record", source="sis", person_id="P", source_status="active"),
            "sis tells of the person: active",
            "",
        ),
        (event("record", source="sis", course_id="C", deleted=True), "sis has the course no more", ""),
        (
            event("record", source="elm", person_id="P", course_id="C", status="ACTIVE"),
            "elm tells of the enrolment in C: ACTIVE",
            "",
        ),
        (
            event("command", kind="ENROLMENT", course_id="C", target="m", generation=2),
            "Moodle m was asked for the enrolment in C, generation 2",
            "",
        ),
        (
            event("result", kind="USER", outcome="APPLIED", action="CREATED"),
            "Moodle's answer about the account, CREATED",
            "APPLIED",
        ),
        (
            event(
                "call",
                system="MOODLE",
                target="m",
                function="f",
                duration_ms=1200,
                attempt=2,
                code="http_503",
            ),
            "MOODLE m: f, 1,200 ms, attempt 2",
            "http_503",
        ),
        (event("parked", what="enrolment", waits_for="account"), "The enrolment waits for account", "PARKED"),
        (
            event("directive", kind="RESOLVE", subject="USER", resolution="KEEP", actor="user:ann"),
            "The conflict of the account was settled by KEEP, by user:ann",
            "",
        ),
        (event("message", topic="prefix.hub.people"), "A source told of the person", ""),
        (event("message", topic="hub.other"), "A message on hub.other", ""),
        (event("something new"), "something new", ""),
    ],
)
def test_what_happened_is_told_in_a_line(happened: Event, words: str, badge: str) -> None:
    assert (headline(happened), state(happened)) == (words, badge)


def test_links_lead_to_what_is_named_whatever_it_is_called() -> None:
    found = links(event("dead letter", person_id="a b", course_id="x/y"))
    assert found == [
        ("enrolment in x/y", "/ui/enrolments/a%20b/x%2Fy"),
        ("dead letter", "/ui/dead-letters/i%2F1"),
    ]
    assert links(event("message")) == []
    assert conflict_address({"subject": "USER", "person_id": "P?1", "course_id": None}) == (
        "/ui/conflicts/person%2FP%3F1"
    )


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, {"all": "true"}),
        ({"reason": ["A"], "until": ["x"]}, {"reason": "A", "failed_before": "x"}),
        ({"state": ["OPEN"], "reason": ["A"]}, {"reason": "A"}),
        ({"state": ["OPEN"]}, {"all": "true"}),
        ({"ownerless": ["true"]}, {"ownerless": "true", "all": "true"}),
        ({"state": ["REDRIVEN"]}, None),
        ({"reason": ["A", "B"]}, None),
        ({"reason": ["A"], "since": ["x"]}, None),
    ],
)
def test_a_deed_means_just_the_rows_that_are_listed(
    asked: dict[str, list[str]], expected: dict[str, str] | None
) -> None:
    names = {"reason": "reason", "until": "failed_before", "ownerless": "ownerless"}
    assert fields_of(asked, names, {"state": "OPEN"}) == expected


def test_rates_of_calls_and_results_of_one_step_stand_together() -> None:
    buckets = [0, 0, 0, 90, 5, 5, 0, 0, 0, 0, 0, 0]
    rows = [
        {"at": AT, "kind": "CALL", "total": 100, "failed": 2, "buckets": buckets},
        {"at": AT, "kind": "RESULT", "total": 7, "failed": 1, "buckets": None},
        {"at": AT + timedelta(minutes=5), "kind": "RESULT", "total": 1, "failed": 0, "buckets": None},
    ]
    first, second = steps(rows)
    assert (first.calls, first.calls_failed, first.p95_ms, first.results, first.results_failed) == (
        100,
        2,
        200,
        7,
        1,
    )
    assert (second.calls, second.p95_ms, second.results) == (0, None, 1)


def test_every_resolution_of_every_conflict_is_explained() -> None:
    ids = (None, MoodleUserId(7))
    for reason, mine, other in product(ADMITTED, ids, ids):
        conflict = Conflict(
            subject=CommandKind.USER,
            tenant=TenantId("t"),
            person_id=PersonId("p"),
            course_id=None,
            reason=reason,
            moodle_user_id=mine,
            moodle_course_id=None,
            other_moodle_user_id=other,
            since=AT,
            state="OPEN",
        )
        assert all(effect(conflict, one).endswith(".") for one in conflict.admitted), reason
        assert needs_id(conflict, Resolution.TAKE_OVER) is (other is None)


def test_times_of_moodle_and_numbers_that_are_names_are_shown_as_such() -> None:
    side = SideAnswer(name="moodle", fields={"id": 7, "lastaccess": 1_700_000_000})
    assert fields(side)["lastaccess"] == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert fields(SideAnswer(name="moodle", fields={"lastaccess": 0}))["lastaccess"] is None
    assert (number(12_345, "moodle_user_id"), number(12_345, "request_bytes")) == ("12345", "12\u202f345")


@pytest.mark.parametrize(
    ("seconds", "words"), [(-5, "0 seconds"), (119, "119 seconds"), (120, "2 minutes"), (172_800, "2 days")]
)
def test_ages_are_told_in_a_unit_that_people_read(seconds: int, words: str) -> None:
    assert age(timedelta(seconds=seconds)) == words
