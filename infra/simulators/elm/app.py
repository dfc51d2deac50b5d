"""The ELM stand-in as an application and as a server inside the calling program."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from infra.simulators.elm.control import add_control_routes
from infra.simulators.elm.state import ElmState
from infra.simulators.elm.wire import COMPLETION_PATH, FEED_PATH, STATE, add_wire_routes

MAX_BODY_BYTES: Final = 256 * 1024 * 1024  # for appending many records in one control call
SHUTDOWN_SECONDS: Final = 0.1  # a request held back by a fault does not delay the end


@dataclass(frozen=True, slots=True)
class ElmServer:
    """A running server: where it answers, and its memory."""

    base_url: str
    state: ElmState

    @property
    def feed_url(self) -> str:
        """The `ELM_API_URL` of this server."""
        return self.base_url + FEED_PATH

    @property
    def completion_url(self) -> str:
        """The `ELM_COMPLETION_API_URL` of this server."""
        return self.base_url + COMPLETION_PATH

    @property
    def control_url(self) -> str:
        """The root of the control endpoint."""
        return self.base_url + "/control"


def create_app(state: ElmState) -> web.Application:
    """Give the application over this memory: both endpoints and the control endpoint."""
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app[STATE] = state
    add_wire_routes(app)
    add_control_routes(app)
    return app


@asynccontextmanager
async def serve(state: ElmState, port: int = 0, host: str = "127.0.0.1") -> AsyncIterator[ElmServer]:
    """Answer on `port` (0: a free one) for as long as the block runs."""
    # A client that has gone ends its handler: so a request without answer holds nothing.
    runner = web.AppRunner(
        create_app(state), access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN_SECONDS
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        bound = runner.addresses[0][1]
        yield ElmServer(f"http://{host}:{bound}", state)
    finally:
        await runner.cleanup()
