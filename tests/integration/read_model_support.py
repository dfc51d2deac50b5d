"""What the tests and the benchmark of the read model share: records, and a hub's topics and database."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec
import psycopg
from confluent_kafka import Producer

from connectors.read_model.project import ProjectorSettings, run_projector
from connectors.read_model.views import VIEWS
from infra import topics_admin
from infra.cli.state_rows import state_rows
from infra.codec import Codec
from infra.db.migrate import migrate
from infra.producing import SAFE
from infra.registry import Registry
from infra.settings import KafkaConfig
from infra.telemetry import Status
from schemas.deadletters import DeadLetter, to_message
from schemas.events import AccountPolicy, Course, Enrolment, EnrolmentStatus, Operation, Person, Role
from schemas.ids import CommandId, CourseId, EnrolmentId, MoodleUserId, PersonId, Target, TenantId
from schemas.moodle import Action, CommandKind, MoodleCommand, MoodleResult, Outcome, UserWish
from schemas.topics import Record, Topic, changelog, topic_set
from tests.databases import new_database
from tests.integration.intake_support import rows, until

AT = datetime(2026, 11, 1, tzinfo=UTC)
T, ANN, MATHS, TARGET = TenantId("t"), PersonId("ann"), CourseId("maths"), Target("default")
EVENT: dict[str, Any] = {
    "tenant": T,
    "operation": Operation.UPSERT,
    "source_system": "sis",
    "source_record_id": "1",
    "version_time": AT,
    "version_sequence": 0,
    "recorded_at": AT,
}
PERSON = Person(
    **EVENT, person_id=ANN, account_policy=AccountPolicy.ALWAYS, username="ann", email="ann@school.test"
)
COURSE = Course(**EVENT, course_id=MATHS, short_name="M1", full_name="Maths")
ENROLMENT = Enrolment(
    **EVENT,
    enrolment_id=EnrolmentId("9"),
    person_id=ANN,
    course_id=MATHS,
    status=EnrolmentStatus.ACTIVE,
    role=Role.STUDENT,
)
COMMAND = MoodleCommand(
    command_id=CommandId("c1"),
    tenant=T,
    target=TARGET,
    kind=CommandKind.USER,
    generation=1,
    issued_at=AT,
    user=UserWish(person_id=ANN, create=True, username="ann"),
)
RESULT = MoodleResult(
    command_id=CommandId("c1"),
    tenant=T,
    target=TARGET,
    kind=CommandKind.USER,
    generation=1,
    outcome=Outcome.APPLIED,
    action=Action.CREATED,
    completed_at=AT,
    person_id=ANN,
    moodle_user_id=MoodleUserId(5),
)


class World:
    """Topics and a database, of all tests of this file; each has its own tenant."""

    def __init__(self, kafka: str, registry_url: str, prefix: str, database: str) -> None:
        migrate(database)
        self.database, self.registry_url, self.prefix = database, registry_url, prefix
        self.topics = topic_set(TARGET, prefix)
        self.changelogs = {stage: changelog(stage).prefixed(prefix) for stage in ("people", "courses")}
        registry = Registry(registry_url)
        config: KafkaConfig = {"bootstrap.servers": kafka}
        topics = [*self.topics.all(), *self.changelogs.values()]
        topics_admin.apply(config, registry, topics, replication_factor=1, partitions=1)
        changes = {topic.name: partial(state_rows, stage) for stage, topic in self.changelogs.items()}
        self.settings = ProjectorSettings(database, config, Codec(registry), self.topics.all(), changes)
        self._producer = Producer({**config, **SAFE})

    def close(self) -> None:
        """Close the producer, which would go on looking for a broker that has ended."""
        self._producer.close()

    def send(self, topic: Topic, *records: Record) -> None:
        for record in records:
            self.send_raw(topic, record.key, self.settings.codec.encode(topic, record))

    def send_state(self, stage: str, key: str, entry: msgspec.Struct | None) -> None:
        value = None if entry is None else msgspec.msgpack.encode(entry)
        self.send_raw(self.changelogs[stage], key, value)

    def send_letter(self, letter: DeadLetter) -> None:
        self.send_raw(self.topics.dead_letters, *to_message(letter))

    def send_raw(
        self, topic: Topic, key: str | bytes | None, value: bytes | None, headers: Any = None
    ) -> None:
        self._producer.produce(topic.name, value, key, headers=headers)
        assert self._producer.flush(30) == 0

    @contextmanager
    def projecting(self) -> Iterator[Status]:
        stop, status = threading.Event(), Status("projector")
        thread = threading.Thread(target=run_projector, args=(self.settings, stop, status))
        thread.start()
        try:
            yield status
        finally:
            stop.set()
            thread.join(30)
            assert not thread.is_alive()

    def has(self, query: str, *expected: tuple[Any, ...]) -> bool:
        exists = rows(self.database, "SELECT to_regclass(%s)", f"{VIEWS}.people")[0][0]
        return bool(exists) and rows(self.database, query) == list(expected)

    def project(self, query: str, *expected: tuple[Any, ...]) -> None:
        """Run a projector until ``query`` gives what is expected."""
        with self.projecting():
            until(lambda: self.has(query, *expected))

    def everything(self) -> dict[str, list[tuple[Any, ...]]]:
        with psycopg.connect(self.database) as connection:
            names = connection.execute(
                "SELECT viewname FROM pg_views WHERE schemaname = %s", [VIEWS]
            ).fetchall()
            return {
                name: connection.execute(
                    f"SELECT * FROM {VIEWS}.{name} AS v ORDER BY v::text".encode()
                ).fetchall()
                for (name,) in names
            }


@contextmanager
def a_world(kafka: str, registry_url: str, database_url: str) -> Iterator[World]:
    """Give topics and a database of their own."""
    with (
        new_database(database_url) as url,
        closing(World(kafka, registry_url, f"t{uuid.uuid4().hex[:12]}.", url)) as world,
    ):
        yield world
