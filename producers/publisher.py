"""For programs that publish domain events themselves, instead of having the hub read or receive records.

The events of a call are checked all together before the first is sent, go to their topics as the relay
sends them, and the call returns when the brokers have acknowledged every one.
"""

import asyncio
import os
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, Self

import msgspec
import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from infra.codec import Codec, MisfitError
from infra.errors import HubError, RetryLater
from infra.producing import SAFE
from infra.registry import Registry
from producers import outbox
from producers.outbox import Stored
from producers.relay import headers
from schemas.academics import Grade, Payment, Program, Registration, Section, Term, Unit
from schemas.convert import RecordError, from_record, to_record
from schemas.events import Course, Enrolment, Person
from schemas.ids import deterministic_id
from schemas.topics import TOPICS, Topic

_log = structlog.get_logger()

DomainEvent = Person | Course | Enrolment | Program | Term | Section | Registration | Payment | Unit | Grade
"""What may be published: the whole state of one entity, or its deletion."""

_KINDS: Final[tuple[type[DomainEvent], ...]] = (
    Person, Course, Enrolment, Program, Term, Section, Registration, Payment, Unit, Grade,
)  # fmt: skip
_TOPICS: Final[Mapping[type, Topic]] = {topic.record: topic for topic in TOPICS if topic.record in _KINDS}
_BY_TYPE: Final = {kind.TYPE: kind for kind in _KINDS}
_PRODUCER: Final[Mapping[str, Any]] = {
    **SAFE,
    "compression.type": "lz4",
    "linger.ms": 5,
    # Its own lines are no log events; what is serious comes by `_trouble`.
    "log_level": 2,
}
_SLICE: Final = 0.1


class InvalidEventError(HubError):
    """An event cannot be published; nothing of the call was sent.

    Attributes:
        position: of the event among those of the call, from 0.
        field: the field to blame; empty if it is none alone.
        reason: what is wrong; no personal data.
    """

    def __init__(self, position: int, field: str, reason: str) -> None:
        super().__init__(f"event {position}{f', field {field}' if field else ''}: {reason}")
        self.position, self.field, self.reason = position, field, reason


class _Ready(NamedTuple):
    topic: str
    event: DomainEvent
    event_id: str
    value: bytes


@dataclass(slots=True)
class _Batch:
    """What the brokers have said so far about the events of one call."""

    acknowledged: int = 0
    failures: list[KafkaError] = field(default_factory=list)

    def delivered(self, error: KafkaError | None, _: Message | None) -> None:
        """Note the answer for one event."""
        if error is None:
            self.acknowledged += 1
        else:
            self.failures.append(error)

    @property
    def answered(self) -> int:
        """How many events there is an answer for."""
        return self.acknowledged + len(self.failures)


class EventPublisher:
    """Publishes domain events and waits for the acknowledgement. One object serves all threads of a process.

    It connects when it is first used, and anew in a process that was forked afterwards.
    """

    def __init__(
        self,
        kafka: Mapping[str, str | int | float | bool],
        registry: Registry,
        *,
        source: str,
        prefix: str = "",
        timeout: float = 30.0,
    ) -> None:
        """Nothing is reached yet.

        Args:
            kafka: librdkafka's settings to reach the cluster (``bootstrap.servers`` and security).
            registry: where the schemas of the topics are registered.
            source: name of the publishing program, for the header ``ce_source``.
            prefix: before the names of all topics, as the hub is set.
            timeout: seconds that one call may wait for the acknowledgements.
        """
        self._config: dict[str, Any] = {
            **kafka,
            **_PRODUCER,
            "message.timeout.ms": max(1, int(timeout * 1000)),
            "error_cb": _trouble,
        }
        self._codec = Codec(registry)
        self._source, self._prefix, self._timeout = f"rosterhub/publisher/{source}", prefix, timeout
        self._lock = threading.Lock()
        self._producer: tuple[int, Producer] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the cluster. What calls have returned from is acknowledged, so nothing waits to be sent."""
        with self._lock:
            found, self._producer = self._producer, None
        if found and found[0] == os.getpid():
            found[1].purge()
            found[1].flush(_SLICE)

    def publish(self, events: Iterable[DomainEvent]) -> list[str]:
        """Publish ``events`` in this order and return their ids when all are acknowledged.

        To publish the same events again after an error is safe: they carry the same ids, and versions decide.

        Raises:
            InvalidEventError: an event cannot be published; nothing was sent.
            RetryLater: brokers or registry are away; part of the events may have been sent.
            HubError: the schemas are not registered, or a broker refuses events for good.
        """
        ready = [self._ready(position, event) for position, event in enumerate(events)]
        deadline, batch = time.monotonic() + self._timeout, _Batch()
        producer = self._connected()
        for one in ready:
            self._produce(producer, one, batch, deadline)
        while batch.answered < len(ready) and time.monotonic() < deadline + _SLICE:
            producer.poll(_SLICE)
        self._confirm(batch, len(ready))
        return [one.event_id for one in ready]

    async def publish_async(self, events: Iterable[DomainEvent]) -> list[str]:
        """Do as `publish` in a thread, so that the event loop goes on."""
        return await asyncio.to_thread(self.publish, list(events))

    def _ready(self, position: int, event: DomainEvent) -> _Ready:
        topic = _TOPICS.get(type(event))
        if topic is None:
            raise InvalidEventError(position, "", f"{type(event).__name__} is no domain event")
        check(event, position)
        try:
            value = self._codec.encode(topic.prefixed(self._prefix), event)
        except MisfitError as error:
            raise InvalidEventError(position, "", str(error)) from None
        event_id = deterministic_id(topic.name, self._source, outbox.encode(event))
        return _Ready(topic.prefixed(self._prefix).name, event, event_id, value)

    def _connected(self) -> Producer:
        with self._lock:
            if self._producer is None or self._producer[0] != os.getpid():
                self._producer = (os.getpid(), Producer(self._config))
            return self._producer[1]

    def _produce(self, producer: Producer, ready: _Ready, batch: _Batch, deadline: float) -> None:
        row = Stored(0, "", ready.event.key, ready.event_id, self._source, "", None, datetime.now(UTC))
        while True:
            try:
                producer.produce(
                    ready.topic,
                    ready.value,
                    ready.event.key,
                    on_delivery=batch.delivered,
                    headers=headers(row, ready.event.TYPE),
                )
            except BufferError:
                producer.poll(_SLICE)
                if time.monotonic() > deadline:
                    raise RetryLater("Kafka takes no more events for now") from None
            except KafkaException as error:
                batch.failures.append(error.args[0])
                return
            else:
                producer.poll(0)
                return

    def _confirm(self, batch: _Batch, expected: int) -> None:
        if batch.acknowledged == expected:
            return
        if any(error.fatal() for error in batch.failures):
            self.close()  # the next call begins with a new producer
        codes = sorted({error.name() for error in batch.failures}) or ["no answer"]
        missing = expected - batch.acknowledged
        text = f"Kafka did not acknowledge {missing} of {expected} events ({', '.join(codes)})"
        if any(error.code() in _FOR_GOOD for error in batch.failures):
            raise HubError(text)
        raise RetryLater(text)


_FOR_GOOD: Final = (
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.INVALID_RECORD,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
)


def _trouble(error: KafkaError) -> None:
    _log.warning("kafka_trouble", code=error.name())


def check(event: DomainEvent, position: int = 0) -> None:
    """Check the types of all fields, that times have a zone, and that ids are not empty.

    Raises:
        InvalidEventError: names the field.
    """
    try:
        from_record(to_record(event), type(event))
    except (RecordError, TypeError, msgspec.MsgspecError) as error:
        raise InvalidEventError(position, *_blame(str(error))) from None
    for name in (one.name for one in fields(event)):
        value = getattr(event, name)
        if isinstance(value, datetime) and value.tzinfo is None:
            raise InvalidEventError(position, name, "a time needs a time zone")
        if value == "" and (name.endswith("_id") or name in ("tenant", "source_system")):
            raise InvalidEventError(position, name, "is empty")


def pack(event: DomainEvent) -> str:
    """Return ``event`` as JSON text, to be kept in an outbox table until it is published."""
    return msgspec.json.encode({"type": event.TYPE, "record": event}).decode()


def unpack(text: str) -> DomainEvent:
    """Return the event that `pack` made text of.

    Raises:
        HubError: it is none.
    """
    try:
        packed = msgspec.json.decode(text, type=_Packed)
        return msgspec.json.decode(packed.record, type=_BY_TYPE[packed.type])
    except (msgspec.MsgspecError, KeyError) as error:
        msg = f"the text is no packed event ({type(error).__name__})"
        raise HubError(msg) from None


class _Packed(msgspec.Struct):
    type: str
    record: msgspec.Raw


def _blame(text: str) -> tuple[str, str]:
    """Return the field that a message of msgspec ends with, and the reason without any value."""
    what, _, path = text.partition(" - at `$.")
    field = path.partition("`")[0].partition("[")[0]
    if "enum value" in what:
        what = "is none of the values allowed"
    return field, what
