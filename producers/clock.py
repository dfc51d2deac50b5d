"""Tells the stages that time passes: a tick in every partition at an interval.

Handlers read no clock, so that a replay gives what the first run gave; what depends on time hangs on ticks.
Several clocks do no harm.
"""

import threading
from datetime import UTC, datetime

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from infra.codec import Codec
from infra.errors import RetryLater
from infra.producing import SAFE
from infra.scan import Onlooker
from infra.settings import KafkaConfig
from infra.telemetry import Status
from schemas.joins import Tick
from schemas.topics import Topic

_FLUSH_SECONDS = 10.0
_LONGEST_WAIT = 5.0
_log = structlog.get_logger()


def run_clock(
    kafka: KafkaConfig, codec: Codec, topic: Topic, interval: float, stop: threading.Event, status: Status
) -> None:
    """Tick until ``stop`` is set.

    Args:
        kafka: how librdkafka reaches the brokers.
        codec: encodes the ticks.
        topic: of ticks, named as in the cluster.
        interval: seconds from one tick to the next.
        stop: ends it.
        status: of the process.
    """
    settings: KafkaConfig = {**SAFE, "message.timeout.ms": int(_FLUSH_SECONDS * 1000)}
    producer = Producer(kafka | settings)
    wait = 0.0
    while not stop.wait(wait):
        try:
            _tick(producer, kafka, codec, topic)
            status.ready()
            wait = interval
        except RetryLater as error:
            _log.warning("clock_waits", reason=str(error))
            status.not_ready(str(error))
            wait = min(interval, _LONGEST_WAIT)
        status.beat()


def _tick(producer: Producer, kafka: KafkaConfig, codec: Codec, topic: Topic) -> None:
    """Write one tick into each partition and wait until the brokers have them.

    Raises:
        RetryLater: they did not take them in time.
    """
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failed.append(error)

    with Onlooker(kafka) as onlooker:
        partitions = sorted(number for _, number in onlooker.ends([topic.name]))
    now = datetime.now(UTC)
    try:
        for number in partitions:
            tick = Tick(partition=number, at=now)
            producer.produce(
                topic.name, codec.encode(topic, tick), tick.key.encode(), number, on_delivery=delivered
            )
    except KafkaException as error:
        raise RetryLater(str(error.args[0])) from None
    if producer.flush(_FLUSH_SECONDS) or failed:
        message = f"Kafka did not take the tick: {failed[0].name() if failed else 'no answer'}"
        raise RetryLater(message)
