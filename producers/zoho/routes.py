"""The addresses that Zoho and its clients call."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

import msgspec
from aiohttp import web

from producers.candidates import Answer
from producers.intake import Also
from producers.web.answering import answer
from producers.web.auth import Guard
from producers.web.batcher import Work
from producers.web.body import read_body
from producers.web.problems import Problem
from producers.web.routes import TENANT, Handler, Route, Scope
from producers.web.services import SERVICES, WebServices
from producers.zoho import answers, bodies, events, models, records, signature, webhooks
from producers.zoho.events import EventStatus
from producers.zoho.records import Kind
from producers.zoho.settings import ZohoSettings
from producers.zoho.source import IdentityOf, Received, ZohoSource
from producers.zoho.webhooks import Notice
from producers.zoho.worker import WebhookWorker, working
from schemas.events import Operation
from schemas.ids import TenantId

TAG: Final = "Zoho"
_BIG: Final = 256 * 1024
_SYNCED: Final = {kind.name: kind for kind in records.SYNCED}
_NOT_HANDLED: Final = "kind_not_handled"

DASHBOARD: Final[dict[str, tuple[Kind | None, Operation]]] = {
    "student_updated": (records.STUDENTS, Operation.UPSERT),
    "student_deleted": (records.STUDENTS, Operation.DELETE),
    "registration_created": (records.REGISTRATIONS, Operation.UPSERT),
    "registration_deleted": (records.REGISTRATIONS, Operation.DELETE),
    "payment_recorded": (records.PAYMENTS, Operation.UPSERT),
    "payment_deleted": (records.PAYMENTS, Operation.DELETE),
    "grade_submitted": (records.GRADES, Operation.UPSERT),
    "grade_deleted": (records.GRADES, Operation.DELETE),
    "class_created": (records.CLASSES, Operation.UPSERT),
    "class_updated": (records.CLASSES, Operation.UPSERT),
    "class_deleted": (records.CLASSES, Operation.DELETE),
    "enrollment_updated": (records.ENROLLMENTS, Operation.UPSERT),
    "enrollment_deleted": (records.ENROLLMENTS, Operation.DELETE),
    "btec_definition_updated": (records.UNITS, Operation.UPSERT),
    "btec_definition_deleted": (records.UNITS, Operation.DELETE),
    "request_status_changed": (None, Operation.UPSERT),
    "request_deleted": (None, Operation.DELETE),
}
"""Names of the live form: what they are about (none: the hub has no such kind) and what they say of it."""


@dataclass(frozen=True, slots=True)
class ZohoWeb:
    """Zoho's part of the HTTP application: its routes, and the work behind its webhooks.

    Attributes:
        settings: of Zoho.
        identity_of: gives the rules for the ids of a tenant's people and courses.
    """

    settings: ZohoSettings
    identity_of: IdentityOf
    _bell: asyncio.Event = field(default_factory=asyncio.Event)

    def routes(self, services: WebServices) -> Sequence[Route]:
        """Return the routes."""
        hooks = _Webhooks(services, self.settings, self._bell)
        dashboard = _dashboard_route(hooks)
        signed_or_key = _signed_or(hooks, dashboard, Guard(services.engine, services.settings))
        return (
            _sync_route(self._source(services)),
            _event_route(hooks),
            replace(dashboard, handler=signed_or_key, scope=None),
            *_status_routes(hooks),
        )

    async def background(self, app: web.Application) -> AsyncIterator[None]:
        """Do what the webhooks asked for, and sweep the parked records, while the application runs."""
        worker = WebhookWorker(self._source(app[SERVICES]), self.settings, self._bell)
        async with working(worker):
            yield

    def _source(self, services: WebServices) -> ZohoSource:
        return ZohoSource(services.intake, self.identity_of, self.settings.timezone)


def _sync_route(source: ZohoSource) -> Route:
    return Route(
        "POST",
        "/sync/{kind}",
        _Sync(source).sync,
        Scope.SYNC,
        "Take records of one kind in",
        TAG,
        body=models.SyncBody,
        answer=models.SyncAnswer,
        description=f"Kinds: {_listed(_SYNCED)}. Records that need another one first are answered SKIPPED and"
        " taken by themselves when that comes.",
        idempotent=True,
        values={"kind": tuple(_SYNCED)},
    )


def _event_route(hooks: "_Webhooks") -> Route:
    return Route(
        "POST",
        "/events/zoho/{kind}",
        hooks.event,
        None,
        "A webhook of Zoho",
        TAG,
        body=models.WebhookBody,
        answer=models.WebhookAnswer,
        description=f"Kinds: {_listed(records.SINGULARS)}. The header `{signature.HEADER}` holds the"
        " HMAC-SHA256 of the body in hexadecimal digits.",
        values={"kind": tuple(records.SINGULARS)},
    )


def _dashboard_route(hooks: "_Webhooks") -> Route:
    return Route(
        "POST",
        "/webhooks/student-dashboard/{name}",
        hooks.dashboard,
        Scope.EVENTS,
        "A webhook of a workflow rule",
        TAG,
        body=models.StudentDashboardBody,
        answer=models.StudentDashboardAnswer,
        description=f"Names: {_listed(DASHBOARD)}. It needs a key with the scope `events`, or"
        f" `{signature.HEADER}`.",
        values={"name": tuple(DASHBOARD)},
    )


def _status_routes(hooks: "_Webhooks") -> tuple[Route, ...]:
    health = Route(
        "GET",
        "/events/health",
        hooks.health,
        Scope.READ,
        "Whether webhooks are taken",
        TAG,
        answer=models.EventsHealth,
    )
    stats = Route(
        "GET",
        "/events/stats",
        hooks.stats,
        Scope.READ,
        "What webhooks brought",
        TAG,
        answer=events.Stats,
    )
    return health, stats


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


class _Sync:
    """The sync API."""

    def __init__(self, source: ZohoSource) -> None:
        self._source = source

    async def sync(self, request: web.Request) -> web.Response:
        """Take the records of the body in and answer each."""
        kind = _SYNCED.get(request.match_info["kind"])
        if kind is None:
            raise Problem(HTTPStatus.NOT_FOUND, f"Kinds are {', '.join(_SYNCED)}.")
        tenant = request[TENANT]
        body = await _value(request)
        now = datetime.now(UTC)  # when it was there: a slow upload is no older than what came meanwhile
        raws = bodies.records_of(body)

        def take(received: Sequence[object], also: Also) -> list[Answer]:
            ours = [each for each in received if isinstance(each, Received)]
            return self._source.take(tenant, ours, also)

        def render(given: Sequence[Answer]) -> bytes:
            return answers.envelope(kind, tenant, body, raws, given)

        received = [Received(kind.name, raw, now) for raw in raws]
        work = Work(self._source.origin(tenant), f"sync {kind.name}", take, received)
        return await answer(request, work, render)


class _Webhooks:
    """Webhooks: checked, stored, answered; done by the worker."""

    def __init__(self, services: WebServices, settings: ZohoSettings, bell: asyncio.Event) -> None:
        self._engine = services.engine
        self._settings = settings
        self._bell = bell

    async def check(self, request: web.Request) -> None:
        """Refuse a request that is not signed."""
        body, given = await read_body(request), request.headers.get(signature.HEADER)
        signature.check(self._settings, request[TENANT], body, given)

    async def event(self, request: web.Request) -> web.Response:
        """Take a webhook of Zoho."""
        kind = records.SINGULARS.get(request.match_info["kind"])
        if kind is None:
            raise Problem(HTTPStatus.NOT_FOUND, f"Kinds are {', '.join(records.SINGULARS)}.")
        await self.check(request)
        notice = webhooks.read(kind.name, await _value(request))
        is_new = await self._store(request[TENANT], kind.name, notice)
        message = "Event accepted for processing" if is_new else "Event already received"
        status = "queued" if is_new else "duplicate"
        return _json(models.WebhookAnswer(True, message, notice.event_id, status))

    async def dashboard(self, request: web.Request) -> web.Response:
        """Take a webhook of a workflow rule."""
        name = request.match_info["name"]
        if name not in DASHBOARD:
            raise Problem(HTTPStatus.NOT_FOUND, f"Names are {', '.join(DASHBOARD)}.")
        kind, operation = DASHBOARD[name]
        body = await _value(request) if (await read_body(request)).strip() else None
        notice = webhooks.read(name, body, request.query.get("zoho_id"), operation)
        single = notice.ids[0] if len(notice.ids) == 1 and not notice.records else None
        if kind is None:
            await self._store(request[TENANT], name, notice, EventStatus.SKIPPED)
            message = "The hub has no such kind of record"
            return _json(
                models.StudentDashboardAnswer("skipped", message, notice.event_id, single, _NOT_HANDLED)
            )
        is_new = await self._store(request[TENANT], kind.name, notice)
        message = "Event accepted for processing" if is_new else "Event already received"
        return _json(models.StudentDashboardAnswer("success", message, notice.event_id, single))

    async def health(self, _request: web.Request) -> web.Response:
        """Tell whether webhooks are taken."""
        waiting = await asyncio.to_thread(events.waiting, self._engine)
        return _json(models.EventsHealth("healthy", waiting))

    async def stats(self, request: web.Request) -> web.Response:
        """Tell what webhooks brought to the tenant."""
        return _json(await asyncio.to_thread(events.stats, self._engine, request[TENANT]))

    async def _store(
        self, tenant: TenantId, kind: str, notice: Notice, status: EventStatus = EventStatus.PENDING
    ) -> bool:
        is_new = await asyncio.to_thread(events.store, self._engine, tenant, kind, notice, status)
        self._bell.set()
        return is_new


def _signed_or(hooks: _Webhooks, route: Route, guard: Guard) -> Handler:
    """Return the handler of ``route`` for who signs, or who has a key as the route asks for."""
    with_key = guard.before(route)

    async def handle(request: web.Request) -> web.StreamResponse:
        if signature.HEADER not in request.headers:
            return await with_key(request)
        await hooks.check(request)
        return await route.handler(request)

    return handle


async def _value(request: web.Request) -> Any:
    body = await read_body(request)
    if len(body) < _BIG:
        return bodies.value_of(body, request.content_type, request.charset)
    return await asyncio.to_thread(bodies.value_of, body, request.content_type, request.charset)


def _json(content: msgspec.Struct) -> web.Response:
    return web.Response(body=msgspec.json.encode(content), content_type="application/json")
