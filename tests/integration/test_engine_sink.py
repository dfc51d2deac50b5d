"""The connector runtime on the real broker."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from infra.engine import SinkConfig, Written
from infra.engine.envelope import headers_of
from infra.errors import Rejected, RetryLater, Stop
from infra.stage import Output
from schemas.deadletters import ATTEMPT, Header, Step
from schemas.events import Person
from schemas.moodle import MoodleResult
from schemas.origin import CHANGED_AT, to_header
from schemas.reasons import Reason
from schemas.topics import PEOPLE
from tests.faults import counting
from tests.faults.world import World, wait_for
from tests.integration.engine_support import engine_config, running_sink

pytestmark = pytest.mark.integration

LIMITS = SinkConfig(batch_size=50, linger_seconds=0.05, base_delay=0.1, max_delay=0.2, stop_retry_seconds=0.5)


class CountingSink:
    """Answers each person with a result and refuses some; what it does before that is the test's."""

    def __init__(self, world: World, name: str = "counter") -> None:
        self.name = name
        self.input = PEOPLE.prefixed(world.prefix)
        self.outputs = (world.output,)
        self.dead_letters = world.dead_letters
        self.written: list[list[str]] = []
        self.trouble: list[Exception] = []
        self.is_slow = False
        self._release = asyncio.Event()
        self.writing = threading.Event()
        self.was_cancelled = False
        self.opened = self.closed = 0

    async def open(self) -> None:
        self.opened += 1
        self._loop = asyncio.get_running_loop()

    def release(self) -> None:
        """Let the slow write end."""
        self._loop.call_soon_threadsafe(self._release.set)

    async def write(self, records: Sequence[Person]) -> Written:
        self.writing.set()
        try:
            if self.is_slow:
                await self._release.wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        if self.trouble:
            raise self.trouble.pop(0)
        self.written.append([record.source_record_id for record in records])
        outputs = [
            Output(self.outputs[0], counting.result("people", record.person_id, record.version_sequence))
            for record in records
        ]
        refused = [n for n, record in enumerate(records) if record.source_record_id == counting.REJECT]
        why = {n: Rejected(Reason.USER_DELETED, "refused on purpose") for n in refused}
        return Written(outputs, why, range(len(records)))

    async def close(self) -> None:
        self.closed += 1


@pytest.fixture
def world(kafka: str, registry_url: str, topic_prefix: str, tmp_path: Path) -> Iterator[World]:
    with World(kafka, registry_url, topic_prefix, tmp_path) as world:
        yield world.create()


def send(world: World, count: int) -> None:
    for number in range(count):
        world.send(PEOPLE.prefixed(world.prefix), counting.person(number, str(number)))
    assert world.producer.flush(30) == 0


def results(world: World) -> list[int]:
    return sorted(record.generation for record in world.records(world.output))


def lag(world: World, sink: CountingSink) -> int:
    ends = world.ends([sink.input.name])
    offsets = world.offsets(world.prefix + sink.name, ends)
    return sum(end - offsets.get(place, 0) for place, end in ends.items())


def test_every_record_is_answered_once(world: World) -> None:
    sink = CountingSink(world)
    send(world, 300)
    config = engine_config(world.kafka, world.registry, world.prefix, world.folder)
    with running_sink(sink, config, LIMITS) as running:
        wait_for(lambda: lag(world, sink) == 0, 30)
        assert running.status.payload()["breaker"]["state"] == "closed"
    assert results(world) == list(range(300))
    assert max(map(len, sink.written)) <= 50
    assert (sink.opened, sink.closed) == (1, 1)


def test_trouble_keeps_the_batch_and_opens_the_breaker(world: World) -> None:
    sink = CountingSink(world)
    sink.trouble = [RetryLater("away"), RetryLater("still away", retry_after=2.0), RetryLater("and again")]
    send(world, 20)
    config = engine_config(world.kafka, world.registry, world.prefix, world.folder)
    with running_sink(sink, config, LIMITS) as running:
        wait_for(lambda: running.status.payload().get("breaker", {}).get("reason") == "still away", 20)
        shown = running.status.payload()
        assert (shown["breaker"]["state"], shown["breaker"]["seconds"]) == ("open", 2.0)
        assert lag(world, sink) == 20
        wait_for(lambda: lag(world, sink) == 0, 30)
        assert running.status.payload()["breaker"] == {"state": "closed", "failures": 0}
    assert results(world) == list(range(20))


def test_stop_raises_an_alarm_and_goes_on_when_mended(world: World) -> None:
    sink = CountingSink(world)
    sink.trouble = [Stop("the token was refused"), Stop("the token was refused")]
    send(world, 5)
    config = engine_config(world.kafka, world.registry, world.prefix, world.folder)
    with running_sink(sink, config, LIMITS) as running:
        wait_for(lambda: running.status.reason == "the token was refused", 20)
        assert lag(world, sink) == 5
        wait_for(lambda: lag(world, sink) == 0, 30)
        assert running.status.reason == ""
    assert results(world) == list(range(5))


def test_results_carry_on_what_their_commands_carried_and_are_timed(world: World) -> None:
    sink = CountingSink(world, f"timed-{world.prefix}")
    began = to_header(datetime.now(UTC) - timedelta(seconds=100))
    handed_on: dict[int, list[Header]] = {
        0: [("traceparent", b"00-a-b-01"), (CHANGED_AT, began)],
        1: [],
        2: [("traceparent", b"00-c-d-01")],
    }
    for number, own in handed_on.items():
        value = world.codec.encode(sink.input, counting.person(number, str(number)))
        world.producer.produce(sink.input.name, value, b"k", headers=[("x", b"1"), *own])
    world.producer.flush(10)
    config = engine_config(world.kafka, world.registry, world.prefix, world.folder)
    with running_sink(sink, config, LIMITS):
        wait_for(lambda: lag(world, sink) == 0, 30)
    names = {"traceparent", CHANGED_AT}
    found = {
        record.generation: [header for header in headers_of(message) if header[0] in names]
        for message in world.read(world.output.name)
        if isinstance(record := world.codec.decode(world.output, message.value()), MoodleResult)
    }
    assert found == handed_on
    labels = {"role": sink.name, "kind": "USER"}
    assert REGISTRY.get_sample_value("hub_results_total", {**labels, "outcome": "APPLIED"}) == 3
    assert REGISTRY.get_sample_value("hub_change_seconds_count", labels) == 1, "only what tells its time"
    assert 100 <= (REGISTRY.get_sample_value("hub_change_seconds_sum", labels) or 0) < 200


def test_a_message_that_cannot_be_read_becomes_a_dead_letter_beside_the_results(world: World) -> None:
    sink = CountingSink(world)
    send(world, 3)
    world.producer.produce(sink.input.name, b"nonsense", b"k", headers=[("a", b"b")])
    world.producer.flush(10)
    config = engine_config(world.kafka, world.registry, world.prefix, world.folder)
    with running_sink(sink, config, LIMITS):
        wait_for(lambda: lag(world, sink) == 0, 30)
    assert results(world) == [0, 1, 2]
    (letter,) = world.letters()
    assert (letter.role, letter.topic, letter.reason) == ("counter", sink.input.name, Reason.UNREADABLE)
    assert (letter.step, letter.tenant, letter.entity) == (Step.VALUE_CONVERTER, "", "k")
    assert (letter.message_value, letter.message_key) == (b"nonsense", b"k")
    assert letter.message_headers == (("a", b"b"),)


def test_a_refused_record_has_its_dead_letter_beside_its_result_whatever_fails_before(world: World) -> None:
    sink = CountingSink(world)
    sink.trouble = [RetryLater("away")]
    world.producer.produce(sink.input.name, b"nonsense", b"k", partition=0)
    refused = counting.special(1, counting.REJECT)
    headers: list[tuple[str, str | bytes | None]] = [("x", b"1"), ("x", None), ("y", b"")]
    value = world.codec.encode(sink.input, refused)
    for record in (value, world.codec.encode(sink.input, counting.person(2))):
        world.producer.produce(sink.input.name, record, b"t|p1", partition=0, headers=headers)
    world.producer.produce(sink.input.name, value, b"t|p1", partition=0, headers=[*headers, (ATTEMPT, b"4")])
    assert world.producer.flush(10) == 0
    config = engine_config(world.kafka, world.registry, world.prefix, world.folder)
    with running_sink(sink, config, LIMITS):
        wait_for(lambda: lag(world, sink) == 0, 30)
    assert results(world) == [1, 1, 2], "each has its result"
    letters = sorted(world.letters(), key=lambda letter: letter.offset)
    assert [letter.offset for letter in letters] == [0, 1, 3]
    first = letters[1]
    assert (first.step, first.reason, first.error) == (
        Step.TASK_PUT,
        Reason.USER_DELETED,
        "refused on purpose",
    )
    assert (first.tenant, first.kind, first.entity) == ("t", "person", "person/p000001")
    for one in letters[1:]:
        assert (one.message_value, one.message_headers) == (value, tuple(headers))
    assert [one.attempt for one in letters] == [1, 1, 5], "what was redriven is counted on"


def test_a_rebalance_waits_for_the_write_and_commits_it(world: World) -> None:
    first, second = CountingSink(world), CountingSink(world)
    first.is_slow = True
    send(world, 60)
    folder = world.folder
    one = engine_config(world.kafka, world.registry, world.prefix, folder, slot="0")
    two = engine_config(world.kafka, world.registry, world.prefix, folder, slot="1")
    with running_sink(first, one, LIMITS):
        assert first.writing.wait(20)
        with running_sink(second, two, LIMITS) as other:
            assert not second.writing.wait(3)
            first.release()
            wait_for(lambda: lag(world, first) == 0, 30)
            wait_for(lambda: bool(other.status.payload().get("partitions")), 20)
    assert results(world) == list(range(60))
    written = [record for sink in (first, second) for batch in sink.written for record in batch]
    assert len(written) == 60, "nothing was written twice"


def test_a_write_that_does_not_end_is_left_to_the_next_owner(world: World) -> None:
    first, second = CountingSink(world), CountingSink(world)
    first.is_slow = True
    send(world, 60)
    limits = SinkConfig(batch_size=50, linger_seconds=0.05, revoke_seconds=1.0)
    one = engine_config(world.kafka, world.registry, world.prefix, world.folder, slot="0")
    two = engine_config(world.kafka, world.registry, world.prefix, world.folder, slot="1")
    with running_sink(first, one, limits):
        assert first.writing.wait(20)
        with running_sink(second, two, limits):
            assert second.writing.wait(20)
            assert first.was_cancelled
            first.release()
            wait_for(lambda: lag(world, first) == 0, 30)
    assert results(world) == list(range(60))


def test_a_stop_lets_the_write_under_way_end(world: World) -> None:
    sink = CountingSink(world)
    sink.is_slow = True
    send(world, 10)
    config = engine_config(world.kafka, world.registry, world.prefix, world.folder)
    with running_sink(sink, config, LIMITS) as running:
        assert sink.writing.wait(20)
        threading.Timer(0.5, sink.release).start()
        running.stop()
        assert running.error is None
    written = [record for batch in sink.written for record in batch]
    assert results(world) == sorted(map(int, written)) != []


def test_a_paused_sink_reads_nothing(world: World) -> None:
    sink = CountingSink(world)
    config = engine_config(world.kafka, world.registry, world.prefix, world.folder)
    with running_sink(sink, config, LIMITS) as running:
        wait_for(lambda: not running.status.reason, 20)
        running.status.paused.set()
        threading.Event().wait(0.6)
        send(world, 10)
        assert not sink.writing.wait(2)
        running.status.paused.clear()
        wait_for(lambda: lag(world, sink) == 0, 30)
    assert results(world) == list(range(10))
