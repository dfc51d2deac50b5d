"""Records of a SIS in the one form that all its ways in share, and how single values get there. Pure.

OneRoster, CSV files and pushes are each read into a `Record`; `producers.sis.to_events` knows only that.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import msgspec

from producers.candidates import storable

SOURCE: Final = "sis"

PERSON: Final = "person"
COURSE: Final = "course"
SECTION: Final = "section"
TERM: Final = "term"
ENROLMENT: Final = "enrolment"
GRADE: Final = "grade"
ORG: Final = "org"
TEMPLATE: Final = "course_template"
ROSTER: Final = "course_teachers"
"""Who teaches which sections of a course; made of sections, see `producers.sis.teaching`."""

KINDS: Final = (ORG, TERM, TEMPLATE, COURSE, PERSON, SECTION, ROSTER, ENROLMENT, GRADE)
"""All kinds, in an order in which little has to wait."""

MAX_TEXT: Final = 1_000
MAX_ID: Final = 255
_YEARS: Final = range(1900, 2201)
_RESERVED: Final = frozenset(
    {"id", "deleted", "person", "person_id", "course", "course_id", "sections", "teachers", "status", "role"}
)
"""Names that contents and events give a meaning."""
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")


class RecordError(ValueError):
    """A record cannot be used. Its text names no values.

    Attributes:
        field: the field to blame, as the sender calls it.
        reason: what is wrong with it.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field} {reason}")
        self.field = field
        self.reason = reason


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One record of a SIS.

    Attributes:
        kind: one of `KINDS`.
        id: the SIS's own id of it.
        time: UTC time of its version: of its last change where the SIS tells it, else of its receipt.
        deleted: the SIS has it no more.
        undated: it has no time of its own, and is to be passed over if it is just what is known.
        person: id of the person it is of (enrolments, grades).
        course: id of the course it is of (enrolments, sections, some grades).
        sections: ids of the sections that an enrolment is for.
        teachers: ids of the persons who teach a section.
        fields: everything else by its canonical name; documented in ``docs/guides/sis.md``.
    """

    kind: str
    id: str
    time: datetime
    deleted: bool = False
    undated: bool = False
    person: str | None = None
    course: str | None = None
    sections: tuple[str, ...] = ()
    teachers: tuple[str, ...] = ()
    fields: dict[str, str] = {}


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """A record that cannot be used, with the field to blame and the reason."""

    kind: str
    id: str | None
    field: str
    reason: str
    content: Any


def checked(record: Record) -> Record:
    """Return ``record`` if its texts can be kept.

    Raises:
        RecordError: a text is too long or holds characters that no text may hold.
    """
    ids = [record.id, *(name for name in (record.person, record.course) if name is not None)]
    if record.sections or record.teachers:
        ids += [*record.sections, *record.teachers]
    for name in ids:
        if not 0 < len(name) <= MAX_ID:
            raise RecordError("id", f"is empty or longer than {MAX_ID} characters")
        if not name.isprintable():
            raise RecordError("id", "holds characters that no id may hold")
    # Nearly always all is well, and one look at all texts together tells.
    together = "".join(record.fields.values())
    if len(together) > MAX_TEXT or not together.isprintable():
        _check_texts(record.fields)
    return record


def _check_texts(fields: Mapping[str, str]) -> None:
    for name, value in fields.items():
        if len(value) > MAX_TEXT:
            raise RecordError(name, f"is longer than {MAX_TEXT} characters")
        if not value.isprintable() and storable(value) != value:
            raise RecordError(name, "holds characters that no text may hold")


def text(raw: Mapping[str, Any], name: str) -> str | None:
    """Return a text without blanks around it, numbers and truth values as text; none for blank ones.

    Raises:
        RecordError: the value is a list or an object.
    """
    value = raw.get(name)
    if value is None:
        return None
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    raise RecordError(name, "is not text")


def required(raw: Mapping[str, Any], name: str) -> str:
    """Return a text that must be there.

    Raises:
        RecordError: it is missing, blank or no text.
    """
    found = text(raw, name)
    if found is None:
        raise RecordError(name, "is empty" if name in raw else "is missing")
    return found


def texts(raw: Mapping[str, Any], name: str) -> list[str]:
    """Return a list of texts; a single text counts as a list of one, blank ones are left out.

    Raises:
        RecordError: it is something else.
    """
    value = raw.get(name)
    if value is None:
        return []
    items = value if isinstance(value, list) else [value]
    return [found for item in items if (found := text({name: item}, name)) is not None]


def joined(values: Iterable[str]) -> str | None:
    """Return values as one text, separated by commas; none for no value."""
    return ",".join(values) or None


def present(fields: Mapping[str, str | None]) -> dict[str, str]:
    """Return the fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}


def moment(value: str | None, name: str) -> datetime | None:
    """Return an ISO 8601 time in UTC (one without zone counts as UTC); none for none.

    Raises:
        RecordError: it is no time.
    """
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(value)
        if found.year in _YEARS:
            return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise RecordError(name, "is not a time")


def day(value: str | None, name: str) -> str | None:
    """Return an ISO 8601 day as ``YYYY-MM-DD``, also of a time; none for none.

    Raises:
        RecordError: it is no day.
    """
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(value)
        if found.year in _YEARS:
            return found.date().isoformat()
    except ValueError:
        pass
    raise RecordError(name, "is not a day")


@lru_cache(maxsize=1_024)
def free_name(name: str) -> str:
    """Return the canonical name of an extension; names that have a meaning of their own get another."""
    found = snake(name)
    return f"other_{found}" if found in _RESERVED else found


@lru_cache(maxsize=1_024)
def snake(name: str) -> str:
    """Return ``name`` as canonical names are written: ``birthYear`` becomes ``birth_year``."""
    return "_".join(part for part in _WORDS.split(name) if part).lower()
