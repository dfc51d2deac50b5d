"""The probes of the hub: database, outbox, Kafka, schema registry, and how far behind the read model is."""

import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import psycopg
from confluent_kafka import Consumer, KafkaException, TopicPartition
from sqlalchemy import Engine

from infra.db.connect import reading
from infra.errors import RetryLater
from infra.registry import Registry
from infra.scan import Place
from infra.settings import KafkaConfig
from producers.web.readiness import Probe
from schemas.topics import Topic

_KAFKA_SECONDS: Final = 0.9
_LAG_SECONDS: Final = 5.0
MOST_BEHIND: Final = 10_000
"""Records that the read model may lack."""
LONGEST_WAIT: Final = 60.0
"""Seconds that an event may wait in the outbox."""
_SETTINGS: Final[KafkaConfig] = {"group.id": "hub-health", "enable.auto.commit": False}


class Brokers:
    """Asks the brokers, by one connection that is kept; see `infra.scan` for why it is a consumer's."""

    def __init__(self, kafka: KafkaConfig) -> None:
        """Connect, at the first question, as ``kafka`` says."""
        self._kafka = kafka
        self._consumer: Consumer | None = None
        self._lock = threading.Lock()

    def look(self) -> str:
        """Return what is wrong with the brokers, or an empty text."""
        try:
            self._client().list_topics(timeout=_KAFKA_SECONDS)
        except KafkaException as error:
            return f"does not answer ({error.args[0].name()})"
        return ""

    def ends(self, places: Sequence[Place], deadline: float) -> dict[Place, int]:
        """Return the offset after the last record of each of ``places``.

        Args:
            places: topics and partitions; those that are gone are left out.
            deadline: by ``time.monotonic``.

        Raises:
            RetryLater: the brokers do not answer in time.
        """
        found = {}
        for place in places:
            left = deadline - time.monotonic()
            try:
                marks = self._client().get_watermark_offsets(TopicPartition(*place), timeout=max(left, 0.01))
            except KafkaException as error:
                raise RetryLater(error.args[0].name()) from None
            if marks is not None:
                found[place] = marks[1]
        return found

    def close(self) -> None:
        """Hang up."""
        with self._lock:
            if self._consumer is not None:
                self._consumer.close()
                self._consumer = None

    def _client(self) -> Consumer:
        with self._lock:
            if self._consumer is None:
                self._consumer = Consumer(self._kafka | _SETTINGS)
            return self._consumer


def probes(engine: Engine, brokers: Brokers, registry: Registry, known: Topic) -> list[Probe]:
    """Return the probes of a hub.

    Args:
        engine: of its database.
        brokers: of its Kafka.
        registry: of its schemas.
        known: a topic whose subject the registry is asked for.
    """

    def registry_answers() -> str:
        if not registry.url:
            return "has no address: set SCHEMA_REGISTRY_URL"
        registry.compatibility(known.subject)
        return ""

    return [
        Probe("database", lambda: _database(engine), needed=True),
        Probe("outbox", lambda: _outbox(engine)),
        Probe("kafka", brokers.look),
        Probe("registry", registry_answers),
        Probe("read_model", lambda: _read_model(engine, brokers), seconds=_LAG_SECONDS),
    ]


def _database(engine: Engine) -> str:
    with reading(engine) as connection:
        connection.execute("SELECT 1")
    return ""


def _outbox(engine: Engine) -> str:
    query = "SELECT created_at FROM outbox WHERE error IS NULL ORDER BY seq LIMIT 1"
    with reading(engine) as connection:
        oldest = connection.execute(query).fetchone()
    waits = 0.0 if oldest is None else (datetime.now(UTC) - oldest[0]).total_seconds()
    return f"an event has waited for {waits:.0f} s" if waits > LONGEST_WAIT else ""


def _read_model(engine: Engine, brokers: Brokers) -> str:
    query = "SELECT topic, partition, next_offset FROM read_model.offsets"
    try:
        with reading(engine) as connection:
            read = {(topic, number): offset for topic, number, offset in connection.execute(query)}
    except psycopg.errors.UndefinedTable:
        return "there is none yet"
    ends = brokers.ends(list(read), time.monotonic() + _LAG_SECONDS)
    behind = sum(max(0, end - read[place]) for place, end in ends.items())
    return f"is {behind} records behind" if behind > MOST_BEHIND else ""
