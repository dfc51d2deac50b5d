"""What surrounds a record in a message: key, partition, CloudEvents headers.

Headers follow the binary mode of the Kafka protocol binding for CloudEvents 1.0.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import cast

from confluent_kafka import Message

from infra.codec import Codec
from infra.engine.transactions import Headers, Transactions
from infra.partitioning import partition_of
from infra.stage import Output
from schemas.deadletters import DeadLetter, Header, to_message
from schemas.topics import Topic


class Writer:
    """Puts records into the open transaction.

    Args:
        role: name of the stage or sink, the ``ce_source`` of what it writes.
        codec: encodes the values.
        partitions: number of partitions of each topic that may be written to.
        transactions: where they go.
    """

    def __init__(
        self, role: str, codec: Codec, partitions: Mapping[str, int], transactions: Transactions
    ) -> None:
        self._encode = codec.encode
        self._partitions = partitions
        self._produce = transactions.produce
        self._role = role
        self._heads: dict[str, Headers] = {}

    def clock(self) -> None:
        """Read the clock for ``ce_time`` anew; once per batch is enough."""
        self._heads.clear()

    def _head(self, kind: str) -> Headers:
        """Return the headers that all records of a type have in one batch."""
        head = self._heads[kind] = [
            ("ce_specversion", b"1.0"),
            ("ce_source", self._role.encode()),
            ("content-type", b"application/avro"),
            ("ce_type", kind.encode()),
            ("ce_time", datetime.now(UTC).isoformat(timespec="milliseconds").encode()),
        ]
        return head

    def write(self, output: Output, event_id: str | None, trace: bytes | None) -> None:
        """Write ``output``.

        Args:
            output: topic (named with its prefix) and record.
            event_id: ``ce_id``, unique within the role and the same whenever the same input is handled;
                none leaves the CloudEvents headers out, which are for readers from outside.
            trace: ``traceparent`` of what caused it, or none.

        Raises:
            HubError: the record does not fit its schema.
            RetryLater: the registry could not be reached.
            Aborted: the transaction has failed already.
            WorkerFailed: this worker was fenced.
        """
        topic, record = output.topic, output.record
        key = record.key.encode()
        route = getattr(record, "route", None)
        headers: Headers = []
        if event_id is not None:
            head = self._heads.get(record.TYPE) or self._head(record.TYPE)
            headers = [*head, ("ce_id", event_id.encode()), ("ce_subject", key)]
        if trace is not None:
            headers.append(("traceparent", trace))
        partition = -1 if route is None else partition_of(route, self._partitions[topic.name])
        self._produce(topic.name, key, self._encode(topic, record), partition, headers)

    def bury(self, topic: Topic, letter: DeadLetter) -> None:
        """Write ``letter`` to ``topic``, its key, value and headers as they were; raises as `write`."""
        key, value, headers = to_message(letter)
        self._produce(topic.name, key, value, -1, list(headers))


def trace_of(message: Message) -> bytes | None:
    """Return the ``traceparent`` header of ``message``, or none."""
    for name, value in headers_of(message):
        if name == "traceparent":
            return value
    return None


def event_id(message: Message) -> str:
    """Return the text that the ids of all outputs of handling ``message`` begin with."""
    return f"{message.topic()}-{message.partition()}-{message.offset()}"


def headers_of(message: Message) -> list[Header]:
    """Return the headers as a received message has them; the client's types also tell what may be sent."""
    return cast(list[Header], message.headers() or [])
