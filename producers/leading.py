"""Roles of which one process works while others stand by: whoever holds a lock in the database."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Final

import psycopg
import structlog

from infra.db.connect import driver_connection
from infra.db.locks import unlock, wait_for_lock
from infra.errors import HubError
from infra.stopping import mirrored, pause
from infra.telemetry import Status

AGAIN_SECONDS: Final = 5.0
_BEAT_SECONDS: Final = 1.0
_log = structlog.get_logger()

Work = Callable[[psycopg.Connection, asyncio.Event], Awaitable[None]]
"""Works until the event is set, or raises `HubError`; with the connection the lock is lost."""


async def lead(
    role: str,
    database_url: str,
    stop: threading.Event,
    status: Status,
    work: Work,
    again_seconds: float = AGAIN_SECONDS,
) -> None:
    """Have ``work`` done until ``stop`` is set, by one process of ``role`` at a time.

    Args:
        role: name of the lock.
        database_url: of the hub's database.
        stop: ends it.
        status: is told why it waits, and beats all the time.
        work: what the leader does.
        again_seconds: to the next try after trouble.
    """
    stopping = mirrored(stop)
    life = asyncio.create_task(show_life(status))
    try:
        while not stopping.is_set():
            try:
                with ExitStack() as stack:
                    opened = driver_connection(database_url)
                    connection = await asyncio.to_thread(stack.enter_context, opened)
                    status.ready()  # also when standing by: there is nothing to be mended
                    waiting = asyncio.to_thread(wait_for_lock, connection, stop, role, waiting=status.beat)
                    if await waiting:
                        stack.callback(unlock, connection, role)
                        await work(connection, stopping)
            except HubError as error:
                _log.warning("leader_waits", role=role, reason=str(error))
                status.not_ready(str(error))
                await pause(stopping, again_seconds)
    finally:
        life.cancel()


async def show_life(status: Status) -> None:
    """Beat while the loop turns: one step of the work may take longer than a process may be silent."""
    while True:
        status.beat()
        await asyncio.sleep(_BEAT_SECONDS)
