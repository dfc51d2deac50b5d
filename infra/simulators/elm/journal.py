"""What was added to the ELM stand-in while it ran, kept as JSON lines across restarts.

The seeded records are not written: the same seed makes them again.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from infra.simulators.elm.table import Record


class Entry(msgspec.Struct, frozen=True):
    """One line: a feed record that was appended, or a completion that was posted."""

    kind: Literal["record", "completion"]
    data: Record


class Journal:
    """An append-only file; every line is handed to the system before the answer is given."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def entries(self) -> Iterator[Entry]:
        """Give the lines in order; a last line cut off by a kill is removed, it was never answered.

        Raises:
            msgspec.DecodeError: A complete line is not an entry; the file is not ours.
        """
        if not self._path.exists():
            return
        content = self._path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            self._path.write_bytes(whole)
        for line in whole.splitlines():
            yield msgspec.json.decode(line, type=Entry)

    def add(self, kind: Literal["record", "completion"], records: Iterable[Record]) -> None:
        """Write the records behind what is there."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            file.writelines(msgspec.json.encode(Entry(kind, record)) + b"\n" for record in records)

    def clear(self) -> None:
        """Forget everything that was added."""
        self._path.unlink(missing_ok=True)
