"""Runs a sink: read a batch, have it written, commit its results and the offsets as one transaction, again.

The sink writes in the event loop of another thread. This one goes on polling meanwhile, its partitions held,
so that the group is served however long a write or the wait for an ailing system takes.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import structlog
from confluent_kafka import Message

from infra import tracing
from infra.codec import UnreadableError
from infra.engine import letters
from infra.engine.breaker import Breaker
from infra.engine.cluster import Cluster
from infra.engine.config import EngineConfig, SinkConfig
from infra.engine.envelope import Writer, event_id, handed_on, trace_of
from infra.engine.errors import Aborted, WorkerFailed
from infra.engine.group import Group, Rebalance
from infra.engine.report import count_batch, count_results, obey, show_progress
from infra.engine.sink import Attempt, Background, Sink, Written
from infra.engine.transactions import Transactions
from infra.engine.watchdog import Watchdog
from infra.errors import RetryLater, Stop
from infra.metrics import WRITE_SECONDS
from infra.stage import Output
from infra.telemetry import Status
from infra.tracing import UNCHANGED, Kind, Passage
from schemas.deadletters import DeadLetter, Step
from schemas.topics import Record

_POLL_SECONDS = 0.05
_LAST_WRITE_SECONDS = 6.0
_CANCEL_SECONDS = 5.0
_log = structlog.get_logger()


def run_sink(
    sink: Sink[Any],
    config: EngineConfig,
    stop: threading.Event,
    sink_config: SinkConfig | None = None,
    status: Status | None = None,
) -> None:
    """Run ``sink`` until ``stop`` is set; the write under way is given a few seconds to end.

    Args:
        sink: with topics named as in the cluster.
        config: how to reach Kafka; ``batch_size``, ``linger_seconds`` and the state are of no concern here.
        stop: ends it.
        sink_config: batches, backoff and patience.
        status: what is shown of it; see `infra.telemetry.serve_status`.

    Raises:
        Stop: a topic is missing. (`Stop` from the sink itself raises an alarm and is tried again.)
        WorkerFailed: a new process has to take over, as after being fenced.
    """
    status = status or Status(sink.name)
    watchdog = Watchdog(stop, status, limit=config.watchdog_seconds, stop_limit=config.stop_seconds)
    with watchdog, Background() as background:
        connector = Connector(
            sink, config, sink_config or SinkConfig(), stop, status, watchdog.beat, background
        )
        try:
            connector.run()
        finally:
            stop.set()  # closing after a failure may hang as well: it has the time of an orderly stop
            connector.close()


@dataclass(slots=True)
class Batch:
    """What is being written.

    Attributes:
        messages: what was read, in order; those of partitions that are given up leave it.
        records: what the sink is handed of them; none until they are decoded.
        readable: the messages that ``records`` were in.
        letters: dead letters of those that cannot be decoded, and of those that the other system refused.
        outputs: what the sink returned, each with the message that it tells of; none until it has.
        passage: how the traces of the messages go on with the results.
        started: by `time.monotonic`.
    """

    messages: list[Message] = field(default_factory=list)
    records: list[Record] | None = None
    readable: list[Message] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    outputs: list[tuple[Output, Message]] | None = None
    passage: Passage = UNCHANGED
    started: float = field(default_factory=time.monotonic)

    def drop(self, partitions: Iterable[int]) -> bool:
        """Leave out what was read from ``partitions``; tell whether there was any."""
        gone = set(partitions)
        kept = [message for message in self.messages if message.partition() not in gone]
        if len(kept) == len(self.messages):
            return False
        self.messages, self.records, self.readable, self.letters, self.outputs = kept, None, [], [], None
        return True


class Connector:
    """One worker of one sink. See `run_sink`."""

    def __init__(
        self,
        sink: Sink[Any],
        config: EngineConfig,
        sink_config: SinkConfig,
        stop: threading.Event,
        status: Status,
        beat: Callable[[], None],
        background: Background,
    ) -> None:
        self._sink = sink
        self._config = config
        self._limits = sink_config
        self._stop = stop
        self._status = status
        self._beat = beat
        self._background = background
        self._cluster = Cluster(config.kafka, beat)
        outputs = (topic.name for topic in (*sink.outputs, sink.dead_letters))
        partitions = self._cluster.partitions({sink.input.name, *outputs})
        self._transactions = Transactions(config, sink.name, beat, stop)
        self._writer = Writer(sink.name, config.codec, partitions, self._transactions)
        self._group = Group(config, sink.name, [sink.input.name], beat)
        self._breaker = Breaker(sink.name, sink_config, status)
        self._batch = Batch()
        self._attempt: Attempt | None = None
        self._early: list[Message] = []

    def run(self) -> None:
        """Work until the stop; raises as `run_sink`."""
        self._transactions.start()
        self._open()
        show_progress(self._status, self._group)
        self._group.join(self._sink.input.name, Rebalance(self._gain, self._give_up, self._lose))
        while not self._stop.is_set():
            obey(self._status, self._group)
            messages = self._early + self._group.take(
                self._limits.batch_size, self._limits.linger_seconds, self._config.idle_seconds
            )
            self._early = []
            if self._group.joined:
                self._status.ready()
            self._batch = Batch(self._group.advance(messages))
            if self._batch.messages:
                self._deliver()
            elif not messages:
                self._commit_markers()

    def _open(self) -> None:
        """Open the sink, however long the other system is away."""
        while not self._stop.is_set():
            attempt = self._background.start(self._sink.open())
            while not attempt.finished.wait(_POLL_SECONDS):
                self._beat()
            try:
                attempt.result()
            except RetryLater as error:
                self._pause_for(self._breaker.opened(error), self._beat)
            except Stop as error:
                self._pause_for(self._breaker.alarm(error), self._beat)
            else:
                self._breaker.closed()
                return

    # Delivering one batch

    def _deliver(self) -> None:
        """Write and commit the batch, or what is left of it, for as long as that takes."""
        self._group.hold()
        while self._batch.messages and not self._stop.is_set():
            try:
                self._write()
                self._commit()
            except Aborted as error:
                _log.warning("results_aborted", role=self._sink.name, error=str(error))
                self._poll()
            except RetryLater as error:
                self._transactions.abort()
                self._pause_for(self._breaker.opened(error), self._poll)
            except Stop as error:
                self._transactions.abort()
                self._pause_for(self._breaker.alarm(error), self._poll)

    def _write(self) -> None:
        """Have the batch written; without effect on it when partitions were given up meanwhile."""
        batch = self._batch
        if batch.outputs is not None:
            return
        if batch.records is None:
            self._decode(batch)
        self._breaker.trying()
        if not batch.records:
            batch.outputs = []
            return
        with tracing.batch(self._sink.name, Kind.CONSUMER, map(trace_of, batch.readable)) as batch.passage:
            self._attempt_to_write(batch, batch.records)

    def _attempt_to_write(self, batch: Batch, records: list[Record]) -> None:
        started = time.monotonic()
        attempt = self._attempt = self._background.start(self._sink.write(records))
        while not self._wait(attempt):
            self._poll()
            if self._attempt is not attempt:
                return
            if self._stop.is_set() and time.monotonic() - started > _LAST_WRITE_SECONDS:
                self._cancel(batch.messages)
                return
        self._attempt = None
        WRITE_SECONDS.labels(self._sink.name).observe(time.monotonic() - started)
        self._take_in(batch, attempt.result())
        self._breaker.closed()

    def _wait(self, attempt: Attempt) -> bool:
        return attempt.finished.wait(_POLL_SECONDS)

    def _decode(self, batch: Batch) -> None:
        decode, topic = self._config.codec.decode, self._sink.input
        records: list[Record] = []
        batch.readable, batch.letters = [], []
        for message in batch.messages:
            try:
                records.append(decode(topic, message.value()))
            except UnreadableError as error:
                batch.letters.append(letters.unreadable(self._sink.name, message, error))
            else:
                batch.readable.append(message)
        batch.records = records

    def _take_in(self, batch: Batch, written: Written) -> None:
        """Note what the sink says came of ``batch``."""
        records = batch.records or []
        batch.letters += [
            letters.refused(self._sink.name, batch.readable[index], records[index], Step.TASK_PUT, error)
            for index, error in written.refused.items()
        ]
        causes = (batch.readable[index] for index in written.causes)
        batch.outputs = list(zip(written.outputs, causes, strict=True))

    def _commit(self) -> None:
        """Commit the results with the offsets of the batch, and be done with it."""
        batch = self._batch
        if not batch.messages or batch.outputs is None:
            return
        self._transactions.begin()
        self._writer.clock()
        origin = event_id(batch.messages[0])
        results = [(output, handed_on(cause, batch.passage)) for output, cause in batch.outputs]
        for index, (output, headers) in enumerate(results):
            self._writer.write(output, f"{origin}-{index}", headers)
        for letter in batch.letters:
            self._writer.bury(self._sink.dead_letters, letter)
        self._transactions.commit(self._group.uncommitted(), self._group.metadata)
        self._group.mark_committed()
        dead = Counter(letter.reason for letter in batch.letters)
        count_batch(self._sink.name, batch.messages, dead, self._transactions, batch.started)
        count_results(self._sink.name, results)
        batch.messages = []

    def _commit_markers(self) -> None:
        """Commit positions that moved over transaction markers only, so that the group's lag is 0."""
        offsets = self._group.uncommitted()
        if not offsets:
            return
        try:
            self._transactions.begin()
            self._transactions.commit(offsets, self._group.metadata)
            self._group.mark_committed()
        except Aborted as error:
            _log.warning("markers_aborted", role=self._sink.name, error=str(error))

    def _poll(self) -> None:
        """Serve the group; what comes all the same, in spite of the hold, is kept for the next batch."""
        self._early += self._group.take(1, 0, 0)

    def _pause_for(self, seconds: float, serve: Callable[[], None]) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and self._batch_waits() and not self._stop.wait(_POLL_SECONDS):
            serve()

    def _batch_waits(self) -> bool:
        return bool(self._batch.messages) or not self._group.joined

    # Coming and going of partitions; called within take()

    def _gain(self, partitions: list[int]) -> None:
        committed = self._group.committed_offsets(partitions)
        new = [place for place, offset in committed.items() if offset is None]
        first = self._cluster.first_offsets(new)
        offsets = {place: first[place] if at is None else at for place, at in committed.items()}
        self._group.adopt(offsets, new)

    def _give_up(self, partitions: list[int]) -> None:
        """Let the write under way end and commit it, so that there is one writer per key at any time."""
        attempt = self._attempt
        if attempt is not None and self._touches(partitions) and self._finish(attempt):
            self._attempt = None
            try:
                self._take_in(self._batch, attempt.result())
                self._commit()
            except (Aborted, RetryLater, Stop) as error:
                _log.warning("results_left_to_others", role=self._sink.name, error=str(error))
                self._transactions.abort()
        self._lose(partitions)

    def _lose(self, partitions: list[int]) -> None:
        if self._touches(partitions):
            self._cancel([])
            self._batch.drop(partitions)
        self._early = [message for message in self._early if message.partition() not in partitions]

    def _touches(self, partitions: list[int]) -> bool:
        return any(message.partition() in partitions for message in self._batch.messages)

    def _finish(self, attempt: Attempt) -> bool:
        seconds = _LAST_WRITE_SECONDS if self._stop.is_set() else self._limits.revoke_seconds
        deadline = time.monotonic() + seconds
        while not attempt.finished.wait(_POLL_SECONDS):
            self._beat()
            if time.monotonic() > deadline:
                _log.warning("write_given_up", role=self._sink.name, seconds=seconds)
                return False
        return True

    def _cancel(self, messages: list[Message]) -> None:
        """End the write under way, and take back ``messages``: they come again."""
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.cancel()
            if not attempt.finished.wait(_CANCEL_SECONDS):
                msg = f"{self._sink.name}: a write does not end when it is cancelled"
                raise WorkerFailed(msg)
        if messages:
            self._batch = Batch()

    def close(self) -> None:
        """Give the partitions back and close everything."""
        self._group.leave()
        closing = self._background.start(self._sink.close())
        if closing.finished.wait(_CANCEL_SECONDS):
            closing.result()
        self._transactions.close()
