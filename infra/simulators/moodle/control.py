"""The control endpoint: seed and read the simulated site, set faults, see what was called. JSON, no token."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from infra.simulators.moodle.completion import run_cron
from infra.simulators.moodle.faults import KINDS, Fault
from infra.simulators.moodle.seeding import (
    AutoCompletion,
    CoursePatch,
    NewCompletion,
    Seed,
    add_completions,
    auto_complete,
    enrolment_rows,
    patch_course,
    seed,
)
from infra.simulators.moodle.server import STATE
from infra.simulators.moodle.state import SUSPENDED, MoodleState, Settings

Handler = Callable[[MoodleState, web.Request, bytes], Awaitable[Any]]


async def _reset(state: MoodleState, _request: web.Request, _body: bytes) -> Any:
    state.install()
    state.faults.clear()
    state.calls.reset()
    return {}


async def _seed(state: MoodleState, _request: web.Request, body: bytes) -> Any:
    return seed(state, msgspec.json.decode(body, type=Seed))


async def _counts(state: MoodleState, _request: web.Request, _body: bytes) -> Any:
    suspended = sum(row.status == SUSPENDED for row in state.enrolments)
    completed = sum(row.timecompleted is not None for row in state.completions)
    deleted = sum(row.deleted for row in state.users)
    return {
        "users": len(state.users) - deleted,
        "courses": len(state.courses),
        "categories": len(state.categories),
        "enrolments": len(state.enrolments),
        "enrolments_suspended": suspended,
        "completions": completed,
        "groups": len(state.groups),
    }


async def _users(state: MoodleState, request: web.Request, _body: bytes) -> Any:
    for field in ("idnumber", "email", "username"):
        if field in request.query:
            return [msgspec.to_builtins(row) for row in state.users.find(field, request.query[field])]
    return [msgspec.to_builtins(row) for row in state.users]


async def _courses(state: MoodleState, _request: web.Request, _body: bytes) -> Any:
    return [msgspec.to_builtins(row) for row in state.courses]


async def _categories(state: MoodleState, _request: web.Request, _body: bytes) -> Any:
    return [msgspec.to_builtins(row) for row in state.categories]


async def _groups(state: MoodleState, _request: web.Request, _body: bytes) -> Any:
    return [msgspec.to_builtins(row) for row in state.groups]


async def _patch_course(state: MoodleState, _request: web.Request, body: bytes) -> Any:
    patch_course(state, msgspec.json.decode(body, type=CoursePatch))
    return {}


async def _enrolments(state: MoodleState, request: web.Request, _body: bytes) -> Any:
    wanted = {name: int(value) for name, value in request.query.items()}
    return enrolment_rows(state, wanted.get("courseid"), wanted.get("userid"))


async def _completions(state: MoodleState, _request: web.Request, _body: bytes) -> Any:
    return [msgspec.to_builtins(row) for row in state.completions]


async def _add_completions(state: MoodleState, _request: web.Request, body: bytes) -> Any:
    return {"added": add_completions(state, msgspec.json.decode(body, type=list[NewCompletion]))}


async def _auto_completions(state: MoodleState, _request: web.Request, body: bytes) -> Any:
    made = auto_complete(state, msgspec.json.decode(body or b"{}", type=AutoCompletion))
    return {"added": len(made), "completions": [msgspec.to_builtins(row) for row in made]}


async def _cron(state: MoodleState, _request: web.Request, _body: bytes) -> Any:
    with state.transaction():
        return {"completed": run_cron(state)}


async def _calls(state: MoodleState, _request: web.Request, _body: bytes) -> Any:
    return state.calls.summary()


async def _call_log(state: MoodleState, _request: web.Request, _body: bytes) -> Any:
    return [msgspec.to_builtins(row) for row in state.calls.log]


async def _reset_calls(state: MoodleState, _request: web.Request, _body: bytes) -> Any:
    state.calls.reset()
    return {}


async def _settings(state: MoodleState, _request: web.Request, _body: bytes) -> Any:
    shown = msgspec.to_builtins(state.settings)
    shown.pop("token")
    return shown


async def _patch_settings(state: MoodleState, request: web.Request, body: bytes) -> Any:
    changes = msgspec.json.decode(body, type=dict[str, Any])
    known = msgspec.to_builtins(state.settings)
    unknown = sorted(changes.keys() - known.keys())
    if unknown:
        reason = f"unknown settings: {', '.join(unknown)}"
        raise ValueError(reason)
    state.settings = msgspec.convert(known | changes, Settings)
    return await _settings(state, request, body)


async def _faults(state: MoodleState, _request: web.Request, _body: bytes) -> Any:
    return {"active": msgspec.to_builtins(state.faults.active), "kinds": KINDS}


async def _add_fault(state: MoodleState, _request: web.Request, body: bytes) -> Any:
    state.faults.add(msgspec.json.decode(body, type=Fault))
    return {}


async def _clear_faults(state: MoodleState, request: web.Request, _body: bytes) -> Any:
    state.faults.clear(request.query.get("kind"))
    return {}


def _json(handler: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        try:
            result = await handler(request.app[STATE], request, await request.read())
        except (msgspec.DecodeError, ValueError, KeyError) as error:
            body, status = {"error": f"{type(error).__name__}: {error}"}, 400
        else:
            body, status = result, 200
        return web.Response(status=status, body=msgspec.json.encode(body), content_type="application/json")

    return answer


ROUTES = [
    web.post("/control/reset", _json(_reset)),
    web.post("/control/seed", _json(_seed)),
    web.get("/control/state", _json(_counts)),
    web.get("/control/users", _json(_users)),
    web.get("/control/courses", _json(_courses)),
    web.patch("/control/courses", _json(_patch_course)),
    web.get("/control/categories", _json(_categories)),
    web.get("/control/groups", _json(_groups)),
    web.get("/control/enrolments", _json(_enrolments)),
    web.get("/control/completions", _json(_completions)),
    web.post("/control/completions", _json(_add_completions)),
    web.post("/control/completions/auto", _json(_auto_completions)),
    web.post("/control/cron", _json(_cron)),
    web.get("/control/calls", _json(_calls)),
    web.get("/control/calls/log", _json(_call_log)),
    web.delete("/control/calls", _json(_reset_calls)),
    web.get("/control/settings", _json(_settings)),
    web.patch("/control/settings", _json(_patch_settings)),
    web.get("/control/faults", _json(_faults)),
    web.post("/control/faults", _json(_add_fault)),
    web.delete("/control/faults", _json(_clear_faults)),
]
