"""The SIS stand-in as an application and as a server inside the calling program."""

import asyncio
import base64
import binascii
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from aiohttp import web

from infra.simulators.sis.faults import Fault
from infra.simulators.sis.filters import FilterError, parse
from infra.simulators.sis.grades import add_grade_routes
from infra.simulators.sis.state import SisState
from infra.simulators.sis.views import COLLECTIONS, Release, collection

TOKEN_PATH: Final = "/oauth2/token"  # noqa: S105 - a path
ROOTS: Final[dict[Release, str]] = {
    "1.2": "/ims/oneroster/rostering/v1p2",
    "1.1": "/ims/oneroster/v1p1",
}
STATE: Final = web.AppKey("state", SisState)
_PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class SisServer:
    """A running server: where it answers, and its memory."""

    base_url: str
    state: SisState

    @property
    def token_url(self) -> str:
        """Where access tokens are given."""
        return self.base_url + TOKEN_PATH

    def root(self, release: Release) -> str:
        """Return the root of the OneRoster service of a release."""
        return self.base_url + ROOTS[release]


def create_app(state: SisState) -> web.Application:
    """Give the application over this memory."""
    app = web.Application(middlewares=[_troubled])
    app[STATE] = state
    app.router.add_post(TOKEN_PATH, _token)
    app.router.add_get(ROOTS["1.2"] + "/{name}", _answer_1_2)
    app.router.add_get(ROOTS["1.1"] + "/{name}", _answer_1_1)
    add_grade_routes(app, state)
    return app


@asynccontextmanager
async def serve(state: SisState, port: int = 0, host: str = "127.0.0.1") -> AsyncIterator[SisServer]:
    """Answer on ``port`` (0: a free one) for as long as the block runs."""
    runner = web.AppRunner(
        create_app(state), access_log=None, handler_cancellation=True, shutdown_timeout=0.1
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield SisServer(f"http://{host}:{runner.addresses[0][1]}", state)
    finally:
        await runner.cleanup()


def status_info(status: int, minor: str, description: str, retry_after: int | None = None) -> web.Response:
    """Give an error as OneRoster words it (``imsx_StatusInfo``)."""
    body = {
        "imsx_codeMajor": "failure",
        "imsx_severity": "error",
        "imsx_description": description,
        "imsx_CodeMinor": {
            "imsx_codeMinorField": [
                {"imsx_codeMinorFieldName": "TargetEndSystem", "imsx_codeMinorFieldValue": minor}
            ]
        },
    }
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return web.Response(
        body=msgspec.json.encode(body), status=status, content_type="application/json", headers=headers
    )


@web.middleware
async def _troubled(request: web.Request, handler: Any) -> web.StreamResponse:
    state = request.app[STATE]
    state.requests.append(f"{request.method} {request.path_qs}")
    fault = state.faults.take(request.path)
    if fault is not None and fault.kind in ("status", "rate_limit"):
        return _instead(fault)
    if fault is not None and fault.kind == "expired":
        state.tokens.clear()
    if fault is not None and fault.kind == "latency":
        await asyncio.sleep(fault.seconds)
    response: web.StreamResponse = await handler(request)
    if fault is not None and fault.kind == "truncated" and isinstance(response, web.Response):
        body = response.body if isinstance(response.body, bytes) else b""
        return web.Response(body=body[: len(body) // 2], content_type="application/json")
    return response


def _instead(fault: Fault) -> web.Response:
    status = 429 if fault.kind == "rate_limit" else fault.status
    minor = "server_busy" if status == 429 else "internal_server_error"
    return status_info(status, minor, "The server is busy.", fault.retry_after)


async def _token(request: web.Request) -> web.Response:
    """Give an access token for client credentials, from the header or the body (RFC 6749, 2.3.1)."""
    state, form = request.app[STATE], await request.post()
    client, password = _basic(request) or (str(form.get("client_id")), str(form.get("client_secret")))
    known = state.credentials
    if (client, password) != (known.client_id, known.client_secret):
        return web.json_response({"error": "invalid_client"}, status=401)
    if form.get("grant_type") != "client_credentials":
        return web.json_response({"error": "unsupported_grant_type"}, status=400)
    issued = secrets.token_urlsafe(24)
    state.tokens.add(issued)
    answer = {"access_token": issued, "token_type": "Bearer", "expires_in": state.token_seconds}
    return web.json_response(answer | {"scope": str(form.get("scope", ""))})


def _basic(request: web.Request) -> tuple[str, str] | None:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    try:
        client, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (client, password) if scheme == "Basic" else None


async def _answer_1_2(request: web.Request) -> web.Response:
    return _collection(request, "1.2")


async def _answer_1_1(request: web.Request) -> web.Response:
    return _collection(request, "1.1")


def _collection(request: web.Request, release: Release) -> web.Response:
    state, name = request.app[STATE], request.match_info["name"]
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme != "Bearer" or token not in state.tokens:
        return status_info(401, "unauthorisedrequest", "The access token is missing, void or expired.")
    if name not in COLLECTIONS:
        return status_info(404, "unknownobject", "There is no such collection.")
    try:
        limit, offset = _number(request, "limit", _PAGE), _number(request, "offset", 0)
        test = parse(request.query["filter"]) if "filter" in request.query else None
    except FilterError:
        return status_info(400, "invalid_filter_field", "The filter cannot be read.")
    except ValueError:
        return status_info(400, "invalid_selection_field", "limit and offset are whole numbers.")
    found = [record for record in collection(state, name, release) if test is None or test(record)]
    if sort := request.query.get("sort"):
        found.sort(key=lambda record: str(record.get(sort, "")))
    size = min(limit, state.page_cap)
    page = found[offset : offset + size]
    headers = {"X-Total-Count": str(len(found))} if state.total_count else {}
    if state.links and offset + size < len(found):
        following = request.url.update_query({"limit": str(size), "offset": str(offset + size)})
        headers["Link"] = f'<{following}>; rel="next"'
    return web.Response(
        body=msgspec.json.encode({name: page}), content_type="application/json", headers=headers
    )


def _number(request: web.Request, name: str, otherwise: int) -> int:
    found = int(request.query.get(name, otherwise))
    if found < 0:
        raise ValueError(name)
    return found
