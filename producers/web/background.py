"""Work that goes on beside the requests for as long as the application runs."""

import asyncio
from collections.abc import AsyncIterator, Callable

import structlog
from aiohttp import web

from infra.errors import RetryLater
from infra.stopping import pause

_log = structlog.get_logger()

Background = Callable[[web.Application], AsyncIterator[None]]
"""Begins the work, yields once, and ends it: a cleanup context of aiohttp."""


def repeating(name: str, seconds: float, work: Callable[[web.Application], object]) -> Background:
    """Return what calls ``work`` in a thread at the start and then at an interval.

    Args:
        name: for logs.
        seconds: from the end of one call to the next.
        work: may raise `RetryLater`: then it is called again after the interval.
    """

    async def repeat(app: web.Application, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await asyncio.to_thread(work, app)
            except RetryLater as error:
                _log.warning("background_waits", work=name, reason=str(error))
            await pause(stop, seconds)

    async def context(app: web.Application) -> AsyncIterator[None]:
        stop = asyncio.Event()
        task = asyncio.create_task(repeat(app, stop), name=name)
        task.add_done_callback(_tell)
        yield
        stop.set()  # a call that runs is waited for: its thread holds a connection
        await asyncio.gather(task, return_exceptions=True)

    return context


def _tell(task: asyncio.Task[None]) -> None:
    """Say when work has ended that should go on; the requests are answered all the same."""
    if not task.cancelled() and (error := task.exception()):
        _log.error("background_ended", work=task.get_name(), fault=type(error).__name__)
