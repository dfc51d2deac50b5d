"""The body of a completion as ELM takes it."""

import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, Final

from infra.errors import Rejected
from schemas.elm import CallbackResult, CompletionCallback
from schemas.reasons import Reason

Delivery = tuple[int, int]
"""What ELM counts as one completion: ENROLMENT_ID and COURSE_IDENTIFIER."""

_INTEGER = re.compile(r"-?[0-9]{1,18}")


def integer(value: object) -> int | None:
    """Return ``value`` as an int if it is one or is text of digits, as ELM writes numbers; else none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(value) if isinstance(value, str) and _INTEGER.fullmatch(value) else None


def _text(value: str) -> str | None:
    return value or None


OPTIONAL: Final[Mapping[str, tuple[str, Callable[[str], object]]]] = {
    "OPRID": ("oprid", _text),
    "ACTIVITY_ID": ("activity_id", integer),
    "PERSON_ID": ("person_id", integer),
    "COURSE_LONG_NAME": ("course_long_name", _text),
}
"""Fields that only some feeds have: the attribute of the callback, and how it is read."""


def delivery(callback: CompletionCallback | CallbackResult) -> Delivery:
    """Return what identifies the completion in ELM.

    Raises:
        Rejected: an id is no integer; ELM could not hold the completion.
    """
    return (
        _required_integer("ENROLMENT_ID", callback.enrolment_id),
        _required_integer("COURSE_IDENTIFIER", callback.course_id),
    )


def body(callback: CompletionCallback, user_effective_date: date) -> dict[str, Any]:
    """Return the JSON body of the POST; optional fields only where the feed gave a usable value.

    Raises:
        Rejected: a field that ELM needs is blank or no integer; the text names the field.
    """
    enrolment, course = delivery(callback)
    fields: dict[str, Any] = {
        "COURSE_COMPLETE_DATE": callback.completed_on.isoformat(),
        "COURSE_STATE": "Complete",
        "ENROLMENT_ID": enrolment,
        "USER_STATE": "Active",
        "USER_EFFECTIVE_DATE": user_effective_date.isoformat(),
        "COURSE_IDENTIFIER": course,
        "COURSE_SHORTNAME": _required_text("COURSE_SHORTNAME", callback.course_short_name),
        "EMAIL": _required_text("EMAIL", callback.email),
        "GUID": _required_text("GUID", callback.person_id),
        "FIRST_NAME": _required_text("FIRST_NAME", callback.first_name),
        "LAST_NAME": _required_text("LAST_NAME", callback.last_name),
    }
    read = {name: form(callback.attributes.get(key, "")) for name, (key, form) in OPTIONAL.items()}
    return fields | {name: value for name, value in read.items() if value is not None}


def _required_integer(name: str, value: str) -> int:
    number = integer(value)
    if number is None:
        raise Rejected(Reason.INVALID_FIELD, f"{name} is no integer")
    return number


def _required_text(name: str, value: str) -> str:
    if not value.strip():
        raise Rejected(Reason.INVALID_FIELD, f"{name} is blank")
    return value
