"""Threads of its own for work that blocks: however long that takes, who brings records never waits for it."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class Threads:
    """Does some works at the same time; others wait for their turn."""

    def __init__(self, name: str, count: int) -> None:
        """Do at most ``count`` works at the same time."""
        self._pool = ThreadPoolExecutor(count, thread_name_prefix=name)

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Return what ``work`` gives."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)
