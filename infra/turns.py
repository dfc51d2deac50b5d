"""Turns: when the works that a role does again and again are due, and the note of what came of each.

A role asks for its turns and does not know who decides: plain intervals, or the schedules in the database.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

from infra.stopping import pause


class Work(StrEnum):
    """What is done at times of its own."""

    COURSE_CATALOG = "COURSE_CATALOG"
    USER_DIRECTORY = "USER_DIRECTORY"
    ENROLLMENTS = "ENROLLMENTS"
    COMPLETIONS = "COMPLETIONS"
    GRADES = "GRADES"
    ELM = "ELM"
    SIS = "SIS"
    ZOHO = "ZOHO"
    RECONCILE = "RECONCILE"
    CLEANUP = "CLEANUP"


NEVER: Final = math.inf
"""Seconds to a turn that does not come as things stand."""
ASKED: Final = -math.inf
"""Seconds to a turn that somebody has asked for."""


@dataclass(slots=True)
class Outcome:
    """What came of a turn; filled by whoever does the work.

    Attributes:
        counts: what was done, by name.
        failed: reason of a failure that raised nothing; without personal data.
    """

    counts: dict[str, int] = field(default_factory=dict)
    failed: str | None = None


class Turns(Protocol):
    """The turns of one role."""

    async def seconds_to(self, work: Work) -> float:
        """Return the seconds until ``work`` is due: none or fewer if it is, `ASKED` if it is asked for."""

    async def pause(self, stop: asyncio.Event, seconds: float) -> None:
        """Wait for ``seconds``, or until ``stop`` is set or turns may have changed."""

    def take(self, work: Work) -> AbstractAsyncContextManager[Outcome]:
        """Note that ``work`` is done while the block runs, and how it ended.

        After a failure it is due again at once: the role has its own patience.

        Raises:
            RetryLater: another process is at it.
        """


class Intervals:
    """Turns at fixed intervals, counted from start to start; the first is due at once.

    Args:
        seconds: the interval of each work.
    """

    def __init__(self, seconds: Mapping[Work, float]) -> None:
        self._seconds = seconds
        self._due = dict.fromkeys(seconds, 0.0)

    async def seconds_to(self, work: Work) -> float:
        """See `Turns.seconds_to`."""
        return self._due[work] - time.monotonic()

    async def pause(self, stop: asyncio.Event, seconds: float) -> None:
        """See `Turns.pause`."""
        await pause(stop, seconds)

    @asynccontextmanager
    async def take(self, work: Work) -> AsyncIterator[Outcome]:
        """See `Turns.take`."""
        began, outcome = time.monotonic(), Outcome()
        yield outcome
        if outcome.failed is None:
            self._due[work] = began + self._seconds[work]
