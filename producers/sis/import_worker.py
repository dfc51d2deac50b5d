"""The processes that take the batches of an import: a row costs more of Python than of PostgreSQL."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from multiprocessing.connection import wait
from typing import Final, NamedTuple

from sqlalchemy import Connection

from infra import collector, logs
from infra.db.connect import engine
from infra.errors import HubError
from producers import runs
from producers.candidates import Answer, Status, Tally, tally
from producers.intake import Intake
from producers.sis.records import Record, Refused
from producers.sis.rules import Rules
from producers.sis.taking import SisIntake

Pool = ProcessPoolExecutor
_LEFT_OUT: Final = (Status.INVALID, Status.ERROR, Status.SKIPPED)


@dataclass(frozen=True, slots=True)
class Address:
    """Where records are taken, and how they are read."""

    database_url: str
    rules: Rules


class Taken(NamedTuple):
    """What became of a batch: the counts, and the answers that need a word, by place."""

    counts: Tally
    left_out: list[tuple[int, Answer]]


def summary(answers: Sequence[Answer]) -> Taken:
    """Return what the importer needs to know of ``answers``."""
    left_out = [(place, answer) for place, answer in enumerate(answers) if answer.status in _LEFT_OUT]
    return Taken(tally(answers), left_out)


@contextmanager
def pool_of(size: int, address: Address) -> Iterator[Pool]:
    """Give ``size`` processes for `take`; they end with the block, or with this process."""
    # Not forked: other threads of this process may hold locks.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(size, context, initializer=_begin, initargs=(address,)) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def outcome_of(done: Future[Taken]) -> Taken:
    """Return what became of a batch.

    Raises:
        HubError: the process that took it has ended.
        RetryLater: the database is away.
    """
    try:
        return done.result()
    except BrokenProcessPool:
        raise HubError("a process of the import ended before its time; import again") from None


_sis: SisIntake


def take(records: Sequence[Record | Refused], received_at: datetime, run_id: int) -> Taken:
    """Take a batch in one transaction with its share of the run record. Runs in a process of the pool."""

    def also(connection: Connection, answers: Sequence[Answer]) -> None:
        runs.progress(connection, run_id, tally(answers))

    return summary(_sis.take(records, received_at, also))


def _begin(address: Address) -> None:
    """Make a process of the pool ready."""
    global _sis
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the importer ends the pool
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logs.configure("WARNING", "json", role="import", slot="0")
    _sis = SisIntake(Intake(engine(address.database_url, pool_size=2)), address.rules)
    collector.calm()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
