"""The ELM sink in the connector runtime on the real broker: killed again and again, every completion once."""

import asyncio
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from connectors.elm_sink.settings import ElmSinkSettings
from connectors.elm_sink.sink import ElmSink
from infra.codec import Codec
from infra.engine import EngineConfig, Sink, SinkConfig, run_sink
from infra.registry import Registry
from infra.simulators.elm.app import serve
from infra.simulators.elm.faults import Fault
from infra.simulators.elm.state import ElmState
from infra.topics_admin import apply
from schemas.elm import CallbackResult, CompletionCallback
from schemas.ids import CallbackId, EnrolmentId, PersonId
from schemas.topics import CALLBACK_RESULTS, CALLBACKS, ELM_DEAD_LETTERS
from tests.unit.test_elm_sink_parts import CALLBACK

pytestmark = [pytest.mark.integration, pytest.mark.faults]

PARTITIONS = 2
COUNT = 400
KILLS = 5
FIRST = 880_000


def engine(kafka: str, registry_url: str, prefix: str) -> EngineConfig:
    return EngineConfig(
        kafka={"bootstrap.servers": kafka},
        codec=Codec(Registry(registry_url)),
        state_folder=Path("unused"),
        prefix=prefix,
        session_timeout_ms=6_000,
    )


def run(kafka: str, registry_url: str, prefix: str, elm_url: str) -> None:
    """Run the sink in a process of its own until it is killed or told to stop."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    settings = ElmSinkSettings(url=elm_url, token="secret", base_delay=0.05, max_delay=0.2, settle=0.1)
    sink: Sink[CompletionCallback] = ElmSink(settings, prefix=prefix)
    limits = SinkConfig(batch_size=30, linger_seconds=0.05, base_delay=0.1, max_delay=0.5)
    run_sink(sink, engine(kafka, registry_url, prefix), stop, limits)


def send(config: EngineConfig) -> None:
    producer = Producer({**config.kafka, "partitioner": "murmur2_random"})
    topic = CALLBACKS.prefixed(config.prefix)
    for number in range(COUNT):
        callback = replace(
            CALLBACK,
            callback_id=CallbackId(f"c-{number}"),
            enrolment_id=EnrolmentId(str(FIRST + number)),
            person_id=PersonId(f"AB{number:04X}"),
        )
        producer.produce(topic.name, config.codec.encode(topic, callback), callback.key)
    assert producer.flush(30) == 0


async def results(config: EngineConfig, seconds: float) -> Counter[str]:
    """Give the results of every callback, waiting until there is one for each."""
    topic = CALLBACK_RESULTS.prefixed(config.prefix)
    consumer = Consumer({**config.kafka, "group.id": "reader", "isolation.level": "read_committed"})
    found: Counter[str] = Counter()
    try:
        consumer.assign([TopicPartition(topic.name, n, OFFSET_BEGINNING) for n in range(PARTITIONS)])
        async with asyncio.timeout(seconds):
            while len(found) < COUNT:
                for message in await asyncio.to_thread(consumer.consume, 100, 0.2):
                    assert message.error() is None, message.error()
                    record = config.codec.decode(topic, message.value())
                    assert isinstance(record, CallbackResult)
                    found[record.callback_id] += 1
    finally:
        consumer.close()
    return found


async def test_killed_at_any_moment_every_completion_is_delivered_once(
    kafka: str, registry_url: str, topic_prefix: str
) -> None:
    config = engine(kafka, registry_url, topic_prefix)
    topics = [topic.prefixed(topic_prefix) for topic in (CALLBACKS, CALLBACK_RESULTS, ELM_DEAD_LETTERS)]
    apply(config.kafka, config.codec.registry, topics, partitions=PARTITIONS, replication_factor=1)
    send(config)
    state = ElmState("secret")
    seed = random.randrange(1_000)
    print(f"seed {seed}")
    dice = random.Random(seed)
    async with serve(state) as elm:
        code = f"from {__name__} import run; run(*__import__('sys').argv[1:])"
        command = [sys.executable, "-c", code, kafka, registry_url, topic_prefix, elm.completion_url]
        for kill in range(1, KILLS + 1):
            state.faults.add(Fault(kind="reset_after_commit", endpoint="completion", method="POST", count=1))
            state.faults.add(Fault(kind="latency", endpoint="completion", seconds=0.01, count=20_000))
            process = await asyncio.create_subprocess_exec(*command, stderr=subprocess.DEVNULL)
            goal = COUNT * kill // (KILLS + 2)
            await reach(state, goal, process)
            await asyncio.sleep(dice.uniform(0, 0.2))
            process.kill()
            await process.wait()
            state.faults.clear()
        assert len(state.completions) < COUNT, "every kill came before the end"
        last = await asyncio.create_subprocess_exec(*command, stderr=subprocess.DEVNULL)
        try:
            found = await results(config, 60)
        finally:
            last.terminate()
            await last.wait()
    assert last.returncode == 0
    delivered = Counter(record["ENROLMENT_ID"] for record in state.completed())
    assert delivered == {FIRST + number: 1 for number in range(COUNT)}
    assert set(found.values()) == {1}


async def reach(state: ElmState, goal: int, process: asyncio.subprocess.Process) -> None:
    """Wait until ELM has so many completions."""
    async with asyncio.timeout(40):
        while True:
            assert process.returncode is None, "the sink ended by itself"
            if len(state.completions) >= goal:
                return
            await asyncio.sleep(0.01)
