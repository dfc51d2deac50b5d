"""A small in-memory database: rows that never change in place, indexes, transactions and a redo log."""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

R = TypeVar("R")

Key = tuple[Any, ...]
"""Primary key; always a tuple, so that it survives JSON."""


class Table(Generic[R]):
    """Rows by key, in the order they were first stored, with look-ups by indexed values.

    Args:
        name: used in the redo log.
        row_type: an immutable `msgspec.Struct`.
        key: gives a row's primary key.
        indexes: name -> function giving the indexed value of a row.
    """

    def __init__(
        self,
        name: str,
        row_type: type[R],
        key: Callable[[R], Key],
        indexes: dict[str, Callable[[R], Hashable]] | None = None,
    ) -> None:
        self.name = name
        self.row_type = row_type
        self.key = key
        self.rows: dict[Key, R] = {}
        self.version = 0
        self._functions = indexes or {}
        self._indexes: dict[str, dict[Hashable, dict[Key, None]]] = {name: {} for name in self._functions}

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[R]:
        return iter(self.rows.values())

    def get(self, *key: object) -> R | None:
        """The row with this primary key, if there is one."""
        return self.rows.get(key)

    def find(self, index: str, value: Hashable) -> list[R]:
        """Rows whose indexed value is `value`, oldest first."""
        return [self.rows[key] for key in self._indexes[index].get(value, ())]

    def count(self, index: str, value: Hashable) -> int:
        """How many rows have this indexed value."""
        return len(self._indexes[index].get(value, ()))

    def set(self, key: Key, row: R | None) -> R | None:
        """Store a row, or remove it (None); gives what was there before."""
        old = self.rows.get(key)
        self.version += 1
        for name, function in self._functions.items():
            self._reindex(self._indexes[name], key, old and function(old), row and function(row), old, row)
        if row is None:
            self.rows.pop(key, None)
        else:
            self.rows[key] = row
        return old

    @staticmethod
    def _reindex(
        index: dict[Hashable, dict[Key, None]],
        key: Key,
        before: Hashable,
        after: Hashable,
        old: R | None,
        new: R | None,
    ) -> None:
        if old is not None and (new is None or before != after):
            bucket = index[before]
            del bucket[key]
            if not bucket:
                del index[before]
        if new is not None and (old is None or before != after):
            index.setdefault(after, {})[key] = None


Change = tuple[str, Key, Any]
"""Table, key and the new row (None: removed)."""


class Database:
    """Tables, sequences and nested transactions; a committed transaction is handed to `on_commit` at once."""

    def __init__(self, tables: list[Table[Any]]) -> None:
        self.tables = {table.name: table for table in tables}
        self.sequences: dict[str, int] = {}
        self.on_commit: Callable[[list[Change]], None] | None = None
        self._before: list[dict[tuple[str, Key], Any]] = []

    def next_id(self, sequence: str) -> int:
        """A new id. As in PostgreSQL, a rolled-back transaction does not give it back."""
        self.sequences[sequence] = value = self.sequences.get(sequence, 0) + 1
        return value

    def put(self, table: Table[R], row: R) -> R:
        """Store a row within the current transaction."""
        self._set(table, table.key(row), row)
        return row

    def delete(self, table: Table[Any], *key: object) -> None:
        """Remove a row within the current transaction."""
        self._set(table, key, None)

    def _set(self, table: Table[Any], key: Key, row: Any) -> None:
        old = table.set(key, row)
        self._before[-1].setdefault((table.name, key), old)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; an inner transaction is a savepoint of the outer one."""
        before: dict[tuple[str, Key], Any] = {}
        self._before.append(before)
        try:
            yield
        except BaseException:
            for (name, key), row in reversed(before.items()):
                self.tables[name].set(key, row)
            raise
        else:
            self._merge(before)
        finally:
            self._before.pop()

    def _merge(self, before: dict[tuple[str, Key], Any]) -> None:
        if len(self._before) > 1:
            for change, row in before.items():
                self._before[-2].setdefault(change, row)
        elif before and self.on_commit is not None:
            self.on_commit([(name, key, self.tables[name].get(*key)) for name, key in before])
