"""A sink as a process, which notes what it writes in a file: `python -m tests.faults.sink_worker JSON`."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from infra.engine import SinkConfig, Written, run_sink
from infra.stage import Output
from infra.telemetry import Status, serve_status
from schemas.events import Person
from schemas.topics import DEAD_LETTERS, PEOPLE
from tests.faults import counting
from tests.faults.worker import config_of

NAME = "noting"


class NotingSink:
    """Appends the ids of a batch to a file, takes a moment, and answers."""

    def __init__(self, prefix: str, notes: Path) -> None:
        self.name = NAME
        self.input = PEOPLE.prefixed(prefix)
        self.outputs = (counting.output(prefix),)
        self.dead_letters = DEAD_LETTERS.prefixed(prefix)
        self._notes = notes

    async def open(self) -> None:
        """Nothing to open."""

    async def write(self, records: Sequence[Person]) -> Written:
        with self._notes.open("a") as notes:
            notes.writelines(f"{record.version_sequence}\n" for record in records)
        await asyncio.sleep(0.15)
        outputs = [
            Output(self.outputs[0], counting.result("people", record.person_id, record.version_sequence))
            for record in records
        ]
        return Written(outputs, {}, range(len(records)))

    async def close(self) -> None:
        """Nothing to close."""


def main() -> int:
    settings = json.loads(sys.argv[1])
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    sink = NotingSink(settings["prefix"], Path(settings["notes"]))
    limits = SinkConfig(batch_size=50, linger_seconds=0.02)
    status = Status(sink.name)
    with serve_status(status) as port:
        Path(settings["port_file"]).write_text(str(port))
        run_sink(sink, config_of(settings), stop, limits, status)
    return 0


if __name__ == "__main__":
    sys.exit(main())
