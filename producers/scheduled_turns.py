"""The turns of a role, as the schedules in the database have them."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Final

import structlog
from sqlalchemy import Engine

from infra.db.connect import engine
from infra.errors import RetryLater
from infra.turns import NEVER, Outcome, Work
from producers.bell import Bell
from producers.schedule_runs import BusyError, running
from producers.schedules import Default, Key, Schedule, register, upcoming

_UNNOTED_SECONDS: Final = 60.0
"""From one turn to the next while the database is away."""
_log = structlog.get_logger()


class ScheduledTurns:
    """See `infra.turns.Turns`. An asynchronous context manager.

    While the database is away, works whose times are known go on, and their runs are not noted.

    Args:
        database_url: where the schedules are.
        defaults: the schedule of each work as the settings have it.
    """

    def __init__(self, database_url: str, defaults: Sequence[Default]) -> None:
        self._url = database_url
        self._defaults = defaults
        self._keys = {default.key.target: default.key for default in defaults}
        self._is_registered = False
        self._pool: Engine = engine(database_url, pool_size=1)
        self._bell = Bell(database_url)
        self._due: dict[Work, float] = {}

    async def __aenter__(self) -> "ScheduledTurns":
        return self

    async def __aexit__(self, *_: object) -> None:
        self._bell.close()
        self._pool.dispose()

    async def seconds_to(self, work: Work) -> float:
        """See `infra.turns.Turns.seconds_to`.

        Raises:
            RetryLater: the database is away, and was so ever since the start.
        """
        try:
            await self._bell.listen()
            found = await asyncio.to_thread(self._read, self._keys[work])
        except RetryLater:
            if work not in self._due:
                raise
            return self._due[work] - time.monotonic()
        seconds = found[0].seconds_left if found else NEVER
        self._due[work] = time.monotonic() + seconds
        return seconds

    def _read(self, key: Key) -> list[Schedule]:
        if not self._is_registered:
            register(self._pool, self._defaults)
            self._is_registered = True
        return upcoming(self._pool, [key])

    async def pause(self, stop: asyncio.Event, seconds: float) -> None:
        """See `infra.turns.Turns.pause`."""
        stopping: asyncio.Future[bool] = asyncio.ensure_future(stop.wait())
        try:
            await self._bell.wait(seconds, stopping)
        finally:
            stopping.cancel()

    @asynccontextmanager
    async def take(self, work: Work) -> AsyncIterator[Outcome]:
        """See `infra.turns.Turns.take`."""
        run = running(self._url, self._pool, self._keys[work], stays_due=True)
        outcome = await self._begun(work, run)
        if outcome is None:
            yield Outcome()
            self._due[work] = time.monotonic() + _UNNOTED_SECONDS
            return
        try:
            yield outcome
        except BaseException as error:
            await asyncio.to_thread(run.__exit__, type(error), error, error.__traceback__)
            raise
        await asyncio.to_thread(run.__exit__, None, None, None)

    async def _begun(self, work: Work, run: AbstractContextManager[Outcome]) -> Outcome | None:
        """Begin ``run``; none if the database is away."""
        try:
            return await asyncio.to_thread(run.__enter__)
        except BusyError:
            raise
        except RetryLater as error:
            _log.warning("run_not_noted", target=work, reason=str(error))
            return None
