"""The projector: reads the topics and keeps the read model, each batch with its offsets in one transaction.

One projector is active at a time, others stand by. A rebuild makes another generation beside the one that is
live, while the projector goes on, and then takes its place.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import structlog
from confluent_kafka import KafkaException
from sqlalchemy import Engine

from connectors.read_model import store
from connectors.read_model.build import Busy, Progress, build
from connectors.read_model.reading import IDLE_SECONDS, ROLE, ProjectorSettings, Reader
from connectors.read_model.writing import save
from infra.db.connect import database_trouble, driver_connection, engine
from infra.db.locks import wait_for_lock
from infra.errors import RetryLater
from infra.scan import Place
from infra.telemetry import Status

__all__ = ["ProjectorSettings", "rebuild", "run_projector"]
_AGAIN_SECONDS: Final = 2.0
_GATHER_SECONDS: Final = 0.05
"""So that many records that come one by one are not as many transactions."""
_log = structlog.get_logger()


def run_projector(settings: ProjectorSettings, stop: threading.Event, status: Status) -> None:
    """Keep the read model until ``stop`` is set; blocks. Trouble of Kafka or the database is waited out."""
    while not stop.is_set():
        try:
            with driver_connection(settings.database_url) as lock:
                status.ready()  # also when standing by: there is nothing to be mended
                if not wait_for_lock(lock, stop, ROLE, waiting=status.beat):
                    return
                with _pool(settings) as pool:
                    while not stop.is_set():
                        _follow(settings, pool, stop, status)
        except (RetryLater, Busy, KafkaException) as error:
            reason = str(error.args[0])
            _log.warning("projector_waits", reason=reason)
            status.not_ready(reason)
            stop.wait(_AGAIN_SECONDS)


def rebuild(settings: ProjectorSettings, progress: Progress) -> int:
    """Build the read model anew beside the one that is live, then take its place.

    Args:
        settings: as of the projector.
        progress: told how many offsets were read, of how many.

    Returns:
        The number of offsets read.

    Raises:
        HubError: another rebuild is running.
        RetryLater: Kafka or the database is away; the one that was live still is.
    """
    with _pool(settings) as pool:
        return build(settings, pool, progress, threading.Event()) or 0


@contextmanager
def _pool(settings: ProjectorSettings) -> Iterator[Engine]:
    made = engine(settings.database_url, pool_size=1)
    try:
        yield made
    finally:
        made.dispose()


def _follow(settings: ProjectorSettings, pool: Engine, stop: threading.Event, status: Status) -> None:
    """Keep the generation that is live now, until another one is."""
    opened = _opened(settings, pool)
    if opened is None:
        _log.info("read_model_is_of_another_release")
        status.not_ready("the read model is being built anew")
        build(settings, pool, lambda _done, _total: status.beat(), stop)
        return
    generation, positions, numbers = opened
    with Reader(settings, positions, numbers) as reader:
        while not stop.is_set():
            status.beat()
            if status.paused.is_set():
                stop.wait(IDLE_SECONDS)
                continue
            batch = reader.take(_GATHER_SECONDS)
            if not save(pool, generation, batch.rows, batch.read, live=True):
                return
            status.ready()


def _opened(
    settings: ProjectorSettings, pool: Engine
) -> tuple[int, Mapping[Place, int], Mapping[str, int]] | None:
    """Return the generation that is live, how far it was read, and the numbers of the topics in its history.

    It is made first if there is none. If it is of another layout, the answer is none.
    """
    with database_trouble(), pool.begin() as connection:
        generation = store.live(connection)
        if generation is None:
            generation = store.make(connection)
            for _ in store.finish(connection, generation):
                pass
            store.switch(connection, generation)
        if not store.is_current(connection, generation):
            return None
        positions = store.positions(connection, generation)
        return generation, positions, store.topic_numbers(connection, generation, settings.kept)
