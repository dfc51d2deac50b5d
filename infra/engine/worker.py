"""Runs a stage: read a batch, handle it, commit outputs, table and offsets as one transaction, again.

The rules behind the order of things are in ``docs/engine.md``.
"""

import random
import threading
import time
from collections.abc import Callable

import structlog
from confluent_kafka import KafkaError, Message

from infra.engine.cluster import Cluster
from infra.engine.config import EngineConfig
from infra.engine.envelope import Writer
from infra.engine.errors import Aborted
from infra.engine.group import Group, Rebalance
from infra.engine.handling import Handling
from infra.engine.ownership import check, introduce
from infra.engine.report import count_batch, obey, show_progress
from infra.engine.restore import Restorer
from infra.engine.store import Store
from infra.engine.tables import PartitionTable
from infra.engine.transactions import Transactions
from infra.engine.watchdog import Watchdog
from infra.errors import RetryLater, Stop
from infra.stage import Stage
from infra.telemetry import Status

_LONGEST_WAIT = 30.0
_log = structlog.get_logger()


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
            stop.set()  # closing after a failure may hang as well: it has the time of an orderly stop
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
        self._inputs = [topic.name for topic in stage.handlers]
        self._cluster = Cluster(config.kafka, beat)
        partitions = self._check_topics()
        self._store = Store(config.state_folder / f"{stage.name}.{config.slot}")
        self._store.belongs_to(self._cluster.topic_id(self._changelog))
        self._transactions = Transactions(config, stage.name, beat, stop)
        writer = Writer(stage.name, config.codec, partitions, self._transactions)
        self._handling = Handling(stage, config.codec, writer, config.dead_letters)
        self._restorer = Restorer(
            config, stage.name, self._changelog, self._store, self._cluster, status, beat
        )
        self._group = Group(config, stage.name, self._inputs, beat)
        self._tables: dict[int, PartitionTable] = {}
        self._recommit_at = time.monotonic() + config.recommit_seconds

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
            obey(self._status, self._group)
            messages = self._group.take(
                self._config.batch_size, self._config.linger_seconds, self._config.idle_seconds
            )
            if self._group.joined:
                self._status.ready()
            self._step(messages)

    def _step(self, messages: list[Message]) -> None:
        """Handle and commit one batch; on an abort everything is as before it, and it comes again."""
        started = time.monotonic()
        try:
            fresh = self._group.advance(messages)
            if fresh:
                self._transactions.begin()
                self._handling.handle(fresh, self._tables)
            self._commit(is_idle=not messages, has_read=bool(fresh))
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
            if fresh:
                count_batch(self._stage.name, fresh, self._handling.dead, self._transactions, started)
        self._handling.dead.clear()

    def _rewind(self, messages: list[Message]) -> None:
        for table in self._tables.values():
            table.forget()
            introduce(table, self._inputs)
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

    # Committing

    def _commit(self, *, is_idle: bool, has_read: bool) -> None:
        """Commit what the batch has changed.

        When there is nothing to read, positions are committed that moved over transaction markers only, so
        that the group's lag is 0; and, once in a while, those that did not move, lest they expire.
        """
        changes = {number: changed for number, table in self._tables.items() if (changed := table.changes())}
        offsets = self._group.uncommitted()
        is_due = bool(changes or (offsets and (is_idle or has_read)))
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
                produce(topic, key, value, number, on_delivery=delivered)
            else:
                produce(topic, key, value, number)

    # Coming and going of partitions; called within take(), when no transaction is open

    def _gain(self, partitions: list[int]) -> None:
        committed = self._group.committed_offsets(partitions)
        self._status.not_ready("restoring tables")
        self._restorer.restore(partitions)
        missing = [place for place, offset in committed.items() if offset is None]
        for number in partitions:
            table = PartitionTable(self._store, number)
            check(table, self._inputs, [topic for topic, at in missing if at == number], self._mend(number))
            introduce(table, self._inputs)
            self._tables[number] = table
        first = self._cluster.first_offsets(missing)
        offsets = {place: first[place] if at is None else at for place, at in committed.items()}
        self._group.adopt(offsets, new=missing)

    def _mend(self, number: int) -> str:
        return (
            f"stage {self._stage.name}, partition {number}: to begin anew, stop the stage's workers, delete "
            f"the consumer group {self._config.group(self._stage.name)}, the topic {self._changelog} and the "
            "state folders, and run `hub topics apply`"
        )

    def _give_up(self, partitions: list[int]) -> None:
        for number in partitions:
            self._tables.pop(number, None)

    def close(self) -> None:
        """Give the partitions back and close everything."""
        self._group.leave()
        self._restorer.close()
        self._transactions.close()
        self._store.close()
