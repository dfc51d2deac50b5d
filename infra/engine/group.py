"""A worker's place in its consumer group: what it owns, how far it has read, how far that is committed.

A stage's table belongs to one partition number, and all its input topics must be read at that number by
the worker that holds the table. The assignors that move partitions one by one do not promise this for several
topics. So the group subscribes to one topic only, the *lead* (a stage's changelog, a sink's input), and
whoever is given partition 3 of it reads partition 3 of every input.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from infra.engine.cluster import Place
from infra.engine.config import EngineConfig, consumer_settings
from infra.engine.errors import WorkerFailed
from infra.metrics import PARTITIONS, REBALANCES

_COMMITTED_SECONDS = 10.0
_COMMITTED_PATIENCE_SECONDS = 180.0
_AGAIN_SECONDS = 0.1
_HOPELESS = frozenset(
    {
        KafkaError._FATAL,  # such as a static member that was fenced; `fatal()` is not set in this form
        KafkaError._AUTO_OFFSET_RESET,
        KafkaError._AUTHENTICATION,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.FENCED_INSTANCE_ID,
    }
)
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Rebalance:
    """What a worker does when partitions come and go. Each is called within `Group.take`.

    Attributes:
        gain: makes ready for these partitions and calls `Group.adopt`.
        yield_: finishes what is open, while the partitions are still this worker's.
        lose: drops what is open; somebody else may have the partitions already.
    """

    gain: Callable[[list[int]], None]
    yield_: Callable[[list[int]], None]
    lose: Callable[[list[int]], None]


class Group:
    """A member of the consumer group of ``role``.

    Attributes:
        positions: next offset to be read, of each partition that is owned.
        committed: offset that is committed, of the same.
        at_end: partitions that have been read to their end.
        joined: whether the group has ever given this worker its (perhaps empty) share.
    """

    def __init__(
        self, config: EngineConfig, role: str, inputs: Iterable[str], beat: Callable[[], None]
    ) -> None:
        self._role = role
        self._inputs = tuple(inputs)
        self._beat = beat
        self._consumer = Consumer(consumer_settings(config, role))
        self._failure: Exception | None = None
        self._held = False
        self._new: set[Place] = set()
        self.positions: dict[Place, int] = {}
        self.committed: dict[Place, int] = {}
        self.at_end: set[Place] = set()
        self.joined = False

    def join(self, lead: str, rebalance: Rebalance) -> None:
        """Subscribe to ``lead``; partitions come by way of ``rebalance``."""

        def gain(_consumer: Consumer, partitions: list[TopicPartition]) -> None:
            self._guarded("assigned", partitions, rebalance.gain, self._assign_nothing)
            self.joined = True

        def yield_(_consumer: Consumer, partitions: list[TopicPartition]) -> None:
            self._guarded("revoked", partitions, rebalance.yield_, self._drop)

        def lose(_consumer: Consumer, partitions: list[TopicPartition]) -> None:
            self._guarded("lost", partitions, rebalance.lose, self._drop)

        self._consumer.subscribe([lead], on_assign=gain, on_revoke=yield_, on_lost=lose)

    def _guarded(
        self,
        kind: str,
        partitions: list[TopicPartition],
        act: Callable[[list[int]], None],
        always: Callable[[list[int]], None],
    ) -> None:
        """Act, and keep a failure for `take`: raised here it would leave the client in between."""
        numbers = sorted(partition.partition for partition in partitions)
        _log.info("partitions_changed", role=self._role, kind=kind, partitions=numbers)
        REBALANCES.labels(self._role, kind).inc()
        try:
            if numbers:
                act(numbers)
        except Exception as error:  # noqa: BLE001 - raised again by take()
            self._failure = error
        finally:
            always(numbers)
            PARTITIONS.labels(self._role).set(len(self.owned))

    def _assign_nothing(self, _partitions: list[int]) -> None:
        self._consumer.incremental_assign([])

    def _drop(self, partitions: list[int]) -> None:
        places = [place for place in self._places(partitions) if place in self.positions]
        self._consumer.incremental_unassign([TopicPartition(*place) for place in places])
        for place in places:
            del self.positions[place], self.committed[place]
            self.at_end.discard(place)
            self._new.discard(place)

    def adopt(self, offsets: dict[Place, int], new: Iterable[Place] = ()) -> None:
        """Begin to read the given partitions at the given offsets; to be called by `Rebalance.gain`.

        Those of the ``new`` ones are to be committed as they are, even if nothing is read.
        """
        places = [TopicPartition(topic, number, offset) for (topic, number), offset in offsets.items()]
        self._consumer.incremental_assign(places)
        self.positions |= offsets
        self.committed |= offsets
        self._new.update(new)
        if self._held:
            self._consumer.pause([TopicPartition(*place) for place in offsets])

    @property
    def owned(self) -> list[int]:
        """The numbers of the partitions that are owned."""
        return sorted({number for _, number in self.positions})

    def committed_offsets(self, partitions: list[int]) -> dict[Place, int | None]:
        """Ask the broker how far the inputs' ``partitions`` are committed; not to be called on a revoke.

        It waits for the offsets of open transactions, such as those of a zombie, and is repeated even where
        its time-out says that it is no use.

        Raises:
            WorkerFailed: the broker does not say.
        """
        wanted = [TopicPartition(*place) for place in self._places(partitions)]
        deadline = time.monotonic() + _COMMITTED_PATIENCE_SECONDS
        while True:
            self._beat()
            try:
                return self._committed(wanted)
            except KafkaException as error:
                _log.warning("committed_offsets_awaited", role=self._role, code=error.args[0].name())
                if error.args[0].fatal() or time.monotonic() > deadline:
                    msg = f"{self._role}: committed offsets cannot be read: {error.args[0]}"
                    raise WorkerFailed(msg) from None
            time.sleep(_AGAIN_SECONDS)

    def _committed(self, wanted: list[TopicPartition]) -> dict[Place, int | None]:
        found = self._consumer.committed(wanted, _COMMITTED_SECONDS)
        for one in found:
            if one.error is not None:  # no answer for this one, which is not the same as no offset
                raise KafkaException(one.error)
        return {(one.topic, one.partition): one.offset if one.offset >= 0 else None for one in found}

    def _places(self, partitions: Iterable[int]) -> list[Place]:
        return [(topic, number) for number in partitions for topic in self._inputs]

    def take(self, limit: int, linger: float, idle: float) -> list[Message]:
        """Return up to ``limit`` messages; waits ``idle`` seconds for the first, ``linger`` for more.

        Rebalances are served meanwhile. Ends of partitions are among the messages, as errors, in their place.
        What may be stale is left to the caller, who compares offsets with `positions`.

        Raises:
            Exception: whatever a `Rebalance` callback raised.
            WorkerFailed: the consumer is of no more use.
        """
        self._beat()
        first = self._consumer.poll(idle)
        self._check()
        if first is None:
            return []
        taken = [first]
        if limit > 1:
            taken += self._consumer.consume(limit - 1, linger)
            self._check()
        return [message for message in taken if message.error() is None or self._is_end(message)]

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _is_end(self, message: Message) -> bool:
        error = message.error()
        if error is None or error.code() == KafkaError._PARTITION_EOF:
            return True
        if error.fatal() or error.code() in _HOPELESS:
            what = message.topic() or "the inputs"
            msg = f"{self._role}: reading {what} failed: {error.name()}: {error.str()}"
            raise WorkerFailed(msg)
        _log.warning("read_failed", role=self._role, code=error.name(), topic=message.topic())
        return False

    def advance(self, messages: Iterable[Message]) -> list[Message]:
        """Move the positions over ``messages``; return those that are ours and were not read before."""
        positions, at_end, fresh = self.positions, self.at_end, []
        for message in messages:
            if message.error() is not None:
                self._reached_end(message)
                continue
            place, offset = _place(message), message.offset()
            if offset is not None and offset >= positions.get(place, offset + 1):
                positions[place] = offset + 1
                at_end.discard(place)
                fresh.append(message)
        return fresh

    def _reached_end(self, message: Message) -> None:
        """Note a partition's end; its offset counts transaction markers, so it is beyond the last record."""
        place, offset = _place(message), message.offset()
        position = self.positions.get(place)
        if position is not None and offset is not None and offset >= position:
            self.positions[place] = offset
            self.at_end.add(place)

    def uncommitted(self) -> list[TopicPartition]:
        """Return the positions that differ from what is committed."""
        return [
            TopicPartition(topic, number, offset)
            for (topic, number), offset in self.positions.items()
            if offset != self.committed[topic, number] or (topic, number) in self._new
        ]

    def all_positions(self) -> list[TopicPartition]:
        """Return the positions of everything that is owned."""
        return [TopicPartition(topic, number, offset) for (topic, number), offset in self.positions.items()]

    def mark_committed(self) -> None:
        """Note that all positions are committed."""
        self.committed |= self.positions
        self._new.clear()

    def rewind(self, messages: Iterable[Message]) -> None:
        """Go back to what is committed, after the transaction over ``messages`` was aborted."""
        read = {_place(message) for message in messages} & set(self.committed)
        for topic, number in read:
            self._consumer.seek(TopicPartition(topic, number, self.committed[topic, number]))
        self.positions |= self.committed
        self.at_end -= read

    def hold(self) -> None:
        """Read nothing until `go_on`; partitions that are gained meanwhile are held too."""
        if not self._held:
            self._held = True
            self._consumer.pause([TopicPartition(*place) for place in self.positions])

    def go_on(self) -> None:
        """Read again after `hold`."""
        if self._held:
            self._held = False
            self._consumer.resume([TopicPartition(*place) for place in self.positions])

    def metadata(self) -> Any:
        """Return the group metadata for a transaction, fresh: a stale one is refused."""
        return self._consumer.consumer_group_metadata()

    def leave(self) -> None:
        """Close. A static member's partitions wait for it until the session time-out."""
        self._consumer.close()


def _place(message: Message) -> Place:
    topic, number = message.topic(), message.partition()
    return topic or "", -1 if number is None else number
