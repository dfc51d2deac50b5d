"""The projector: reads the topics and keeps the read model, each batch with its offsets in one transaction.

One projector is active at a time, others stand by. A rebuild makes another generation beside the one that is
live, while the projector goes on, and then takes its place.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Self

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from sqlalchemy import Engine

from connectors.read_model import store
from connectors.read_model.rows import KEPT, Row, rows_of
from infra.codec import Codec, UnreadableError
from infra.db.connect import database_trouble, driver_connection, engine
from infra.db.locks import try_lock, wait_for_lock
from infra.errors import HubError, RetryLater
from infra.scan import Onlooker, Place
from infra.settings import KafkaConfig
from infra.telemetry import RECORDS_READ, Status
from schemas.topics import Topic

ROLE: Final = "projector"
_BATCH: Final = 10_000
_IDLE_SECONDS: Final = 0.5
_AGAIN_SECONDS: Final = 2.0
_CONSUMER: Final[KafkaConfig] = {
    "group.id": "hub-read-model",  # asked for by the client; nothing is committed to Kafka
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
}
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ProjectorSettings:
    """What the projector needs.

    Attributes:
        database_url: of the read model; migrated.
        kafka: how librdkafka reaches the brokers.
        codec: reads the records.
        topics: all topics, named as in the cluster; those whose records are not kept are left out.
    """

    database_url: str
    kafka: KafkaConfig
    codec: Codec
    topics: Sequence[Topic]

    @property
    def kept(self) -> dict[str, Topic]:
        """The topics that are read, by name."""
        return {topic.name: topic for topic in self.topics if topic.record in KEPT}


def run_projector(settings: ProjectorSettings, stop: threading.Event, status: Status) -> None:
    """Keep the read model until ``stop`` is set; blocks. Trouble of Kafka or the database is waited out."""
    while not stop.is_set():
        try:
            with driver_connection(settings.database_url) as lock:
                status.ready()  # also when standing by: there is nothing to be mended
                if not wait_for_lock(lock, stop, ROLE, waiting=status.beat):
                    return
                with _pool(settings) as pool:
                    while not stop.is_set():
                        _follow(settings, pool, stop, status)
        except (RetryLater, KafkaException) as error:
            reason = str(error.args[0])
            _log.warning("projector_waits", reason=reason)
            status.not_ready(reason)
            stop.wait(_AGAIN_SECONDS)


def rebuild(settings: ProjectorSettings, progress: Callable[[int, int], None]) -> int:
    """Build the read model anew beside the one that is live, then take its place.

    Args:
        settings: as of the projector.
        progress: told how many offsets were read, of how many.

    Returns:
        The number of offsets read.

    Raises:
        HubError: another rebuild is running.
        RetryLater: Kafka or the database is away; the one that was live still is.
    """
    with driver_connection(settings.database_url) as lock, _pool(settings) as pool:
        if not try_lock(lock, ROLE, "rebuild"):
            raise HubError("another rebuild is running")
        with database_trouble(), pool.begin() as connection:
            store.drop_all_but(connection, store.live(connection))
            generation = store.make(connection)
        with _Reader(settings, {}) as reader:
            while not reader.is_at_end:
                rows, read = reader.take()
                with database_trouble(), pool.begin() as connection:
                    store.write(connection, generation, rows, read)
                progress(reader.done, reader.total)
            with database_trouble(), pool.begin() as connection:
                store.switch(connection, generation)
            return reader.done


@contextmanager
def _pool(settings: ProjectorSettings) -> Iterator[Engine]:
    made = engine(settings.database_url, pool_size=1)
    try:
        yield made
    finally:
        made.dispose()


def _follow(settings: ProjectorSettings, pool: Engine, stop: threading.Event, status: Status) -> None:
    """Keep the generation that is live now, until another one is."""
    with database_trouble(), pool.begin() as connection:
        generation = store.live(connection)
        if generation is None:
            generation = store.make(connection)
            store.switch(connection, generation)
        positions = store.positions(connection, generation)
    with _Reader(settings, positions) as reader:
        while not stop.is_set():
            status.beat()
            if status.paused.is_set():
                stop.wait(_IDLE_SECONDS)
                continue
            rows, read = reader.take()
            with database_trouble(), pool.begin() as connection:
                if store.live(connection) != generation:
                    return
                store.write(connection, generation, rows, read)
            status.ready()


class _Reader:
    """Reads all kept topics from given positions, and knows whether it has come to their ends."""

    def __init__(self, settings: ProjectorSettings, positions: Mapping[Place, int]) -> None:
        self._topics, self._codec = settings.kept, settings.codec
        with Onlooker(settings.kafka) as onlooker:
            marks = onlooker.watermarks(list(self._topics))
        begin = {place: max(low, positions.get(place, low)) for place, (low, _) in marks.items()}
        self._left = {place: high for place, (_, high) in marks.items() if high > begin[place]}
        self.total = sum(high - begin[place] for place, high in self._left.items())
        self.done = 0
        self._next = begin
        self._consumer = Consumer(settings.kafka | _CONSUMER)
        self._consumer.assign([TopicPartition(*place, offset) for place, offset in begin.items()])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    @property
    def is_at_end(self) -> bool:
        """Whether everything that was there at the beginning has been read."""
        return not self._left

    def take(self) -> tuple[list[Row], dict[Place, int]]:
        """Return the rows of the next messages, in their order, and the next offsets of what was read.

        Raises:
            RetryLater: the brokers or the registry are away.
        """
        rows: list[Row] = []
        read: dict[Place, int] = {}
        counts: Counter[str] = Counter()
        for message in self._consumer.consume(_BATCH, _IDLE_SECONDS):
            offset = self._passed(message, rows)
            if offset is not None:
                place = _place(message)
                read[place] = offset
                counts[place[0]] += 1
                self.done += offset - self._next[place]
                self._next[place] = offset
                if offset >= self._left.get(place, offset + 1):
                    del self._left[place]
        for topic, count in counts.items():
            RECORDS_READ.labels(ROLE, topic).inc(count)
        return rows, read

    def _passed(self, message: Message, rows: list[Row]) -> int | None:
        """Add the rows of ``message``; return the offset to go on at, or none if that is unknown."""
        error, offset = message.error(), message.offset()
        if error is None:
            rows += self._rows(message)
            return None if offset is None else offset + 1
        if error.code() == KafkaError._PARTITION_EOF:
            return offset
        if error.fatal() or error.code() == KafkaError._AUTO_OFFSET_RESET:
            msg = f"{message.topic()} cannot be read on: {error.name()}; `hub rebuild` begins anew"
            raise HubError(msg)
        _log.warning("read_failed", role=ROLE, code=error.name(), topic=message.topic())
        return None

    def _rows(self, message: Message) -> Iterable[Row]:
        name = message.topic() or ""
        try:
            record = self._codec.decode(self._topics[name], message.value())
        except UnreadableError as error:
            # Stages make dead letters of such messages, which are shown; here there is nothing to show.
            _log.warning("unreadable", role=ROLE, topic=name, offset=message.offset(), reason=str(error))
            return ()
        return rows_of(record, f"{name}/{message.partition()}/{message.offset()}")


def _place(message: Message) -> Place:
    return message.topic() or "", -1 if (number := message.partition()) is None else number
