"""The read model on a real broker and database: what the topics say, whatever is interrupted; built anew."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from confluent_kafka import Producer

from connectors.read_model.project import ProjectorSettings, rebuild, run_projector
from connectors.read_model.store import VIEWS
from infra import topics_admin
from infra.codec import Codec
from infra.db.connect import driver_connection
from infra.db.locks import try_lock
from infra.db.migrate import migrate
from infra.errors import HubError
from infra.producing import SAFE
from infra.registry import Registry
from infra.settings import KafkaConfig
from infra.telemetry import Status
from schemas.deadletters import DeadLetter
from schemas.elm import CallbackOutcome, CallbackResult, CompletionCallback
from schemas.events import AccountPolicy, Course, Enrolment, EnrolmentStatus, Operation, Person, Role
from schemas.ids import (
    CallbackId,
    CommandId,
    CourseId,
    EnrolmentId,
    MoodleCourseId,
    MoodleUserId,
    PersonId,
    Target,
    TenantId,
)
from schemas.moodle import (
    Action,
    CommandKind,
    CompletionObserved,
    CourseObserved,
    MoodleCommand,
    MoodleObserved,
    MoodleResult,
    ObservedKind,
    Outcome,
    UserWish,
)
from schemas.reasons import Reason
from schemas.topics import Record, Topic, topic_set
from tests.integration.intake_support import rows, until

pytestmark = pytest.mark.integration

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
    """Topics of one test, and a database."""

    def __init__(self, kafka: str, registry_url: str, prefix: str, database: str) -> None:
        migrate(database)
        self.database = database
        self.topics = topic_set(TARGET, prefix)
        registry = Registry(registry_url)
        config: KafkaConfig = {"bootstrap.servers": kafka}
        topics_admin.apply(config, registry, self.topics.all(), replication_factor=1, partitions=3)
        codec = Codec(registry)
        self.settings = ProjectorSettings(database, {"bootstrap.servers": kafka}, codec, self.topics.all())
        self._producer = Producer({"bootstrap.servers": kafka, **SAFE})

    def send(self, topic: Topic, *records: Record) -> None:
        for record in records:
            self._producer.produce(topic.name, self.settings.codec.encode(topic, record), record.key)
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
        names = "SELECT table_name FROM information_schema.views WHERE table_schema = %s ORDER BY 1"
        return {
            name: rows(self.database, f"SELECT * FROM {VIEWS}.{name} AS v ORDER BY v::text")
            for (name,) in rows(self.database, names, VIEWS)
        }


@pytest.fixture
def world(kafka: str, registry_url: str, topic_prefix: str, fresh_database: str) -> World:
    return World(kafka, registry_url, topic_prefix, fresh_database)


def ignored(_done: int, _total: int) -> None:
    """Take no notice of progress."""


PEOPLE = "SELECT person_id, source, username, deleted FROM read_model.people ORDER BY source"


def test_each_record_is_found_in_its_table(world: World) -> None:
    topics = world.topics
    observed = MoodleObserved(
        tenant=T,
        target=TARGET,
        kind=ObservedKind.COURSE,
        observed_at=AT,
        course=CourseObserved(
            course_id=MATHS,
            moodle_course_id=MoodleCourseId(4),
            short_name="M1",
            visible=True,
            completion_opt_in=True,
        ),
    )
    completion = CompletionObserved(person_id=ANN, course_id=MATHS, completed_on=date(2026, 11, 2))
    callback = CompletionCallback(
        callback_id=CallbackId("cb"),
        tenant=T,
        enrolment_id=EnrolmentId("9"),
        person_id=ANN,
        course_id=MATHS,
        course_short_name="M1",
        email="ann@school.test",
        first_name="Ann",
        last_name="Sok",
        completed_on=date(2026, 11, 2),
        issued_at=AT,
    )
    answer = CallbackResult(
        callback_id=CallbackId("cb"),
        tenant=T,
        enrolment_id=EnrolmentId("9"),
        person_id=ANN,
        course_id=MATHS,
        outcome=CallbackOutcome.DELIVERED,
        completed_at=AT,
    )
    letter = DeadLetter(
        stage="people",
        topic="hub.people",
        partition=2,
        offset=7,
        reason=Reason.UNREADABLE,
        error="no Avro",
        failed_at=AT,
        message_key=b"t|ann",
    )
    world.send(topics.people, PERSON)
    world.send(topics.courses, COURSE)
    world.send(topics.enrolments, ENROLMENT)
    world.send(topics.commands, COMMAND)
    world.send(topics.results, RESULT)
    world.send(
        topics.observed,
        observed,
        replace(observed, kind=ObservedKind.COMPLETION, course=None, completion=completion),
    )
    world.send(topics.callbacks, callback)
    world.send(topics.callback_results, answer)
    world.send(topics.dead_letters, letter)
    checks: list[tuple[str, tuple[Any, ...]]] = [
        (PEOPLE, ("ann", "sis", "ann", False)),
        ("SELECT course_id, full_name, version_time FROM read_model.courses", ("maths", "Maths", AT)),
        (
            "SELECT person_id, course_id, status, role FROM read_model.enrolments",
            ("ann", "maths", "ACTIVE", "STUDENT"),
        ),
        ("SELECT kind, person_id, wish->>'username' FROM read_model.commands", ("USER", "ann", "ann")),
        ("SELECT outcome, moodle_user_id FROM read_model.results", ("APPLIED", 5)),
        (
            "SELECT kind, person_id, course_id, action FROM read_model.standing",
            ("USER", "ann", "", "CREATED"),
        ),
        ("SELECT moodle_course_id, visible FROM read_model.observed_courses", (4, True)),
        ("SELECT completed_on, target FROM read_model.completions", (date(2026, 11, 2), "default")),
        ("SELECT callback_id, completed_on FROM read_model.callbacks", ("cb", date(2026, 11, 2))),
        ("SELECT outcome FROM read_model.callback_results", ("DELIVERED",)),
        (
            "SELECT topic, partition, message_offset, message_key, reason FROM read_model.dead_letters",
            ("hub.people", 2, 7, "t|ann", "UNREADABLE"),
        ),
    ]
    with world.projecting():
        for query, expected in checks:
            until(partial(world.has, query, expected))


def test_the_newest_version_counts_in_whatever_order_and_batch_they_come(world: World) -> None:
    newer = replace(PERSON, version_time=AT + timedelta(hours=1), username="newer")
    other = replace(PERSON, source_system="zoho", username="crm")
    world.send(world.topics.people, newer, PERSON, other)
    world.project(PEOPLE, ("ann", "sis", "newer", False), ("ann", "zoho", "crm", False))
    gone = replace(newer, version_sequence=1, operation=Operation.DELETE)
    world.send(world.topics.people, replace(PERSON, username="late"), gone)
    world.project(PEOPLE, ("ann", "sis", "newer", True), ("ann", "zoho", "crm", False))


def test_a_projector_goes_on_where_the_last_one_stopped_past_what_it_cannot_read(
    world: World,
) -> None:
    world.send(world.topics.people, PERSON)
    world.project(PEOPLE, ("ann", "sis", "ann", False))
    bad = Producer({"bootstrap.servers": world.settings.kafka["bootstrap.servers"], **SAFE})
    bad.produce(world.topics.people.name, b"no record", "t|x")
    assert bad.flush(30) == 0
    world.send(world.topics.people, replace(PERSON, version_sequence=1, username="ann2"))
    world.project(PEOPLE, ("ann", "sis", "ann2", False))
    read = "SELECT sum(next_offset)::int FROM read_model.offsets WHERE topic = %s"
    assert rows(world.database, read, world.topics.people.name) == [(3,)]


def test_a_rebuild_gives_the_same_while_the_projector_goes_on(world: World) -> None:
    people = [
        replace(PERSON, person_id=PersonId(f"p{number}"), version_sequence=number) for number in range(500)
    ]
    world.send(world.topics.people, *people)
    world.send(world.topics.results, RESULT)
    counted = "SELECT count(*)::int FROM read_model.people"
    seen: list[tuple[int, int]] = []
    with world.projecting():
        until(lambda: world.has(counted, (500,)))
        before = world.everything()
        assert rebuild(world.settings, lambda done, total: seen.append((done, total))) == 501
        assert world.everything() == before
        world.send(world.topics.people, replace(PERSON, person_id=PersonId("later")))
        until(lambda: world.has(counted, (501,)))
    assert seen[-1] == (501, 501)
    generations = "SELECT count(*)::int FROM pg_namespace WHERE nspname ~ '^read_model_[0-9]+$'"
    assert rows(world.database, generations) == [(1,)]


def test_a_rebuild_that_was_interrupted_changes_nothing_and_the_next_removes_its_rest(
    world: World,
) -> None:
    world.send(world.topics.people, PERSON)
    world.project(PEOPLE, ("ann", "sis", "ann", False))

    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild(world.settings, interrupt)
    assert world.has(PEOPLE, ("ann", "sis", "ann", False))
    assert rows(world.database, "SELECT count(*)::int FROM read_models") == [(2,)]
    assert rebuild(world.settings, ignored) == 1
    assert rows(world.database, "SELECT count(*)::int FROM read_models WHERE live_at IS NOT NULL") == [(1,)]
    assert rows(world.database, "SELECT count(*)::int FROM read_models") == [(1,)]


def test_two_rebuilds_do_not_run_at_once(world: World) -> None:
    with driver_connection(world.database) as other:
        assert try_lock(other, "projector", "rebuild")
        with pytest.raises(HubError, match="another rebuild is running"):
            rebuild(world.settings, ignored)
