"""Requests that change something as parts of their callers' traces, or as the beginning of new ones."""

from aiohttp import hdrs, web

from infra import tracing
from producers.web.problems import route_of
from producers.web.routes import Handler


@web.middleware
async def traced(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let what comes of the request belong to its trace; reads are passed over."""
    if request.method in (hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS):
        return await handler(request)
    with tracing.request(f"{request.method} {route_of(request)}", request.headers.get(tracing.HEADER)):
        return await handler(request)
