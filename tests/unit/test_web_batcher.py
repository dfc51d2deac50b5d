"""How work of many requests becomes few transactions, without one request harming another."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import pytest
from sqlalchemy import Connection

from infra.errors import RetryLater
from producers.candidates import Answer, Origin, Status
from producers.intake import Also
from producers.web.batcher import Batcher, Work
from producers.web.problems import Problem
from schemas.ids import TenantId

ORIGIN = Origin(TenantId("t"), "test")
NO_CONNECTION = cast(Connection, None)


class Taker:
    """Takes records in, noting which came together; ``bad`` ones fail their whole transaction."""

    def __init__(self, bad: Sequence[object] = (), error: Exception | None = None) -> None:
        self.transactions: list[list[object]] = []
        self.go = threading.Event()
        self.go.set()
        self._bad, self._error = bad, error or ValueError("bad")

    def take(self, records: Sequence[object], also: Also) -> list[Answer]:
        self.go.wait(30)
        if any(record in self._bad for record in records):
            raise self._error
        answers = [Answer("k", str(record), Status.NEW) for record in records]
        also(NO_CONNECTION, answers)
        self.transactions.append(list(records))
        return answers

    def work(self, *records: object, kind: str = "k") -> Work:
        return Work(ORIGIN, kind, self.take, list(records))


@contextmanager
def batching(**limits: int) -> Iterator[Batcher]:
    batcher = Batcher(**{"threads": 4, "chunk_size": 10, "queue_limit": 1_000, **limits})
    try:
        yield batcher
    finally:
        batcher.close()


def ids(answers: Sequence[Answer]) -> list[str | None]:
    return [answer.record_id for answer in answers]


async def test_what_waits_is_taken_together_and_answered_apart() -> None:
    taker = Taker()
    taker.go.clear()
    with batching() as batcher:
        tasks = [asyncio.create_task(batcher.take(taker.work(n, n + 100))) for n in range(4)]
        await asyncio.sleep(0)
        taker.go.set()
        answers = await asyncio.gather(*tasks)
    assert [ids(one) for one in answers] == [[str(n), str(n + 100)] for n in range(4)]
    assert taker.transactions == [[0, 100], [1, 101, 2, 102, 3, 103]]


async def test_other_kinds_and_origins_do_not_wait() -> None:
    slow, quick = Taker(), Taker()
    slow.go.clear()
    with batching() as batcher:
        waiting = asyncio.create_task(batcher.take(slow.work(1)))
        await asyncio.sleep(0)
        await batcher.take(quick.work(2, kind="other"))
        await batcher.take(Work(Origin(TenantId("u"), "test"), "k", quick.take, [3]))
        assert not waiting.done()
        slow.go.set()
        await waiting


async def test_a_transaction_holds_no_more_than_a_chunk() -> None:
    taker = Taker()
    taker.go.clear()
    with batching(chunk_size=5) as batcher:
        tasks = [asyncio.create_task(batcher.take(taker.work(n, n))) for n in range(6)]
        await asyncio.sleep(0)
        taker.go.set()
        await asyncio.gather(*tasks)
    assert max(map(len, taker.transactions)) == 4
    assert sum(map(len, taker.transactions)) == 12


async def test_a_large_batch_goes_by_chunks_and_small_requests_pass_between() -> None:
    taker = Taker()
    order: list[str] = []
    with batching(chunk_size=3) as batcher:
        taker.go.clear()
        large = asyncio.create_task(batcher.take_all(taker.work(*range(10))))
        await asyncio.sleep(0)
        small = asyncio.create_task(batcher.take(taker.work("small")))
        small.add_done_callback(lambda _: order.append("small"))
        large.add_done_callback(lambda _: order.append("large"))
        taker.go.set()
        assert ids(await large) == [str(n) for n in range(10)]
        await small
    assert order == ["small", "large"]
    assert max(map(len, taker.transactions)) <= 3


async def test_the_last_chunk_sees_all_answers() -> None:
    taker, seen = Taker(), []

    def also(_: Connection, answers: Sequence[Answer]) -> None:
        seen.append(ids(answers))

    with batching(chunk_size=4) as batcher:
        await batcher.take_all(taker.work(*range(9)), also)
        await batcher.take_all(taker.work(), also)
    assert seen == [[str(n) for n in range(9)], []]


async def test_one_that_fails_harms_nobody_else() -> None:
    taker = Taker(bad=["bad"])
    taker.go.clear()
    with batching() as batcher:
        sent = ["a", "b", "bad", "c"]
        tasks = [asyncio.create_task(batcher.take(taker.work(name))) for name in sent]
        await asyncio.sleep(0)
        taker.go.set()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(one, ValueError) for one in ended] == [False, False, True, False]


async def test_what_one_request_adds_and_fails_with_is_its_own() -> None:
    taker = Taker()

    def refuse(_: Connection, __: Sequence[Answer]) -> None:
        raise Problem(409, "taken")

    taker.go.clear()
    with batching() as batcher:
        tasks = [
            asyncio.create_task(batcher.take(taker.work("a"))),
            asyncio.create_task(batcher.take(taker.work("b"))),
            asyncio.create_task(batcher.take(taker.work("c"), refuse)),
        ]
        await asyncio.sleep(0)
        taker.go.set()
        ended: list[Any] = await asyncio.gather(*tasks, return_exceptions=True)
    assert [ids(one) for one in ended[:2]] == [["a"], ["b"]]
    assert isinstance(ended[2], Problem)
    assert ["c"] not in taker.transactions


async def test_trouble_of_the_database_is_everybodys() -> None:
    taker = Taker(bad=["b"], error=RetryLater("away"))
    taker.go.clear()
    with batching() as batcher:
        tasks = [asyncio.create_task(batcher.take(taker.work(name))) for name in "abc"]
        await asyncio.sleep(0)
        taker.go.set()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in ended] == [list, RetryLater, RetryLater]


async def test_too_much_is_refused_and_what_waits_goes_on() -> None:
    taker = Taker()
    taker.go.clear()
    with batching(queue_limit=5) as batcher:
        tasks = [asyncio.create_task(batcher.take(taker.work(n, n))) for n in range(3)]
        await asyncio.sleep(0)
        assert batcher.waiting == 4
        with pytest.raises(Problem) as refused:
            await batcher.take(taker.work(8, 9))
        assert (refused.value.status, "Retry-After" in refused.value.headers) == (503, True)
        taker.go.set()
        await asyncio.gather(*tasks)
        assert batcher.waiting == 0


async def test_a_client_that_went_away_does_not_hold_up_the_others() -> None:
    taker = Taker()
    taker.go.clear()
    with batching() as batcher:
        first, second = (asyncio.create_task(batcher.take(taker.work(name))) for name in "ab")
        await asyncio.sleep(0)
        first.cancel()
        taker.go.set()
        assert ids(await second) == ["b"]
        assert ids(await batcher.take(taker.work("c"))) == ["c"]


async def test_many_clients_in_turn_are_all_answered() -> None:
    taker = Taker()

    async def client(name: int, batcher: Batcher) -> None:
        for number in range(40):
            assert ids(await batcher.take(taker.work(f"{name}-{number}"))) == [f"{name}-{number}"]

    with batching() as batcher:
        await asyncio.gather(*(client(name, batcher) for name in range(8)))
    assert sum(map(len, taker.transactions)) == 320
    assert len(taker.transactions) < 200
