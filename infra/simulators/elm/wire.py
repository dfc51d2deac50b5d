"""The two public endpoints: queries with paging, posted completions, and the faults on the way."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from aiohttp import web

from infra.simulators.elm.columns import FEED_POSITION
from infra.simulators.elm.completion import complaint
from infra.simulators.elm.faults import AFTER_COMMIT, Endpoint, Fault
from infra.simulators.elm.filters import QueryError
from infra.simulators.elm.state import ElmState
from infra.simulators.elm.table import Table

FEED_PATH: Final = "/apiserver/api.rsc/Datamart_ELM_Course_Enrollment_info"
COMPLETION_PATH: Final = "/apiserver/api.rsc/Datamart_ELM_Course_Completion"
AUTH_HEADER: Final = "x-cdata-authtoken"
QUERY_OPTIONS: Final = frozenset({"$filter", "$orderby", "$top", "$skip"})

STATE: Final = web.AppKey("state", ElmState)


class _Delivered(msgspec.Struct):
    guid: str | None = msgspec.field(default=None, name="GUID")


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_HTML = "<!DOCTYPE html><html><head><title>Error</title></head><body><h1>Service error</h1></body></html>"


def add_wire_routes(app: web.Application) -> None:
    """Serve the feed and the completion endpoint at their usual paths."""
    app.router.add_get(FEED_PATH, _answering("feed", _query_feed))
    app.router.add_get(COMPLETION_PATH, _answering("completion", _query_completions))
    app.router.add_post(COMPLETION_PATH, _answering("completion", _post_completion))


def error_response(status: int, message: str) -> web.Response:
    """Give an error as the server words it: `{"error": {"code": .., "message": ..}}`."""
    return json_response({"error": {"code": str(status), "message": message}}, status)


def json_response(body: object, status: int = 200) -> web.Response:
    """Give any value as JSON."""
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")


def _answering(endpoint: Endpoint, handler: Handler) -> Handler:
    """Wrap a handler with what every call meets: the fault, the token check and the count."""

    async def answer(request: web.Request) -> web.StreamResponse:
        state = request.app[STATE]
        fault = state.faults.take(endpoint, request.method, await _guid(request))
        outcome = "unanswered"
        try:
            response = await _with_fault(request, endpoint, handler, fault)
            lost = fault is not None and fault.kind.startswith("reset")
            outcome = "reset" if lost else str(response.status)
            return response
        finally:
            state.calls[f"{endpoint} {request.method} {outcome}"] += 1

    return answer


async def _guid(request: web.Request) -> str | None:
    """Give whose completion the request delivers; None when it delivers none that can be read."""
    if request.method != "POST":
        return None
    try:
        return msgspec.json.decode(await request.read(), type=_Delivered).guid
    except msgspec.DecodeError:
        return None


async def _with_fault(
    request: web.Request, endpoint: Endpoint, handler: Handler, fault: Fault | None
) -> web.StreamResponse:
    if fault is None:
        return await _authorised(request, endpoint, handler)
    if fault.kind == "latency":
        await _wait(fault.seconds)
        return await _authorised(request, endpoint, handler)
    if fault.kind not in AFTER_COMMIT:
        return _instead(request, fault)
    return await _spoiled(request, fault, await _authorised(request, endpoint, handler))


async def _authorised(request: web.Request, endpoint: Endpoint, handler: Handler) -> web.StreamResponse:
    if request.headers.get(AUTH_HEADER) != request.app[STATE].tokens[endpoint]:
        return error_response(401, "The auth token is missing or not valid.")
    return await handler(request)


def _instead(request: web.Request, fault: Fault) -> web.Response:
    """Give the answer of a fault that strikes before anything is done."""
    if fault.kind == "reset":
        return _reset(request)
    if fault.kind == "unauthorized":
        return error_response(401, "The auth token is missing or not valid.")
    if fault.kind == "redirect":
        return web.Response(status=302, headers={"Location": fault.location})
    if fault.kind == "html":
        return web.Response(status=fault.status, text=_HTML, content_type="text/html")
    response = error_response(429 if fault.kind == "rate_limit" else fault.status, "The server is busy.")
    if fault.retry_after is not None:
        response.headers["Retry-After"] = str(fault.retry_after)
    return response


async def _spoiled(request: web.Request, fault: Fault, response: web.StreamResponse) -> web.StreamResponse:
    """Lose or damage the answer to a request that has been carried out."""
    if fault.kind == "reset_after_commit":
        return _reset(request)
    if fault.kind == "timeout_after_commit":
        await _wait(fault.seconds)
        return response
    if fault.kind == "no_value":
        return json_response({"status": "ok"})
    body = response.body if isinstance(response, web.Response) else b""
    whole = body if isinstance(body, bytes) else b""
    return web.Response(body=whole[: len(whole) // 2], content_type="application/json")


async def _wait(seconds: float | None) -> None:
    """Wait so long; with None until the client has gone, which cancels the handler."""
    if seconds is None:
        await asyncio.Event().wait()
    else:
        await asyncio.sleep(seconds)


def _reset(request: web.Request) -> web.Response:
    """Break the connection with RST; the response returned is never sent."""
    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response(status=500)


async def _query_feed(request: web.Request) -> web.StreamResponse:
    state = request.app[STATE]
    return _query(request, state.feed, hidden=FEED_POSITION if state.settings.feed == "1.4" else None)


async def _query_completions(request: web.Request) -> web.StreamResponse:
    return _query(request, request.app[STATE].completions, hidden=None)


def _query(request: web.Request, table: Table, hidden: str | None) -> web.Response:
    settings = request.app[STATE].settings
    try:
        top, skip = _paging(request)
        result = table.select(request.query.get("$filter", ""), request.query.get("$orderby", ""))
    except QueryError as error:
        return error_response(400, str(error))
    wanted = len(table) if top is None else top
    size = min(wanted, settings.page_cap or wanted)
    rows = result.page(skip, size)
    body: dict[str, Any] = {"value": [_shown(table.encoded(row), hidden) for row in rows]}
    if size < wanted and settings.next_link and result.page(skip + size, 1):
        body["@odata.nextLink"] = _next_link(request, skip + size, None if top is None else top - size)
    return json_response(body)


def _shown(encoded: bytes, hidden: str | None) -> msgspec.Raw | dict[str, Any]:
    if hidden is None:
        return msgspec.Raw(encoded)
    record: dict[str, Any] = msgspec.json.decode(encoded)
    record.pop(hidden, None)
    return record


def _next_link(request: web.Request, skip: int, top: int | None) -> str:
    changed = {"$skip": str(skip)} if top is None else {"$skip": str(skip), "$top": str(top)}
    return str(request.url.update_query(changed))


def _paging(request: web.Request) -> tuple[int | None, int]:
    """Give `$top` (None when absent) and `$skip`; raises QueryError for a bad or unknown option."""
    for name in request.query:
        if name.startswith("$") and name not in QUERY_OPTIONS:
            msg = f"query option {name} is not supported"
            raise QueryError(msg)
    return _count(request, "$top"), _count(request, "$skip") or 0


def _count(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        msg = f"{name} must be a whole number, not '{text}'"
        raise QueryError(msg)
    return int(text)


async def _post_completion(request: web.Request) -> web.StreamResponse:
    if request.content_type != "application/json":
        return error_response(415, "Content-Type must be application/json.")
    try:
        record = msgspec.json.decode(await request.read(), type=dict[str, Any])
    except msgspec.DecodeError:
        return error_response(400, "The body is not a JSON object.")
    wrong = complaint(record)
    if wrong:
        return error_response(400, f"Cannot insert the record: {wrong}.")
    request.app[STATE].complete(record)
    return json_response(record, 201)
