"""What differs between what Moodle was asked for and what it shows: cases, and what always holds."""

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.asked import Asked, AskedAccount, AskedCourse, AskedEnrolment, Subject
from processors.comparison import Comparison, Kind, Progress, Seen, compare
from processors.courses import Issued
from processors.drift import Accounts, Drift, DriftKind, of_account, of_course, of_enrolment
from schemas.events import EnrolmentStatus, Role
from schemas.ids import CourseId, MoodleCourseId, MoodleUserId, PersonId
from schemas.moodle import CommandKind, CourseWish, UserWish
from schemas.survey import AccountSeen, CourseSeen, MemberSeen

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ANN, MATHS = PersonId("ANN"), CourseId("32090")
USER, COURSE = MoodleUserId(7), MoodleCourseId(10)
ACTIVE, SUSPENDED, REMOVED = EnrolmentStatus.ACTIVE, EnrolmentStatus.SUSPENDED, EnrolmentStatus.REMOVED
ROLES = {Role.STUDENT: 5, Role.TEACHER: 3, Role.NON_EDITING_TEACHER: 4}
WISH = UserWish(
    person_id=ANN,
    create=True,
    email="Ann@example.test",
    first_name="Ann",
    last_name="O'Example",
    profile_fields={"staff": "1"},
)
THERE = AccountSeen(
    id=USER,
    idnumber=ANN,
    email="ann@EXAMPLE.test",
    username="ann",
    first_name="Ann ",
    last_name="O'Example",
    profile_fields={"staff": "1", "other": "x"},
)


def account(wish: UserWish = WISH, known: MoodleUserId | None = USER) -> AskedAccount:
    return AskedAccount(ANN, 1, wish, known)


def accounts(*seen: AccountSeen) -> Accounts:
    found = Accounts()
    found.add(seen)
    return found


def told(drift: Drift | None) -> tuple[str, tuple[str, ...], bool] | None:
    return None if drift is None else (drift.kind.value, drift.fields, drift.is_fixable)


@pytest.mark.parametrize(
    ("asked", "seen", "expected"),
    [
        (account(), [THERE], None),
        (account(), [replace(THERE, email="b@example.test")], ("DIFFERS", ("email",), True)),
        (account(replace(WISH, keep_email=True)), [replace(THERE, email="b@example.test")], None),
        (account(replace(WISH, email=None)), [replace(THERE, email="b@example.test")], None),
        (
            account(),
            [replace(THERE, first_name="Bo", profile_fields={})],
            ("DIFFERS", ("first_name", "profile_fields"), True),
        ),
        (account(replace(WISH, suspended=True)), [THERE], ("DIFFERS", ("suspended",), True)),
        (account(replace(WISH, suspended=True)), [replace(THERE, suspended=True)], None),
        (
            account(replace(WISH, suspended=False)),
            [replace(THERE, suspended=True)],
            ("SUSPENDED_ELSEWHERE", (), True),
        ),
        (account(), [replace(THERE, suspended=True)], ("SUSPENDED_ELSEWHERE", (), False)),
        (account(), [], ("ORPHANED", (), True)),
        (account(), [replace(THERE, idnumber="BO")], ("ORPHANED", (), True)),
        (account(), [replace(THERE, idnumber="")], ("DIFFERS", ("idnumber",), True)),
        (account(), [replace(THERE, id=MoodleUserId(8))], ("ORPHANED", (), True)),
        (account(), [THERE, replace(THERE, id=MoodleUserId(8))], ("DUPLICATE", (), False)),
        (account(known=None), [], ("MISSING", (), True)),
        (account(replace(WISH, create=False), known=None), [], None),
        (account(replace(WISH, create=False), known=None), [THERE], ("EXTRA", (), True)),
    ],
)
def test_accounts(asked: AskedAccount, seen: list[AccountSeen], expected: object) -> None:
    assert told(of_account(asked, accounts(*seen))) == expected


CLASS = CourseSeen(
    id=COURSE,
    idnumber=MATHS,
    short_name="M-1",
    full_name="Maths & more",
    starts_at=NOW,
    custom_fields={"code": "A"},
)
AS_SEEN = CourseWish(
    course_id=MATHS,
    create=True,
    short_name=" M-1 ",
    full_name="Maths & more",
    starts_at=NOW + timedelta(milliseconds=500),
    custom_fields={"code": "A", "unknown to the site": "x"},
)


@pytest.mark.parametrize(
    ("wish", "seen", "expected"),
    [
        (AS_SEEN, [CLASS], None),
        (None, [replace(CLASS, short_name="renamed")], None),
        (AS_SEEN, [replace(CLASS, short_name="renamed")], ("DIFFERS", ("short_name",), True)),
        (replace(AS_SEEN, visible=False), [CLASS], ("DIFFERS", ("visible",), True)),
        (replace(AS_SEEN, ends_at=NOW), [CLASS], ("DIFFERS", ("ends_at",), True)),
        (AS_SEEN, [replace(CLASS, starts_at=NOW + HOUR)], ("DIFFERS", ("starts_at",), True)),
        (AS_SEEN, [replace(CLASS, custom_fields={"code": "B"})], ("DIFFERS", ("custom_fields",), True)),
        (None, [replace(CLASS, idnumber="")], ("DIFFERS", ("idnumber",), True)),
        (None, [replace(CLASS, idnumber="99")], ("ORPHANED", (), True)),
        (None, [replace(CLASS, id=MoodleCourseId(11))], ("ORPHANED", (), True)),
        (None, [], ("ORPHANED", (), True)),
        (None, [CLASS, replace(CLASS, id=MoodleCourseId(11))], ("DUPLICATE", (), False)),
    ],
)
def test_courses(wish: CourseWish | None, seen: list[CourseSeen], expected: object) -> None:
    carrying = [one for one in seen if one.idnumber == MATHS]
    drift = of_course(AskedCourse(MATHS, 1, COURSE, wish), carrying, {one.id: one for one in seen})
    assert told(drift) == expected


def enrolment(
    status: EnrolmentStatus,
    applied: EnrolmentStatus | None = None,
    starts_at: datetime | None = None,
    ends_at: datetime | None = None,
    role: Role = Role.STUDENT,
) -> AskedEnrolment:
    issued = Issued(USER, COURSE, status, role, starts_at, ends_at)
    return AskedEnrolment(ANN, MATHS, 1, issued, applied)


def member(is_active: bool, *roles: int) -> MemberSeen:
    return MemberSeen(user_id=USER, idnumber=ANN, is_active=is_active, roles=frozenset(roles or (5,)))


@pytest.mark.parametrize(
    ("asked", "there", "expected"),
    [
        (enrolment(ACTIVE), member(True), None),
        (enrolment(ACTIVE), None, ("MISSING", (), True)),
        (enrolment(ACTIVE), member(False), ("SUSPENDED_ELSEWHERE", (), True)),
        (enrolment(ACTIVE, starts_at=NOW + HOUR), member(False), None),
        (enrolment(ACTIVE, ends_at=NOW), member(False), None),
        (enrolment(ACTIVE, ends_at=NOW - HOUR), member(True), ("DIFFERS", ("dates",), True)),
        (enrolment(ACTIVE, starts_at=NOW, ends_at=NOW + HOUR), member(True), None),
        (enrolment(ACTIVE), member(True, 3), ("DIFFERS", ("role",), True)),
        (enrolment(ACTIVE), member(True, 3, 5), ("DIFFERS", ("role",), True)),
        (enrolment(ACTIVE), member(True, 5, 1, 99), None),
        (enrolment(ACTIVE, role=Role.TEACHER), member(False, 5), ("SUSPENDED_ELSEWHERE", ("role",), True)),
        (enrolment(SUSPENDED, SUSPENDED), member(False), None),
        (enrolment(SUSPENDED, SUSPENDED), member(True), ("DIFFERS", ("status",), True)),
        (enrolment(SUSPENDED, SUSPENDED), None, ("MISSING", (), True)),
        (enrolment(SUSPENDED), None, None),
        (enrolment(REMOVED), None, None),
        (enrolment(REMOVED), member(False), ("EXTRA", (), True)),
    ],
)
def test_enrolments(asked: AskedEnrolment, there: MemberSeen | None, expected: object) -> None:
    assert told(of_enrolment(asked, there, ROLES, NOW)) == expected


names = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=8)


@given(
    st.builds(
        UserWish,
        person_id=st.just(ANN),
        create=st.booleans(),
        email=st.none() | names,
        first_name=st.none() | names,
        last_name=st.none() | names,
        suspended=st.none() | st.booleans(),
        profile_fields=st.dictionaries(names, names, max_size=2),
    ),
    st.sets(st.sampled_from(["email", "first_name", "last_name"])),
)
def test_an_account_as_wished_never_differs_and_a_change_is_named_without_its_value(
    wish: UserWish, changed: set[str]
) -> None:
    there = AccountSeen(
        id=USER,
        idnumber=ANN,
        email=wish.email or "e",
        first_name=wish.first_name or "f",
        last_name=wish.last_name or "l",
        suspended=bool(wish.suspended),
        profile_fields=wish.profile_fields,
    )
    assert of_account(account(wish), accounts(there)) is None
    changes: dict[str, Any] = dict.fromkeys(changed, "#changed-to-this")
    drift = of_account(account(wish), accounts(replace(there, **changes)))
    assert set(drift.fields if drift else ()) == {name for name in changed if getattr(wish, name) is not None}
    assert "#changed-to-this" not in repr(drift)


def test_a_difference_can_hold_no_value_of_a_field() -> None:
    held = {one.name for one in fields(Drift)}
    ids = {"person_id", "course_id", "moodle_user_id", "moodle_course_id"}
    assert held == {"kind", "subject", "fields", "is_fixable", *ids}


SUBJECT: Subject = (CommandKind.ENROLMENT, ANN, MATHS)


def comparison(progress: Progress, seen: list[MemberSeen] | None, **options: Any) -> Comparison:
    members = {} if seen is None else {COURSE: seen}
    asked = Asked((), (), (enrolment(ACTIVE),), 0)
    shown = Seen(NOW, Accounts(), {COURSE: CLASS}, members)
    return compare(asked, shown, progress, ROLES, [Kind.ENROLMENTS], **options)


@given(st.none() | st.integers(0, 3), st.none() | st.integers(0, 3))
def test_what_is_on_its_way_is_no_difference(issued: int | None, answered: int | None) -> None:
    """Only the result of the command that is compared counts, and only if none was issued since."""
    progress = Progress(
        {} if issued is None else {SUBJECT: issued}, {} if answered is None else {SUBJECT: answered}
    )
    found = comparison(progress, [])
    settled = answered == 1 and (issued or 0) <= 1
    assert len(found.drifts) == found.compared[Kind.ENROLMENTS] == int(settled)
    assert found.in_flight == int(not settled)


def test_enrolments_of_a_course_that_could_not_be_read_are_counted_and_not_compared() -> None:
    found = comparison(Progress({}, {SUBJECT: 1}), None)
    assert (found.unread, found.compared, found.drifts) == (1, {Kind.ENROLMENTS: 0}, ())


def test_members_whom_the_hub_did_not_enrol_are_told_only_on_demand_and_never_mended() -> None:
    stranger = MemberSeen(user_id=MoodleUserId(99), is_active=True)
    progress = Progress({}, {SUBJECT: 1})
    assert comparison(progress, [member(True), stranger]).drifts == ()
    (drift,) = comparison(progress, [member(True), stranger], with_others=True).drifts
    assert (drift.kind, drift.moodle_user_id, drift.is_fixable) == (DriftKind.EXTRA, 99, False)
    assert (drift.person_id, drift.course_id) == (None, MATHS)
