"""Incidents, silences and notifications in the database.

What is decided in one round, and what is told of it to each channel, is one transaction: whoever is killed in
between has done nothing, or all of it.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from producers.alerts.gathering import now as time_of
from producers.alerts.incidents import Move, moves
from producers.alerts.model import Incident, Judgement, Name, Severity, Silence, State
from producers.alerts.notices import Notice, notice_of

_STANDING: Final = "SELECT * FROM incidents WHERE state <> 'RESOLVED' ORDER BY id FOR UPDATE"
_SILENCES: Final = "SELECT * FROM silences WHERE until > %s AND ended_at IS NULL ORDER BY id"
_OPEN: Final = """
    INSERT INTO incidents (tenant, alert, subject, severity, state, message, details, opened_at, seen_at,
        silenced_until, told)
    VALUES (%(tenant)s, %(alert)s, %(subject)s, %(severity)s, %(state)s, %(message)s, %(details)s,
        %(opened_at)s, %(seen_at)s, %(silenced_until)s, %(told)s)
    RETURNING id
"""
_UPDATE: Final = """
    UPDATE incidents SET severity = %(severity)s, state = %(state)s, message = %(message)s,
        details = %(details)s, seen_at = %(seen_at)s, resolved_at = %(resolved_at)s,
        silenced_until = %(silenced_until)s, told = %(told)s
    WHERE id = %(incident_id)s
"""
_TELL: Final = """
    INSERT INTO notifications (channel, about, news, notice, created_at, next_try_at)
    SELECT channel, %(about)s, %(news)s, %(notice)s, %(at)s, %(at)s
    FROM unnest(%(channels)s::text[]) AS channel
    ON CONFLICT (channel, about, news) DO NOTHING
"""


def decide(
    connection: psycopg.Connection, judgement: Judgement, calm: timedelta, channels: Collection[str]
) -> list[Move]:
    """Let the incidents go on as ``judgement`` has it, and note what each of ``channels`` is told.

    Args:
        connection: of the process that holds the lock; in no transaction.
        judgement: what the rules say now.
        calm: see `producers.alerts.incidents.moves`.
        channels: names of those there are.

    Returns:
        What became of the incidents, those that were opened with their ids.
    """
    with connection.transaction():
        now = time_of(connection)
        standing, silences = open_incidents(connection), active_silences(connection, now)
        done = [_write(connection, one) for one in moves(standing, judgement, silences, now, calm)]
        for incident, news in done:
            if news is not None:
                tell(connection, notice_of(incident, news, now), channels)
    return done


def tell(
    connection: psycopg.Connection, notice: Notice, channels: Collection[str], news: str | None = None
) -> None:
    """Note that ``channels`` are told ``notice``: once, whatever is asked for again.

    Args:
        connection: in the transaction that this belongs to.
        notice: what is told.
        channels: names of those there are.
        news: what makes it another one than those before that are about the same; none: the notice's own.
    """
    values = {
        "about": notice.about,
        "news": news or notice.news,
        "notice": Jsonb(msgspec.to_builtins(notice)),
        "at": notice.at,
        "channels": list(channels),
    }
    connection.execute(_TELL, values)


def open_incidents(connection: psycopg.Connection) -> list[Incident]:
    """Return the incidents that are not resolved, locked to the end of the transaction."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return [incident_of(row) for row in cursor.execute(_STANDING).fetchall()]


def active_silences(connection: psycopg.Connection, now: datetime) -> list[Silence]:
    """Return the silences that hold at ``now``."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return [silence_of(row) for row in cursor.execute(_SILENCES, [now]).fetchall()]


def count_open(connection: psycopg.Connection) -> int:
    """Return how many incidents are not resolved."""
    row = connection.execute("SELECT count(*) FROM incidents WHERE state <> 'RESOLVED'").fetchone()
    return int(row[0]) if row else 0


def incident_of(row: dict[str, Any]) -> Incident:
    """Return the incident of a row of ``incidents``."""
    same = ("message", "details", "opened_at", "seen_at", "resolved_at", "acknowledged_at", "acknowledged_by")
    return Incident(
        incident_id=row["id"],
        name=Name(row["tenant"], row["alert"], row["subject"]),
        severity=Severity(row["severity"]),
        state=State(row["state"]),
        silenced_until=row["silenced_until"],
        told=Severity(row["told"]) if row["told"] else None,
        **{name: row[name] for name in same},
    )


def silence_of(row: dict[str, Any]) -> Silence:
    """Return the silence of a row of ``silences``."""
    return Silence(silence_id=row.pop("id"), **row)


def _write(connection: psycopg.Connection, move: Move) -> Move:
    incident = move.incident
    values = {
        **incident.name._asdict(),
        "incident_id": incident.incident_id,
        "severity": incident.severity,
        "state": incident.state,
        "message": incident.message,
        "details": Jsonb(dict(incident.details)),
        "opened_at": incident.opened_at,
        "seen_at": incident.seen_at,
        "resolved_at": incident.resolved_at,
        "silenced_until": incident.silenced_until,
        "told": incident.told,
    }
    if incident.incident_id:
        connection.execute(_UPDATE, values)
        return move
    row: Sequence[Any] = connection.execute(_OPEN, values).fetchone() or (0,)
    return Move(replace(incident, incident_id=row[0]), move.tell)
