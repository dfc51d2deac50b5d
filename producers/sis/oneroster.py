"""Records of OneRoster 1.1 and 1.2 to the hub's own form. Pure; any JSON value is answered.

Field names follow the OneRoster 1.2 rostering information model; 1.1 differs in users only: one ``role``
instead of ``roles``, ``orgs`` instead of ``primaryOrg``. A reference is ``{"sourcedId": ..}``.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from producers.sis.records import (
    COURSE,
    ENROLMENT,
    ORG,
    PERSON,
    TEMPLATE,
    TERM,
    Record,
    RecordError,
    Refused,
    checked,
    day,
    free_name,
    joined,
    moment,
    present,
    required,
    snake,
    text,
    texts,
)

Raw = Mapping[str, Any]

DELETED: Final = "tobedeleted"
SOURCE_STATUS: Final = "sourceStatus"
"""Metadata field in which a SIS may tell its own status, such as NO_SHOW_ACADEMIC, beside OneRoster's."""
DISABLED: Final = "disabled"
"""Status of a user that is active but must not log in."""
_SECRET: Final = frozenset({"password", "userProfiles"})
"""Fields that hold passwords; they are never kept."""
RESOURCES: Final[Mapping[str, str]] = {
    "orgs": ORG,
    "academicSessions": TERM,
    "courses": TEMPLATE,
    "classes": COURSE,
    "users": PERSON,
    "enrollments": ENROLMENT,
}
"""Collections of OneRoster and the kind of their records, in the order in which they are read."""


def to_record(kind: str, raw: object, received_at: datetime) -> Record | Refused:
    """Return what one record of a OneRoster collection means.

    Args:
        kind: the kind of the collection, from `RESOURCES`.
        raw: the record as it came.
        received_at: its time where it has no ``dateLastModified``.
    """
    if not isinstance(raw, Mapping):
        return Refused(kind=kind, id=None, field="record", reason="is not an object", content=raw)
    try:
        return checked(_record(kind, raw, received_at))
    except RecordError as error:
        content = {name: value for name, value in raw.items() if name not in _SECRET}
        return Refused(
            kind=kind, id=_id_or_none(raw), field=error.field, reason=error.reason, content=content
        )


def _record(kind: str, raw: Raw, received_at: datetime) -> Record:
    deleted = (text(raw, "status") or "active").lower() == DELETED
    person = course = None
    if kind == ENROLMENT:
        person, course = _reference(raw, "user"), _reference(raw, "class")
    fields = _FIELDS[kind](raw)
    if not deleted:
        _check_required(kind, fields)
    return Record(
        kind=kind,
        id=required(raw, "sourcedId"),
        time=moment(text(raw, "dateLastModified"), "dateLastModified") or received_at,
        deleted=deleted,
        person=person,
        course=course,
        fields={**_metadata(raw), **present(fields)},
    )


_REQUIRED: Final[Mapping[str, Mapping[str, str]]] = {
    PERSON: {"first_name": "givenName", "last_name": "familyName"},
    COURSE: {"title": "title"},
    TERM: {"name": "title"},
    TEMPLATE: {"title": "title"},
    ORG: {"name": "name"},
    ENROLMENT: {"role": "role"},
}


def _check_required(kind: str, fields: Mapping[str, str | None]) -> None:
    """Check what a record cannot do without; one that is to be deleted may be a mere id."""
    for canonical, theirs in _REQUIRED[kind].items():
        if fields.get(canonical) is None:
            raise RecordError(theirs, "is missing or empty")


def _person(raw: Raw) -> dict[str, str | None]:
    roles = _roles(raw)
    identifier = text(raw, "identifier")
    role = roles[0] if roles else None
    enabled = text(raw, "enabledUser")
    return {
        "unique_id": text(raw, "userMasterIdentifier"),
        "identifier": identifier,
        "student_id": identifier if role == "student" else None,
        "username": text(raw, "username"),
        "email": text(raw, "email"),
        "first_name": text(raw, "givenName"),
        "last_name": text(raw, "familyName"),
        "middle_name": text(raw, "middleName"),
        "preferred_first_name": text(raw, "preferredFirstName"),
        "preferred_middle_name": text(raw, "preferredMiddleName"),
        "preferred_last_name": text(raw, "preferredLastName"),
        "pronouns": text(raw, "pronouns"),
        "sms": text(raw, "sms"),
        "phone": text(raw, "phone"),
        "role": role,
        "roles": joined(dict.fromkeys(roles)),
        "grades": joined(texts(raw, "grades")),
        "org_id": _primary_org(raw),
        "enabled_user": enabled,
        "status": _status(raw, DISABLED if (enabled or "").lower() == "false" else "active"),
        **_user_ids(raw),
    }


def _roles(raw: Raw) -> list[str]:
    """Return the roles, the primary one first; of 1.1 it is only one."""
    if not isinstance(raw.get("roles"), list):
        return texts(raw, "role")
    entries = sorted(_objects(raw, "roles"), key=lambda entry: entry.get("roleType") != "primary")
    return [role for entry in entries for role in texts(entry, "role")]


def _primary_org(raw: Raw) -> str | None:
    """Return the id of the primary org, else that of the primary role's org, else the first of ``orgs``."""
    if found := _reference_or_none(raw, "primaryOrg"):
        return found
    for role in _objects(raw, "roles"):
        if role.get("roleType") == "primary" and (found := _reference_or_none(role, "org")):
            return found
    orgs = _references(raw, "orgs")
    return orgs[0] if orgs else None


def _user_ids(raw: Raw) -> dict[str, str | None]:
    """Return external ids as fields named after their type, such as ``user_id_fed``."""
    found = raw.get("userIds")
    if found is None:
        return {}
    if not isinstance(found, list):
        raise RecordError("userIds", "is not a list")
    pairs = [entry for entry in found if isinstance(entry, Mapping)]
    return {
        f"user_id_{snake(kind)}": text(pair, "identifier") for pair in pairs if (kind := text(pair, "type"))
    }


def _class(raw: Raw) -> dict[str, str | None]:
    terms = _references(raw, "terms")
    return {
        "title": text(raw, "title"),
        "class_code": text(raw, "classCode"),
        "class_type": text(raw, "classType"),
        "location": text(raw, "location"),
        "grades": joined(texts(raw, "grades")),
        "subjects": joined(texts(raw, "subjects")),
        "subject_codes": joined(texts(raw, "subjectCodes")),
        "periods": joined(texts(raw, "periods")),
        "course_template_id": _reference_or_none(raw, "course"),
        "org_id": _reference_or_none(raw, "school"),
        "term_id": terms[0] if terms else None,
        "term_ids": joined(terms),
        "status": _status(raw, "active"),
    }


def _template(raw: Raw) -> dict[str, str | None]:
    return {
        "title": text(raw, "title"),
        "course_code": text(raw, "courseCode"),
        "grades": joined(texts(raw, "grades")),
        "subjects": joined(texts(raw, "subjects")),
        "subject_codes": joined(texts(raw, "subjectCodes")),
        "org_id": _reference_or_none(raw, "org"),
        "school_year_id": _reference_or_none(raw, "schoolYear"),
    }


def _term(raw: Raw) -> dict[str, str | None]:
    title = text(raw, "title")
    return {
        "code": text(_mapping(raw, "metadata"), "code") or title,
        "name": title,
        "term_type": text(_mapping(raw, "metadata"), "termType") or text(raw, "type"),
        "session_type": text(raw, "type"),
        "start_date": day(text(raw, "startDate"), "startDate"),
        "end_date": day(text(raw, "endDate"), "endDate"),
        "parent_id": _reference_or_none(raw, "parent"),
        "school_year": text(raw, "schoolYear"),
    }


def _org(raw: Raw) -> dict[str, str | None]:
    return {
        "name": text(raw, "name"),
        "org_type": text(raw, "type"),
        "identifier": text(raw, "identifier"),
        "parent_id": _reference_or_none(raw, "parent"),
    }


def _enrolment(raw: Raw) -> dict[str, str | None]:
    return {
        "role": text(raw, "role"),
        "primary": text(raw, "primary"),
        "begin_date": day(text(raw, "beginDate"), "beginDate"),
        "end_date": day(text(raw, "endDate"), "endDate"),
        "org_id": _reference_or_none(raw, "school"),
        "status": _status(raw, "active"),
    }


_FIELDS: Final[Mapping[str, Callable[[Raw], dict[str, str | None]]]] = {
    ORG: _org,
    TERM: _term,
    TEMPLATE: _template,
    COURSE: _class,
    PERSON: _person,
    ENROLMENT: _enrolment,
}


def _status(raw: Raw, otherwise: str) -> str:
    return text(_mapping(raw, "metadata"), SOURCE_STATUS) or otherwise


def _metadata(raw: Raw) -> dict[str, str]:
    """Return the scalars of the extension ``metadata``; OneRoster's own fields take precedence over them."""
    found = _mapping(raw, "metadata")
    if not found:
        return {}
    scalars = {name: value for name, value in found.items() if isinstance(value, str | int | float)}
    return present(
        {free_name(name): text(scalars, name) for name in scalars if snake(name) and name != SOURCE_STATUS}
    )


def _mapping(raw: Raw, name: str) -> Raw:
    found = raw.get(name)
    return found if isinstance(found, dict) else {}


def _reference(raw: Raw, name: str) -> str:
    found = _reference_or_none(raw, name)
    if found is None:
        raise RecordError(name, "names no sourcedId")
    return found


def _reference_or_none(raw: Raw, name: str) -> str | None:
    found = raw.get(name)
    if found is None:
        return None
    if not isinstance(found, dict):
        raise RecordError(name, "is not a reference")
    return text(found, "sourcedId")


def _references(raw: Raw, name: str) -> list[str]:
    return [found for entry in _objects(raw, name) if (found := text(entry, "sourcedId"))]


def _objects(raw: Raw, name: str) -> Sequence[Raw]:
    """Return the objects of a list; whatever else is in it is passed over."""
    found = raw.get(name)
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _id_or_none(raw: Raw) -> str | None:
    value = raw.get("sourcedId")
    return value if isinstance(value, str) and 0 < len(value) <= 255 and value.isprintable() else None
