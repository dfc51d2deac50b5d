"""Zoho's records to the events that tell of them, made from what is kept of each. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final, TypedDict
from zoneinfo import ZoneInfo

from infra.mapping import Identity
from infra.stage import Output
from producers.zoho.records import attributes_of
from producers.zoho.values import end_of, first_moment
from schemas.academics import Grade, Payment, Program, Registration, Unit
from schemas.events import (
    AccountPolicy,
    Course,
    Enrolment,
    EnrolmentStatus,
    Operation,
    Person,
    Role,
)
from schemas.ids import (
    CourseId,
    EnrolmentId,
    GradeId,
    MoodleCourseId,
    PaymentId,
    PersonId,
    ProgramId,
    RegistrationId,
    TenantId,
    UnitId,
)
from schemas.topics import COURSES, ENROLMENTS, GRADES, PAYMENTS, PEOPLE, PROGRAMS, REGISTRATIONS, UNITS
from schemas.version import Version

SOURCE: Final = "zoho"
Content = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ZohoRules:
    """How the records of one tenant are read.

    Attributes:
        tenant: whose people and courses these are.
        identity: makes the ids of people and courses.
        zone: in which Zoho's days begin and end.
    """

    tenant: TenantId
    identity: Identity
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))


@dataclass(frozen=True, slots=True)
class Change:
    """What an event tells besides the record itself.

    Attributes:
        rules: of the tenant.
        record_id: Zoho's id of the record.
        operation: whether the record is there or was deleted.
        version: of the record.
        recorded_at: when the hub received it, UTC.
    """

    rules: ZohoRules
    record_id: str
    operation: Operation
    version: Version
    recorded_at: datetime


class _Common(TypedDict):
    """Fields that all events have."""

    tenant: TenantId
    operation: Operation
    source_system: str
    source_record_id: str
    version_time: datetime
    version_sequence: int
    recorded_at: datetime


def _common(change: Change) -> _Common:
    return {
        "tenant": change.rules.tenant,
        "operation": change.operation,
        "source_system": SOURCE,
        "source_record_id": change.record_id,
        "version_time": change.version.time.astimezone(UTC),
        "version_sequence": change.version.sequence,
        "recorded_at": change.recorded_at,
    }


def person(content: Content, change: Change) -> Output:
    """Return the event of a student or teacher."""
    event = Person(
        **_common(change),
        person_id=PersonId(content["person_id"]),
        account_policy=AccountPolicy.ALWAYS,
        email=content.get("academic_email"),
        first_name=content.get("first_name"),
        last_name=content.get("last_name"),
        source_status=content.get("status"),
        attributes=attributes_of(content),
    )
    return Output(PEOPLE, event)


def program(content: Content, change: Change) -> Output:
    """Return the event of a program."""
    event = Program(
        **_common(change),
        program_id=ProgramId(change.record_id),
        name=content["name"],
        code=content.get("code"),
        status=content.get("status"),
        price=_decimal(content.get("price")),
        moodle_category_id=content.get("moodle_id"),
        attributes=attributes_of(content),
    )
    return Output(PROGRAMS, event)


def course(content: Content, change: Change) -> Output:
    """Return the event of a class."""
    moodle, program_id = content.get("moodle_class_id"), content.get("program_id")
    event = Course(
        **_common(change),
        course_id=CourseId(content["course_id"]),
        short_name=content.get("short_name"),
        full_name=content["name"],
        starts_at=first_moment(content.get("start_date"), change.rules.zone),
        ends_at=end_of(content.get("end_date"), change.rules.zone),
        source_status=content.get("status"),
        moodle_course_id=None if moodle is None else MoodleCourseId(moodle),
        program_id=None if program_id is None else ProgramId(program_id),
        attributes=attributes_of(content),
    )
    return Output(COURSES, event)


def enrolment(content: Content, change: Change) -> Output:
    """Return the event of a student's enrolment; the mapping decides on its state by ``source_status``."""
    event = Enrolment(
        **_common(change),
        enrolment_id=EnrolmentId(change.record_id),
        person_id=PersonId(content["person_id"]),
        course_id=CourseId(content["course_id"]),
        status=EnrolmentStatus.ACTIVE,
        role=Role.STUDENT,
        starts_at=first_moment(content.get("start_date"), change.rules.zone),
        source_status=content.get("status"),
        attributes=attributes_of(content),
    )
    return Output(ENROLMENTS, event)


def teaching(content: Content, change: Change) -> Output:
    """Return the event of the enrolment of a class's teacher."""
    event = Enrolment(
        **_common(change),
        enrolment_id=EnrolmentId(f"{change.record_id}:teacher"),
        person_id=PersonId(content["person_id"]),
        course_id=CourseId(content["course_id"]),
        status=EnrolmentStatus.ACTIVE,
        role=Role.TEACHER,
    )
    return Output(ENROLMENTS, event)


def registration(content: Content, change: Change) -> Output:
    """Return the event of a registration."""
    event = Registration(
        **_common(change),
        registration_id=RegistrationId(change.record_id),
        person_id=PersonId(content["person_id"]),
        program_id=ProgramId(content["program_id"]),
        status=content["status"],
        registered_on=_day(content.get("registration_date")),
        completed_on=_day(content.get("completion_date")),
        attributes=attributes_of(content),
    )
    return Output(REGISTRATIONS, event)


def payment(content: Content, change: Change) -> Output:
    """Return the event of a payment, or of an instalment that is due."""
    event = Payment(
        **_common(change),
        payment_id=PaymentId(change.record_id),
        registration_id=RegistrationId(content["registration_id"]),
        person_id=PersonId(content["person_id"]),
        amount=Decimal(content["amount"]),
        status=content["status"],
        currency=content.get("currency"),
        method=content.get("payment_method"),
        paid_on=_day(content.get("payment_date")),
        due_on=_day(content.get("due_date")),
        attributes=attributes_of(content),
    )
    return Output(PAYMENTS, event)


def unit(content: Content, change: Change) -> Output:
    """Return the event of a unit."""
    event = Unit(
        **_common(change),
        unit_id=UnitId(change.record_id),
        code=content["code"],
        name=content["name"],
        status=content.get("status"),
        credit_hours=_decimal(content.get("credit_hours")),
        level=content.get("level"),
        attributes=attributes_of(content),
    )
    return Output(UNITS, event)


def grade(content: Content, change: Change) -> Output:
    """Return the event of a grade."""
    unit_id, course_id = content.get("unit_id"), content.get("course_id")
    event = Grade(
        **_common(change),
        grade_id=GradeId(change.record_id),
        person_id=PersonId(content["person_id"]),
        course_id=None if course_id is None else CourseId(course_id),
        unit_id=None if unit_id is None else UnitId(unit_id),
        value=content["grade_value"],
        score=_decimal(content.get("score")),
        graded_on=_day(content.get("grade_date")),
        attributes=attributes_of(content),
    )
    return Output(GRADES, event)


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _day(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)
