"""Reads of topics from outside a consumer group: bounded scans, ends and lags."""

import time
from collections.abc import Iterator, Mapping, Sequence

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from infra.errors import RetryLater
from infra.settings import KafkaConfig

_TIMEOUT = 20.0
Place = tuple[str, int]
"""A topic and a partition."""


def ends(kafka: KafkaConfig, topics: Sequence[str], spec: OffsetSpec | None = None) -> dict[Place, int]:
    """Return the offset after the last record (or that of ``spec``) of every partition of ``topics``.

    Raises:
        RetryLater: the brokers do not answer.
    """
    admin = AdminClient(kafka)
    try:
        metadata = admin.list_topics(timeout=_TIMEOUT)
        places = [
            TopicPartition(topic, partition)
            for topic in topics
            if topic in metadata.topics
            for partition in metadata.topics[topic].partitions
        ]
        asked = admin.list_offsets(
            {place: spec or OffsetSpec.latest() for place in places}, request_timeout=_TIMEOUT
        )
        return {(place.topic, place.partition): future.result().offset for place, future in asked.items()}
    except KafkaException as error:
        message = f"the Kafka brokers do not answer: {error.args[0].str()}"
        raise RetryLater(message) from None


def lags(kafka: KafkaConfig, groups: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Return how many offsets each group of ``groups`` (group to its input topics) has still before it.

    Zero means that everything was read and committed: the engine also commits past transaction markers.

    Raises:
        RetryLater: the brokers do not answer.
    """
    topics = sorted({topic for names in groups.values() for topic in names})
    last, first = ends(kafka, topics), ends(kafka, topics, OffsetSpec.earliest())
    admin = AdminClient(kafka)
    found = {}
    for group, names in groups.items():
        committed = _committed(admin, group)
        found[group] = sum(
            max(0, end - committed.get(place, first[place]))
            for place, end in last.items()
            if place[0] in names
        )
    return found


def _committed(admin: AdminClient, group: str) -> dict[Place, int]:
    request = [ConsumerGroupTopicPartitions(group)]
    try:
        answer = admin.list_consumer_group_offsets(request, request_timeout=_TIMEOUT)[group].result()
    except KafkaException as error:
        if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
            return {}
        message = f"the Kafka brokers do not answer: {error.args[0].str()}"
        raise RetryLater(message) from None
    partitions = answer.topic_partitions or []
    return {(p.topic, p.partition): p.offset for p in partitions if p.offset >= 0}


def scan(kafka: KafkaConfig, topic: str, start: Mapping[Place, int] | None = None) -> Iterator[Message]:
    """Yield the committed records of ``topic``, from ``start`` (or the beginning) to the present end.

    Raises:
        RetryLater: the brokers do not answer.
    """
    left = ends(kafka, [topic])
    beginning = ends(kafka, [topic], OffsetSpec.earliest())
    begin = {place: max(offset, (start or {}).get(place, offset)) for place, offset in beginning.items()}
    left = {place: end for place, end in left.items() if end > begin[place]}
    consumer = Consumer(
        kafka
        | {
            "group.id": "hub-scan",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
        }
    )
    try:
        consumer.assign([TopicPartition(name, part, begin[name, part]) for name, part in left])
        heard = time.monotonic()
        while left:
            messages = consumer.consume(5000, 1.0)
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
