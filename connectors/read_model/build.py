"""Builds a generation of the read model from the beginning of the topics, beside the one that is live.

While one batch is written, the next is read: the one is PostgreSQL's work, the other ours.
"""

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Engine

from connectors.read_model import store
from connectors.read_model.reading import ROLE, ProjectorSettings, Reader
from connectors.read_model.writing import save
from infra.db.connect import database_trouble, driver_connection
from infra.db.locks import try_lock
from infra.errors import HubError

_TURN_SECONDS: Final = 0.0005
_GATHER_SECONDS: Final = 0.5
Progress = Callable[[int, int], None]
"""Told how many offsets were read, of how many."""


class Busy(HubError):
    """Another process builds the read model."""


def build(settings: ProjectorSettings, pool: Engine, progress: Progress, stop: threading.Event) -> int | None:
    """Build a generation and let everybody read it; return the number of offsets read, none if stopped.

    Raises:
        Busy: another process builds one.
        RetryLater: Kafka or the database is away; the generation that was live still is.
    """
    with driver_connection(settings.database_url) as lock:
        if not try_lock(lock, ROLE, "rebuild"):
            raise Busy("another rebuild is running")
        with database_trouble(), pool.begin() as connection:
            store.drop_all_but(connection, store.live(connection))
            generation = store.make(connection)
            numbers = store.topic_numbers(connection, generation, settings.kept)
        with Reader(settings, {}, numbers) as reader:
            _fill(pool, generation, reader, progress, stop)
            if stop.is_set():
                return None
            with database_trouble(), pool.begin() as connection:
                for _ in store.finish(connection, generation):
                    progress(reader.done, reader.total)
            with database_trouble(), pool.begin() as connection:
                store.take_over(connection, generation)
                store.switch(connection, generation)
            return reader.done


@contextmanager
def _short_turns() -> Iterator[None]:
    """Let threads take turns more often.

    The writer mostly waits for PostgreSQL. With each answer it would have to wait 5 ms more (Python's
    default) for the reader to let go of the interpreter.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(_TURN_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def _fill(pool: Engine, generation: int, reader: Reader, progress: Progress, stop: threading.Event) -> None:
    written: Future[bool] | None = None
    with _short_turns(), ThreadPoolExecutor(1) as writer:
        while not reader.is_at_end and not stop.is_set():
            batch = reader.take(_GATHER_SECONDS)
            if written:
                written.result()
            written = writer.submit(save, pool, generation, batch.rows, batch.read, live=False)
            progress(reader.done, reader.total)
        if written:
            written.result()
