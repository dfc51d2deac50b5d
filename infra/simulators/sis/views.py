"""The memory of the SIS as OneRoster records (1.1 and 1.2) and as the records that the SIS itself pushes."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final, Literal

from infra.simulators.sis.state import Entity, Header, Person, SisState

Release = Literal["1.1", "1.2"]
Raw = dict[str, Any]
ORG: Final = "org-1"


def moment(value: datetime) -> str:
    """Return a time as OneRoster writes it: ISO 8601 in UTC with milliseconds."""
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def collection(state: SisState, name: str, release: Release) -> Iterator[Raw]:
    """Yield the records of a OneRoster collection."""
    return _COLLECTIONS[name](state, release)


def _base(kind: str, entity: Entity, **metadata: Any) -> Raw:
    found: Raw = {
        "sourcedId": f"{kind}-{entity.id}",
        "status": "tobedeleted" if entity.is_deleted else "active",
        "dateLastModified": moment(entity.updated_at),
    }
    return {**found, "metadata": metadata} if metadata else found


def _ref(kind: str, number: int | str, collection_name: str) -> Raw:
    identifier = f"{kind}-{number}"
    return {"href": f"/{collection_name}/{identifier}", "sourcedId": identifier, "type": kind}


def _orgs(state: SisState, _release: Release) -> Iterator[Raw]:
    yield {
        "sourcedId": ORG,
        "status": "active",
        "dateLastModified": moment(state.started_at),
        "name": state.school,
        "type": "school",
        "identifier": "UNI",
    }


def _sessions(state: SisState, _release: Release) -> Iterator[Raw]:
    for term in state.terms.values():
        yield _base("term", term, code=term.code, termType=term.term_type) | {
            "title": term.code,
            "type": "term",
            "startDate": term.start_date.isoformat(),
            "endDate": term.end_date.isoformat(),
            "schoolYear": str(term.start_date.year),
        }


def _courses(state: SisState, _release: Release) -> Iterator[Raw]:
    for course in state.courses.values():
        yield _base("course", course, division=course.division, cycle=course.cycle, major=course.major) | {
            "title": course.title,
            "courseCode": course.code,
            "org": _ref("org", 1, "orgs"),
            "subjects": [course.division],
        }


def _classes(state: SisState, _release: Release) -> Iterator[Raw]:
    for header in state.headers.values():
        course, term = state.courses[header.course], state.terms[header.term]
        extra = {} if header.combined_group is None else {"combinedGroup": header.combined_group}
        yield _base(
            "class",
            header,
            sourceStatus=header.status,
            section=header.section_id,
            timeOfDay=header.time_of_day,
            headerType=header.class_type,
            division=course.division,
            cycle=course.cycle,
            major=course.major,
            naturalKey=natural_key(state, header),
            **extra,
        ) | {
            "title": course.title,
            "classCode": f"{course.code}-{header.section_id}-{header.time_of_day}-{term.code}",
            "classType": "scheduled",
            "course": _ref("course", header.course, "courses"),
            "school": _ref("org", 1, "orgs"),
            "terms": [_ref("term", header.term, "academicSessions")],
            "periods": [header.time_of_day],
        }


def natural_key(state: SisState, header: Header) -> str:
    """Return course, term, section and time of day as one text."""
    course, term = state.courses[header.course], state.terms[header.term]
    return f"{course.code}|{term.code}|{header.section_id}|{header.time_of_day}"


def _users(state: SisState, release: Release) -> Iterator[Raw]:
    for person in state.people.values():
        yield _base("person", person, khmerName=person.khmer_name) | {
            "username": person.school_email or f"u{person.id}",
            "enabledUser": "true",
            "givenName": person.personal_name,
            "familyName": person.family_name,
            "identifier": f"{person.student_id:05d}" if person.student_id else f"T{person.id}",
            "userIds": [{"type": "SIS", "identifier": str(person.id)}],
            **({"email": email} if (email := person.school_email or person.personal_email) else {}),
            **_roles(person, release),
        }


def _roles(person: Person, release: Release) -> Raw:
    org = _ref("org", 1, "orgs")
    if release == "1.1":
        return {"role": person.roles[0], "orgs": [org]}
    kinds = ["primary", *["secondary"] * (len(person.roles) - 1)]
    roles = [
        {"roleType": kind, "role": role, "org": org} for kind, role in zip(kinds, person.roles, strict=True)
    ]
    return {"userMasterIdentifier": person.unique_id, "roles": roles, "primaryOrg": org}


def _enrollments(state: SisState, _release: Release) -> Iterator[Raw]:
    school = _ref("org", 1, "orgs")
    for entry in state.enrolments.values():
        yield _base("enrollment", entry, sourceStatus=entry.status) | {
            "user": _ref("person", entry.person, "users"),
            "class": _ref("class", entry.header, "classes"),
            "school": school,
            "role": "student",
        }
    for header, teacher, changed in state.teaching():
        yield {
            "sourcedId": f"teaching-{header.id}-{teacher}",
            "status": "tobedeleted" if header.is_deleted else "active",
            "dateLastModified": moment(changed),
            "user": _ref("person", teacher, "users"),
            "class": _ref("class", header.id, "classes"),
            "school": school,
            "role": "teacher",
            "primary": "true",
        }


_COLLECTIONS: Final[dict[str, Callable[[SisState, Release], Iterator[Raw]]]] = {
    "orgs": _orgs,
    "academicSessions": _sessions,
    "courses": _courses,
    "classes": _classes,
    "users": _users,
    "enrollments": _enrollments,
}
COLLECTIONS: Final = tuple(_COLLECTIONS)


def pushes(state: SisState) -> Iterator[tuple[str, Raw]]:
    """Yield every record as the SIS pushes it: the name of the model and the record."""
    for term in state.terms.values():
        yield (
            "terms",
            {
                "code": term.code,
                "term_type": term.term_type,
                "start_date": term.start_date.isoformat(),
                "end_date": term.end_date.isoformat(),
                **_marks(term),
            },
        )
    for header in state.headers.values():
        yield "courses", _pushed_header(state, header)
    for person in state.people.values():
        yield (
            "people",
            {
                "id": person.id,
                "unique_id": person.unique_id,
                "student_id": person.student_id,
                "family_name": person.family_name,
                "personal_name": person.personal_name,
                "full_name": f"{person.family_name} {person.personal_name}",
                "khmer_name": person.khmer_name,
                "school_email": person.school_email,
                "personal_email": person.personal_email,
                "student_status": person.student_status,
                "teacher_status": person.teacher_status,
                "roles": person.roles,
                **_marks(person),
            },
        )
    yield from _pushed_parts(state)
    for entry in state.enrolments.values():
        yield (
            "enrolments",
            {
                "id": entry.id,
                "person": entry.person,
                "course": entry.header,
                "status": entry.status,
                **_marks(entry),
            },
        )


def _pushed_header(state: SisState, header: Header) -> Raw:
    course, term = state.courses[header.course], state.terms[header.term]
    return {
        "id": header.id,
        "course_code": course.code,
        "term_code": term.code,
        "section": header.section_id,
        "time_of_day": header.time_of_day,
        "title": course.title,
        "class_type": header.class_type,
        "combined_group_id": header.combined_group,
        "status": header.status,
        "credits": course.credits,
        "division": course.division,
        "cycle": course.cycle,
        "majors": [course.major],
        **_marks(header),
    }


def _pushed_parts(state: SisState) -> Iterator[tuple[str, Raw]]:
    for part in state.parts.values():
        yield (
            "sections",
            {
                "id": f"part-{part.id}",
                "course": part.header,
                "kind": "PART",
                "name": f"{part.part_type} {part.session_number}",
                "session_number": part.session_number,
                "part_type": part.part_type,
                "teachers": [] if part.teacher is None else [part.teacher],
                "meeting_days": part.meeting_days,
                **_marks(part),
            },
        )


def _marks(entity: Entity) -> Raw:
    return {"updated_at": moment(entity.updated_at), "is_deleted": entity.is_deleted}
