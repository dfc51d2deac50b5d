"""Work of many requests made few transactions.

A commit costs the same for one record as for hundreds, so requests of one origin and kind that wait at the
same time are taken together. Transactions run in threads; while they do, more requests gather. A batch is
handed in by chunks, one after the other, so small requests pass between two chunks of a large one.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, NamedTuple

from sqlalchemy import Connection

from infra import tracing
from infra.errors import RetryLater
from producers.candidates import Answer, Origin
from producers.intake import Also, nothing
from producers.web.problems import unavailable

Take = Callable[[Sequence[object], Also], list[Answer]]
"""Takes records in, in one transaction that also runs the other argument; one answer each, in order."""

LANES: Final = 2
"""Transactions of one origin and kind at once: one is prepared while the other's commit is awaited."""
BULK: Final = 50
"""A transaction of so many records is worth another beside it; smaller ones are better joined."""
GATHER_SECONDS: Final = 0.001
"""So long a transaction waits for the clients that have just been answered, if there were several."""


@dataclass(frozen=True, slots=True)
class Work:
    """Records of one request, and how records of their kind are taken in.

    Attributes:
        origin: tenant and source.
        kind: with ``origin`` says which requests may be joined: ``take`` of one must do for all of them.
        take: called in a thread, perhaps with the records of other requests beside these, and perhaps again.
        records: as they came.
    """

    origin: Origin
    kind: str
    take: Take
    records: Sequence[object]

    def chunks(self, size: int) -> Iterator["Work"]:
        """Yield the work in parts of at most ``size`` records; at least one part."""
        if len(self.records) <= size:
            yield self
            return
        for first in range(0, len(self.records), size):
            yield replace(self, records=self.records[first : first + size])


class _Job(NamedTuple):
    """Work that waits, and who waits for it."""

    work: Work
    also: Also
    done: asyncio.Future[list[Answer]]
    traceparent: str | None


Outcome = list[Answer] | Exception
_Group = tuple[Origin, str]


@dataclass(slots=True)
class _Line:
    """What waits and runs of one group.

    Attributes:
        waiting: in the order in which it came.
        running: records of each transaction that runs.
        expected: so many requests were there when the last transaction ended; as many may come again now.
        gathering: ends the wait for them.
    """

    waiting: deque[_Job] = field(default_factory=deque)
    running: list[int] = field(default_factory=list)
    expected: int = 0
    gathering: asyncio.TimerHandle | None = None

    @property
    def is_free(self) -> bool:
        """Whether another transaction may begin."""
        return len(self.running) < LANES and all(records >= BULK for records in self.running)


class Batcher:
    """Joins work that waits at the same time. One for an event loop; `close` it at the end."""

    def __init__(self, *, threads: int, chunk_size: int, queue_limit: int) -> None:
        """Allow ``threads`` transactions at once, each of ``chunk_size`` records, ``queue_limit`` waiting."""
        self.chunk_size = chunk_size
        self._limit = queue_limit
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="intake")
        self._lines: dict[_Group, _Line] = {}
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """Records that wait for their transaction."""
        return self._waiting

    async def take(self, work: Work, also: Also = nothing) -> list[Answer]:
        """Take ``work`` in, in one transaction with whatever else waits; ``also`` gets its own answers.

        Args:
            work: at most ``chunk_size`` records.
            also: runs before the commit. What it raises undoes only this work: the rest is taken again.

        Raises:
            Problem: too much waits (503).
            RetryLater: the database is away.
        """
        if self._waiting + len(work.records) > self._limit:
            raise unavailable("Too many records wait to be taken in; send this again later.")
        job = _Job(work, also, asyncio.get_running_loop().create_future(), tracing.current())
        group = (work.origin, work.kind)
        self._lines.setdefault(group, _Line()).waiting.append(job)
        self._waiting += len(work.records)
        self._start(group)
        return await job.done

    async def take_all(self, work: Work, also: Also = nothing) -> list[Answer]:
        """Take work of any size in, chunk by chunk; ``also`` runs with the last, with all answers."""
        answers: list[Answer] = []
        *firsts, last = work.chunks(self.chunk_size)
        for chunk in firsts:
            answers += await self.take(chunk)

        def with_all(connection: Connection, ours: Sequence[Answer]) -> None:
            also(connection, [*answers, *ours])

        return answers + await self.take(last, with_all if firsts else also)

    def close(self) -> None:
        """Wait for the transactions that run."""
        self._pool.shutdown()

    def _start(self, group: _Group) -> None:
        """Begin what may begin; wait a little if more is expected to come at once."""
        line = self._lines[group]
        if line.gathering and len(line.waiting) < line.expected:
            return
        if line.gathering:
            line.gathering.cancel()
        line.gathering, line.expected = None, 0
        while line.waiting and line.is_free:
            jobs = _gathered(line.waiting, self.chunk_size)
            records = sum(len(job.work.records) for job in jobs)
            self._waiting -= records
            line.running.append(records)
            running = asyncio.get_running_loop().run_in_executor(self._pool, _run, jobs)
            running.add_done_callback(partial(self._ended, group, jobs, records))
        if not line.running:
            del self._lines[group]

    def _ended(
        self, group: _Group, jobs: list[_Job], records: int, ended: asyncio.Future[list[Outcome]]
    ) -> None:
        for job, outcome in zip(jobs, ended.result(), strict=True):
            if job.done.done():  # nobody waits any more
                continue
            if isinstance(outcome, Exception):
                job.done.set_exception(outcome)
            else:
                job.done.set_result(outcome)
        line = self._lines[group]
        line.running.remove(records)
        if len(jobs) + len(line.waiting) > 1 and not line.gathering:
            line.expected = len(jobs) + len(line.waiting)
            loop = asyncio.get_running_loop()
            line.gathering = loop.call_later(GATHER_SECONDS, self._gather_no_more, group)
        self._start(group)

    def _gather_no_more(self, group: _Group) -> None:
        self._lines[group].expected = 0
        self._start(group)


def _gathered(waiting: deque[_Job], size: int) -> list[_Job]:
    """Take from the front what fits into one transaction, at least one job."""
    jobs = [waiting.popleft()]
    room = size - len(jobs[0].work.records)
    while waiting and len(waiting[0].work.records) <= room:
        jobs.append(waiting.popleft())
        room -= len(jobs[-1].work.records)
    return jobs


def _run(jobs: Sequence[_Job]) -> list[Outcome]:
    """Take ``jobs`` in together; if that fails for a reason of one of them, each alone."""
    try:
        return list(_together(jobs))
    except RetryLater as error:
        return [error] * len(jobs)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is handed to the request it belongs to
        if len(jobs) == 1:
            return [error]
    return [outcome for job in jobs for outcome in _run([job])]


def _together(jobs: Sequence[_Job]) -> list[list[Answer]]:
    records: list[object] = []
    places: list[slice] = []
    for job in jobs:
        places.append(slice(len(records), len(records) + len(job.work.records)))
        records += job.work.records

    def also(connection: Connection, answers: Sequence[Answer]) -> None:
        for job, place in zip(jobs, places, strict=True):
            job.also(connection, answers[place])

    traces = [job.traceparent for job in jobs for _ in job.work.records]
    with tracing.of_records(traces):
        answers = jobs[0].work.take(records, also)
    return [answers[place] for place in places]
