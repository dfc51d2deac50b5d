"""The scheduler: starts each job when its turn has come, and watches over what is parked for too long.

One scheduler is active, others stand by. A job is a process of its own, so a slow or broken one holds up
nobody. Times are in the database: what was missed while no scheduler ran is made up for once.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import psycopg
import structlog

from infra.db.connect import engine
from infra.http_client import backoff
from infra.telemetry import Status
from infra.turns import NEVER, Work
from producers.bell import Bell
from producers.leading import lead
from producers.overdue import AlarmAges, ParkedWatch
from producers.schedule_runs import close_interrupted
from producers.schedules import Default, Key, Schedule, register, upcoming

ROLE: Final = "scheduler"
_AGAIN_SECONDS: Final = 5.0
_BEAT_SECONDS: Final = 1.0
_LONGEST_REST: Final = 600.0
_log = structlog.get_logger()

Launch = Callable[[Key], Awaitable[bool]]
"""Does one job to its end and tells whether its run was noted; cancelled, it stops the job and waits."""


@dataclass(frozen=True, slots=True)
class SchedulerSettings:
    """What the scheduler needs.

    Attributes:
        database_url: where the schedules are.
        defaults: all schedules as the settings have them.
        works: the targets that it starts; the turns of the others are taken by roles of their own.
        launch: does a job.
        ages: when what is parked is an alarm.
    """

    database_url: str
    defaults: Sequence[Default]
    works: Collection[Work]
    launch: Launch
    ages: AlarmAges


@dataclass(slots=True)
class _Jobs:
    """The jobs under way, and those that rest because their processes failed without a note."""

    launch: Launch
    tasks: dict[Key, asyncio.Task[bool]] = field(default_factory=dict)
    failures: dict[Key, int] = field(default_factory=dict)
    rests: dict[Key, float] = field(default_factory=dict)

    def seconds_to(self, schedule: Schedule) -> float:
        """Return the seconds until the job may be started; `NEVER` while it runs."""
        if schedule.key in self.tasks:
            return NEVER
        return max(schedule.seconds_left, self.rests.get(schedule.key, 0.0) - time.monotonic())

    def start_due(self, schedules: Sequence[Schedule]) -> None:
        """Start the jobs that are due."""
        for key in [one.key for one in schedules if self.seconds_to(one) <= 0]:
            _log.info("job_started", target=key.target, site=key.site)
            self.tasks[key] = asyncio.ensure_future(self.launch(key))

    def reap(self) -> None:
        """Forget the jobs that have ended; one that left no note is not started again at once."""
        for key in [key for key, task in self.tasks.items() if task.done()]:
            if self.tasks.pop(key).result():
                self.failures.pop(key, None)
                self.rests.pop(key, None)
                continue
            failures = self.failures[key] = self.failures.get(key, 0) + 1
            rest = backoff(failures - 1, _AGAIN_SECONDS, _LONGEST_REST)
            self.rests[key] = time.monotonic() + rest
            _log.error("job_ended_without_note", target=key.target, site=key.site, again_in=round(rest, 1))

    async def end(self) -> None:
        """Stop all jobs and wait for their ends."""
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)


def run_scheduler(settings: SchedulerSettings, stop: threading.Event, status: Status) -> None:
    """Start jobs until ``stop`` is set; blocks. Trouble of the database is waited out."""
    asyncio.run(lead(ROLE, settings.database_url, stop, status, partial(_schedule, settings, status)))


async def _schedule(
    settings: SchedulerSettings, status: Status, lock: psycopg.Connection, stop: asyncio.Event
) -> None:
    """Start what is due until the stop.

    Raises:
        RetryLater: the database is away; jobs that ran have been stopped.
    """
    keys = {default.key for default in settings.defaults if default.key.target in settings.works}
    pool, bell = engine(settings.database_url, pool_size=1), Bell(settings.database_url)
    jobs, watch = _Jobs(settings.launch), ParkedWatch(settings.ages)
    stopping: asyncio.Future[bool] = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.to_thread(register, pool, settings.defaults)
        while not stop.is_set():
            await bell.listen()
            # With the connection the lock is lost.
            await asyncio.to_thread(lock.execute, "SELECT 1")
            jobs.reap()
            await asyncio.to_thread(watch.look, pool)
            await asyncio.to_thread(close_interrupted, pool)
            found = await asyncio.to_thread(upcoming, pool, keys)
            if not status.paused.is_set():
                jobs.start_due(found)
            status.ready()
            status.facts["jobs"] = [f"{key.target} {key.site}".strip() for key in jobs.tasks]
            seconds = min((jobs.seconds_to(one) for one in found), default=NEVER)
            await bell.wait(max(seconds, _BEAT_SECONDS), stopping, *jobs.tasks.values())
    finally:
        stopping.cancel()
        await jobs.end()
        bell.close()
        pool.dispose()
