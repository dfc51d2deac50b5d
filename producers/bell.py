"""A bell: waiting for the next time, for a stop, or for news of the schedules, whichever comes first."""

import asyncio
from contextlib import ExitStack, suppress
from typing import Final

import psycopg

from infra.db.connect import driver_connection
from infra.errors import RetryLater
from producers.schedules import CHANNEL

_LONGEST: Final = 60.0
"""Seconds; a look so often notices that the machine's clock was changed."""


class Bell:
    """Hears the notifications of the database on a connection of its own; belongs to one event loop.

    Args:
        database_url: where the schedules are.
    """

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._stack = ExitStack()
        self._connection: psycopg.Connection | None = None
        self._descriptor = -1
        self._rung = asyncio.Event()

    async def listen(self) -> None:
        """Hear what rings from now on. Call it before looking: then nothing happens unheard.

        Raises:
            RetryLater: the database is away.
        """
        if self._connection is None:
            connection = await asyncio.to_thread(self._stack.enter_context, driver_connection(self._url))
            await asyncio.to_thread(connection.execute, f"LISTEN {CHANNEL}")
            self._connection, self._descriptor = connection, connection.fileno()
            asyncio.get_running_loop().add_reader(self._descriptor, self._hear)

    async def wait(self, seconds: float, *others: asyncio.Future[bool]) -> None:
        """Wait for ``seconds``, a minute at most, until one of ``others`` is done, or until it rings.

        What rang since the last wait ended counts too.
        """
        rung: asyncio.Future[bool] = asyncio.ensure_future(self._rung.wait())
        try:
            seconds = min(max(seconds, 0.0), _LONGEST)
            await asyncio.wait({rung, *others}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            rung.cancel()
            self._rung.clear()

    def close(self) -> None:
        """Hear nothing any more."""
        if self._connection is not None:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            self._connection = None
        with suppress(RetryLater):
            self._stack.close()

    def _hear(self) -> None:
        """Take what came in; a connection that was closed rings too: its owner looks again."""
        self._rung.set()
        try:
            if self._connection is not None:
                list(self._connection.notifies(timeout=0))
        except psycopg.Error:
            self.close()
