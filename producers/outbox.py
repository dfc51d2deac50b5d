"""The outbox: events that are decided and stored, on their way to Kafka.

An event is kept as plain JSON with its unprefixed topic name, so that storing it needs neither Kafka nor
the schema registry; the relay encodes it.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
import psycopg
from sqlalchemy import Engine, func, select

from infra.db.tables import outbox
from infra.stage import Output
from schemas.topics import TOPICS, Record, Topic

CHANNEL = "rosterhub_outbox"
"""PostgreSQL notification channel on which the relay is woken."""

_TOPICS: dict[str, Topic] = {topic.name: topic for topic in TOPICS}
_COPY = "COPY outbox (topic, key, event_id, source, record, traceparent) FROM STDIN"
_INSERT = """
    INSERT INTO outbox (topic, key, event_id, source, record, traceparent)
    SELECT topic, key, event_id, source, record, traceparent
    FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[])
        WITH ORDINALITY AS k(topic, key, event_id, source, record, traceparent, n)
    ORDER BY n
"""
_FEW = 50
"""Up to so many rows an insert, one round trip, costs less than COPY, which needs two."""
_READ = """
    SELECT seq, topic, key, event_id, source, record, traceparent, created_at
    FROM outbox WHERE error IS NULL ORDER BY seq LIMIT %s
"""


class Event(NamedTuple):
    """One event to be stored."""

    output: Output
    event_id: str
    source: str
    """Of the CloudEvents header ``ce_source``."""
    traceparent: str | None = None


class Stored(NamedTuple):
    """One event as it lies in the outbox."""

    seq: int
    topic: str
    key: str
    event_id: str
    source: str
    record: str
    traceparent: str | None
    created_at: datetime

    def output(self) -> Output:
        """Return the topic (without prefix) and the record.

        Raises:
            LookupError: this hub knows no such topic.
            msgspec.DecodeError: the text is no record of the topic.
        """
        topic = _TOPICS[self.topic]
        if topic.record is None:
            msg = f"topic {topic.name} holds no records"
            raise LookupError(msg)
        return Output(topic, msgspec.json.decode(self.record, type=topic.record))


def write(connection: psycopg.Connection, events: Iterable[Event]) -> None:
    """Store ``events`` in this order, in the transaction of ``connection``.

    Call it after the locks on the records they are of were taken: then whoever changes the same record
    next gets higher numbers, and the order of the outbox is the order of the changes.
    """
    rows = [
        (
            event.output.topic.name,
            event.output.record.key,
            event.event_id,
            event.source,
            encode(event.output.record),
            event.traceparent,
        )
        for event in events
    ]
    if len(rows) > _FEW:
        with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
            for row in rows:
                copy.write_row(row)
    elif rows:
        connection.execute(_INSERT, [list(column) for column in zip(*rows, strict=True)], prepare=True)


def encode(record: Record) -> str:
    """Return ``record`` as the JSON text that the outbox holds."""
    return msgspec.json.encode(record).decode()


def notify(connection: psycopg.Connection) -> None:
    """Wake the relay."""
    connection.execute("SELECT pg_notify(%s, '')", [CHANNEL])


def read(connection: psycopg.Connection, limit: int) -> list[Stored]:
    """Return the oldest events, in order."""
    return [Stored(*row) for row in connection.execute(_READ, [limit], prepare=True).fetchall()]


def remove(connection: psycopg.Connection, numbers: Sequence[int]) -> None:
    """Take out what the broker has acknowledged."""
    connection.execute("DELETE FROM outbox WHERE seq = ANY(%s::bigint[])", [list(numbers)])


def set_aside(connection: psycopg.Connection, number: int, error: str) -> None:
    """Leave an event that cannot be published as it is; the others go on. ``error`` has no personal data."""
    connection.execute("UPDATE outbox SET error = %s WHERE seq = %s", [error, number])


class Backlog(NamedTuple):
    """How much lies in the outbox."""

    waiting: int
    set_aside: int


def backlog(engine: Engine) -> Backlog:
    """Count what waits for the relay, and what was set aside because it can never be published."""
    failed = func.count(outbox.c.error)
    with engine.connect() as connection:
        total, aside = connection.execute(select(func.count(), failed).select_from(outbox)).one()
    return Backlog(total - aside, aside)
