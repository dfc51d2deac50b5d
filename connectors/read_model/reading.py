"""Reads all topics that the read model is made of, as rows, and knows whether it has come to their ends."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Self

import structlog
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from connectors.read_model.rows import KEPT, Row, letter_row, rows_of, subject_of
from connectors.read_model.tables import HISTORY
from infra.codec import Codec, UnreadableError
from infra.errors import HubError
from infra.metrics import RECORDS_READ
from infra.scan import Onlooker, Place
from infra.settings import KafkaConfig
from schemas.convert import RecordError
from schemas.deadletters import from_message
from schemas.topics import Topic

ROLE: Final = "projector"
IDLE_SECONDS: Final = 0.5
_BATCH: Final = 10_000
_CONSUMER: Final[KafkaConfig] = {
    "group.id": "hub-read-model",  # asked for by the client; nothing is committed to Kafka
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
}
_log = structlog.get_logger()
Change = Callable[[str, bytes | None, datetime, str], Iterable[Row]]
"""Takes key and value of a message of a changelog (a value of none deletes), its time and its place."""


@dataclass(frozen=True, slots=True)
class ProjectorSettings:
    """What the projector needs.

    Attributes:
        database_url: of the read model; migrated.
        kafka: how librdkafka reaches the brokers.
        codec: reads the records.
        topics: all topics, named as in the cluster; those that are not kept are left out.
        changes: what reads the changelog of each stage, by the name of the topic in the cluster.
    """

    database_url: str
    kafka: KafkaConfig
    codec: Codec
    topics: Sequence[Topic]
    changes: Mapping[str, Change] = field(default_factory=dict)

    @property
    def kept(self) -> dict[str, Topic | Change]:
        """What reads each topic that is read, by its name."""
        kept = (topic for topic in self.topics if topic.record in KEPT or topic.holds_dead_letters)
        return {**{topic.name: topic for topic in kept}, **self.changes}


@dataclass(frozen=True, slots=True)
class Batch:
    """What was read at once.

    Attributes:
        rows: of all messages, in their order.
        read: the next offset of each partition of which something was read.
    """

    rows: list[Row] = field(default_factory=list)
    read: dict[Place, int] = field(default_factory=dict)


class Reader:
    """Reads all kept topics. A context manager.

    Args:
        settings: of the projector.
        positions: where to begin; partitions that are not named are read from their beginning.
        numbers: the number of each topic in the history.

    Attributes:
        total: how many offsets there were to be read at first.
        done: how many of them were passed.
    """

    def __init__(
        self, settings: ProjectorSettings, positions: Mapping[Place, int], numbers: Mapping[str, int]
    ) -> None:
        self._kept, self._codec, self._numbers = settings.kept, settings.codec, numbers
        with Onlooker(settings.kafka) as onlooker:
            marks = onlooker.watermarks(list(self._kept))
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

    def take(self, gather: float) -> Batch:
        """Return what the next messages say; nothing if none comes within a moment.

        Args:
            gather: how long, in seconds, more messages are waited for after the first.

        Raises:
            HubError: a topic was cut off before what was read.
            RetryLater: the brokers or the registry are away.
        """
        batch, counts = Batch(), Counter[str]()
        first = self._consumer.poll(IDLE_SECONDS)
        for message in [first, *self._consumer.consume(_BATCH, gather)] if first is not None else []:
            place = message.topic() or "", _number(message.partition())
            offset = self._passed(message, place, batch.rows)
            if offset is not None:
                batch.read[place] = offset
                counts[place[0]] += 1
                self.done += offset - self._next[place]
                self._next[place] = offset
                if offset >= self._left.get(place, offset + 1):
                    del self._left[place]
        for topic, count in counts.items():
            RECORDS_READ.labels(ROLE, topic).inc(count)
        return batch

    def _passed(self, message: Message, place: Place, rows: list[Row]) -> int | None:
        """Add the rows of ``message``; return the offset to go on at, or none if that is unknown."""
        error, offset = message.error(), message.offset()
        if error is None:
            if offset is None:
                return None
            rows += self._rows(message, place, offset)
            return offset + 1
        if error.code() == KafkaError._PARTITION_EOF:
            return offset
        if error.fatal() or error.code() == KafkaError._AUTO_OFFSET_RESET:
            msg = f"{message.topic()} cannot be read on: {error.name()}; `hub rebuild` begins anew"
            raise HubError(msg)
        _log.warning("read_failed", role=ROLE, code=error.name(), topic=message.topic())
        return None

    def _rows(self, message: Message, place: Place, offset: int) -> Iterable[Row]:
        topic, number = place
        kept, where = self._kept[topic], f"{topic}/{number}/{offset}"
        try:
            if not isinstance(kept, Topic):
                return kept(_text(message.key()), message.value(), _time(message), where)
            if kept.record is None:
                headers: Any = message.headers() or []  # typed more widely than they can be
                letter = from_message(message.key(), message.value(), headers, where)
                return (letter_row(letter),)
            record = self._codec.decode(kept, message.value())
        except (UnreadableError, RecordError) as error:
            # Stages make dead letters of such messages, which are shown; here there is nothing to show.
            _log.warning("unreadable", role=ROLE, topic=topic, offset=offset, reason=str(error))
            return ()
        rows, subject = rows_of(record, where), subject_of(record)
        if subject is None:
            return rows
        history = Row(HISTORY, (*subject, self._numbers[topic], number, offset, _time(message)))
        return (*rows, history)


def _number(value: int | None) -> int:
    return -1 if value is None else value


def _text(key: str | bytes | None) -> str:
    return key.decode("utf-8", "replace") if isinstance(key, bytes) else key or ""


def _time(message: Message) -> datetime:
    return datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)
