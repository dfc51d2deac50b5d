"""Liveness: whether the application answers at all; it asks no other system."""

import msgspec
from aiohttp import web

from producers.web.routes import Handler
from producers.web.settings import WebSettings


def healthy(settings: WebSettings) -> Handler:
    """Return the handler of ``/health``, outside of the versioned addresses."""
    body = msgspec.json.encode(
        {"status": "healthy", "service": settings.service, "version": settings.version}
    )

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    return answer


async def ok(_: web.Request) -> web.Response:
    """Answer ``/v1/health``."""
    return web.Response(body=b'{"status":"ok","message":"API is healthy"}', content_type="application/json")
