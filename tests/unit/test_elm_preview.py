"""What a piece of ELM's feed would do, and what is asked of the feed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from infra.errors import BadArgument
from producers.candidates import SourceRecord, Valid
from producers.elm.preview import Choice, Known, Standing, digest_of, options, preview, standing_of
from producers.elm.settings import ElmFeedSettings
from producers.elm.to_events import to_candidate
from schemas.events import EnrolmentStatus
from schemas.ids import CourseId, PersonId, TenantId
from schemas.reasons import Reason

FEED = ElmFeedSettings(
    url="", token="", tenant=TenantId("t"), timezone="UTC", ignored_courses=frozenset({"9"})
)
ACTIVE, SUSPENDED = EnrolmentStatus.ACTIVE, EnrolmentStatus.SUSPENDED
RECORD: dict[str, Any] = {
    "record_enrol_id": 1,
    "ENROLMENT_ID": 7,
    "COURSE_IDENTIFIER": 101,
    "COURSE_SHORTNAME": "ITEM-1",
    "COURSE_STATE": "Enrol",
    "COURSE_STATE_DATE": "2026-04-11T08:06:43.000-07:00",
    "date_created": "2026-04-11T08:06:43.000-07:00",
    "GUID": "ABC",
    "EMAIL": "ann@school.test",
    "FIRST_NAME": "Ann",
    "LAST_NAME": "Miller",
    "USER_STATE": "ACTIVE",
}


@pytest.mark.parametrize(
    ("wish", "known", "expected"),
    [
        (ACTIVE, Known("ACTIVE", "ACTIVE", has_account=True), (Standing.DONE, None)),
        (SUSPENDED, Known("ACTIVE", "ACTIVE", has_account=True), (Standing.READY, None)),
        (SUSPENDED, Known(), (Standing.READY, None)),
        (ACTIVE, Known(), (Standing.NEW_USER, None)),
        (ACTIVE, Known("ACTIVE", None, has_account=False, waits_for="account"), (Standing.NEW_USER, None)),
        (
            ACTIVE,
            Known("ACTIVE", None, has_account=True, waits_for="course"),
            (Standing.BLOCKED, "waits for course"),
        ),
        (
            ACTIVE,
            Known("ACTIVE", "ACTIVE", has_account=True, reason="EMAIL_MISMATCH"),
            (Standing.MISMATCH, "EMAIL_MISMATCH"),
        ),
        (ACTIVE, Known(reason=Reason.EMAIL_TAKEN), (Standing.MISMATCH, "EMAIL_TAKEN")),
        (
            ACTIVE,
            Known("ACTIVE", None, has_account=True, reason="USER_PROTECTED"),
            (Standing.BLOCKED, "USER_PROTECTED"),
        ),
    ],
)
def test_what_a_record_would_do(
    wish: EnrolmentStatus, known: Known, expected: tuple[Standing, str | None]
) -> None:
    assert standing_of(wish, known) == expected


def test_records_are_told_in_their_order_and_asked_about_once() -> None:
    asked: list[Any] = []

    def knowing(pairs: Any) -> dict[Any, Known]:
        asked.append(list(pairs))
        return {(PersonId("ABC"), CourseId("101")): Known("ACTIVE", "ACTIVE", has_account=True)}

    bad, ignored = {**RECORD, "GUID": None}, {**RECORD, "COURSE_IDENTIFIER": 9}
    other = {**RECORD, "GUID": "DEF"}
    found = preview([RECORD, bad, ignored, other, RECORD], FEED, knowing)
    standings = [one.standing for one in found]
    assert standings == [
        Standing.DONE,
        Standing.INVALID,
        Standing.IGNORED,
        Standing.NEW_USER,
        Standing.DONE,
    ]
    assert found[1].reason is not None
    assert found[1].reason.startswith("GUID ")
    assert asked == [[("ABC", "101"), ("DEF", "101")]]
    assert len({one.digest for one in found}) == 4
    assert digest_of(RECORD) == digest_of(dict(reversed(RECORD.items())))


def test_a_record_that_a_newer_one_has_replaced_is_older() -> None:
    pair = (PersonId("ABC"), CourseId("101"))
    newer, same = {**RECORD, "record_enrol_id": 2}, [one.version for one in _kept(RECORD)]
    later = [one.version for one in _kept(newer)][-1]
    found = preview([RECORD], FEED, lambda _: {pair: Known(versions={"7": later})})
    assert [one.standing for one in found] == [Standing.OLDER]
    found = preview([RECORD], FEED, lambda _: {pair: Known(versions={"7": same[-1], "8": later})})
    assert [one.standing for one in found] == [Standing.NEW_USER]


def _kept(record: dict[str, Any]) -> tuple[SourceRecord, ...]:
    candidate = to_candidate(record, FEED.rules(), datetime.now(UTC))
    assert isinstance(candidate, Valid)
    return candidate.records


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (Choice(learner="o'x@a.test"), "(EMAIL eq 'o''x@a.test' or GUID eq 'o''x@a.test')"),
        (Choice(course="101"), "COURSE_IDENTIFIER eq 101"),
        (Choice(course="ITEM-1"), "COURSE_SHORTNAME eq 'ITEM-1'"),
        (
            Choice(
                course="101",
                since=datetime(2026, 11, 2, 8, tzinfo=UTC),
                until=datetime(2026, 11, 3, tzinfo=UTC),
            ),
            "COURSE_IDENTIFIER eq 101 and date_created gt '2026-11-02 08:00:00'"
            " and date_created lt '2026-11-03 00:00:00'",
        ),
    ],
)
def test_what_is_asked_of_the_feed(choice: Choice, expected: str) -> None:
    assert options(choice, FEED)["$filter"] == expected


def test_the_whole_feed_is_for_the_poll() -> None:
    with pytest.raises(BadArgument, match="learner"):
        options(Choice(), FEED)
