"""Feed records of ELM to what the hub keeps and publishes. Pure.

One record of the feed tells of a person, a course and an enrolment. Each is kept and compared on its own;
the enrolment gives the record's answer.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from infra.settings import ElmFeed
from infra.stage import Output
from producers.candidates import Candidate, Invalid, Skipped, SourceRecord, Valid
from producers.elm import fields
from producers.elm.fields import FieldError
from producers.elm.settings import Rules
from schemas.events import AccountPolicy, Course, Enrolment, EnrolmentStatus, Operation, Person, Role
from schemas.ids import CourseId, EnrolmentId, PersonId
from schemas.topics import COURSES, ENROLMENTS, PEOPLE
from schemas.version import Version

SOURCE: Final = "elm"
PERSON, COURSE, ENROLMENT = "person", "course", "enrolment"
IGNORED_COURSE: Final = "ignored_course"

POSITION: Final = "record_enrol_id"
STATES: Final = {"Enrol": EnrolmentStatus.ACTIVE, "Suspend": EnrolmentStatus.SUSPENDED}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# Below every position, so that after a change of release a 1.5 record beats a 1.4 record of the same time.
_BEFORE_POSITIONS: Final = 2**62


def to_candidate(raw: object, rules: Rules, recorded_at: datetime) -> Candidate:
    """Return what one element of the feed's ``value`` means; any JSON value is answered.

    Args:
        raw: the element as it came.
        rules: how it is read.
        recorded_at: UTC time that the events carry as the time of recording.
    """
    if not isinstance(raw, Mapping):
        return Invalid(ENROLMENT, None, raw, "record", "is not an object")
    record = _usual_names(raw, rules.names)
    try:
        enrolment_id = str(fields.number(record, "ENROLMENT_ID"))
        course_id = str(fields.number(record, "COURSE_IDENTIFIER"))
        if course_id in rules.ignored_courses:
            return Skipped(ENROLMENT, enrolment_id, IGNORED_COURSE)
        return _kept(_parse(record, rules, enrolment_id, course_id), rules, recorded_at)
    except FieldError as error:
        name = rules.names.get(error.field, error.field)
        return Invalid(ENROLMENT, _id_of(record), raw, name, error.reason)


def position_of(raw: object, rules: Rules) -> int | None:
    """Return the feed position of a 1.5 record, or none where it cannot be told."""
    return _number_or_none(raw, rules.names.get(POSITION, POSITION))


def created_at(raw: object, rules: Rules) -> datetime | None:
    """Return when a record was created (UTC), or none where it cannot be told."""
    name = rules.names.get("date_created", "date_created")
    try:
        return fields.optional_moment(raw, name, rules.zone) if isinstance(raw, Mapping) else None
    except FieldError:
        return None


class _Parsed(NamedTuple):
    """A record of the feed, read and checked; times in UTC."""

    enrolment_id: str
    course_id: str
    guid: str
    email: str
    first_name: str
    last_name: str
    user_state: str | None
    user_effective_date: str | None
    short_name: str
    long_name: str | None
    start_date: str | None
    state: str
    state_time: datetime
    created: datetime
    updated: datetime | None
    deleted: datetime | None
    position: int | None
    sequence: int
    oprid: str | None
    person_number: str | None
    activity_id: str | None

    @property
    def entity_version(self) -> Version:
        """The version of the person and the course."""
        time = self.created if self.updated is None else max(self.created, self.updated)
        return Version(time, self.sequence)

    @property
    def version(self) -> Version:
        """The version of the enrolment."""
        time = self.state_time if self.deleted is None else max(self.state_time, self.deleted)
        return Version(time, self.sequence)


def _parse(record: fields.Raw, rules: Rules, enrolment_id: str, course_id: str) -> _Parsed:
    created = fields.moment(record, "date_created", rules.zone)
    position = fields.number(record, POSITION) if rules.release is ElmFeed.POSITION else None
    state = fields.text(record, "COURSE_STATE")
    if state not in STATES:
        raise FieldError("COURSE_STATE", "is neither Enrol nor Suspend")
    return _Parsed(
        enrolment_id=enrolment_id,
        course_id=course_id,
        guid=fields.text(record, "GUID", fields.MAX_ID),
        email=fields.email(record, "EMAIL"),
        first_name=fields.text(record, "FIRST_NAME"),
        last_name=fields.text(record, "LAST_NAME"),
        user_state=fields.optional_text(record, "USER_STATE"),
        user_effective_date=fields.optional_text(record, "USER_EFFECTIVE_DATE"),
        short_name=fields.text(record, "COURSE_SHORTNAME"),
        long_name=fields.optional_text(record, "COURSE_LONG_NAME"),
        start_date=fields.optional_text(record, "COURSE_START_DATE"),
        state=state,
        state_time=fields.optional_moment(record, "COURSE_STATE_DATE", rules.zone) or created,
        created=created,
        updated=fields.optional_moment(record, "date_updated", rules.zone),
        deleted=fields.optional_moment(record, "date_deleted", rules.zone),
        position=position,
        sequence=(created - _EPOCH) // _MICROSECOND - _BEFORE_POSITIONS if position is None else position,
        oprid=fields.label(record, "OPRID"),
        person_number=fields.label(record, "PERSON_ID"),
        activity_id=fields.label(record, "ACTIVITY_ID"),
    )


def _kept(parsed: _Parsed, rules: Rules, recorded_at: datetime) -> Valid:
    return Valid(
        (
            _person(parsed, rules, recorded_at),
            _course(parsed, rules, recorded_at),
            _enrolment(parsed, rules, recorded_at),
        )
    )


def _person(parsed: _Parsed, rules: Rules, recorded_at: datetime) -> SourceRecord:
    version = parsed.entity_version
    event = Person(
        tenant=rules.tenant,
        person_id=PersonId(parsed.guid),
        operation=Operation.UPSERT,
        source_system=SOURCE,
        source_record_id=parsed.guid,
        version_time=version.time,
        version_sequence=version.sequence,
        recorded_at=recorded_at,
        account_policy=AccountPolicy.WHEN_ENROLLED,
        username=parsed.email.lower(),
        email=parsed.email,
        first_name=parsed.first_name,
        last_name=parsed.last_name,
        auth="oauth2",
    )
    content = {
        "GUID": parsed.guid,
        "EMAIL": parsed.email,
        "FIRST_NAME": parsed.first_name,
        "LAST_NAME": parsed.last_name,
        "USER_STATE": parsed.user_state,
        "USER_EFFECTIVE_DATE": parsed.user_effective_date,
    }
    return SourceRecord(PERSON, parsed.guid, version, content, (Output(PEOPLE, event),))


def _course(parsed: _Parsed, rules: Rules, recorded_at: datetime) -> SourceRecord:
    version = parsed.entity_version
    event = Course(
        tenant=rules.tenant,
        course_id=CourseId(parsed.course_id),
        operation=Operation.UPSERT,
        source_system=SOURCE,
        source_record_id=parsed.course_id,
        version_time=version.time,
        version_sequence=version.sequence,
        recorded_at=recorded_at,
        create=rules.create_courses,
        short_name=parsed.short_name,
        full_name=parsed.long_name or parsed.short_name,
        starts_at=fields.start_of_day(parsed.start_date, rules.zone),
    )
    content = {
        "COURSE_IDENTIFIER": int(parsed.course_id),
        "COURSE_SHORTNAME": parsed.short_name,
        "COURSE_LONG_NAME": parsed.long_name,
        "COURSE_START_DATE": parsed.start_date,
        # Not a field of the feed, but part of the event: a change of the setting shall reach Moodle.
        "create": rules.create_courses,
    }
    return SourceRecord(COURSE, parsed.course_id, version, content, (Output(COURSES, event),))


def _enrolment(parsed: _Parsed, rules: Rules, recorded_at: datetime) -> SourceRecord:
    version = parsed.version
    event = Enrolment(
        tenant=rules.tenant,
        enrolment_id=EnrolmentId(parsed.enrolment_id),
        person_id=PersonId(parsed.guid),
        course_id=CourseId(parsed.course_id),
        operation=Operation.UPSERT if parsed.deleted is None else Operation.DELETE,
        status=STATES[parsed.state] if parsed.deleted is None else EnrolmentStatus.SUSPENDED,
        role=Role.STUDENT,
        source_system=SOURCE,
        source_record_id=parsed.enrolment_id,
        version_time=version.time,
        version_sequence=version.sequence,
        recorded_at=recorded_at,
        attributes=_attributes(parsed),
    )
    return SourceRecord(
        ENROLMENT, parsed.enrolment_id, version, _enrolment_content(parsed), (Output(ENROLMENTS, event),)
    )


def _enrolment_content(parsed: _Parsed) -> dict[str, Any]:
    # Positions and times belong to it: a repeated wish outdoes what came in between for another
    # enrolment of the same person and course, so it must be published again.
    return {
        "ENROLMENT_ID": int(parsed.enrolment_id),
        "GUID": parsed.guid,
        "COURSE_IDENTIFIER": int(parsed.course_id),
        "COURSE_SHORTNAME": parsed.short_name,
        "COURSE_LONG_NAME": parsed.long_name,
        "COURSE_STATE": parsed.state,
        "COURSE_STATE_DATE": _iso(parsed.state_time),
        "date_created": _iso(parsed.created),
        "date_updated": _iso(parsed.updated),
        "date_deleted": _iso(parsed.deleted),
        POSITION: parsed.position,
        "OPRID": parsed.oprid,
        "PERSON_ID": parsed.person_number,
        "ACTIVITY_ID": parsed.activity_id,
    }


def _attributes(parsed: _Parsed) -> dict[str, str]:
    found = {
        "course_short_name": parsed.short_name,
        "course_long_name": parsed.long_name,
        "oprid": parsed.oprid,
        "person_id": parsed.person_number,
        "activity_id": parsed.activity_id,
    }
    return {name: value for name, value in found.items() if value is not None}


def _usual_names(raw: Mapping[str, Any], names: Mapping[str, str]) -> Mapping[str, Any]:
    if not names:
        return raw
    own = {theirs: usual for usual, theirs in names.items()}
    return {own.get(name, name): value for name, value in raw.items() if name in own or name not in names}


def _id_of(record: fields.Raw) -> str | None:
    found = _number_or_none(record, "ENROLMENT_ID")
    return None if found is None else str(found)


def _number_or_none(raw: object, field: str) -> int | None:
    try:
        return fields.number(raw, field) if isinstance(raw, Mapping) else None
    except FieldError:
        return None


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
