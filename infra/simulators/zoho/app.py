"""The CRM stand-in as an application and as a server inside the calling program."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

import msgspec
from aiohttp import web

from infra.simulators.zoho.faults import Endpoint, Fault
from infra.simulators.zoho.state import MODULES, ZohoState

STATE: Final = web.AppKey("state", ZohoState)
_MOST: Final = 200
_SCHEME: Final = "Zoho-oauthtoken"


@dataclass(frozen=True, slots=True)
class ZohoServer:
    """A running server: where it answers, and its memory."""

    base_url: str
    state: ZohoState


def create_app(state: ZohoState) -> web.Application:
    """Give the application over this memory."""
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app[STATE] = state
    app.add_routes(
        [
            web.post("/oauth/v2/token", _token),
            web.get("/crm/v2/{module}", _list),
            web.get("/crm/v2/{module}/deleted", _deleted),
            web.get("/crm/v2/{module}/{id}", _single),
            web.get("/control/status", _status),
            web.post("/control/records/{module}", _put),
            web.delete("/control/records/{module}/{id}", _delete),
            web.post("/control/faults", _add_fault),
            web.delete("/control/faults", _clear_faults),
        ]
    )
    return app


@asynccontextmanager
async def serve(state: ZohoState, port: int = 0, host: str = "127.0.0.1") -> AsyncIterator[ZohoServer]:
    """Answer on `port` (0: a free one) for as long as the block runs."""
    runner = web.AppRunner(create_app(state), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield ZohoServer(f"http://{host}:{runner.addresses[0][1]}", state)
    finally:
        await runner.cleanup()


async def _token(request: web.Request) -> web.Response:
    state = request.app[STATE]
    state.calls["token"] += 1
    if (shown := _shown(state, "token")) is not None:
        return shown
    form = await request.post()
    if (form.get("client_id"), form.get("client_secret")) != (state.client_id, state.client_secret):
        return _json({"error": "invalid_client"})  # with status 200, as the real one
    if form.get("refresh_token") != state.refresh_token or form.get("grant_type") != "refresh_token":
        return _json({"error": "invalid_code"})
    answer = {"access_token": state.new_token(), "expires_in": 3600, "token_type": "Bearer"}
    return _json({**answer, "api_domain": str(request.url.origin())})


async def _list(request: web.Request) -> web.Response:
    return _page(request, lambda state, module, since: state.listed(module, since))


async def _deleted(request: web.Request) -> web.Response:
    return _page(request, lambda state, module, since: state.deletions(module, since))


async def _single(request: web.Request) -> web.Response:
    if (refused := _refused(request)) is not None:
        return refused
    record = request.app[STATE].get(request.match_info["module"], request.match_info["id"])
    return web.Response(status=HTTPStatus.NO_CONTENT) if record is None else _json({"data": [record]})


def _page(request: web.Request, found: Any) -> web.Response:
    if (refused := _refused(request)) is not None:
        return refused
    try:
        number, size = int(request.query.get("page", "1")), int(request.query.get("per_page", str(_MOST)))
        header = request.headers.get("If-Modified-Since")
        since = datetime.fromisoformat(header) if header else None
    except ValueError:
        return _error(HTTPStatus.BAD_REQUEST, "INVALID_DATA")
    if not 1 <= size <= _MOST or number < 1:
        return _error(HTTPStatus.BAD_REQUEST, "INVALID_DATA")
    records = found(request.app[STATE], request.match_info["module"], since)
    page = records[(number - 1) * size : number * size]
    if not page:
        status = HTTPStatus.NOT_MODIFIED if since else HTTPStatus.NO_CONTENT
        return web.Response(status=status)
    info = {
        "per_page": size,
        "count": len(page),
        "page": number,
        "more_records": number * size < len(records),
    }
    return _json({"data": page, "info": info})


def _refused(request: web.Request) -> web.Response | None:
    """Give the answer to a request that is struck by a fault, has no good token, or names no module."""
    state, module = request.app[STATE], request.match_info["module"]
    state.calls[module] += 1
    if (shown := _shown(state, "records")) is not None:
        return shown
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme != _SCHEME or not state.knows_token(given):
        return _error(HTTPStatus.UNAUTHORIZED, "INVALID_TOKEN")
    if module not in MODULES:
        return _error(HTTPStatus.BAD_REQUEST, "INVALID_MODULE")
    return None


def _shown(state: ZohoState, endpoint: Endpoint) -> web.Response | None:
    fault = state.faults.take(endpoint)
    if fault is None:
        return None
    if fault.kind == "expired":
        state.expire()
        return None
    if fault.kind == "not_json":
        return web.Response(text="<html>busy</html>", content_type="text/html")
    headers = {} if fault.retry_after is None else {"Retry-After": f"{fault.retry_after:g}"}
    return web.Response(status=fault.status, headers=headers)


async def _status(request: web.Request) -> web.Response:
    state = request.app[STATE]
    return _json({"records": state.counts(), "calls": dict(state.calls)})


async def _put(request: web.Request) -> web.Response:
    module = request.match_info["module"]
    try:
        records = msgspec.json.decode(await request.read(), type=list[dict[str, Any]])
        stored = [request.app[STATE].put(module, record)["id"] for record in records]
    except (msgspec.DecodeError, KeyError):
        return _error(HTTPStatus.BAD_REQUEST, "INVALID_DATA")
    return _json({"stored": stored})


async def _delete(request: web.Request) -> web.Response:
    module, record_id = request.match_info["module"], request.match_info["id"]
    found = module in MODULES and request.app[STATE].delete(module, record_id)
    return web.Response(status=HTTPStatus.NO_CONTENT if found else HTTPStatus.NOT_FOUND)


async def _add_fault(request: web.Request) -> web.Response:
    try:
        request.app[STATE].faults.add(msgspec.json.decode(await request.read(), type=Fault))
    except msgspec.DecodeError:
        return _error(HTTPStatus.BAD_REQUEST, "INVALID_DATA")
    return web.Response(status=HTTPStatus.CREATED)


async def _clear_faults(request: web.Request) -> web.Response:
    request.app[STATE].faults.clear()
    return web.Response(status=HTTPStatus.NO_CONTENT)


def _error(status: HTTPStatus, code: str) -> web.Response:
    return _json({"code": code, "details": {}, "message": code.lower(), "status": "error"}, status)


def _json(content: Any, status: int = HTTPStatus.OK) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(content), content_type="application/json")
