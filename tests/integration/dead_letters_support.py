"""A small hub for the tests of dead letters: some of its roles in threads, its Moodle, its command line."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import threading
import uuid
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import structlog
from confluent_kafka import Message, Producer

from infra.cli.main import main
from infra.cli.parts import kafka_of, registry_of, sites_of
from infra.cli.roles import Context, run_role
from infra.cli.topics_commands import apply_topics
from infra.codec import Codec
from infra.db.migrate import migrate
from infra.producing import SAFE
from infra.settings import Settings
from infra.simulators.moodle import MoodleState
from infra.simulators.moodle import serve as serve_moodle
from infra.telemetry import Status
from schemas.deadletters import DeadLetter, to_message
from schemas.joins import Tick
from schemas.topics import Record, Topic
from tests.databases import new_database
from tests.faults.world import ends, read_all
from tests.integration.engine_support import Running
from tests.integration.intake_support import rows, until

ROLES = ("relay", "people", "moodle-sink", "projector")
MAPPING = "[tenants.patience.expire_days]\nenrolment = 3\n"
_PARTITIONS = 2


@dataclass(frozen=True)
class Answer:
    """How one command ended, and what it said."""

    status: int
    output: str
    errors: str


class Hub:
    """The hub of one file of tests.

    Attributes:
        env: the environment that leads its commands to it.
        settings: made of that.
        moodle: its Moodle.
    """

    def __init__(self, env: dict[str, str], moodle: MoodleState) -> None:
        self.env, self.moodle = env, moodle
        self.settings = Settings.model_validate({name.lower(): value for name, value in env.items()})
        self.codec = Codec(registry_of(self.settings))
        self.topics = sites_of(self.settings).shared
        self._producer = Producer(kafka_of(self.settings) | SAFE)

    @property
    def database(self) -> str:
        return self.env["DATABASE_URL"]

    def send(self, topic: Topic, *records: Record) -> None:
        for record in records:
            self._producer.produce(topic.name, self.codec.encode(topic, record), record.key)
        assert self._producer.flush(30) == 0

    def tick(self, at: datetime) -> None:
        """Tell all partitions the time."""
        topic = self.topics.ticks
        for number in range(_PARTITIONS):
            tick = Tick(partition=number, at=at)
            self._producer.produce(topic.name, self.codec.encode(topic, tick), tick.key, number)
        assert self._producer.flush(30) == 0

    def bury(self, topic: Topic, *letters: DeadLetter) -> list[str]:
        """Write ``letters`` and return their places."""
        places: dict[int, str] = {}
        for number, letter in enumerate(letters):
            key, value, headers = to_message(letter)
            note = partial(_note, places, number)
            self._producer.produce(topic.name, value, key, headers=list(headers), on_delivery=note)
        assert self._producer.flush(30) == 0
        return [places[number] for number in range(len(letters))]

    def send_raw(
        self, topic: Topic, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]
    ) -> tuple[int, int]:
        """Write a message and return its partition and offset."""
        places: dict[int, str] = {}
        note = partial(_note, places, 0)
        self._producer.produce(topic.name, value, key, headers=list(headers), on_delivery=note)
        assert self._producer.flush(30) == 0
        _, partition, offset = places[0].split("/")
        return int(partition), int(offset)

    def messages(self, topic: Topic) -> list[Message]:
        return read_all(self.env["KAFKA_BOOTSTRAP_SERVERS"], topic.name)

    def length(self, topic: Topic) -> int:
        """Return how many offsets of ``topic`` are taken."""
        return sum(ends(self.env["KAFKA_BOOTSTRAP_SERVERS"], [topic.name]).values())

    def states(self, places: list[str]) -> list[str]:
        """Return what the read model says was decided about the letters at ``places``."""
        query = "SELECT place, state FROM read_model.dead_letters WHERE place = ANY(%s)"
        found = dict(rows(self.database, query, places))
        return [found.get(place, "UNKNOWN") for place in places]

    def until_states(self, places: list[str], *states: str) -> None:
        """Wait until these are the states of ``places``; one given stands for all."""
        expected = list(states) * len(places) if len(states) == 1 else list(states)
        until(lambda: self.has_read_model() and self.states(places) == expected)

    def has_read_model(self) -> bool:
        return rows(self.database, "SELECT to_regclass('read_model.dead_letters')::text") != [(None,)]

    def open_letters(self, tenant: str, count: int) -> list[str]:
        """Wait until ``tenant`` has so many open dead letters, and return their places."""
        query = "SELECT place FROM read_model.dead_letters WHERE (state, tenant) = ('OPEN', %s) ORDER BY 1"
        until(lambda: self.has_read_model() and len(rows(self.database, query, tenant)) == count)
        return [place for (place,) in rows(self.database, query, tenant)]

    def run(self, *arguments: str) -> Answer:
        """Run one command of ``hub`` in this process, without a terminal."""
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
        output, errors = io.StringIO(), io.StringIO()
        status: Any = 0
        with patch.dict(os.environ, self.env), redirect_stdout(output), redirect_stderr(errors):
            try:
                main(arguments)
            except SystemExit as ended:
                status = ended.code or 0
            finally:
                structlog.reset_defaults()
                for number, handler in before.items():
                    signal.signal(number, handler)
        return Answer(int(status), output.getvalue(), errors.getvalue())


def _note(places: dict[int, str], number: int, error: object, message: Message) -> None:
    assert error is None
    places[number] = f"{message.topic()}/{message.partition()}/{message.offset()}"


@contextmanager
def small_hub(kafka: str, registry_url: str, database_url: str, folder: Path) -> Iterator[Hub]:
    """Run a hub with a Moodle and a database of its own while the block lasts."""
    moodle = MoodleState()
    with ExitStack() as stack:
        env = {
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "SCHEMA_REGISTRY_URL": registry_url,
            "DATABASE_URL": stack.enter_context(new_database(database_url)),
            "TOPIC_PREFIX": f"t{uuid.uuid4().hex[:12]}.",
            "TOPIC_PARTITIONS": str(_PARTITIONS),
            "DATA_DIR": str(folder),
            "MOODLE_URL": stack.enter_context(_site(moodle)),
            "MOODLE_API_TOKEN": moodle.settings.token,
            "ELM_API_URL": "http://127.0.0.1:9/none",
            "LOG_LEVEL": "ERROR",
            "MAPPING_FILE": str(folder / "mapping.toml"),
        }
        (folder / "mapping.toml").write_text(MAPPING, "utf-8")
        hub = Hub(env, moodle)
        migrate(hub.database)
        apply_topics(hub.settings)
        for role in ROLES:
            stack.enter_context(_role(hub.settings, role))
        yield hub


@contextmanager
def _site(state: MoodleState) -> Iterator[str]:
    """Serve a Moodle from a thread."""
    loop, stack = asyncio.new_event_loop(), AsyncExitStack()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    serving = asyncio.run_coroutine_threadsafe(stack.enter_async_context(serve_moodle(state)), loop)
    try:
        yield serving.result(20)
    finally:
        asyncio.run_coroutine_threadsafe(stack.aclose(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()


@contextmanager
def _role(settings: Settings, name: str) -> Iterator[None]:
    def work(stop: threading.Event, status: Status) -> None:
        run_role(Context(settings, "0", stop, status))

    running = Running(name, work)
    try:
        yield
    finally:
        running.stop()
        if running.error is not None:
            raise running.error
