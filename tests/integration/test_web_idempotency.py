"""Requests with an idempotency key: done once, answered the same again, in all processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import Engine

from infra.db.connect import engine
from producers.web import keys
from producers.web.locks import LOCKS
from producers.web.routes import Route, Scope
from producers.web.services import SERVICES
from producers.web.settings import WebSettings
from schemas.ids import TenantId
from tests.bench.api_people import people
from tests.integration.intake_support import rows
from tests.unit.web_support import Client, client_of

pytestmark = pytest.mark.integration
ROUTES = [
    Route("POST", f"/test/{kind}", people, Scope.SYNC, "Take in", "test", idempotent=True)
    for kind in ("people", "others")
]
CHUNK = 50


@pytest.fixture
def database(fresh_database: str) -> str:
    return fresh_database


@pytest.fixture
def pool(database: str) -> Iterator[Engine]:
    made = engine(database, pool_size=1)
    yield made
    made.dispose()


@pytest.fixture
def key(pool: Engine) -> str:
    plain, _ = keys.create(pool, "test", [TenantId("a"), TenantId("b")], [Scope.SYNC])
    return plain


class Sender:
    """Sends people with an API key."""

    def __init__(self, client: Client, key: str) -> None:
        self.client, self._key = client, key

    async def send(
        self,
        *ids: str,
        idempotency: str | None = None,
        path: str = "/v1/test/people",
        tenant: str = "a",
        **more: str,
    ) -> tuple[int, bool, list[str]]:
        """Give the status, whether it was replayed, and the status of each record."""
        headers = {"X-API-Key": self._key, "X-Tenant-ID": tenant, **more}
        if idempotency is not None:
            headers["Idempotency-Key"] = idempotency
        body = {"data": [{"id": one, "name": one} for one in ids]}
        answer = await self.client.post(path, json=body, headers=headers)
        replayed = answer.headers.get("Idempotency-Replayed") == "true"
        return answer.status, replayed, _statuses(await answer.json(content_type=None))


def _statuses(body: dict[str, Any]) -> list[str]:
    return [result["status"] for result in body.get("results", ())]


@asynccontextmanager
async def sender(database: str, key: str, **settings: Any) -> AsyncIterator[Sender]:
    async with client_of(ROUTES, WebSettings(chunk_size=CHUNK, **settings), database) as client:
        yield Sender(client, key)


async def test_without_a_key_the_same_is_done_again(database: str, key: str) -> None:
    async with sender(database, key) as one:
        assert await one.send("1", "2") == (200, False, ["NEW", "NEW"])
        assert await one.send("1", "2") == (200, False, ["UNCHANGED", "UNCHANGED"])
    assert rows(database, "SELECT count(*) FROM idempotency") == [(0,)]


async def test_the_same_request_gets_the_same_answer(database: str, key: str) -> None:
    async with sender(database, key) as one:
        assert await one.send("1", idempotency="k") == (200, False, ["NEW"])
        assert await one.send("1", idempotency="k") == (200, True, ["NEW"])
        assert await one.send("1", path="/api/v1/test/people", idempotency="k") == (200, True, ["NEW"])
        assert await one.send("1", **{"X-Idempotency-Key": "k"}) == (200, True, ["NEW"])
        assert len(one.client.app[LOCKS]) == 0
    async with sender(database, key) as restarted:
        assert await restarted.send("1", idempotency="k") == (200, True, ["NEW"])


async def test_another_body_is_a_conflict(database: str, key: str) -> None:
    async with sender(database, key) as one:
        await one.send("1", idempotency="k")
        assert await one.send("2", idempotency="k") == (409, False, [])
        assert await one.send("2") == (200, False, ["NEW"])


async def test_tenants_and_routes_have_keys_of_their_own(database: str, key: str) -> None:
    async with sender(database, key) as one:
        assert await one.send("1", idempotency="k") == (200, False, ["NEW"])
        assert await one.send("1", idempotency="k", tenant="b") == (200, False, ["NEW"])
        assert await one.send("1", idempotency="k", path="/v1/test/others") == (200, False, ["UNCHANGED"])


@pytest.mark.parametrize("wrong", ["", " ", "a" * 256, "schlüssel", "a\tb"])
async def test_a_key_that_cannot_be_one_is_refused(database: str, key: str, wrong: str) -> None:
    async with sender(database, key) as one:
        assert (await one.send("1", idempotency=wrong))[0] == 400


async def test_a_refused_request_is_not_remembered(database: str, key: str) -> None:
    async with sender(database, key, queue_limit=1) as one:
        assert (await one.send("1", "2", idempotency="k"))[0] == 503
    async with sender(database, key) as one:
        assert await one.send("1", "2", idempotency="k") == (200, False, ["NEW", "NEW"])


async def test_records_and_answer_are_stored_together_or_not_at_all(
    database: str, key: str, pool: Engine
) -> None:
    with pool.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE idempotency ADD CHECK (key <> 'refused')")
    async with sender(database, key) as one:
        assert (await one.send("1", idempotency="refused"))[0] == 500
        assert rows(database, "SELECT count(*) FROM source_records") == [(0,)]
        assert await one.send("1", idempotency="k") == (200, False, ["NEW"])


async def test_an_answer_is_replayed_for_its_time_only(database: str, key: str) -> None:
    async with sender(database, key, idempotency_hours=0.0) as one:
        assert await one.send("1", idempotency="k") == (200, False, ["NEW"])
        assert await one.send("1", idempotency="k") == (200, False, ["UNCHANGED"])
        assert await one.send("2", idempotency="k") == (200, False, ["NEW"])
        assert await asyncio.to_thread(one.client.app[SERVICES].answers.remove_expired) == 1
    assert rows(database, "SELECT count(*) FROM idempotency") == [(0,)]


async def test_a_large_request_is_done_by_chunks_and_replayed_as_a_whole(database: str, key: str) -> None:
    ids = [str(number) for number in range(3 * CHUNK + 1)]
    async with sender(database, key) as one:
        assert await one.send(*ids, idempotency="k") == (200, False, ["NEW"] * len(ids))
        assert await one.send(*ids, idempotency="k") == (200, True, ["NEW"] * len(ids))
        assert (await one.send(*ids[1:], idempotency="k"))[0] == 409


@pytest.mark.parametrize("size", [1, 2 * CHUNK + 1])
async def test_of_many_at_once_in_two_processes_one_is_done(database: str, key: str, size: int) -> None:
    """Two applications with pools of their own stand for two processes: they share the database only."""
    async with sender(database, key) as first, sender(database, key) as second:
        for number in range(15):
            ids = [f"{number}-{place}" for place in range(size)]
            sent = [one.send(*ids, idempotency=f"k{number}") for one in (first, second) * 3]
            answers = await asyncio.gather(*sent)
            done = [answer for answer in answers if answer[0] == 200]
            assert {status for status, _, _ in answers} <= {200, 409}
            assert [replayed for _, replayed, _ in done].count(False) == 1
            assert all(statuses == ["NEW"] * size for _, _, statuses in done)
            if size == 1:
                assert len(done) == len(answers)
            assert await second.send(*ids, idempotency=f"k{number}") == (200, True, ["NEW"] * size)
