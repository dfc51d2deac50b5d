"""What a posted completion must look like: a table of fields and a check."""

import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Final

from infra.simulators.elm.columns import COMPLETION_FIELDS
from infra.simulators.elm.table import Record

Check = Callable[[object], bool]

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _day(value: object) -> bool:
    if not isinstance(value, str) or not _DAY.fullmatch(value):
        return False
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return True


REQUIRED: Final[Mapping[str, tuple[Check, str]]] = {
    "COURSE_COMPLETE_DATE": (_day, "a date YYYY-MM-DD"),
    "COURSE_STATE": (lambda value: value == "Complete", "'Complete'"),
    "ENROLMENT_ID": (_integer, "an integer"),
    "USER_STATE": (lambda value: value == "Active", "'Active'"),
    "USER_EFFECTIVE_DATE": (_day, "a date YYYY-MM-DD"),
    "COURSE_IDENTIFIER": (_integer, "an integer"),
    "COURSE_SHORTNAME": (_text, "a text"),
    "EMAIL": (_text, "a text"),
    "GUID": (_text, "a text"),
    "FIRST_NAME": (_text, "a text"),
    "LAST_NAME": (_text, "a text"),
}

OPTIONAL: Final[Mapping[str, tuple[Check, str]]] = {
    "OPRID": (lambda value: value is None or isinstance(value, str), "a text or null"),
    "ACTIVITY_ID": (lambda value: value is None or _integer(value), "an integer or null"),
    "PERSON_ID": (lambda value: value is None or _integer(value), "an integer or null"),
    "COURSE_LONG_NAME": (lambda value: value is None or isinstance(value, str), "a text or null"),
}


def complaint(record: Record) -> str | None:
    """Say what is wrong with a completion, naming the field; None when nothing is."""
    for field in record:
        if field not in COMPLETION_FIELDS:
            return f"unknown field {field}"
    for field, (check, wanted) in {**REQUIRED, **OPTIONAL}.items():
        if field not in record:
            if field in REQUIRED:
                return f"missing required field {field}"
        elif not check(record[field]):
            return f"field {field} must be {wanted}"
    return None
