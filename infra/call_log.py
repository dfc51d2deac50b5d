"""The log of calls: notes of requests become records of ``hub.calls``, and nobody ever waits for that.

A client notes a call and goes on; a thread publishes it. With Kafka or the registry away, or slow, notes wait
in a bounded queue; what does not fit any more is dropped and counted. So the log may have gaps after an
outage, which the metric ``hub_calls_dropped`` tells, and the work itself has none.
"""

import queue
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import structlog
from confluent_kafka import KafkaError, Message, Producer

from infra.calls import Call
from infra.codec import Codec
from infra.errors import HubError, RetryLater
from infra.metrics import CALLS_DROPPED
from infra.producing import SAFE
from infra.settings import KafkaConfig
from schemas.calls import ApiCall, System
from schemas.ids import Target, TenantId, split
from schemas.topics import Topic

_WAITING: Final = 10_000
"""Notes that wait in the queue, and as many again in the producer."""
_CLOSE_SECONDS: Final = 3.0
_AGAIN_SECONDS: Final = 1.0
_PRODUCER: Final[KafkaConfig] = {
    **SAFE,
    "linger.ms": 100,
    "compression.type": "lz4",
    "queue.buffering.max.messages": _WAITING,
}
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls whom.

    Attributes:
        system: that is called.
        target: the Moodle site, or ``elm``.
        role: the process that calls.
        tenant: of calls that are about no entity; none if such calls are nobody's.
    """

    system: System
    target: Target
    role: str
    tenant: TenantId | None = None


class _Noted(NamedTuple):
    ended_at: datetime
    call: Call


class CallLog:
    """Publishes notes from a thread of its own; see `call_log`."""

    def __init__(self, kafka: KafkaConfig, codec: Codec, topic: Topic, caller: Caller) -> None:
        """Begin; nothing is connected in the caller's thread."""
        self._kafka, self._codec, self._topic, self._caller = kafka, codec, topic, caller
        self._queue: queue.Queue[_Noted] = queue.Queue(_WAITING)
        self._closing = threading.Event()
        self._deadline = float("inf")
        self._dropped = CALLS_DROPPED.labels(caller.role)
        self._thread = threading.Thread(target=self._work, name="call-log", daemon=True)
        self._thread.start()

    def note(self, call: Call) -> None:
        """Take the note of a call that has just ended; never waits and never fails."""
        try:
            self._queue.put_nowait(_Noted(datetime.now(UTC), call))
        except queue.Full:
            self._dropped.inc()

    def close(self) -> None:
        """Publish what waits if that can be done in some seconds; the rest is dropped."""
        self._deadline = time.monotonic() + _CLOSE_SECONDS
        self._closing.set()
        self._thread.join(_CLOSE_SECONDS + _AGAIN_SECONDS)

    def _work(self) -> None:
        producer = Producer(self._kafka | _PRODUCER)
        while not (self._closing.is_set() and self._queue.empty()):
            try:
                noted = self._queue.get(timeout=_AGAIN_SECONDS if not self._closing.is_set() else 0.0)
            except queue.Empty:
                producer.poll(0)
                continue
            if not self._publish(producer, record_of(noted.call, noted.ended_at, self._caller)):
                self._dropped.inc(1 + self._queue.qsize())
                break
        left = producer.flush(max(0.0, self._deadline - time.monotonic()))
        self._dropped.inc(left)

    def _publish(self, producer: Producer, record: ApiCall) -> bool:
        """Hand ``record`` to the producer; false if that could not be done until the log was closed."""
        while True:
            try:
                value = self._codec.encode(self._topic, record)
                producer.produce(self._topic.name, value, record.key.encode(), on_delivery=self._delivered)
                producer.poll(0)
                return True
            except (RetryLater, BufferError):  # the registry is away, or Kafka for long
                if self._closing.is_set():
                    return False
                producer.poll(_AGAIN_SECONDS)
            except HubError as error:
                _log.warning("call_not_logged", reason=str(error))
                self._dropped.inc()
                return True

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._dropped.inc()


@contextmanager
def call_log(kafka: KafkaConfig, codec: Codec, topic: Topic, caller: Caller) -> Iterator[CallLog]:
    """Give a log of calls; what waits at the end of the block is published first.

    Args:
        kafka: how librdkafka reaches the brokers.
        codec: encodes the records.
        topic: ``hub.calls``, named as in the cluster.
        caller: who calls whom.
    """
    log = CallLog(kafka, codec, topic, caller)
    try:
        yield log
    finally:
        log.close()


def record_of(call: Call, ended_at: datetime, caller: Caller) -> ApiCall:
    """Return the record of a call that ended at ``ended_at``."""
    return ApiCall(
        call_id=uuid.uuid4().hex,
        system=caller.system,
        target=caller.target,
        role=caller.role,
        function=call.function,
        started_at=ended_at - timedelta(seconds=call.seconds),
        duration_ms=round(call.seconds * 1000),
        code=call.code,
        http_status=call.http_status,
        attempt=call.attempt,
        entries=call.entries,
        request_bytes=call.sent,
        response_bytes=call.received,
        tenant=tenant_of(call.references, caller.tenant),
        references=call.references,
    )


def tenant_of(references: tuple[str, ...], otherwise: TenantId | None) -> TenantId | None:
    """Return the one tenant that ``references`` are of; none if they are of several."""
    tenants = {split(reference)[1] for reference in references}
    if not tenants:
        return otherwise
    return TenantId(tenants.pop()) if len(tenants) == 1 else None
