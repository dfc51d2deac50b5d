"""The worker: a faust application that counts what happens and publishes the minutes whose counts changed.

What it knows is made of the last two hours of the topics and of nothing else: it keeps no table and no
changelog, and begins anew whenever it starts or takes over. So a crash at any point costs nothing but the
reading, and nothing is published before everything has been read again.
"""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, cast

import faust
import structlog
from aiokafka.errors import KafkaError
from faust.types import AppT, Message, StreamT

from infra.codec import Codec, UnreadableError
from infra.errors import RetryLater
from infra.metrics import RECORDS_READ, RECORDS_WRITTEN
from infra.settings import KafkaConfig
from infra.stopping import StoppedError, mirrored, pause, unless
from infra.telemetry import Status
from processors.analytics.counting import WINDOW, Event, Minutes, event_of
from processors.analytics.kafka import Consumer, app_of
from processors.analytics.telling import as_ours
from schemas.ids import deterministic_id
from schemas.rates import Rate
from schemas.topics import Topic

_AGAIN_SECONDS: Final = 2.0
_SLACK: Final = timedelta(minutes=1)
"""Records that much older than the window are read too: the clocks of two machines differ."""
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class AnalyticsSettings:
    """What the worker needs.

    Attributes:
        kafka: how librdkafka reaches the brokers.
        codec: reads and writes the records.
        inputs: topics of calls and of results, named as in the cluster.
        rates: where the counts go.
        group: name of the consumer group.
        member: name of this worker in the group.
        folder: for faust's own data.
        interval: seconds from one publication to the next.
    """

    kafka: KafkaConfig
    codec: Codec
    inputs: Sequence[Topic]
    rates: Topic
    group: str
    member: str
    folder: Path
    interval: float = 2.0


def run_analytics(settings: AnalyticsSettings, stop: threading.Event, status: Status) -> None:
    """Count until ``stop`` is set; blocks. Trouble of Kafka or the registry is waited out."""
    with as_ours("faust", "mode", "aiokafka"):
        asyncio.run(_run(settings, stop, status))


async def _run(settings: AnalyticsSettings, stop: threading.Event, status: Status) -> None:
    stopping = mirrored(stop)
    while not stopping.is_set():
        try:
            await _run_once(application(settings, status), stopping)
        except (RetryLater, KafkaError) as error:
            reason = str(error) or type(error).__name__
            _log.warning("analytics_waits", reason=reason)
            status.not_ready(reason)
            await pause(stopping, _AGAIN_SECONDS)


async def _run_once(app: faust.App, stop: asyncio.Event) -> None:
    """Run ``app`` until ``stop`` is set, or raise what made it fail."""
    try:
        await unless(stop, app.start())
        await unless(stop, app.wait_until_stopped())
    except StoppedError:
        return
    finally:
        await app.stop()
    if app.crash_reason is not None:
        raise app.crash_reason


def application(settings: AnalyticsSettings, status: Status) -> faust.App:
    """Return the whole stream: what it reads, what it does with each event, what it publishes and when."""
    app = app_of(settings.group, settings.member, settings.kafka, WINDOW + _SLACK, settings.folder)
    inputs = app.topic(*(topic.name for topic in settings.inputs), schema=_Avro(settings, status.role))
    rates = app.topic(settings.rates.name, key_serializer="raw", value_serializer="raw")
    minutes = Minutes()

    @app.agent(inputs, name="count")
    async def count(stream: StreamT[Event | None]) -> None:
        consumer = cast("Consumer", app.consumer)
        async for one in stream.events():
            if one.value is not None:
                minutes.add(one.value, datetime.now(UTC))
            consumer.handled(one.message)

    @app.timer(settings.interval)  # type: ignore[untyped-decorator]  # faust does not tell its type
    async def publish() -> None:
        status.beat()
        minutes.close(datetime.now(UTC))
        consumer = cast("Consumer", app.consumer)
        status.facts |= {"groups": len(minutes), "partitions": len(consumer.assignment())}
        if not consumer.has_caught_up:
            status.not_ready("reading what happened lately")
            return
        status.ready()
        if consumer.assignment() and not status.paused.is_set():
            await _publish(minutes, rates, settings, status.role)

    return app


class _Avro(faust.Schema[bytes, Event | None]):
    """Decodes the messages of the inputs to what counts of them; none where a message is no record."""

    def __init__(self, settings: AnalyticsSettings, role: str) -> None:
        super().__init__(key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
        self._codec = settings.codec
        self._topics = {topic.name: topic for topic in settings.inputs}
        self._read = {name: RECORDS_READ.labels(role, name) for name in self._topics}

    def loads_value(
        self, app: AppT, message: Message, *, loads: object = None, serializer: object = None
    ) -> Event | None:
        """Return what counts of ``message``; nothing else of faust's is needed for that."""
        del app, loads, serializer
        self._read[message.topic].inc()
        try:
            record = self._codec.decode(self._topics[message.topic], message.value)
        except UnreadableError as error:
            _log.warning("unreadable", topic=message.topic, offset=message.offset, reason=str(error))
            return None
        return event_of(cast("Any", record))


async def _publish(minutes: Minutes, topic: Any, settings: AnalyticsSettings, role: str) -> None:
    """Publish the counts that have changed; those that Kafka does not take are published the next time."""
    changed = minutes.take_changed()
    try:
        sent = [
            await topic.send(
                key=rate.key.encode(),
                value=settings.codec.encode(settings.rates, rate),
                headers=_headers(rate, role),
            )
            for rate in changed
        ]
        await asyncio.gather(*sent)
    except KafkaError as error:
        minutes.put_back(changed)
        _log.warning("rates_not_published", count=len(changed), reason=type(error).__name__)
        return
    RECORDS_WRITTEN.labels(role, settings.rates.name).inc(len(changed))


def _headers(rate: Rate, role: str) -> dict[str, bytes]:
    """Return the CloudEvents headers; the same counts of the same minute are the same event."""
    return {
        "ce_specversion": b"1.0",
        "ce_source": role.encode(),
        "content-type": b"application/avro",
        "ce_type": rate.TYPE.encode(),
        "ce_time": datetime.now(UTC).isoformat(timespec="milliseconds").encode(),
        "ce_id": deterministic_id(rate.key, str(rate.total)).encode(),
        "ce_subject": rate.key.encode(),
    }
