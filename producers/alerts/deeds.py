"""What people do about incidents: take them on, silence them; each with its entry in the audit."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg
from psycopg.rows import class_row, dict_row
from sqlalchemy import Engine

from infra.db.connect import database_trouble, raw, reading
from infra.errors import BadArgument
from producers.alerts.incidents import silenced_until
from producers.alerts.model import Alert, Incident, Silence, State
from producers.alerts.store import active_silences, incident_of, silence_of
from producers.decisions import Act, note
from producers.entities import NotFound
from schemas.ids import TenantId

LONGEST: Final = timedelta(days=90)
"""Of a silence."""
PAGE: Final = 100
_LIST: Final = """
    SELECT * FROM incidents
    WHERE (%(tenant)s::text IS NULL OR tenant = %(tenant)s) AND (%(all)s OR state <> 'RESOLVED')
    ORDER BY id DESC LIMIT %(limit)s
"""
_ONE: Final = "SELECT * FROM incidents WHERE tenant = %s AND id = %s"
# In the order in which the watch locks them too.
_STANDING: Final = "SELECT * FROM incidents WHERE tenant = %s AND state <> 'RESOLVED' ORDER BY id FOR UPDATE"
_SILENCES: Final = """
    SELECT * FROM silences
    WHERE (%(tenant)s::text IS NULL OR tenant = %(tenant)s) AND ended_at IS NULL AND until > now()
    ORDER BY id DESC
"""
_DELIVERIES: Final = """
    SELECT channel, news, created_at, attempts, sent_at, given_up_at, error
    FROM notifications WHERE about = %s ORDER BY id
"""
# Who takes an incident on knows of it, whoever was told.
_ACKNOWLEDGE: Final = """
    UPDATE incidents
    SET state = 'ACKNOWLEDGED', acknowledged_at = now(), acknowledged_by = %s, told = severity
    WHERE id = %s
"""
_SILENCE: Final = """
    INSERT INTO silences (tenant, alert, subject, until, made_at, made_by, why)
    VALUES (%s, %s, %s, %s, now(), %s, %s) RETURNING *
"""
_END: Final = """
    UPDATE silences SET ended_at = now()
    WHERE tenant = %s AND id = %s AND ended_at IS NULL AND until > now() RETURNING *
"""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a channel was to be told of an incident.

    Attributes:
        channel: ``email``, ``webhook`` or ``slack``.
        news: ``OPENED``, ``ESCALATED`` or ``RESOLVED``.
        created_at: when it was decided.
        attempts: how often it was tried.
        sent_at: when it was taken; none: it waits for its next try, or was given up.
        given_up_at: when it was old news.
        error: of the last try: a short code.
    """

    channel: str
    news: str
    created_at: datetime
    attempts: int
    sent_at: datetime | None
    given_up_at: datetime | None
    error: str | None

    @property
    def outcome(self) -> str:
        """What came of it, in words."""
        if self.sent_at is not None:
            return f"sent {self.sent_at:%Y-%m-%d %H:%M} UTC"
        waits = "given up" if self.given_up_at else "waits"
        return f"{waits}, tried {self.attempts}×: {self.error}" if self.error else waits


def incidents(
    pool: Engine, tenant: TenantId | None = None, *, resolved: bool = False, limit: int = PAGE
) -> list[Incident]:
    """Return the incidents that are not resolved, or all, newest first.

    Args:
        pool: of the hub's database.
        tenant: whose; none: everybody's.
        resolved: the resolved ones too.
        limit: at most so many.

    Raises:
        RetryLater: the database is away.
    """
    wanted = {"tenant": tenant, "all": resolved, "limit": limit}
    with reading(pool) as connection, connection.cursor(row_factory=dict_row) as cursor:
        return [incident_of(row) for row in cursor.execute(_LIST, wanted).fetchall()]


def incident(pool: Engine, tenant: TenantId, incident_id: int) -> Incident:
    """Return one incident.

    Raises:
        NotFound: the tenant has none of this number.
        RetryLater: the database is away.
    """
    with reading(pool) as connection:
        return _incident(connection, tenant, incident_id)


def deliveries(pool: Engine, incident_id: int) -> list[Delivery]:
    """Return what each channel was to be told of an incident, and what came of it, in the order of time.

    Raises:
        RetryLater: the database is away.
    """
    with reading(pool) as connection, connection.cursor(row_factory=class_row(Delivery)) as cursor:
        return cursor.execute(_DELIVERIES, [f"incident/{incident_id}"]).fetchall()


def silences(pool: Engine, tenant: TenantId | None = None) -> list[Silence]:
    """Return the silences that hold now, newest first.

    Raises:
        RetryLater: the database is away.
    """
    with reading(pool) as connection, connection.cursor(row_factory=dict_row) as cursor:
        return [silence_of(row) for row in cursor.execute(_SILENCES, {"tenant": tenant}).fetchall()]


def acknowledge(pool: Engine, tenant: TenantId, incident_id: int, *, by: str, why: str = "") -> Incident:
    """Take an incident on; nothing more is told of it but its end, and if it becomes graver. Return it.

    Raises:
        NotFound: the tenant has none of this number.
        BadArgument: it is over.
        RetryLater: the database is away; nothing was done.
    """
    with database_trouble(), pool.begin() as connection:
        driver = raw(connection)
        found = _incident(driver, tenant, incident_id, lock=True)
        if found.state is State.RESOLVED:
            msg = f"incident: {incident_id} is over"
            raise BadArgument(msg)
        driver.execute(_ACKNOWLEDGE, [by, incident_id])
        details = {"alert": found.name.alert, "subject": found.name.subject}
        note(connection, [Act(by, "alert.acknowledge", f"incident/{incident_id}", tenant, why, details)])
        return _incident(driver, tenant, incident_id)


def silence_incident(
    pool: Engine, tenant: TenantId, incident_id: int, until: datetime, *, by: str, why: str = ""
) -> Silence:
    """Have nothing new told until then of this incident, and of later ones of the same alert and subject.

    Raises:
        NotFound: the tenant has none of this number.
        BadArgument: ``until`` cannot be used.
        RetryLater: the database is away; nothing was done.
    """
    name = incident(pool, tenant, incident_id).name
    return silence(pool, tenant, until, alert=name.alert, subject=name.subject, by=by, why=why)


def silence(
    pool: Engine,
    tenant: TenantId,
    until: datetime,
    *,
    alert: str | None = None,
    subject: str | None = None,
    by: str,
    why: str = "",
) -> Silence:
    """Have nothing new told until then of incidents of this alert and subject, those to come included.

    Args:
        pool: of the hub's database.
        tenant: whose incidents.
        until: with time zone; at most `LONGEST` ahead.
        alert: one of `Alert`; none: all.
        subject: about what; none: whatever.
        by: who; see `producers.decisions.Act`.
        why: in the person's words.

    Raises:
        BadArgument: there is no such alert, or ``until`` cannot be used.
        RetryLater: the database is away; nothing was done.
    """
    _check(alert, until)
    with database_trouble(), pool.begin() as connection:
        driver = raw(connection)
        with driver.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute(_SILENCE, [tenant, alert, subject, until, by, why]).fetchall()
        made = silence_of(rows[0])
        _renew(driver, tenant)
        note(connection, [Act(by, "alert.silence", _subject(made), tenant, why, _told(made))])
    return made


def end_silence(pool: Engine, tenant: TenantId, silence_id: int, *, by: str, why: str = "") -> Silence:
    """End a silence before its time; what still stands is told within moments. Return it.

    Raises:
        NotFound: the tenant has none of this number that holds.
        RetryLater: the database is away; nothing was done.
    """
    with database_trouble(), pool.begin() as connection:
        driver = raw(connection)
        with driver.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute(_END, [tenant, silence_id]).fetchone()
        if row is None:
            msg = f"silence: {silence_id} is none that holds"
            raise NotFound(msg)
        ended = silence_of(row)
        _renew(driver, tenant)
        note(connection, [Act(by, "alert.unsilence", _subject(ended), tenant, why, _told(ended))])
    return ended


def _incident(
    connection: psycopg.Connection, tenant: TenantId, incident_id: int, *, lock: bool = False
) -> Incident:
    query = f"{_ONE} FOR UPDATE" if lock else _ONE
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(query.encode(), [tenant, incident_id]).fetchone()
    if row is None:
        msg = f"incident: there is no incident {incident_id}"
        raise NotFound(msg)
    return incident_of(row)


def _renew(connection: psycopg.Connection, tenant: TenantId) -> None:
    """Show at once until when each open incident is silenced; see also `producers.alerts.incidents`."""
    holding = active_silences(connection, datetime.now(UTC))
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_STANDING, [tenant]).fetchall()
    for one in map(incident_of, rows):
        values: Sequence[Any] = [silenced_until(holding, one.name), one.incident_id]
        connection.execute("UPDATE incidents SET silenced_until = %s WHERE id = %s", values)


def _check(alert: str | None, until: datetime) -> None:
    if alert is not None and alert not in set(Alert):
        msg = f"alert: {alert!r} is none of {', '.join(Alert)}"
        raise BadArgument(msg)
    left = until - datetime.now(UTC)
    if not timedelta(0) < left <= LONGEST:
        msg = f"until: must lie ahead, at most {LONGEST.days} days"
        raise BadArgument(msg)


def _subject(made: Silence) -> str:
    return f"silence/{made.silence_id}"


def _told(made: Silence) -> dict[str, str]:
    return {"alert": made.alert or "", "subject": made.subject or "", "until": made.until.isoformat()}
