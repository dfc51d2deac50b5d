"""Running the application as a role of the hub."""

import asyncio
import logging
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import structlog
from aiohttp import web
from sqlalchemy import Engine

from infra.db.connect import engine
from infra.db.migrate import migrate
from infra.errors import HubError
from infra.stopping import mirrored, pause
from infra.telemetry import Status
from producers.web.app import build_app
from producers.web.background import Background
from producers.web.dashboard.page import Dashboard
from producers.web.readiness import Probe
from producers.web.routes import Route
from producers.web.services import INTAKE, WebServices, pool_size
from producers.web.settings import WebSettings

_log = structlog.get_logger()

ROLE: Final = "api"


class Served(NamedTuple):
    """What the application serves.

    Attributes:
        routes: of the sources and of the admin API.
        dashboard: the pages for people; none: there are none.
    """

    routes: Sequence[Route]
    dashboard: Dashboard | None = None


Serving = Callable[[WebServices], Served]
"""Returns what is served."""
Probes = Callable[[Engine], Sequence[Probe]]
"""Returns the probes, given the pool of connections to the hub's database."""

_BEAT_SECONDS: Final = 1.0
_SWITCH_SECONDS: Final = 0.001
"""So soon a thread that takes records in lets the event loop go on, which answers everybody else."""
_END_SECONDS: Final = 20.0
_BACKLOG: Final = 1_024


def run_api(
    settings: WebSettings,
    database_url: str,
    serving: Serving,
    stop: threading.Event,
    status: Status | None = None,
    background: Sequence[Background] = (),
    probes: Probes = lambda _: (),
) -> None:
    """Serve until ``stop`` is set; blocks. Requests that have begun are answered first.

    Several processes may serve one port: the system spreads the connections over them.

    Args:
        settings: of the application.
        database_url: of the hub's database; its tables are brought up to date.
        serving: makes what is served.
        stop: set by a signal.
        status: what is shown of it.
        background: what the sources do beside requests.
        probes: makes the probes of ``/readyz``.

    Raises:
        HubError: the port is taken by another program, or the database cannot be reached at the start.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)
    migrate(database_url)
    pool = engine(database_url, pool_size=pool_size(settings))
    services = WebServices(pool, settings)
    try:
        served = serving(services)
        app = build_app(services, served.routes, background, probes(pool), served.dashboard)
        asyncio.run(_serve(app, settings, stop, status or Status(ROLE)))
    finally:
        pool.dispose()


async def _serve(app: web.Application, settings: WebSettings, stop: threading.Event, status: Status) -> None:
    stopping = mirrored(stop)
    runner = web.AppRunner(app, access_log=None, logger=quiet(), shutdown_timeout=_END_SECONDS)
    await runner.setup()
    try:
        await _listen(runner, settings)
        status.ready()
        status.source("waiting_records", lambda: app[INTAKE].waiting)
        _log.info("api_listens", host=settings.host, port=settings.port)
        while not stopping.is_set():
            status.beat()
            await pause(stopping, _BEAT_SECONDS)
    finally:
        await runner.cleanup()


def quiet() -> logging.Logger:
    """Return a logger for aiohttp's own lines; they may hold parts of what was sent, so only kinds pass."""
    found = logging.getLogger("producers.web.aiohttp")
    found.addFilter(_tell_kind)
    return found


def _tell_kind(record: logging.LogRecord) -> bool:
    kind = record.exc_info[0] if record.exc_info else None
    _log.warning("http_trouble", fault=kind.__name__ if kind else "unknown")
    return False


async def _listen(runner: web.AppRunner, settings: WebSettings) -> None:
    site = web.TCPSite(runner, settings.host, settings.port, reuse_port=True, backlog=_BACKLOG)
    try:
        await site.start()
    except OSError as error:
        msg = f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; see API_HOST and API_PORT"
        raise HubError(msg) from None
