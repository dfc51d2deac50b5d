"""Pushed records, and rows of plain CSV files, to the hub's own form. Pure; any JSON value is answered."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from producers.candidates import storable
from producers.sis.models import (
    MODELS,
    CourseModel,
    EnrolmentModel,
    GradeModel,
    PersonModel,
    Pushed,
    SectionModel,
    TermModel,
)
from producers.sis.records import (
    COURSE,
    ENROLMENT,
    GRADE,
    PERSON,
    SECTION,
    TERM,
    Record,
    RecordError,
    Refused,
    checked,
    day,
    free_name,
    joined,
    moment,
    snake,
)

KINDS: Final[Mapping[str, str]] = {
    "people": PERSON,
    "courses": COURSE,
    "sections": SECTION,
    "terms": TERM,
    "enrolments": ENROLMENT,
    "grades": GRADE,
}
"""Kinds of records by the name of their model."""

_SHARED: Final = frozenset({"updated_at", "is_deleted", "attributes", "id"})
_DIGITS: Final = 30
_MAX_SHOWN: Final = 200
_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_QUOTED = re.compile(r"^Object (?:missing required|contains unknown) field `(?P<field>[^`]*)`")
_INVALID_VALUE = re.compile(r"^Invalid (?:enum )?value .*")


def to_record(name: str, raw: object, received_at: datetime, *, lax: bool = False) -> Record | Refused:
    """Return what one pushed record means.

    Args:
        name: of its model, from `MODELS`.
        raw: the record as it came.
        received_at: its time where it has no ``updated_at``.
        lax: values may be texts that stand for numbers, truth values or days, as in a CSV file.
    """
    try:
        model = msgspec.convert(raw, MODELS[name], strict=not lax)
        return checked(_record(KINDS[name], model, received_at))
    except RecordError as error:
        field, reason = error.field, error.reason
    except msgspec.ValidationError as error:
        field, reason = _blame(str(error))
    except RecursionError:
        field, reason = "record", "is nested too deeply"
    return Refused(kind=KINDS[name], id=_id_or_none(raw), field=field, reason=reason, content=raw)


def _record(kind: str, model: Pushed, received_at: datetime) -> Record:
    build = _BUILD[kind]
    record_id, links, fields = build(model)
    if not model.is_deleted:
        _check(kind, model)
    return Record(
        kind=kind,
        id=record_id,
        time=_time(model.updated_at) or received_at,
        deleted=model.is_deleted,
        fields={**_extra(model), **fields},
        **links,
    )


def _time(told: datetime | None) -> datetime | None:
    return None if told is None else moment(told.isoformat(), "updated_at")


_Built = tuple[str, dict[str, Any], dict[str, str]]


def _person(model: PersonModel) -> _Built:
    record_id = _first("id", model.id, model.unique_id)
    fields = _fields(model, {"family_name": "last_name", "personal_name": "first_name"})
    email = fields.get("school_email") or fields.get("personal_email")
    status = model.student_status or model.teacher_status or model.staff_status
    shown = {"email": email, "status": status, "role": model.roles[0] if model.roles else None}
    return record_id, {}, {**fields, **{name: value for name, value in shown.items() if value}}


def _course(model: CourseModel) -> _Built:
    parts = (model.course_code, model.term_code, model.section, model.time_of_day)
    natural = "|".join(part or "" for part in parts) if all(parts[:2]) else None
    fields = _fields(model)
    if model.term_code and model.term_id is None:
        fields["term_id"] = model.term_code
    if natural is not None:
        fields["natural_key"] = natural
    return _first("id", model.id, natural), {}, fields


def _section(model: SectionModel) -> _Built:
    links = {"course": _link(model, "course"), "teachers": _ids(model.teachers)}
    fields = _fields(model, {"kind": "section_kind"}, without=("course", "teachers"))
    return _first("id", model.id), links, fields


def _term(model: TermModel) -> _Built:
    return _first("id", model.id, model.code), {}, _fields(model)


def _enrolment(model: EnrolmentModel) -> _Built:
    person, course = _link(model, "person"), _link(model, "course")
    natural = f"{person}|{course}" if person and course else None
    links = {"person": person, "course": course, "sections": _ids(model.sections)}
    fields = _fields(model, without=("person", "course", "sections"))
    return _first("id", model.id, natural), links, fields


def _grade(model: GradeModel) -> _Built:
    links = {
        "person": _link(model, "person"),
        "course": None if model.course is None else _link(model, "course"),
    }
    fields = _fields(model, {"numeric_score": "score"}, without=("person", "course"))
    value = fields.get("letter_grade") or fields.get("score")
    return _first("id", model.id), links, {**fields, **({"value": value} if value else {})}


_BUILD: Final[Mapping[str, Callable[[Any], _Built]]] = {
    PERSON: _person,
    COURSE: _course,
    SECTION: _section,
    TERM: _term,
    ENROLMENT: _enrolment,
    GRADE: _grade,
}
_REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    PERSON: ("family_name", "personal_name"),
    COURSE: ("title",),
    SECTION: ("name",),
    TERM: ("code",),
    ENROLMENT: (),
    GRADE: (),
}


def _check(kind: str, model: Pushed) -> None:
    for name in _REQUIRED[kind]:
        if not (getattr(model, name) or "").strip():
            raise RecordError(name, "is missing or empty")
    if isinstance(model, EnrolmentModel) and model.role.lower() == "student" and not model.status:
        raise RecordError("status", "is missing or empty")
    if isinstance(model, GradeModel):
        _check_grade(model)


def _check_grade(model: GradeModel) -> None:
    if model.numeric_score is None and not model.letter_grade:
        raise RecordError("numeric_score", "is missing, and so is letter_grade")
    score = model.numeric_score
    if score is not None and (not score.is_finite() or not 0 <= score <= 100):
        raise RecordError("numeric_score", "is not between 0 and 100")


def _fields(
    model: Pushed, names: Mapping[str, str] | None = None, without: Sequence[str] = ()
) -> dict[str, str]:
    """Return the fields of ``model`` that have a value, as text, some by another name."""
    renamed = names or {}
    found = {}
    for name in model.__struct_fields__:
        if name not in _SHARED and name not in without:
            value = _as_text(getattr(model, name), name)
            if value is not None:
                found[renamed.get(name, name)] = value
    return found


def _as_text(value: Any, name: str) -> str | None:
    if value is None or isinstance(value, str):
        return (value.strip() or None) if value else None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, date):
        return day(value.isoformat(), name)
    if isinstance(value, list):
        return joined(item for entry in value if (item := _as_text(entry, name)))
    if not isinstance(value, Decimal):
        return str(value)
    if not value.is_finite() or abs(value.adjusted()) > _DIGITS:
        raise RecordError(name, "is not a number of usual size")
    return f"{value:f}"


def _extra(model: Pushed) -> dict[str, str]:
    """Return the free attributes under canonical names; they never take the place of a field."""
    found = {}
    for name, value in model.attributes.items():
        content = _as_text(value, name)
        if content is not None and snake(name):
            found[free_name(name)] = content
    return found


def _first(field: str, *values: str | int | None) -> str:
    for value in values:
        found = _as_text(value, field)
        if found is not None:
            return found
    raise RecordError(field, "is missing or empty")


def _link(model: Any, name: str) -> str | None:
    """Return the id of a record referred to; only one that is to be deleted may do without."""
    value = getattr(model, name)
    return None if value is None and model.is_deleted else _first(name, value)


def _ids(values: Sequence[str | int]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(found for value in values if (found := _as_text(value, "id"))))


def _blame(message: str) -> tuple[str, str]:
    """Return the field and the reason of a message of the validator, without any value."""
    path = _PATH.search(message)
    reason = _PATH.sub("", message)
    inside = _QUOTED.match(reason)
    field = ".".join(
        part for part in (path["path"] if path else "", inside["field"] if inside else "") if part
    )
    reason = _INVALID_VALUE.sub("is not one of the allowed values", reason)
    return _shown(field) or "record", _shown(reason[:1].lower() + reason[1:])


def _shown(text: str) -> str:
    """Return ``text`` short enough to be told and fit to be kept: names of fields are the sender's words."""
    found: str = storable(text[:_MAX_SHOWN])
    return found


def _id_or_none(raw: object) -> str | None:
    value = raw.get("id") if isinstance(raw, Mapping) else None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if -(10**18) < value < 10**18 else None
    return value if isinstance(value, str) and 0 < len(value) <= 255 and value.isprintable() else None
