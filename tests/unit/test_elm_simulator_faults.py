"""Faults of the ELM stand-in as a client meets them: what is shown, how often, and what was stored."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from infra.simulators.elm import ElmServer, ElmState, Fault, serve
from infra.simulators.elm.faults import Faults
from tests.unit.test_elm_simulator_wire import COMPLETION, TOKEN

PATIENCE = aiohttp.ClientTimeout(total=1)


@pytest.fixture
async def server() -> AsyncIterator[ElmServer]:
    async with serve(ElmState(TOKEN, seed=[{"GUID": "a"}, {"GUID": "b"}])) as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers={"x-cdata-authtoken": TOKEN}) as session:
        yield session


async def _set(client: aiohttp.ClientSession, server: ElmServer, **fault: Any) -> None:
    async with client.post(f"{server.control_url}/faults", json=fault) as response:
        assert response.status == 201


async def _status(client: aiohttp.ClientSession, url: str) -> int:
    async with client.get(url, allow_redirects=False) as response:
        return response.status


@pytest.mark.parametrize(
    ("fault", "status", "headers"),
    [
        ({"kind": "status"}, 503, {}),
        ({"kind": "status", "status": 502, "retry_after": 3}, 502, {"Retry-After": "3"}),
        ({"kind": "rate_limit", "retry_after": 7}, 429, {"Retry-After": "7"}),
        ({"kind": "redirect", "location": "/elsewhere"}, 302, {"Location": "/elsewhere"}),
        ({"kind": "unauthorized"}, 401, {}),
        ({"kind": "html", "status": 200}, 200, {"Content-Type": "text/html; charset=utf-8"}),
    ],
)
async def test_answers_in_place_of_the_real_one(
    server: ElmServer,
    client: aiohttp.ClientSession,
    fault: dict[str, Any],
    status: int,
    headers: dict[str, str],
) -> None:
    await _set(client, server, endpoint="completion", count=1, **fault)
    post = client.post(server.completion_url, json=COMPLETION, allow_redirects=False)
    async with post as response:
        assert response.status == status
        assert {name: response.headers[name] for name in headers} == headers
    assert server.state.completed() == []
    assert await _status(client, server.completion_url) == 200


async def test_strikes_so_often_and_at_its_endpoint_only(
    server: ElmServer, client: aiohttp.ClientSession
) -> None:
    await _set(client, server, kind="status", endpoint="feed", count=2)
    assert await _status(client, server.completion_url) == 200
    assert [await _status(client, server.feed_url) for _ in range(3)] == [503, 503, 200]
    assert server.state.calls["feed GET 503"] == 2


async def test_without_count_strikes_until_cleared(server: ElmServer, client: aiohttp.ClientSession) -> None:
    await _set(client, server, kind="status", endpoint="feed")
    assert {await _status(client, server.feed_url) for _ in range(5)} == {503}
    async with client.delete(f"{server.control_url}/faults") as response:
        assert response.status == 204
    assert await _status(client, server.feed_url) == 200


async def test_may_strike_deliveries_and_spare_the_read_back(
    server: ElmServer, client: aiohttp.ClientSession
) -> None:
    await _set(client, server, kind="status", endpoint="completion", method="POST")
    assert await _status(client, server.completion_url) == 200
    async with client.post(server.completion_url, json=COMPLETION) as response:
        assert response.status == 503


async def test_may_strike_the_deliveries_of_one_learner_only(
    server: ElmServer, client: aiohttp.ClientSession
) -> None:
    await _set(client, server, kind="status", endpoint="completion", guid=COMPLETION["GUID"], status=500)
    other = {**COMPLETION, "GUID": "another", "ENROLMENT_ID": 2}
    answers = []
    for body in (COMPLETION, other, COMPLETION, [COMPLETION]):
        async with client.post(server.completion_url, json=body) as response:
            answers.append(response.status)
    assert answers == [500, 201, 500, 400]
    assert await _status(client, server.completion_url) == 200
    assert server.state.completed() == [other]


@pytest.mark.parametrize(("kind", "stored"), [("reset", 0), ("reset_after_commit", 1)])
async def test_reset_breaks_the_connection(
    server: ElmServer, client: aiohttp.ClientSession, kind: str, stored: int
) -> None:
    await _set(client, server, kind=kind, endpoint="completion", method="POST", count=1)
    with pytest.raises(aiohttp.ClientConnectionError):
        await client.post(server.completion_url, json=COMPLETION)
    assert len(server.state.completed()) == stored
    assert await _status(client, server.completion_url) == 200
    assert server.state.calls["completion POST reset"] == 1


async def test_time_out_after_commit_has_stored_the_completion(
    server: ElmServer, client: aiohttp.ClientSession
) -> None:
    await _set(client, server, kind="timeout_after_commit", endpoint="completion", method="POST", count=1)
    with pytest.raises(TimeoutError):
        await client.post(server.completion_url, json=COMPLETION, timeout=PATIENCE)
    async with client.get(server.completion_url, params={"$filter": "GUID eq 'A1B2'"}) as response:
        assert (await response.json())["value"] == [COMPLETION]


async def test_late_answer_comes_after_the_commit(server: ElmServer, client: aiohttp.ClientSession) -> None:
    fault = {"kind": "timeout_after_commit", "endpoint": "completion", "method": "POST", "seconds": 0.05}
    await _set(client, server, **fault)
    async with client.post(server.completion_url, json=COMPLETION) as response:
        assert response.status == 201


async def test_latency_comes_before_anything_is_done(
    server: ElmServer, client: aiohttp.ClientSession
) -> None:
    await _set(client, server, kind="latency", endpoint="completion", count=1)
    with pytest.raises(TimeoutError):
        await client.post(server.completion_url, json=COMPLETION, timeout=PATIENCE)
    assert server.state.completed() == []
    await _set(client, server, kind="latency", endpoint="completion", seconds=0.01, count=1)
    async with client.post(server.completion_url, json=COMPLETION) as response:
        assert response.status == 201


async def test_body_without_value(server: ElmServer, client: aiohttp.ClientSession) -> None:
    await _set(client, server, kind="no_value", endpoint="feed", count=1)
    async with client.get(server.feed_url) as response:
        body = await response.json()
    assert isinstance(body, dict)
    assert "value" not in body


async def test_truncated_json(server: ElmServer, client: aiohttp.ClientSession) -> None:
    await _set(client, server, kind="truncated", endpoint="feed", count=1)
    async with client.get(server.feed_url) as response:
        assert response.status == 200
        text = await response.text()
        with pytest.raises(ValueError, match=r"Unterminated|Expecting|delimiter"):
            await response.json()
    assert text.startswith('{"value":[')


@pytest.mark.parametrize(
    "fault",
    [
        {},
        {"kind": "fire", "endpoint": "feed"},
        {"kind": "status"},
        {"kind": "status", "endpoint": "feed", "x": 1},
    ],
)
async def test_refuses_an_unknown_fault(
    server: ElmServer, client: aiohttp.ClientSession, fault: dict[str, Any]
) -> None:
    async with client.post(f"{server.control_url}/faults", json=fault) as response:
        assert response.status == 400
    assert server.state.faults.waiting() == []


def test_faults_show_in_the_order_they_were_set() -> None:
    faults = Faults()
    faults.add(Fault(kind="status", endpoint="feed", count=1))
    faults.add(Fault(kind="html", endpoint="feed", count=2))
    faults.add(Fault(kind="reset", endpoint="feed", count=0))
    shown = [faults.take("feed", "GET") for _ in range(4)]
    assert [fault and fault.kind for fault in shown] == ["status", "html", "html", None]
