"""The story of an entity: what sources said, what Moodle was asked for, what came of it, who decided what."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import psycopg
from psycopg.rows import dict_row
from sqlalchemy import Engine

from infra.cli.chronicle import Told
from infra.cli.telling import fields_of, identity_of, line_of, news, word_of
from infra.db.connect import reading
from producers.entities import Entity
from producers.held import read_model
from schemas.ids import TenantId, key
from schemas.moodle import CommandKind
from schemas.topics import Record

_MOST: Final = 1_000
_RECORDS: Final = """
    WITH RECURSIVE asked AS (
        SELECT * FROM unnest(%(sources)s::text[], %(ids)s::text[]) AS a(source, record_id)
    ), kinds AS (
        SELECT source, (
            SELECT min(kind) FROM source_records r WHERE r.tenant = %(tenant)s AND r.source = s.source
        ) AS kind FROM (SELECT DISTINCT source FROM asked) AS s
        UNION ALL
        SELECT source, (
            SELECT min(kind) FROM source_records r
            WHERE r.tenant = %(tenant)s AND r.source = k.source AND r.kind > k.kind
        ) FROM kinds k WHERE kind IS NOT NULL
    )
    SELECT r.changed_at AS at, NULL AS place, r.source, r.kind, r.record_id, r.revision, r.version_time,
        r.first_seen
    FROM asked JOIN kinds USING (source)
    JOIN source_records r ON (r.tenant, r.source, r.kind, r.record_id)
        = (%(tenant)s, asked.source, kinds.kind, asked.record_id)
"""
"""By the whole primary key: the kinds of a source are found one after the other, for there are few."""
_HELD: Final = """
    SELECT since AS at, NULL AS place, 'parked' AS word, what, person_id, course_id, waits_for, reason
    FROM read_model.parked WHERE tenant = %(tenant)s AND {held}
    UNION ALL
    SELECT since, NULL, 'refused', what, person_id, course_id, NULL, reason
    FROM read_model.refused WHERE tenant = %(tenant)s AND {held}
    UNION ALL
    SELECT since, NULL, 'conflict', lower(subject), person_id, course_id, lower(state), reason
    FROM read_model.conflicts WHERE tenant = %(tenant)s AND {held}
"""
_OF_KIND: Final = {
    CommandKind.USER: "person_id = %(person)s",
    CommandKind.COURSE: "course_id = %(course)s AND coalesce(person_id, '') = ''",
    CommandKind.ENROLMENT: (
        "(person_id = %(person)s AND coalesce(course_id, %(course)s) = %(course)s"
        " OR course_id = %(course)s AND coalesce(person_id, '') = '')"
    ),
}
_AUDIT: Final = """
    SELECT at, place, actor, action, subject, why, details
    FROM read_model.audit WHERE tenant = %(tenant)s AND subject = ANY(%(subjects)s)
"""
_LETTERS: Final = """
    SELECT failed_at AS at, place, role, topic, partition, message_offset, reason, error, state
    FROM read_model.dead_letters WHERE tenant = %(tenant)s AND entity = ANY(%(subjects)s)
"""
_CALLS: Final = """
    SELECT started_at AS at, place, system, target, function, duration_ms, code, http_status, attempt, entries
    FROM read_model.calls WHERE references_ && %(references)s::text[]
    ORDER BY started_at DESC LIMIT %(most)s
"""


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened.

    Attributes:
        at: when.
        what: ``event``, ``command``, ``call`` and the like.
        place: of the message that tells it (``topic/partition/offset``); none where a table does.
        told: what it says, by name.
    """

    at: datetime
    what: str
    place: str | None
    told: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S.%f}Z  {self.what:15}  {line_of(self.told)}  [{self.place or '-'}]"


def story_of(pool: Engine, entity: Entity, messages: Sequence[Told], *, full: bool) -> list[Line]:
    """Return the story of ``entity`` in the order of time.

    Args:
        pool: of the database with the read model.
        entity: whose.
        messages: all about it, in the order of time.
        full: tell personal data.

    Raises:
        RetryLater: the database is away, or there is no read model yet.
    """
    records = [one.record for one in messages if one.record is not None]
    asked = {
        "tenant": entity.tenant,
        "person": entity.person_id,
        "course": entity.course_id,
        "subjects": _subjects(entity),
        "references": _references(entity, records),
        "most": _MOST,
    }
    lines = [*_messages(messages, full=full), *_source_records(pool, entity.tenant, records)]
    with read_model(pool) as connection:
        held = _HELD.format(held=_OF_KIND[entity.kind])
        lines += [_line(row.pop("word"), row) for row in _rows(connection, held, asked)]
        lines += [_line("audit", row) for row in _rows(connection, _AUDIT, asked)]
        lines += [_line("dead letter", row) for row in _rows(connection, _LETTERS, asked)]
        lines += [_line("call", row) for row in _rows(connection, _CALLS, asked)]
    return sorted(lines, key=lambda line: line.at)


def _messages(messages: Sequence[Told], *, full: bool) -> Iterator[Line]:
    before: dict[object, Record] = {}
    for one in messages:
        if one.record is None:
            yield Line(one.at, "message", str(one.spot), {"kept": "no longer, or it cannot be read"})
            continue
        identity = identity_of(one.record)
        same = (one.record.TYPE, *identity.items())
        told = news(one.record, before.get(same), full=full) or {"repeats": "the one before"}
        before[same] = one.record
        yield Line(one.at, word_of(one.record), str(one.spot), {**identity, **told})


def _source_records(pool: Engine, tenant: TenantId, records: Iterable[Record]) -> Iterator[Line]:
    named = {
        (record.source_system, record.source_record_id)
        for record in records
        if hasattr(record, "source_system") and hasattr(record, "source_record_id")
    }
    sources, ids = [source for source, _ in named], [record_id for _, record_id in named]
    with reading(pool) as connection:
        asked = {"tenant": tenant, "sources": sources, "ids": ids}
        for row in _rows(connection, _RECORDS, asked):
            yield _line("source record", row)


def _subjects(entity: Entity) -> list[str]:
    """Return the entity as the audit names it, and for an enrolment its person and course."""
    found = [str(entity)]
    if entity.kind is CommandKind.ENROLMENT:
        found += [f"person/{entity.person_id}", f"course/{entity.course_id}"]
    return found


def _references(entity: Entity, records: Iterable[Record]) -> list[str]:
    """Return how the log of calls names the entity; with a person go the person's enrolments."""
    tenant, person, course = entity.tenant, entity.person_id or "", entity.course_id or ""
    if entity.kind is CommandKind.COURSE:
        return [key("course", tenant, course)]
    if entity.kind is CommandKind.ENROLMENT:
        return [
            key("enrolment", tenant, course, person),
            key("user", tenant, person),
            key("course", tenant, course),
        ]
    taken = {one for record in records if (one := fields_of(record).get("course_id"))}
    return [key("user", tenant, person), *(key("enrolment", tenant, one, person) for one in sorted(taken))]


def _rows(connection: psycopg.Connection, query: str, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, asked).fetchall()


def _line(what: str, row: dict[str, Any]) -> Line:
    at, place = row.pop("at"), row.pop("place")
    return Line(at, what, place, {name: value for name, value in row.items() if value not in (None, "", {})})
