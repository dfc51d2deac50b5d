"""Events per second of `hub rebuild`, on embedded PostgreSQL with fsync on.

Run by itself: `python -m tests.bench.read_model`. BENCH_EVENTS sets the number of events (200,000): for each
person one of each kind of `_of_person`, and a call to Moodle for every tenth.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
import psycopg
from confluent_kafka import Producer

from connectors.read_model.project import ProjectorSettings, rebuild
from infra import collector, topics_admin
from infra.cli.state_rows import state_rows
from infra.codec import Codec
from infra.db.migrate import migrate
from infra.producing import SAFE
from infra.registry import Registry
from infra.settings import KafkaConfig
from processors import courses, people
from processors.accounts import AccountEntry
from processors.wishes import Wish
from schemas.calls import ApiCall, System
from schemas.events import EnrolmentByCourse, EnrolmentStatus, Role
from schemas.ids import CommandId, CourseId, EnrolmentId, MoodleCourseId, MoodleUserId, PersonId, Target, key
from schemas.moodle import CommandKind, EnrolmentWish
from schemas.topics import Record, Topic, TopicSet, changelog, topic_set
from schemas.version import Version
from tests.bench.rows import Row
from tests.integration.read_model_support import AT, COMMAND, ENROLMENT, PERSON, RESULT, TARGET, T
from tests.services import embedded_services

_STAGES = {stage: changelog(stage) for stage in ("people", "courses")}
_PER_PERSON = 10
Message = tuple[Topic, str, bytes]


def main() -> list[Row]:
    """Measure and return the figures."""
    count = int(os.environ.get("BENCH_EVENTS", "200000")) // _PER_PERSON
    collector.calm()
    with embedded_services() as services:
        kafka: KafkaConfig = {"bootstrap.servers": services.address("kafka")}
        registry, database = Registry(services.address("registry")), services.address("postgres")
        topics = topic_set(Target("default"))
        every = [*topics.all(), *_STAGES.values()]
        topics_admin.apply(kafka, registry, every, replication_factor=1, partitions=6)
        migrate(database)
        codec = Codec(registry)
        _send(kafka, _messages(codec, topics, count))
        changes = {topic.name: partial(state_rows, stage) for stage, topic in _STAGES.items()}
        settings = ProjectorSettings(database, kafka, codec, topics.all(), changes)
        started, used = time.perf_counter(), time.process_time()
        events = rebuild(settings, _ignored)
        seconds, used = time.perf_counter() - started, time.process_time() - used
        with psycopg.connect(database) as connection:
            query = "SELECT count(*) FROM read_model.enrolment_snapshot WHERE actual = 'ACTIVE'"
            found = connection.execute(query).fetchone()
    assert found == (count,), found
    return [
        Row("read model: rebuild", events / seconds, "events/s", ">= 20000"),
        Row("read model: the hub's own CPU time of a rebuild", used / events * 1e6, "s/1,000,000 events"),
    ]


def _ignored(_done: int, _total: int) -> None:
    """Take no notice of progress."""


def _messages(codec: Codec, topics: TopicSet, count: int) -> Iterator[Message]:
    for number in range(count):
        person, course = PersonId(f"person-{number:08}"), CourseId(f"course-{number % 200}")
        for topic, record in _of_person(topics, number, person, course):
            yield topic, record.key, codec.encode(topic, record)
        for stage, entry_key, entry in _state(person, course):
            yield _STAGES[stage], entry_key, msgspec.msgpack.encode(entry)


def _of_person(
    topics: TopicSet, number: int, person: PersonId, course: CourseId
) -> Iterator[tuple[Topic, Record]]:
    user, moodle_course = MoodleUserId(number), MoodleCourseId(7)
    account, enrolment = CommandId(f"user-{number:08}"), CommandId(f"enrolment-{number:08}")
    yield topics.people, replace(PERSON, person_id=person)
    yield topics.enrolments, replace(ENROLMENT, person_id=person, course_id=course)
    yield topics.commands, replace(COMMAND, command_id=account)
    yield topics.results, replace(RESULT, command_id=account, person_id=person)
    wish: dict[str, Any] = {
        "person_id": person,
        "course_id": course,
        "moodle_user_id": user,
        "role": Role.STUDENT,
        "status": EnrolmentStatus.ACTIVE,
    }
    yield (
        topics.enrolments_by_course,
        EnrolmentByCourse(
            **wish,
            tenant=T,
            enrolment_id=EnrolmentId(str(number)),
            account_is_new=True,
            source_system="sis",
            version_time=AT,
            version_sequence=0,
            recorded_at=AT,
        ),
    )
    body = EnrolmentWish(**wish, moodle_course_id=moodle_course, state_is_known=True)
    of_enrolment: dict[str, Any] = {"command_id": enrolment, "kind": CommandKind.ENROLMENT}
    yield topics.commands, replace(COMMAND, **of_enrolment, user=None, enrolment=body)
    told = replace(RESULT, **of_enrolment, person_id=person, course_id=course, status=EnrolmentStatus.ACTIVE)
    yield topics.results, told
    if number % 10 == 0:
        yield topics.calls, _call(number)


def _call(number: int) -> ApiCall:
    return ApiCall(
        call_id=f"call-{number}",
        system=System.MOODLE,
        target=TARGET,
        role="moodle-sink",
        function="enrol_manual_enrol_users",
        started_at=AT,
        duration_ms=200,
        code="ok",
        tenant=T,
        references=tuple(key("enrolment", T, f"person-{number + one:08}", "c") for one in range(10)),
    )


def _state(person: PersonId, course: CourseId) -> Iterator[tuple[str, str, msgspec.Struct]]:
    version, user, active = Version(AT, 0), MoodleUserId(5), EnrolmentStatus.ACTIVE
    wish = Wish(version, EnrolmentId("9"), active, Role.STUDENT, "sis", AT, None, None)
    yield "people", key("account", T, person), AccountEntry(generation=1, moodle_user_id=user)
    yield "people", key("enrolment", T, person, course), people.EnrolmentEntry(wish, user)
    placement = courses.EnrolmentEntry(
        version=version,
        moodle_user_id=user,
        account_is_new=True,
        status=active,
        role=Role.STUDENT,
        recorded_at=AT,
        starts_at=None,
        ends_at=None,
        issued=courses.Issued(user, MoodleCourseId(7), active, Role.STUDENT, None, None),
        generation=1,
        applied=active,
    )
    yield "courses", key("enrolment", T, course, person), placement


def _send(kafka: KafkaConfig, messages: Iterator[Message]) -> None:
    producer = Producer({**kafka, **SAFE, "linger.ms": 20, "compression.type": "lz4"})
    for topic, message_key, value in messages:
        while True:
            try:
                producer.produce(topic.name, value, message_key)
                break
            except BufferError:
                producer.poll(0.1)
    assert producer.flush(120) == 0


if __name__ == "__main__":
    for row in main():
        print(f"{row.name:55} {row.value:12,.2f} {row.unit} {row.target}")
