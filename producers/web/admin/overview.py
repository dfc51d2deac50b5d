"""The route that tells how the hub is doing, on one page: health, what waits for people, last runs, rates."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from aiohttp import web

from infra.errors import RetryLater
from producers.web.admin.listing import BY_TENANT
from producers.web.admin.lists import TAG, Desk, answered
from producers.web.admin.reads import Cursor
from producers.web.readiness import READINESS, Finding
from producers.web.routes import TENANT, Route, Scope
from schemas.ids import TenantId
from schemas.rates import BOUNDS_MS, RateKind, quantile_ms

MOST_COUNTED: Final = 10_000
"""Rows of one kind that are counted; beyond, there are at least so many."""
WINDOW: Final = timedelta(hours=6)
STEP: Final = timedelta(minutes=5)
_SHARE: Final = 0.95
_MOST_INCIDENTS: Final = 20
_ABOUT: Final = """Counts end at 10,000 (`capped`). Rates are of the last six hours, in steps of five minutes;
a step in which nothing happened is left out."""
_OPEN: Final[Mapping[str, str]] = {
    "conflicts": "since AS at FROM read_model.conflicts WHERE state = 'OPEN'",
    "dead letters": "failed_at AS at FROM read_model.dead_letters WHERE state = 'OPEN'",
    "refused": "since AS at FROM read_model.refused WHERE true",
    "parked": "since AS at FROM read_model.parked WHERE true",
    "invalid records": "first_seen AS at FROM invalid_records WHERE solved_at IS NULL",
}
# The few rows that wait are looked up one by one; PostgreSQL would rather read all accounts for them.
_FRAME: Final = "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off"
OWNERLESS: Final = "dead letters of no tenant"
"""Told to the default tenant, if there are any: mostly what cannot be read."""
_OF_TENANT: Final = "tenant = %(tenant)s"
_OF_NONE: Final = "coalesce(tenant, %(tenant)s) = %(tenant)s"
_COUNT: Final = """
    SELECT count(*) AS count, min(at) AS oldest
    FROM (SELECT {query} AND {whose} LIMIT %(limit)s) AS counted
"""
_INCIDENTS: Final = """
    SELECT id, alert, subject, severity, state, message, opened_at FROM incidents
    WHERE tenant = %(tenant)s AND state <> 'RESOLVED'
    ORDER BY array_position(ARRAY['CRITICAL', 'WARNING', 'INFO'], severity), id DESC LIMIT %(limit)s
"""
# The last run of each source, one after the other by the index: there are few sources and many runs.
_RUNS: Final = """
    WITH RECURSIVE sources AS (
        (SELECT source FROM source_runs WHERE tenant = %(tenant)s ORDER BY source LIMIT 1)
        UNION ALL
        SELECT (
            SELECT r.source FROM source_runs r
            WHERE r.tenant = %(tenant)s AND r.source > s.source ORDER BY r.source LIMIT 1
        ) FROM sources s WHERE s.source IS NOT NULL
    )
    SELECT r.id, r.source AS name, '' AS site, r.state, r.started_at, r.finished_at, r.reason
    FROM sources s CROSS JOIN LATERAL (
        SELECT * FROM source_runs r
        WHERE r.tenant = %(tenant)s AND r.source = s.source ORDER BY r.id DESC LIMIT 1
    ) AS r ORDER BY r.source
"""
_SCHEDULE_RUNS: Final = """
    SELECT r.id, s.target AS name, s.site, r.state, r.started_at, r.finished_at, r.error AS reason
    FROM schedules s LEFT JOIN LATERAL (
        SELECT * FROM schedule_runs r
        WHERE r.tenant = s.tenant AND r.target = s.target AND r.site = s.site ORDER BY r.id DESC LIMIT 1
    ) AS r ON true
    WHERE s.tenant = %(tenant)s ORDER BY s.target, s.site
"""
_RATES: Final = """
    WITH told AS (
        SELECT date_bin(%(step)s, minute, %(origin)s) AS at, kind, total, failed, buckets
        FROM read_model.rates
        WHERE minute >= %(since)s AND tenant = ANY(%(tenants)s)
    ), sums AS (
        SELECT at, kind, sum(total)::bigint AS total, sum(failed)::bigint AS failed
        FROM told GROUP BY at, kind
    ), slots AS (
        SELECT at, kind, slot, sum(count)::bigint AS count
        FROM told CROSS JOIN LATERAL unnest(buckets) WITH ORDINALITY AS b (count, slot)
        GROUP BY at, kind, slot
    )
    SELECT at, kind, total, failed, (
        SELECT array_agg(count ORDER BY slot) FROM slots WHERE (slots.at, slots.kind) = (sums.at, sums.kind)
    ) AS buckets
    FROM sums ORDER BY at, kind
"""


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a kind there is that does not go on by itself."""

    name: str
    count: int
    capped: bool
    """There are at least so many."""
    oldest: datetime | None
    """Of those that were counted."""


class OpenIncident(msgspec.Struct, frozen=True, kw_only=True):
    """An incident that has not ended; see the list."""

    id: int
    alert: str
    subject: str
    severity: str
    state: str
    message: str
    opened_at: datetime


class LastRun(msgspec.Struct, frozen=True, kw_only=True):
    """The last run of a source or of a schedule; one that never ran has no id."""

    name: str
    site: str
    id: int | None
    state: str | None
    started_at: datetime | None
    finished_at: datetime | None
    reason: str | None


class RateStep(msgspec.Struct, frozen=True, kw_only=True):
    """What happened within five minutes."""

    at: datetime
    """The beginning."""
    calls: int = 0
    calls_failed: int = 0
    p95_ms: int | None = None
    """The duration that 95 % of the calls did not exceed, up to the next bound; null: longer than all."""
    results: int = 0
    results_failed: int = 0


class OverviewAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """How the hub is doing."""

    checks: list[Finding]
    incidents: list[OpenIncident]
    sources: list[LastRun]
    schedules: list[LastRun]
    held: list[Held] = []
    rates: list[RateStep] = []
    trouble: str = ""
    """Why `held` and `rates` are not told."""


@dataclass(frozen=True, slots=True)
class Overview:
    """How the hub is doing.

    Attributes:
        desk: reads the read model.
    """

    desk: Desk

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(
                "GET",
                "/admin/overview",
                self._show,
                Scope.READ,
                "How the hub is doing",
                TAG,
                answer=OverviewAnswer,
                description=_ABOUT,
                query=(BY_TENANT,),
            )
        ]

    async def _show(self, request: web.Request) -> web.StreamResponse:
        return answered(await self.answer(request))

    async def answer(self, request: web.Request) -> OverviewAnswer:
        """Return how the hub is doing, for the tenant of ``request``.

        Raises:
            RetryLater: the database is away.
        """
        checks, tenant = await request.app[READINESS].findings(), request[TENANT]
        own = await self.desk.within(lambda cursor: of_tables(cursor, tenant))
        # What is of no tenant is the default tenant's to see.
        tenants = [tenant, ""] if tenant == self.desk.default else [tenant]
        try:
            told = await self.desk.within(lambda cursor: of_read_model(cursor, tenant, tenants))
        except RetryLater as error:
            return OverviewAnswer(checks=checks, **own, trouble=str(error))
        return OverviewAnswer(checks=checks, **own, **told)


def of_tables(cursor: Cursor, tenant: TenantId) -> dict[str, Any]:
    """Return what the hub's own tables tell, by the names of `OverviewAnswer`."""
    asked = {"tenant": tenant, "limit": _MOST_INCIDENTS}
    lists: tuple[tuple[str, str, Callable[..., Any]], ...] = (
        ("incidents", _INCIDENTS, OpenIncident),
        ("sources", _RUNS, LastRun),
        ("schedules", _SCHEDULE_RUNS, LastRun),
    )
    return {
        name: [make(**row) for row in cursor.execute(query, asked).fetchall()] for name, query, make in lists
    }


def of_read_model(cursor: Cursor, tenant: TenantId, tenants: Sequence[str]) -> dict[str, Any]:
    """Return what the read model tells, by the names of `OverviewAnswer`.

    Args:
        cursor: of a transaction that reads.
        tenant: whose.
        tenants: whose rates are counted; with "" what is of no tenant is told, too.
    """
    cursor.execute(_FRAME)
    held = [_held(cursor, tenant, name, query) for name, query in _OPEN.items()]
    if "" in tenants:
        ownerless = _held(cursor, "", OWNERLESS, _OPEN["dead letters"])
        held += [ownerless] if ownerless.count else []
    return {"held": held, "rates": _rates(cursor, tenants)}


def _held(cursor: Cursor, tenant: str, name: str, query: str) -> Held:
    counted = cursor.execute(
        _COUNT.format(query=query, whose=_OF_TENANT if tenant else _OF_NONE),
        {"tenant": tenant, "limit": MOST_COUNTED + 1},
    )
    row = counted.fetchone() or {"count": 0, "oldest": None}
    return Held(
        name=name,
        count=min(row["count"], MOST_COUNTED),
        capped=row["count"] > MOST_COUNTED,
        oldest=row["oldest"],
    )


def _rates(cursor: Cursor, tenants: Sequence[str]) -> list[RateStep]:
    since = datetime.now(UTC) - WINDOW
    asked = {
        "since": since,
        "tenants": list(tenants),
        "step": STEP,
        "origin": datetime(2020, 1, 1, tzinfo=UTC),
    }
    return steps(cursor.execute(_RATES, asked).fetchall())


def steps(rows: Sequence[Mapping[str, Any]]) -> list[RateStep]:
    """Return the rates by step of time; ``rows`` tell each step and kind, in the order of time."""
    found: dict[datetime, dict[str, Any]] = {}
    for row in rows:
        one = found.setdefault(row["at"], {"at": row["at"]})
        if row["kind"] == RateKind.RESULT:
            one |= {"results": row["total"], "results_failed": row["failed"]}
        else:
            buckets = row["buckets"] or [0] * len(BOUNDS_MS)
            p95 = quantile_ms(buckets, row["total"], _SHARE)
            one |= {"calls": row["total"], "calls_failed": row["failed"], "p95_ms": p95}
    return [RateStep(**one) for one in found.values()]
