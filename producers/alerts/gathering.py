"""Reads the facts from the database, by a query for each source; one that is away harms no other."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg
from psycopg.errors import InvalidSchemaName, QueryCanceled, UndefinedColumn, UndefinedTable
from psycopg.rows import dict_row, scalar_row

from infra.turns import Work
from producers.alerts.facts import Backlog, Facts, Feed, Held, Limits, Source, Traffic
from producers.overdue import KINDS
from producers.schedule_runs import STOPPED, RunState
from producers.timing import Timing
from schemas.ids import TenantId

FEEDS: Final[Mapping[Work, str]] = {Work.ELM: "elm", Work.SIS: "sis", Work.ZOHO: "zoho"}
"""Targets of schedules that pull from a source, and how the runs of sources name that (a test compares)."""
READINGS: Final = (Work.COURSE_CATALOG, Work.COMPLETIONS, Work.USER_DIRECTORY, Work.ENROLLMENTS)
"""Targets of schedules whose runs make calls to Moodle."""
BEHIND: Final = timedelta(minutes=10)
"""So old a call may be at most that the rates do not count yet."""
FRAME: Final = "SET LOCAL statement_timeout = '20s'; SET LOCAL jit = off"
_TRAFFIC: Final = """
    SELECT coalesce(nullif(tenant, ''), %(tenant)s) AS tenant, kind, system, target, function,
        total, failed, auth_failed, buckets
    FROM read_model.rates WHERE minute > now() - %(window)s
"""
# Without rates nothing would be found, which looks as if all were well. Whoever has read from Moodle has made
# calls; so this also shows when it is the read model that stands still.
_IS_BEHIND: Final = """
    SELECT EXISTS (
        SELECT FROM read_model.calls c
        WHERE c.started_at < now() - %(behind)s AND c.started_at > newest.minute
    ) OR EXISTS (
        SELECT FROM schedule_runs r
        WHERE r.id > (SELECT max(id) - 1000 FROM schedule_runs) AND r.target = ANY(%(readings)s)
            AND r.state = %(success)s AND r.finished_at < now() - %(behind)s AND r.started_at > newest.minute
    ) AS is_behind
    FROM (
        SELECT greatest(max(minute) + %(behind)s, now() - interval '1 hour') AS minute FROM read_model.rates
    ) AS newest
"""
_PARKED: Final = """
    SELECT p.tenant, p.what, p.waits_for AS why, count(*) AS count, min(p.since) AS oldest
    FROM read_model.parked p
    JOIN unnest(%(kinds)s::text[], %(ages)s::interval[]) AS a(kind, age) ON a.kind = p.what
    WHERE p.since < now() - a.age GROUP BY p.tenant, p.what, p.waits_for
"""
_CONFLICTS: Final = """
    SELECT tenant, CASE subject WHEN 'USER' THEN 'account' ELSE lower(subject) END AS what, reason AS why,
        count(*) AS count, min(since) AS oldest
    FROM read_model.conflicts WHERE state = 'OPEN' AND since < now() - %(age)s
    GROUP BY tenant, subject, reason
"""
_OUTBOX: Final = """
    SELECT count(*) FILTER (WHERE error IS NULL) AS waiting, count(error) AS set_aside,
        min(created_at) FILTER (WHERE error IS NULL) AS oldest,
        min(created_at) FILTER (WHERE error IS NOT NULL) AS set_aside_since
    FROM outbox
"""
# A pull by hand is no run of the schedule, but as good; a run that was told to stop is no failure.
_FEEDS: Final = """
    SELECT s.tenant, s.target, s.every_seconds, s.cron, s.only_hours, s.quiet_hours, s.zone,
        coalesce(
            greatest(good.at, pulled.at, s.updated_at), least(bad.failing_since, s.next_run_at), now()
        ) AS since,
        bad.failures, bad.failing_since, bad.reason
    FROM schedules s
    JOIN unnest(%(targets)s::text[], %(sources)s::text[]) AS f(target, source) ON f.target = s.target
    LEFT JOIN LATERAL (
        SELECT r.id, r.finished_at AS at FROM schedule_runs r
        WHERE (r.tenant, r.target, r.site) = (s.tenant, s.target, s.site) AND r.state = %(success)s
        ORDER BY r.id DESC LIMIT 1
    ) AS good ON true
    LEFT JOIN LATERAL (
        SELECT p.finished_at AS at FROM source_runs p
        WHERE (p.tenant, p.source) = (s.tenant, f.source) AND p.state = 'SUCCESS'
        ORDER BY p.id DESC LIMIT 1
    ) AS pulled ON true
    LEFT JOIN LATERAL (
        SELECT count(*) AS failures, min(r.started_at) AS failing_since,
            (array_agg(r.error ORDER BY r.id DESC))[1] AS reason
        FROM schedule_runs r
        WHERE (r.tenant, r.target, r.site) = (s.tenant, s.target, s.site) AND r.state = %(failed)s
            AND r.error IS DISTINCT FROM %(stopped)s AND r.id > coalesce(good.id, 0)
            AND r.started_at > coalesce(greatest(good.at, pulled.at), '-infinity')
    ) AS bad ON true
    WHERE s.enabled
"""
_LONGEST_REASON: Final = 200
Cursor = psycopg.Cursor[dict[str, Any]]


class _BlindError(Exception):
    """These facts cannot be had; the text says why."""


@dataclass(frozen=True, slots=True)
class Gathering:
    """Reads facts.

    Attributes:
        tenant: the hub's own, for what is of none.
        limits: what is asked for depends on them.
        watched_since: when this process began to look.
    """

    tenant: TenantId
    limits: Limits
    watched_since: datetime

    def facts(self, connection: psycopg.Connection) -> Facts:
        """Return what is so now.

        Raises:
            psycopg.OperationalError: the database is away.
        """
        found: dict[Source, Any] = {}
        blind: dict[Source, str] = {}
        for source, read in _READERS.items():
            try:
                with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
                    cursor.execute(FRAME)
                    found[source] = read(cursor, self)
            except _BlindError as error:
                blind[source] = str(error)
            except (UndefinedTable, InvalidSchemaName, UndefinedColumn):
                blind[source] = (
                    f"there is no table for {source} yet: the role projector of `hub run` makes it"
                )
            except QueryCanceled:
                blind[source] = f"{source} could not be read within 20 s"
        return Facts(
            now=now(connection),
            watched_since=self.watched_since,
            tenant=self.tenant,
            traffic=found.get(Source.RATES, ()),
            parked=found.get(Source.PARKED, ()),
            conflicts=found.get(Source.CONFLICTS, ()),
            outbox=found.get(Source.OUTBOX, Backlog()),
            feeds=found.get(Source.FEEDS, ()),
            blind=blind,
        )


def now(connection: psycopg.Connection) -> datetime:
    """Return the time by the database's clock."""
    with connection.cursor(row_factory=scalar_row) as cursor:
        found: datetime | None = cursor.execute("SELECT clock_timestamp()").fetchone()
    return found or datetime.now(UTC)


def _traffic(cursor: Cursor, asked: Gathering) -> list[Traffic]:
    wanted = {"behind": BEHIND, "readings": list(READINGS), "success": RunState.SUCCESS}
    behind = cursor.execute(_IS_BEHIND, wanted).fetchone()
    if behind and behind["is_behind"]:
        minutes = int(BEHIND.total_seconds() // 60)
        msg = f"the rates lack calls of {minutes} minutes ago: look at the roles analytics and projector"
        raise _BlindError(msg)
    rows = cursor.execute(_TRAFFIC, {"tenant": asked.tenant, "window": asked.limits.window}).fetchall()
    found: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        found[tuple(row[name] for name in _OF_TRAFFIC)].append(row)
    return [_summed(dict(zip(_OF_TRAFFIC, key, strict=True)), minutes) for key, minutes in found.items()]


_OF_TRAFFIC: Final = ("tenant", "kind", "system", "target", "function")


def _summed(of: dict[str, Any], minutes: list[dict[str, Any]]) -> Traffic:
    counts = {name: sum(one[name] for one in minutes) for name in ("total", "failed", "auth_failed")}
    told = [one["buckets"] for one in minutes if one["buckets"]]
    return Traffic(**of, **counts, buckets=[sum(column) for column in zip(*told, strict=True)])


def _parked(cursor: Cursor, asked: Gathering) -> list[Held]:
    ages = [asked.limits.parked.of(kind) for kind in KINDS]
    return _held(cursor.execute(_PARKED, {"kinds": list(KINDS), "ages": ages}).fetchall())


def _conflicts(cursor: Cursor, asked: Gathering) -> list[Held]:
    return _held(cursor.execute(_CONFLICTS, {"age": asked.limits.conflict}).fetchall())


def _held(rows: list[dict[str, Any]]) -> list[Held]:
    found: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        found[row["tenant"], row["what"]].append(row)
    return [
        Held(
            TenantId(tenant),
            what,
            min(row["oldest"] for row in group),
            {row["why"] or "": row["count"] for row in group},
        )
        for (tenant, what), group in found.items()
    ]


def _outbox(cursor: Cursor, _asked: Gathering) -> Backlog:
    row = cursor.execute(_OUTBOX).fetchone()
    return Backlog(**row) if row else Backlog()


def _feeds(cursor: Cursor, _asked: Gathering) -> list[Feed]:
    wanted = {
        "targets": list(FEEDS),
        "sources": list(FEEDS.values()),
        "success": RunState.SUCCESS,
        "failed": RunState.FAILED,
        "stopped": STOPPED,
    }
    return [_feed(row) for row in cursor.execute(_FEEDS, wanted).fetchall()]


def _feed(row: dict[str, Any]) -> Feed:
    every = row["every_seconds"]
    return Feed(
        tenant=row["tenant"],
        target=row["target"],
        timing=Timing(
            every=None if every is None else timedelta(seconds=every),
            cron=row["cron"],
            only=row["only_hours"],
            quiet=row["quiet_hours"],
            zone=row["zone"],
        ),
        since=row["since"],
        failures=row["failures"],
        failing_since=row["failing_since"],
        reason=(row["reason"] or "")[:_LONGEST_REASON],
    )


_READERS: Final[Mapping[Source, Callable[[Cursor, Gathering], Any]]] = {
    Source.RATES: _traffic,
    Source.PARKED: _parked,
    Source.CONFLICTS: _conflicts,
    Source.OUTBOX: _outbox,
    Source.FEEDS: _feeds,
}
