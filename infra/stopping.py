"""Asynchronous work that ends when its process is told to stop."""

import asyncio
import threading
from collections.abc import Awaitable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


class StoppedError(Exception):
    """The stop came before the work was done."""


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Wait for ``seconds``, or until ``stop`` is set."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), max(0.0, seconds))


async def unless(stop: asyncio.Event, work: Awaitable[T]) -> T:
    """Return what ``work`` gives; it is cancelled when ``stop`` is set first.

    Raises:
        StoppedError: ``stop`` was set first.
    """
    task = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise StoppedError
        return task.result()
    finally:
        task.cancel()
        stopping.cancel()


def mirrored(stop: threading.Event) -> asyncio.Event:
    """Return an event of the running loop that is set when ``stop`` is, which signals set."""
    loop, event = asyncio.get_running_loop(), asyncio.Event()

    def wait() -> None:
        stop.wait()
        with suppress(RuntimeError):  # the loop has ended before
            loop.call_soon_threadsafe(event.set)

    threading.Thread(target=wait, name="stop", daemon=True).start()
    return event
