"""The REST server: reads a call as PHP does, goes through the faults, answers as Moodle does."""

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import web

from infra.simulators.moodle import costs, php
from infra.simulators.moodle.calls import entries
from infra.simulators.moodle.errors import (
    MoodleError,
    NotSimulatedError,
    access_denied,
    invalid_token,
    moodle_error,
)
from infra.simulators.moodle.faults import Fault
from infra.simulators.moodle.functions import FUNCTIONS, call, check_name
from infra.simulators.moodle.pages import BAD_GATEWAY, MAINTENANCE, server_error
from infra.simulators.moodle.state import MoodleState

STATE = web.AppKey("state", MoodleState)
CLOSING = web.AppKey("closing", asyncio.Event)

_HEADERS = {
    "Cache-Control": "private, must-revalidate, pre-check=0, post-check=0, max-age=0",
    "Expires": "Thu, 01 Jan 1970 00:00:00 GMT",
    "Pragma": "no-cache",
    "Accept-Ranges": "none",
    "Access-Control-Allow-Origin": "*",
}


class _WorkerKilledError(Exception):
    """The process that served the call is gone; its transaction is rolled back."""


async def rest(request: web.Request) -> web.StreamResponse:
    """`/webservice/rest/server.php`."""
    state = request.app[STATE]
    params = await _parameters(request, state.settings.max_input_vars)
    token, function, form = (params.pop(name, None) for name in _CONTROL)
    name = function if isinstance(function, str) else None
    mark = state.calls.begin()
    outcome = "dropped"
    try:
        response, outcome = await _serve(request, name, token, params, "json" if form == "json" else "xml")
        return response
    finally:
        state.calls.end(mark, name or "", entries(params), outcome)


_CONTROL = ("wstoken", "wsfunction", "moodlewsrestformat")


async def _parameters(request: web.Request, limit: int) -> php.PhpArray:
    # PHP cuts a query at the limit and a body one variable later.
    query = php.form(php.pairs(request.rel_url.raw_query_string), limit - 1)
    if request.content_type != "application/x-www-form-urlencoded":
        return query
    body = (await request.read()).decode(errors="replace")
    return query | php.form(php.pairs(body), limit)


async def _serve(
    request: web.Request, name: str | None, token: object, params: php.PhpArray, form: str
) -> tuple[web.StreamResponse, str]:
    state, closing = request.app[STATE], request.app[CLOSING]
    await _delay(state, name, closing)
    fault = state.faults.take(_BEFORE, name)
    if fault is not None:
        return await _answer_at_once(request, fault), fault.kind
    try:
        _authenticate(state, name, token)
        result = await _carry_out(state, name, params, closing)
    except MoodleError as error:
        return _error(state, error, form), error.errorcode or error.exception
    except NotSimulatedError as error:
        return web.Response(status=501, text=f"not simulated: {error}\n"), "not_simulated"
    except _WorkerKilledError:
        return _html(502, BAD_GATEWAY), "worker_killed"
    after = state.faults.take(_AFTER, name)
    if after is not None and not await _answer_late(request, after, closing):
        return web.Response(), after.kind
    return _result(result, form), "ok"


async def _delay(state: MoodleState, name: str | None, closing: asyncio.Event) -> None:
    fault = state.faults.take({"latency"}, name)
    seconds = (fault.seconds or 0.0) if fault else 0.0
    if state.settings.latency == "fixed":
        seconds += state.settings.latency_seconds
    await _pause(seconds, closing)


async def _pause(seconds: float | None, closing: asyncio.Event) -> None:
    """Wait, but not longer than the server lives; None waits for just that."""
    if seconds is None or seconds > 0:
        try:
            async with asyncio.timeout(seconds):
                await closing.wait()
        except TimeoutError:
            return


def _authenticate(state: MoodleState, name: str | None, token: object) -> None:
    fault = state.faults.take(_REFUSALS, name)
    if fault is not None and fault.kind in _SITE_DOWN:
        raise _REFUSALS[fault.kind]()
    if token != state.settings.token:
        raise invalid_token()
    if fault is not None:
        raise _REFUSALS[fault.kind]()


async def _carry_out(
    state: MoodleState, name: str | None, params: php.PhpArray, closing: asyncio.Event
) -> Any:
    name = check_name(state, name)
    if not FUNCTIONS[name].writes:
        result = call(state, name, params)
        await _recorded_latency(state, name, params, result, closing)
        return result
    await _recorded_latency(state, name, params, None, closing)
    killed = state.faults.take({"worker_killed"}, name)
    if killed is not None:
        await _pause(killed.seconds or 0.0, closing)
    with state.transaction():
        result = call(state, name, params)
        if killed is not None:
            raise _WorkerKilledError
    return result


async def _recorded_latency(
    state: MoodleState, name: str, params: php.PhpArray, result: Any, closing: asyncio.Event
) -> None:
    settings = state.settings
    if settings.latency == "recorded":
        alone = costs.milliseconds(name, params, result, entries(params), len(state.users))
        milliseconds = costs.stretched(alone, name, state.calls.in_progress)
        await _pause(milliseconds * settings.latency_scale / 1000, closing)


async def _answer_at_once(request: web.Request, fault: Fault) -> web.StreamResponse:
    if fault.kind == "connection_reset":
        _cut(request)
        return web.Response()
    if fault.kind in ("too_many_requests", "rate_limit"):
        headers = {"Retry-After": str(fault.retry_after)}
        return _html(429, server_error(429, "Too Many Requests"), headers)
    if fault.kind == "server_error":
        return _html(fault.status, server_error(fault.status, "Error"))
    if fault.kind == "maintenance_cli":
        return _html(503, MAINTENANCE.replace("SITE", request.app[STATE].courses.rows[(1,)].fullname))
    if fault.kind == "web_services_off":
        return _html(403, "")
    return _html(502, BAD_GATEWAY)


async def _answer_late(request: web.Request, fault: Fault, closing: asyncio.Event) -> bool:
    """Whether an answer is to be sent at all after the work was done."""
    if fault.kind == "timeout_after_commit":
        await _pause(fault.seconds, closing)
        if fault.seconds is not None:
            return True
    _cut(request)
    return False


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


_BEFORE = (
    "connection_reset",
    "too_many_requests",
    "rate_limit",
    "server_error",
    "bad_gateway",
    "maintenance_cli",
    "web_services_off",
)
_AFTER = ("timeout_after_commit", "reset_after_commit")
_SITE_DOWN = ("database_down", "upgrade_running")
_DATABASE_DOWN = (
    "<p>Error: Database connection failed</p>\n"
    "<p>It is possible that the database is overloaded or otherwise not running properly.</p>\n"
    "<p>The site administrator should also check that the database details have been correctly specified in "
    "config.php</p>"
)
_REFUSALS: dict[str, Callable[[], MoodleError]] = {
    "database_down": lambda: MoodleError("dml_connection_exception", "dbconnectionfailed", _DATABASE_DOWN),
    "upgrade_running": lambda: moodle_error("upgraderunning", "Site is being upgraded, please retry later."),
    "token_revoked": invalid_token,
    "token_expired": access_denied,
    "access_denied": access_denied,
    "user_suspended": lambda: moodle_error(
        "wsaccessusersuspended", "Refused web service access for suspended username: hubsvc"
    ),
    "maintenance_ui": lambda: moodle_error(
        "sitemaintenance", "The site is undergoing maintenance and is currently not available"
    ),
}


def _result(result: Any, form: str) -> web.Response:
    return _text(php.to_json(result) if form == "json" else php.to_xml(result), form)


def _error(state: MoodleState, error: MoodleError, form: str) -> web.Response:
    body = error.body(state.settings.debug)
    return _text(php.to_json(body) if form == "json" else php.error_xml(body), form)


def _text(text: str, form: str) -> web.Response:
    kind = "application/json" if form == "json" else "application/xml; charset=utf-8"
    return web.Response(body=text.encode(), headers={**_HEADERS, "Content-Type": kind})


def _html(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    kind = "text/html" if status in (429, 502) else "text/html; charset=utf-8"
    return web.Response(status=status, body=text.encode(), headers={**(headers or {}), "Content-Type": kind})
