"""The control endpoint: what a test or a demonstration may tell and ask the ELM stand-in.

It asks for no token: bind the server to loopback.
"""

from typing import Any, TypeVar

import msgspec
from aiohttp import web

from infra.simulators.elm.faults import Fault
from infra.simulators.elm.wire import STATE, error_response, json_response

T = TypeVar("T")


class Records(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /control/records`."""

    records: list[dict[str, Any]]


def add_control_routes(app: web.Application) -> None:
    """Serve `/control/...`."""
    app.add_routes(
        [
            web.get("/control/status", _status),
            web.post("/control/reset", _reset),
            web.post("/control/records", _append),
            web.get("/control/completions", _completions),
            web.get("/control/settings", _settings),
            web.patch("/control/settings", _configure),
            web.get("/control/faults", _faults),
            web.post("/control/faults", _add_fault),
            web.delete("/control/faults", _clear_faults),
            web.get("/control/calls", _calls),
            web.delete("/control/calls", _clear_calls),
        ]
    )


async def _status(request: web.Request) -> web.Response:
    state = request.app[STATE]
    counts = {"records": len(state.feed), "completions": len(state.completions)}
    return json_response(counts | {"faults": len(state.faults.waiting()), "settings": state.settings})


async def _reset(request: web.Request) -> web.Response:
    request.app[STATE].reset()
    return await _status(request)


async def _append(request: web.Request) -> web.Response:
    try:
        body = await _body(request, Records)
        stored = request.app[STATE].append(body.records)
    except (msgspec.DecodeError, ValueError, TypeError) as error:
        return error_response(400, str(error))
    positions = [record["record_enrol_id"] for record in stored]
    return json_response({"appended": len(stored), "record_enrol_ids": positions}, 201)


async def _completions(request: web.Request) -> web.Response:
    completed = request.app[STATE].completed()
    if request.query.get("count_only"):
        return json_response({"count": len(completed)})
    return json_response({"count": len(completed), "value": completed})


async def _settings(request: web.Request) -> web.Response:
    return json_response(request.app[STATE].settings)


async def _configure(request: web.Request) -> web.Response:
    try:
        return json_response(request.app[STATE].configure(**await _body(request, dict[str, Any])))
    except msgspec.DecodeError as error:
        return error_response(400, str(error))


async def _faults(request: web.Request) -> web.Response:
    return json_response({"value": request.app[STATE].faults.waiting()})


async def _add_fault(request: web.Request) -> web.Response:
    try:
        fault = await _body(request, Fault)
    except msgspec.DecodeError as error:
        return error_response(400, str(error))
    request.app[STATE].faults.add(fault)
    return json_response(fault, 201)


async def _clear_faults(request: web.Request) -> web.Response:
    request.app[STATE].faults.clear()
    return web.Response(status=204)


async def _calls(request: web.Request) -> web.Response:
    return json_response(dict(request.app[STATE].calls))


async def _clear_calls(request: web.Request) -> web.Response:
    request.app[STATE].calls.clear()
    return web.Response(status=204)


async def _body(request: web.Request, form: type[T]) -> T:
    return msgspec.json.decode(await request.read(), type=form)
