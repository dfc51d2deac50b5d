"""What every producer of the hub is set to, so that what Kafka acknowledges is there."""

from typing import Final

from infra.settings import KafkaConfig

SAFE: Final[KafkaConfig] = {
    "enable.idempotence": True,
    "acks": "all",
    # With more, librdkafka loses messages: when a partition that does not know the producer yet refuses a
    # batch ("not leader") and takes the one sent behind it, it counts the first as acknowledged too, without
    # an offset, and drops it (github.com/confluentinc/confluent-kafka-go/issues/921).
    "max.in.flight.requests.per.connection": 1,
    "partitioner": "murmur2_random",
}
