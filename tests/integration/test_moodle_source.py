"""The Moodle source on the real broker: what was told survives a restart, a kill and a second writer."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition
from pydantic import SecretStr

from connectors.moodle.client import MoodleClient
from connectors.moodle.settings import MoodleSettings
from connectors.moodle_source.known import Known
from connectors.moodle_source.observed_topic import ObservedTopic
from connectors.moodle_source.role import run_moodle_source
from connectors.moodle_source.settings import MoodleSourceSettings
from connectors.moodle_source.source import MoodleSource
from infra.codec import Codec
from infra.engine.config import EngineConfig
from infra.engine.errors import WorkerFailed
from infra.engine.transactions import Transactions
from infra.partitioning import partition_of
from infra.registry import Registry
from infra.simulators.moodle.app import serve
from infra.simulators.moodle.seeding import (
    NewCompletion,
    Seed,
    SeedCourse,
    SeedEnrolment,
    SeedUser,
    add_completions,
    seed,
)
from infra.simulators.moodle.state import MoodleState
from infra.telemetry import Status
from infra.topics_admin import apply
from schemas.ids import Target, TenantId
from schemas.moodle import MoodleObserved
from schemas.topics import OBSERVED, Topic

pytestmark = pytest.mark.integration

PARTITIONS = 3
TARGET = Target("main")
SETTINGS = MoodleSourceSettings(
    tenant=TenantId("t"), target=TARGET, catalogue_interval=0.05, completions_interval=0.05
)
LEARNERS = 40


def engine(kafka: str, registry_url: str, prefix: str) -> EngineConfig:
    return EngineConfig(
        kafka={"bootstrap.servers": kafka},
        codec=Codec(Registry(registry_url)),
        state_folder=Path("unused"),
        prefix=prefix,
    )


def observed(config: EngineConfig) -> Topic:
    return OBSERVED.of(TARGET).prefixed(config.prefix)


@pytest.fixture
def config(kafka: str, registry_url: str, topic_prefix: str) -> EngineConfig:
    made = engine(kafka, registry_url, topic_prefix)
    apply(made.kafka, made.codec.registry, [observed(made)], partitions=PARTITIONS, replication_factor=1)
    return made


def a_site() -> MoodleState:
    """Two opted-in courses with the same learners, who have all completed the first."""
    state = MoodleState()
    courses = [SeedCourse(f"C{n}", idnumber=str(n), completion_opt_in=True) for n in (101, 102)]
    users = [SeedUser(f"u{n}@example.test", idnumber=f"G{n:03}") for n in range(LEARNERS)]
    ids = seed(state, Seed(courses=courses, users=users))
    rows = [SeedEnrolment(user, course) for user in ids["users"] for course in ids["courses"]]
    seed(state, Seed(enrolments=rows))
    add_completions(state, [NewCompletion(user, ids["courses"][0]) for user in ids["users"]])
    return state


def read(config: EngineConfig, isolation: str = "read_committed") -> list[tuple[int, str, bytes | None]]:
    """Give (partition, key, value) of everything in the observed topic."""
    consumer = Consumer(
        {
            **config.kafka,
            "group.id": "reader",
            "isolation.level": isolation,
            "enable.partition.eof": True,
            "enable.auto.commit": False,
        }
    )
    name, ended, found = observed(config).name, set[int](), list[tuple[int, str, bytes | None]]()
    try:
        consumer.assign([TopicPartition(name, number, OFFSET_BEGINNING) for number in range(PARTITIONS)])
        while len(ended) < PARTITIONS:
            for message in consumer.consume(500, 1.0):
                error, partition = message.error(), message.partition() or 0
                if error is None:
                    found.append((partition, (message.key() or b"").decode(), message.value()))
                else:
                    assert error.code() == KafkaError._PARTITION_EOF, error
                    ended.add(partition)
    finally:
        consumer.close()
    return found


@asynccontextmanager
async def source(config: EngineConfig, state: MoodleState) -> AsyncIterator[MoodleSource]:
    topic = ObservedTopic(config, observed(config), threading.Event())
    async with serve(state) as url:
        settings = MoodleSettings(url=url, token=SecretStr("TOKEN"))
        async with MoodleClient(settings) as client:
            try:
                yield MoodleSource(SETTINGS, client, topic)
            finally:
                await topic.close()


async def test_what_was_told_is_known_after_a_restart(config: EngineConfig) -> None:
    state = a_site()
    async with source(config, state) as first:
        assert (await first.poll_once()).emitted == LEARNERS + 2
    async with source(config, state) as second:
        assert (await second.poll_once()).emitted == 0
        assert second.status["known"] == LEARNERS + 2
        course = next(iter(state.courses.find("idnumber", "102")))
        add_completions(state, [NewCompletion(state.users.find("idnumber", "G007")[0].id, course.id)])
        assert (await second.poll_once()).emitted == 1
    keys = Counter(key for _, key, _ in read(config))
    assert set(keys.values()) == {1}
    assert "t|COMPLETION|G007|102" in keys


async def test_records_stand_in_the_partition_of_their_route(config: EngineConfig) -> None:
    async with source(config, a_site()) as one:
        await one.poll_once()
    for partition, _, value in read(config):
        record = config.codec.decode(observed(config), value)
        assert isinstance(record, MoodleObserved)
        assert partition == partition_of(record.route, PARTITIONS)


async def test_a_removed_record_is_told_again_and_an_unreadable_one_harms_nothing(
    config: EngineConfig,
) -> None:
    state = a_site()
    async with source(config, state) as one:
        await one.poll_once()
    where = next(partition for partition, key, _ in read(config) if key == "t|COURSE|101")
    producer = Producer({**config.kafka})
    producer.produce(observed(config).name, None, b"t|COURSE|101", where)
    producer.produce(observed(config).name, b"no Avro", b"t|COURSE|102", where)
    assert producer.flush(10) == 0
    async with source(config, state) as other:
        assert (await other.poll_once()).emitted == 1


async def test_a_kill_between_produce_and_commit_loses_nothing_and_doubles_nothing(
    config: EngineConfig, kafka: str, registry_url: str
) -> None:
    state = a_site()
    async with serve(state) as url:
        code = f"from {__name__} import poll_and_die; poll_and_die(*__import__('sys').argv[1:])"
        command = [sys.executable, "-c", code, kafka, registry_url, config.prefix, url]
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == -signal.SIGKILL
    async with source(config, state) as again:
        assert (await again.poll_once()).emitted == LEARNERS + 2
    committed = Counter(key for _, key, _ in read(config))
    written = read(config, "read_uncommitted")
    assert len(written) > len(committed), "the killed process had written records that were aborted"
    assert len(committed) == LEARNERS + 2
    assert set(committed.values()) == {1}


def poll_and_die(kafka: str, registry_url: str, prefix: str, moodle_url: str) -> None:
    """Run in a process of its own: poll, and die by SIGKILL when the records are written, not committed."""
    config = engine(kafka, registry_url, prefix)

    def die(self: Transactions, *_: object) -> None:
        self._producer.flush(10)
        os.kill(os.getpid(), signal.SIGKILL)

    Transactions.commit = die  # type: ignore[method-assign,assignment]  # the moment cannot be hit otherwise

    async def poll() -> None:
        topic = ObservedTopic(config, observed(config), threading.Event())
        async with MoodleClient(MoodleSettings(url=moodle_url, token=SecretStr("TOKEN"))) as client:
            await MoodleSource(SETTINGS, client, topic).poll_once()

    asyncio.run(poll())


async def test_a_second_writer_fences_the_first(config: EngineConfig) -> None:
    first = ObservedTopic(config, observed(config), threading.Event())
    second = ObservedTopic(config, observed(config), threading.Event())
    known = Known()
    try:
        await first.open(known.learn_one)
        await first.append([a_record("1")])
        await second.open(known.learn_one)
        assert len(known) == 1
        with pytest.raises(WorkerFailed):
            await first.append([a_record("2")])
        await second.append([a_record("2")])
    finally:
        await first.close()
        await second.close()
    assert sorted(key for _, key, _ in read(config)) == ["t|COMPLETION|G|1", "t|COMPLETION|G|2"]


def a_record(course: str) -> MoodleObserved:
    from schemas.ids import CourseId, PersonId
    from schemas.moodle import CompletionObserved, ObservedKind

    now = datetime.now(UTC)
    body = CompletionObserved(person_id=PersonId("G"), course_id=CourseId(course), completed_on=now.date())
    return MoodleObserved(
        tenant=TenantId("t"), target=TARGET, kind=ObservedKind.COMPLETION, observed_at=now, completion=body
    )


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


async def test_the_role_shows_its_cycles_and_ends_when_told(
    config: EngineConfig, stop: threading.Event
) -> None:
    status = Status("moodle-source")
    async with serve(a_site()) as url:
        moodle = MoodleSettings(url=url, token=SecretStr("TOKEN"))
        role = asyncio.create_task(
            asyncio.to_thread(run_moodle_source, SETTINGS, moodle, config, stop, status)
        )
        await until(lambda: idle(status))
        assert status.payload()["source"]["emitted"] == LEARNERS + 2
        await until(lambda: status.payload()["ready"])
        stop.set()
        await asyncio.wait_for(role, 10)
    assert status.is_live


def idle(status: Status) -> bool:
    """One whole cycle brought nothing."""
    last = status.payload().get("source", {}).get("last_cycle")
    return last is not None and last["emitted"] == 0


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while True:
            if condition():
                return
            await asyncio.sleep(0.05)
