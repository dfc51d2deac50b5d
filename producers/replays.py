"""Replays that are applied: what is left of each to do, done in small transactions that can stop anywhere.

An entity is either asked for once more by a directive, or the newest events of its records are published
again, where the running hub made something else of them. Neither puts an old state over a newer one: stages
take an event that is older than what they hold for no news, and what is asked for again is what they hold.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple

import psycopg
from psycopg.rows import class_row, namedtuple_row
from psycopg.types.json import Jsonb
from sqlalchemy import Connection, Engine

from infra.db.connect import database_trouble, driver_connection, raw, reading
from infra.db.locks import try_lock, unlock
from infra.errors import HubError
from producers import outbox
from producers.decisions import Act, new_id, note
from producers.entities import Entity, NotFound
from producers.history import History
from producers.outbox import Event
from schemas.directives import Directive, DirectiveKind
from schemas.ids import CourseId, PersonId, TenantId, deterministic_id
from schemas.moodle import CommandKind

SOURCE: Final = "replay"
"""``ce_source`` of events that are published again."""
_MOST: Final = 500
_STEPS: Final = 5
"""Transactions in a second, unless they would be larger than `_MOST`."""
_READ: Final = """
    SELECT replay_id, tenant, state, made_by, why, chosen, rate, total, done, made_at, updated_at FROM replays
"""
_TAKE: Final = """
    DELETE FROM replay_items WHERE (replay_id, number) IN (
        SELECT replay_id, number FROM replay_items WHERE replay_id = %s ORDER BY number LIMIT %s
    )
    RETURNING number, kind, person_id, course_id, places
"""
KEPT: Final = 100
"""Rehearsals of a tenant."""
_KEEP: Final = """
    INSERT INTO rehearsals (tenant, made_by, why, made_at, differences, chosen, report)
    VALUES (%s, %s, %s, now(), %s, %s, %s) RETURNING id
"""
_FORGET: Final = """
    DELETE FROM rehearsals WHERE tenant = %s AND id < (
        SELECT id FROM rehearsals WHERE tenant = %s ORDER BY id DESC OFFSET %s LIMIT 1
    )
"""
_ADVANCE: Final = """
    UPDATE replays SET done = done + %s, updated_at = now(),
        state = CASE WHEN done + %s >= total THEN 'DONE' ELSE state END
    WHERE replay_id = %s
"""


class ReplayState(StrEnum):
    """How far a replay is."""

    OPEN = "OPEN"
    """Something is left to do; whether anybody is doing it, its lock tells."""
    PAUSED = "PAUSED"
    DONE = "DONE"


class Item(NamedTuple):
    """One thing to be done.

    Attributes:
        entity: an account, a course, or an enrolment.
        places: of the messages to be published again (``topic/partition/offset``); none: ask once more.
    """

    entity: Entity
    places: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Replay:
    """A replay that is applied; the fields are the columns of the table ``replays``."""

    replay_id: str
    tenant: TenantId
    state: str
    made_by: str
    why: str
    chosen: Mapping[str, Any]
    rate: int
    total: int
    done: int
    made_at: datetime
    updated_at: datetime


def create(
    pool: Engine,
    tenant: TenantId,
    items: Sequence[Item],
    chosen: Mapping[str, str],
    rate: int,
    by: str,
    why: str,
) -> Replay:
    """Store what is to be done; `issue` does it.

    Args:
        pool: of the hub's database.
        tenant: whose entities they all are.
        items: what is to be done, in this order.
        chosen: what was asked for, for those who list replays; no personal data.
        rate: how many are done in a second.
        by: who applies it; see `producers.decisions.Act`.
        why: in the person's words.

    Raises:
        RetryLater: the database is away; nothing was stored.
    """
    replay_id, now = new_id(), datetime.now(UTC)
    with database_trouble(), pool.begin() as connection:
        driver = raw(connection)
        driver.execute(
            "INSERT INTO replays (replay_id, tenant, state, made_by, why, chosen, rate, total, made_at,"
            " updated_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [replay_id, tenant, ReplayState.OPEN, by, why, Jsonb(dict(chosen)), rate, len(items), now, now],
        )
        with (
            driver.cursor() as cursor,
            cursor.copy(
                "COPY replay_items (replay_id, number, kind, person_id, course_id, places) FROM STDIN"
            ) as copy,
        ):
            for number, (entity, places) in enumerate(items):
                copy.write_row(
                    (replay_id, number, entity.kind.value, entity.person_id, entity.course_id, list(places))
                )
        details = {**chosen, "entities": str(len(items))}
        note(connection, [Act(by, "replay.apply", f"replay/{replay_id}", tenant, why, details)])
    return find(pool, replay_id)


def keep(
    pool: Engine, tenant: TenantId, report: Mapping[str, Any], chosen: Mapping[str, str], by: str, why: str
) -> int:
    """Keep what a rehearsal has found, for those who look later; of each tenant the last `KEPT` are kept.

    Args:
        pool: of the hub's database.
        tenant: whose entities were compared.
        report: ``counts``, ``differences`` and ``sample``; ids alone, no personal data.
        chosen: what was asked for.
        by: who asked; see `producers.decisions.Act`.
        why: in the person's words.

    Returns:
        Its id.

    Raises:
        RetryLater: the database is away; nothing was stored.
    """
    with database_trouble(), pool.begin() as connection:
        driver = raw(connection)
        values = [tenant, by, why, report["differences"], Jsonb(dict(chosen)), Jsonb(dict(report))]
        (number,) = driver.execute(_KEEP, values).fetchone() or (0,)
        driver.execute(_FORGET, [tenant, tenant, KEPT - 1])
    return int(number)


def listed(pool: Engine) -> list[Replay]:
    """Return all replays, the newest first.

    Raises:
        RetryLater: the database is away.
    """
    with reading(pool) as connection, connection.cursor(row_factory=class_row(Replay)) as cursor:
        return cursor.execute(f"{_READ} ORDER BY made_at DESC, replay_id").fetchall()


def find(pool: Engine, replay_id: str) -> Replay:
    """Return one replay.

    Raises:
        NotFound: there is none of this id.
        RetryLater: the database is away.
    """
    with reading(pool) as connection, connection.cursor(row_factory=class_row(Replay)) as cursor:
        found = cursor.execute(f"{_READ} WHERE replay_id = %s", [replay_id]).fetchone()
    if found is None:
        problem = f"replay: there is none of the id {replay_id}: see `hub replay list`"
        raise NotFound(problem)
    return found


def pause(pool: Engine, replay_id: str, by: str, why: str) -> None:
    """Have whoever issues the replay stop after its present batch.

    Raises:
        NotFound: there is no such replay, or nothing is left of it to do.
        RetryLater: the database is away.
    """
    _turn(pool, replay_id, ReplayState.PAUSED, "replay.pause", by, why)


def resume(pool: Engine, replay_id: str, by: str, why: str) -> None:
    """Let the replay go on; raises as `pause`."""
    _turn(pool, replay_id, ReplayState.OPEN, "replay.resume", by, why)


def _turn(pool: Engine, replay_id: str, state: ReplayState, action: str, by: str, why: str) -> None:
    replay = find(pool, replay_id)
    with database_trouble(), pool.begin() as connection:
        changed = raw(connection).execute(
            "UPDATE replays SET state = %s, updated_at = now() WHERE replay_id = %s AND state <> %s",
            [state, replay_id, ReplayState.DONE],
        )
        if changed.rowcount == 0:
            problem = f"replay: {replay_id} is done already"
            raise NotFound(problem)
        note(connection, [Act(by, action, f"replay/{replay_id}", replay.tenant, why)])


def issue(
    pool: Engine,
    replay_id: str,
    history: History,
    database_url: str,
    progress: Callable[[int, int], None],
    stop: threading.Event,
) -> Replay:
    """Do what is left of a replay, at its rate, until it is done or paused, or ``stop`` is set.

    What was done and that it was done are one transaction: whenever this ends, the next call goes on there.

    Args:
        pool: of the hub's database.
        replay_id: which.
        history: where events are read again.
        database_url: of the hub's database, for the lock that lets one process at a time do this.
        progress: told how many are done, of how many.
        stop: ends it.

    Raises:
        HubError: another process is at it.
        NotFound: there is no such replay.
        RetryLater: Kafka or the database is away; the rest waits.
    """
    replay = find(pool, replay_id)
    with driver_connection(database_url) as lock:
        if not try_lock(lock, "replay", replay_id):
            problem = f"replay {replay_id} is going on in another process"
            raise HubError(problem)
        due = time.monotonic()
        while not stop.is_set() and (count := _step(pool, replay, history)):
            replay = find(pool, replay_id)
            progress(replay.done, replay.total)
            due += count / replay.rate
            stop.wait(max(0.0, due - time.monotonic()))
        unlock(lock, "replay", replay_id)
    return find(pool, replay_id)


def _step(pool: Engine, replay: Replay, history: History) -> int:
    """Do the next few; return how many were done, none when it is done or paused."""
    with database_trouble(), pool.begin() as connection:
        driver = raw(connection)
        state = driver.execute(
            "SELECT state FROM replays WHERE replay_id = %s FOR UPDATE", [replay.replay_id]
        ).fetchone()
        if state is None or state[0] != ReplayState.OPEN:
            return 0
        rows = _take(driver, replay.replay_id, _size(replay.rate))
        _write(connection, replay, rows, history)
        driver.execute(_ADVANCE, [len(rows), len(rows), replay.replay_id])
        return len(rows)


def _size(rate: int) -> int:
    return min(_MOST, max(1, rate // _STEPS))


def _take(driver: psycopg.Connection, replay_id: str, limit: int) -> list[Any]:
    with driver.cursor(row_factory=namedtuple_row) as cursor:
        return sorted(cursor.execute(_TAKE, [replay_id, limit]).fetchall())


def _write(connection: Connection, replay: Replay, rows: Sequence[Any], history: History) -> None:
    outputs = history.read(place for row in rows for place in row.places)
    events = [
        Event(outputs[place], f"replay-{replay.replay_id}-{place}", SOURCE)
        for row in rows
        for place in row.places
        if place in outputs
    ]
    outbox.write(raw(connection), events)
    asked = [row for row in rows if not any(place in outputs for place in row.places)]
    note(connection, [], [_directive(replay, row) for row in asked])


def _directive(replay: Replay, row: Any) -> Directive:
    return Directive(
        directive_id=deterministic_id("replay", replay.replay_id, str(row.number)),
        tenant=replay.tenant,
        kind=DirectiveKind.REASSERT,
        subject=CommandKind(row.kind),
        issued_at=datetime.now(UTC),
        person_id=None if row.person_id is None else PersonId(row.person_id),
        course_id=None if row.course_id is None else CourseId(row.course_id),
        by=replay.made_by,
        why=replay.why,
    )
