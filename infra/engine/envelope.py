"""What surrounds a record in a message: key, partition, CloudEvents headers.

Headers follow the binary mode of the Kafka protocol binding for CloudEvents 1.0. Two more are handed on from
a message to all that comes of it: ``traceparent``, and when the change at the beginning was taken in.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from confluent_kafka import Message

from infra import tracing
from infra.codec import Codec
from infra.engine.transactions import Headers, Transactions
from infra.partitioning import partition_of
from infra.stage import Output
from infra.tracing import UNCHANGED, Passage
from schemas.deadletters import DeadLetter, Header, to_message
from schemas.origin import CHANGED_AT
from schemas.topics import Topic

_HANDED_ON: Final = frozenset({tracing.HEADER, CHANGED_AT})


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

    def write(self, output: Output, event_id: str | None, handed_on: Iterable[Header] = ()) -> None:
        """Write ``output``.

        Args:
            output: topic (named with its prefix) and record.
            event_id: ``ce_id``, unique within the role and the same whenever the same input is handled;
                none leaves the CloudEvents headers out, which are for readers from outside.
            handed_on: headers of what caused it; see `handed_on`.

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
        headers += handed_on
        partition = -1 if route is None else partition_of(route, self._partitions[topic.name])
        self._produce(topic.name, key, self._encode(topic, record), partition, headers)

    def bury(self, topic: Topic, letter: DeadLetter) -> None:
        """Write ``letter`` to ``topic``, its key, value and headers as they were; raises as `write`."""
        key, value, headers = to_message(letter)
        self._produce(topic.name, key, value, -1, list(headers))


def handed_on(message: Message, passage: Passage = UNCHANGED) -> Headers:
    """Return the headers of ``message`` that what comes of it carries too, its trace as ``passage`` says."""
    headers: Headers = []
    for header in headers_of(message):  # faster than a comprehension, which is a call of its own
        if header[0] in _HANDED_ON:
            headers.append(header)
    if passage.becomes is None:
        return headers
    rest = [header for header in headers if header[0] != tracing.HEADER]
    trace = passage.of(tracing.checked(trace_of(message)))
    return rest if trace is None else [*rest, (tracing.HEADER, trace.encode())]


def trace_of(message: Message) -> bytes | None:
    """Return the ``traceparent`` header of ``message``, or none."""
    return next((value for name, value in headers_of(message) if name == tracing.HEADER), None)


def event_id(message: Message) -> str:
    """Return the text that the ids of all outputs of handling ``message`` begin with."""
    return f"{message.topic()}-{message.partition()}-{message.offset()}"


def headers_of(message: Message) -> list[Header]:
    """Return the headers as a received message has them; the client's types also tell what may be sent."""
    found: Any = message.headers()
    return found or []
