"""Records of a SIS to what is kept and published. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from infra.stage import Output
from producers.candidates import Answer, Candidate, Invalid, Skipped, SourceRecord, Valid
from producers.linked import DELETED, Kinds, Known, LinkedKind, Ref, Waiting, nothing_follows
from producers.sis.records import (
    COURSE,
    ENROLMENT,
    GRADE,
    KINDS,
    ORG,
    PERSON,
    ROSTER,
    SECTION,
    SOURCE,
    TEMPLATE,
    TERM,
    Record,
    Refused,
)
from producers.sis.rules import Rules
from schemas.academics import Grade, Section, Term
from schemas.events import AccountPolicy, Course, Enrolment, EnrolmentStatus, Operation, Person, Role
from schemas.ids import CourseId, EnrolmentId, GradeId, PersonId, SectionId, TermId
from schemas.topics import COURSES, ENROLMENTS, GRADES, PEOPLE, SECTIONS, TERMS
from schemas.version import Version

ROLES: Final[Mapping[str, Role]] = {
    "student": Role.STUDENT,
    "teacher": Role.TEACHER,
    "assistant": Role.NON_EDITING_TEACHER,
    "aide": Role.NON_EDITING_TEACHER,
    "proctor": Role.NON_EDITING_TEACHER,
}
ROLE_NOT_ENROLLED: Final = "role_not_enrolled"
"""Reason of SKIPPED: people of this role (such as parents) are not enrolled in Moodle."""
REASONS: Final[Mapping[str, str]] = {PERSON: "person_not_known_yet", COURSE: "course_not_known_yet"}
"""Reasons of SKIPPED of what waits, by the kind of what is missing."""

_OWN: Final[Mapping[str, frozenset[str]]] = {
    PERSON: frozenset({"username", "email", "first_name", "last_name", "status"}),
    COURSE: frozenset({"status", "start_date", "end_date"}),
    SECTION: frozenset({"name", "section_kind"}),
    TERM: frozenset({"code", "name", "term_type", "start_date", "end_date"}),
    ENROLMENT: frozenset({"status", "begin_date", "end_date"}),
    GRADE: frozenset({"value", "score", "graded_on"}),
}
_OLDEST: Final = Version(datetime(1, 1, 2, tzinfo=UTC), 0)
_IDS: Final = {ENROLMENT: ("person_id", "course_id"), SECTION: ("course_id",), GRADE: ("person_id",)}
"""What the event of a kind cannot do without."""
_LINKS: Final = frozenset({"person_id", "course_id", "sections", "teachers", DELETED})
"""Contents that are no fields."""
"""Fields that the event has by itself; the others become its attributes."""
_HIDDEN: Final = {kind: own | _LINKS for kind, own in _OWN.items()}
_LENT: Final[Mapping[str, Mapping[str, str]]] = {
    TEMPLATE: {"title": "course_title", "course_code": "course_code", "subjects": "course_subjects"},
    TERM: {
        "code": "term_code",
        "name": "term_name",
        "term_type": "term_type",
        "start_date": "start_date",
        "end_date": "end_date",
    },
    ORG: {"name": "org_name", "identifier": "org_identifier"},
}
"""What a class takes over from the records it refers to, where it does not tell it itself."""
_LENDERS: Final[Mapping[str, str]] = {TEMPLATE: "course_template_id", TERM: "term_id", ORG: "org_id"}

Content = Mapping[str, Any]


def kinds(rules: Rules) -> Kinds:
    """Return how the kinds of a SIS are read, for `producers.linked.take_linked`.

    The raw records are those that `producers.sis.oneroster` and `producers.sis.push` return, or what became
    of them as JSON.
    """
    return {
        name: LinkedKind(
            name,
            refs,
            _parser(rules),
            follow=_follow if name == ENROLMENT else nothing_follows,
            is_awaited=name in (PERSON, COURSE),
        )
        for name in KINDS
    }


def refs(raw: object) -> Sequence[Ref]:
    """Return the records that one refers to: what it must wait for, what lends it fields, its last state."""
    record = _record(raw)
    if isinstance(record, Refused):
        return ()
    found = _needed(record)
    if record.deleted or record.undated:
        found.append(Ref(record.kind, record.id))
    if record.kind == COURSE and not record.deleted:
        lenders = ((kind, record.fields.get(field)) for kind, field in _LENDERS.items())
        found += [Ref(kind, name) for kind, name in lenders if name]
    return found


def parse(raw: object, known: Known, recorded_at: datetime, rules: Rules) -> Candidate | Waiting:
    """Return what a record means beside what is known.

    Args:
        raw: a `Record`, a `Refused`, or one of them as JSON.
        known: contents of what it refers to.
        recorded_at: UTC time that the events carry as the time of recording.
        rules: how records are read.
    """
    record = _record(raw)
    if isinstance(record, Refused):
        return Invalid(record.kind, record.id, record.content, record.field, record.reason)
    if record.kind == ENROLMENT and not record.deleted and _role(record.fields) is None:
        return Skipped(record.kind, record.id, ROLE_NOT_ENROLLED)
    version = Version(record.time, 0)
    if not record.deleted:
        for ref in _needed(record):
            if ref not in known:
                return Waiting(record.kind, record.id, ref, REASONS[ref.kind], version)
    content = _content(record, known)
    missing = _identify(record, content, rules)
    if missing is not None and not record.deleted:
        field, reason = missing
        return Invalid(record.kind, record.id, msgspec.to_builtins(record), field, reason)
    try:
        event = None if missing is not None else _event(record, content, rules, recorded_at)
    except InvalidOperation:
        return Invalid(record.kind, record.id, msgspec.to_builtins(record), "score", "is not a number")
    events = (event,) if event is not None else ()
    if record.undated and known.get(Ref(record.kind, record.id)) == content:
        version = _OLDEST  # nothing new, so it need not count as newer
    return Valid((SourceRecord(record.kind, record.id, version, content, events),))


def _record(raw: object) -> Record | Refused:
    if isinstance(raw, Record | Refused):
        return raw
    return msgspec.convert(raw, Record)


def _parser(rules: Rules) -> Callable[[object, Known, datetime], Candidate | Waiting]:
    return lambda raw, known, recorded_at: parse(raw, known, recorded_at, rules)


def _needed(record: Record) -> list[Ref]:
    """Return what the record cannot do without."""
    needed = []
    if record.person is not None:
        needed.append(Ref(PERSON, record.person))
    if record.course is not None:
        needed.append(Ref(COURSE, record.course))
    return needed


def _content(record: Record, known: Known) -> dict[str, Any]:
    """Return what is kept of the record: its fields, its links, and what was last known of a deleted one."""
    before: Content = known.get(Ref(record.kind, record.id), {}) if record.deleted else {}
    content: dict[str, Any] = {**before, **record.fields}
    if record.kind == COURSE and not record.deleted:
        for kind, field in _LENDERS.items():
            lender = known.get(Ref(kind, record.fields.get(field, "")), {})
            for theirs, ours in _LENT[kind].items():
                if theirs in lender:
                    content.setdefault(ours, lender[theirs])
    if record.person is not None:
        content["person"] = record.person
        content.update(_only(known.get(Ref(PERSON, record.person), {}), "person_id"))
    if record.course is not None:
        content["course"] = record.course
        content.update(_only(known.get(Ref(COURSE, record.course), {}), "course_id"))
    if record.sections:
        content["sections"] = list(record.sections)
    if record.teachers:
        content["teachers"] = list(record.teachers)
    if record.deleted:
        content[DELETED] = True
    return content


def _only(content: Content, name: str) -> Content:
    return {name: content[name]} if name in content else {}


def _identify(record: Record, content: dict[str, Any], rules: Rules) -> tuple[str, str] | None:
    """Put the ids of a person or course into ``content``; return field and reason if they cannot be told."""
    if record.kind == PERSON:
        return _put(content, "person_id", PERSON, rules.identity.person, record.id, rules)
    if record.kind == COURSE:
        return _put(content, "course_id", COURSE, rules.identity.course, record.id, rules)
    for name in _IDS.get(record.kind, ()):
        if name not in content:
            return name, "is not known"
    return None


def _put(
    content: dict[str, Any],
    name: str,
    kind: str,
    identify: Callable[[Mapping[str, str]], str | None],
    record_id: str,
    rules: Rules,
) -> tuple[str, str] | None:
    if DELETED in content and content.get(name):
        return None  # it is deleted by the id it had
    attributes = {**content, "id": record_id}
    found = identify(attributes)
    if not found:
        return rules.identity.missing(kind, attributes) or name, "is missing, and the identity rule needs it"
    content[name] = found
    return None


def _role(fields: Mapping[str, str]) -> Role | None:
    return ROLES.get(fields.get("role", "").lower())


def _event(record: Record, content: Content, rules: Rules, recorded_at: datetime) -> Output | None:
    if record.kind in (ORG, TEMPLATE, ROSTER):
        return None
    common = {
        "tenant": rules.tenant,
        "operation": Operation.DELETE if record.deleted else Operation.UPSERT,
        "source_system": SOURCE,
        "source_record_id": record.id,
        "version_time": record.time,
        "version_sequence": 0,
        "recorded_at": recorded_at,
        "attributes": _attributes(record, content),
    }
    return _EVENTS[record.kind](record.id, content, rules.zone, common)


def _attributes(record: Record, content: Content) -> dict[str, str]:
    own = _HIDDEN[record.kind]
    found = {name: value for name, value in content.items() if name not in own}
    found["id"] = record.id
    return found


Common = Mapping[str, Any]


def _person(_id: str, content: Content, _zone: ZoneInfo, common: Common) -> Output:
    event = Person(
        person_id=PersonId(content["person_id"]),
        account_policy=AccountPolicy.ALWAYS,
        username=content.get("username"),
        email=content.get("email"),
        first_name=content.get("first_name"),
        last_name=content.get("last_name"),
        source_status=content.get("status"),
        **common,
    )
    return Output(PEOPLE, event)


def _course(_id: str, content: Content, zone: ZoneInfo, common: Common) -> Output:
    term = content.get("term_id")
    event = Course(
        course_id=CourseId(content["course_id"]),
        short_name=content.get("class_code"),
        full_name=content.get("title"),
        starts_at=_start(content.get("start_date"), zone),
        ends_at=_end(content.get("end_date"), zone),
        source_status=content.get("status"),
        term_id=TermId(term) if term else None,
        **common,
    )
    return Output(COURSES, event)


def _section(record_id: str, content: Content, _zone: ZoneInfo, common: Common) -> Output:
    event = Section(
        section_id=SectionId(record_id),
        course_id=CourseId(content["course_id"]),
        name=content.get("name") or record_id,
        kind=content.get("section_kind"),
        **common,
    )
    return Output(SECTIONS, event)


def _term(record_id: str, content: Content, zone: ZoneInfo, common: Common) -> Output:
    event = Term(
        term_id=TermId(record_id),
        code=content.get("code") or record_id,
        name=content.get("name"),
        term_type=content.get("term_type"),
        starts_at=_start(content.get("start_date"), zone),
        ends_at=_end(content.get("end_date"), zone),
        **common,
    )
    return Output(TERMS, event)


def _enrolment(record_id: str, content: Content, zone: ZoneInfo, common: Common) -> Output:
    event = Enrolment(
        enrolment_id=EnrolmentId(record_id),
        person_id=PersonId(content["person_id"]),
        course_id=CourseId(content["course_id"]),
        status=EnrolmentStatus.ACTIVE,
        role=_role(content) or Role.STUDENT,
        starts_at=_start(content.get("begin_date"), zone),
        ends_at=_end(content.get("end_date"), zone),
        source_status=content.get("status"),
        section_ids=tuple(SectionId(name) for name in content.get("sections", ())),
        **common,
    )
    return Output(ENROLMENTS, event)


def _grade(record_id: str, content: Content, _zone: ZoneInfo, common: Common) -> Output:
    score, graded_on, course = content.get("score"), content.get("graded_on"), content.get("course_id")
    event = Grade(
        grade_id=GradeId(record_id),
        person_id=PersonId(content["person_id"]),
        course_id=CourseId(course) if course else None,
        value=content.get("value"),
        score=Decimal(score) if score else None,
        graded_on=datetime.fromisoformat(graded_on).date() if graded_on else None,
        **common,
    )
    return Output(GRADES, event)


_EVENTS: Final[Mapping[str, Callable[[str, Content, ZoneInfo, Common], Output]]] = {
    PERSON: _person,
    COURSE: _course,
    SECTION: _section,
    TERM: _term,
    ENROLMENT: _enrolment,
    GRADE: _grade,
}


def _follow(candidate: Valid, answer: Answer) -> Sequence[Output]:
    """Tell that an enrolment is no longer of the person, or in the class, it was before."""
    record, changed = candidate.records[-1], answer.changes or {}
    moved = [name for name in ("person_id", "course_id") if changed.get(name, [None])[0]]
    event = record.events[0].record if record.events else None
    if not moved or not isinstance(event, Enrolment):
        return ()
    return (_gone(event, {name: changed[name][0] for name in moved}),)


def _gone(event: Enrolment, pair: Mapping[str, str]) -> Output:
    return Output(ENROLMENTS, replace(event, operation=Operation.DELETE, **pair))  # type: ignore[arg-type]  # by name


@lru_cache(maxsize=1_024)
def _start(value: str | None, zone: ZoneInfo) -> datetime | None:
    """Return the first moment of a day in UTC."""
    if value is None:
        return None
    return datetime.combine(datetime.fromisoformat(value).date(), time(), zone).astimezone(UTC)


@lru_cache(maxsize=1_024)
def _end(value: str | None, zone: ZoneInfo) -> datetime | None:
    """Return the first moment after a day in UTC."""
    if value is None:
        return None
    following = datetime.fromisoformat(value).date() + timedelta(days=1)
    return datetime.combine(following, time(), zone).astimezone(UTC)
