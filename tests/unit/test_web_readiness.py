"""Liveness, readiness and metrics of the application."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp.test_utils import TestClient, TestServer

from infra.db.connect import engine
from infra.errors import RetryLater
from producers.web.app import build_app
from producers.web.readiness import Probe
from producers.web.services import WebServices
from producers.web.settings import WebSettings
from tests.unit.web_support import NOWHERE, Client, client_of


@asynccontextmanager
async def probed(*probes: Probe) -> AsyncIterator[Client]:
    pool = engine(NOWHERE, pool_size=1)
    try:
        app = build_app(WebServices(pool, WebSettings()), [], probes=probes)
        async with TestClient(TestServer(app)) as client:
            yield client
    finally:
        pool.dispose()


async def asked(client: Client, path: str) -> tuple[int, Any]:
    answer = await client.get(path)
    return answer.status, await answer.json()


def told(checks: Sequence[dict[str, Any]]) -> dict[str, str]:
    return {one["name"]: one["reason"] for one in checks}


def well() -> str:
    return ""


def away() -> str:
    raise RetryLater("postgresql://user:secret@host does not answer")


async def test_everything_well() -> None:
    async with probed(Probe("database", well, needed=True), Probe("kafka", well)) as client:
        status, body = await asked(client, "/readyz")
        assert (status, body["status"]) == (200, "ready")
        assert [(one["name"], one["ok"], one["needed"]) for one in body["checks"]] == [
            ("database", True, True),
            ("kafka", True, False),
        ]


async def test_without_kafka_records_are_taken_all_the_same_but_the_hub_is_not_healthy() -> None:
    async with probed(Probe("database", well, needed=True), Probe("kafka", lambda: "is away")) as client:
        assert (await asked(client, "/readyz"))[0] == 200
        status, body = await asked(client, "/healthz")
        assert (status, body["status"], told(body["checks"])["kafka"]) == (503, "degraded", "is away")


async def test_without_the_database_nothing_is_taken_and_no_address_is_told() -> None:
    async with probed(Probe("database", away, needed=True)) as client:
        status, body = await asked(client, "/readyz")
        assert (status, body["status"], told(body["checks"])) == (
            503,
            "not ready",
            {"database": "does not answer"},
        )


async def test_who_does_not_answer_in_time_is_not_waited_for_and_asked_once() -> None:
    free, count = threading.Event(), 0

    def slow() -> str:
        nonlocal count
        count += 1
        free.wait(30)
        return ""

    async with probed(Probe("registry", slow)) as client:
        for _ in range(2):
            status, body = await asked(client, "/healthz")
            assert (status, told(body["checks"])) == (503, {"registry": "no answer within 1 s"})
        assert count == 1
        free.set()


async def test_live_and_metrics_need_no_key() -> None:
    async with client_of([]) as client:
        live = await client.get("/livez")
        assert (live.status, await live.text()) == (200, "ok\n")
        metrics = await client.get("/metrics")
        assert "hub_api_requests_total" in await metrics.text()
