"""The relay: publishes the outbox in order and takes out what the broker has acknowledged.

One relay is active at a time, others stand by. Nothing is taken out before its acknowledgement, so after a
crash some events are published again: with the same id, and harmless, because versions decide downstream.
"""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import uniform
from typing import Any, Final, Self

import msgspec
import psycopg
import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from infra import tracing
from infra.codec import Codec, MisfitError
from infra.db.connect import driver_connection
from infra.db.locks import wait_for_lock
from infra.errors import HubError, RetryLater
from infra.metrics import RECORDS_READ
from infra.producing import SAFE
from infra.registry import Registry
from infra.telemetry import Status
from infra.tracing import Kind, Passage
from producers import outbox
from producers.intake import NOTIFY_INTERVAL
from producers.outbox import Stored
from schemas.origin import CHANGED_AT, to_header

ROLE: Final = "relay"

_log = structlog.get_logger()

_PRODUCER: Final[Mapping[str, Any]] = {
    **SAFE,
    "compression.type": "lz4",
    "linger.ms": 5,
    # While Kafka is away messages wait here in order; giving up on some would let later ones pass them.
    "message.timeout.ms": 0,
}
_SLICE = 0.5
"""Seconds after which a wait looks whether to stop."""
_TOO_LARGE = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD)


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """What the relay needs.

    Attributes:
        database_url: of the outbox.
        kafka: librdkafka's settings to reach the cluster (``bootstrap.servers`` and security).
        registry: where the schemas of the topics are registered.
        prefix: before the names of all topics.
        batch_size: events that are published before their acknowledgements are waited for.
        look_seconds: looks into the outbox at least so often, if no wake-up call arrives.
        backoff_seconds: first wait after trouble; doubled each time, with full jitter.
        backoff_limit: longest wait after trouble.
    """

    database_url: str
    kafka: Mapping[str, str | int | float | bool]
    registry: Registry
    prefix: str = ""
    batch_size: int = 5_000
    look_seconds: float = 1.0
    backoff_seconds: float = 0.2
    backoff_limit: float = 10.0


def run_relay(settings: RelaySettings, stop: threading.Event, status: Status | None = None) -> None:
    """Relay until ``stop`` is set; blocks. Trouble of Kafka, registry or database is waited out.

    Args:
        settings: of the relay.
        stop: set by a signal.
        status: what is shown of it; see `infra.telemetry.serve_status`.
    """
    failures, status = 0, status or Status(ROLE)
    while not stop.is_set():
        try:
            with driver_connection(settings.database_url) as connection:
                status.ready()  # also when standing by: there is nothing to be mended
                if not wait_for_lock(connection, stop, ROLE, settings.prefix, waiting=status.beat):
                    return
                _log.info("relay_active")
                for _ in _pump(settings, connection, stop, status):
                    failures = 0
        except (HubError, KafkaException) as error:
            failures += 1
            wait = _backoff(settings, failures, error)
            status.not_ready(_reason(error))
            _log.warning("relay_waits", reason=_reason(error), seconds=round(wait, 2), failures=failures)
            stop.wait(wait)


def _pump(
    settings: RelaySettings, connection: psycopg.Connection, stop: threading.Event, status: Status
) -> Iterator[None]:
    """Publish until ``stop`` is set; yield after every batch that went through."""
    connection.execute(f"LISTEN {outbox.CHANNEL}")
    with _Publisher(settings) as publisher:
        while not stop.is_set():
            status.beat()
            if status.paused.is_set():
                stop.wait(_SLICE)
            elif rows := outbox.read(connection, settings.batch_size):
                with tracing.batch(ROLE, Kind.PRODUCER, (row.traceparent for row in rows)) as passage:
                    publisher.publish(connection, _going_on(rows, passage), stop)
                RECORDS_READ.labels(ROLE, "outbox").inc(len(rows))
                status.ready()
                yield
            else:
                _wait_for_events(settings, connection, stop)


def _wait_for_events(settings: RelaySettings, connection: psycopg.Connection, stop: threading.Event) -> None:
    """Return when woken, at the deadline, or when ``stop`` is set."""
    # Events that came right after a wake-up call make no call of their own: look again once first.
    if not stop.wait(2 * NOTIFY_INTERVAL) and outbox.read(connection, 1):
        return
    deadline = time.monotonic() + settings.look_seconds
    while not stop.is_set() and (left := deadline - time.monotonic()) > 0:
        if any(True for _ in connection.notifies(timeout=min(left, _SLICE), stop_after=1)):
            return


@dataclass(slots=True)
class _Batch:
    """What became of the rows of one batch."""

    acknowledged: list[Stored] = field(default_factory=list)
    failed: dict[str, KafkaError] = field(default_factory=dict)
    """First failure by message key."""
    too_large: list[Stored] = field(default_factory=list)

    def removable(self) -> list[int]:
        """Numbers of the rows that may go: those behind a failed one of their key are published again."""
        return [row.seq for row in self.acknowledged if row.key not in self.failed]


class _Publisher:
    """A producer and the codec, and the way of one batch through both."""

    def __init__(self, settings: RelaySettings) -> None:
        self._prefix = settings.prefix
        self._codec = Codec(settings.registry)
        self._fatal: KafkaError | None = None
        self._producer = Producer({**settings.kafka, **_PRODUCER, "error_cb": self._on_error})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # What was not acknowledged is still in the outbox: nothing may come out of here later.
        self._producer.purge()
        self._producer.flush(_SLICE)

    def publish(self, connection: psycopg.Connection, rows: Sequence[Stored], stop: threading.Event) -> None:
        """Publish ``rows`` in order and take out those acknowledged.

        Raises:
            RetryLater: Kafka or the registry refuses or is away; the rows stay.
            KafkaException: the producer is of no more use.
        """
        batch = _Batch()
        for row in rows:
            self._send(connection, row, batch)
        self._await(connection, stop)
        outbox.remove(connection, batch.removable())
        for row in batch.too_large:
            _set_aside(connection, row, "the message is larger than the broker takes")
        if batch.failed:
            code = next(iter(batch.failed.values())).name()
            msg = f"Kafka refused {len(batch.failed)} keys ({code})"
            raise RetryLater(msg)

    def _send(self, connection: psycopg.Connection, row: Stored, batch: _Batch) -> None:
        try:
            output = row.output()
            topic = output.topic.prefixed(self._prefix)
            value = self._codec.encode(topic, output.record)
        except (MisfitError, LookupError, msgspec.MsgspecError) as error:
            _set_aside(connection, row, f"not a record of the topic ({type(error).__name__})")
            return

        def delivered(error: KafkaError | None, _: Message | None) -> None:
            if error is None:
                batch.acknowledged.append(row)
            elif error.code() in _TOO_LARGE:
                batch.too_large.append(row)
            else:
                batch.failed.setdefault(row.key, error)

        try:
            self._produce(topic.name, row, value, output.record.TYPE, delivered)
        except KafkaException as error:
            delivered(error.args[0], None)

    def _produce(self, topic: str, row: Stored, value: bytes, kind: str, delivered: Any) -> None:
        while True:
            try:
                self._producer.produce(
                    topic, value, row.key, on_delivery=delivered, headers=headers(row, kind)
                )
            except BufferError:
                self._producer.poll(_SLICE)
            else:
                return

    def _await(self, connection: psycopg.Connection, stop: threading.Event) -> None:
        """Wait until the broker has answered for every message.

        The connection is tried now and then: with it the lock is lost, and another relay takes over.
        """
        while self._producer.flush(_SLICE):
            if self._fatal is not None:
                raise KafkaException(self._fatal)
            if stop.is_set():
                return
            connection.execute("SELECT 1")

    def _on_error(self, error: KafkaError) -> None:
        _log.warning("kafka_trouble", code=error.name())
        if error.fatal():
            self._fatal = error


def _going_on(rows: Sequence[Stored], passage: Passage) -> Sequence[Stored]:
    """Return ``rows`` with the trace contexts with which their events go on."""
    if passage.becomes is None:
        return rows
    return [row._replace(traceparent=passage.of(row.traceparent)) for row in rows]


def headers(row: Stored, kind: str) -> list[tuple[str, str | bytes | None]]:
    """Return the CloudEvents headers (binary mode of the Kafka protocol binding)."""
    found: list[tuple[str, str | bytes | None]] = [
        ("ce_specversion", "1.0"),
        ("ce_id", row.event_id),
        ("ce_type", kind),
        ("ce_source", row.source),
        ("ce_time", row.created_at.isoformat()),
        ("ce_subject", row.key),
        ("content-type", "application/avro"),
        (CHANGED_AT, to_header(row.created_at)),
    ]
    return [*found, ("traceparent", row.traceparent)] if row.traceparent else found


def _set_aside(connection: psycopg.Connection, row: Stored, error: str) -> None:
    _log.error("event_set_aside", seq=row.seq, topic=row.topic, event_id=row.event_id, error=error)
    outbox.set_aside(connection, row.seq, error)


def _backoff(settings: RelaySettings, failures: int, error: Exception) -> float:
    longest = min(settings.backoff_limit, settings.backoff_seconds * 2 ** min(failures, 16))
    asked = error.retry_after if isinstance(error, RetryLater) else None
    return max(asked or 0.0, uniform(0.0, longest))  # noqa: S311 - jitter


def _reason(error: Exception) -> str:
    if isinstance(error, HubError):
        return str(error)
    return error.args[0].name() if error.args and isinstance(error.args[0], KafkaError) else "kafka"
