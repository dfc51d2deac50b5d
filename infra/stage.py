"""What a processing stage is: pure handlers over a table, tested as lists in and lists out.

A stage folds the records of its input topics, partition by partition, into a table and returns what is to be
produced. It does no I/O and reads no clock; the engine makes state, outputs and offsets one transaction.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec

from infra.errors import Rejected
from schemas.topics import Record, Topic

S = TypeVar("S", bound=msgspec.Struct)


class Table(Protocol):
    """The table of one partition. What a handler writes it reads back at once.

    Keys are text that begins with the kind of entry, a bar, and the tenant, such as
    ``waiting|tenant|course|person``. Values are frozen `msgspec.Struct` types. Changelogs keep them for
    ever, as arrays where speed matters: a field may be appended with a default, never moved or removed.
    """

    def get(self, key: str, kind: type[S]) -> S | None:
        """Return the entry at ``key``, or none."""

    def put(self, key: str, value: msgspec.Struct) -> None:
        """Write the entry at ``key``."""

    def delete(self, key: str) -> None:
        """Remove the entry at ``key``; it need not exist."""

    def scan(self, prefix: str, kind: type[S]) -> Iterator[tuple[str, S]]:
        """Yield the entries whose key begins with ``prefix``, in the order of the keys.

        The handler may write while it iterates; the iteration shows the entries as they were at its start.
        """


class Output(NamedTuple):
    """A record to be produced.

    Attributes:
        topic: where to.
        record: of the topic's type.
        dead: why it becomes a dead letter instead, from which a redrive takes it to ``topic``; only for a
            record whose key is of the partition at hand.
    """

    topic: Topic
    record: Record
    dead: Rejected | None = None


Handler = Callable[[Any, Table], Iterable[Output]]
"""Takes one record of the topic's type, and the table of its partition."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of the topology.

    Attributes:
        name: also the name of its consumer group, its changelog and its state folder.
        handlers: what is done with a record, by input topic; all inputs have the same number of partitions.
        outputs: the topics that the handlers may produce to.
    """

    name: str
    handlers: Mapping[Topic, Handler]
    outputs: tuple[Topic, ...]
