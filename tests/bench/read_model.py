"""Events per second of `hub rebuild`, on embedded PostgreSQL with fsync on.

Run by itself: `python -m tests.bench.read_model`. BENCH_EVENTS sets the number of events (200,000): people,
enrolments, commands and results in equal parts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace

import psycopg
from confluent_kafka import Producer

from connectors.read_model.project import ProjectorSettings, rebuild
from infra import collector, topics_admin
from infra.codec import Codec
from infra.db.migrate import migrate
from infra.producing import SAFE
from infra.registry import Registry
from infra.settings import KafkaConfig
from schemas.ids import CommandId, CourseId, PersonId, Target
from schemas.topics import Record, Topic, TopicSet, topic_set
from tests.bench.rows import Row
from tests.integration.test_read_model import COMMAND, ENROLMENT, PERSON, RESULT
from tests.services import embedded_services


def main() -> list[Row]:
    """Measure and return the figures."""
    events = int(os.environ.get("BENCH_EVENTS", "200000"))
    collector.calm()
    with embedded_services() as services:
        kafka: KafkaConfig = {"bootstrap.servers": services.address("kafka")}
        registry, database = Registry(services.address("registry")), services.address("postgres")
        topics = topic_set(Target("default"))
        topics_admin.apply(kafka, registry, topics.all(), replication_factor=1, partitions=6)
        migrate(database)
        codec = Codec(registry)
        _send(kafka, codec, _records(topics, events // 4))
        started = time.perf_counter()
        count = rebuild(ProjectorSettings(database, kafka, codec, topics.all()), _ignored)
        seconds = time.perf_counter() - started
        with psycopg.connect(database) as connection:
            found = connection.execute("SELECT count(*) FROM read_model.standing").fetchone()
    assert found == (events // 4,), found
    return [Row("read model: rebuild", count / seconds, "events/s", ">= 20000")]


def _ignored(_done: int, _total: int) -> None:
    """Take no notice of progress."""


def _records(topics: TopicSet, people: int) -> Iterator[tuple[Topic, Record]]:
    for number in range(people):
        person, course = PersonId(f"person-{number:08}"), CourseId(f"course-{number % 200}")
        yield topics.people, replace(PERSON, person_id=person)
        yield topics.enrolments, replace(ENROLMENT, person_id=person, course_id=course)
        command = CommandId(f"command-{number:08}")
        assert COMMAND.user is not None
        wish = replace(COMMAND.user, person_id=person)
        yield topics.commands, replace(COMMAND, command_id=command, user=wish)
        yield topics.results, replace(RESULT, command_id=command, person_id=person)


def _send(kafka: KafkaConfig, codec: Codec, records: Iterator[tuple[Topic, Record]]) -> None:
    producer = Producer({**kafka, **SAFE, "linger.ms": 20, "compression.type": "lz4"})
    for topic, record in records:
        value = codec.encode(topic, record)
        while True:
            try:
                producer.produce(topic.name, value, record.key)
                break
            except BufferError:
                producer.poll(0.1)
    assert producer.flush(120) == 0


if __name__ == "__main__":
    for row in main():
        print(f"{row.name:55} {row.value:12,.2f} {row.unit} {row.target}")
