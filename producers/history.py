"""Events that have been published, read again where they lie."""

from collections.abc import Iterable
from dataclasses import dataclass

from confluent_kafka import Message

from infra.codec import Codec
from infra.fetch import fetch, spot_of
from infra.settings import KafkaConfig
from infra.stage import Output
from schemas.topics import TOPICS, Record, Topic


@dataclass(frozen=True, slots=True)
class History:
    """Where events are read again.

    Attributes:
        kafka: how librdkafka reaches the brokers.
        codec: reads the records.
        prefix: before the names of topics in the cluster.
    """

    kafka: KafkaConfig
    codec: Codec
    prefix: str

    def read(self, places: Iterable[str]) -> dict[str, Output]:
        """Return the records at ``places``, with their topics under the names without prefix.

        Raises:
            RetryLater: Kafka or the registry is away.
        """
        topics: dict[str, Topic] = {self.prefix + topic.name: topic for topic in TOPICS}
        spots = [spot for spot in map(spot_of, places) if spot.topic in topics]
        return {
            str(spot): Output(topics[spot.topic], self._decode(topics[spot.topic], message))
            for spot, message in fetch(self.kafka, spots).items()
        }

    def _decode(self, topic: Topic, message: Message) -> Record:
        return self.codec.decode(topic.prefixed(self.prefix), message.value())
