"""Tables for a while: on disk, so that what is folded into them may be larger than memory."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from infra.engine.store import Store
from infra.engine.tables import PartitionTable


class Scratch:
    """Tables by name in one database.

    Args:
        store: of this scratch alone.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._numbers: dict[str, int] = {}
        self._tables: dict[str, PartitionTable] = {}

    def table(self, name: str) -> PartitionTable:
        """Return the table ``name``; empty at first."""
        if name not in self._tables:
            self._numbers[name] = len(self._numbers)
            self._tables[name] = PartitionTable(self._store, self._numbers[name])
        return self._tables[name]

    def fill(self, name: str, rows: Mapping[bytes, bytes | None]) -> None:
        """Write encoded entries into the table ``name``, as a changelog has them; none deletes."""
        self.table(name)
        self._store.load({self._numbers[name]: rows}, {})

    def save(self) -> None:
        """Move what was written since the last time from memory to disk."""
        rows = {self._numbers[name]: table.changes() for name, table in self._tables.items()}
        self._store.load(rows, {})
        for table in self._tables.values():
            table.forget()


@contextmanager
def scratch() -> Iterator[Scratch]:
    """Give tables in a folder for temporary files (``TMPDIR``); they go with the block."""
    with tempfile.TemporaryDirectory(prefix="rosterhub-scratch-", ignore_cleanup_errors=True) as folder:
        store = Store(Path(folder) / "tables")
        try:
            yield Scratch(store)
        finally:
            store.close()
