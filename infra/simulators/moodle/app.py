"""The simulated Moodle as an aiohttp application, in a test's own process or on its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from infra.simulators.moodle import control
from infra.simulators.moodle.server import CLOSING, STATE, rest
from infra.simulators.moodle.state import MoodleState

_LARGEST_FORM = 64 * 1024 * 1024


def create_app(state: MoodleState) -> web.Application:
    """The web service endpoint and the control endpoint over one site."""
    app = web.Application(client_max_size=_LARGEST_FORM)
    app[STATE] = state
    app[CLOSING] = asyncio.Event()
    app.router.add_route("POST", "/webservice/rest/server.php", rest)
    app.router.add_route("GET", "/webservice/rest/server.php", rest)
    app.router.add_routes(control.ROUTES)
    app.on_shutdown.append(_release)
    return app


async def _release(app: web.Application) -> None:
    """Let go of the calls that a fault holds, so that the server can stop."""
    app[CLOSING].set()


@asynccontextmanager
async def serve(state: MoodleState, port: int = 0, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """Serve a site on loopback.

    Args:
        state: the site; its `settings.url` becomes the address served.
        port: 0 for a free one.
        host: address to bind.

    Yields:
        The base URL, without a slash at the end.
    """
    runner = web.AppRunner(create_app(state), access_log=None, shutdown_timeout=5.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        bound = runner.addresses[0][1]
        state.settings.url = f"http://{host}:{bound}"
        yield state.settings.url
    finally:
        await runner.cleanup()
