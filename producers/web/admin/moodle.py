"""The addresses about Moodle that programs know from before: health, state, calls, and a nudge by a cron."""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

import msgspec
from aiohttp import web

from infra.turns import Work
from producers import entities, schedules
from producers.schedules import Schedule
from producers.web.admin import resources as res
from producers.web.admin.actions import Actions
from producers.web.admin.bodies import Done, SyncBody
from producers.web.admin.listing import BY_TENANT
from producers.web.admin.lists import Desk, answered, list_route
from producers.web.admin.reads import Cursor
from producers.web.auth import presented
from producers.web.problems import Problem
from producers.web.routes import TENANT, Handler, Route, Scope

TAG: Final = "Moodle"
CRON: Final = "cron"
"""Who asked, in the audit, when a cron has."""
NUDGED: Final = (Work.COURSE_CATALOG, Work.USER_DIRECTORY, Work.ENROLLMENTS, Work.COMPLETIONS)
"""What a cron can have done: the readings of a Moodle site."""
_HEALTH: Final = """
    SELECT target, count(*) AS calls, count(*) FILTER (WHERE code <> 'ok') AS failed,
        max(started_at) AS last_call_at
    FROM read_model.calls
    WHERE tenant = %(tenant)s AND system = 'MOODLE' AND started_at >= now() - interval '24 hours'
    GROUP BY target ORDER BY target
"""
_LAST_CODE: Final = """
    SELECT code FROM read_model.calls
    WHERE tenant = %(tenant)s AND system = 'MOODLE' AND target = %(target)s AND started_at >= %(at)s
    ORDER BY started_at DESC, call_id DESC LIMIT 1
"""
_STATUS: Final[Mapping[str, str]] = {
    "results": """
        SELECT kind, outcome, count(*) AS count FROM read_model.standing
        WHERE tenant = %(tenant)s GROUP BY kind, outcome ORDER BY kind, outcome
    """,
    "parked": """
        SELECT what AS kind, waits_for AS outcome, count(*) AS count, min(since) AS oldest
        FROM read_model.parked WHERE tenant = %(tenant)s GROUP BY what, waits_for ORDER BY what, waits_for
    """,
    "conflicts": """
        SELECT subject AS kind, reason AS outcome, count(*) AS count, min(since) AS oldest
        FROM read_model.conflicts WHERE tenant = %(tenant)s AND state = 'OPEN'
        GROUP BY subject, reason ORDER BY subject, reason
    """,
    "refused": """
        SELECT what AS kind, reason AS outcome, count(*) AS count, min(since) AS oldest
        FROM read_model.refused WHERE tenant = %(tenant)s GROUP BY what, reason ORDER BY what, reason
    """,
    "dead_letters": """
        SELECT kind, reason AS outcome, count(*) AS count, min(failed_at) AS oldest
        FROM read_model.dead_letters WHERE tenant = %(tenant)s AND state = 'OPEN'
        GROUP BY kind, reason ORDER BY kind, reason
    """,
}


class SiteHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How the calls of one Moodle site went in the last 24 hours."""

    target: str
    calls: int
    failed: int
    last_call_at: datetime
    last_code: str


class HealthAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """`healthy`, `failing` (the last call to some site failed) or `unknown` (there were none)."""

    status: str
    sites: list[SiteHealth]


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """How many there are of a kind and an outcome, a reason, or what is waited for."""

    kind: str | None
    outcome: str | None
    count: int
    oldest: datetime | None = None


class StatusAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """How everything stands: the newest results, and what does not go on by itself."""

    results: list[Count]
    parked: list[Count]
    conflicts: list[Count]
    refused: list[Count]
    dead_letters: list[Count]


class NudgeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a cron's nudge has begun."""

    success: bool
    requested: list[str]
    not_due: list[str]
    disabled: list[str]


@dataclass(frozen=True, slots=True)
class Moodle:
    """The addresses about Moodle.

    Attributes:
        desk: reads the read model.
        actions: what people can have done.
        cron_secret: proves that a cron may nudge; none: it may not.
    """

    desk: Desk
    actions: Actions
    cron_secret: str | None = field(default=None, repr=False)

    def routes(self) -> list[Route]:
        """Return the routes."""
        sync = self.actions.sync(entities.person, ("person_id",))
        return [
            _get("/moodle/health", self._health, "How Moodle answers", HealthAnswer),
            _get("/moodle/sync-status", self._status, "How everything stands", StatusAnswer),
            _known(list_route(self.desk, res.CALLS, "/moodle/api-logs", {"system": "MOODLE"})),
            Route(
                "POST",
                "/moodle/sync/person/{person_id}",
                sync,
                Scope.OPERATOR,
                "Sync one person",
                TAG,
                body=SyncBody,
                answer=Done,
                known_as="/api/moodle/sync/person/{person_id}",
            ),
            Route(
                "POST",
                "/integration/moodle/sync",
                self._nudge,
                None,
                "Run what is due",
                TAG,
                answer=NudgeAnswer,
                description="For a cron: with `MOODLE_SYNC_CRON_SECRET` as `x-sync-secret` or bearer token."
                " What the schedules have due of Moodle's readings is begun.",
                known_as="/api/integration/moodle/sync",
            ),
        ]

    async def _health(self, request: web.Request) -> web.StreamResponse:
        sites = await self.desk.within(lambda cursor: site_health(cursor, request[TENANT]))
        failing = any(site.last_code != "ok" for site in sites)
        status = "unknown" if not sites else "failing" if failing else "healthy"
        return answered(HealthAnswer(status=status, sites=sites))

    async def _status(self, request: web.Request) -> web.StreamResponse:
        found = await self.desk.within(lambda cursor: standing(cursor, request[TENANT]))
        return answered(StatusAnswer(**found))

    async def _nudge(self, request: web.Request) -> web.StreamResponse:
        self._admit(request)
        pool, tenant = self.actions.means.pool, request[TENANT]

        def nudge() -> NudgeAnswer:
            found = [one for one in schedules.list_(pool, tenant) if one.key.target in NUDGED]
            due, later, disabled = sorted_out(found)
            for one in due:
                schedules.request_run(pool, one.key, by=CRON)
            return NudgeAnswer(
                success=True,
                requested=[_name(one) for one in due],
                not_due=[_name(one) for one in later],
                disabled=[_name(one) for one in disabled],
            )

        return answered(await self.actions.threads.run(nudge))

    def _admit(self, request: web.Request) -> None:
        """See that the request has the secret.

        Raises:
            Problem: none is set (403), or it is not this one (401).
        """
        if not self.cron_secret:
            raise Problem(HTTPStatus.FORBIDDEN, "This address needs MOODLE_SYNC_CRON_SECRET to be set.")
        given = request.headers.get("x-sync-secret") or presented(request) or ""
        if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self.cron_secret.encode()):
            headers = {"WWW-Authenticate": 'Bearer realm="rosterhub"'}
            raise Problem(HTTPStatus.UNAUTHORIZED, "The secret is missing or wrong.", headers=headers)


def sorted_out(found: Sequence[Schedule]) -> tuple[list[Schedule], list[Schedule], list[Schedule]]:
    """Return those of ``found`` that are due, those that are due later, and those that are disabled."""
    due = [one for one in found if one.enabled and one.seconds_left <= 0]
    later = [one for one in found if one.enabled and one.seconds_left > 0]
    return due, later, [one for one in found if not one.enabled]


def site_health(cursor: Cursor, tenant: str) -> list[SiteHealth]:
    """Return how the calls of each Moodle site went."""
    found = []
    for row in cursor.execute(_HEALTH, {"tenant": tenant}).fetchall():
        place = {"tenant": tenant, "target": row["target"], "at": row["last_call_at"]}
        last = cursor.execute(_LAST_CODE, place).fetchone()
        found.append(SiteHealth(**row, last_code=last["code"] if last else ""))
    return found


def standing(cursor: Cursor, tenant: str) -> dict[str, list[Count]]:
    """Return how everything stands, by the names of `StatusAnswer`."""
    return {
        name: [Count(**row) for row in cursor.execute(query, {"tenant": tenant}).fetchall()]
        for name, query in _STATUS.items()
    }


def _name(schedule: Schedule) -> str:
    return "/".join(part for part in (schedule.key.target, schedule.key.site) if part)


def _get(path: str, handler: Handler, summary: str, answer: Any) -> Route:
    return _known(Route("GET", path, handler, Scope.READ, summary, TAG, answer=answer, query=(BY_TENANT,)))


def _known(route: Route) -> Route:
    return replace(route, tag=TAG, known_as=f"/api{route.path}")
