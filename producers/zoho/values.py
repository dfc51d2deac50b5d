"""Reading single values of Zoho's records; what does not fit names the reason. Pure.

Each reader takes a value that is neither null nor blank and gives it in one form that is equal for equal
meaning, as JSON: so ``500``, ``500.0`` and ``"500"`` are the same amount.
"""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from producers.candidates import storable

MAX_TEXT: Final = 1_000
MAX_LONG_TEXT: Final = 20_000
MAX_ID: Final = 200
"""Length of an id: together with what is made of it, it must fit into Moodle's ``idnumber`` (255)."""
_YEARS: Final = range(1900, 2201)
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")
_NUMBER = re.compile(r"[+-]?\d{1,14}(\.\d{1,20})?")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}|\d{8}")
_UNIT: Final = Decimal("0.0001")
"""The events carry four decimal places."""
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NOT_WORD = re.compile(r"[^A-Za-z0-9]+")


class ValueProblem(ValueError):
    """A value cannot be used; the text says why and holds no value."""


def is_blank(value: object) -> bool:
    """Tell whether ``value`` says nothing: null, blank text, an empty list or object."""
    return value is None or (isinstance(value, str) and not value.strip()) or value in ([], {})


def text(value: object) -> str:
    """Return a text (or a number as text) without blanks around it."""
    return _text(value, MAX_TEXT)


def long_text(value: object) -> str:
    """Return a text of some length."""
    return _text(value, MAX_LONG_TEXT)


def record_id(value: object) -> str:
    """Return an id; Zoho's are digits, as text or number."""
    if isinstance(value, float):
        raise ValueProblem("is not text")
    return _text(value, MAX_ID)


def _text(value: object, longest: int) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = _digits(value)
    if not isinstance(value, str):
        raise ValueProblem("is not text")
    value = value.strip()
    if len(value) > longest:
        msg = f"is longer than {longest} characters"
        raise ValueProblem(msg)
    if not value.isprintable() and not _is_storable(value):
        raise ValueProblem("holds characters that no text may hold")
    return value


def _is_storable(value: str) -> bool:
    try:
        return "\0" not in value and bool(value.encode())
    except UnicodeEncodeError:
        return False


def email(value: object) -> str:
    """Return an e-mail address in small letters: it has an ``@`` and a dot behind it."""
    found = text(value).lower()
    if not _EMAIL.fullmatch(found):
        raise ValueProblem("is not an e-mail address")
    return found


def number(value: object) -> str:
    """Return a decimal number as its shortest text, rounded to four places."""
    found = value.strip() if isinstance(value, str) else value
    if isinstance(found, int | float | Decimal) and not isinstance(found, bool):
        found = format(Decimal(_digits(found)), "f")
    if not isinstance(found, str) or not _NUMBER.fullmatch(found):
        raise ValueProblem("is not a number" if not _is_huge(found) else "is too large")
    try:
        rounded = Decimal(found).quantize(_UNIT, ROUND_HALF_EVEN)
    except InvalidOperation:
        raise ValueProblem("is too large") from None
    plain = format(rounded, "f").rstrip("0").rstrip(".")
    return "0" if plain in ("-0", "") else plain


def _digits(value: float | Decimal) -> str:
    """Return a number as text; Python refuses to write integers of thousands of digits."""
    if isinstance(value, int) and value.bit_length() > 256:
        raise ValueProblem("is too large")
    return str(value)


def _is_huge(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[+-]?\d{15,}(\.\d*)?", value) is not None


def amount(value: object) -> str:
    """Return a number that is not negative."""
    found = number(value)
    if found.startswith("-"):
        raise ValueProblem("is negative")
    return found


def price(value: object) -> str | None:
    """Return a price; 0 is none, as Zoho's form sends it for an empty field."""
    found = amount(value)
    return None if found == "0" else found


def percent(value: object) -> str:
    """Return a number from 0 to 100."""
    found = number(value)
    if not 0 <= Decimal(found) <= 100:
        raise ValueProblem("is not between 0 and 100")
    return found


def whole(value: object) -> int:
    """Return a whole number that is not negative, from a number or from digits."""
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        value = int(value.strip()) if len(value.strip()) <= 18 else -1
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 10**18:
        raise ValueProblem("is not a whole number")
    return value


def moodle_id(value: object) -> int | None:
    """Return an id of Moodle; 0 is none."""
    return whole(value) or None


def day(value: object) -> str:
    """Return a day in the extended form ``2026-01-31``; it may come in the basic one, or with a time."""
    found = value.strip() if isinstance(value, str) else ""
    try:
        if _DAY.fullmatch(found):
            parsed = date.fromisoformat(found)
        elif _DAY.match(found):
            parsed = datetime.fromisoformat(found).date()
        else:
            raise ValueProblem("is not a date")
    except ValueError:
        raise ValueProblem("is not a date") from None
    if parsed.year not in _YEARS:
        raise ValueProblem("is not a date")
    return parsed.isoformat()


def moment(value: object) -> datetime:
    """Return a time in UTC; one without zone is meant in UTC."""
    try:
        found = datetime.fromisoformat(value.strip()) if isinstance(value, str) else None
        if found is not None and found.year in _YEARS:
            return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueProblem("is not a time")


def lookup_id(value: object) -> str:
    """Return the id of a lookup: ``{"id", "name"}``, or the id by itself."""
    return record_id(value.get("id") or "") if isinstance(value, Mapping) else record_id(value)


def lookup_name(value: object) -> str | None:
    """Return the name of a lookup, if it has one."""
    found = value.get("name") if isinstance(value, Mapping) else None
    return text(found) if isinstance(found, str) and found.strip() else None


def rows(value: object) -> list[dict[str, Any]]:
    """Return the rows of a subform, each with its plain values only."""
    if not isinstance(value, list):
        raise ValueProblem("is not a list")
    if not all(isinstance(row, Mapping) for row in value):
        raise ValueProblem("has a row that is not an object")
    plain = [{str(name): item for name, item in row.items() if is_plain(item)} for row in value]
    found: list[dict[str, Any]] = storable(plain)
    return found


def table(value: object) -> str:
    """Return the rows of a subform as JSON text, with names in small letters."""
    plain = [{snake(name): attribute(item) for name, item in row.items()} for row in rows(value)]
    found = [{name: item for name, item in sorted(row.items()) if item is not None} for row in plain]
    return msgspec.json.encode(found).decode()


def is_plain(value: object) -> bool:
    """Tell whether ``value`` is a text, a number or a truth value."""
    return isinstance(value, str | int | float)


def attribute(value: object) -> str | None:
    """Return a plain value as the text of an attribute; none for what is blank, too long or no text."""
    if is_blank(value) or not is_plain(value):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    try:
        return long_text(value)
    except ValueProblem:
        return None


def snake(name: str) -> str:
    """Return a field's name as attributes have it: ``Student_Name`` and ``StudentName`` are student_name."""
    return _NOT_WORD.sub("_", _CAMEL.sub("_", name)).strip("_").lower()


def first_moment(found: str | None, zone: ZoneInfo) -> datetime | None:
    """Return the first moment of a day in UTC."""
    if found is None:
        return None
    return datetime.combine(date.fromisoformat(found), time(), zone).astimezone(UTC)


def end_of(found: str | None, zone: ZoneInfo) -> datetime | None:
    """Return the moment in UTC when a day is over."""
    if found is None:
        return None
    following = date.fromisoformat(found) + timedelta(days=1)
    return datetime.combine(following, time(), zone).astimezone(UTC)
