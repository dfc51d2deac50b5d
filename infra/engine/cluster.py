"""Questions to the cluster that the consumer itself answers wrongly or not at all."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from infra.engine.errors import WorkerFailed
from infra.errors import Stop
from infra.settings import KafkaConfig

T = TypeVar("T")

_CALL_SECONDS = 4.0
_PATIENCE_SECONDS = 120.0
_NEW_TOPIC_SECONDS = 5.0
"""A topic that has just been made is not at once known to all brokers."""
_PAUSE_SECONDS = 0.2

Place = tuple[str, int]
"""A topic and one of its partitions."""


class Cluster:
    """Asks by an admin client, which is made anew for every question and closed here.

    One that lived through a change of leader may answer FENCED_LEADER_EPOCH for ever, and one that is left to
    Python's collector may be ended by its own thread, which ends the process.

    Args:
        kafka: settings by which librdkafka reaches the brokers.
        beat: called while waiting for the brokers.
    """

    def __init__(self, kafka: KafkaConfig, beat: Callable[[], None]) -> None:
        self._kafka = kafka
        self._beat = beat

    def partitions(self, topics: Iterable[str]) -> dict[str, int]:
        """Return the number of partitions of each of ``topics``.

        Raises:
            Stop: one does not exist.
            WorkerFailed: the brokers do not answer.
        """
        names = set(topics)
        deadline = time.monotonic() + _NEW_TOPIC_SECONDS
        while missing := sorted(names - (found := self._ask(_list_topics)).keys()):
            if time.monotonic() > deadline:
                msg = f"topics that do not exist: {', '.join(missing)}; make them with `hub topics apply`"
                raise Stop(msg)
            time.sleep(_PAUSE_SECONDS)
        return {name: found[name] for name in names}

    def topic_id(self, topic: str) -> str:
        """Return the id of ``topic``, which is another one after the topic was deleted and made again."""
        return self._ask(lambda admin: _describe(admin, topic))

    def high_watermarks(self, places: Iterable[Place]) -> dict[Place, int]:
        """Return where each partition ends, open transactions included.

        A consumer that reads committed records only is told the last stable offset instead.
        """
        return self._offsets(places, OffsetSpec.latest())

    def first_offsets(self, places: Iterable[Place]) -> dict[Place, int]:
        """Return where each partition begins."""
        return self._offsets(places, OffsetSpec.earliest())

    def _offsets(self, places: Iterable[Place], which: OffsetSpec) -> dict[Place, int]:
        wanted = {TopicPartition(*place): which for place in places}
        return self._ask(lambda admin: _list_offsets(admin, wanted)) if wanted else {}

    def _ask(self, question: Callable[[AdminClient], T]) -> T:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            self._beat()
            try:
                with AdminClient(dict(self._kafka)) as admin:
                    return question(admin)
            except KafkaException as error:
                if time.monotonic() > deadline:
                    msg = f"the brokers do not answer: {error.args[0]}"
                    raise WorkerFailed(msg) from None
            time.sleep(_PAUSE_SECONDS)


def _list_topics(admin: AdminClient) -> dict[str, int]:
    metadata = admin.list_topics(timeout=_CALL_SECONDS)
    return {name: len(topic.partitions) for name, topic in metadata.topics.items()}


def _describe(admin: AdminClient, topic: str) -> str:
    futures = admin.describe_topics(TopicCollection([topic]), request_timeout=_CALL_SECONDS)
    return str(futures[topic].result().topic_id)


def _list_offsets(admin: AdminClient, wanted: Mapping[TopicPartition, OffsetSpec]) -> dict[Place, int]:
    futures = admin.list_offsets(
        dict(wanted), isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=_CALL_SECONDS
    )
    found = {(tp.topic, tp.partition): future.result().offset for tp, future in futures.items()}
    if any(offset < 0 for offset in found.values()):  # its leader is away; the client raises nothing
        raise KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE))
    return found
