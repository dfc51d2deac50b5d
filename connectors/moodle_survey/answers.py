"""Rows of Moodle's answers as what was seen: pure, and only the fields that are needed."""

import html
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any, Final, TypeVar

import msgspec

from infra.errors import HubError
from schemas.ids import MoodleCourseId, MoodleUserId
from schemas.survey import AccountSeen, CourseSeen, GradeSeen, MemberSeen

T = TypeVar("T")
_PLACES: Final = Decimal("0.0001")


class _Value(msgspec.Struct):
    shortname: str
    value: str | int | float | None = None
    valueraw: str | int | float | None = None


class _Account(msgspec.Struct):
    id: int
    idnumber: str = ""
    email: str = ""
    username: str = ""
    firstname: str = ""
    lastname: str = ""
    suspended: bool | int = False
    lastaccess: int | None = 0
    customfields: list[_Value] = []


class _Course(msgspec.Struct):
    id: int
    idnumber: str | None = ""
    shortname: str = ""
    fullname: str = ""
    visible: int | None = 1
    startdate: int | None = 0
    enddate: int | None = 0
    customfields: list[_Value] | None = None


class _Role(msgspec.Struct):
    roleid: int


class Member(msgspec.Struct):
    """Somebody in the list of a course's members, as far as it is needed."""

    id: int
    idnumber: str = ""
    lastcourseaccess: int | None = 0
    roles: list[_Role] = []


class _Grade(msgspec.Struct):
    courseid: int
    grade: str | None = None
    rawgrade: str | None = None


class _Grades(msgspec.Struct):
    grades: list[_Grade]


def grades(answer: Any, user: MoodleUserId, function: str) -> list[GradeSeen]:
    """Return what ``gradereport_overview_get_course_grades`` tells of ``user``; raises as `accounts`.

    Points come as text, so they never are a float; of Moodle's five places four are kept.
    """
    return [
        GradeSeen(
            user_id=user,
            course_id=MoodleCourseId(row.courseid),
            shown=html.unescape(row.grade or ""),
            score=None if row.rawgrade is None else _points(row.rawgrade, function),
        )
        for row in read(answer, _Grades, function).grades
    ]


def _points(text: str, function: str) -> Decimal:
    try:
        return Decimal(text).quantize(_PLACES, ROUND_HALF_UP)
    except InvalidOperation:
        msg = f"{function} answered in another form than expected: rawgrade is no number"
        raise HubError(msg) from None


def accounts(answer: Any, function: str) -> list[AccountSeen]:
    """Return the accounts of an answer of one of the look-ups of users.

    Raises:
        HubError: the answer has another form; the text names the place in it, never a value.
    """
    return [
        AccountSeen(
            id=MoodleUserId(row.id),
            idnumber=row.idnumber,
            email=row.email,
            username=row.username,
            first_name=html.unescape(row.firstname),
            last_name=html.unescape(row.lastname),
            suspended=bool(row.suspended),
            last_access=_moment(row.lastaccess),
            profile_fields={one.shortname: _text(one.value) for one in row.customfields},
        )
        for row in read(answer, list[_Account], function)
    ]


def courses(answer: Any, function: str) -> list[CourseSeen]:
    """Return the courses of an answer of ``core_course_get_courses``; raises as `accounts`."""
    return [
        CourseSeen(
            id=MoodleCourseId(row.id),
            idnumber=html.unescape(row.idnumber or ""),
            short_name=html.unescape(row.shortname),
            full_name=html.unescape(row.fullname),
            visible=bool(row.visible),
            starts_at=_moment(row.startdate),
            ends_at=_moment(row.enddate),
            custom_fields={one.shortname: _text(one.valueraw) for one in row.customfields or ()},
        )
        for row in read(answer, list[_Course], function)
    ]


def members(rows: Iterable[Member], *, is_active: bool) -> list[MemberSeen]:
    """Return the rows of one of the two lists of a course, that of the active or that of the others."""
    return [
        MemberSeen(
            user_id=MoodleUserId(row.id),
            idnumber=row.idnumber,
            is_active=is_active,
            roles=frozenset([role.roleid for role in row.roles]),
            last_access=_moment(row.lastcourseaccess),
        )
        for row in rows
    ]


def read(answer: Any, kind: type[T], function: str) -> T:
    """Return ``answer`` in its form; raises as `accounts`."""
    try:
        return msgspec.convert(answer, kind, strict=False)
    except msgspec.ValidationError as error:
        msg = f"{function} answered in another form than expected: {error}"
        raise HubError(msg) from None


def _moment(seconds: int | None) -> datetime | None:
    """Return a time of Moodle; 0 is its "never"."""
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


def _text(value: str | int | float | None) -> str:
    return "" if value is None else html.unescape(str(value))
