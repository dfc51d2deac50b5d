"""One Kafka transaction after the other: outputs, changelog records and offsets, all or nothing."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from infra.engine.config import EngineConfig, producer_settings
from infra.engine.errors import Aborted, WorkerFailed
from infra.metrics import TRANSACTIONS
from schemas.deadletters import Header

_CALL_SECONDS = 5.0
_STOP_SECONDS = 7.0
_PAUSE_SECONDS = 0.05
_log = structlog.get_logger()

OnDelivery = Callable[[KafkaError | None, Message], None]
Headers = list[Header]


class Transactions:
    """The transactional producer of one worker.

    Calls that Kafka says to repeat are repeated, each time the same call, because the outcome of a commit
    that timed out is unknown until then.

    Args:
        config: the worker's settings.
        role: name of the stage or sink.
        beat: called while waiting for the broker.
        stop: once set, the broker is waited for a few seconds more, not for ever.
    """

    def __init__(
        self, config: EngineConfig, role: str, beat: Callable[[], None], stop: threading.Event
    ) -> None:
        self._role = role
        self._beat = beat
        self._stop = stop
        self._producer = Producer(producer_settings(config, role))
        self._produce: Any = self._producer.produce  # by position, which its types do not allow
        self._open = False
        self.produced: Counter[str] = Counter()

    def start(self) -> None:
        """Fence former processes of this slot and finish or abort what they left open.

        Raises:
            WorkerFailed: Kafka refuses, or the worker was stopped while Kafka was away.
        """
        self._repeat(self._producer.init_transactions, _CALL_SECONDS)

    def begin(self) -> None:
        """Open a transaction unless one is open."""
        if not self._open:
            self._producer.begin_transaction()
            self._open = True
            self.produced.clear()

    def produce(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int = -1,
        headers: Headers | None = None,
        on_delivery: OnDelivery | None = None,
    ) -> None:
        """Add one record to the open transaction; ``partition`` -1 leaves the choice to the key.

        Raises:
            Aborted: the transaction has failed already.
            WorkerFailed: this worker was fenced.
        """
        while True:
            try:
                self._produce(topic, value, key, partition, on_delivery, None, 0, headers)
            except BufferError:
                self._serve()
            except KafkaException as error:
                self._failed(error)
            else:
                self.produced[topic] += 1
                return

    def commit(self, offsets: Iterable[TopicPartition], group: Callable[[], Any]) -> None:
        """Commit the open transaction together with the ``offsets`` of the consumer group.

        Args:
            offsets: next offset of each partition that was read.
            group: gives the group metadata; asked right before the call, because a stale one is refused.

        Raises:
            Aborted: it was aborted.
            WorkerFailed: this worker was fenced, or the outcome is unknown and the worker has to stop.
        """
        positions = list(offsets)
        if positions:
            self._repeat(lambda seconds: self._send_offsets(positions, group(), seconds), _CALL_SECONDS)
        self._repeat(self._producer.commit_transaction, _CALL_SECONDS)
        self._open = False
        TRANSACTIONS.labels(self._role, "committed").inc()

    def _send_offsets(self, positions: list[TopicPartition], group: Any, seconds: float) -> None:
        self._producer.send_offsets_to_transaction(positions, group, seconds)

    def abort(self) -> None:
        """Abort the open transaction, if one is open.

        Raises:
            WorkerFailed: this worker was fenced.
        """
        if self._open:
            self._repeat(self._producer.abort_transaction, _CALL_SECONDS)
            self._open = False
            TRANSACTIONS.labels(self._role, "aborted").inc()

    def close(self) -> None:
        """Leave without waiting; the broker aborts what is open when the next process of the slot starts."""
        self._producer.purge()

    def _serve(self) -> None:
        """Wait a moment, while deliveries are reported."""
        self._beat()
        try:
            self._producer.poll(_PAUSE_SECONDS)
        except KafkaException as error:
            self._failed(error)

    def _repeat(self, call: Callable[[float], object], seconds: float) -> None:
        stopped_at: float | None = None
        while True:
            self._beat()
            try:
                call(seconds)
            except KafkaException as error:
                if not _is_retriable(error):
                    self._failed(error)
            else:
                return
            if self._stop.is_set():
                stopped_at = stopped_at or time.monotonic()
                if time.monotonic() - stopped_at > _STOP_SECONDS:
                    msg = f"{self._role}: stopped while Kafka does not answer"
                    raise WorkerFailed(msg)
            self._serve()

    def _failed(self, exception: KafkaException) -> None:
        """Raise what a failure that repeating does not help means.

        Raises:
            Aborted: and the transaction has been aborted.
            WorkerFailed: the producer is of no more use.
        """
        error: KafkaError = exception.args[0]
        _log.warning("transaction_failed", role=self._role, code=error.name(), fatal=error.fatal())
        if self._open and not error.fatal() and (error.txn_requires_abort() or _is_state(error)):
            self.abort()
            msg = f"{self._role}: {error.name()}: {error.str()}"
            raise Aborted(msg) from None
        self._open = False  # a producer that failed for good cannot abort, and may not even answer
        msg = f"{self._role}: the producer cannot go on: {error.name()}: {error.str()}"
        raise WorkerFailed(msg) from None


def _is_retriable(exception: KafkaException) -> bool:
    error: KafkaError = exception.args[0]
    return error.retriable() and not error.fatal()


def _is_state(error: KafkaError) -> bool:
    """Tell whether ``produce`` was refused because the transaction had failed before."""
    return error.code() == KafkaError._STATE
