"""The processes that take the batches of an import: a row costs more of Python than of PostgreSQL.

Each is a child with two pipes: it gets batches and answers them, one by one, and ends with its importer.
"""

import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from queue import SimpleQueue
from typing import IO, Final

import msgspec
from sqlalchemy import Connection

from infra import collector, logs
from infra.db.connect import database_trouble, engine, raw
from infra.errors import HubError, RetryLater
from producers import runs
from producers.candidates import Answer, Status, Tally, tally
from producers.intake import Intake
from producers.sis.records import Record, Refused
from producers.sis.rules import Rules
from producers.sis.taking import SisIntake

_LEFT_OUT: Final = (Status.INVALID, Status.ERROR, Status.SKIPPED)
_LENGTH: Final = 8
_END_SECONDS: Final = 10.0
_PARKED: Final = """
    SELECT kind, record_id FROM parked_records
    WHERE tenant = %s AND source = %s AND kind = %s AND record_id = ANY(%s)
"""


@dataclass(frozen=True, slots=True)
class Address:
    """Where records are taken, how they are read, and which run they count for."""

    database_url: str
    rules: Rules
    run_id: int


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """Records received together; those refused stand apart, by their place."""

    received_at: datetime
    records: list[Record | None]
    refused: dict[int, Refused]


class Taken(msgspec.Struct, frozen=True, array_like=True):
    """What became of a batch.

    Attributes:
        counts: of its answers, in the order of `Tally`.
        left_out: the answers that need a word, by place.
        trouble: why nothing was taken; empty if it was.
    """

    counts: tuple[int, ...] = ()
    left_out: list[tuple[int, Answer]] = []
    trouble: str = ""

    @property
    def tally(self) -> Tally:
        """The counts."""
        return Tally(*self.counts)


def batch_of(records: Sequence[Record | Refused], received_at: datetime) -> Batch:
    """Return ``records`` as one batch."""
    return Batch(
        received_at,
        [each if isinstance(each, Record) else None for each in records],
        {place: each for place, each in enumerate(records) if isinstance(each, Refused)},
    )


def summary(answers: Sequence[Answer]) -> Taken:
    """Return what the importer needs to know of ``answers``."""
    left_out = [(place, answer) for place, answer in enumerate(answers) if answer.status in _LEFT_OUT]
    return Taken(tally(answers), left_out)


class Pool:
    """The processes, each fed by a thread of its own."""

    def __init__(self, workers: Sequence["subprocess.Popen[bytes]"], threads: ThreadPoolExecutor) -> None:
        self._idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        for worker in workers:
            self._idle.put(worker)
        self._threads = threads

    def submit(self, batch: Batch) -> Future[Taken]:
        """Let the next free process take ``batch``; see `outcome_of`."""
        return self._threads.submit(self._ask, batch)

    def _ask(self, batch: Batch) -> Taken:
        worker = self._idle.get()
        try:
            return _asked(worker, msgspec.msgpack.encode(batch))
        finally:
            self._idle.put(worker)


@contextmanager
def pool_of(size: int, address: Address) -> Iterator[Pool]:
    """Give ``size`` processes; they end with the block, or with this process."""
    with ExitStack() as stack:
        workers = [_started(stack, address) for _ in range(size)]
        yield Pool(workers, stack.enter_context(ThreadPoolExecutor(size)))


def _started(stack: ExitStack, address: Address) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", __name__]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 - our own module
    stack.callback(_end, worker)
    _send(worker.stdin, pickle.dumps(address))
    return worker


def _end(worker: "subprocess.Popen[bytes]") -> None:
    """Close the pipes, which ends the process when it has done its batch."""
    for pipe in (worker.stdin, worker.stdout):
        if pipe is not None:
            pipe.close()
    try:
        worker.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()


def _asked(worker: "subprocess.Popen[bytes]", request: bytes) -> Taken:
    try:
        _send(worker.stdin, request)
        answer = _receive(worker.stdout)
    except BrokenPipeError:
        answer = None
    if answer is None:
        raise HubError("a process of the import ended before its time; import again")
    return settled(msgspec.msgpack.decode(answer, type=Taken))


def settled(taken: Taken) -> Taken:
    """Return ``taken`` if the batch was taken.

    Raises:
        RetryLater: it was not: the database is away.
    """
    if taken.trouble:
        raise RetryLater(taken.trouble)
    return taken


def _send(pipe: IO[bytes] | None, frame: bytes) -> None:
    if pipe is not None:
        pipe.write(len(frame).to_bytes(_LENGTH, "big") + frame)
        pipe.flush()


def _receive(pipe: IO[bytes] | None) -> bytes | None:
    """Return the next frame, or none when the other side has gone."""
    head = pipe.read(_LENGTH) if pipe is not None else b""
    size = int.from_bytes(head, "big")
    frame = pipe.read(size) if pipe is not None and len(head) == _LENGTH else b""
    return frame if head and len(frame) == size else None


def main() -> None:
    """Take batches until the importer closes the pipe. Runs in the child."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the importer ends it
    logs.configure("WARNING", "json", role="import", slot="0")
    wanted, given = sys.stdin.buffer, sys.stdout.buffer
    first = _receive(wanted)
    if first is None:
        return
    address: Address = pickle.loads(first)  # noqa: S301 - made by the importer
    pool = engine(address.database_url, pool_size=2)
    sis = SisIntake(Intake(pool), address.rules)
    collector.calm()
    while (request := _receive(wanted)) is not None:
        taken = take(sis, msgspec.msgpack.decode(request, type=Batch), address.run_id)
        _send(given, msgspec.msgpack.encode(taken))
    pool.dispose()


def take(sis: SisIntake, batch: Batch, run_id: int) -> Taken:
    """Take a batch in one transaction with its share of the run record."""

    def also(connection: Connection, answers: Sequence[Answer]) -> None:
        runs.progress(connection, run_id, tally(answers))

    try:
        return summary(sis.take(_undated(sis, batch), batch.received_at, also))
    except RetryLater as error:
        return Taken(trouble=str(error))


def _undated(sis: SisIntake, batch: Batch) -> list[Record | Refused]:
    """Mark the records that have no time of their own, so that what is known already costs only a look-up.

    Those that wait are left as they are: what comes now must replace what waits.
    """
    plain = [each for each in batch.records if each is not None and each.time == batch.received_at]
    waiting = _waiting(sis, plain)
    return [
        batch.refused[place]
        if each is None
        else msgspec.structs.replace(each, undated=True)
        if each.time == batch.received_at and (each.kind, each.id) not in waiting
        else each
        for place, each in enumerate(batch.records)
    ]


def _waiting(sis: SisIntake, records: Sequence[Record]) -> set[tuple[str, str]]:
    if not records:
        return set()
    origin, kind = sis.origin, records[0].kind
    with database_trouble(), sis.engine.connect() as connection:
        names = [each.id for each in records]
        found = raw(connection).execute(_PARKED, [origin.tenant, origin.source, kind, names])
        return set(found.fetchall())


if __name__ == "__main__":
    main()
