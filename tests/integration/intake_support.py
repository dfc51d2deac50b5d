"""What the tests of the way in share: a database with tables, topics, a running relay, reading a topic."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from infra import topics_admin
from infra.codec import Codec
from infra.registry import Registry
from infra.stage import Output
from producers.candidates import Origin, SourceRecord, Valid
from producers.relay import RelaySettings, run_relay
from schemas.events import AccountPolicy, Operation, Person
from schemas.ids import PersonId, TenantId
from schemas.topics import COURSES, ENROLMENTS, PEOPLE, Record, Topic
from schemas.version import Version

TENANT = TenantId("t1")
ORIGIN = Origin(TENANT, "sis")
START = datetime(2026, 1, 5, tzinfo=UTC)
DOMAIN = (PEOPLE, COURSES, ENROLMENTS)


def person(record_id: str, sequence: int = 1, **content: Any) -> Valid:
    """Give a record of a person whose content is ``content``, with the event that stands for it."""
    event = Person(
        tenant=TENANT,
        person_id=PersonId(record_id),
        operation=Operation.UPSERT,
        source_system="sis",
        source_record_id=record_id,
        version_time=START,
        version_sequence=sequence,
        recorded_at=START,
        account_policy=AccountPolicy.ALWAYS,
        attributes={name: str(value) for name, value in content.items()},
    )
    version = Version(START, sequence)
    return Valid((SourceRecord("person", record_id, version, content, (Output(PEOPLE, event),)),))


def rows(database: str, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
    """Give the rows of a query on a connection of its own."""
    with psycopg.connect(database) as connection:
        return connection.execute(query, arguments).fetchall()


def make_topics(kafka: str, registry_url: str, prefix: str, partitions: int = 3) -> None:
    """Make the topics of the domain events and register their schemas."""
    topics = [topic.prefixed(prefix) for topic in DOMAIN]
    config: dict[str, Any] = {"bootstrap.servers": kafka}
    topics_admin.apply(config, Registry(registry_url), topics, replication_factor=1, partitions=partitions)


def relay_settings(database: str, kafka: str, registry_url: str, prefix: str) -> RelaySettings:
    """Give settings with short waits."""
    return RelaySettings(
        database_url=database,
        kafka={"bootstrap.servers": kafka},
        registry=Registry(registry_url, timeout=2.0),
        prefix=prefix,
        backoff_limit=1.0,
    )


@contextmanager
def relaying(settings: RelaySettings) -> Iterator[None]:
    """Run the relay in a thread for as long as the block lasts."""
    stop = threading.Event()
    thread = threading.Thread(target=run_relay, args=(settings, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(15)
        assert not thread.is_alive()


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until ``condition`` holds; fail at the deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not so within the time"
        time.sleep(0.02)


def until_relayed(database: str, seconds: float = 30.0) -> None:
    """Wait until nothing is left in the outbox."""
    until(lambda: rows(database, "SELECT count(*) FROM outbox WHERE error IS NULL") == [(0,)], seconds)


def messages(kafka: str, topic: str) -> list[Message]:
    """Give all messages of a topic, partition by partition, in their order."""
    consumer = Consumer(
        {
            "bootstrap.servers": kafka,
            "group.id": "none",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    found: list[Message] = []
    try:
        partitions = list(consumer.list_topics(topic, timeout=10).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        ended: set[int | None] = set()
        while len(ended) < len(partitions):
            message = consumer.poll(10)
            assert message is not None, "the topic could not be read to its end"
            error = message.error()
            if error is None:
                found.append(message)
            else:
                assert error.code() == KafkaError._PARTITION_EOF, error
                ended.add(message.partition())
    finally:
        consumer.close()
    return found


def records(kafka: str, registry_url: str, prefix: str, topic: Topic) -> list[Record]:
    """Give all records of a topic, decoded."""
    named, codec = topic.prefixed(prefix), Codec(Registry(registry_url))
    return [codec.decode(named, message.value()) for message in messages(kafka, named.name)]


def headers(message: Message) -> dict[str, bytes]:
    """Give the headers of a message."""
    found: Any = message.headers() or []
    return dict(found)
