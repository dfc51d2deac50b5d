"""A small hub in threads beside a simulated Moodle, and the command line on it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from confluent_kafka import Producer
from typer.testing import CliRunner

from infra.cli.main import app
from infra.cli.parts import sites_of
from infra.cli.roles import Context, run_role
from infra.cli.topics_commands import apply_topics
from infra.codec import Codec
from infra.db.migrate import migrate
from infra.producing import SAFE
from infra.registry import Registry
from infra.settings import Settings
from infra.simulators.moodle import MoodleState, Seed, seed, serve
from schemas.events import AccountPolicy, Enrolment, EnrolmentStatus, Operation, Person, Role
from schemas.ids import CourseId, EnrolmentId, PersonId, TenantId
from schemas.topics import Record, Topic
from tests.databases import new_database
from tests.integration.engine_support import Running
from tests.integration.intake_support import rows, until

ROLES = ("relay", "people", "courses", "moodle-sink", "projector")
TENANT = TenantId("default")


@dataclass
class World:
    """The hub's settings, as variables of the environment, and the Moodle beside it."""

    env: dict[str, str]
    moodle: MoodleState
    codec: Codec
    producer: Producer
    errors: list[BaseException] = field(default_factory=list)

    @property
    def database(self) -> str:
        return self.env["DATABASE_URL"]

    def send(self, *events: Person | Enrolment) -> None:
        """Publish domain events."""
        topics = sites_of(Settings(**_named(self.env))).shared
        for event in events:
            topic = topics.people if isinstance(event, Person) else topics.enrolments
            self._produce(topic, event)
        assert self.producer.flush(30) == 0

    def _produce(self, topic: Topic, record: Record) -> None:
        self.producer.produce(topic.name, self.codec.encode(topic, record), record.key)

    def rows(self, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        return rows(self.database, query, *arguments)

    def until(self, query: str, *expected: tuple[Any, ...]) -> None:
        """Wait until a query gives just ``expected``."""
        until(lambda: self.rows(query) == list(expected), 60)

    def hub(self, *arguments: str) -> str:
        """Run a command and give what it printed; raise what it raised."""
        result = CliRunner().invoke(app, list(arguments), env=self.env, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    @contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a command as a process of its own, which is killed by `SIGKILL` at the latest at the end."""
        argv = [sys.executable, "-m", "infra.cli.main", *arguments]
        env, nowhere = {**os.environ, **self.env}, subprocess.DEVNULL
        with subprocess.Popen(argv, env=env, stdout=nowhere, stderr=nowhere) as process:
            try:
                yield process
            finally:
                process.kill()

    def listed(self, *arguments: str) -> list[dict[str, Any]]:
        """Run a command that prints lines of JSON."""
        return [json.loads(line) for line in self.hub(*arguments, "--json").splitlines()]

    def put(self, content: Seed) -> None:
        """Put something into Moodle."""
        seed(self.moodle, content)


def person(person_id: str, **changes: Any) -> Person:
    """A person who is to have an account."""
    return Person(
        **_common(person_id),
        person_id=PersonId(person_id),
        account_policy=AccountPolicy.ALWAYS,
        username=f"{person_id}@example.test",
        email=f"{person_id}@example.test",
        first_name="First",
        last_name="Last",
        auth="oauth2",
        **changes,
    )


def enrolment(person_id: str, course_id: str) -> Enrolment:
    """An active enrolment."""
    return Enrolment(
        **_common(f"{person_id}-{course_id}"),
        enrolment_id=EnrolmentId(f"{person_id}-{course_id}"),
        person_id=PersonId(person_id),
        course_id=CourseId(course_id),
        status=EnrolmentStatus.ACTIVE,
        role=Role.STUDENT,
    )


def _common(record_id: str) -> dict[str, Any]:
    now = datetime(2026, 11, 21, 5, 13, tzinfo=UTC)
    return {
        "tenant": TENANT,
        "operation": Operation.UPSERT,
        "source_system": "elm",
        "source_record_id": record_id,
        "version_time": now,
        "version_sequence": 0,
        "recorded_at": now,
    }


@contextmanager
def running_hub(
    kafka: str,
    registry_url: str,
    database_url: str,
    folder: Path,
    content: Seed,
    *,
    roles: Sequence[str] = ROLES,
    env: Mapping[str, str] | None = None,
) -> Iterator[World]:
    """Run a hub over topics and a database of its own, beside a Moodle that holds ``content``.

    ``env`` has settings beside those by which everything is reached.
    """
    moodle = MoodleState()
    seed(moodle, content)
    with ExitStack() as stack:
        env = {
            **(env or {}),
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "SCHEMA_REGISTRY_URL": registry_url,
            "DATABASE_URL": stack.enter_context(new_database(database_url)),
            "DATA_DIR": str(folder),
            "TOPIC_PREFIX": f"t{uuid.uuid4().hex[:8]}.",
            "TOPIC_PARTITIONS": "2",
            "MOODLE_URL": stack.enter_context(served(moodle)),
            "MOODLE_API_TOKEN": moodle.settings.token,
            "LOG_LEVEL": "ERROR",
        }
        settings = Settings(**_named(env))
        migrate(env["DATABASE_URL"])
        apply_topics(settings)
        running = [_role(name, settings) for name in roles]
        try:
            codec = Codec(Registry(registry_url))
            producer = stack.enter_context(Producer({"bootstrap.servers": kafka, **SAFE}))
            world = World(env, moodle, codec, producer)
            world.until("SELECT to_regclass('read_model.standing') IS NOT NULL", (True,))
            yield world
        finally:
            _stop(running)


def _role(name: str, settings: Settings) -> Running:
    return Running(name, lambda stop, status: run_role(Context(settings, "0", stop, status)))


def _stop(running: Sequence[Running]) -> None:
    threads = [threading.Thread(target=one.stop) for one in running]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.error for one in running] == [None] * len(running)


def _named(env: dict[str, str]) -> dict[str, Any]:
    return {name.lower(): value for name, value in env.items()}


@contextmanager
def served(moodle: MoodleState) -> Iterator[str]:
    """Serve a Moodle in a thread, so that tests are free to block."""
    loop, address, ended = asyncio.new_event_loop(), "", asyncio.Event()
    ready = threading.Event()

    async def run() -> None:
        nonlocal address
        async with serve(moodle) as address:
            ready.set()
            await ended.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    assert ready.wait(30)
    try:
        yield address
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(30)
        loop.close()
