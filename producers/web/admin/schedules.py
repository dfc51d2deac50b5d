"""The routes of the schedules."""

from dataclasses import dataclass, replace
from datetime import timedelta
from http import HTTPStatus

from aiohttp import web
from msgspec import UNSET
from sqlalchemy import Engine

from infra.errors import BadArgument
from infra.turns import Work
from producers import schedules
from producers.schedules import Key, Schedule
from producers.timing import Timing
from producers.web.admin import bodies
from producers.web.admin.actions import telling
from producers.web.admin.bodies import Body, ScheduleAnswer, ScheduleBody, SchedulesAnswer
from producers.web.admin.listing import BY_TENANT
from producers.web.admin.lists import TAG, answered
from producers.web.admin.threads import Threads
from producers.web.problems import Problem
from producers.web.routes import KEY, TENANT, Parameter, Route, Scope
from schemas.ids import TenantId

_SITE = Parameter(
    "site", {"type": "string", "maxLength": 100}, "The Moodle site, where the target is of several."
)
_WORKS = {"target": tuple(Work)}


@dataclass(frozen=True, slots=True)
class Schedules:
    """Schedules as people see and change them.

    Attributes:
        pool: of the hub's database.
        threads: in which they are read and changed.
    """

    pool: Engine
    threads: Threads

    def routes(self) -> list[Route]:
        """Return the routes."""
        path = "/admin/schedules"
        return [
            Route(
                "GET",
                path,
                self._list,
                Scope.READ,
                "List schedules",
                TAG,
                answer=SchedulesAnswer,
                query=(BY_TENANT,),
            ),
            Route(
                "PUT",
                f"{path}/{{target}}",
                telling(self._change),
                Scope.ADMIN,
                "Change a schedule",
                TAG,
                body=ScheduleBody,
                answer=ScheduleAnswer,
                values=_WORKS,
                query=(_SITE,),
            ),
            Route(
                "POST",
                f"{path}/{{target}}/run",
                telling(self._run),
                Scope.OPERATOR,
                "Run now",
                TAG,
                body=Body,
                answer=ScheduleAnswer,
                description="Whether it is enabled or not, and whatever the hours; see the schedule runs.",
                values=_WORKS,
                query=(_SITE,),
            ),
        ]

    async def items(self, tenant: TenantId) -> list[ScheduleAnswer]:
        """Return the schedules of ``tenant``."""
        return [shown(one) for one in await self.threads.run(schedules.list_, self.pool, tenant)]

    async def _list(self, request: web.Request) -> web.StreamResponse:
        return answered(SchedulesAnswer(items=await self.items(request[TENANT])))

    async def _change(self, request: web.Request) -> web.StreamResponse:
        body = await bodies.read(request, ScheduleBody)

        def change() -> Schedule:
            key = self._key(request)
            timing = changed(schedules.get(self.pool, key).timing, body)
            return schedules.change(
                self.pool, key, by=request[KEY], why=body.why, timing=timing, enabled=body.enabled
            )

        return answered(shown(await self.threads.run(change)))

    async def _run(self, request: web.Request) -> web.StreamResponse:
        body = await bodies.read(request, Body)

        def run() -> Schedule:
            return schedules.request_run(self.pool, self._key(request), by=request[KEY], why=body.why)

        return answered(shown(await self.threads.run(run)))

    def _key(self, request: web.Request) -> Key:
        """Return the schedule that the address names.

        Raises:
            Problem: there is none (404).
            BadArgument: there are several, of several Moodle sites.
        """
        target, site = request.match_info["target"], request.query.get("site")
        found = [one.key for one in schedules.list_(self.pool, request[TENANT]) if one.key.target == target]
        if site is not None:
            found = [key for key in found if key.site == site]
        if not found:
            raise Problem(HTTPStatus.NOT_FOUND, "There is no such schedule of this tenant.")
        if len(found) > 1:
            msg = f"site: say which of {', '.join(key.site for key in found)}"
            raise BadArgument(msg)
        return found[0]


def changed(timing: Timing, body: ScheduleBody) -> Timing:
    """Return ``timing`` with what ``body`` changes of it."""
    if body.every_minutes is not None:
        timing = replace(timing, every=timedelta(minutes=body.every_minutes), cron=None)
    if body.cron is not None:
        every = timing.every if body.every_minutes is not None else None  # both: refused with its reason
        timing = replace(timing, cron=body.cron, every=every)
    if body.only is not UNSET:
        timing = replace(timing, only=body.only)
    if body.quiet is not UNSET:
        timing = replace(timing, quiet=body.quiet)
    return timing if body.zone is None else replace(timing, zone=body.zone)


def shown(schedule: Schedule) -> ScheduleAnswer:
    """Return ``schedule`` as it is answered."""
    timing = schedule.timing
    return ScheduleAnswer(
        target=schedule.key.target,
        site=schedule.key.site,
        enabled=schedule.enabled,
        every_minutes=timing.every.total_seconds() / 60 if timing.every else None,
        cron=timing.cron,
        only=timing.only,
        quiet=timing.quiet,
        zone=timing.zone,
        next_run_at=schedule.due_at,
        requested_at=schedule.requested_at,
        requested_by=schedule.requested_by,
        updated_at=schedule.updated_at,
        updated_by=schedule.updated_by,
        told=schedules.told(schedule),
    )
