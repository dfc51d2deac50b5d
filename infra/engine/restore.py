"""Brings a local table up to what its changelog says, before the partition is read any further."""

import time
from collections.abc import Callable

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

from infra.engine.cluster import Cluster
from infra.engine.config import EngineConfig, reader_settings
from infra.engine.errors import WorkerFailed
from infra.engine.store import Store
from infra.metrics import RESTORED
from infra.telemetry import Status

_BATCH = 5_000
_POLL_SECONDS = 0.5
_log = structlog.get_logger()


class Restorer:
    """Restores tables of one stage from ``changelog`` into ``store``.

    Args:
        config: the worker's settings.
        role: name of the stage.
        changelog: name of its changelog topic.
        store: the worker's tables.
        cluster: tells where the changelog ends.
        status: shows how far a restore is.
        beat: called from its loop.
    """

    def __init__(
        self,
        config: EngineConfig,
        role: str,
        changelog: str,
        store: Store,
        cluster: Cluster,
        status: Status,
        beat: Callable[[], None],
    ) -> None:
        self._role = role
        self._changelog = changelog
        self._store = store
        self._cluster = cluster
        self._status = status
        self._beat = beat
        self._stale_seconds = config.stale_state_seconds
        settings = {
            **reader_settings(config),
            "group.id": f"{config.member(role)}.restore",  # has to be given; nothing is ever committed to it
            "fetch.wait.max.ms": 20,  # the end of a partition is told after an empty fetch
        }
        self._consumer = Consumer(settings)
        self._consumer.list_topics(changelog, timeout=10)  # a cold consumer costs a second at the first use

    def restore(self, partitions: list[int]) -> None:
        """Return when the tables of ``partitions`` hold all that is committed to their changelog.

        The end is the high watermark of this moment: the last stable offset would leave out what a live
        owner's open transaction may still commit.

        Raises:
            WorkerFailed: the changelog cannot be read.
        """
        started = time.monotonic()
        found = self._cluster.high_watermarks((self._changelog, partition) for partition in partitions)
        ends = {partition: end for (_, partition), end in found.items()}
        starts = {partition: self._start(partition, ends[partition]) for partition in partitions}
        behind = {partition: end for partition, end in ends.items() if starts[partition] < end}
        count = self._replay(starts, behind) if behind else 0
        seconds = round(time.monotonic() - started, 3)
        self._status.facts["restore"] = {
            "partitions": partitions,
            "records": count,
            "left": 0,
            "seconds": seconds,
        }
        _log.info("restored", role=self._role, partitions=partitions, records=count, seconds=seconds)

    def _start(self, partition: int, end: int) -> int:
        """Return the offset to restore from; the local table is dropped where it cannot be trusted."""
        checkpoint = self._store.checkpoint(partition)
        if checkpoint is None:
            self._store.wipe(partition)
            return 0
        # One offset beyond the checkpoint is the marker of its own transaction: nothing was written since.
        is_old = time.time() - checkpoint.saved_at > self._stale_seconds and end > checkpoint.offset + 1
        if checkpoint.offset > end or is_old:
            reason = "old" if is_old else "beyond the end of the changelog"
            _log.warning("local_state_dropped", role=self._role, partition=partition, reason=reason)
            self._store.wipe(partition)
            return 0
        return checkpoint.offset

    def _replay(self, starts: dict[int, int], ends: dict[int, int]) -> int:
        waiting = dict(ends)
        self._consumer.assign(
            [TopicPartition(self._changelog, p, starts[p] or OFFSET_BEGINNING) for p in waiting]
        )
        count = 0
        while waiting:
            self._beat()
            first = self._consumer.poll(_POLL_SECONDS)
            if first is None:
                continue
            # Waiting is poll's part: consume() with a time-out waits all of it when short of messages.
            count += self._apply([first, *self._consumer.consume(_BATCH, 0)], waiting)
            self._status.facts["restore"] = {
                "partitions": list(ends),
                "records": count,
                "left": len(waiting),
            }
        self._consumer.unassign()
        self._store.loaded()
        RESTORED.labels(self._role).inc(count)
        return count

    def _apply(self, messages: list[Message], waiting: dict[int, int]) -> int:
        rows: dict[int, dict[bytes, bytes | None]] = {}
        offsets: dict[int, int] = {}
        count = 0
        for message in messages:
            partition, offset = message.partition(), message.offset()
            if partition is None or offset is None:
                continue
            if message.error() is not None:
                self._end(message, partition, offset, offsets, waiting)
            elif (key := message.key()) is not None:
                rows.setdefault(partition, {})[key] = message.value()
                offsets[partition] = offset + 1
                count += 1
        if offsets:
            self._store.load(rows, offsets)
        return count

    def _end(
        self, message: Message, partition: int, offset: int, offsets: dict[int, int], waiting: dict[int, int]
    ) -> None:
        """Note a partition's end, which comes first at the stable offset, and again when that has moved."""
        error = message.error()
        if error is None or error.code() != KafkaError._PARTITION_EOF:
            msg = f"{self._role}: the changelog {self._changelog} cannot be read: {error}"
            if error is not None and error.retriable() and not error.fatal():
                _log.warning("restore_read_failed", role=self._role, code=error.name())
                return
            raise WorkerFailed(msg)
        offsets[partition] = offset
        if partition in waiting and offset >= waiting[partition]:
            del waiting[partition]

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()
