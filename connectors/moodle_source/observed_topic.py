"""The observed topic: what was told before, and telling more; one transaction for each batch."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from infra.codec import UnreadableError
from infra.engine.cluster import Cluster
from infra.engine.config import EngineConfig, reader_settings
from infra.engine.envelope import Writer
from infra.engine.errors import Aborted, WorkerFailed
from infra.engine.transactions import Transactions
from infra.errors import HubError, RetryLater
from infra.stage import Output
from schemas.ids import deterministic_id
from schemas.moodle import MoodleObserved
from schemas.origin import CHANGED_AT, to_header
from schemas.topics import Topic

_LOG = structlog.get_logger()

ROLE: Final = "moodle-source"
_BATCH: Final = 5_000
_WAIT: Final = 0.5

Learn = Callable[[str, MoodleObserved | None], None]
"""Takes the key of a record and the record; none where it was removed."""


class Telling(Protocol):
    """Where observations are told, and what was told there before."""

    async def open(self, learn: Learn) -> None:
        """Take over from a former writer, then hand every record told so far to ``learn``, oldest first."""

    async def append(self, records: Sequence[MoodleObserved]) -> None:
        """Tell ``records``, all or none; when it returns they will not be lost.

        Raises:
            RetryLater: none of them is told.
        """


class ObservedTopic:
    """The topic ``moodle.<target>.observed`` with one writer of it.

    A second process of the same role and slot fences the first, so two can never write at once. The calls of
    the Kafka client block, hence a thread of their own.

    Args:
        config: of the worker; its slot names the transactional id.
        topic: with target and prefix.
        stop: once set, Kafka is waited for a few seconds more, not for ever.
        beat: called while waiting.
        role: of the writer; those of other roles may write to the topic too, each its own kinds of records.
    """

    def __init__(
        self,
        config: EngineConfig,
        topic: Topic,
        stop: threading.Event,
        beat: Callable[[], None] = lambda: None,
        role: str = ROLE,
    ) -> None:
        self._config = config
        self._topic = topic
        # Each site has its own writer: the topic's name tells them apart.
        self._role = f"{role}.{topic.name.removeprefix(config.prefix)}"
        self._beat = beat
        self._stop = stop
        self._transactions: Transactions | None = None
        self._writer: Writer | None = None
        self._thread = ThreadPoolExecutor(1, "observed-topic")
        self.busy = False

    async def open(self, learn: Learn) -> None:
        """Fence a former writer, then read the topic to its end; see `Telling.open`.

        Raises:
            RetryLater: Kafka or the registry does not answer.
            Stop: there is no such topic.
            WorkerFailed: Kafka refuses this writer.
        """
        await self._in_thread(lambda: self._open(learn))

    async def append(self, records: Sequence[MoodleObserved]) -> None:
        """Produce and commit in one transaction; see `Telling.append`.

        Raises:
            RetryLater: the transaction was aborted, or the registry does not answer.
            WorkerFailed: another process has taken over.
        """
        await self._in_thread(lambda: self._append(records))

    async def close(self) -> None:
        """Leave; an open transaction is aborted when the next process of the slot starts."""
        await asyncio.to_thread(self._thread.shutdown)
        if self._transactions is not None:
            self._transactions.close()
            self._transactions = None

    async def _in_thread(self, work: Callable[[], None]) -> None:
        self.busy = True
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, work)
        finally:
            self.busy = False

    def _open(self, learn: Learn) -> None:
        name = self._topic.name
        cluster = Cluster(self._config.kafka, self._beat)
        count = cluster.partitions([name])[name]
        if self._transactions is None:
            transactions = Transactions(self._config, self._role, self._beat, self._stop)
            transactions.start()
            self._transactions = transactions
            self._writer = Writer(ROLE, self._config.codec, {name: count}, transactions)
        # Asked only now: what a former writer left open has been aborted, so the end is the end.
        found = cluster.high_watermarks((name, partition) for partition in range(count))
        ends = {partition: end for (_, partition), end in found.items() if end > 0}
        consumer = Consumer({**reader_settings(self._config), "group.id": self._config.group(self._role)})
        try:
            self._read(consumer, ends, learn)
        except KafkaException as error:
            msg = f"topic {name} cannot be read: {error.args[0].str()}"
            raise RetryLater(msg) from None
        finally:
            consumer.close()

    def _read(self, consumer: Consumer, ends: dict[int, int], learn: Learn) -> None:
        """Read from the beginning until every partition has shown an end that is not before ``ends``."""
        consumer.assign([TopicPartition(self._topic.name, number, OFFSET_BEGINNING) for number in ends])
        left = set(ends)
        count = 0
        while left and not self._stop.is_set():
            self._beat()
            first = consumer.poll(_WAIT)
            # Waiting is poll's part: consume() with a time-out waits all of it when short of messages.
            messages = [] if first is None else [first, *consumer.consume(_BATCH, 0)]
            for message in messages:
                if (error := message.error()) is None:
                    self._learn(message, learn)
                    count += 1
                elif error.code() == KafkaError._PARTITION_EOF:
                    left -= {
                        p for p in left if p == message.partition() and (message.offset() or 0) >= ends[p]
                    }
                else:
                    raise KafkaException(error)
        if left:
            raise RetryLater("stopped before the observed topic was read to its end")
        _LOG.info("observed_topic_read", topic=self._topic.name, records=count)

    def _learn(self, message: Message, learn: Learn) -> None:
        key = (message.key() or b"").decode("utf-8", "replace")
        if message.value() is None:
            learn(key, None)
            return
        try:
            record = self._config.codec.decode(self._topic, message.value())
        except UnreadableError as error:
            place = {"partition": message.partition(), "offset": message.offset()}
            _LOG.warning("observed_record_unreadable", error=str(error), **place)
            return
        if isinstance(record, MoodleObserved):
            learn(key, record)

    def _append(self, records: Sequence[MoodleObserved]) -> None:
        transactions, writer = self._transactions, self._writer
        if transactions is None or writer is None:
            raise RuntimeError("append before open")
        try:
            transactions.begin()
            writer.clock()
            for record in records:
                began = [(CHANGED_AT, to_header(record.observed_at))]
                writer.write(Output(self._topic, record), event_id(record), began)
            transactions.commit([], lambda: None)
        except Aborted as error:
            raise RetryLater(str(error)) from None
        except WorkerFailed:
            raise
        except HubError:
            transactions.abort()
            raise


def event_id(record: MoodleObserved) -> str:
    """Return the id of the event that ``record`` was seen."""
    return deterministic_id("observed", record.target, record.key, record.observed_at.isoformat())
