"""The application: routes of all sources behind one guard, with problems, documentation and liveness."""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog
from aiohttp import web

from producers.web import health, pages, readiness
from producers.web.auth import Guard
from producers.web.background import Background, repeating
from producers.web.dashboard import site
from producers.web.dashboard.page import Dashboard
from producers.web.locks import LOCKS, Locks
from producers.web.metrics import measured
from producers.web.openapi import document
from producers.web.problems import problems
from producers.web.readiness import Probe
from producers.web.routes import Route
from producers.web.services import INTAKE, SERVICES, WebServices
from producers.web.traces import traced

_log = structlog.get_logger()

PREFIXES: Final = ("/v1", "/api/v1")
"""Every route is mounted under each of these."""
_SWEEP_SECONDS: Final = 600.0
_SECURITY: Final = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


def build_app(
    services: WebServices,
    routes: Sequence[Route],
    background: Sequence[Background] = (),
    probes: Sequence[Probe] = (),
    dashboard: Dashboard | None = None,
) -> web.Application:
    """Return the application that serves ``routes`` beside liveness and documentation.

    Args:
        services: what handlers find under ``request.app[SERVICES]``; they stay the caller's to close.
        routes: of the sources, paths without prefix.
        background: what the sources do beside requests; see `producers.web.background.repeating`.
        probes: look at what the application stands on, for ``/readyz``.
        dashboard: the pages for people; none: there are none.
    """
    settings = services.settings
    app = web.Application(middlewares=[measured, problems, traced], client_max_size=settings.max_body_bytes)
    app[SERVICES] = services
    app[LOCKS] = Locks()
    app[INTAKE] = services.batcher()
    guard = Guard(services.engine, settings)
    app.router.add_get("/health", health.healthy(settings))
    for prefix in PREFIXES:
        app.router.add_get(f"{prefix}/health", health.ok)
        for route in routes:
            app.router.add_route(route.method, prefix + route.path, guard.before(route))
    for route in routes:
        if route.known_as:
            app.router.add_route(route.method, route.known_as, guard.before(route))
    pages.mount(app, document(routes, settings))
    readiness.mount(app, probes)
    if dashboard is not None:
        site.mount(app, dashboard)
    app.on_response_prepare.append(_secure)
    app.on_cleanup.append(_close)
    app.cleanup_ctx.extend([repeating("idempotency", _SWEEP_SECONDS, _remove_expired), *background])
    return app


async def _secure(_: web.Request, response: web.StreamResponse) -> None:
    for name, value in _SECURITY.items():
        response.headers.setdefault(name, value)


async def _close(app: web.Application) -> None:
    await asyncio.to_thread(app[INTAKE].close)


def _remove_expired(app: web.Application) -> None:
    if removed := app[SERVICES].answers.remove_expired():
        _log.info("idempotency_expired", removed=removed)
