"""The routes by which people take incidents on and silence them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta
from sqlalchemy import Engine

from infra.errors import BadArgument
from producers.alerts import deeds
from producers.alerts.model import Alert, Incident, Silence
from producers.entities import NotFound
from producers.web.admin import bodies
from producers.web.admin.actions import action_route
from producers.web.admin.bodies import All, Body, Moment, Text
from producers.web.admin.listing import BY_TENANT
from producers.web.admin.lists import answered
from producers.web.admin.threads import Threads
from producers.web.routes import KEY, TENANT, Route
from schemas.ids import TenantId

_UNTIL = "Nothing new is told until then; at most 90 days ahead"
_LATER = "Of the incident, and of later ones of its alert and subject. The end of what was told is told."


class UntilBody(Body, frozen=True):
    """Until when an incident is silenced."""

    until: Annotated[Moment, Meta(description=_UNTIL)]


class SilenceBody(Body, frozen=True):
    """Of which incidents nothing new is told, and until when."""

    until: Annotated[Moment, Meta(description=_UNTIL)]
    alert: Annotated[Text | None, Meta(description=f"One of {', '.join(Alert)}; none: all")] = None
    subject: Annotated[Text | None, Meta(description="Such as ELM; none: whatever")] = None
    all: All = False


class IncidentAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One incident; see the list."""

    id: int
    alert: str
    subject: str
    severity: str
    state: str
    message: str
    details: dict[str, Any]
    opened_at: datetime
    seen_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    silenced_until: datetime | None


class SilenceAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One silence."""

    id: int
    alert: str | None
    subject: str | None
    until: datetime
    made_at: datetime
    made_by: str
    why: str
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Incidents:
    """Incidents as people take them on and silence them.

    Attributes:
        pool: of the hub's database.
        threads: in which that is done.
    """

    pool: Engine
    threads: Threads

    def routes(self) -> list[Route]:
        """Return the routes."""
        one, silences = "/admin/incidents/{id}", "/admin/silences"
        end = "End a silence"
        of_tenant = partial(action_route, query=(BY_TENANT,))
        return [
            of_tenant(f"{one}/acknowledge", self._acknowledge, "Take an incident on", Body, IncidentAnswer),
            of_tenant(
                f"{one}/silence",
                self._silence_one,
                "Silence an incident",
                UntilBody,
                SilenceAnswer,
                _LATER,
            ),
            of_tenant(silences, self._silence, "Silence alerts", SilenceBody, SilenceAnswer),
            of_tenant(f"{silences}/{{id}}", self._end, end, None, SilenceAnswer, method="DELETE"),
        ]

    async def _acknowledge(self, request: web.Request) -> web.StreamResponse:
        body, number = await bodies.read(request, Body), _number(request)
        return await self._done(
            lambda tenant, by: shown(deeds.acknowledge(self.pool, tenant, number, by=by, why=body.why)),
            request,
        )

    async def _silence_one(self, request: web.Request) -> web.StreamResponse:
        body, number = await bodies.read(request, UntilBody), _number(request)
        return await self._done(
            lambda tenant, by: shown_silence(
                deeds.silence_incident(self.pool, tenant, number, body.until, by=by, why=body.why)
            ),
            request,
        )

    async def _silence(self, request: web.Request) -> web.StreamResponse:
        body = await bodies.read(request, SilenceBody)
        if not (body.all or body.alert or body.subject):
            raise BadArgument('alert: name one, or a subject, or say "all": true')
        return await self._done(
            lambda tenant, by: shown_silence(
                deeds.silence(
                    self.pool, tenant, body.until, alert=body.alert, subject=body.subject, by=by, why=body.why
                )
            ),
            request,
        )

    async def _end(self, request: web.Request) -> web.StreamResponse:
        number = _number(request)
        return await self._done(
            lambda tenant, by: shown_silence(deeds.end_silence(self.pool, tenant, number, by=by)), request
        )

    async def _done(self, deed: Callable[[TenantId, str], Any], request: web.Request) -> web.StreamResponse:
        return answered(await self.threads.run(deed, request[TENANT], request[KEY]))


def shown(incident: Incident) -> IncidentAnswer:
    """Return ``incident`` as it is answered."""
    return IncidentAnswer(
        id=incident.incident_id,
        alert=incident.name.alert,
        subject=incident.name.subject,
        severity=incident.severity,
        state=incident.state,
        message=incident.message,
        details=dict(incident.details),
        opened_at=incident.opened_at,
        seen_at=incident.seen_at,
        acknowledged_at=incident.acknowledged_at,
        acknowledged_by=incident.acknowledged_by,
        silenced_until=incident.silenced_until,
    )


def shown_silence(silence: Silence) -> SilenceAnswer:
    """Return ``silence`` as it is answered."""
    same = ("alert", "subject", "until", "made_at", "made_by", "why", "ended_at")
    return SilenceAnswer(id=silence.silence_id, **{name: getattr(silence, name) for name in same})


def _number(request: web.Request) -> int:
    """Return the number that the address names.

    Raises:
        NotFound: it is none that there could be.
    """
    text = request.match_info["id"]
    if not (text.isascii() and text.isdecimal()) or int(text) >= 2**63:
        msg = f"id: there is no {text[:40]!r}"
        raise NotFound(msg)
    return int(text)
