"""Reading single values of a feed record; what does not fit names its field and the reason. Pure."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from typing import Any, Final
from zoneinfo import ZoneInfo

Raw = Mapping[str, Any]

MAX_TEXT: Final = 1_000
MAX_ID: Final = 255
"""Length of an id: that of Moodle's ``idnumber``."""
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_YEARS: Final = range(1900, 2201)


class FieldError(ValueError):
    """A field cannot be used. Its text names no values.

    Attributes:
        field: the usual name of the field.
        reason: what is wrong with it.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field} {reason}")
        self.field = field
        self.reason = reason


def text(record: Raw, field: str, longest: int = MAX_TEXT) -> str:
    """Return a required text without blanks around it."""
    found = optional_text(record, field, longest)
    if found is None:
        raise FieldError(field, "is missing" if field not in record else "is empty")
    return found


def optional_text(record: Raw, field: str, longest: int = MAX_TEXT) -> str | None:
    """Return a text without blanks around it; none for null and blank ones."""
    value = record.get(field)
    if value is None:
        return None
    if not isinstance(value, str):
        raise FieldError(field, "is not text")
    if len(value) > longest:
        raise FieldError(field, f"is longer than {longest} characters")
    if not value.isprintable() and not _is_storable(value):
        raise FieldError(field, "holds characters that no text may hold")
    return value.strip() or None


def number(record: Raw, field: str) -> int:
    """Return a required whole number that came as one or as digits."""
    value = record.get(field)
    if isinstance(value, str):
        value = value.strip()
        if len(value) <= 18 and value.isascii() and value.isdigit():
            return int(value)
    elif isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**18:
        return value
    if value is None or value == "":
        raise FieldError(field, "is missing" if field not in record else "is empty")
    raise FieldError(field, "is not a whole number")


def email(record: Raw, field: str) -> str:
    """Return a required e-mail address as it came, without blanks around it."""
    found = text(record, field)
    if not _EMAIL.fullmatch(found):
        raise FieldError(field, "is not an e-mail address")
    return found


def moment(record: Raw, field: str, zone: ZoneInfo) -> datetime:
    """Return a required time in UTC; one without zone is meant in ``zone``."""
    found = optional_moment(record, field, zone)
    if found is None:
        raise FieldError(field, "is missing" if field not in record else "is empty")
    return found


def optional_moment(record: Raw, field: str, zone: ZoneInfo) -> datetime | None:
    """Return a time in UTC, or none for null and blank ones."""
    value = record.get(field)
    if value is None or value == "":
        return None
    try:
        found = datetime.fromisoformat(value)
        if found.year in _YEARS:
            return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        pass
    raise FieldError(field, "is not a time")


def start_of_day(value: str | None, zone: ZoneInfo) -> datetime | None:
    """Return the first moment of a day such as ``2023-06-09`` in UTC; none where it is no day."""
    try:
        day = date.fromisoformat((value or "")[:10])
        return datetime.combine(day, time(), zone).astimezone(UTC) if day.year in _YEARS else None
    except (ValueError, OverflowError):
        return None


def label(record: Raw, field: str) -> str | None:
    """Return an optional text or number as text; none for anything else."""
    value = record.get(field)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return optional_text(record, field)


def _is_storable(value: str) -> bool:
    """Tell whether a text that holds control characters or the like can be kept and sent at all."""
    try:
        return "\0" not in value and bool(value.encode())
    except UnicodeEncodeError:
        return False
