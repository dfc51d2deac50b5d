"""Requests of ours and of others as metrics, and where Prometheus finds the processes."""

from __future__ import annotations

import json
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import REGISTRY

from infra.call_counts import count
from infra.calls import Call
from infra.cli.targets import announced
from producers.web.metrics import measured
from schemas.calls import System


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_calls_are_counted_by_function_and_code_and_refused_credentials_beside() -> None:
    before = value("hub_auth_failures_total", system="MOODLE")
    role = "sink-of-this-test"
    for code in ("ok", "ok", "invalidtoken", "accessexception"):
        count(role, System.MOODLE, Call("f", 1, 10, 10, started=0.0, seconds=0.25, code=code))
    of_moodle = {"role": role, "system": "MOODLE", "function": "f"}
    assert value("hub_calls_total", code="ok", **of_moodle) == 2
    assert value("hub_calls_total", code="invalidtoken", **of_moodle) == 1
    assert value("hub_call_seconds_sum", **of_moodle) == 1.0
    after = value("hub_auth_failures_total", system="MOODLE")
    assert after - before == 1, "a right that one function lacks is no matter of credentials"


async def test_a_caller_without_a_valid_key_is_counted() -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=int(request.match_info["status"]))

    app = web.Application(middlewares=[measured])
    app.router.add_get("/{status}", refuse)
    before = value("hub_auth_failures_total", system="API")
    async with TestClient(TestServer(app)) as client:
        for status in (200, 401, 403, 401):
            assert (await client.get(f"/{status}")).status == status
    assert value("hub_auth_failures_total", system="API") - before == 2


def test_prometheus_finds_the_processes_while_they_run(tmp_path: Path) -> None:
    with announced(tmp_path, "0", {"api": 9100, "relay": 9101}) as path:
        assert path.parent == tmp_path / "targets"
        assert json.loads(path.read_text("utf-8")) == [
            {"targets": ["127.0.0.1:9100"], "labels": {"process": "api", "slot": "0"}},
            {"targets": ["127.0.0.1:9101"], "labels": {"process": "relay", "slot": "0"}},
        ]
        with announced(tmp_path, "1", {"api": 9200}) as other:
            assert sorted(tmp_path.rglob("*.json")) == sorted([path, other])
    assert list(tmp_path.rglob("*.*")) == []
