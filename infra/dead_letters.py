"""Dead letters as people look for them: chosen from the read model, read where they lie.

What people do about them is in `producers.redriving`.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, cast

import psycopg
from confluent_kafka import Message
from psycopg.errors import UndefinedColumn, UndefinedTable
from psycopg.rows import class_row, tuple_row
from sqlalchemy import Engine

from infra.db.connect import reading
from infra.errors import BadArgument, RetryLater
from infra.fetch import Spot, fetch, spot_of
from infra.settings import KafkaConfig
from schemas.convert import RecordError
from schemas.deadletters import DeadLetter, Header, from_message

_MATCHES: Final = """
    FROM read_model.dead_letters
    WHERE (%(tenant)s::text IS NULL OR tenant = %(tenant)s)
      AND (%(kind)s::text IS NULL OR kind = %(kind)s OR starts_with(kind, %(kind)s || '.'))
      AND (%(reason)s::text IS NULL OR reason = %(reason)s)
      AND (%(role)s::text IS NULL OR role = %(role)s)
      AND (%(entity)s::text IS NULL OR entity = %(entity)s)
      AND (%(failed_before)s::timestamptz IS NULL OR failed_at < %(failed_before)s)
      AND (%(failed_after)s::timestamptz IS NULL OR failed_at > %(failed_after)s)
      AND (%(places)s::text[] IS NULL OR place = ANY(%(places)s))
      AND (%(state)s::text IS NULL OR state = %(state)s)
"""
_FIND: Final = f"""
    SELECT place, role, topic, partition, message_offset, message_key, tenant, kind, entity, reason,
        error_class, error, attempt, failed_at, state, decided_at, decided_by
    {_MATCHES}
    ORDER BY failed_at DESC, place LIMIT %(limit)s
"""
_COUNT: Final = f"SELECT reason, count(*) {_MATCHES} GROUP BY reason ORDER BY count(*) DESC, reason"


class State(StrEnum):
    """What people have decided about a dead letter."""

    OPEN = "OPEN"
    REDRIVEN = "REDRIVEN"
    DISCARDED = "DISCARDED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which dead letters are meant: those to which all of this applies; what is none applies to all.

    Attributes:
        tenant: whose.
        kind: of the record, such as ``person``, or ``moodle.command`` for all kinds of commands.
        reason: the reason code.
        role: the stage or sink at which they failed.
        entity: such as ``person/P1``.
        failed_before: they failed earlier than this.
        failed_after: they failed later than this.
        places: they lie at one of these (``topic/partition/offset``).
        state: what was decided about them.
    """

    tenant: str | None = None
    kind: str | None = None
    reason: str | None = None
    role: str | None = None
    entity: str | None = None
    failed_before: datetime | None = None
    failed_after: datetime | None = None
    places: tuple[str, ...] | None = None
    state: State | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """One dead letter as the read model lists it, without the message."""

    place: str
    role: str
    topic: str
    partition: int
    message_offset: int
    message_key: str
    tenant: str
    kind: str
    entity: str
    reason: str
    error_class: str
    error: str
    attempt: int
    failed_at: datetime
    state: str
    """A `State`."""
    decided_at: datetime | None
    decided_by: str | None


def find(pool: Engine, choice: Choice, limit: int | None = None) -> list[Found]:
    """Return the chosen dead letters, the last that failed first.

    Raises:
        RetryLater: the database is away, or the read model is not there yet.
    """
    with _read_model(pool) as connection, connection.cursor(row_factory=class_row(Found)) as cursor:
        return cursor.execute(_FIND, _parameters(choice) | {"limit": limit}).fetchall()


def count(pool: Engine, choice: Choice) -> dict[str, int]:
    """Return how many dead letters are chosen, by reason, the most first; raises as `find`."""
    with _read_model(pool) as connection, connection.cursor(row_factory=tuple_row) as cursor:
        return dict(cursor.execute(_COUNT, _parameters(choice)).fetchall())


def read(kafka: KafkaConfig, spots: Collection[Spot]) -> dict[Spot, DeadLetter]:
    """Return the dead letters at ``spots``; what is not there, or is none, is left out.

    Raises:
        RetryLater: the brokers do not answer.
    """
    found = {}
    for spot, message in fetch(kafka, spots).items():
        try:
            found[spot] = _letter(spot, message)
        except RecordError:  # such as one that another program has written
            continue
    return found


def show(kafka: KafkaConfig, place: str) -> DeadLetter:
    """Return the dead letter at ``place`` (``topic/partition/offset``) with its message.

    Raises:
        BadArgument: there is none.
        RetryLater: the brokers do not answer.
    """
    spot = spot_of(place)
    message = fetch(kafka, [spot]).get(spot)
    if message is None:
        msg = f"there is no dead letter at {place}"
        raise BadArgument(msg)
    try:
        return _letter(spot, message)
    except RecordError as error:
        msg = f"{place}: {error}"
        raise BadArgument(msg) from None


def _letter(spot: Spot, message: Message) -> DeadLetter:
    headers = cast(list[Header], message.headers() or [])
    return from_message(message.key(), message.value(), headers, str(spot))


def _parameters(choice: Choice) -> dict[str, Any]:
    places = None if choice.places is None else list(choice.places)
    return asdict(choice) | {"places": places}


@contextmanager
def _read_model(pool: Engine) -> Iterator[psycopg.Connection]:
    try:
        with reading(pool) as connection:
            yield connection
    except (UndefinedTable, UndefinedColumn):
        msg = "the read model is not there, or of an older release: start the projector, or run `hub rebuild`"
        raise RetryLater(msg) from None
