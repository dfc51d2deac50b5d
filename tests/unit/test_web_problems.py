"""Whatever goes wrong is answered as RFC 9457 says, and bad input never with a 5xx."""

from __future__ import annotations

import json
import zlib
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from infra.errors import RetryLater
from producers.web.body import read_json
from producers.web.problems import CONTENT_TYPE, Problem
from producers.web.routes import Route, Scope
from producers.web.settings import WebSettings
from tests.unit.web_support import Client, client_of, open_route


async def echo(request: web.Request) -> web.Response:
    return web.json_response(await read_json(request))


async def problem_of(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    """Give the problem in an answer, which must be well-formed."""
    assert answer.content_type == CONTENT_TYPE
    body: dict[str, Any] = json.loads(await answer.text())
    assert (body["status"], body["type"], bool(body["title"])) == (answer.status, "about:blank", True)
    return body


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b'{"data":', {}, 400),
        (b"", {}, 400),
        (b"  \n", {}, 400),
        (b"\xff\xfe\x00", {}, 400),
        (b"[" * 100_000, {}, 400),
        (b"[NaN]", {}, 400),
        (b"{} {}", {}, 400),
        (b"[1e999]", {}, 400),
        (b"not gzip", {"Content-Encoding": "gzip"}, 400),
        (b"[]", {"Content-Encoding": "rot13"}, 200),
        (b"[]", {"Content-Type": "application/json; charset=klingon"}, 415),
        (b"[" + b"1," * 400_000 + b"1]", {}, 413),
        (zlib.compress(b"1" * 20_000_000), {"Content-Encoding": "deflate"}, 413),
        ('["é"]'.encode("latin-1"), {"Content-Type": "application/json; charset=latin-1"}, 200),
        (b"\xef\xbb\xbf[1]", {}, 200),
        (b"[1]", {"Content-Type": "text/plain"}, 200),
    ],
)
async def test_a_body_that_cannot_be_read_is_the_clients_fault(
    body: bytes, headers: dict[str, str], status: int
) -> None:
    async with client_of([open_route("/echo", echo)], WebSettings(max_body_mb=0.5)) as client:
        answer = await client.post("/v1/echo", data=body, headers=headers)
        assert answer.status == status
        if status != 200:
            await problem_of(answer)
        assert (await client.get("/v1/health")).status == 200


async def test_a_large_body_is_decoded_too() -> None:
    async with client_of([open_route("/echo", echo)]) as client:
        sent = [{"id": str(number), "name": "x" * 40} for number in range(10_000)]
        assert await (await client.post("/v1/echo", json=sent)).json() == sent
        broken = await client.post("/v1/echo", data=json.dumps(sent)[:-1])
        assert broken.status == 400


async def test_unknown_addresses_and_methods_are_problems() -> None:
    async with client_of([open_route("/echo", echo)]) as client:
        for path in ("/", "/v1", "/v1/ech", "/v2/echo", "/api/echo", "/docs/assets/none"):
            answer = await client.get(path)
            assert answer.status == 404
            await problem_of(answer)
        answer = await client.get("/v1/echo")
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")
        await problem_of(answer)


async def test_routes_are_under_both_prefixes() -> None:
    async with client_of([open_route("/echo", echo)]) as client:
        for path in ("/v1/echo", "/api/v1/echo"):
            assert (await client.post(path, data=b"[1]")).status == 200


async def test_a_refusal_names_the_fields_at_fault() -> None:
    errors = [{"path": "$.data[3].price", "reason": "is no number"}]

    async def refuse(_: web.Request) -> web.Response:
        raise Problem(422, "The body has a wrong shape.", errors=errors)

    async with client_of([open_route("/refuse", refuse)]) as client:
        answer = await client.post("/v1/refuse")
        problem = await problem_of(answer)
        assert (answer.status, problem["errors"]) == (422, errors)
        assert problem["detail"] == "The body has a wrong shape."


async def test_trouble_elsewhere_asks_to_come_again() -> None:
    async def away(_: web.Request) -> web.Response:
        raise RetryLater("the database is away", retry_after=17.2)

    async with client_of([open_route("/away", away)]) as client:
        answer = await client.post("/v1/away")
        assert (answer.status, answer.headers["Retry-After"]) == (503, "17")
        await problem_of(answer)


async def test_a_bug_tells_nothing_of_the_record_to_client_or_log() -> None:
    async def broken(_: web.Request) -> web.Response:
        raise ValueError("ada@school.example")

    async with client_of([open_route("/broken", broken)]) as client:
        with capture_logs() as logs:
            answer = await client.post("/v1/broken")
        assert answer.status == 500
        assert "ada" not in await answer.text()
        (line,) = [line for line in logs if line["event"] == "request_failed"]
        assert (line["fault"], line["path"]) == ("ValueError", "/v1/broken")
        assert "ada" not in str(line)


async def test_a_route_that_needs_a_key_asks_for_one() -> None:
    async with client_of([Route("POST", "/echo", echo, Scope.SYNC, "A test", "test")]) as client:
        answer = await client.post("/v1/echo", data=b"[]")
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="rosterhub"')
        await problem_of(answer)


async def test_without_a_database_nobody_can_be_known() -> None:
    async with client_of([Route("POST", "/echo", echo, Scope.SYNC, "A test", "test")]) as client:
        answer = await client.post("/v1/echo", data=b"[]", headers={"X-API-Key": "rhk_a_b"})
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) > 0
        await problem_of(answer)


async def test_a_tenant_that_no_tenant_can_be_is_refused() -> None:
    async with client_of([open_route("/echo", echo)]) as client:
        answer = await client.post("/v1/echo", data=b"[]", headers={"X-Tenant-ID": "a" * 101})
        assert answer.status == 400


async def test_liveness_has_the_shapes_that_clients_know() -> None:
    async with client_of([], WebSettings(service="rosterhub", version="1.2.3")) as client:
        assert await _json(client, "/health") == {
            "status": "healthy",
            "service": "rosterhub",
            "version": "1.2.3",
        }
        for path in ("/v1/health", "/api/v1/health"):
            assert await _json(client, path) == {"status": "ok", "message": "API is healthy"}


async def test_requests_are_counted_by_the_pattern_of_their_route() -> None:
    def counted(**labels: str) -> float:
        return REGISTRY.get_sample_value("hub_api_requests_total", labels) or 0.0

    names = {"method": "POST", "route": "/v1/echo/{name}", "status": "200"}
    unknown = {"method": "GET", "route": "unknown", "status": "404"}
    before = counted(**names), counted(**unknown)
    async with client_of([open_route("/echo/{name}", echo)]) as client:
        for name in ("ada", "bob"):
            await client.post(f"/v1/echo/{name}", data=b"[]")
            await client.get(f"/v1/{name}")
    assert (counted(**names), counted(**unknown)) == (before[0] + 2, before[1] + 2)


async def _json(client: Client, path: str) -> Any:
    answer = await client.get(path)
    assert answer.status == 200
    return await answer.json()
