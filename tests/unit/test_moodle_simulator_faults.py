"""Each fault of the simulated Moodle, seen by a real client."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession

from infra.simulators.moodle import Fault, MoodleState, serve

PATH = "/webservice/rest/server.php"
SITE_INFO = "core_webservice_get_site_info"
CREATE = "core_user_create_users"


@pytest.fixture
def state() -> MoodleState:
    return MoodleState()


@pytest.fixture
async def client(state: MoodleState) -> AsyncIterator[ClientSession]:
    async with serve(state) as url, ClientSession(url) as session:
        yield session


def form(function: str, **params: str) -> dict[str, str]:
    return {"wstoken": "TOKEN", "wsfunction": function, "moodlewsrestformat": "json"} | params


def new_user(name: str = "ann") -> dict[str, str]:
    fields = {"username": name, "firstname": "Ann", "lastname": "Lee", "email": f"{name}@example.test"}
    return form(CREATE, **{f"users[0][{key}]": value for key, value in {**fields, "auth": "oauth2"}.items()})


async def answer(client: ClientSession, data: dict[str, str]) -> Any:
    async with client.post(PATH, data=data) as response:
        assert response.status == 200
        return await response.json(content_type="application/json")


async def set_fault(client: ClientSession, **fault: Any) -> None:
    async with client.post("/control/faults", json=fault) as response:
        assert response.status == 200, await response.text()


EXCEPTIONS = [
    ("maintenance_ui", "moodle_exception", "sitemaintenance"),
    ("upgrade_running", "moodle_exception", "upgraderunning"),
    ("database_down", "dml_connection_exception", "dbconnectionfailed"),
    ("token_revoked", "moodle_exception", "invalidtoken"),
    ("access_denied", "webservice_access_exception", "accessexception"),
    ("user_suspended", "moodle_exception", "wsaccessusersuspended"),
]


@pytest.mark.parametrize(("kind", "exception", "errorcode"), EXCEPTIONS)
async def test_errors_that_come_with_status_200(
    client: ClientSession, kind: str, exception: str, errorcode: str
) -> None:
    await set_fault(client, kind=kind)
    body = await answer(client, form(SITE_INFO))
    assert (body["exception"], body["errorcode"]) == (exception, errorcode)


PAGES = [
    ({"kind": "maintenance_cli"}, 503, "text/html; charset=utf-8", "under maintenance"),
    ({"kind": "bad_gateway"}, 502, "text/html", "502 Bad Gateway"),
    ({"kind": "worker_killed"}, 502, "text/html", "502 Bad Gateway"),
    ({"kind": "server_error"}, 500, "text/html; charset=utf-8", "500 Error"),
    ({"kind": "server_error", "status": 504}, 504, "text/html; charset=utf-8", "504 Error"),
    ({"kind": "too_many_requests", "retry_after": 7}, 429, "text/html", "429 Too Many Requests"),
]


@pytest.mark.parametrize(("fault", "status", "kind", "text"), PAGES)
async def test_answers_that_are_not_json(
    client: ClientSession, state: MoodleState, fault: dict[str, Any], status: int, kind: str, text: str
) -> None:
    await set_fault(client, **fault)
    async with client.post(PATH, data=new_user()) as response:
        assert response.status == status
        assert response.headers["Content-Type"] == kind
        assert text in await response.text()
        assert response.headers.get("Retry-After") == ("7" if status == 429 else None)
    assert not state.users.find("username", "ann")


async def test_web_services_off_is_an_empty_403(client: ClientSession) -> None:
    await set_fault(client, kind="web_services_off")
    async with client.post(PATH, data=form(SITE_INFO)) as response:
        assert (response.status, await response.read()) == (403, b"")


async def test_killed_worker_leaves_nothing_but_used_ids(client: ClientSession, state: MoodleState) -> None:
    await set_fault(client, kind="worker_killed", count=1)
    async with client.post(PATH, data=new_user()) as response:
        assert response.status == 502
    assert len(state.users) == 3
    assert await answer(client, new_user()) == [{"id": 5, "username": "ann"}]


async def test_expired_token_says_so_once(client: ClientSession) -> None:
    await set_fault(client, kind="token_expired")
    codes = [(await answer(client, form(SITE_INFO)))["errorcode"] for _ in range(3)]
    assert codes == ["accessexception", "invalidtoken", "invalidtoken"]


async def test_connection_cut_before_the_work(client: ClientSession, state: MoodleState) -> None:
    await set_fault(client, kind="connection_reset", count=1)
    with pytest.raises(ClientError):
        await answer(client, new_user())
    assert not state.users.find("username", "ann")
    assert await answer(client, new_user()) == [{"id": 4, "username": "ann"}]


async def test_connection_cut_after_the_work(client: ClientSession, state: MoodleState) -> None:
    await set_fault(client, kind="reset_after_commit", count=1)
    with pytest.raises(ClientError):
        await answer(client, new_user())
    assert len(state.users.find("username", "ann")) == 1
    assert (await answer(client, new_user()))["errorcode"] == "invalidparameter"


async def test_no_answer_after_the_work(client: ClientSession, state: MoodleState) -> None:
    committed = asyncio.Event()
    state.on_commit = lambda _changes: committed.set()
    await set_fault(client, kind="timeout_after_commit", functions=[CREATE])
    held = asyncio.create_task(answer(client, new_user()))
    await committed.wait()
    done, _ = await asyncio.wait([held], timeout=0.1)
    assert not done
    held.cancel()
    assert len(state.users.find("username", "ann")) == 1
    assert (await answer(client, form(SITE_INFO)))["username"] == "hubsvc"


async def test_late_answer_after_the_work(client: ClientSession, state: MoodleState) -> None:
    committed = asyncio.Event()
    state.on_commit = lambda _changes: committed.set()
    await set_fault(client, kind="timeout_after_commit", seconds=0.2)
    call = asyncio.create_task(answer(client, new_user()))
    await committed.wait()
    assert not call.done()
    assert await call == [{"id": 4, "username": "ann"}]


async def test_fault_befalls_named_functions_and_spares_some_calls(client: ClientSession) -> None:
    await set_fault(client, kind="maintenance_ui", functions=[CREATE], skip=1, count=1)
    assert "sitename" in await answer(client, form(SITE_INFO))
    outcomes = [await answer(client, new_user(name)) for name in ("ann", "bob", "eve")]
    assert [isinstance(outcome, list) for outcome in outcomes] == [True, False, True]


async def test_fault_lasts_until_cleared(client: ClientSession) -> None:
    await set_fault(client, kind="database_down")
    for _ in range(3):
        assert (await answer(client, form(SITE_INFO)))["errorcode"] == "dbconnectionfailed"
    async with client.delete("/control/faults") as response:
        assert response.status == 200
    assert "sitename" in await answer(client, form(SITE_INFO))


async def test_rate_limit_refuses_what_is_beyond(client: ClientSession, state: MoodleState) -> None:
    await set_fault(client, kind="rate_limit", per_minute=3)
    statuses = []
    for _ in range(5):
        async with client.post(PATH, data=form(SITE_INFO)) as response:
            statuses.append(response.status)
            told = response.headers.get("Retry-After")
    assert statuses == [200, 200, 200, 429, 429]
    assert told is not None
    assert 1 <= int(told) <= 60
    assert [call.outcome for call in state.calls.log] == ["ok"] * 3 + ["rate_limit"] * 2


async def test_parallel_calls_of_a_slow_site_overlap(client: ClientSession, state: MoodleState) -> None:
    await set_fault(client, kind="latency", seconds=0.3)
    await asyncio.gather(*(answer(client, form(SITE_INFO)) for _ in range(4)))
    counter = state.calls.counters[SITE_INFO]
    assert counter.calls == 4
    # Four calls of 0.3 s each, at the same time: their durations add up, the busy time does not.
    assert counter.seconds > state.calls.busy_seconds >= 0.3


async def test_server_stops_while_a_fault_holds_a_call() -> None:
    state = MoodleState()
    state.faults.add(Fault("timeout_after_commit"))
    async with asyncio.timeout(10), ClientSession() as session:
        async with serve(state) as url:
            held = asyncio.create_task(session.post(url + PATH, data=new_user()))
            while not state.users.find("username", "ann"):
                await asyncio.wait([held], timeout=0.01)
        with pytest.raises(ClientError):
            await held


async def test_unknown_fault_is_refused_by_name(client: ClientSession) -> None:
    async with client.post("/control/faults", json={"kind": "earthquake"}) as response:
        assert response.status == 400
        assert "earthquake" in (await response.json())["error"]
    async with client.post("/control/faults", json={"kind": "latency", "secs": 1}) as response:
        assert response.status == 400
        assert "secs" in (await response.json())["error"]
