"""What the changelogs of the stages say, as rows of the read model.

Stages and read model know nothing of each other; here the entries of the ones become rows of the other. What
waits is decided by the stages' own rules, asked for each of the cases that depend on another entry.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec

from connectors.read_model import state_tables as tables
from connectors.read_model.projection import Projection, Values
from connectors.read_model.reading import Change
from connectors.read_model.rows import Row
from infra.settings import Settings
from processors import completions, courses, people
from processors.accounts import AccountEntry
from processors.catalogue import CatalogueEntry, missing_references
from schemas.convert import RecordError
from schemas.ids import split
from schemas.topics import changelog

_MISSING: Final = AccountEntry(missing=True)
_OUT: Final = courses.CourseEntry(is_out=True)


class _Kind(NamedTuple):
    """How the entries of one kind become rows.

    Attributes:
        projection: whose rows.
        decode: reads an entry.
        values: what the columns after the key hold, without ``since`` and ``place``.
        key: takes the parts of the entry's key to those of the row's.
    """

    projection: Projection
    decode: Callable[[bytes], Any]
    values: Callable[[Any], Values]
    key: Callable[[list[str]], Values] = tuple


def _account(entry: AccountEntry) -> Values:
    return entry.generation, entry.moodle_user_id, entry.missing, entry.blocked, entry.other_moodle_user_id


def _wish(entry: people.EnrolmentEntry) -> Values:
    wish = entry.wish
    waits, waits_if_missing = people.waits(None, entry), people.waits(_MISSING, entry)
    return wish.status, wish.role, wish.source_system, wish.enrolment_id, waits, waits_if_missing


def _course(entry: courses.CourseEntry) -> Values:
    return entry.generation, entry.moodle_course_id, entry.blocked, entry.is_out, entry.suspend


def _needs(entry: CatalogueEntry) -> Values:
    return (" and ".join(sorted({kind.lower() for kind in missing_references(entry)})) or None,)


def _placement(entry: courses.EnrolmentEntry) -> Values:
    course = entry.issued.moodle_course_id if entry.issued else None
    waits, waits_if_out = courses.waits(None, entry), courses.waits(_OUT, entry)
    told = (entry.generation, entry.moodle_user_id, course, entry.status, entry.applied, entry.refused)
    return (*told, waits, waits_if_out)


def _report(entry: completions.CompletionEntry) -> Values:
    return entry.callback_id, entry.outcome, entry.refused, completions.waits(entry)


def _person_first(parts: list[str]) -> Values:
    tenant, course, person = parts
    return tenant, person, course


def _reader(kind: type[msgspec.Struct]) -> Callable[[bytes], Any]:
    return msgspec.msgpack.Decoder(kind).decode


_KINDS: Final[Mapping[str, Mapping[str, _Kind]]] = {
    "people": {
        "account": _Kind(tables.ACCOUNTS, _reader(AccountEntry), _account),
        "enrolment": _Kind(tables.WISHES, _reader(people.EnrolmentEntry), _wish),
    },
    "courses": {
        "course": _Kind(tables.MOODLE_COURSES, _reader(courses.CourseEntry), _course),
        "catalogue": _Kind(tables.COURSE_NEEDS, _reader(CatalogueEntry), _needs),
        "enrolment": _Kind(tables.PLACEMENTS, _reader(courses.EnrolmentEntry), _placement, _person_first),
    },
    "completions": {
        "completion": _Kind(tables.REPORTS, _reader(completions.CompletionEntry), _report),
    },
}
"""By stage, and by the word that the keys of the entries begin with; other entries are not shown."""


def changes_of(settings: Settings) -> dict[str, Change]:
    """Return what reads each changelog, by its name in the cluster."""
    names = {stage: changelog(stage).prefixed(settings.topic_prefix).name for stage in _KINDS}
    return {names[stage]: partial(state_rows, stage) for stage in _KINDS}


def state_rows(stage: str, key: str, value: bytes | None, at: datetime, place: str) -> tuple[Row, ...]:
    """Return the row that an entry of the table of ``stage`` becomes.

    Args:
        stage: its name.
        key: of the entry.
        value: the entry, encoded; none if it was deleted.
        at: when it was written.
        place: of the message.

    Raises:
        RecordError: the entry cannot be read.
    """
    word, _, _ = key.partition("|")
    kind = _KINDS[stage].get(word)
    if kind is None:
        return ()
    try:
        own = kind.key(split(key)[1:])
        if value is None:
            return (Row(kind.projection, own, is_gone=True),)
        return (Row(kind.projection, (*own, *kind.values(kind.decode(value)), at, place)),)
    except (msgspec.MsgspecError, ValueError) as error:
        msg = f"an entry of the stage {stage} cannot be read ({type(error).__name__})"
        raise RecordError(msg) from None
