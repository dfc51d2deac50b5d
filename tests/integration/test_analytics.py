"""The analytics stream on a real broker: exact through repetitions, aborted transactions and `kill -9`."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka import Consumer, Producer

from infra import topics_admin
from infra.codec import Codec
from infra.producing import SAFE
from infra.registry import Registry
from infra.settings import KafkaConfig
from schemas.calls import ApiCall, System
from schemas.ids import CommandId, TenantId
from schemas.moodle import Action, CommandKind, MoodleResult, Outcome
from schemas.rates import Rate
from schemas.topics import Record, Topic, topic_set
from tests.faults.world import wait_for
from tests.integration.analytics_worker import SITE, process, settings_of, thread

pytestmark = [pytest.mark.integration, pytest.mark.faults]
T: Final = TenantId("t")
Counts = dict[tuple[str, str, datetime], tuple[int, int]]
"""Total and failed by kind, function and minute."""


class World:
    """The topics of one hub, and what is on ``hub.rates``."""

    def __init__(self, kafka: str, registry_url: str, prefix: str) -> None:
        self.topics, self.codec = topic_set(SITE, prefix), Codec(Registry(registry_url))
        self.config: KafkaConfig = {"bootstrap.servers": kafka}
        used = [self.topics.calls, self.topics.results, self.topics.callback_results, self.topics.rates]
        topics_admin.apply(self.config, self.codec.registry, used, partitions=2, replication_factor=1)
        self.producer = Producer({**self.config, **SAFE, "compression.type": "lz4"})
        self._reader = Consumer(
            {**self.config, "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest"}
        )
        self._reader.subscribe([self.topics.rates.name])
        self.last: dict[str, Rate] = {}

    def send(self, topic: Topic, *records: Record) -> None:
        for record in records:
            self.producer.produce(topic.name, self.codec.encode(topic, record), record.key)
        assert self.producer.flush(30) == 0

    def abort(self, topic: Topic, *records: Record) -> None:
        """Write within a transaction that is then aborted."""
        producer = Producer({**self.config, **SAFE, "transactional.id": uuid.uuid4().hex})
        producer.init_transactions()
        producer.begin_transaction()
        for record in records:
            producer.produce(topic.name, self.codec.encode(topic, record), record.key)
        assert producer.flush(30) == 0
        producer.abort_transaction()

    def counts(self) -> Counts:
        """Read what was published, in which no count ever becomes smaller, and give the newest counts."""
        for message in self._reader.consume(1_000, 0.1):
            assert message.error() is None
            rate: Any = self.codec.decode(self.topics.rates, message.value())
            assert rate.total >= (self.last[rate.key].total if rate.key in self.last else 1)
            self.last[rate.key] = rate
        return {(one.kind, one.function, one.minute): (one.total, one.failed) for one in self.last.values()}

    def comes_to(self, expected: Counts) -> None:
        wait_for(lambda: self.counts() == expected, 60, lambda: self.last.values())

    def close(self) -> None:
        self._reader.close()


@pytest.fixture
def world(kafka: str, registry_url: str, topic_prefix: str) -> Iterator[World]:
    made = World(kafka, registry_url, topic_prefix)
    yield made
    made.close()


def call(call_id: str, at: datetime, code: str = "ok") -> ApiCall:
    return ApiCall(
        call_id=call_id,
        system=System.MOODLE,
        target=SITE,
        role="moodle-sink",
        function="f",
        started_at=at,
        duration_ms=40,
        code=code,
        tenant=T,
    )


def result(command_id: str, at: datetime, outcome: Outcome = Outcome.APPLIED) -> MoodleResult:
    return MoodleResult(
        command_id=CommandId(command_id),
        tenant=T,
        target=SITE,
        kind=CommandKind.COURSE,
        generation=1,
        outcome=outcome,
        action=Action.NONE,
        completed_at=at,
        course_id=None,
    )


def test_counts_are_exact_through_repetitions_aborts_and_deaths(
    world: World, kafka: str, registry_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    calls, results = world.topics.calls, world.topics.results
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    late = now - timedelta(minutes=90)
    first = [
        *(call(f"c{n}", now, "ok" if n % 10 else "invalidtoken") for n in range(200)),
        *(call(f"late{n}", late) for n in range(5)),
        call("too late", now - timedelta(hours=3)),
    ]
    outcomes = [result(f"r{n}", now, Outcome.APPLIED if n % 4 else Outcome.REJECTED) for n in range(100)]
    world.send(calls, *first, *first[:50])
    world.send(results, *outcomes)
    world.abort(results, *(result(f"aborted{n}", now) for n in range(20)))
    world.producer.produce(calls.name, b"no record", b"x")
    expected: Counts = {
        ("CALL", "f", now): (200, 20),
        ("CALL", "f", late): (5, 0),
        ("RESULT", "COURSE", now): (100, 25),
    }
    with process(kafka, registry_url, topic_prefix, tmp_path) as worker:
        world.comes_to(expected)
        worker.kill()
        worker.wait()
    (rate,) = (one for one in world.last.values() if one.kind == "CALL" and one.minute == now)
    assert (rate.auth_failed, rate.buckets[:3], sum(rate.buckets)) == (20, (0, 0, 200), 200)

    world.send(calls, *first[:100], *(call(f"d{n}", now) for n in range(10)), call("later", late))
    world.send(results, *outcomes)
    expected |= {("CALL", "f", now): (210, 20), ("CALL", "f", late): (6, 0)}
    with thread(settings_of(kafka, registry_url, topic_prefix, tmp_path)) as status:
        world.comes_to(expected)
        assert not status.reason
        with thread(settings_of(kafka, registry_url, topic_prefix, tmp_path, "1")) as other:
            wait_for(lambda: not other.reason, 60)
            world.send(results, *(result(f"s{n}", now) for n in range(50)))
            world.comes_to(expected | {("RESULT", "COURSE", now): (150, 25)})
            assert (status.facts["partitions"], other.facts["partitions"]) == (6, 0)
