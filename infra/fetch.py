"""Messages read where they are known to lie."""

import time
from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from infra.errors import BadArgument, RetryLater
from infra.scan import Onlooker, Place
from infra.settings import KafkaConfig

_SILENCE_SECONDS: Final = 20.0
_POLL_SECONDS: Final = 0.2
_PORTION: Final = 500
_NEAR: Final = 1_000
"""Messages up to the next one wanted that are rather read than leapt over."""
_SETTINGS: KafkaConfig = {
    "group.id": "hub-fetch",  # asked for by the client; nothing is committed
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    # Little at a time: what follows a message is seldom wanted, and a jump waits for the fetch before it.
    "max.partition.fetch.bytes": 65_536,
    "queued.min.messages": 200,
    "fetch.queue.backoff.ms": 1,  # else a jump waits a second whenever so many are queued
    "fetch.wait.max.ms": 5,
}


class Spot(NamedTuple):
    """Where one message lies; in order of topic, partition, offset."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


def spot_of(text: str) -> Spot:
    """Return the spot that ``text`` names as ``topic/partition/offset``.

    Raises:
        BadArgument: it names none.
    """
    topic, _, rest = text.partition("/")
    partition, _, offset = rest.partition("/")
    if not (topic and partition.isdecimal() and offset.isdecimal()):
        msg = f"{text!r} is no place of a message: it is topic/partition/offset"
        raise BadArgument(msg)
    return Spot(topic, int(partition), int(offset))


def fetch(kafka: KafkaConfig, spots: Iterable[Spot]) -> dict[Spot, Message]:
    """Return the messages at ``spots``; those that are not there, or not any more, are left out.

    Each partition is read once, in its order; long stretches without a spot are leapt over.

    Raises:
        RetryLater: the brokers do not answer.
    """
    left = _by_place(kafka, set(spots))
    found: dict[Spot, Message] = {}
    if not left:
        return found
    consumer = Consumer(kafka | _SETTINGS)
    try:
        consumer.assign([TopicPartition(*place, offsets[-1]) for place, offsets in left.items()])
        heard = time.monotonic()
        while left:
            messages = _next(consumer)
            for place, offset in _take(messages, left, found).items():
                _go_on(consumer, place, offset, left)
            heard = time.monotonic() if messages else heard
            if time.monotonic() - heard > _SILENCE_SECONDS:
                raise RetryLater("the Kafka brokers do not answer")
    finally:
        consumer.close()
    return found


def _by_place(kafka: KafkaConfig, spots: Collection[Spot]) -> dict[Place, list[int]]:
    """Return the offsets that are wanted of each partition, of those that it holds, the last one first."""
    with Onlooker(kafka) as onlooker:
        marks = onlooker.watermarks(sorted({spot.topic for spot in spots}))
    wanted: dict[Place, list[int]] = {}
    for topic, partition, offset in sorted(spots, reverse=True):
        low, high = marks.get((topic, partition), (0, 0))
        if low <= offset < high:
            wanted.setdefault((topic, partition), []).append(offset)
    return wanted


def _next(consumer: Consumer) -> list[Message]:
    """Return what is there, and wait a moment only when nothing is."""
    first = consumer.poll(_POLL_SECONDS)
    return [] if first is None else [first, *consumer.consume(_PORTION, 0)]


def _take(
    messages: Iterable[Message], left: dict[Place, list[int]], found: dict[Spot, Message]
) -> dict[Place, int]:
    """Move what is wanted of ``messages`` to ``found``; return where each partition that was read is now.

    Raises:
        RetryLater: a partition cannot be read.
    """
    read: dict[Place, int] = {}
    for message in messages:
        spot, error = _spot(message), message.error()
        place, passed = spot[:2], spot.offset
        if error is not None:
            if error.code() != KafkaError._PARTITION_EOF:
                text = f"topic {spot.topic} cannot be read: {error.str()}"
                raise RetryLater(text)
            passed -= 1  # what is at the end may still be to be committed
        offsets = left.get(place, [])
        while offsets and offsets[-1] <= passed:
            if offsets.pop() == spot.offset:
                found[spot] = message
        read[place] = passed + 1
    return read


def _go_on(consumer: Consumer, place: Place, offset: int, left: dict[Place, list[int]]) -> None:
    """Have ``place``, which was read up to ``offset``, read on at what is wanted next, or no more."""
    offsets = left.get(place)
    if offsets is None:
        return
    if not offsets:
        del left[place]
        consumer.incremental_unassign([TopicPartition(*place)])
    elif offsets[-1] - offset > _NEAR:
        consumer.seek(TopicPartition(*place, offsets[-1]))


def _spot(message: Message) -> Spot:
    return Spot(message.topic() or "", message.partition() or 0, message.offset() or 0)
