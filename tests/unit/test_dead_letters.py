"""A message is the same after it was a dead letter; and what the letter tells of it."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import deadletters
from schemas.convert import RecordError
from schemas.deadletters import About, DeadLetter, Step, about, again, attempts, from_message, to_message
from schemas.events import EnrolmentStatus, Role
from schemas.ids import CommandId, CourseId, MoodleCourseId, MoodleUserId, PersonId, Target, TenantId
from schemas.joins import Tick
from schemas.moodle import CommandKind, CourseWish, EnrolmentWish, MoodleCommand, UserWish
from schemas.reasons import Reason
from tests.faults import counting
from tests.unit.test_elm_sink_parts import CALLBACK

AT = datetime(2026, 11, 21, 5, 13, 7, 250_000, tzinfo=UTC)
LETTER = DeadLetter(
    role="people",
    topic="hub.people",
    partition=2,
    offset=7,
    step=Step.TRANSFORMATION,
    reason=Reason.INVALID_FIELD,
    error_class="Rejected",
    error="the year of birth is none — ឆ្នាំ",
    failed_at=AT,
    attempt=3,
    tenant="t",
    kind="person",
    entity="person/p1",
    message_key=b"t|p1",
    message_value=b"\x00\x01",
    message_headers=(("traceparent", b"00-a-b-01"), ("x", b"1"), ("x", None), ("y", b""), ("x", b"\xff")),
    place="hub.dlq/1/4",
)
COMMAND = MoodleCommand(
    command_id=CommandId("c"),
    tenant=TenantId("t"),
    target=Target("m"),
    kind=CommandKind.USER,
    generation=1,
    issued_at=AT,
)
ENROLMENT = EnrolmentWish(
    person_id=PersonId("p"),
    course_id=CourseId("c"),
    moodle_user_id=MoodleUserId(1),
    moodle_course_id=MoodleCourseId(2),
    status=EnrolmentStatus.ACTIVE,
    role=Role.STUDENT,
    state_is_known=False,
)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"message_value": None},
        {"message_value": b""},
        {"message_key": None},
        {"message_key": b""},
        {"message_headers": ()},
        {"message_value": None, "message_headers": (), "left_out": 950_000},
        {"tenant": "", "kind": "", "entity": ""},
    ],
)
def test_a_letter_is_the_same_after_its_topic(change: dict[str, object]) -> None:
    letter = replace(LETTER, **change)  # type: ignore[arg-type]  # the fields differ in type
    assert from_message(*to_message(letter), place=letter.place) == letter


@given(
    st.none() | st.binary(),
    st.none() | st.binary(),
    st.lists(st.tuples(st.text(), st.none() | st.binary())),
)
def test_whatever_the_message_was_it_goes_back_as_it_was(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    letter = replace(LETTER, message_key=key, message_value=value, message_headers=tuple(headers))
    back = again(from_message(*to_message(letter), place=""))
    assert (back.key, back.value, list(back.headers[:-1])) == (key, value, headers)
    assert attempts(back.headers) == LETTER.attempt


def test_the_message_itself_lies_untouched_before_the_names_that_connect_gives() -> None:
    key, value, headers = to_message(LETTER)
    assert (key, value) == (b"t|p1", b"\x00\x01")
    assert tuple(headers[:5]) == LETTER.message_headers
    assert [name for name, _ in headers[5:12]] == [
        "__connect.errors.topic",
        "__connect.errors.partition",
        "__connect.errors.offset",
        "__connect.errors.connector.name",
        "__connect.errors.stage",
        "__connect.errors.exception.class.name",
        "__connect.errors.exception.message",
    ]
    assert dict(headers[12:]) == {
        "rosterhub.tenant": b"t",
        "rosterhub.kind": b"person",
        "rosterhub.entity": b"person/p1",
        "rosterhub.reason": b"INVALID_FIELD",
        "rosterhub.attempt": b"3",
        "rosterhub.failed-at": b"2026-11-21T05:13:07.250000+00:00",
    }


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        (deadletters.OFFSET, None, "missing"),
        (deadletters.REASON, None, "missing"),
        (deadletters.PARTITION, b"x", "understood"),
        (deadletters.REASON, b"OF_A_LATER_RELEASE", "understood"),
        (deadletters.FAILED_AT, b"yesterday", "understood"),
    ],
)
def test_what_is_no_letter_of_the_hub_is_told_by_its_header(
    name: str, value: bytes | None, problem: str
) -> None:
    key, content, headers = to_message(LETTER)
    others = [header for header in headers if header[0] != name]
    with pytest.raises(RecordError, match=problem) as caught:
        from_message(key, content, others if value is None else [*others, (name, value)], "")
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("headers", "count"), [([], 0), ([(deadletters.ATTEMPT, b"4")], 4), ([(deadletters.ATTEMPT, b"x")], 0)]
)
def test_attempts_are_counted_on(headers: list[tuple[str, bytes | None]], count: int) -> None:
    assert attempts(headers) == count


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (counting.person(1), About("t", "person", "person/p000001")),
        (counting.enrolment(1), About("t", "enrolment", "enrolment/p000001/c1")),
        (
            replace(COMMAND, user=UserWish(person_id=PersonId("p"), create=True)),
            About("t", "moodle.command.user", "person/p"),
        ),
        (
            replace(
                COMMAND, kind=CommandKind.COURSE, course=CourseWish(course_id=CourseId("c"), create=False)
            ),
            About("t", "moodle.command.course", "course/c"),
        ),
        (
            replace(COMMAND, kind=CommandKind.ENROLMENT, enrolment=ENROLMENT),
            About("t", "moodle.command.enrolment", "enrolment/p/c"),
        ),
        (COMMAND, About("t", "moodle.command.user", "")),
        (
            CALLBACK,
            About(CALLBACK.tenant, "elm.callback", f"enrolment/{CALLBACK.person_id}/{CALLBACK.course_id}"),
        ),
        (Tick(partition=3, at=AT), About("", "tick", "3")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_record_is_about(record: object, expected: About) -> None:
    assert about(record) == expected
