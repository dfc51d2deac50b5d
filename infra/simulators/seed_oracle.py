"""What must be true after a feed has been worked off: plain and slow, to check the hub against.

Nothing here is shared with the hub: the rules are written down a second time on purpose.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

Record = dict[str, Any]
Pair = tuple[str, int]
"""GUID and COURSE_IDENTIFIER."""

REQUIRED: Final = (
    "ENROLMENT_ID",
    "date_created",
    "COURSE_IDENTIFIER",
    "COURSE_STATE",
    "COURSE_SHORTNAME",
    "FIRST_NAME",
    "LAST_NAME",
    "EMAIL",
    "GUID",
)


@dataclass(frozen=True, slots=True)
class Invalid:
    """A record that cannot be used: its place in the feed (from 0) and the field to blame."""

    index: int
    field: str


@dataclass(frozen=True, slots=True)
class Expected:
    """The final state of a feed.

    Attributes:
        active: Pairs whose newest wish is Enrol.
        suspended: Pairs whose newest wish is Suspend. One whose Enrol nobody carried out before may
            as well have no enrolment at all: it must not be active.
        accounts: GUIDs that need an account: those with at least one active pair.
        invalid: Unusable records among those the feed's own query gives.
        unreachable: Places of records that the query of this release never gives.
    """

    active: frozenset[Pair]
    suspended: frozenset[Pair]
    accounts: frozenset[str]
    invalid: tuple[Invalid, ...]
    unreachable: tuple[int, ...]


def expected(records: Iterable[Record], feed: Literal["1.4", "1.5"] = "1.5") -> Expected:
    """Compute the final state from the records in order of the feed.

    The winner of a pair is the record with the highest COURSE_STATE_DATE (date_created where there
    is none), then the highest `record_enrol_id` (1.5) or date_created (1.4), then the later one.
    """
    winners: dict[Pair, tuple[Any, str]] = {}
    invalid, unreachable = [], []
    for index, record in enumerate(records):
        if not is_reachable(record, feed):
            unreachable.append(index)
            continue
        field = invalid_field(record)
        if field is not None:
            invalid.append(Invalid(index, field))
            continue
        pair = (record["GUID"], int(record["COURSE_IDENTIFIER"]))
        version = version_of(record, feed)
        if pair not in winners or version >= winners[pair][0]:
            winners[pair] = (version, record["COURSE_STATE"])
    active = frozenset(pair for pair, (_, state) in winners.items() if state == "Enrol")
    suspended = frozenset(winners) - active
    accounts = frozenset(guid for guid, _ in active)
    return Expected(active, suspended, accounts, tuple(invalid), tuple(unreachable))


def is_reachable(record: Record, feed: Literal["1.4", "1.5"]) -> bool:
    """Say whether the release's query can give the record at all.

    1.4 asks for `date_created gt ..`, which a missing or unreadable date never meets; 1.5 asks for
    `USER_STATE eq 'ACTIVE'`.
    """
    if feed == "1.4":
        return _time(record.get("date_created")) is not None
    return record.get("USER_STATE") == "ACTIVE"


def invalid_field(record: Record) -> str | None:
    """Name the field that makes a record unusable, or None."""
    for field in REQUIRED:
        if record.get(field) is None or str(record[field]).strip() == "":
            return field
    for field in ("ENROLMENT_ID", "COURSE_IDENTIFIER"):
        if not re.fullmatch(r"[0-9]+", str(record[field])):
            return field
    if record["COURSE_STATE"] not in ("Enrol", "Suspend"):
        return "COURSE_STATE"
    if not re.fullmatch(r"[^@\s]+@[^@\s]+", record["EMAIL"]):
        return "EMAIL"
    if _time(record["date_created"]) is None:
        return "date_created"
    state_date = record.get("COURSE_STATE_DATE")
    if state_date is not None and _time(state_date) is None:
        return "COURSE_STATE_DATE"
    return None


def version_of(record: Record, feed: Literal["1.4", "1.5"]) -> tuple[datetime, Any]:
    """Give what orders the records of one pair, oldest first."""
    created = _time(record["date_created"])
    state_date = _time(record.get("COURSE_STATE_DATE")) or created
    if created is None or state_date is None:
        raise ValueError("an invalid record has no version")
    return (state_date, int(record["record_enrol_id"]) if feed == "1.5" else created)


def _time(value: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(value))
    except ValueError:
        return None
