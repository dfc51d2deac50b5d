"""Runs a stage: read a batch, handle it, commit outputs, table and offsets as one transaction, again.

The rules behind the order of things are in ``docs/engine.md``.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable

import msgspec
import structlog
from confluent_kafka import KafkaError, Message

from infra.codec import UnreadableError
from infra.engine.cluster import Cluster
from infra.engine.config import EngineConfig
from infra.engine.envelope import Writer, dead_letter, event_id, trace_of
from infra.engine.errors import Aborted
from infra.engine.group import Group, Rebalance
from infra.engine.report import count_batch, show_progress
from infra.engine.restore import Restorer
from infra.engine.store import Store
from infra.engine.tables import PartitionTable
from infra.engine.transactions import Transactions
from infra.engine.watchdog import Watchdog
from infra.errors import Rejected, RetryLater, Stop
from infra.stage import Handler, Output, Stage
from infra.telemetry import Status
from schemas.reasons import Reason
from schemas.topics import Topic

_INPUTS_KEY = "\x00inputs"
_LONGEST_WAIT = 30.0
_log = structlog.get_logger()


class Inputs(msgspec.Struct, frozen=True):
    """The engine's own entry in every table: the input topics whose offsets have been committed.

    With it a lost changelog, lost offsets and a new input topic can be told apart.
    """

    topics: frozenset[str]


def run_stage(
    stage: Stage, config: EngineConfig, stop: threading.Event, status: Status | None = None
) -> None:
    """Run ``stage`` until ``stop`` is set; the batch under way is then finished or aborted.

    Args:
        stage: with topics named as in the cluster.
        config: how to run it.
        stop: ends it.
        status: what is shown of it; see `infra.telemetry.serve_status`.

    Raises:
        Stop: topics or state are not as they must be; the message says what to do.
        WorkerFailed: a new process has to take over, as after being fenced.
    """
    status = status or Status(stage.name)
    watchdog = Watchdog(stop, status, limit=config.watchdog_seconds, stop_limit=config.stop_seconds)
    with watchdog:
        worker = Worker(stage, config, stop, status, watchdog.beat)
        try:
            worker.run()
        finally:
            worker.close()


class Worker:
    """One worker of one stage. See `run_stage`."""

    def __init__(
        self,
        stage: Stage,
        config: EngineConfig,
        stop: threading.Event,
        status: Status,
        beat: Callable[[], None],
    ) -> None:
        self._stage = stage
        self._config = config
        self._stop = stop
        self._status = status
        self._changelog = config.changelog(stage.name).name
        self._inputs: dict[str, tuple[Topic, Handler]] = {
            topic.name: (topic, handler) for topic, handler in stage.handlers.items()
        }
        self._cluster = Cluster(config.kafka, beat)
        partitions = self._check_topics()
        self._store = Store(config.state_folder / f"{stage.name}.{config.slot}")
        self._store.belongs_to(self._cluster.topic_id(self._changelog))
        self._transactions = Transactions(config, stage.name, beat, stop)
        self._writer = Writer(stage.name, config.codec, partitions, self._transactions)
        self._restorer = Restorer(
            config, stage.name, self._changelog, self._store, self._cluster, status, beat
        )
        self._group = Group(config, stage.name, self._inputs, beat)
        self._tables: dict[int, PartitionTable] = {}
        self._recommit_at = time.monotonic() + config.recommit_seconds
        self._read: Counter[str] = Counter()
        self._dead: Counter[Reason] = Counter()

    def _check_topics(self) -> dict[str, int]:
        outputs = [topic.name for topic in (*self._stage.outputs, self._config.dead_letters)]
        partitions = self._cluster.partitions({*self._inputs, *outputs, self._changelog})
        joined = {name: partitions[name] for name in (*self._inputs, self._changelog)}
        if len(set(joined.values())) > 1:
            counts = ", ".join(f"{name}: {count}" for name, count in sorted(joined.items()))
            msg = f"stage {self._stage.name}: its topics must have the same number of partitions ({counts})"
            raise Stop(msg)
        return partitions

    def run(self) -> None:
        """Work until the stop; raises as `run_stage`."""
        self._transactions.start()
        show_progress(self._status, self._group)
        self._group.join(self._changelog, Rebalance(self._gain, self._give_up, self._give_up))
        while not self._stop.is_set():
            self._hold_while_paused()
            messages = self._group.take(
                self._config.batch_size, self._config.linger_seconds, self._config.idle_seconds
            )
            if self._group.joined:
                self._status.ready()
            self._step(messages)

    def _hold_while_paused(self) -> None:
        if self._status.paused.is_set():
            self._group.hold()
        else:
            self._group.go_on()

    def _step(self, messages: list[Message]) -> None:
        """Handle and commit one batch; on an abort everything is as before it, and it comes again."""
        started = time.monotonic()
        try:
            self._handle(messages)
            self._commit(idle=not messages)
        except Aborted as error:
            _log.warning("batch_aborted", stage=self._stage.name, records=len(messages), error=str(error))
            self._rewind(messages)
        except RetryLater as error:
            self._transactions.abort()
            self._rewind(messages)
            self._wait(error)
        except BaseException:
            self._transactions.abort()
            raise
        else:
            count_batch(self._stage.name, self._read, self._dead, self._transactions, started)
        self._read.clear()
        self._dead.clear()

    def _rewind(self, messages: list[Message]) -> None:
        for table in self._tables.values():
            table.forget()
            self._introduce(table)
        self._group.rewind(messages)

    def _wait(self, error: RetryLater) -> None:
        """Stay in the group, reading nothing, until it is worth trying again."""
        seconds = max(error.retry_after or 0.0, random.uniform(0.5, 2.0))  # noqa: S311 - no secret
        _log.warning("waiting", stage=self._stage.name, seconds=round(seconds, 1), error=str(error))
        self._status.not_ready(str(error))
        self._group.hold()
        until = time.monotonic() + min(seconds, _LONGEST_WAIT)
        passed_by: list[Message] = []
        while time.monotonic() < until and not self._stop.is_set():
            passed_by += self._group.take(1, 0, 0.1)
        self._group.rewind(passed_by)

    # Handling

    def _handle(self, messages: list[Message]) -> None:
        self._writer.clock()
        positions, tables, inputs, at_end = (
            self._group.positions,
            self._tables,
            self._inputs,
            self._group.at_end,
        )
        decode, apply, read = self._config.codec.decode, self._apply, self._read
        for message in messages:
            if message.error() is not None:
                self._group.reached_end(message)
                continue
            name, number, offset = message.topic(), message.partition(), message.offset()
            if name is None or number is None or offset is None:
                continue  # the client's types allow it
            place = (name, number)
            position = positions.get(place)
            if position is None or offset < position:
                continue  # not ours any more, or handled already
            self._transactions.begin()
            topic, handler = inputs[name]
            try:
                record = decode(topic, message.value())
            except UnreadableError as error:
                self._bury(message, Reason.UNREADABLE, error)
            else:
                apply(message, handler, record, tables[number])
            positions[place] = offset + 1
            at_end.discard(place)
            read[name] += 1

    def _apply(self, message: Message, handler: Handler, record: object, table: PartitionTable) -> None:
        table.mark()
        try:
            outputs = list(handler(record, table))
        except Rejected as error:
            table.undo()
            self._bury(message, error.reason, error)
            return
        if outputs:
            self._write(message, outputs)

    def _write(self, message: Message, outputs: list[Output]) -> None:
        trace = trace_of(message)
        write = self._writer.write
        for index, output in enumerate(outputs):
            write(output, event_id(message, index), trace)

    def _bury(self, message: Message, reason: Reason, error: Exception) -> None:
        letter = dead_letter(self._config.dead_letters, self._stage.name, message, reason, str(error))
        self._dead[reason] += 1
        self._write(message, [letter])

    # Committing

    def _commit(self, *, idle: bool) -> None:
        """Commit what the batch has changed.

        When there is nothing to read, positions are committed that moved over transaction markers only, so
        that the group's lag is 0; and, once in a while, those that did not move, lest they expire.
        """
        changes = {number: changed for number, table in self._tables.items() if (changed := table.changes())}
        offsets = self._group.uncommitted()
        is_due = bool(changes or (offsets and (idle or self._read)))
        if time.monotonic() > self._recommit_at:
            offsets, is_due = self._group.all_positions(), bool(self._group.positions)
            self._recommit_at = time.monotonic() + self._config.recommit_seconds
        if not is_due:
            return
        self._transactions.begin()
        checkpoints: dict[int, int] = {}
        for number, changed in changes.items():
            self._log_changes(number, changed, checkpoints)
        self._transactions.commit(offsets, self._group.metadata)
        self._group.mark_committed()
        if changes:
            self._store.write(changes, checkpoints)
        for table in self._tables.values():
            table.forget()

    def _log_changes(
        self, number: int, changed: dict[bytes, bytes | None], checkpoints: dict[int, int]
    ) -> None:
        """Produce the changelog records; the last one tells, by its delivery, where the table stands."""

        def delivered(error: KafkaError | None, message: Message) -> None:
            offset = message.offset()
            if error is None and offset is not None:
                checkpoints[number] = offset + 1

        produce, topic = self._transactions.produce, self._changelog
        last = next(reversed(changed))
        for key, value in changed.items():
            if key is last:
                produce(topic, key, value, partition=number, on_delivery=delivered)
            else:
                produce(topic, key, value, partition=number)

    # Coming and going of partitions; called within take(), when no transaction is open

    def _gain(self, partitions: list[int]) -> None:
        committed = self._group.committed_offsets(partitions)
        self._status.not_ready("restoring tables")
        self._restorer.restore(partitions)
        missing = [place for place, offset in committed.items() if offset is None]
        for number in partitions:
            self._check_state(number, {topic for topic, at in missing if at == number})
        first = self._cluster.first_offsets(missing)
        for number in partitions:
            self._tables[number] = PartitionTable(self._store, number)
            self._introduce(self._tables[number])
        offsets = {place: first[place] if at is None else at for place, at in committed.items()}
        self._group.adopt(offsets, new=missing)

    def _check_state(self, number: int, missing: set[str]) -> None:
        """Refuse to start where table and offsets do not belong together.

        Raises:
            Stop: records would be handled twice, or their effects are lost.
        """
        known = PartitionTable(self._store, number).get(_INPUTS_KEY, Inputs)
        where = f"stage {self._stage.name}, partition {number}"
        group = self._config.group(self._stage.name)
        mend = (
            f"to begin anew, stop the stage's workers, delete the consumer group {group}, "
            f"the topic {self._changelog} and the state folders, and run `hub topics apply`"
        )
        if known is None and missing != set(self._inputs):
            msg = f"{where}: offsets are committed, but its changelog is lost; {mend}"
            raise Stop(msg)
        if known is not None and (lost := missing & known.topics):
            names = ", ".join(sorted(lost))
            msg = f"{where}: it has a table, but no committed offset for {names}; {mend}"
            raise Stop(msg)

    def _introduce(self, table: PartitionTable) -> None:
        known = table.get(_INPUTS_KEY, Inputs)
        if known is None or not known.topics.issuperset(self._inputs):
            topics = frozenset(self._inputs) | (known.topics if known else frozenset())
            table.put(_INPUTS_KEY, Inputs(topics))

    def _give_up(self, partitions: list[int]) -> None:
        for number in partitions:
            self._tables.pop(number, None)

    def close(self) -> None:
        """Give the partitions back and close everything."""
        self._group.leave()
        self._restorer.close()
        self._transactions.close()
        self._store.close()
