"""The application as the processes that serve it: several behind one port, killed, stopped, cut off."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aiohttp
import pytest

from infra.db.connect import engine
from infra.embedded.ports import free_port
from producers.web import keys
from producers.web.routes import Scope
from schemas.ids import TenantId
from tests.integration.intake_support import rows, until

pytestmark = pytest.mark.integration


class Api:
    """Processes behind one port."""

    def __init__(self, database: str, key: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.headers = {"X-API-Key": key}
        self.processes: list[subprocess.Popen[bytes]] = []
        self._database = database

    async def start(self) -> subprocess.Popen[bytes]:
        """Start one more and wait until it serves."""
        process = self._spawned()
        assert process.stdout is not None
        line = await asyncio.to_thread(process.stdout.readline)
        assert b"api_listens" in line, line
        return process

    async def send(self, session: aiohttp.ClientSession, ids: list[str]) -> list[str]:
        """Send people and give the status of each."""
        body = {
            "data": [{"id": one, "name": f"Student {one}", "email": f"{one}@school.example"} for one in ids]
        }
        async with session.post(f"{self.url}/v1/test/people", json=body, headers=self.headers) as answer:
            assert answer.status == 200, await answer.text()
            return [result["status"] for result in (await answer.json())["results"]]

    def _spawned(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.bench.api_server", self._database, str(self.port)]
        self.processes.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        return self.processes[-1]

    def end(self) -> None:
        """Kill what still runs."""
        for process in self.processes:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


@contextmanager
def _api(database: str) -> Iterator[Api]:
    pool = engine(database, pool_size=1)
    try:
        key, _ = keys.create(pool, "test", [TenantId("t")], [Scope.SYNC])
    finally:
        pool.dispose()
    api = Api(database, key)
    try:
        yield api
    finally:
        api.end()


@pytest.fixture
def api(fresh_database: str) -> Iterator[Api]:
    with _api(fresh_database) as made:
        yield made


@asynccontextmanager
async def session(**more: Any) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60), **more) as made:
        yield made


def kept(database: str) -> set[str]:
    return {row[0] for row in rows(database, "SELECT record_id FROM source_records")}


async def test_a_batch_of_ten_thousand_works_and_others_are_answered_meanwhile(
    api: Api, fresh_database: str
) -> None:
    ids = [f"{number:05d}" for number in range(10_000)]
    answered = 0
    async with session() as http:
        await api.start()
        large = asyncio.create_task(api.send(http, ids))
        while not large.done():
            async with http.get(f"{api.url}/v1/health") as answer:
                assert answer.status == 200
            answered += 1
            await asyncio.sleep(0.005)
        assert await large == ["NEW"] * len(ids)
        assert await api.send(http, ids) == ["UNCHANGED"] * len(ids)
    # How long each took is measured by `python -m tests.bench.api`; here, that none was shut out.
    assert answered > 5
    assert len(kept(fresh_database)) == len(ids)
    assert rows(fresh_database, "SELECT count(*) FROM outbox") == [(len(ids),)]


async def test_what_was_answered_is_stored_though_the_process_is_killed(
    api: Api, fresh_database: str
) -> None:
    answered: set[str] = set()

    async def send(http: aiohttp.ClientSession, client: int) -> None:
        for number in range(10_000):
            await api.send(http, [f"{client}-{number}"])
            answered.add(f"{client}-{number}")

    async with session() as http:
        process = await api.start()
        clients = [asyncio.create_task(send(http, client)) for client in range(8)]
        while len(answered) < 200:
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        ended = await asyncio.gather(*clients, return_exceptions=True)
    assert all(isinstance(one, aiohttp.ClientError) for one in ended)
    until(lambda: answered <= kept(fresh_database), 10)
    events = {row[0] for row in rows(fresh_database, "SELECT key FROM outbox")}
    assert {f"t|{one}" for one in answered} <= events


async def test_two_processes_share_a_port_and_one_may_end_in_order(api: Api, fresh_database: str) -> None:
    answered: set[str] = set()

    async def send(client: int) -> None:
        for number in range(40):
            async with session() as http:  # a connection of its own each time, to whichever process
                await api.send(http, [f"{client}-{number}"])
            answered.add(f"{client}-{number}")

    first = await api.start()
    await api.start()
    clients = [asyncio.create_task(send(client)) for client in range(4)]
    while len(answered) < 40:
        await asyncio.sleep(0.01)
    first.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(first.wait, 30) == 0
    ended = await asyncio.gather(*clients, return_exceptions=True)
    # Only a connection that was made in the very moment of the end may have been cut, unanswered.
    assert all(one is None or isinstance(one, aiohttp.ClientError) for one in ended)
    assert sum(one is None for one in ended) >= 2
    assert answered <= kept(fresh_database)


async def test_connections_that_the_database_has_cut_are_made_anew(api: Api, fresh_database: str) -> None:
    async with session() as http:
        await api.start()
        await api.send(http, ["1"])
        # With the time that it may take, so that none is cut only while the next request is being answered.
        cut = "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity"
        others = " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        rows(fresh_database, cut + others)
        assert await api.send(http, ["2"]) == ["NEW"]
    assert kept(fresh_database) == {"1", "2"}


def test_a_port_that_is_taken_is_named(fresh_database: str) -> None:

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "tests.bench.api_server", fresh_database, port],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
