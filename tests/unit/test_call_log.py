"""The log of calls: what becomes of a note, and that nobody waits for Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import stamina

from infra.call_log import Caller, call_log, record_of
from infra.calls import Call, about, called
from infra.codec import Codec
from infra.metrics import CALLS_DROPPED
from infra.registry import Registry
from schemas.calls import System
from schemas.ids import Target, TenantId
from schemas.topics import CALLS

AT = datetime(2026, 11, 2, 8, tzinfo=UTC)
CALLER = Caller(System.MOODLE, Target("default"), "moodle-sink", TenantId("house"))


def noted() -> Call:
    return called("f", 2, sent=10, received=20, started=5.0, ended=5.25, code="ok", http_status=200)


def test_a_note_tells_what_the_call_was_about() -> None:
    with about(f"user|t|P{number}" for number in range(200)):
        outer = noted()
        with about(["course|t|C"], attempt=3):
            inner = noted()
    assert outer.references == tuple(f"user|t|P{number}" for number in range(100))
    assert (inner.references, inner.attempt) == (("course|t|C",), 3)
    assert (noted().references, noted().attempt) == ((), 1)


async def test_tasks_begun_within_are_about_the_same() -> None:
    async def call() -> Call:
        await asyncio.sleep(0)
        return noted()

    async def both() -> list[Call]:
        return list(await asyncio.gather(call(), call()))

    with about(["user|t|P1"]):
        one = asyncio.create_task(both())
    with about(["user|t|P2"]):
        other = await both()
    assert {call.references for call in await one} == {("user|t|P1",)}
    assert {call.references for call in other} == {("user|t|P2",)}


def test_a_note_becomes_a_record() -> None:
    with about(["user|t|P1", "enrolment|t|C1|P1"]):
        record = record_of(noted(), AT, CALLER)
    assert record.started_at == AT - timedelta(seconds=0.25)
    assert (record.duration_ms, record.request_bytes, record.response_bytes) == (250, 10, 20)
    assert (record.tenant, record.references) == ("t", ("user|t|P1", "enrolment|t|C1|P1"))
    assert (record.function, record.entries, record.code, record.http_status) == ("f", 2, "ok", 200)
    assert record.key == "default"


def test_a_call_is_of_one_tenant_or_of_none() -> None:
    assert record_of(noted(), AT, CALLER).tenant == "house"
    with about(["user|t|P1", "user|u|P1"]):
        assert record_of(noted(), AT, CALLER).tenant is None
    with about([r"user|a\|b|P1"]):
        assert record_of(noted(), AT, CALLER).tenant == "a|b"


@pytest.fixture
def no_pauses() -> Iterator[None]:
    stamina.set_testing(True)
    yield
    stamina.set_testing(False)


@pytest.mark.usefixtures("no_pauses")
def test_with_kafka_and_registry_away_nobody_waits_and_what_is_lost_is_counted() -> None:
    dropped = CALLS_DROPPED.labels("nowhere")._value
    nowhere = Codec(Registry("http://127.0.0.1:1"))
    caller = Caller(System.ELM, Target("elm"), "nowhere")
    with call_log({"bootstrap.servers": "127.0.0.1:1", "log_level": 0}, nowhere, CALLS, caller) as log:
        for _ in range(10_500):
            log.note(noted())
        assert 400 <= dropped.get() <= 500
    assert dropped.get() == 10_500
