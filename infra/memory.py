"""Stages without a broker: tables in memory, and a driver that passes outputs on until nothing moves.

For tests of handlers and for looking at what a set of records would lead to; nothing is produced anywhere.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from infra.stage import Output, S, Stage


@dataclass(slots=True)
class MemoryTable:
    """A `infra.stage.Table` that is a dictionary of encoded values."""

    entries: dict[str, bytes] = field(default_factory=dict)

    def get(self, key: str, kind: type[S]) -> S | None:
        """Return the entry at ``key``, or none."""
        value = self.entries.get(key)
        return None if value is None else msgspec.msgpack.decode(value, type=kind)

    def put(self, key: str, value: msgspec.Struct) -> None:
        """Write the entry at ``key``."""
        self.entries[key] = msgspec.msgpack.encode(value)

    def delete(self, key: str) -> None:
        """Remove the entry at ``key``; it need not exist."""
        self.entries.pop(key, None)

    def scan(self, prefix: str, kind: type[S]) -> Iterator[tuple[str, S]]:
        """Yield the entries whose key begins with ``prefix``, as they are now, in the order of the keys."""
        for key in sorted(key for key in self.entries if key.startswith(prefix)):
            value = self.get(key, kind)
            if value is not None:
                yield key, value


@dataclass(slots=True)
class MemoryHub:
    """Stages over tables in memory.

    Attributes:
        stages: the topology.
        tables: one table per stage name, as if there were one partition.
        outputs: everything that any stage has produced so far, in order.
    """

    stages: Sequence[Stage]
    tables: dict[str, MemoryTable] = field(default_factory=dict)
    outputs: list[Output] = field(default_factory=list)

    def feed(self, inputs: Iterable[Output]) -> list[Output]:
        """Hand ``inputs`` to the stages, and what comes out to the next, until nothing does; return all."""
        produced: list[Output] = []
        queue = deque(inputs)
        while queue:
            item = queue.popleft()
            for stage in self.stages:
                handler = stage.handlers.get(item.topic)
                if handler is not None:
                    table = self.tables.setdefault(stage.name, MemoryTable())
                    made = list(handler(item.record, table))
                    produced += made
                    queue.extend(one for one in made if one.dead is None)
        self.outputs += produced
        return produced
