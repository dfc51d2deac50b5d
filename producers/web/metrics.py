"""How many requests came, how they were answered, and how long that took."""

import time
from http import HTTPStatus

from aiohttp import hdrs, web

from infra.metrics import API_REQUESTS, API_SECONDS, AUTH_FAILURES
from producers.web.problems import route_of
from producers.web.routes import Handler


@web.middleware
async def measured(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Count the request and its time, by the pattern of its route. Goes around the middleware `problems`."""
    begun = time.perf_counter()
    answer = await handler(request)
    route = route_of(request)
    method = request.method if request.method in hdrs.METH_ALL else "other"
    API_SECONDS.labels(method, route).observe(time.perf_counter() - begun)
    API_REQUESTS.labels(method, route, str(answer.status)).inc()
    if answer.status == HTTPStatus.UNAUTHORIZED:
        AUTH_FAILURES.labels("API").inc()
    return answer
