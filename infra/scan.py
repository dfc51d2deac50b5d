"""Reads of topics from outside a consumer group: ends, lags, and bounded scans.

All by plain consumers, whose calls are synchronous: admin clients that are thrown away while an answer is on
its way have been seen to end the process.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self

import stamina
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from infra.errors import RetryLater
from infra.settings import KafkaConfig

_TIMEOUT = 20.0
_SETTINGS: KafkaConfig = {
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    "fetch.wait.max.ms": 20,  # the end of a partition is told when a fetch has waited so long
}
Place = tuple[str, int]
"""A topic and a partition."""


class Onlooker:
    """Asks the cluster where topics end and how far groups are. A context manager.

    Args:
        kafka: settings by which librdkafka reaches the brokers.
        timeout: seconds that a question may take, and for which it is asked again.
    """

    def __init__(self, kafka: KafkaConfig, timeout: float = _TIMEOUT) -> None:
        self._kafka = kafka
        self._timeout = timeout
        self._consumers: dict[str, Consumer] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        for consumer in self._consumers.values():
            consumer.close()
        self._consumers.clear()

    def watermarks(self, topics: Sequence[str]) -> dict[Place, tuple[int, int]]:
        """Return (first offset, offset after the last record) of every partition of ``topics``.

        Raises:
            RetryLater: the brokers do not answer.
        """
        for attempt in stamina.retry_context(
            on=RetryLater, attempts=None, timeout=self._timeout, wait_max=1.0
        ):
            with attempt:
                return self._watermarks(topics)
        raise AssertionError

    def ends(self, topics: Sequence[str]) -> dict[Place, int]:
        """Return the offset after the last record of every partition; raises as `watermarks`."""
        return {place: high for place, (_, high) in self.watermarks(topics).items()}

    def lags(self, groups: Mapping[str, Sequence[str]]) -> dict[str, int]:
        """Return how many offsets each group of ``groups`` (group to its input topics) has still before it.

        Zero means that everything was read and committed: the engine also commits past transaction markers.

        Raises:
            RetryLater: the brokers do not answer.
        """
        found = dict.fromkeys(groups, 0)
        for (group, _), lag in self.lags_by_topic(groups).items():
            found[group] += lag
        return found

    def lags_by_topic(self, groups: Mapping[str, Sequence[str]]) -> dict[tuple[str, str], int]:
        """Return the same as `lags` for each group and topic; topics that do not exist are left out."""
        marks = self.watermarks(sorted({topic for topics in groups.values() for topic in topics}))
        found: dict[tuple[str, str], int] = {}
        for group, topics in groups.items():
            places = [place for place in marks if place[0] in topics]
            committed = self._committed(group, places)
            for place in places:
                low, high = marks[place]
                lag = max(0, high - committed.get(place, low))
                found[group, place[0]] = found.get((group, place[0]), 0) + lag
        return found

    def _watermarks(self, topics: Sequence[str]) -> dict[Place, tuple[int, int]]:
        consumer = self._consumer("hub-onlooker")
        try:
            known = consumer.list_topics(timeout=self._timeout).topics
            places = [
                (topic, number) for topic in topics if topic in known for number in known[topic].partitions
            ]
            first, end = (self._edges(consumer, places, edge) for edge in (OFFSET_BEGINNING, OFFSET_END))
        except KafkaException as error:
            raise self._away(error) from None
        return {place: (first[place], end[place]) for place in places}

    def _edges(self, consumer: Consumer, places: Sequence[Place], edge: int) -> dict[Place, int]:
        """Return where partitions begin or end, by one request to each broker.

        To Kafka both are times, before and behind all records; asked for one by one, the offsets of a hub's
        two hundred partitions take a hundred times as long.
        """
        if not places:
            return {}
        wanted = [TopicPartition(*place, edge) for place in places]
        found = consumer.offsets_for_times(wanted, timeout=self._timeout)
        for one in found:
            if one.error is not None:
                raise KafkaException(one.error)
        return {(one.topic, one.partition): one.offset for one in found}

    def _committed(self, group: str, places: Sequence[Place]) -> dict[Place, int]:
        asked = [TopicPartition(*place) for place in places]
        try:
            answer = self._consumer(group).committed(asked, timeout=self._timeout)
        except KafkaException as error:
            raise self._away(error) from None
        return {(item.topic, item.partition): item.offset for item in answer if item.offset >= 0}

    def _consumer(self, group: str) -> Consumer:
        if group not in self._consumers:
            self._consumers[group] = Consumer(
                self._kafka | _SETTINGS | {"group.id": group, "isolation.level": "read_uncommitted"}
            )
        return self._consumers[group]

    def _away(self, error: KafkaException) -> RetryLater:
        self.close()
        message = f"the Kafka brokers do not answer: {error.args[0].str()}"
        return RetryLater(message)


def scan(kafka: KafkaConfig, topic: str, start: Mapping[Place, int] | None = None) -> Iterator[Message]:
    """Yield the committed records of ``topic``, from ``start`` (or the beginning) to the present end.

    Raises:
        RetryLater: the brokers do not answer.
    """
    with Onlooker(kafka) as onlooker:
        marks = onlooker.watermarks([topic])
    begin = {place: max(low, (start or {}).get(place, low)) for place, (low, _) in marks.items()}
    left = {place: high for place, (_, high) in marks.items() if high > begin[place]}
    if not left:
        return
    consumer = Consumer(kafka | _SETTINGS | {"group.id": "hub-scan", "isolation.level": "read_committed"})
    try:
        consumer.assign([TopicPartition(*place, begin[place]) for place in left])
        heard = time.monotonic()
        while left:
            first = consumer.poll(1.0)
            # Waiting is poll's part: consume() with a time-out waits all of it when short of messages.
            messages = [] if first is None else [first, *consumer.consume(5000, 0)]
            for message in messages:
                yield from _taken(message, left)
            heard = time.monotonic() if messages else heard
            if time.monotonic() - heard > _TIMEOUT:
                text = f"topic {topic} cannot be read: no answer for {_TIMEOUT:.0f} s"
                raise RetryLater(text)
    finally:
        consumer.close()


def _taken(message: Message, left: dict[Place, int]) -> Iterator[Message]:
    place, offset = (message.topic() or "", message.partition() or 0), message.offset() or 0
    error = message.error()
    if error is None:
        if offset < left.get(place, 0):
            yield message
    elif error.code() != KafkaError._PARTITION_EOF:
        text = f"topic {place[0]} cannot be read: {error.str()}"
        raise RetryLater(text)
    elif offset >= left.get(place, 0):
        left.pop(place, None)
