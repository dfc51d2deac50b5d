"""The fields of both tables, what kind of value each holds, and how values of a kind compare."""

import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from zoneinfo import ZoneInfo


class Kind(StrEnum):
    """How the values of a field are compared and sorted."""

    INTEGER = "integer"
    TIME = "time"
    TEXT = "text"


FEED_POSITION: Final = "record_enrol_id"

FEED_FIELDS: Final[Mapping[str, Kind]] = {
    FEED_POSITION: Kind.INTEGER,
    "ENROLMENT_ID": Kind.INTEGER,
    "COURSE_IDENTIFIER": Kind.INTEGER,
    "COURSE_SHORTNAME": Kind.TEXT,
    "COURSE_LONG_NAME": Kind.TEXT,
    "COURSE_START_DATE": Kind.TEXT,
    "COURSE_STATE": Kind.TEXT,
    "COURSE_STATE_DATE": Kind.TIME,
    "date_created": Kind.TIME,
    "date_updated": Kind.TIME,
    "date_deleted": Kind.TIME,
    "GUID": Kind.TEXT,
    "EMAIL": Kind.TEXT,
    "FIRST_NAME": Kind.TEXT,
    "LAST_NAME": Kind.TEXT,
    "USER_STATE": Kind.TEXT,
    "USER_EFFECTIVE_DATE": Kind.TEXT,
    "OPRID": Kind.TEXT,
    "PERSON_ID": Kind.INTEGER,
    "ACTIVITY_ID": Kind.INTEGER,
}

COMPLETION_FIELDS: Final[Mapping[str, Kind]] = {
    "COURSE_COMPLETE_DATE": Kind.TEXT,
    "COURSE_STATE": Kind.TEXT,
    "ENROLMENT_ID": Kind.INTEGER,
    "USER_STATE": Kind.TEXT,
    "USER_EFFECTIVE_DATE": Kind.TEXT,
    "COURSE_IDENTIFIER": Kind.INTEGER,
    "COURSE_SHORTNAME": Kind.TEXT,
    "EMAIL": Kind.TEXT,
    "GUID": Kind.TEXT,
    "FIRST_NAME": Kind.TEXT,
    "LAST_NAME": Kind.TEXT,
    "OPRID": Kind.TEXT,
    "ACTIVITY_ID": Kind.INTEGER,
    "PERSON_ID": Kind.INTEGER,
    "COURSE_LONG_NAME": Kind.TEXT,
}

# What stands for null, and for a value its kind cannot read: sorts before everything else.
# In text fields null and '' are one thing, as in the database behind the real server.
LOWEST: Final[Mapping[Kind, Any]] = {
    Kind.INTEGER: float("-inf"),
    Kind.TIME: float("-inf"),
    Kind.TEXT: "",
}

_INTEGER = re.compile(r"-?[0-9]{1,18}")


def feed_fields(feed: str) -> Mapping[str, Kind]:
    """Give the feed's fields by release: `record_enrol_id` came with 1.5."""
    if feed == "1.5":
        return FEED_FIELDS
    return {name: kind for name, kind in FEED_FIELDS.items() if name != FEED_POSITION}


def comparable(kind: Kind, value: object, zone: ZoneInfo) -> Any:
    """Give the form in which a record's value is compared: int, epoch seconds or str.

    A time without zone is read in the server's `zone`. What cannot be read gives `LOWEST[kind]`.
    """
    if kind is Kind.TEXT:
        return "" if value is None else str(value)
    read = _integer(value) if kind is Kind.INTEGER else _epoch(value, zone)
    return LOWEST[kind] if read is None else read


def _integer(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    return None


def _epoch(value: object, zone: ZoneInfo) -> float | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError):
        return None
