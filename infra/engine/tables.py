"""The table of one partition, as handlers see it: what is committed, under what their batch has written."""

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec

from infra.engine.store import Store, prefix_of

S = TypeVar("S", bound=msgspec.Struct)

_encode = msgspec.msgpack.Encoder().encode
_decoders: dict[type[Any], Any] = {}
_ABSENT: Any = object()
_FEW = 8
"""New keys that are put among the sorted ones singly; more are sorted together."""


def _decode(value: bytes, kind: type[S]) -> S:
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.msgpack.Decoder(kind)
    entry: S = decoder.decode(value)
    return entry


class PartitionTable:
    """A `infra.stage.Table` over the rows of one partition in ``store``.

    Writes stay in memory until the engine has committed them (`changes`, `forget`). Those since the last
    `mark` can be taken back.
    """

    def __init__(self, store: Store, partition: int) -> None:
        self._store = store
        self._partition = partition
        self._prefix = prefix_of(partition)
        self._writes: dict[str, msgspec.Struct | None] = {}
        self._sorted: list[str] = []
        self._unsorted: list[str] = []
        self._before: list[tuple[str, Any]] = []

    def get(self, key: str, kind: type[S]) -> S | None:
        """Return the entry at ``key``, or none."""
        written = self._writes.get(key, _ABSENT)
        if written is _ABSENT:
            value = self._store.get(self._prefix + key.encode())
            return None if value is None else _decode(value, kind)
        return _as(written, kind)

    def put(self, key: str, value: msgspec.Struct) -> None:
        """Write the entry at ``key``."""
        self._write(key, value)

    def delete(self, key: str) -> None:
        """Remove the entry at ``key``; it need not exist."""
        self._write(key, None)

    def _write(self, key: str, value: msgspec.Struct | None) -> None:
        before = self._writes.get(key, _ABSENT)
        self._before.append((key, before))
        if before is _ABSENT:
            self._unsorted.append(key)
        self._writes[key] = value

    def scan(self, prefix: str, kind: type[S]) -> Iterator[tuple[str, S]]:
        """Return the entries whose key begins with ``prefix``, as they are now, in the order of the keys."""
        self._sort()
        start = bisect_left(self._sorted, prefix)
        end = bisect_left(self._sorted, prefix + "\U0010ffff", start)
        written = [(key, self._writes[key]) for key in self._sorted[start:end]]
        return _merge(self._store.rows(self._partition, prefix.encode()), written, kind)

    def _sort(self) -> None:
        """Put the keys that were first written since the last scan in their places."""
        if len(self._unsorted) > _FEW:
            self._sorted += self._unsorted
            self._sorted.sort()
        else:
            for key in self._unsorted:
                insort(self._sorted, key)
        self._unsorted.clear()

    def mark(self) -> None:
        """Keep what was written so far, whatever happens to the next record."""
        self._before.clear()

    def undo(self) -> None:
        """Take back what was written since the last `mark`."""
        for key, before in reversed(self._before):
            if before is _ABSENT:
                del self._writes[key]
                self._sort()
                del self._sorted[bisect_left(self._sorted, key)]
            else:
                self._writes[key] = before
        self._before.clear()

    def changes(self) -> dict[bytes, bytes | None]:
        """Return the last value written to each key, encoded; none where it was deleted."""
        return {
            key.encode(): None if value is None else _encode(value) for key, value in self._writes.items()
        }

    def forget(self) -> None:
        """Drop all writes: they were committed, or their transaction was aborted."""
        self._writes.clear()
        self._sorted.clear()
        self._unsorted.clear()
        self._before.clear()


def _as(entry: msgspec.Struct | None, kind: type[S]) -> S | None:
    if entry is None or isinstance(entry, kind):
        return entry
    return _decode(_encode(entry), kind)


def _merge(
    rows: Iterator[tuple[bytes, bytes]], written: list[tuple[str, msgspec.Struct | None]], kind: type[S]
) -> Iterator[tuple[str, S]]:
    waiting = iter(written)
    key, entry = next(waiting, (None, None))
    for row, value in rows:
        stored = row.decode()
        while key is not None and key < stored:
            if (found := _as(entry, kind)) is not None:
                yield key, found
            key, entry = next(waiting, (None, None))
        if key == stored:
            continue  # overwritten: yielded, or left out, at its turn
        yield stored, _decode(value, kind)
    while key is not None:
        if (found := _as(entry, kind)) is not None:
            yield key, found
        key, entry = next(waiting, (None, None))
