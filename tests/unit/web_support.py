"""What the tests of the HTTP application share: an application with routes, and a client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from infra.db.connect import engine
from producers.web.app import build_app
from producers.web.background import Background
from producers.web.routes import Route
from producers.web.services import WebServices, pool_size
from producers.web.settings import WebSettings

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"
"""Nothing listens there: the database is away."""

Client = TestClient[web.Request, web.Application]


@asynccontextmanager
async def client_of(
    routes: Sequence[Route],
    settings: WebSettings | None = None,
    database: str = NOWHERE,
    background: Sequence[Background] = (),
) -> AsyncIterator[Client]:
    """Give a client of an application that serves ``routes``."""
    found = settings or WebSettings()
    pool = engine(database, pool_size=pool_size(found))
    try:
        app = build_app(WebServices(pool, found), routes, background)
        async with TestClient(TestServer(app)) as client:
            yield client
    finally:
        pool.dispose()


def open_route(path: str, handler: Any, method: str = "POST") -> Route:
    """Give a route that needs no key."""
    return Route(method, path, handler, None, "A test", "test")
