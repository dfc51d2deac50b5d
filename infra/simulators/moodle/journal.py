"""Keeps the simulated site on disk: a redo log of committed rows, compacted when it is opened."""

from pathlib import Path
from typing import IO, Any

import msgspec

from infra.simulators.moodle.state import MoodleState
from infra.simulators.moodle.tables import Change


class _Line(msgspec.Struct):
    rows: list[tuple[str, tuple[Any, ...], Any]]
    sequences: dict[str, int]


class Journal:
    """Append-only JSON lines: what was answered as done is on disk, also after `kill -9` of the process.

    Args:
        path: the file; made if there is none. A half-written last line is dropped.
        state: the site, which is loaded from the file and from then on recorded.
    """

    def __init__(self, path: Path, state: MoodleState) -> None:
        self._state = state
        self._encoder = msgspec.json.Encoder()
        if path.exists():
            self._load(path)
        self._file = self._compacted(path)
        state.on_commit = self._append

    def close(self) -> None:
        """Stop recording and close the file."""
        self._state.on_commit = None
        self._file.close()

    def _load(self, path: Path) -> None:
        for table in self._state.tables.values():
            for key in list(table.rows):
                table.set(key, None)
        decoder = msgspec.json.Decoder(_Line)
        with path.open("rb") as file:
            for text in file:
                if not text.endswith(b"\n"):
                    break
                line = decoder.decode(text)
                self._state.sequences.update(line.sequences)
                for name, key, row in line.rows:
                    table = self._state.tables[name]
                    table.set(key, None if row is None else msgspec.convert(row, table.row_type))

    def _compacted(self, path: Path) -> IO[bytes]:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        file = fresh.open("wb")
        for table in self._state.tables.values():
            rows = [(table.name, key, row) for key, row in table.rows.items()]
            for start in range(0, len(rows), 1000):
                file.write(self._line(rows[start : start + 1000]))
        file.flush()
        fresh.replace(path)
        return file

    def _line(self, changes: list[Change]) -> bytes:
        return self._encoder.encode(_Line(changes, self._state.sequences)) + b"\n"

    def _append(self, changes: list[Change]) -> None:
        self._file.write(self._line(changes))
        self._file.flush()
